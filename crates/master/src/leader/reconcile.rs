//! What a worker says it holds is compared, both ways and to the index, with what the state says it should.

use std::collections::BTreeMap;
use std::sync::Arc;

use muster_core::command::AttemptRef;
use muster_core::ids::{Fence, RunId, TaskIndex, WorkerId};
use muster_core::mutant::{self, Mutant};
use muster_core::state::State;
use muster_core::state::cells::IndexRange;
use muster_core::state::task::Attempt;
use muster_proto::internal::v1 as wire;

use super::assignment::{held, parse_held};
use super::dispatch::{dispatch, forget, stops};
use crate::replica::Replica;

/// Compares what a worker says it holds with the state. What it lacks is dispatched again, which is safe because a
/// worker takes a fence only once; what the state does not know is stopped; what must stop is told again.
pub(crate) fn reconcile(replica: &Arc<Replica>, worker: WorkerId, reported: &[wire::HeldAttempt]) {
    if mutant::is_on(Mutant::HeldIgnored) {
        return;
    }
    let reported: Vec<AttemptRef> = reported.iter().map(parse_held).collect();
    let (missing, unknown, stops) = replica.cell.read(|state| {
        let missing = missing(&state.attempts_of(worker), &reported);
        let unknown = reported.iter().flat_map(|attempt| unknown(state, attempt, worker));
        let unknown: Vec<_> = unknown.map(|attempt| held(&attempt)).collect();
        (missing, unknown, stops(state, worker, &reported))
    });
    if let Some(observer) = &replica.config.observer {
        missing.iter().for_each(|attempt| observer.dispatched_again(attempt));
    }
    for message in forget(&unknown).chain(stops) {
        if !replica.live.send(worker, message) {
            return;
        }
    }
    dispatch(replica, worker, &missing);
}

/// The ranges within a reported attempt that are live under its fence on that worker.
pub(super) fn live_ranges<'a>(
    state: &'a State,
    attempt: &AttemptRef,
    worker: WorkerId,
) -> impl Iterator<Item = (IndexRange, &'a Attempt)> {
    let task = state.run(attempt.run).and_then(|run| run.task(attempt.task));
    let (within, fence) = (attempt.range, attempt.fence);
    let cells = task.into_iter().flat_map(move |task| task.cells.within(within));
    cells.filter_map(move |(range, cell)| {
        let live = cell.attempt()?;
        (live.fence == fence && live.worker == worker).then_some((range, live))
    })
}

/// The parts of a reported attempt that the state does not have as live on that worker.
fn unknown(state: &State, attempt: &AttemptRef, worker: WorkerId) -> Vec<AttemptRef> {
    let live = live_ranges(state, attempt, worker).map(|(range, _)| range);
    gaps(attempt.range, live).map(|range| AttemptRef { range, ..*attempt }).collect()
}

/// The parts of `expected` that `reported` does not cover.
fn missing(expected: &[AttemptRef], reported: &[AttemptRef]) -> Vec<AttemptRef> {
    let key = |attempt: &AttemptRef| (attempt.run, attempt.task, attempt.fence);
    let mut covered: BTreeMap<(RunId, TaskIndex, Fence), Vec<IndexRange>> = BTreeMap::new();
    for attempt in reported {
        covered.entry(key(attempt)).or_default().push(attempt.range);
    }
    covered.values_mut().for_each(|ranges| ranges.sort_unstable());
    let mut missing = Vec::new();
    for attempt in expected {
        let ranges = covered.get(&key(attempt)).map(Vec::as_slice).unwrap_or_default();
        // Ranges that end before this attempt begins cover nothing of it.
        let from = ranges.partition_point(|range| range.last < attempt.range.first);
        let gaps = gaps(attempt.range, ranges[from..].iter().copied());
        missing.extend(gaps.map(|range| AttemptRef { range, ..*attempt }));
    }
    missing
}

/// What of `whole` the ranges leave open; they ascend by their first index.
fn gaps(
    whole: IndexRange,
    covered: impl Iterator<Item = IndexRange>,
) -> impl Iterator<Item = IndexRange> {
    let mut open = Vec::new();
    let mut next = Some(whole.first);
    for range in covered {
        let Some(from) = next else { break };
        if range.first > whole.last {
            break;
        }
        if range.last < from {
            continue;
        }
        if range.first > from {
            open.push(IndexRange { first: from, last: range.first - 1 });
        }
        next = range.last.checked_add(1);
    }
    if let Some(from) = next.filter(|from| *from <= whole.last) {
        open.push(IndexRange { first: from, last: whole.last });
    }
    open.into_iter()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc as Shared;

    use muster_core::command::{
        Command, Entry, PlaceAttempts, Placement, RegisterWorker, RunSource, Start, StartAttempts,
        SubmitRun,
    };
    use muster_core::ids::{LogIndex, Name};
    use muster_core::spec::{self, Resources};
    use muster_core::time::{Millis, Timestamp};
    use muster_proto::internal::v1::session_response::Message;

    use super::*;

    const WORKER: WorkerId = WorkerId(1);

    fn range(first: u32, last: u32) -> IndexRange {
        IndexRange { first, last }
    }

    fn attempt(first: u32, last: u32) -> AttemptRef {
        AttemptRef { run: RunId(1), task: TaskIndex(0), range: range(first, last), fence: Fence(3) }
    }

    /// Ten indices placed under fence 3. The first five began at 0 s, and their timeout of 10 s is over.
    fn state() -> State {
        let manifest = "apiVersion: v1
kind: Workflow
name: w
tasks:
  t:
    array: 0-9
    timeout: 10s
    run: sleep 60
";
        let mut specs = spec::parse(manifest).expect("a workflow");
        let resources = Resources { cpu_millis: 64_000, memory_bytes: 1 << 40, ..Resources::ZERO };
        let start =
            |range| Start { attempt: AttemptRef { range, ..attempt(0, 0) }, age: Millis(0) };
        let commands = [
            (
                0,
                Command::RegisterWorker(RegisterWorker {
                    name: "w".into(),
                    incarnation: 1,
                    labels: BTreeMap::new(),
                    pool: None,
                    lease: Millis(5_000),
                    capacity: resources,
                }),
            ),
            (
                0,
                Command::SubmitRun(SubmitRun {
                    request: None,
                    namespace: Name::parse("default").expect("a name"),
                    source: RunSource::OneOff(Box::new(specs.remove(0))),
                    params: Shared::default(),
                    priority: None,
                    backfill: None,
                }),
            ),
            (
                0,
                Command::PlaceAttempts(PlaceAttempts {
                    placements: vec![Placement {
                        run: RunId(1),
                        task: TaskIndex(0),
                        range: range(0, 9),
                        worker: WORKER,
                    }],
                }),
            ),
            (0, Command::StartAttempts(StartAttempts { starts: vec![start(range(0, 4))] })),
            (9_000, Command::StartAttempts(StartAttempts { starts: vec![start(range(5, 9))] })),
            (11_000, Command::Tick),
        ];
        let mut state = State::default();
        for (index, (at, command)) in commands.into_iter().enumerate() {
            let entry = Entry { at: Timestamp(at), commands: vec![command] };
            let applied = state.apply(LogIndex(index as u64 + 1), &entry);
            assert!(applied.replies.iter().all(Result::is_ok), "{:?}", applied.replies);
        }
        state
    }

    #[test]
    fn what_a_worker_lacks_is_found_to_the_index() {
        let expected = [attempt(0, 9), attempt(20, 29)];
        let reported = [attempt(2, 3), attempt(5, 9)];
        assert_eq!(missing(&expected, &reported), [attempt(0, 1), attempt(4, 4), attempt(20, 29)]);
        assert_eq!(missing(&expected, &expected), []);
        assert_eq!(missing(&expected, &[]), expected);
        assert_eq!(missing(&expected, &[attempt(0, 40)]), []);
    }

    #[test]
    fn another_fence_covers_nothing() {
        let stale = AttemptRef { fence: Fence(2), ..attempt(0, 9) };
        assert_eq!(missing(&[attempt(0, 9)], &[stale]), [attempt(0, 9)]);
        let state = state();
        assert_eq!(unknown(&state, &stale, WORKER), [stale]);
        assert_eq!(unknown(&state, &attempt(0, 9), WorkerId(2)), [attempt(0, 9)]);
    }

    #[test]
    fn what_the_state_does_not_have_is_found_to_the_index() {
        let state = state();
        assert_eq!(unknown(&state, &attempt(0, 9), WORKER), []);
        assert_eq!(unknown(&state, &attempt(5, 12), WORKER), [attempt(10, 12)]);
    }

    #[test]
    fn only_the_indices_that_must_stop_are_told_to() {
        // A worker reports neighbours under one fence as one range.
        let messages = stops(&state(), WORKER, &[attempt(0, 9)]);
        let [Message::Stop(stop)] = messages.as_slice() else { panic!("{messages:?}") };
        assert_eq!(stop.reason(), wire::StopReason::AttemptTimedOut);
        assert_eq!(stop.attempts, [held(&attempt(0, 4))]);
        assert!(stops(&state(), WorkerId(2), &[attempt(0, 9)]).is_empty());
    }
}
