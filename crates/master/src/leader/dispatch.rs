//! Dispatch: placed attempts go down their workers' streams, and attempts that must stop are told to.
//!
//! Events are hints. A placement whose message is lost is found by the next heartbeat, which lacks it (see
//! [`super::reconcile`]).

use std::collections::BTreeMap;
use std::sync::Arc;

use muster_core::command::{AttemptRef, Command, Entry, Finish, FinishAttempts, Outcome};
use muster_core::event::Event;
use muster_core::ids::{LogIndex, WorkerId};
use muster_core::state::State;
use muster_core::state::task::StopReason;
use muster_core::time::Millis;
use muster_proto::internal::v1 as wire;
use muster_proto::internal::v1::session_response::Message;
use prost::Message as _;
use tokio::sync::mpsc;

use super::assignment::{assignment, held};
use super::reconcile::live_ranges;
use crate::replica::Replica;

/// Events taken at once.
const EVENTS_MAX: usize = 4096;
/// Assignments in one message.
const ASSIGNMENTS_PER_MESSAGE: usize = 512;
/// A message takes no further assignment past this size, in bytes.
const DISPATCH_BYTES_SOFT_MAX: usize = 1 << 20;
/// Attempts in one message that stops them.
const STOPS_PER_MESSAGE: usize = 4096;

/// Acts on events until this master leads no more.
pub(super) async fn run(replica: Arc<Replica>, events: &mut mpsc::UnboundedReceiver<Event>) {
    let mut batch = Vec::new();
    while events.recv_many(&mut batch, EVENTS_MAX).await > 0 {
        act(&replica, batch.drain(..));
    }
}

fn act(replica: &Arc<Replica>, events: impl Iterator<Item = Event>) {
    let mut placed: BTreeMap<WorkerId, Vec<AttemptRef>> = BTreeMap::new();
    let mut stopping: BTreeMap<WorkerId, Vec<AttemptRef>> = BTreeMap::new();
    for event in events {
        match event {
            Event::AttemptPlaced { run, task, range, worker, fence } => {
                placed.entry(worker).or_default().push(AttemptRef { run, task, range, fence });
            }
            Event::AttemptStopping { run, task, range, worker, fence } => {
                stopping.entry(worker).or_default().push(AttemptRef { run, task, range, fence });
            }
            Event::WorkerLost { worker } => {
                replica.live.forget(worker, "no heartbeat came for a full lease");
            }
            Event::WorkerChanged { .. }
            | Event::WorkflowApplied { .. }
            | Event::NamespaceApplied { .. }
            | Event::RunSubmitted { .. }
            | Event::RunBegun { .. }
            | Event::SchedulesChanged { .. }
            | Event::TriggerFired { .. }
            | Event::RunChanged { .. }
            | Event::RunStopping { .. }
            | Event::RunEnded { .. }
            | Event::TaskChanged { .. }
            | Event::HistoryPruned { .. } => {}
        }
    }
    for (worker, attempts) in stopping {
        for message in replica.cell.read(|state| stops(state, worker, &attempts)) {
            replica.live.send(worker, message);
        }
    }
    for (worker, attempts) in placed {
        dispatch(replica, worker, &attempts);
    }
}

/// Sends attempts to their worker, as far as they are still live there. One that cannot be carried out at all ends.
pub(super) fn dispatch(replica: &Arc<Replica>, worker: WorkerId, attempts: &[AttemptRef]) {
    let mut impossible = Vec::new();
    let mut parcel = Parcel::default();
    for attempt in attempts {
        // One look at the state each: to resolve an environment takes a while, and apply waits for readers.
        let found = replica.cell.read(|state| assignment(state, attempt, worker));
        match found {
            Ok(assignments) => {
                for assignment in assignments {
                    if let Some(full) = parcel.add(assignment)
                        && !replica.live.send(worker, full)
                    {
                        // No session: the next one begins with a comparison.
                        return;
                    }
                }
            }
            Err(problem) => impossible.push(failed(attempt, &problem)),
        }
    }
    if let Some(rest) = parcel.take() {
        replica.live.send(worker, rest);
    }
    if !impossible.is_empty() {
        let replica = replica.clone();
        tokio::spawn(async move {
            let command = Command::FinishAttempts(FinishAttempts { finishes: impossible });
            // If it does not commit, the next heartbeat lacks the attempts and they come here again.
            let _uncommitted = replica.proposer.propose(&command).await;
        });
    }
}

/// Sends what a command would place if the next entry held it. For [`Mutant::DispatchBeforeCommit`].
///
/// [`Mutant::DispatchBeforeCommit`]: muster_core::mutant::Mutant::DispatchBeforeCommit
pub(super) fn ahead_of_the_log(replica: &Replica, command: &Command) {
    let mut state = replica.cell.read(State::clone);
    let next = LogIndex(replica.raft.applied_index() + 1);
    let entry = Entry { at: replica.clock.now(), commands: vec![command.clone()] };
    for event in state.apply(next, &entry).events {
        let Event::AttemptPlaced { run, task, range, worker, fence } = event else { continue };
        let attempt = AttemptRef { run, task, range, fence };
        let assignments = assignment(&state, &attempt, worker).unwrap_or_default();
        replica.live.send(worker, Message::Dispatch(wire::Dispatch { assignments }));
    }
}

/// Assignments for one message, which is bounded in their number and in bytes.
#[derive(Default)]
struct Parcel {
    assignments: Vec<wire::Assignment>,
    bytes: usize,
}

impl Parcel {
    /// Adds an assignment. Returns the message before it, if that is full.
    fn add(&mut self, assignment: wire::Assignment) -> Option<Message> {
        let bytes = assignment.encoded_len();
        let is_full = self.assignments.len() >= ASSIGNMENTS_PER_MESSAGE
            || self.bytes + bytes > DISPATCH_BYTES_SOFT_MAX;
        let full = if is_full { self.take() } else { None };
        self.assignments.push(assignment);
        self.bytes += bytes;
        full
    }

    fn take(&mut self) -> Option<Message> {
        let Parcel { assignments, .. } = std::mem::take(self);
        (!assignments.is_empty()).then_some(Message::Dispatch(wire::Dispatch { assignments }))
    }
}

fn failed(attempt: &AttemptRef, problem: &str) -> Finish {
    let outcome = Outcome::Failed { exit_code: None, message: Some(problem.into()) };
    Finish { attempt: *attempt, outcome, duration: Millis(0) }
}

/// The messages that stop what must stop of `attempts` on `worker`: to the index, for the indices of an array may share
/// a fence and not a reason to stop.
pub(super) fn stops(state: &State, worker: WorkerId, attempts: &[AttemptRef]) -> Vec<Message> {
    let mut by_reason: BTreeMap<i32, Vec<wire::HeldAttempt>> = BTreeMap::new();
    for attempt in attempts {
        for (range, live) in live_ranges(state, attempt, worker) {
            let Some(stop) = live.stop else { continue };
            let reason = match stop.reason {
                StopReason::Cancelled
                | StopReason::Replaced
                | StopReason::FailFast
                | StopReason::ByParent => wire::StopReason::Cancelled,
                StopReason::RunTimedOut => wire::StopReason::RunTimedOut,
                StopReason::AttemptTimedOut => wire::StopReason::AttemptTimedOut,
            };
            let told = by_reason.entry(reason as i32).or_default();
            told.push(held(&AttemptRef { range, ..*attempt }));
        }
    }
    let of_reason = |(reason, attempts): (i32, Vec<wire::HeldAttempt>)| {
        let parts: Vec<_> = attempts.chunks(STOPS_PER_MESSAGE).map(<[_]>::to_vec).collect();
        parts
            .into_iter()
            .map(move |attempts| Message::Stop(wire::StopAttempts { attempts, reason }))
    };
    by_reason.into_iter().flat_map(of_reason).collect()
}

/// Tells a worker to end attempts that the state does not know, and to forget them.
pub(super) fn forget(attempts: &[wire::HeldAttempt]) -> impl Iterator<Item = Message> {
    attempts.chunks(STOPS_PER_MESSAGE).map(|part| {
        let reason = wire::StopReason::Unknown as i32;
        Message::Stop(wire::StopAttempts { attempts: part.to_vec(), reason })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_bounded_in_bytes_whatever_the_scripts() {
        let script = "x".repeat(400_000);
        let task = wire::TaskDefinition { task_id: script, ..Default::default() };
        let assignment = wire::Assignment { task: Some(task), ..Default::default() };
        let mut parcel = Parcel::default();
        let mut messages: Vec<_> = (0..7).filter_map(|_| parcel.add(assignment.clone())).collect();
        messages.extend(parcel.take());
        let counts: Vec<usize> = messages
            .iter()
            .map(|message| match message {
                Message::Dispatch(dispatch) => dispatch.assignments.len(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(counts, [2, 2, 2, 1]);
        assert!(parcel.take().is_none());
    }
}
