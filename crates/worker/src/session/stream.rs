//! The session loop: find the leader, register, and serve one stream after another.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use muster_core::ids::WorkerId;
use muster_proto::convert::resources_to_proto;
use muster_proto::internal::v1::session_request::Message as Request;
use muster_proto::internal::v1::session_response::Message as Response;
use muster_proto::internal::v1::worker_session_service_client::WorkerSessionServiceClient;
use muster_proto::internal::v1::{
    Heartbeat, Leave, Register, Registered, Report, SessionRequest, SessionResponse,
};
use prost::Message as _;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::Endpoint;
use tonic::{Code, Streaming};

use super::candidates::Candidates;
use super::convert::{self, Definitions};
use super::folder::Folder;
use super::keeper::LeaseKeeper;
use super::leaving::wait_for_end;
use super::recorder::{Recorded, Recorder};
use super::{WorkerConfig, WorkerError};
use crate::attempts::Attempts;
use crate::logs::LogStore;
use crate::observer::{Event, Witness};

/// How long a master may take to be reached.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a master may take to answer a registration, which goes through the log.
const REGISTER_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the loop looks for attempts to announce and for a shutdown to be over.
pub(super) const TICK: Duration = Duration::from_millis(50);
/// Heartbeats without an answer after which a stream is taken for dead.
const SILENT_HEARTBEATS_MAX: u32 = 3;
/// Reports under way at once. While they are, outcomes gather and the next report is larger.
const REPORTS_MAX: usize = 2;
/// Most outcomes in one report.
const FINISHES_MAX: usize = 4096;
/// A report is not filled beyond this.
const REPORT_BYTES_MAX: usize = 1 << 20;
/// Largest message taken from a leader.
const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// How long dead attempts may take to be dead before the worker goes on without waiting.
const DEATH_PATIENCE: Duration = Duration::from_secs(5);
/// How long a worker that leaves waits for the leader to close the stream.
const GOODBYE_PATIENCE: Duration = Duration::from_secs(1);
/// How long refusals of masters are not believed while none takes the worker: one of the addresses may belong to
/// another cluster, and the leader of the right one may be about to come back.
const REFUSED_PATIENCE: Duration = Duration::from_secs(10);

/// Everything the session loop needs.
pub(super) struct Session {
    pub(super) config: WorkerConfig,
    pub(super) folder: Folder,
    pub(super) cluster_id: String,
    /// Absent where no processes run.
    pub(super) logs: Option<Arc<LogStore>>,
    pub(super) attempts: Arc<Attempts>,
    pub(super) keeper: Arc<LeaseKeeper>,
    pub(super) witness: Arc<Witness>,
    pub(super) recorder: Recorder,
    pub(super) recorded: mpsc::UnboundedReceiver<Recorded>,
    pub(super) registered: watch::Sender<Option<WorkerId>>,
    pub(super) failure: watch::Sender<Option<WorkerError>>,
    pub(super) candidates: Candidates,
    pub(super) incarnation: u64,
    /// Outcomes to be sent on this stream or the next.
    pub(super) outbox: VecDeque<Recorded>,
}

/// One stream, registered.
pub(super) struct Stream {
    pub(super) sender: mpsc::UnboundedSender<SessionRequest>,
    responses: Streaming<SessionResponse>,
    /// Counts the times the lease lapsed.
    lapses: watch::Receiver<u64>,
    pub(super) definitions: Definitions,
    pub(super) lease: Duration,
    heartbeat: Duration,
    pub(super) answered_at: Instant,
    next_report: u64,
    /// The leader was told that this worker shuts down.
    has_said_farewell: bool,
    /// The leader has it on record, and places nothing new here.
    pub(super) is_drained: bool,
    /// Sent and not acknowledged, by number of the report.
    pub(super) in_flight: BTreeMap<u64, Vec<Recorded>>,
}

/// Why a stream ended.
pub(super) enum End {
    /// The peer is gone, silent, or talks nonsense.
    Broken(String),
    /// The peer leads, and will not have this worker.
    Refused(String),
    /// The peer does not lead.
    Redirected { leader: String, masters: Vec<String> },
    /// The lease lapsed: all attempts were killed.
    Lapsed,
    /// The leader declared this worker lost.
    Lost,
    /// The worker has left.
    Left,
}

pub(super) type Shutdown = watch::Receiver<Option<Instant>>;

impl Session {
    /// Runs until a shutdown is asked for and done, or no master will have this worker.
    pub(super) async fn run(mut self, mut shutdown: Shutdown) {
        let (registered, attempts) = (self.registered.subscribe(), self.attempts.clone());
        let over = wait_for_end(shutdown.clone(), registered, &attempts);
        tokio::pin!(over);
        // Or when it was started.
        let mut last_registered = Instant::now();
        loop {
            let address = self.candidates.next();
            let end = tokio::select! {
                end = self.connect_and_serve(&address, &mut shutdown) => end,
                () = &mut over => End::Left,
            };
            if self.registered.send_replace(None).is_some() {
                last_registered = Instant::now();
            }
            let wait = match end {
                End::Left => break,
                End::Redirected { leader, masters } => {
                    tracing::debug!(%address, %leader, "redirected");
                    self.candidates.redirected(&leader, &masters)
                }
                End::Broken(reason) => {
                    tracing::warn!(%address, %reason, "no session with this master");
                    self.candidates.broken(&address)
                }
                End::Refused(reason) => {
                    tracing::warn!(%address, %reason, "this master refuses the worker");
                    if last_registered.elapsed() >= REFUSED_PATIENCE && !self.keeper.is_live() {
                        self.failure.send_replace(Some(WorkerError::Refused { address, reason }));
                        break;
                    }
                    self.candidates.failed()
                }
                End::Lapsed => {
                    self.wait_for_death().await;
                    self.candidates.failed()
                }
                End::Lost => {
                    self.begin_again().await;
                    Duration::ZERO
                }
            };
            tokio::select! {
                () = sleep(wait) => {}
                () = &mut over => break,
            }
        }
        self.keeper.end();
    }

    /// The leader gave this worker's attempts away: they end, and the worker comes back as another.
    async fn begin_again(&mut self) {
        let keeper = self.keeper.clone();
        if let Err(error) = self.config.platform.blocking(move || keeper.give_up()).await {
            tracing::error!(%error, "cannot kill the attempts of a lost worker");
        }
        self.wait_for_death().await;
        self.incarnation = rand::random();
        self.witness.set_incarnation(self.incarnation);
    }

    async fn wait_for_death(&self) {
        let started = Instant::now();
        while self.attempts.live() > 0 {
            if started.elapsed() > DEATH_PATIENCE {
                tracing::error!(
                    live = self.attempts.live(),
                    "attempts do not die; going on without"
                );
                return;
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    async fn connect_and_serve(&mut self, address: &str, shutdown: &mut Shutdown) -> End {
        let mut stream = match self.open(address).await {
            Ok(stream) => stream,
            Err(end) => return end,
        };
        self.attempts.announce_again(self.config.platform.since_boot());
        let end = match self.serve(&mut stream, shutdown).await {
            Ok(never) => match never {},
            Err(end) => end,
        };
        // In the same pieces, and before what came later.
        let unacknowledged: Vec<Recorded> = stream.in_flight.into_values().flatten().collect();
        for recorded in unacknowledged.into_iter().rev() {
            self.outbox.push_front(recorded);
        }
        if matches!(end, End::Left) {
            // Dropping the stream now might overtake the last message.
            drop(stream.sender);
            let _ = timeout(GOODBYE_PATIENCE, stream.responses.message()).await;
        }
        end
    }

    /// Connects and registers.
    async fn open(&mut self, address: &str) -> Result<Stream, End> {
        let broken = |error: &dyn std::error::Error| End::Broken(with_causes(error));
        let endpoint = Endpoint::from_shared(address.to_owned()).map_err(|error| broken(&error))?;
        let connecting = endpoint.connect_with_connector(self.config.platform.connector());
        let channel = timeout(CONNECT_TIMEOUT, connecting).await;
        let channel = channel.map_err(|error| broken(&error))?.map_err(|error| broken(&error))?;
        let mut client =
            WorkerSessionServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);

        let (sender, requests) = mpsc::unbounded_channel();
        // The lease counts from here, which is not after the message is sent.
        let mut lapses = self.keeper.begin_stream().await;
        let seq = self.keeper.sent();
        send(&sender, Request::Register(self.register()))?;
        let opening = async {
            let stream = UnboundedReceiverStream::new(requests);
            let mut responses = client.session(stream).await?.into_inner();
            let first = responses.message().await?;
            Ok::<_, tonic::Status>((responses, first))
        };
        let opened = tokio::select! {
            opened = timeout(REGISTER_TIMEOUT, opening) => opened.map_err(|error| broken(&error))?,
            _ = lapses.changed() => return Err(End::Lapsed),
        };
        let (responses, first) = opened.map_err(|status| match status.code() {
            // Of another cluster; or wrong in what it says of itself.
            Code::FailedPrecondition | Code::InvalidArgument => {
                End::Refused(status.message().to_owned())
            }
            _ => broken(&status),
        })?;
        let registered = match first.and_then(|response| response.message) {
            Some(Response::Registered(registered)) => registered,
            Some(Response::Redirect(to)) => {
                return Err(End::Redirected { leader: to.leader, masters: to.masters });
            }
            Some(Response::Lost(_)) => return Err(End::Lost),
            other => return Err(End::Broken(format!("answered a registration with {other:?}"))),
        };
        self.candidates.registered(address, &registered.masters);
        self.keep_cluster_id(&registered).await;
        let lease = Duration::from_millis(registered.lease_ms.into());
        self.keeper.confirmed(seq, lease);
        tracing::info!(
            worker = registered.worker_id,
            incarnation = self.incarnation,
            since_boot_us = self.config.platform.since_boot_us(),
            %address,
            ?lease,
            "registered"
        );
        let worker = WorkerId(registered.worker_id);
        self.witness.tell(|incarnation| Event::Registered { worker, incarnation });
        self.registered.send_replace(Some(worker));
        Ok(Stream {
            sender,
            responses,
            lapses,
            definitions: Definitions::default(),
            lease,
            heartbeat: Duration::from_millis(registered.heartbeat_ms.max(1).into()),
            answered_at: Instant::now(),
            next_report: 1,
            has_said_farewell: false,
            is_drained: false,
            in_flight: BTreeMap::new(),
        })
    }

    fn register(&self) -> Register {
        let labels = &self.config.labels;
        Register {
            name: self.config.name.clone(),
            incarnation: self.incarnation,
            capacity: Some(resources_to_proto(&self.config.capacity)),
            labels: labels
                .iter()
                .map(|(key, value)| (key.to_string(), value.to_string()))
                .collect(),
            pool: self.config.pool.as_deref().unwrap_or_default().to_owned(),
            executors: self.attempts.executor_names(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            cluster_id: self.cluster_id.clone(),
            held: self.attempts.held().iter().map(convert::held_attempt).collect(),
            unreachable: self.candidates.unreachable().to_owned(),
        }
    }

    async fn keep_cluster_id(&mut self, registered: &Registered) {
        if registered.cluster_id.is_empty() || registered.cluster_id == self.cluster_id {
            return;
        }
        self.cluster_id.clone_from(&registered.cluster_id);
        let (folder, id) = (self.folder.clone(), registered.cluster_id.clone());
        let kept = self.config.platform.blocking(move || folder.keep_cluster_id(&id)).await;
        if let Err(error) = kept.flatten() {
            tracing::warn!(%error, "cannot remember the cluster's id");
        }
    }

    async fn serve(
        &mut self,
        stream: &mut Stream,
        shutdown: &mut Shutdown,
    ) -> Result<std::convert::Infallible, End> {
        let mut heartbeats = interval(stream.heartbeat);
        heartbeats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ready = Vec::new();
        loop {
            self.report(stream)?;
            tokio::select! {
                response = stream.responses.message() => match response {
                    Ok(Some(response)) => {
                        let is_draining = shutdown.borrow().is_some();
                        self.handle(stream, response, is_draining)?;
                    }
                    Ok(None) => return Err(End::Broken("the master closed the stream".to_owned())),
                    Err(status) => return Err(End::Broken(with_causes(&status))),
                },
                taken = self.recorded.recv_many(&mut ready, FINISHES_MAX) => {
                    if taken == 0 {
                        return Err(End::Left);
                    }
                    self.outbox.extend(ready.drain(..));
                }
                _ = heartbeats.tick() => {
                    let is_draining = shutdown.borrow().is_some();
                    self.heartbeat(stream, is_draining)?;
                }
                _ = ticks.tick() => {
                    self.announce(stream)?;
                    if shutdown.borrow().is_some() {
                        self.leave_if_done(stream)?;
                        if !stream.has_said_farewell {
                            self.heartbeat(stream, true)?;
                        }
                    }
                }
                _ = stream.lapses.changed() => return Err(End::Lapsed),
            }
        }
    }

    /// Sends what is to be reported, as far as the window allows.
    fn report(&mut self, stream: &mut Stream) -> Result<(), End> {
        while !self.outbox.is_empty() && stream.in_flight.len() < REPORTS_MAX {
            let mut batch = Vec::new();
            let mut bytes = 0;
            while batch.len() < FINISHES_MAX && bytes < REPORT_BYTES_MAX {
                let Some(recorded) = self.outbox.pop_front() else { break };
                bytes += recorded.finish.encoded_len();
                batch.push(recorded);
            }
            for Recorded { attempt, finish, record } in &batch {
                let (attempt, outcome, is_kept) = (*attempt, finish.outcome(), record.is_some());
                self.witness.tell(|incarnation| Event::Reported {
                    attempt,
                    incarnation,
                    outcome,
                    is_kept,
                });
            }
            let finishes = batch.iter().map(|recorded| recorded.finish.clone()).collect();
            // Before it is sent: a stream that breaks must not take it along.
            let seq = stream.take_report_number(batch);
            send(&stream.sender, Request::Report(Report { seq, starts: Vec::new(), finishes }))?;
        }
        Ok(())
    }

    fn announce(&self, stream: &mut Stream) -> Result<(), End> {
        let starts = self.attempts.starts(self.config.platform.since_boot());
        for chunk in starts.chunks(FINISHES_MAX) {
            let starts = chunk.iter().map(|(attempt, age)| convert::start_report(attempt, *age));
            let starts = starts.collect();
            let seq = stream.next_report;
            stream.next_report += 1;
            send(&stream.sender, Request::Report(Report { seq, starts, finishes: Vec::new() }))?;
        }
        Ok(())
    }

    fn heartbeat(&mut self, stream: &mut Stream, is_draining: bool) -> Result<(), End> {
        stream.has_said_farewell |= is_draining;
        let silence_max = (stream.heartbeat * SILENT_HEARTBEATS_MAX).max(stream.lease / 4);
        if stream.answered_at.elapsed() > silence_max {
            return Err(End::Broken("the leader does not answer heartbeats".to_owned()));
        }
        let load = self.config.load.read(self.config.platform.since_boot());
        let held = self.attempts.held().iter().map(convert::held_attempt).collect();
        let heartbeat = Heartbeat {
            seq: self.keeper.sent(),
            load: Some(convert::load_message(&load, self.config.load.cores())),
            held,
            is_draining,
        };
        send(&stream.sender, Request::Heartbeat(heartbeat))
    }

    fn leave_if_done(&self, stream: &Stream) -> Result<(), End> {
        let is_done = self.attempts.is_empty()
            && self.outbox.is_empty()
            && self.recorded.is_empty()
            && stream.in_flight.is_empty();
        if !is_done {
            return Ok(());
        }
        tracing::info!(
            incarnation = self.incarnation,
            since_boot_us = self.config.platform.since_boot_us(),
            "holds nothing any more and leaves"
        );
        send(&stream.sender, Request::Leave(Leave {}))?;
        Err(End::Left)
    }
}

impl Stream {
    fn take_report_number(&mut self, batch: Vec<Recorded>) -> u64 {
        let seq = self.next_report;
        self.next_report += 1;
        self.in_flight.insert(seq, batch);
        seq
    }
}

pub(super) fn send(
    sender: &mpsc::UnboundedSender<SessionRequest>,
    message: Request,
) -> Result<(), End> {
    let sent = sender.send(SessionRequest { message: Some(message) });
    sent.map_err(|_| End::Broken("the stream is closed".to_owned()))
}

/// tonic's errors say little by themselves.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
