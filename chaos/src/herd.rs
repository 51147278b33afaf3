//! Many simulated workers in one process: each holds a session over the workers' protocol, heartbeats, and carries out
//! what does nothing. When their leader goes away they all look for the next one at once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
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

use crate::lab::Lab;

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
const CALM: &str = "nothing panics while holding it";

/// What the herd lived through.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Registrations so far.
    pub(crate) registrations: AtomicU64,
    /// Workers that were told that they had been declared lost.
    pub(crate) lost: AtomicU64,
    /// Attempts carried out.
    pub(crate) attempts: AtomicU64,
}

/// A session, as its worker sees it. That it is open says little: its master may be stopped, or deposed and not know.
#[derive(Clone, Debug)]
struct Standing {
    master: String,
    /// When the master took the worker in.
    since: Instant,
    /// When it last confirmed that the worker's lease goes on.
    confirmed: Instant,
}

/// What each of them stands on, by number.
#[derive(Debug)]
struct Roll(Vec<Mutex<Option<Standing>>>);

impl Roll {
    fn new(size: usize) -> Roll {
        Roll((0..size).map(|_| Mutex::new(None)).collect())
    }

    fn enter(&self, number: usize, master: &str) {
        let now = Instant::now();
        let standing = Standing { master: master.to_owned(), since: now, confirmed: now };
        *self.0[number].lock().expect(CALM) = Some(standing);
    }

    fn confirm(&self, number: usize) {
        if let Some(standing) = &mut *self.0[number].lock().expect(CALM) {
            standing.confirmed = Instant::now();
        }
    }

    fn leave(&self, number: usize) {
        *self.0[number].lock().expect(CALM) = None;
    }

    /// Since when each of those has been back whom `leader` has confirmed since `over`. Whoever had its session before
    /// `began` was not away from it, as far as is known from `over` on.
    fn back(&self, leader: &str, began: Instant, over: Instant) -> Vec<Instant> {
        let standings = self.0.iter().filter_map(|it| it.lock().expect(CALM).clone());
        standings
            .filter(|it| it.master == leader && it.confirmed >= over)
            .map(|it| if it.since >= began { it.since } else { over })
            .collect()
    }
}

/// See the module documentation. It ends when dropped.
pub(crate) struct Herd {
    pub(crate) tally: Arc<Tally>,
    roll: Arc<Roll>,
    _members: JoinSet<()>,
}

impl Herd {
    pub(crate) fn start(size: usize, masters: &[String]) -> Herd {
        let (tally, roll) = (Arc::new(Tally::default()), Arc::new(Roll::new(size)));
        let mut members = JoinSet::new();
        for number in 0..size {
            let member = Sheep {
                number,
                name: format!("herd-{number}"),
                incarnation: rand::random(),
                masters: masters.to_vec(),
                next: number % masters.len().max(1),
                tally: tally.clone(),
                roll: roll.clone(),
            };
            members.spawn(member.live());
        }
        Herd { tally, roll, _members: members }
    }

    /// Waits until whoever leads then has confirmed each of them since the call of this. Returns how long after `began`
    /// the last of them was there.
    pub(crate) async fn gather(
        &self,
        lab: &Lab,
        began: Instant,
        patience: Duration,
    ) -> Result<Duration> {
        const POLL: Duration = Duration::from_millis(100);
        let (over, size) = (Instant::now(), self.roll.0.len());
        loop {
            let back = match lab.leader().await {
                Some(leader) => self.roll.back(&lab.api_address(leader), began, over),
                None => Vec::new(),
            };
            if back.len() == size {
                let last = back.into_iter().max().unwrap_or(over);
                return Ok(last.saturating_duration_since(began));
            }
            if over.elapsed() > patience {
                let back = back.len();
                bail!("{back} of {size} simulated workers are with the leader after {patience:?}");
            }
            sleep(POLL).await;
        }
    }
}

/// One simulated worker.
struct Sheep {
    number: usize,
    name: String,
    incarnation: u64,
    masters: Vec<String>,
    next: usize,
    tally: Arc<Tally>,
    roll: Arc<Roll>,
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
            self.roll.leave(self.number);
            if was_registered {
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
        self.roll.enter(self.number, address);
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
                        Some(Response::HeartbeatAck(_)) => {
                            silent = 0;
                            self.roll.confirm(self.number);
                        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_is_whom_the_leader_confirmed_since_the_fault() {
        let step = || {
            let at = Instant::now();
            while Instant::now() <= at {}
        };
        let roll = Roll::new(3);
        (0..3).for_each(|number| roll.enter(number, "old"));
        step();
        let began = Instant::now();
        step();
        let moved = Instant::now();
        roll.leave(0);
        roll.enter(0, "new");
        step();
        let over = Instant::now();
        assert!(roll.back("old", began, over).is_empty(), "two have an open session only");
        assert!(roll.back("new", began, over).is_empty(), "it may have left again unnoticed");
        roll.confirm(0);
        roll.confirm(1);
        let back = roll.back("new", began, over);
        assert!(back.len() == 1 && (moved..over).contains(&back[0]), "since it was taken in");
        assert_eq!(roll.back("old", began, over), [over]);
        roll.leave(0);
        assert!(roll.back("new", began, over).is_empty());
    }
}
