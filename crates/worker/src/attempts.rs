//! The attempts a worker holds, from their dispatch to the acknowledgement of their outcome.
//!
//! ```text
//!   dispatch ──► live ──► ended, to be reported ──► acknowledged: remembered for a while
//!                 └──── present: named in every heartbeat ────┘
//! ```
//!
//! A dispatch may arrive twice: leaders resend what they are not sure about, and a new leader derives all placements
//! again. An index under a fence is started once, however often it is dispatched, and also when its outcome was
//! acknowledged a moment ago. If it is dispatched even so, the leader may have refused that outcome: it is told that
//! the attempt is lost, which changes nothing if the outcome was accepted, and otherwise is all that gets the task on.
//!
//! What the table cost grows with the ranges it holds. A range goes to an executor as one unit if the executor takes
//! ranges, and as one unit an index if not.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use muster_core::command::AttemptRef;
use muster_core::ids::{Fence, RunId, TaskIndex};
use muster_core::spec::ExecutorSpec;
use muster_core::state::cells::IndexRange;
use muster_platform::Platform;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::executor::{
    Assignment, Attempt, Ending, Executor, Outcome, Stop, StopHandle, failed, stop_pair,
};
use crate::observer::{Event, Witness};
use crate::ranges::RangeSet;

/// How many fully acknowledged assignments are remembered, so that a late duplicate is known for one.
const REMEMBERED_MAX: usize = 1 << 17;
/// An attempt that runs for less is reported only when it ended.
pub const START_REPORT_AFTER: Duration = Duration::from_millis(100);

/// An attempt that ended and is to be reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Which.
    pub attempt: AttemptRef,
    /// How.
    pub ending: Ending,
    /// Whether it did anything, so that running it again would cost something.
    pub is_worth_keeping: bool,
}

/// All attempts of a worker.
///
/// - Every index that was accepted under a fence is live, or to be reported, or acknowledged; never started again.
/// - `present` is exactly the live and the reported-but-unacknowledged indices.
#[derive(Debug)]
pub struct Attempts {
    executors: Executors,
    endings: mpsc::UnboundedSender<Ended>,
    runtime: Handle,
    platform: Platform,
    witness: Arc<Witness>,
    table: Mutex<Table>,
}

struct Executors(Vec<Arc<dyn Executor>>);

impl std::fmt::Debug for Executors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|executor| executor.name())).finish()
    }
}

/// A task of a run under one fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Key {
    run: RunId,
    task: TaskIndex,
    fence: Fence,
}

#[derive(Debug, Default)]
struct Table {
    held: BTreeMap<Key, Held>,
    live: usize,
    /// How often everything was stopped.
    stops: u64,
    /// Units by when they started, for the reports of starts. Those that ended are skipped when they come up.
    unannounced: VecDeque<(Duration, Key, u32)>,
    /// Acknowledged indices, and the order in which their keys came.
    remembered: HashMap<Key, RangeSet>,
    order: VecDeque<Key>,
}

#[derive(Debug, Default)]
struct Held {
    /// Every index that was ever accepted under this fence.
    accepted: RangeSet,
    present: RangeSet,
    /// By first index.
    units: BTreeMap<u32, Unit>,
}

#[derive(Debug)]
struct Unit {
    last: u32,
    stop: StopHandle,
    /// The leader does not know it: its outcome is nobody's business.
    is_forgotten: bool,
}

impl Key {
    fn of(attempt: &AttemptRef) -> Self {
        Key { run: attempt.run, task: attempt.task, fence: attempt.fence }
    }

    fn with(self, range: IndexRange) -> AttemptRef {
        AttemptRef { run: self.run, task: self.task, range, fence: self.fence }
    }
}

impl Attempts {
    /// No attempts. Endings go to `endings`; executors are polled on the current runtime.
    pub fn new(
        executors: Vec<Arc<dyn Executor>>,
        endings: mpsc::UnboundedSender<Ended>,
        platform: Platform,
        witness: Arc<Witness>,
    ) -> Arc<Self> {
        let executors = Executors(executors);
        let (runtime, table) = (Handle::current(), Mutex::default());
        Arc::new(Attempts { executors, endings, runtime, platform, witness, table })
    }

    /// The names of the executors.
    pub fn executor_names(&self) -> Vec<String> {
        self.executors.0.iter().map(|executor| executor.name().to_owned()).collect()
    }

    /// Starts what is not known yet of `assignment`. The caller has seen to it that the lease is live.
    pub fn dispatch(self: &Arc<Self>, assignment: Assignment) {
        let attempt = assignment.attempt_ref();
        let (fresh, gone, stops) = {
            let mut table = self.table.lock();
            let fresh = table.accept(&attempt);
            let gone = table.absent(&attempt);
            (fresh, gone, table.stops)
        };
        self.end_unstarted(&attempt, &gone, &Outcome::Lost);
        if fresh.is_empty() {
            tracing::debug!(?attempt, "dispatched again; ignored");
            return;
        }
        for range in fresh.iter() {
            let attempt = AttemptRef { range, ..attempt };
            self.witness.tell(|incarnation| Event::Accepted { attempt, incarnation });
        }
        let assignment = Arc::new(assignment);
        let Some(executor) = self.executors.0.iter().find(|e| e.accepts(&assignment.task.executor))
        else {
            let outcome = failed(None, "this worker has no executor for the task");
            self.end_unstarted(&attempt, &fresh, &outcome);
            return;
        };
        let _context = self.runtime.enter();
        for range in fresh.iter() {
            if executor.takes_ranges() {
                self.start(executor.as_ref(), &assignment, range, stops);
            } else {
                for index in range.first..=range.last {
                    let single = IndexRange::single(index);
                    self.start(executor.as_ref(), &assignment, single, stops);
                }
            }
        }
    }

    /// Ends what is not known yet of `attempt` with `outcome`, without starting it.
    pub fn refuse(&self, attempt: &AttemptRef, outcome: &Outcome) {
        let fresh = self.table.lock().accept(attempt);
        self.end_unstarted(attempt, &fresh, outcome);
    }

    fn end_unstarted(&self, attempt: &AttemptRef, ranges: &RangeSet, outcome: &Outcome) {
        for range in ranges.iter() {
            let ending = Ending::at_once(outcome.clone(), self.platform.since_boot());
            self.report(Key::of(attempt).with(range), ending, false);
        }
    }

    fn start(
        self: &Arc<Self>,
        executor: &dyn Executor,
        assignment: &Arc<Assignment>,
        range: IndexRange,
        stops: u64,
    ) {
        let is_worth_keeping = !matches!(assignment.task.executor, ExecutorSpec::Noop);
        let key = Key::of(&assignment.attempt_ref());
        let (handle, stop) = stop_pair();
        let attempt = Attempt { assignment: assignment.clone(), indices: range, stop };
        let incarnation = self.witness.incarnation();
        self.witness.tell(|_| Event::Started { attempt: key.with(range), incarnation });
        let mut carrying_out = executor.execute(attempt);
        // What ends at once needs neither a task of the runtime nor an entry to be stopped by.
        if let Some(ending) = carrying_out.as_mut().now_or_never() {
            self.tell_end(key.with(range), incarnation, &ending);
            self.report(key.with(range), ending, is_worth_keeping);
            return;
        }
        self.table.lock().begin(key, range, handle, stops, self.platform.since_boot());
        let attempts = self.clone();
        self.runtime.spawn(async move {
            let ending = carrying_out.await;
            attempts.tell_end(key.with(range), incarnation, &ending);
            if attempts.table.lock().end(key, range) {
                attempts.report(key.with(range), ending, is_worth_keeping);
            }
        });
    }

    fn tell_end(&self, attempt: AttemptRef, incarnation: u64, ending: &Ending) {
        let outcome = || ending.outcome.clone();
        self.witness.tell(|_| Event::Ended { attempt, incarnation, outcome: outcome() });
    }

    fn report(&self, attempt: AttemptRef, ending: Ending, is_worth_keeping: bool) {
        // Nobody listens once the worker shut down.
        let _ = self.endings.send(Ended { attempt, ending, is_worth_keeping });
    }

    /// Asks the live units within `attempt` to stop. What was never dispatched here is reported as lost, and known from
    /// then on, so that a late dispatch does not start it.
    pub fn stop(&self, attempt: &AttemptRef, stop: Stop) {
        if let Some(held) = self.table.lock().held.get(&Key::of(attempt)) {
            held.units_within(attempt.range).for_each(|unit| unit.stop.request(stop));
        }
        self.refuse(attempt, &Outcome::Lost);
    }

    /// Kills the live units within `attempt` and never reports them: the leader does not know them.
    pub fn forget(&self, attempt: &AttemptRef) {
        let mut table = self.table.lock();
        let key = Key::of(attempt);
        table.accept(attempt);
        if let Some(held) = table.held.get_mut(&key) {
            let range = attempt.range;
            let units = held.units.range_mut(range.first..=range.last).map(|(_, unit)| unit);
            for unit in units.filter(|unit| unit.last <= range.last) {
                unit.is_forgotten = true;
                unit.stop.request(Stop::AtOnce);
            }
        }
        // What is live stays present until it is dead.
        let ended = table.held.get(&key).map(|held| held.ended_within(attempt.range));
        for range in ended.iter().flat_map(RangeSet::iter) {
            table.leave(key, range);
        }
    }

    /// Asks every live unit to stop, and those too that a dispatch under way at this moment is about to start.
    pub fn stop_all(&self, stop: Stop) {
        let mut table = self.table.lock();
        table.stops += 1;
        for held in table.held.values() {
            held.units.values().for_each(|unit| unit.stop.request(stop));
        }
    }

    /// Stops everything at once, also what cannot hear of it. Blocks for as long as the executors need for that.
    pub fn kill_all(&self) {
        self.stop_all(Stop::AtOnce);
        self.executors.0.iter().for_each(|executor| executor.kill_all());
    }

    /// Tells the executors when everything must be dead. See [`Executor::set_lease_end`].
    pub fn set_lease_end(&self, end: Option<Duration>) {
        self.executors.0.iter().for_each(|executor| executor.set_lease_end(end));
    }

    /// The outcome of `attempt` was acknowledged.
    pub fn acknowledge(&self, attempt: &AttemptRef) {
        self.table.lock().leave(Key::of(attempt), attempt.range);
    }

    /// What is live, or ended and not acknowledged, in the order of runs, tasks and indices.
    pub fn held(&self) -> Vec<AttemptRef> {
        let table = self.table.lock();
        let ranges = table.held.iter();
        ranges.flat_map(|(key, held)| held.present.iter().map(|range| key.with(range))).collect()
    }

    /// Whether nothing is live and every outcome was acknowledged.
    pub fn is_empty(&self) -> bool {
        self.table.lock().held.is_empty()
    }

    /// How many units are live.
    pub fn live(&self) -> usize {
        self.table.lock().live
    }

    /// Attempts that are live for [`START_REPORT_AFTER`] and were not yielded before, with their age.
    pub fn starts(&self, now: Duration) -> Vec<(AttemptRef, Duration)> {
        let mut table = self.table.lock();
        let mut starts: Vec<(AttemptRef, Duration)> = Vec::new();
        while let Some((started_at, key, first)) = table.unannounced.front().copied() {
            let age = now.saturating_sub(started_at);
            if age < START_REPORT_AFTER {
                break;
            }
            table.unannounced.pop_front();
            let Some(unit) = table.held.get(&key).and_then(|held| held.units.get(&first)) else {
                continue;
            };
            let range = IndexRange { first, last: unit.last };
            match starts.last_mut() {
                Some((attempt, _)) if follows(attempt, key, range) => {
                    attempt.range.last = range.last;
                }
                _ => starts.push((key.with(range), age)),
            }
        }
        starts
    }

    /// Lets [`Attempts::starts`] yield everything live again: a report may have been lost with its stream.
    pub fn announce_again(&self, now: Duration) {
        let mut table = self.table.lock();
        let live: Vec<(Duration, Key, u32)> = table
            .held
            .iter()
            .flat_map(|(key, held)| held.units.keys().map(|first| (now, *key, *first)))
            .collect();
        table.unannounced = live.into();
    }
}

/// Whether `range` under `key` continues `attempt`.
fn follows(attempt: &AttemptRef, key: Key, range: IndexRange) -> bool {
    Key::of(attempt) == key && attempt.range.last.checked_add(1) == Some(range.first)
}

impl Table {
    /// Takes in what is not known yet of `attempt`, as present, and returns it.
    fn accept(&mut self, attempt: &AttemptRef) -> RangeSet {
        let key = Key::of(attempt);
        let mut fresh = RangeSet::of(attempt.range);
        for known in [self.held.get(&key).map(|held| &held.accepted), self.remembered.get(&key)] {
            known.into_iter().flat_map(RangeSet::iter).for_each(|range| fresh.remove(range));
        }
        if !fresh.is_empty() {
            let held = self.held.entry(key).or_default();
            for range in fresh.iter() {
                held.accepted.insert(range);
                held.present.insert(range);
            }
        }
        fresh
    }

    /// What of `attempt` was accepted once and is not present any more.
    fn absent(&self, attempt: &AttemptRef) -> RangeSet {
        let mut absent = RangeSet::of(attempt.range);
        if let Some(held) = self.held.get(&Key::of(attempt)) {
            held.present.iter().for_each(|range| absent.remove(range));
        }
        absent
    }

    /// A unit of a dispatch that began when everything had been stopped `stops` times.
    fn begin(&mut self, key: Key, range: IndexRange, stop: StopHandle, stops: u64, now: Duration) {
        if stops != self.stops {
            stop.request(Stop::AtOnce);
        }
        let unit = Unit { last: range.last, stop, is_forgotten: false };
        self.held.entry(key).or_default().units.insert(range.first, unit);
        self.live += 1;
        self.unannounced.push_back((now, key, range.first));
    }

    /// The unit is dead. Returns whether its ending is to be reported.
    fn end(&mut self, key: Key, range: IndexRange) -> bool {
        let unit = self.held.get_mut(&key).and_then(|held| held.units.remove(&range.first));
        let Some(unit) = unit else { return false };
        self.live -= 1;
        if unit.is_forgotten {
            self.leave(key, range);
        }
        !unit.is_forgotten
    }

    /// `range` is present no more; a key with nothing present is only remembered.
    fn leave(&mut self, key: Key, range: IndexRange) {
        let Some(held) = self.held.get_mut(&key) else { return };
        held.present.remove(range);
        if !held.present.is_empty() {
            return;
        }
        let Some(held) = self.held.remove(&key) else { return };
        let order = &mut self.order;
        let remembered = self.remembered.entry(key).or_insert_with(|| {
            order.push_back(key);
            RangeSet::default()
        });
        held.accepted.iter().for_each(|range| remembered.insert(range));
        while self.order.len() > REMEMBERED_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.remembered.remove(&oldest);
            }
        }
    }
}

impl Held {
    fn units_within(&self, range: IndexRange) -> impl Iterator<Item = &Unit> {
        let units = self.units.range(range.first..=range.last).map(|(_, unit)| unit);
        units.filter(move |unit| unit.last <= range.last)
    }

    /// What of `range` is present and not live.
    fn ended_within(&self, range: IndexRange) -> RangeSet {
        let mut ended = RangeSet::default();
        for present in self.present.iter().filter_map(|held| held.intersect(range)) {
            ended.insert(present);
        }
        for (first, unit) in &self.units {
            ended.remove(IndexRange { first: *first, last: unit.last });
        }
        ended
    }
}

/// Joins endings that are equal, wrote nothing, and lie side by side in one task: a range that ended as one is reported
/// as one. The joined ending has the earliest start and the latest end.
pub fn coalesce(mut endings: Vec<Ended>) -> Vec<Ended> {
    endings.sort_by_key(|ended| {
        let attempt = &ended.attempt;
        (attempt.run, attempt.task, attempt.fence, attempt.range.first)
    });
    let mut joined: Vec<Ended> = Vec::with_capacity(endings.len());
    for next in endings {
        match joined.last_mut() {
            Some(last) if can_join(last, &next) => {
                last.attempt.range.last = next.attempt.range.last;
                let (ending, other) = (&mut last.ending, &next.ending);
                ending.started_at = ending.started_at.min(other.started_at);
                ending.ended_at = ending.ended_at.max(other.ended_at);
            }
            _ => joined.push(next),
        }
    }
    joined
}

fn can_join(last: &Ended, next: &Ended) -> bool {
    let wrote_something =
        matches!(&last.ending.outcome, Outcome::Succeeded { outputs } if outputs.is_some());
    follows(&last.attempt, Key::of(&next.attempt), next.attempt.range)
        && last.ending.outcome == next.ending.outcome
        && last.is_worth_keeping == next.is_worth_keeping
        && !wrote_something
}

#[cfg(test)]
mod tests;
