//! Dispatch: placed attempts go down their workers' streams; attempts that must stop are told to; and what a worker
//! holds is compared, both ways, with what the state says it should.
//!
//! Events are hints. A placement whose message is lost is found by the next heartbeat, which lacks it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use muster_core::command::{AttemptRef, Command, Finish, FinishAttempts, Outcome};
use muster_core::event::Event;
use muster_core::ids::WorkerId;
use muster_core::state::State;
use muster_core::state::cells::IndexRange;
use muster_core::state::task::StopReason;
use muster_core::time::Millis;
use muster_proto::internal::v1 as wire;
use muster_proto::internal::v1::session_response::Message;
use tokio::sync::mpsc;

use super::assignment::{assignment, held, parse_held};
use crate::replica::Replica;

/// Events taken at once.
const EVENTS_MAX: usize = 4096;
/// Assignments in one message.
const ASSIGNMENTS_PER_MESSAGE: usize = 512;

/// Acts on events until this master leads no more.
pub(super) async fn run(replica: Arc<Replica>, events: &mut mpsc::UnboundedReceiver<Event>) {
    let mut batch = Vec::new();
    while events.recv_many(&mut batch, EVENTS_MAX).await > 0 {
        act(&replica, batch.drain(..));
    }
}

fn act(replica: &Arc<Replica>, events: impl Iterator<Item = Event>) {
    let mut placed: BTreeMap<WorkerId, Vec<AttemptRef>> = BTreeMap::new();
    for event in events {
        match event {
            Event::AttemptPlaced { run, task, range, worker, fence } => {
                placed.entry(worker).or_default().push(AttemptRef { run, task, range, fence });
            }
            Event::AttemptStopping { run, task, range, worker, fence } => {
                let attempt = AttemptRef { run, task, range, fence };
                if let Some(message) = replica.cell.read(|state| stop_of(state, &attempt)) {
                    replica.live.send(worker, message);
                }
            }
            Event::WorkerLost { worker } => {
                replica.live.forget(worker, "no heartbeat came for a full lease");
            }
            Event::WorkerChanged { .. }
            | Event::WorkflowApplied { .. }
            | Event::RunSubmitted { .. }
            | Event::RunStopping { .. }
            | Event::RunEnded { .. }
            | Event::TaskChanged { .. }
            | Event::HistoryPruned { .. } => {}
        }
    }
    for (worker, attempts) in placed {
        dispatch(replica, worker, &attempts);
    }
}

/// Sends attempts to their worker, as far as they are still live there. One that cannot be carried out at all ends.
fn dispatch(replica: &Arc<Replica>, worker: WorkerId, attempts: &[AttemptRef]) {
    let mut impossible = Vec::new();
    for part in attempts.chunks(ASSIGNMENTS_PER_MESSAGE) {
        let mut assignments = Vec::with_capacity(part.len());
        replica.cell.read(|state| {
            for attempt in part {
                match assignment(state, attempt, worker) {
                    Ok(some) => assignments.extend(some),
                    Err(problem) => impossible.push(failed(attempt, &problem)),
                }
            }
        });
        if !assignments.is_empty() {
            replica.live.send(worker, Message::Dispatch(wire::Dispatch { assignments }));
        }
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

fn failed(attempt: &AttemptRef, problem: &str) -> Finish {
    let outcome = Outcome::Failed { exit_code: None, message: Some(problem.into()) };
    Finish { attempt: *attempt, outcome, duration: Millis(0) }
}

fn stop_of(state: &State, attempt: &AttemptRef) -> Option<Message> {
    let task = state.run(attempt.run)?.task(attempt.task)?;
    let (_, cell) = task.cells.at(attempt.range.first)?;
    let live = cell.attempt().filter(|live| live.fence == attempt.fence)?;
    let reason = match live.stop?.reason {
        StopReason::Cancelled => wire::StopReason::Cancelled,
        StopReason::RunTimedOut => wire::StopReason::RunTimedOut,
        StopReason::AttemptTimedOut => wire::StopReason::AttemptTimedOut,
    };
    Some(stop_message(vec![held(attempt)], reason))
}

/// Tells a worker to stop attempts.
pub(crate) fn stop_message(attempts: Vec<wire::HeldAttempt>, reason: wire::StopReason) -> Message {
    Message::Stop(wire::StopAttempts { attempts, reason: reason as i32 })
}

/// Compares what a worker says it holds with the state. What it lacks is dispatched again, which is safe because a
/// worker takes a fence only once; what the state does not know is stopped; what must stop is told again.
pub(crate) fn reconcile(replica: &Arc<Replica>, worker: WorkerId, reported: &[wire::HeldAttempt]) {
    let reported: Vec<AttemptRef> = reported.iter().map(parse_held).collect();
    let (expected, unknown, stops) = replica.cell.read(|state| {
        let expected = state.attempts_of(worker);
        let unknown: Vec<_> =
            reported.iter().filter(|attempt| !is_live(state, attempt, worker)).map(held).collect();
        let stops: Vec<_> = reported.iter().filter_map(|attempt| stop_of(state, attempt)).collect();
        (expected, unknown, stops)
    });
    let missing = missing(&expected, &reported);
    if !missing.is_empty() {
        dispatch(replica, worker, &missing);
    }
    if !unknown.is_empty() {
        replica.live.send(worker, stop_message(unknown, wire::StopReason::Unknown));
    }
    for stop in stops {
        replica.live.send(worker, stop);
    }
}

/// Whether some index of a reported attempt is live on that worker.
fn is_live(state: &State, attempt: &AttemptRef, worker: WorkerId) -> bool {
    let task = state.run(attempt.run).and_then(|run| run.task(attempt.task));
    task.is_some_and(|task| {
        task.cells.within(attempt.range).any(|(_, cell)| {
            cell.attempt().is_some_and(|live| live.fence == attempt.fence && live.worker == worker)
        })
    })
}

/// The parts of `expected` that `reported` does not cover.
fn missing(expected: &[AttemptRef], reported: &[AttemptRef]) -> Vec<AttemptRef> {
    let mut covered: BTreeMap<(u64, u32, u64), BTreeSet<IndexRange>> = BTreeMap::new();
    for attempt in reported {
        covered
            .entry((attempt.run.0, attempt.task.0, attempt.fence.0))
            .or_default()
            .insert(attempt.range);
    }
    let mut missing = Vec::new();
    for attempt in expected {
        let none = BTreeSet::new();
        let ranges =
            covered.get(&(attempt.run.0, attempt.task.0, attempt.fence.0)).unwrap_or(&none);
        let mut next = Some(attempt.range.first);
        for range in ranges {
            let Some(from) = next else { break };
            if range.last < from || range.first > attempt.range.last {
                continue;
            }
            if range.first > from {
                let gap = IndexRange { first: from, last: range.first - 1 };
                missing.push(AttemptRef { range: gap, ..*attempt });
            }
            next = range.last.checked_add(1);
        }
        if let Some(from) = next.filter(|from| *from <= attempt.range.last) {
            missing.push(AttemptRef {
                range: IndexRange { first: from, last: attempt.range.last },
                ..*attempt
            });
        }
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;
    use muster_core::ids::{Fence, RunId, TaskIndex};

    fn attempt(first: u32, last: u32) -> AttemptRef {
        AttemptRef {
            run: RunId(1),
            task: TaskIndex(0),
            range: IndexRange { first, last },
            fence: Fence(7),
        }
    }

    #[test]
    fn what_a_worker_lacks_is_found_to_the_index() {
        let expected = [attempt(0, 9), attempt(20, 29)];
        let reported = [attempt(2, 3), attempt(5, 9)];
        assert_eq!(missing(&expected, &reported), [attempt(0, 1), attempt(4, 4), attempt(20, 29)]);
        assert_eq!(missing(&expected, &expected), []);
        assert_eq!(missing(&expected, &[]), expected);
    }

    #[test]
    fn another_fence_covers_nothing() {
        let stale = AttemptRef { fence: Fence(6), ..attempt(0, 9) };
        assert_eq!(missing(&[attempt(0, 9)], &[stale]), [attempt(0, 9)]);
    }
}
