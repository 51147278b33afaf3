//! Commands about attempts, gone through: where the fence is.

use muster_core::command::{
    AttemptRef, Finish, FinishAttempts, Outcome, PlaceAttempts, Placement, Start, StartAttempts,
};
use muster_core::ids::{Fence, RunId, TaskIndex};
use muster_core::reply::{ItemRefusal, Reply};
use muster_core::spec::TaskSpec;
use muster_core::state::cells::IndexRange;
use muster_core::state::task::{Attempt, FailureReason, TaskState, TaskStatus, Tries};
use muster_core::state::worker::WorkerStatus;
use muster_core::time::Millis;

use super::load::Load;
use super::rules::{self, Fate};
use super::step::{Claim, Step, place};
use super::work::Work;
use super::workers::is_lost;
use crate::coverage::Rare;
use crate::history::Ending;
use crate::ledger::{Cause, Placed};
use crate::verdict::Invariant;

/// The refusal of each item of a command, by position; `None` for those that were carried out.
pub(super) fn refusals(claim: &Claim, items: usize) -> Vec<Option<ItemRefusal>> {
    let mut all = vec![None; items];
    match claim {
        Ok(Reply::Items { refused }) => {
            for (position, refusal) in refused {
                if let Some(it) = all.get_mut(*position as usize) {
                    *it = Some(*refusal);
                }
            }
        }
        // Whatever else is answered, no item was carried out.
        _ => all.fill(Some(ItemRefusal::NotReady)),
    }
    all
}

fn kind(outcome: &Outcome) -> Ending {
    match outcome {
        Outcome::Succeeded { .. } => Ending::Succeeded,
        Outcome::Failed { .. } => Ending::Failed,
        Outcome::TimedOut => Ending::TimedOut,
        Outcome::Cancelled => Ending::Cancelled,
        Outcome::Lost => Ending::Lost,
    }
}

impl Step<'_> {
    pub(super) fn place_attempts(&mut self, command: &PlaceAttempts, claim: &Claim) {
        let refusals = refusals(claim, command.placements.len());
        for (placement, refusal) in command.placements.iter().zip(refusals) {
            if let Some(refusal) = refusal {
                self.count(Rare::PlacementRefused);
                self.judge_too_parallel(placement, refusal);
                self.judge_over_quota(placement, refusal);
                self.judge_group_full(placement, refusal);
                self.touch_refused(placement.run, placement.task);
            } else if let Err((invariant, problem)) = self.judge_placement(placement) {
                let at = place(placement.run, placement.task, placement.range);
                self.found(invariant, format!("{at} was placed: {problem}"));
                self.doubt(placement.run);
            } else {
                self.place(placement);
            }
        }
    }

    /// Whether a placement that was carried out may have been.
    fn judge_placement(&mut self, placement: &Placement) -> Result<(), (Invariant, String)> {
        let (run, task, range) = (placement.run, placement.task, placement.range);
        let Some(work) = self.live_run(run) else {
            return Err((Invariant::I6, "the run is not live".to_owned()));
        };
        if work.is_doubtful {
            return Ok(());
        }
        if work.must_stop(task) {
            return Err((Invariant::I15, "the run must stop".to_owned()));
        }
        if let Some(problem) = work.judge_turn(task) {
            return Err((Invariant::I7, problem));
        }
        if work.paused.is_some() {
            return Err((Invariant::I15, "the run is paused".to_owned()));
        }
        let (Some(cells), Some(spec)) = (work.within(task, range), work.spec(task)) else {
            return Err((Invariant::I17, "there is no such task or index".to_owned()));
        };
        let upstream = work.upstream_ends(task);
        // What was undecided is ready only by a decision, which was judged when it came.
        let may_start = matches!(rules::fate(spec, &upstream), Fate::Starts | Fate::Undecided);
        if !upstream.is_empty() && !may_start {
            return Err((Invariant::I7, format!("the tasks before it stand at {upstream:?}")));
        }
        let live = live_indices(work, task);
        if !may_run_beside(spec, live, range) {
            let max = spec.max_parallel;
            return Err((Invariant::I11, format!("{live} are live, and `maxParallel` is {max:?}")));
        }
        let request = spec.request.clone();
        let namespace = work.version.namespace.clone();
        let (limit, max_lost) = (spec.retry.limit, spec.max_lost.max(1));
        for (_, state) in &cells {
            let tries = state.tries();
            if !matches!(state, TaskState::Ready { .. }) {
                return Err((
                    not_ready(state.status()),
                    format!("it is {}", state.status().word()),
                ));
            }
            let is_spent = u32::from(tries.failures) > limit || u32::from(tries.losses) >= max_lost;
            let ends = u32::from(tries.failures) + u32::from(tries.losses);
            if is_spent || tries.attempts < ends {
                return Err((Invariant::I10, format!("it was tried often enough: {tries:?}")));
            }
        }
        let new = Fence(self.index.0);
        let before = self.book.fences.get(&(run, task)).map(|(fence, _)| *fence);
        let again = |it: &(RunId, TaskIndex, IndexRange)| {
            (it.0, it.1) == (run, task) && it.2.intersect(range).is_some()
        };
        if before.is_some_and(|before| before > new) || self.placed.iter().any(again) {
            return Err((Invariant::I4, format!("fence {new} after fence {before:?}")));
        }
        if let Some(taking) = self.over_quota(&namespace, &request, range.count()) {
            let what = format!("namespace `{namespace}` would have {taking:?}, over its quota");
            return Err((Invariant::I11, what));
        }
        if let Some((group, live)) = self.over_group(&namespace, &request, range.count()) {
            let what = format!("group `{group}` of `{namespace}` would have {live} live attempts");
            return Err((Invariant::I11, what));
        }
        self.judge_worker(placement, &request)
    }

    /// A placement that was refused for the task's `maxParallel` must have been too much for it.
    fn judge_too_parallel(&mut self, placement: &Placement, refusal: ItemRefusal) {
        let (run, task, range) = (placement.run, placement.task, placement.range);
        let work = self.live_run(run).filter(|work| !work.is_doubtful);
        let Some((work, spec)) = work.and_then(|work| Some((&*work, work.spec(task)?))) else {
            return;
        };
        let live = live_indices(work, task);
        if refusal == ItemRefusal::TooParallel && may_run_beside(spec, live, range) {
            let at = place(run, task, range);
            self.found(Invariant::I11, format!("{at} was too much, and only {live} are live"));
        }
    }

    fn judge_worker(
        &mut self,
        placement: &Placement,
        request: &muster_core::spec::Request,
    ) -> Result<(), (Invariant, String)> {
        let id = placement.worker;
        let Some(worker) = self.book.workers.get(&id).filter(|worker| !is_lost(worker)) else {
            return Err((Invariant::I12, format!("worker {id} is gone")));
        };
        if worker.status == WorkerStatus::Draining {
            return Err((Invariant::I11, format!("worker {id} drains")));
        }
        let has_labels =
            request.selector.iter().all(|(name, value)| worker.labels.get(name) == Some(value));
        if worker.pool != request.pool || !has_labels {
            return Err((
                Invariant::I11,
                format!("worker {id} is of another pool or lacks a label"),
            ));
        }
        let mut load: Load =
            self.book.holdings.of(id).map(|holding| holding.load.clone()).unwrap_or_default();
        load.add(&request.resources, placement.range.count());
        if !load.is_within(&worker.capacity) {
            let what = format!("worker {id} has {:?} and would give {load:?}", worker.capacity);
            return Err((Invariant::I11, what));
        }
        Ok(())
    }

    fn place(&mut self, placement: &Placement) {
        let (run, task, range, worker) =
            (placement.run, placement.task, placement.range, placement.worker);
        let (fence, now) = (Fence(self.index.0), self.now);
        let cells = self.live_run(run).and_then(|work| work.within(task, range));
        for (range, state) in cells.unwrap_or_default() {
            let tries = state.tries();
            let tries = Tries { attempts: tries.attempts.saturating_add(1), ..tries };
            let attempt = Attempt { worker, fence, placed_at: now, stop: None };
            self.change(run, task, range, TaskState::Placed { tries, attempt });
            let task = self.run(run).and_then(|work| work.tasks.get_mut(task.0 as usize));
            if let Some(task) = task {
                task.attempts = task.attempts.max(tries.attempts);
            }
        }
        self.count(Rare::AttemptPlaced);
        let found = self.run(run).and_then(|work| {
            let request = work.spec(task)?.request.clone();
            Some((work.version.namespace.clone(), request))
        });
        if let Some((namespace, request)) = found {
            self.count_full(&namespace, &request);
        }
        self.placed.push((run, task, range));
        let before = self.book.fences.insert((run, task), (fence, worker));
        if before.is_some_and(|(_, before)| before != worker) {
            self.count(Rare::AttemptMoved);
        }
        let placed = Placed { run, task, range, fence, worker, ends: Vec::new() };
        self.ledger.attempts.entry((run, task, fence)).or_default().push(placed);
    }

    pub(super) fn start_attempts(&mut self, command: &StartAttempts, claim: &Claim) {
        let refusals = refusals(claim, command.starts.len());
        for (start, refusal) in command.starts.iter().zip(refusals) {
            let current = self.current(&start.attempt);
            match (refusal, current) {
                (None, Some(cells)) => self.start(start, cells),
                (Some(_), None) => self.count_stale(&start.attempt),
                (None, None) => self.stale_was_accepted("start", &start.attempt),
                (Some(refusal), Some(_)) => {
                    self.current_was_refused(Invariant::I4, "start", &start.attempt, refusal);
                }
            }
        }
    }

    fn start(&mut self, start: &Start, cells: Vec<(IndexRange, TaskState)>) {
        for (range, state) in cells {
            if let TaskState::Placed { tries, attempt } = state {
                let started_at = (self.now - start.age).max(attempt.placed_at);
                let to = TaskState::Running { tries, attempt, started_at };
                self.change(start.attempt.run, start.attempt.task, range, to);
            }
        }
    }

    pub(super) fn finish_attempts(&mut self, command: &FinishAttempts, claim: &Claim) {
        let refusals = refusals(claim, command.finishes.len());
        for (finish, refusal) in command.finishes.iter().zip(refusals) {
            let current = self.current(&finish.attempt);
            match (refusal, current) {
                (None, Some(cells)) => self.finish(finish, cells),
                (Some(_), None) => self.count_stale(&finish.attempt),
                (None, None) => self.stale_was_accepted("end", &finish.attempt),
                (Some(refusal), Some(_)) => {
                    self.current_was_refused(Invariant::I2, "end", &finish.attempt, refusal);
                }
            }
        }
    }

    fn finish(&mut self, finish: &Finish, cells: Vec<(IndexRange, TaskState)>) {
        let (run, task) = (finish.attempt.run, finish.attempt.task);
        let cause = Cause::Reported(kind(&finish.outcome));
        for (range, state) in cells {
            self.end_attempt((run, task, range), &state, &finish.outcome, finish.duration, cause);
        }
    }

    /// The states that a report is about, if all of them are live under its fence (I4).
    fn current(&mut self, attempt: &AttemptRef) -> Option<Vec<(IndexRange, TaskState)>> {
        let work = self.live_run(attempt.run)?;
        let cells = work.within(attempt.task, attempt.range)?;
        let is_current =
            |state: &TaskState| state.attempt().is_some_and(|it| it.fence == attempt.fence);
        cells.iter().all(|(_, state)| is_current(state)).then_some(cells)
    }

    fn count_stale(&mut self, attempt: &AttemptRef) {
        if self.ledger.attempts.contains_key(&(attempt.run, attempt.task, attempt.fence)) {
            self.count(Rare::StaleRefused);
        }
        self.touch_refused(attempt.run, attempt.task);
    }

    fn stale_was_accepted(&mut self, what: &str, attempt: &AttemptRef) {
        let (run, task, range) = (attempt.run, attempt.task, attempt.range);
        if self.run(run).is_some_and(|work| work.is_doubtful) {
            return;
        }
        let live = self.live_run(run).and_then(|work| work.within(task, range));
        let live: Option<Vec<_>> = live
            .map(|cells| cells.iter().map(|(_, it)| it.attempt().map(|it| it.fence.0)).collect());
        let fence = attempt.fence;
        let what = format!(
            "{}: the {what} of fence {fence} was accepted, current are {live:?}",
            place(run, task, range)
        );
        self.found(Invariant::I4, what);
        self.doubt(run);
    }

    fn current_was_refused(
        &mut self,
        invariant: Invariant,
        what: &str,
        attempt: &AttemptRef,
        refusal: ItemRefusal,
    ) {
        if self.run(attempt.run).is_some_and(|work| work.is_doubtful) {
            return;
        }
        let at = place(attempt.run, attempt.task, attempt.range);
        let fence = attempt.fence;
        self.found(
            invariant,
            format!("{at}: the {what} of its current fence {fence} was refused: {refusal}"),
        );
        self.touch_refused(attempt.run, attempt.task);
    }

    fn touch_refused(&mut self, run: RunId, task: TaskIndex) {
        let work = self.live_run(run);
        if let Some(task) = work.and_then(|work| work.tasks.get_mut(task.0 as usize)) {
            task.is_refused = true;
        }
    }

    /// Ends live attempts of one state, with all that follows.
    pub(super) fn end_attempt(
        &mut self,
        (run, task, range): (RunId, TaskIndex, IndexRange),
        state: &TaskState,
        outcome: &Outcome,
        duration: Millis,
        cause: Cause,
    ) {
        let now = self.now;
        let Some(work) = self.live_run(run) else { return };
        let (Some(spec), Some(attempt)) = (work.spec(task), state.attempt().copied()) else {
            return;
        };
        let ending = rules::Ending { spec, state: *state, attempt, outcome, duration, now };
        let next = ending.next();
        let is_array = rules::is_array(spec);
        if let (Outcome::Succeeded { outputs }, TaskState::Succeeded { .. }, false) =
            (outcome, &next, is_array)
            && let Some(task) = work.tasks.get_mut(task.0 as usize)
        {
            task.outputs.clone_from(outputs);
        }
        self.count_end(state, &attempt, &next);
        self.record_end(run, task, range, state, cause);
        self.change(run, task, range, next);
    }

    fn count_end(&mut self, before: &TaskState, attempt: &Attempt, next: &TaskState) {
        let (old, new) = (before.tries(), next.tries());
        match next {
            TaskState::Succeeded { .. } if attempt.stop.is_some() => {
                self.count(Rare::CancelRacedFinish);
            }
            TaskState::Failed { reason: FailureReason::Lost, .. } => {
                self.count(Rare::AttemptLost);
                self.count(Rare::PoisonEnded);
            }
            TaskState::Held { .. } => {
                self.count(Rare::AttemptLost);
                self.count(Rare::Held);
            }
            _ if new.losses > old.losses => self.count(Rare::AttemptLost),
            TaskState::Ready { .. } | TaskState::Backoff { .. } if new.failures > old.failures => {
                self.count(Rare::Retried);
            }
            _ => {}
        }
    }
}

/// How many indices of a task have a live attempt.
fn live_indices(work: &Work, task: TaskIndex) -> u32 {
    let cells = work.task(task).into_iter().flat_map(|it| it.cells.iter());
    cells.filter(|(_, state)| state.attempt().is_some()).map(|(range, _)| range.count()).sum()
}

/// Whether `maxParallel` lets the indices of `range` be live beside so many others.
fn may_run_beside(spec: &TaskSpec, live: u32, range: IndexRange) -> bool {
    let most = spec.max_parallel.map(u64::from);
    most.is_none_or(|most| u64::from(live) + u64::from(range.count()) <= most)
}

/// What a placement breaks if the task is not ready.
fn not_ready(status: TaskStatus) -> Invariant {
    match status {
        TaskStatus::Blocked | TaskStatus::Undecided | TaskStatus::Awaiting => Invariant::I7,
        TaskStatus::Ready | TaskStatus::Placed | TaskStatus::Running => Invariant::I4,
        TaskStatus::Backoff | TaskStatus::Held => Invariant::I10,
        TaskStatus::Succeeded
        | TaskStatus::Failed
        | TaskStatus::Skipped
        | TaskStatus::Cancelled => Invariant::I6,
    }
}
