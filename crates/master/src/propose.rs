//! The proposer: packs many callers' commands into one entry and keeps few entries in flight.
//!
//! While an entry is being committed, commands gather; the next entry takes them all. So a lone caller waits for nobody
//! and a thousand callers share one fsync, without any timer.
//!
//! Nobody waits for ever: while no majority answers, what is on its way is given up after [`COMMIT_WAIT_MAX`], and what
//! comes after it is refused by the log at once. To give up is not to take back: the caller is told that the command
//! may still be carried out, and a request id makes it safe to try again.
//!
//! Nobody waits in a long queue either: beyond [`SUBMISSIONS_WAITING_MAX`] a submission is refused at once. Whatever
//! finishes, places, cancels or holds back work has room beyond that, so that a crowd does not keep the masters from
//! working it off.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use muster_core::command::Command;
use muster_core::ids::LogIndex;
use muster_core::reply::{Rejection, Reply};
use muster_proto::convert;
use muster_raft::{ProposeError, RaftMember};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tonic::{Code, Status};

use crate::clock::LogClock;
use crate::faults;
use crate::machine::EntryReply;
use crate::observer::Observer;

/// Commands that may wait; beyond it callers are told to try again.
const WAITING_MAX: usize = 16_384;
/// Most commands in one entry.
const COMMANDS_PER_ENTRY_MAX: usize = 1024;
/// Submissions among the commands that may wait; beyond it callers are told to try again. They fill the next entries:
/// if more waited, no more would be committed, and each would wait longer, until whoever submitted has lost patience.
const SUBMISSIONS_WAITING_MAX: usize = 4 * COMMANDS_PER_ENTRY_MAX;
/// An entry takes no further command past this size.
const ENTRY_BYTES_SOFT_MAX: usize = 512 << 10;
/// Entries that may be on their way at once. Two keep disk and processor busy at the same time; more only make entries
/// smaller and so dearer: with eight, the ratio of `muster bench process` fell from 0.83 to 0.78.
const IN_FLIGHT_MAX: usize = 2;

/// Bytes of commands that may wait; beyond it callers are told to try again.
const WAITING_BYTES_MAX: usize = 64 << 20;
/// An entry that takes longer to be committed is given up. Above what a slow disk takes, below what callers have
/// patience for.
const COMMIT_WAIT_MAX: Duration = Duration::from_secs(5);

/// A committed command: where, and what the state answered.
pub(crate) type Committed = (LogIndex, Result<Reply, Rejection>);

struct Proposal {
    /// The term in which it was decided.
    term: u64,
    command: Bytes,
    answer: oneshot::Sender<Result<Committed, ProposeError>>,
    /// Its share of the bytes that may wait, until it is on its way.
    _room: OwnedSemaphorePermit,
    /// A submission's share of how many may wait, until it is on its way.
    _turn: Option<OwnedSemaphorePermit>,
}

/// See the module documentation.
#[derive(Clone)]
pub(crate) struct Proposer {
    raft: RaftMember,
    waiting: mpsc::Sender<Proposal>,
    /// Bytes.
    room: Arc<Semaphore>,
    /// Submissions.
    turns: Arc<Semaphore>,
}

/// Why a command was not carried out.
pub(crate) enum NotDone {
    /// The log did not take it, or it is not known whether it did.
    Uncommitted(Status),
    /// The state said no.
    Rejected(Rejection),
}

impl From<NotDone> for Status {
    fn from(not_done: NotDone) -> Status {
        match not_done {
            NotDone::Uncommitted(status) => status,
            NotDone::Rejected(rejection) => faults::rejection(&rejection),
        }
    }
}

impl Proposer {
    /// Starts the task that proposes on `raft`.
    pub(crate) fn start(
        raft: RaftMember,
        clock: Arc<LogClock>,
        observer: Option<Arc<dyn Observer>>,
    ) -> Self {
        let (waiting, receiver) = mpsc::channel(WAITING_MAX);
        let log = Log { raft: raft.clone(), clock, observer };
        tokio::spawn(propose_all(Arc::new(log), receiver));
        let room = Arc::new(Semaphore::new(WAITING_BYTES_MAX));
        let turns = Arc::new(Semaphore::new(SUBMISSIONS_WAITING_MAX));
        Proposer { raft, waiting, room, turns }
    }

    /// Proposes a command in the term of now, and waits until it is applied.
    pub(crate) async fn propose(&self, command: &Command) -> Result<(LogIndex, Reply), NotDone> {
        let term = self.raft.watch_leadership().borrow().term;
        self.propose_in(term, command).await
    }

    /// Proposes a command that makes new work, as [`Proposer::propose`] does, unless too many of its kind wait.
    pub(crate) async fn submit(&self, command: &Command) -> Result<(LogIndex, Reply), NotDone> {
        let turn = self.turns.clone().try_acquire_owned().map_err(|_| overloaded())?;
        let term = self.raft.watch_leadership().borrow().term;
        self.propose_with(term, command, Some(turn)).await
    }

    /// Proposes what was decided in a term, and waits until it is applied. In another term it is refused, even if the
    /// same master leads in both: in between another leader may have promised what this command breaks.
    pub(crate) async fn propose_in(
        &self,
        term: u64,
        command: &Command,
    ) -> Result<(LogIndex, Reply), NotDone> {
        self.propose_with(term, command, None).await
    }

    async fn propose_with(
        &self,
        term: u64,
        command: &Command,
        turn: Option<OwnedSemaphorePermit>,
    ) -> Result<(LogIndex, Reply), NotDone> {
        let command = convert::encode_command(command);
        let bytes = u32::try_from(command.len()).unwrap_or(u32::MAX);
        let room = self.room.clone().try_acquire_many_owned(bytes).map_err(|_| overloaded())?;
        let (answer, answered) = oneshot::channel();
        let proposal = Proposal { term, command, answer, _room: room, _turn: turn };
        self.waiting.try_send(proposal).map_err(|_| overloaded())?;
        let committed = answered.await.map_err(|_| NotDone::Uncommitted(faults::no_leader()))?;
        let (index, reply) =
            committed.map_err(|error| NotDone::Uncommitted(uncommitted(&error)))?;
        reply.map(|reply| (index, reply)).map_err(NotDone::Rejected)
    }
}

fn overloaded() -> NotDone {
    NotDone::Uncommitted(faults::overloaded())
}

fn uncommitted(error: &ProposeError) -> Status {
    if matches!(error, ProposeError::TooLarge { .. }) {
        return faults::fault(Code::InvalidArgument, "REQUEST_TOO_LARGE", error.to_string());
    }
    let status = faults::no_leader();
    Status::with_details(status.code(), error.to_string(), Bytes::copy_from_slice(status.details()))
}

/// Where entries go.
struct Log {
    raft: RaftMember,
    clock: Arc<LogClock>,
    observer: Option<Arc<dyn Observer>>,
}

async fn propose_all(log: Arc<Log>, mut waiting: mpsc::Receiver<Proposal>) {
    let in_flight = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
    let mut left_over: Option<Proposal> = None;
    loop {
        let Ok(permit) = in_flight.clone().acquire_owned().await else { return };
        let Some(first) = (match left_over.take() {
            Some(proposal) => Some(proposal),
            None => waiting.recv().await,
        }) else {
            return;
        };
        let term = first.term;
        let mut bytes = first.command.len();
        let mut batch = vec![first];
        while batch.len() < COMMANDS_PER_ENTRY_MAX && bytes < ENTRY_BYTES_SOFT_MAX {
            let Ok(next) = waiting.try_recv() else { break };
            // An entry is of one term.
            if next.term != term || bytes + next.command.len() > ENTRY_BYTES_SOFT_MAX {
                left_over = Some(next);
                break;
            }
            bytes += next.command.len();
            batch.push(next);
        }
        // Who went away while waiting takes the command along.
        batch.retain(|proposal| !proposal.answer.is_closed());
        if batch.is_empty() {
            continue;
        }
        let log = Arc::clone(&log);
        tokio::spawn(async move {
            propose_batch(&log, term, batch).await;
            drop(permit);
        });
    }
}

async fn propose_batch(log: &Log, term: u64, batch: Vec<Proposal>) {
    let (commands, answers): (Vec<Bytes>, Vec<_>) =
        batch.into_iter().map(|proposal| (proposal.command, proposal.answer)).unzip();
    let entry = convert::assemble_entry(log.clock.now(), &commands);
    let proposed = tokio::time::timeout(COMMIT_WAIT_MAX, log.raft.propose_in(term, entry)).await;
    let proposed = proposed.unwrap_or_else(|_| {
        let why = "no majority of the masters confirmed it in time; it may still be carried out";
        Err(ProposeError::Unknown(why.into()))
    });
    match proposed.map(|committed| committed.reply.take::<EntryReply>()) {
        Ok(Some(EntryReply { index, replies })) => {
            for (answer, reply) in answers.into_iter().zip(replies) {
                // A caller that went away does not need its answer.
                let _gone = answer.send(Ok((index, reply)));
            }
        }
        Ok(None) => tracing::error!("an entry was applied without replies"),
        Err(error) => {
            if let (ProposeError::NotLeader { .. }, Some(observer)) = (&error, &log.observer) {
                observer.refused(term);
            }
            for answer in answers {
                let _gone = answer.send(Err(error.clone()));
            }
        }
    }
}
