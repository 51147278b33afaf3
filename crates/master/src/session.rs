//! The leader's end of a worker's session: one bidirectional stream.
//!
//! Reports go through the log and are acknowledged only once committed, several at a time on their way. Heartbeats
//! never enter the log: they renew the lease, if a quorum confirmed this leader a moment ago, and say what the worker
//! holds.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use muster_core::command::{
    Command, DrainWorker, Finish, FinishAttempts, Outcome, RegisterWorker, Start, StartAttempts,
};
use muster_core::ids::{Text, WorkerId};
use muster_core::mutant::{self, Mutant};
use muster_core::reply::{ItemRefusal, Reply};
use muster_core::state::worker::WorkerStatus;
use muster_core::time::Millis;
use muster_planner::Load;
use muster_proto::convert;
use muster_proto::internal::v1 as wire;
use muster_proto::internal::v1::session_request::Message as Inbound;
use muster_proto::internal::v1::session_response::Message as Reaction;
use muster_proto::internal::v1::worker_session_service_server::WorkerSessionService;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status, Streaming};

use crate::leader;
use crate::live::{OUTBOX_MAX, Outbound, QUORUM_AGE_MAX, SessionHandle};
use crate::propose::NotDone;
use crate::replica::Replica;

/// Waits between the tries to commit a report, the first and the longest.
const REPORT_WAIT_MIN: Duration = Duration::from_millis(20);
const REPORT_WAIT_MAX: Duration = Duration::from_secs(1);
/// A worker that lost its leader waits here for the next one, which is sooner than if it came again after a wait of its
/// own. Longer than an election takes, shorter than workers wait for an answer.
const ELECTION_WAIT_MAX: Duration = Duration::from_secs(1);

/// The service that workers connect to.
pub(crate) struct WorkerSessions {
    pub(crate) replica: Arc<Replica>,
}

#[tonic::async_trait]
impl WorkerSessionService for WorkerSessions {
    type SessionStream = Pin<Box<dyn Stream<Item = Outbound> + Send>>;

    async fn session(
        &self,
        request: Request<Streaming<wire::SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (outbox, messages) = mpsc::channel(OUTBOX_MAX);
        let session =
            Session { replica: self.replica.clone(), serial: self.replica.live.serial(), outbox };
        tokio::spawn(session.run(request.into_inner()));
        Ok(Response::new(Box::pin(ReceiverStream::new(messages))))
    }
}

struct Session {
    replica: Arc<Replica>,
    serial: u64,
    outbox: mpsc::Sender<Outbound>,
}

impl Session {
    async fn run(self, mut inbound: Streaming<wire::SessionRequest>) {
        let Some(register) = first_register(&mut inbound).await else {
            let _gone = self
                .outbox
                .send(Err(Status::invalid_argument("a session begins with Register")))
                .await;
            return;
        };
        let worker = match self.register(&register).await {
            Ok(worker) => worker,
            Err(ending) => {
                let _gone = self.outbox.send(ending).await;
                return;
            }
        };
        tracing::info!(%worker, name = register.name, "worker connected");
        leader::reconcile(&self.replica, worker, &register.held);
        while let Some(Ok(request)) = inbound.next().await {
            let Some(message) = request.message else { continue };
            if !self.receive(worker, message).await {
                break;
            }
        }
        self.replica.live.disconnect(worker, self.serial);
        // Reports that are still being carried hold the stream open; the worker should not wait for it to fall silent.
        let _gone = self.outbox.try_send(Err(Status::aborted("the session is over")));
        tracing::info!(%worker, name = register.name, "worker disconnected");
    }

    /// Takes the worker in, or says what the session ends with.
    async fn register(&self, register: &wire::Register) -> Result<WorkerId, Outbound> {
        if !self.is_leader_once_known(&register.unreachable).await {
            return Err(Ok(respond(Reaction::Redirect(
                self.redirect("this master does not lead"),
            ))));
        }
        let cluster_id = self.replica.cluster_id();
        if !register.cluster_id.is_empty() && register.cluster_id != cluster_id {
            let message = format!(
                "this worker belongs to cluster {}, this is cluster {cluster_id}; give it another data folder or \
                 other masters",
                register.cluster_id
            );
            return Err(Err(Status::failed_precondition(message)));
        }
        let lease = self.replica.config.lease;
        let command = register_command(register, lease);
        let worker = match self.replica.proposer.propose(&command).await {
            Ok((_, Reply::WorkerRegistered { worker })) => worker,
            Ok(_) => {
                return Err(Err(Status::internal("a registration was answered by something else")));
            }
            Err(NotDone::Uncommitted(status)) => {
                return Err(Ok(respond(Reaction::Redirect(self.redirect(status.message())))));
            }
            Err(NotDone::Rejected(rejection)) => {
                return Err(Err(crate::faults::rejection(&rejection)));
            }
        };
        // It may have been declared lost in the very entry that took it in again: then it must not hear of a lease.
        if self.replica.cell.read(|state| state.held_by(worker).is_none()) {
            let reason = "the worker was declared lost".to_owned();
            return Err(Ok(respond(Reaction::Lost(wire::Lost { reason }))));
        }
        let registered = wire::Registered {
            worker_id: worker.0,
            cluster_id,
            heartbeat_ms: self.replica.config.heartbeat.as_millis() as u32,
            lease_ms: lease.as_millis() as u32,
            masters: self.masters(),
        };
        let handle = SessionHandle { serial: self.serial, outbox: self.outbox.clone() };
        let greeting = Ok(respond(Reaction::Registered(registered)));
        if !self.replica.live.connect(worker, lease, handle, greeting) {
            let reason = "no heartbeat came for a full lease".to_owned();
            return Err(Ok(respond(Reaction::Lost(wire::Lost { reason }))));
        }
        Ok(worker)
    }

    /// Whether this master leads, asked when it is known who does, or when the worker has waited long enough. A leader
    /// that the worker found unreachable is about to be replaced: it fell, and its followers have yet to notice.
    async fn is_leader_once_known(&self, unreachable: &str) -> bool {
        let mut leadership = self.replica.raft.watch_leadership();
        let known = leadership.wait_for(|it| {
            it.is_leader || it.leader.as_ref().is_some_and(|it| it.peer.api_address != unreachable)
        });
        tokio::select! {
            _known = tokio::time::timeout(ELECTION_WAIT_MAX, known) => {}
            () = self.outbox.closed() => {}
        }
        self.replica.leadership().is_leader
    }

    /// Acts on one message. Returns whether the session goes on.
    async fn receive(&self, worker: WorkerId, message: Inbound) -> bool {
        match message {
            Inbound::Register(_) => false,
            Inbound::Heartbeat(heartbeat) => self.heartbeat(worker, &heartbeat).await,
            Inbound::Report(report) => {
                let (replica, outbox) = (self.replica.clone(), self.outbox.clone());
                tokio::spawn(async move { carry_report(&replica, &outbox, report).await });
                true
            }
            Inbound::LogChunk(chunk) => {
                self.replica.live.log_chunk(chunk);
                true
            }
            Inbound::Leave(_) => {
                // The worker ended everything it held: nobody needs to wait for its lease.
                let lose = muster_core::command::LoseWorker { worker };
                let _uncommitted = self.replica.proposer.propose(&Command::LoseWorker(lose)).await;
                false
            }
        }
    }

    async fn heartbeat(&self, worker: WorkerId, heartbeat: &wire::Heartbeat) -> bool {
        let factor = if mutant::is_on(Mutant::QuorumRemembered) { 6 } else { 1 };
        let is_confirmed = self
            .replica
            .raft
            .last_quorum_ack()
            .is_some_and(|age_ms| u128::from(age_ms) <= (QUORUM_AGE_MAX * factor).as_millis());
        if !is_confirmed && !mutant::is_on(Mutant::DeposedAcknowledges) {
            // Not acknowledged: a leader that a quorum may have left must not prolong leases. The next one may be.
            return self.replica.leadership().is_leader;
        }
        // Whom the state gave up must not hear that its lease goes on, whatever this leader remembers of it.
        if self.replica.cell.read(|state| state.held_by(worker).is_none()) {
            self.replica.live.forget(worker, "the worker was declared lost");
            return false;
        }
        let load = heartbeat.load.as_ref().map(load).unwrap_or_default();
        if !self.replica.live.heartbeat(worker, self.serial, load) {
            return false;
        }
        let status = self.replica.cell.read(|state| state.worker(worker).map(|it| it.status));
        let is_draining = heartbeat.is_draining && status == Some(WorkerStatus::Draining);
        if heartbeat.is_draining && status == Some(WorkerStatus::Active) {
            self.drain(worker);
        }
        let ack = wire::HeartbeatAck { seq: heartbeat.seq, is_draining };
        if self.outbox.try_send(Ok(respond(Reaction::HeartbeatAck(ack)))).is_err() {
            return false;
        }
        leader::reconcile(&self.replica, worker, &heartbeat.held);
        true
    }

    /// The worker shuts down: the planner must know, or it places there what the worker can only give back.
    fn drain(&self, worker: WorkerId) {
        let replica = self.replica.clone();
        tokio::spawn(async move {
            let drain = DrainWorker { request: None, worker, is_draining: true };
            // The next heartbeat asks again.
            let _uncommitted = replica.proposer.propose(&Command::DrainWorker(drain)).await;
        });
    }

    fn redirect(&self, reason: &str) -> wire::Redirect {
        let leader = self.replica.leadership().leader.map(|leader| leader.peer.api_address);
        wire::Redirect {
            leader: leader.unwrap_or_default(),
            masters: self.masters(),
            reason: reason.to_owned(),
        }
    }

    fn masters(&self) -> Vec<String> {
        self.replica
            .raft
            .status()
            .members
            .into_iter()
            .map(|it| it.member.peer.api_address)
            .collect()
    }
}

/// Commits a report, then acknowledges it. The worker sends it again only on another session, so this goes on until it
/// is committed or the session is over.
async fn carry_report(replica: &Replica, outbox: &mpsc::Sender<Outbound>, report: wire::Report) {
    let seq = report.seq;
    let (starts, finishes) = match parse_report(report) {
        Ok(parsed) => parsed,
        Err(status) => {
            let _gone = outbox.send(Err(status)).await;
            return;
        }
    };
    let has_finishes = !finishes.is_empty();
    if mutant::is_on(Mutant::AcknowledgedEarly) {
        let _gone = outbox.try_send(Ok(respond(Reaction::Acknowledge(wire::Acknowledge { seq }))));
    }
    if !starts.is_empty() {
        // A start that is not recorded is only a detail less to show.
        let _uncommitted =
            replica.proposer.propose(&Command::StartAttempts(StartAttempts { starts })).await;
    }
    if has_finishes {
        let command = Command::FinishAttempts(FinishAttempts { finishes });
        match commit(replica, outbox, &command).await {
            Ok(reply) => log_refusals(&reply),
            Err(status) => {
                tracing::warn!(%status, "a report could not be committed; the session ends");
                let _gone = outbox.send(Err(status)).await;
                return;
            }
        }
    }
    let _gone = outbox.send(Ok(respond(Reaction::Acknowledge(wire::Acknowledge { seq })))).await;
}

/// Proposes until it is committed. Only for commands that do no harm when they are carried out twice.
async fn commit(
    replica: &Replica,
    outbox: &mpsc::Sender<Outbound>,
    command: &Command,
) -> Result<Reply, Status> {
    let mut wait = REPORT_WAIT_MIN;
    loop {
        let status = match replica.proposer.propose(command).await {
            Ok((_, reply)) => return Ok(reply),
            Err(NotDone::Rejected(rejection)) => return Err(crate::faults::rejection(&rejection)),
            Err(NotDone::Uncommitted(status)) => status,
        };
        let may_pass = matches!(status.code(), Code::Unavailable | Code::ResourceExhausted);
        if !may_pass || outbox.is_closed() || !replica.leadership().is_leader {
            return Err(status);
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(REPORT_WAIT_MAX);
    }
}

fn log_refusals(reply: &Reply) {
    let Reply::Items { refused } = reply else { return };
    let stale = refused.iter().filter(|(_, refusal)| *refusal == ItemRefusal::Stale).count();
    if stale > 0 {
        tracing::info!(stale, "stale outcomes were refused");
    }
}

fn respond(message: Reaction) -> wire::SessionResponse {
    wire::SessionResponse { message: Some(message) }
}

async fn first_register(inbound: &mut Streaming<wire::SessionRequest>) -> Option<wire::Register> {
    let first = tokio::time::timeout(Duration::from_secs(10), inbound.next()).await.ok()??.ok()?;
    match first.message? {
        Inbound::Register(register) => Some(register),
        Inbound::Heartbeat(_) | Inbound::Report(_) | Inbound::LogChunk(_) | Inbound::Leave(_) => {
            None
        }
    }
}

fn texts(map: &BTreeMap<String, String>) -> BTreeMap<Text, Text> {
    map.iter().map(|(key, value)| (key.as_str().into(), value.as_str().into())).collect()
}

fn register_command(register: &wire::Register, lease: Duration) -> Command {
    let capacity = register.capacity.clone().unwrap_or_default();
    Command::RegisterWorker(RegisterWorker {
        name: register.name.as_str().into(),
        incarnation: register.incarnation,
        labels: texts(&register.labels),
        pool: (!register.pool.is_empty()).then(|| register.pool.as_str().into()),
        capacity: convert::resources_from_proto(capacity),
        lease: Millis(lease.as_millis() as u64),
    })
}

fn load(load: &wire::Load) -> Load {
    Load {
        cpu_busy_millis: load.cpu_busy_millis,
        cpu_total_millis: load.cpu_total_millis,
        memory_used_bytes: load.memory_used_bytes,
        memory_total_bytes: load.memory_total_bytes,
        run_queue_millis: u32::try_from(load.run_queue_millis).unwrap_or(u32::MAX),
        network_bytes_per_s: load.network_bytes_per_s,
        ..Load::default()
    }
}

fn parse_report(report: wire::Report) -> Result<(Vec<Start>, Vec<Finish>), Status> {
    let missing = || Status::invalid_argument("a report without its attempt");
    let mut starts = Vec::with_capacity(report.starts.len());
    for start in report.starts {
        let attempt = leader::parse_held(&start.attempt.ok_or_else(missing)?);
        starts.push(Start { attempt, age: Millis(start.age_ms) });
    }
    let mut finishes = Vec::with_capacity(report.finishes.len());
    for finish in report.finishes {
        let attempt = leader::parse_held(finish.attempt.as_ref().ok_or_else(missing)?);
        let duration = Millis(finish.duration_ms);
        let outcome = outcome(finish)
            .ok_or_else(|| Status::invalid_argument("a report without an outcome"))?;
        finishes.push(Finish { attempt, outcome, duration });
    }
    Ok((starts, finishes))
}

fn outcome(finish: wire::FinishReport) -> Option<Outcome> {
    match finish.outcome() {
        wire::OutcomeKind::Unspecified => None,
        wire::OutcomeKind::Succeeded => {
            let outputs = (!finish.outputs.is_empty()).then(|| Arc::new(texts(&finish.outputs)));
            Some(Outcome::Succeeded { outputs })
        }
        wire::OutcomeKind::Failed => {
            let message = (!finish.message.is_empty()).then(|| finish.message.as_str().into());
            Some(Outcome::Failed { exit_code: finish.exit_code, message })
        }
        wire::OutcomeKind::TimedOut => Some(Outcome::TimedOut),
        wire::OutcomeKind::Cancelled => Some(Outcome::Cancelled),
        wire::OutcomeKind::Lost => Some(Outcome::Lost),
    }
}
