//! The model's rules: what attempts, time, stops and upstream ends do to task indices.

use muster_core::command::{AttemptRef, Finish, Outcome, Placement, Start};
use muster_core::ids::{Fence, RunId, TaskIndex, WorkerId};
use muster_core::limits;
use muster_core::reply::{ItemRefusal, Rejection, Reply};
use muster_core::spec::{
    ApprovalSpec, Condition, DependencyRule, ExecutorSpec, OnLost, OnTimeout, TaskSpec,
};
use muster_core::state::cells::IndexRange;
use muster_core::state::task::{FailureReason, StopReason, Tries};
use muster_core::time::Millis;

use super::naive::{Answered, Cell, Child, End, Live, Model, Run, is_sized_late};

/// What is due, in the order in which things due at one time happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Run(u64),
    Cell(u64, u32, u32),
    Worker(u64),
}

impl Model {
    pub(super) fn place(&mut self, placement: &Placement) -> Result<(), ItemRefusal> {
        let Placement { run: RunId(run_id), task: TaskIndex(task), range, worker } = *placement;
        let run = self.runs.get(&run_id).ok_or(ItemRefusal::RunNotLive)?;
        let cells = run.range(task, range).ok_or(ItemRefusal::NoSuchTask)?;
        let request = &run.spec.tasks[task as usize].request;
        if run.is_paused {
            return Err(ItemRefusal::RunPaused);
        }
        let is_ready = |cell: &(u32, Cell)| matches!(cell.1, Cell::Ready { .. });
        if self.ended_at_once.contains(&(run_id, task)) || !cells.iter().all(is_ready) {
            return Err(ItemRefusal::NotReady);
        }
        let max_parallel = run.spec.tasks[task as usize].max_parallel;
        if max_parallel.is_some_and(|max| run.live(task) + cells.len() > max as usize) {
            return Err(ItemRefusal::TooParallel);
        }
        let offered = self.workers.get(&worker.0);
        let offered = offered.filter(|it| it.lost_at.is_none() && !it.is_draining);
        let offered = &offered.ok_or(ItemRefusal::WorkerNotActive)?.stated;
        let selected = |(key, value)| offered.labels.get(key) == Some(value);
        if offered.pool != request.pool || !request.selector.iter().all(selected) {
            return Err(ItemRefusal::WorkerMismatch);
        }
        if !self.fits(placement, request) {
            return Err(ItemRefusal::NoCapacity);
        }
        if !self.is_within_quota(request, cells.len() as u64) {
            return Err(ItemRefusal::QuotaReached);
        }
        if !self.is_within_groups(request, cells.len() as u32) {
            return Err(ItemRefusal::GroupFull);
        }
        for (index, cell) in cells {
            let Cell::Ready { mut tries, .. } = cell else { unreachable!("all are ready") };
            tries.attempts += 1;
            let run = self.runs.get_mut(&run_id).expect("it was found");
            let highest = run.attempts.entry(task).or_default();
            *highest = (*highest).max(tries.attempts);
            let live = Live {
                tries,
                worker: worker.0,
                fence: self.index,
                placed_at: self.now,
                started: None,
                stop: None,
            };
            self.set(run_id, task, index, Cell::Live(live));
        }
        Ok(())
    }

    fn live(&self, attempt: &AttemptRef) -> Result<Vec<(u32, Live)>, ItemRefusal> {
        let run = self.runs.get(&attempt.run.0).ok_or(ItemRefusal::RunNotLive)?;
        let cells = run.range(attempt.task.0, attempt.range).ok_or(ItemRefusal::NoSuchTask)?;
        let live = |(index, cell)| match cell {
            Cell::Live(live) if live.fence == attempt.fence.0 => Ok((index, live)),
            _ => Err(ItemRefusal::Stale),
        };
        cells.into_iter().map(live).collect()
    }

    pub(super) fn start(&mut self, start: &Start) -> Result<(), ItemRefusal> {
        for (index, live) in self.live(&start.attempt)? {
            let began = self.now.saturating_sub(start.age.0).max(live.placed_at);
            let live = Live { started: live.started.or(Some(began)), ..live };
            self.set(start.attempt.run.0, start.attempt.task.0, index, Cell::Live(live));
        }
        Ok(())
    }

    pub(super) fn finish(&mut self, finish: &Finish) -> Result<(), ItemRefusal> {
        let (run, task) = (finish.attempt.run.0, finish.attempt.task.0);
        let live = self.live(&finish.attempt)?;
        if finish.attempt.fence == Fence(self.index) {
            self.ended_at_once.insert((run, task));
        }
        for (index, live) in live {
            let spec = &self.runs[&run].spec.tasks[task as usize];
            let cell = after(spec, &live, &finish.outcome, self.now);
            self.set(run, task, index, cell);
        }
        Ok(())
    }

    pub(super) fn lose(&mut self, id: WorkerId) -> Answered {
        let now = self.now;
        let worker = self.workers.get_mut(&id.0).filter(|it| it.lost_at.is_none());
        worker.ok_or(Rejection::NoSuchWorker { worker: id })?.lost_at = Some(now);
        let mut lost = Vec::new();
        for (run, it) in &self.runs {
            for ((task, index), cell) in &it.cells {
                if let Cell::Live(live) = cell
                    && live.worker == id.0
                {
                    lost.push((*run, *task, *index, live.fence));
                }
            }
        }
        for (run, task, index, fence) in lost {
            let range = IndexRange::single(index);
            let attempt =
                AttemptRef { run: RunId(run), task: TaskIndex(task), range, fence: Fence(fence) };
            let finish = Finish { attempt, outcome: Outcome::Lost, duration: Millis(0) };
            self.finish(&finish).expect("a live attempt can be lost");
        }
        Ok(Reply::Done)
    }

    pub(super) fn release(&mut self, run_id: u64, task: u32, rerun: bool) -> Answered {
        let run = self.runs.get(&run_id).ok_or(Rejection::NoSuchRun { run: RunId(run_id) })?;
        let held = run.cells.iter().filter_map(|((of, index), cell)| match cell {
            Cell::Held { tries } if *of == task => Some((*index, *tries)),
            _ => None,
        });
        let held: Vec<(u32, Tries)> = held.collect();
        if held.is_empty() {
            return Err(Rejection::NotHeld);
        }
        for (index, tries) in held {
            let cell = if rerun {
                Cell::Ready { tries, since: self.now, avoid: None }
            } else {
                Cell::Ended(End::Failed(FailureReason::Lost))
            };
            self.set(run_id, task, index, cell);
        }
        Ok(Reply::Done)
    }

    pub(super) fn stop_run(&mut self, run_id: u64, reason: StopReason) {
        let now = self.now;
        let Some(run) = self.runs.get_mut(&run_id) else { return };
        if run.result.is_some() && run.is_paused {
            run.resume(now);
        }
        if run.stop.is_some() || run.result.is_some() {
            return;
        }
        run.stop = Some(reason);
        run.is_paused &= !run.has_hooks();
        self.stop_cells(run_id, reason, |run, task| run.hook(task).is_none());
    }

    /// Follows up on what failed: the rest of its task, or of its run, is told to stop.
    pub(super) fn fail_fast(&mut self, id: u64, task: u32) {
        let Some(run) = self.runs.get(&id) else { return };
        if run.spec.tasks[task as usize].fail_fast && run.has_too_many_failures(task) {
            self.stop_cells(id, StopReason::FailFast, |_, of| of == task);
        }
        let Some(run) = self.runs.get(&id) else { return };
        let has_failed = matches!(run.end_of(task), Some(End::Failed(_)));
        if run.spec.fail_fast && run.result.is_none() && has_failed {
            self.stop_run(id, StopReason::FailFast);
        }
    }

    pub(super) fn stop_cells(
        &mut self,
        run_id: u64,
        reason: StopReason,
        is_meant: impl Fn(&Run, u32) -> bool,
    ) {
        let now = self.now;
        let run = self.runs.get_mut(&run_id).expect("the caller saw it");
        let tasks = 0..run.spec.tasks.len() as u32;
        let meant: Vec<u32> = tasks.filter(|task| is_meant(run, *task)).collect();
        for ((task, _), cell) in run.cells.iter_mut().filter(|((it, _), _)| meant.contains(it)) {
            let grace = run.spec.tasks[*task as usize].grace_period.0;
            match cell {
                Cell::Live(Live { stop: Some((_, Some(_))), .. }) => {}
                Cell::Live(live) => {
                    live.stop = Some((reason, Some(now + grace + limits::CANCEL_PATIENCE.0)))
                }
                Cell::Ended(_) => {}
                Cell::Child(child) => self.stopped.extend(child.stop(reason)),
                _ => *cell = Cell::Ended(End::Cancelled),
            }
        }
        self.settle(run_id);
        self.end_if_over(run_id);
    }

    pub(super) fn set(&mut self, run: u64, task: u32, index: u32, cell: Cell) {
        let Some(it) = self.runs.get_mut(&run) else { return };
        it.cells.insert((task, index), cell);
        let has_failed = |end| matches!(end, Some(End::Failed(_)));
        if has_failed(cell.ended()) || has_failed(it.end_of(task)) {
            self.failed.insert((run, task));
        }
        if cell.ended().is_some() {
            self.settle(run);
            self.end_if_over(run);
        }
    }

    /// Judges every blocked task of a run by its upstream tasks, upstream first.
    pub(super) fn settle(&mut self, run_id: u64) {
        let (now, index) = (self.now, self.index);
        let run = self.runs.get_mut(&run_id).expect("the caller saw it");
        if run.stop.is_some() {
            return;
        }
        let mut order = upstream_first(run);
        order.retain(|task| run.hook(*task).is_none());
        for task in order {
            let is_blocked = |(key, cell): (&(u32, u32), &Cell)| {
                (key.0 == task && *cell == Cell::Blocked).then_some(*key)
            };
            let blocked: Vec<_> = run.cells.iter().filter_map(is_blocked).collect();
            let all = run.cells.keys().filter(|(of, _)| *of == task).count();
            let cell = match judge(run, task, now, index) {
                // Those that begin anew beside others do not ask again.
                Some(Cell::Undecided { .. }) if blocked.len() < all => Some(fresh(run, task, now)),
                // Until there is a list nobody knows what to start.
                Some(Cell::Ready { tries, .. }) if run.is_parent(task) => {
                    Some(Cell::Undecided { since: index, tries })
                }
                Some(Cell::Ready { .. })
                    if is_sized_late(&run.spec.tasks[task as usize]) && blocked.len() == all =>
                {
                    Some(Cell::Undecided { since: index, tries: Tries::default() })
                }
                other => other,
            };
            if let (false, Some(cell)) = (blocked.is_empty(), cell) {
                run.cells.extend(blocked.into_iter().map(|key| (key, cell)));
            }
        }
    }

    /// The earliest deadline.
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        self.first_due().map(|(at, _)| at)
    }

    fn first_due(&self) -> Option<(u64, Due)> {
        let mut all: Vec<(u64, Due)> = Vec::new();
        for (id, run) in &self.runs {
            let is_bounded = run.stop.is_none() && run.result.is_none();
            if let Some(timeout) = run.spec.timeout.filter(|_| is_bounded) {
                all.push((run.submitted + timeout.0, Due::Run(*id)));
            }
            for ((task, index), cell) in &run.cells {
                let at = due_at(&run.spec.tasks[*task as usize], cell);
                let at = at.filter(|_| !(run.is_paused && matches!(cell, Cell::Ready { .. })));
                all.extend(at.map(|at| (at, Due::Cell(*id, *task, *index))));
            }
        }
        for (id, worker) in &self.workers {
            let at = worker.lost_at.map(|at| at + limits::LOST_WORKER_RETENTION.0);
            all.extend(at.map(|at| (at, Due::Worker(*id))));
        }
        all.into_iter().min()
    }

    pub(super) fn advance(&mut self) {
        while let Some((at, due)) = self.first_due()
            && at <= self.now
        {
            match due {
                Due::Run(run) => self.stop_run(run, StopReason::RunTimedOut),
                Due::Worker(worker) => drop(self.workers.remove(&worker)),
                Due::Cell(run, task, index) => {
                    let cell = match self.runs[&run].cells[&(task, index)] {
                        Cell::Ready { .. } => {
                            Cell::Ended(End::Failed(FailureReason::QueueTimedOut))
                        }
                        Cell::Backoff { tries, .. } if self.runs[&run].is_parent(task) => {
                            Cell::Undecided { since: self.index, tries }
                        }
                        Cell::Child(mut child) => {
                            self.stopped.extend(child.stop(StopReason::AttemptTimedOut));
                            Cell::Child(child)
                        }
                        Cell::Backoff { tries, avoid, .. } => {
                            Cell::Ready { tries, since: self.now, avoid }
                        }
                        Cell::Awaiting { .. } => {
                            let spec = &self.runs[&run].spec.tasks[task as usize];
                            Cell::Ended(unanswered(&spec.executor))
                        }
                        Cell::Live(live) if live.stop.is_some() => Cell::Ended(End::Cancelled),
                        Cell::Live(live) => Cell::Live(Live {
                            stop: Some((StopReason::AttemptTimedOut, None)),
                            ..live
                        }),
                        other => unreachable!("{other:?} has no deadline"),
                    };
                    self.set(run, task, index, cell);
                }
            }
        }
    }
}

fn due_at(spec: &TaskSpec, cell: &Cell) -> Option<u64> {
    match cell {
        Cell::Ready { since, .. } => spec.queue_timeout.map(|span| since + span.0),
        Cell::Backoff { until, .. } => Some(*until),
        Cell::Awaiting { since } | Cell::Child(Child { since, stop: None, .. }) => {
            spec.timeout.map(|span| since + span.0)
        }
        Cell::Live(Live { stop: Some((_, force_at)), .. }) => *force_at,
        Cell::Live(Live { started: Some(at), .. }) => spec.timeout.map(|span| at + span.0),
        Cell::Live(_)
        | Cell::Child(_)
        | Cell::Blocked
        | Cell::Undecided { .. }
        | Cell::Held { .. }
        | Cell::Ended(_) => None,
    }
}

/// The end of an approval that nobody answered in time.
fn unanswered(executor: &ExecutorSpec) -> End {
    match executor {
        ExecutorSpec::Approval(ApprovalSpec { on_timeout: OnTimeout::Approve, .. }) => {
            End::Succeeded
        }
        _ => End::Failed(FailureReason::TimedOut),
    }
}

fn upstream_first(run: &Run) -> Vec<u32> {
    let mut order: Vec<u32> = Vec::new();
    while order.len() < run.spec.tasks.len() {
        let tasks = 0..run.spec.tasks.len() as u32;
        let is_next = |task: &u32| {
            !order.contains(task) && run.upstream(*task).iter().all(|it| order.contains(it))
        };
        let next: Vec<u32> = tasks.filter(is_next).collect();
        assert!(!next.is_empty(), "a workflow has no cycles");
        order.extend(next);
    }
    order
}

/// What indices of a task are as soon as they may start.
pub(super) fn fresh(run: &Run, task: u32, now: u64) -> Cell {
    if let ExecutorSpec::Approval(_) = run.spec.tasks[task as usize].executor {
        return Cell::Awaiting { since: now };
    }
    let attempts = run.attempts.get(&task).copied().unwrap_or_default();
    Cell::Ready { tries: Tries { attempts, ..Tries::default() }, since: now, avoid: None }
}

/// What a blocked task becomes, if anything, by how its upstream tasks stand.
fn judge(run: &Run, task: u32, now: u64, index: u64) -> Option<Cell> {
    let spec = &run.spec.tasks[task as usize];
    let ends: Vec<Option<End>> = run.upstream(task).into_iter().map(|it| run.end_of(it)).collect();
    let all_ended = ends.iter().all(Option::is_some);
    let succeeded = ends.iter().flatten().any(|end| *end == End::Succeeded);
    let did_not = ends.iter().flatten().any(|end| *end != End::Succeeded);
    let failure = ends
        .iter()
        .flatten()
        .any(|end| matches!(end, End::Failed(_) | End::Skipped { by_failure: true }));
    let start = fresh(run, task, now);
    let skip = Cell::Ended(End::Skipped { by_failure: failure });
    let cancelled = ends.iter().flatten().any(|end| *end == End::Cancelled);
    let own_skip = Cell::Ended(End::Skipped { by_failure: false });
    match (&spec.condition, spec.rule) {
        (Condition::Success | Condition::Expression(_), DependencyRule::AllSucceeded)
            if did_not =>
        {
            Some(skip)
        }
        (Condition::Success, DependencyRule::AnySucceeded) if succeeded => Some(start),
        _ if !all_ended => None,
        (Condition::Success, DependencyRule::AnySucceeded) => Some(skip),
        (Condition::Failure, _) => Some(if failure { start } else { skip }),
        (Condition::Cancelled, _) => Some(if cancelled { start } else { own_skip }),
        (Condition::Expression(_), _) => {
            let attempts = run.attempts.get(&task).copied().filter(|_| run.is_parent(task));
            let tries = Tries { attempts: attempts.unwrap_or_default(), ..Tries::default() };
            Some(Cell::Undecided { since: index, tries })
        }
        (Condition::Success, _) | (Condition::Always, _) => Some(start),
    }
}

/// What follows an attempt's end. Jitter is not modelled: specs for the model have none.
fn after(spec: &TaskSpec, live: &Live, outcome: &Outcome, now: u64) -> Cell {
    let told = live.stop.map(|(reason, _)| reason);
    if let Outcome::Succeeded { outputs } = outcome {
        let bytes =
            |(key, value): (&std::sync::Arc<str>, &std::sync::Arc<str>)| key.len() + value.len();
        let size: usize = outputs.iter().flat_map(|it| it.iter()).map(bytes).sum();
        let too_large = size > limits::OUTPUT_BYTES_MAX;
        let end = if too_large { End::Failed(FailureReason::Rejected) } else { End::Succeeded };
        return Cell::Ended(end);
    }
    let is_for_good = |reason| reason != StopReason::AttemptTimedOut;
    if told.is_some_and(is_for_good) {
        return Cell::Ended(End::Cancelled);
    }
    let timed_out = told.is_some() || *outcome == Outcome::TimedOut;
    let mut tries = live.tries;
    let avoid = Some(live.worker);
    if !timed_out && matches!(outcome, Outcome::Lost | Outcome::Cancelled) {
        tries.losses += 1;
        let is_last = u32::from(tries.losses) >= spec.max_lost;
        return match spec.on_lost {
            OnLost::Rerun if !is_last => Cell::Ready { tries, since: now, avoid },
            OnLost::Hold if !is_last => Cell::Held { tries },
            _ => Cell::Ended(End::Failed(FailureReason::Lost)),
        };
    }
    let (reason, may_retry) = match outcome {
        Outcome::Failed { exit_code: Some(code), .. } if !timed_out => {
            (FailureReason::Exit(*code), spec.retry.on_failure)
        }
        Outcome::Failed { .. } if !timed_out => (FailureReason::Rejected, spec.retry.on_failure),
        _ => (FailureReason::TimedOut, spec.retry.on_timeout),
    };
    tries.failures += 1;
    if !may_retry || u32::from(tries.failures) > spec.retry.limit {
        return Cell::Ended(End::Failed(reason));
    }
    match wait(spec, tries) {
        0 => Cell::Ready { tries, since: now, avoid },
        wait => Cell::Backoff { tries, until: now + wait, avoid },
    }
}

/// How long a task waits after a failure, which is counted already.
pub(super) fn wait(spec: &TaskSpec, tries: Tries) -> u64 {
    let backoff = spec.retry.backoff;
    let growth = u64::from(backoff.factor_millis / 1000).pow(u32::from(tries.failures) - 1);
    (backoff.initial.0 * growth).min(backoff.cap.0)
}
