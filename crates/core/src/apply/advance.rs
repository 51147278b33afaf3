//! What time alone causes: backoffs end, timeouts strike, lost workers are forgotten.

use super::Step;
use crate::event::Event;
use crate::ids::{RunId, TaskIndex, WorkerId};
use crate::limits;
use crate::mutant::{self, Mutant};
use crate::state::Due;
use crate::state::task::{Attempt, Awaited, FailureReason, Stop, StopReason, TaskState, Tries};

impl Step<'_> {
    /// Carries out everything that is due at the log's time.
    pub(super) fn advance(&mut self) {
        while let Some((_, due)) = self.state.deadlines.pop(self.now) {
            match due {
                Due::Run(run) => self.stop_run(run, StopReason::RunTimedOut),
                Due::Cell(run, task, index) => self.advance_cell(run, task, index),
                Due::Worker(worker) => self.forget_worker(worker),
            }
        }
    }

    fn forget_worker(&mut self, worker: WorkerId) {
        let Some(gone) = self.state.workers.remove(worker.0) else { return };
        if let Some(namesakes) = self.state.workers_by_name.get_mut(&gone.name) {
            namesakes.remove(&worker);
            if namesakes.is_empty() {
                self.state.workers_by_name.remove(&gone.name);
            }
        }
    }

    /// Changes the cell that starts at `index`, whose deadline has come.
    fn advance_cell(&mut self, run_id: RunId, task: TaskIndex, index: u32) {
        let Some(run) = self.state.run(run_id) else { return };
        let spans = run.spans(task);
        let Some((range, state)) = run.task(task).and_then(|it| it.cells.at(index)) else { return };
        if state.deadline(&spans).is_none_or(|at| at > self.now) {
            return;
        }
        let to = match *state {
            TaskState::Ready { tries, .. } => {
                TaskState::Failed { tries, reason: FailureReason::QueueTimedOut, last: None }
            }
            TaskState::Backoff { tries, avoid, .. } => self.tried_again(run_id, task, tries, avoid),
            TaskState::Awaiting { what: Awaited::Person, .. } => {
                return self.let_approval_time_out(run_id, task);
            }
            TaskState::Awaiting { what: Awaited::Run { .. }, .. } => {
                return self.stop_awaiting(run_id, task, StopReason::AttemptTimedOut);
            }
            TaskState::Running { tries, attempt, started_at } if attempt.stop.is_none() => {
                let stop = Stop { reason: StopReason::AttemptTimedOut, force_at: None };
                let attempt = Attempt { stop: Some(stop), ..attempt };
                let (worker, fence) = (attempt.worker, attempt.fence);
                self.events.push(Event::AttemptStopping {
                    run: run_id,
                    task,
                    range,
                    worker,
                    fence,
                });
                TaskState::Running { tries, attempt, started_at }
            }
            TaskState::Placed { .. } | TaskState::Running { .. } => TaskState::Cancelled,
            TaskState::Blocked
            | TaskState::Undecided { .. }
            | TaskState::Held { .. }
            | TaskState::Succeeded { .. }
            | TaskState::Failed { .. }
            | TaskState::Skipped { .. }
            | TaskState::Cancelled => return,
        };
        let to = if run.spec(task).is_some_and(|spec| spec.is_array()) {
            without_history(to)
        } else {
            to
        };
        self.change(run_id, task, range, to);
    }

    /// What a task is once its wait after a failure is over.
    fn tried_again(
        &self,
        run: RunId,
        task: TaskIndex,
        tries: Tries,
        avoid: Option<WorkerId>,
    ) -> TaskState {
        match self.state.run(run).and_then(|run| run.spec(task)) {
            Some(spec) if spec.is_sub_workflow() => {
                TaskState::Undecided { since: self.index, tries }
            }
            Some(_) | None => TaskState::Ready { tries, since: self.now, avoid },
        }
    }

    /// Tells a run to stop: what has no live attempt ends now, what has one is told to. The first reason stays. Hooks
    /// of a run that has begun are no part of it; where their turn has come there is nothing left to stop.
    pub(super) fn stop_run(&mut self, run_id: RunId, reason: StopReason) {
        let Some(run) = self.state.runs.get_mut(run_id.0) else { return };
        if run.result.is_some() && run.paused.is_some() {
            // Whoever wants the run to end wants its hooks to do their work.
            self.resume(run_id);
            return self.events.push(Event::RunChanged { run: run_id });
        }
        if run.stop.is_some() || run.result.is_some() {
            return;
        }
        if let Some(at) = run.deadline() {
            self.state.deadlines.remove(at, Due::Run(run_id));
        }
        run.stop = Some((self.now, reason));
        self.events.push(Event::RunStopping { run: run_id });
        let spares_hooks = run.begun_at.is_some() && !mutant::is_on(Mutant::HooksForgotten);
        let hooks = if spares_hooks { run.hooks().count() } else { 0 };
        // Hooks must be able to begin, and nobody can resume such a run.
        run.paused = run.paused.filter(|_| hooks == 0);
        let tasks = (run.tasks.len() - hooks) as u32;
        for task in (0..tasks).map(TaskIndex) {
            self.stop_task(run_id, task, reason);
        }
    }

    pub(super) fn stop_task(&mut self, run_id: RunId, task: TaskIndex, reason: StopReason) {
        let Some(run) = self.state.run(run_id) else { return };
        let Some(spec) = run.spec(task) else { return };
        let force_at = Some(self.now + spec.grace_period + limits::CANCEL_PATIENCE);
        let stop = Some(Stop { reason, force_at });
        let cells: Vec<_> = match run.task(task) {
            Some(it) => it.cells.iter().map(|(range, state)| (range, *state)).collect(),
            None => return,
        };
        for (range, state) in cells {
            let is_forced = |stop: Stop| stop.force_at.is_some();
            let to = match state {
                // Whoever is being stopped gets no more time by being told again.
                TaskState::Placed { attempt, .. } | TaskState::Running { attempt, .. }
                    if attempt.stop.is_some_and(is_forced) =>
                {
                    continue;
                }
                TaskState::Placed { tries, attempt } => {
                    TaskState::Placed { tries, attempt: Attempt { stop, ..attempt } }
                }
                TaskState::Running { tries, attempt, started_at } => {
                    TaskState::Running { tries, attempt: Attempt { stop, ..attempt }, started_at }
                }
                TaskState::Blocked
                | TaskState::Undecided { .. }
                | TaskState::Ready { .. }
                | TaskState::Backoff { .. }
                | TaskState::Held { .. }
                | TaskState::Awaiting { what: Awaited::Person, .. } => TaskState::Cancelled,
                TaskState::Awaiting { what: Awaited::Run { .. }, .. } => {
                    self.stop_awaiting(run_id, task, reason);
                    continue;
                }
                TaskState::Succeeded { .. } if mutant::is_on(Mutant::EndOverwritten) => {
                    TaskState::Cancelled
                }
                TaskState::Succeeded { .. }
                | TaskState::Failed { .. }
                | TaskState::Skipped { .. }
                | TaskState::Cancelled => continue,
            };
            if let Some(Attempt { worker, fence, .. }) = to.attempt().copied() {
                self.events.push(Event::AttemptStopping {
                    run: run_id,
                    task,
                    range,
                    worker,
                    fence,
                });
            }
            self.change(run_id, task, range, to);
        }
    }
}

/// The form in which array tasks keep ended states: equal ones must merge.
pub(super) fn without_history(state: TaskState) -> TaskState {
    match state {
        TaskState::Succeeded { .. } => {
            TaskState::Succeeded { tries: Default::default(), last: None }
        }
        TaskState::Failed { reason, .. } => {
            TaskState::Failed { tries: Default::default(), reason, last: None }
        }
        other => other,
    }
}
