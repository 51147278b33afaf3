//! Many simulated workers in one process: each holds a session over the workers' protocol, heartbeats, and carries out
//! what does nothing. When their leader goes away they all look for the next one at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, bail};
use muster_proto::internal::v1::session_request::Message as Request;
use muster_proto::internal::v1::session_response::Message as Response;
use muster_proto::internal::v1::worker_session_service_client::WorkerSessionServiceClient;
use muster_proto::internal::v1::{
    Assignment, Dispatch, FinishReport, Heartbeat, HeldAttempt, OutcomeKind, Register, Report,
    SessionRequest,
};
use muster_proto::v1::Resources;
use rand::Rng;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep, timeout};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::Endpoint;

/// The pool they serve, so that no task that is a process comes to them.
pub(crate) const POOL: &str = "herd";
/// What each has, in thousandths of a core.
const CPU_MILLIS: u64 = 1_000;
/// As real workers have it.
const CONNECT_PATIENCE: Duration = Duration::from_secs(2);
const REGISTER_PATIENCE: Duration = Duration::from_secs(5);
/// Waits between tries: the first nominal one, its growth, and the longest. Each is drawn around its nominal length.
const WAIT_FIRST: Duration = Duration::from_millis(50);
const WAIT_GROWTH: f64 = 1.6;
const WAIT_MAX: Duration = Duration::from_secs(2);
/// A stream without an answer to so many heartbeats is dead.
const SILENT_HEARTBEATS_MAX: u32 = 3;

/// What the herd lived through.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Sessions that are registered.
    pub(crate) registered: AtomicU64,
    /// Registrations so far.
    pub(crate) registrations: AtomicU64,
    /// Workers that were told that they had been declared lost.
    pub(crate) lost: AtomicU64,
    /// Attempts carried out.
    pub(crate) attempts: AtomicU64,
}

/// See the module documentation. It ends when dropped.
pub(crate) struct Herd {
    pub(crate) tally: Arc<Tally>,
    pub(crate) size: usize,
    _members: JoinSet<()>,
}

impl Herd {
    pub(crate) fn start(size: usize, masters: &[String]) -> Herd {
        let tally = Arc::new(Tally::default());
        let mut members = JoinSet::new();
        for number in 0..size {
            let member = Sheep {
                name: format!("herd-{number}"),
                incarnation: rand::random(),
                masters: masters.to_vec(),
                next: number % masters.len().max(1),
                tally: tally.clone(),
            };
            members.spawn(member.live());
        }
        Herd { tally, size, _members: members }
    }

    /// Waits until all are registered; how long that took.
    pub(crate) async fn gather(&self, patience: Duration) -> Result<Duration> {
        const POLL: Duration = Duration::from_millis(10);
        let started = Instant::now();
        loop {
            let registered = self.tally.registered.load(Ordering::Relaxed);
            if registered == self.size as u64 {
                return Ok(started.elapsed());
            }
            if started.elapsed() > patience {
                bail!(
                    "{registered} of {} simulated workers are registered after {patience:?}",
                    self.size
                );
            }
            sleep(POLL).await;
        }
    }
}

/// One simulated worker.
struct Sheep {
    name: String,
    incarnation: u64,
    masters: Vec<String>,
    next: usize,
    tally: Arc<Tally>,
}

/// Why a session is over.
enum End {
    Broken,
    Redirected(String),
    Lost,
}

impl Sheep {
    async fn live(mut self) {
        let mut wait = WAIT_FIRST;
        let mut redirected: Option<String> = None;
        loop {
            let address = redirected.take().unwrap_or_else(|| self.masters[self.next].clone());
            let mut was_registered = false;
            let end = self.serve(&address, &mut was_registered).await;
            if was_registered {
                self.tally.registered.fetch_sub(1, Ordering::Relaxed);
                wait = WAIT_FIRST;
            }
            match end {
                End::Redirected(leader) if !leader.is_empty() => {
                    redirected = Some(format!("http://{leader}"));
                }
                End::Redirected(_) | End::Broken => {
                    self.next = (self.next + 1) % self.masters.len()
                }
                End::Lost => {
                    self.tally.lost.fetch_add(1, Ordering::Relaxed);
                    self.incarnation = rand::random();
                }
            }
            let share = rand::rng().random_range(0.5..=1.5);
            sleep(wait.mul_f64(share)).await;
            wait = wait.mul_f64(WAIT_GROWTH).min(WAIT_MAX);
        }
    }

    fn register(&self) -> Register {
        Register {
            name: self.name.clone(),
            incarnation: self.incarnation,
            capacity: Some(Resources { cpu_millis: CPU_MILLIS, ..Resources::default() }),
            pool: POOL.to_owned(),
            executors: vec!["noop".to_owned()],
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..Register::default()
        }
    }

    async fn serve(&self, address: &str, was_registered: &mut bool) -> End {
        let Ok(endpoint) = Endpoint::from_shared(address.to_owned()) else { return End::Broken };
        let Ok(Ok(channel)) = timeout(CONNECT_PATIENCE, endpoint.connect()).await else {
            return End::Broken;
        };
        let (sender, requests) = mpsc::unbounded_channel();
        let send = |message| sender.send(SessionRequest { message: Some(message) }).is_ok();
        send(Request::Register(self.register()));
        let opening = async {
            let mut client = WorkerSessionServiceClient::new(channel);
            let stream = UnboundedReceiverStream::new(requests);
            let mut responses = client.session(stream).await?.into_inner();
            let first = responses.message().await?;
            Ok::<_, tonic::Status>((responses, first))
        };
        let Ok(Ok((mut responses, first))) = timeout(REGISTER_PATIENCE, opening).await else {
            return End::Broken;
        };
        let registered = match first.and_then(|response| response.message) {
            Some(Response::Registered(registered)) => registered,
            Some(Response::Redirect(to)) => return End::Redirected(to.leader),
            Some(Response::Lost(_)) => return End::Lost,
            _ => return End::Broken,
        };
        *was_registered = true;
        self.tally.registered.fetch_add(1, Ordering::Relaxed);
        self.tally.registrations.fetch_add(1, Ordering::Relaxed);
        let mut heartbeats = interval(Duration::from_millis(registered.heartbeat_ms.max(1).into()));
        let (mut seq, mut silent, mut reports) = (0, 0, 0);
        loop {
            tokio::select! {
                _ = heartbeats.tick() => {
                    seq += 1;
                    silent += 1;
                    let heartbeat = Heartbeat { seq, ..Heartbeat::default() };
                    if silent > SILENT_HEARTBEATS_MAX || !send(Request::Heartbeat(heartbeat)) {
                        return End::Broken;
                    }
                }
                response = responses.message() => match response {
                    Ok(Some(response)) => match response.message {
                        Some(Response::Dispatch(dispatch)) => {
                            reports += 1;
                            if !send(Request::Report(self.carry_out(reports, dispatch))) {
                                return End::Broken;
                            }
                        }
                        Some(Response::HeartbeatAck(_)) => silent = 0,
                        Some(Response::Lost(_)) => return End::Lost,
                        Some(Response::Redirect(to)) => return End::Redirected(to.leader),
                        _ => {}
                    },
                    Ok(None) | Err(_) => return End::Broken,
                },
            }
        }
    }

    /// What does nothing is done at once.
    fn carry_out(&self, seq: u64, dispatch: Dispatch) -> Report {
        let finish = |it: &Assignment| FinishReport {
            attempt: Some(HeldAttempt {
                run_id: it.run_id,
                task_index: it.task_index,
                first: it.first,
                last: it.last,
                fence: it.fence,
            }),
            outcome: OutcomeKind::Succeeded.into(),
            ..FinishReport::default()
        };
        let finishes: Vec<FinishReport> = dispatch.assignments.iter().map(finish).collect();
        self.tally.attempts.fetch_add(finishes.len() as u64, Ordering::Relaxed);
        Report { seq, starts: Vec::new(), finishes }
    }
}
