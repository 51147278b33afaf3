//! Hooks, by what users are told of them: they wait for all other tasks of their run, begin by what these came to, and
//! are left alone by whatever ends the tasks. Only a second cancel ends them.

use muster_core::ids::TaskIndex;
use muster_core::spec::Hook;
use muster_core::state::hooks::RunResult;
use muster_core::state::run::{Run, RunStatus};
use muster_core::state::task::{StopReason, TaskEnd, TaskState};
use muster_core::time::Timestamp;

use super::rules;
use super::step::Step;
use super::work::Work;
use crate::coverage::Rare;
use crate::verdict::Invariant;

/// Cancels of a run that end its hooks too.
const CANCELS: u8 = 2;

/// What the tasks of a run came to, by why it was told to stop and how they ended.
fn came_to(stop: Option<StopReason>, ends: &[TaskEnd]) -> RunResult {
    match stop {
        Some(StopReason::Cancelled | StopReason::Replaced | StopReason::ByParent) => {
            RunResult::Cancelled
        }
        Some(StopReason::RunTimedOut | StopReason::AttemptTimedOut) => RunResult::TimedOut,
        Some(StopReason::FailFast) => RunResult::Failed,
        None if ends.contains(&TaskEnd::Failed) => RunResult::Failed,
        None if ends.contains(&TaskEnd::Cancelled) => RunResult::Cancelled,
        None => RunResult::Succeeded,
    }
}

/// The hooks that follow tasks that came to `result`.
fn followers(result: RunResult) -> &'static [Hook] {
    match result {
        RunResult::Succeeded => &[Hook::OnSuccess, Hook::OnExit],
        RunResult::Failed | RunResult::TimedOut => &[Hook::OnFailure, Hook::OnExit],
        RunResult::Cancelled => &[Hook::OnExit],
    }
}

impl Work {
    /// Whether the task at this position is a hook.
    pub(super) fn is_hook(&self, task: usize) -> bool {
        self.version.spec.tasks.get(task).is_some_and(|spec| spec.hook.is_some())
    }

    pub(super) fn has_hooks(&self) -> bool {
        (0..self.tasks.len()).any(|task| self.is_hook(task))
    }

    /// How the tasks ended that are hooks, or are not; `None` while one has not.
    fn ends(&self, hooks: bool) -> Option<Vec<TaskEnd>> {
        let tasks = (0..self.tasks.len()).filter(|task| self.is_hook(*task) == hooks);
        tasks.map(|task| self.end_of(task)).collect()
    }

    /// Lets hooks begin whose turn has come, and ends the run if nothing of it is open.
    pub(super) fn end_if_over(&mut self, now: Timestamp) {
        let Some(ends) = self.ends(false) else { return };
        let result = came_to(self.stop.map(|(_, reason)| reason), &ends);
        if self.has_hooks() && self.begun_at.is_some() && self.result.is_none() {
            self.result = Some(result);
            self.begin_hooks(result, now);
        }
        let Some(hooks) = self.ends(true) else { return };
        self.ended = Some(match self.result.unwrap_or(result) {
            RunResult::Failed | RunResult::TimedOut => RunStatus::Failed,
            RunResult::Cancelled => RunStatus::Cancelled,
            RunResult::Succeeded if self.cancels > 0 => RunStatus::Cancelled,
            RunResult::Succeeded if hooks.contains(&TaskEnd::Failed) => RunStatus::Failed,
            RunResult::Succeeded => RunStatus::Succeeded,
        });
    }

    fn begin_hooks(&mut self, result: RunResult, now: Timestamp) {
        let version = self.version.clone();
        for (task, spec) in self.tasks.iter_mut().zip(&version.spec.tasks) {
            let Some(hook) = spec.hook else { continue };
            let is_blocked = task.cells.iter().all(|(_, state)| *state == TaskState::Blocked);
            if is_blocked {
                let to = match followers(result).contains(&hook) {
                    true => rules::started(spec, task.attempts, now),
                    false => TaskState::Skipped { by_failure: false },
                };
                task.cells.set(task.cells.indices(), to);
                task.is_touched = true;
            }
        }
    }

    /// What is ready waits for a worker from here on.
    pub(super) fn resume(&mut self, now: Timestamp) {
        self.paused = None;
        for task in &mut self.tasks {
            let cells: Vec<_> = task.cells.iter().map(|(range, state)| (range, *state)).collect();
            for (range, state) in cells {
                if let TaskState::Ready { tries, avoid, .. } = state {
                    task.cells.set(range, TaskState::Ready { tries, since: now, avoid });
                    task.is_touched = true;
                }
            }
        }
    }

    /// A person cancels the run.
    pub(super) fn cancel(&mut self, now: Timestamp) {
        if self.has_hooks() {
            self.cancels = (self.cancels + 1).min(CANCELS);
        }
        self.stop(StopReason::Cancelled, now);
        if self.cancels == CANCELS {
            let version = self.version.clone();
            for (task, spec) in self.tasks.iter_mut().zip(&version.spec.tasks) {
                let cells: Vec<_> = task.cells.iter().map(|(range, it)| (range, *it)).collect();
                for (range, state) in cells.into_iter().filter(|_| spec.hook.is_some()) {
                    let to = rules::stopped(spec, &state, StopReason::Cancelled, now);
                    task.cells.set(range, to);
                    task.is_touched |= to != state;
                }
            }
            self.end_if_over(now);
        }
    }

    /// Whether nothing of a task may begin any more.
    pub(super) fn must_stop(&self, task: TaskIndex) -> bool {
        match self.is_hook(task.0 as usize) {
            true => self.cancels == CANCELS,
            false => self.stop.is_some(),
        }
    }

    /// What is wrong with an attempt of a hook, if the task is one.
    pub(super) fn judge_turn(&self, task: TaskIndex) -> Option<String> {
        let hook = self.spec(task)?.hook?;
        match self.result {
            None => Some("its run has tasks that have not ended".to_owned()),
            Some(result) if !followers(result).contains(&hook) => {
                Some(format!("{} after tasks that came to {result:?}", hook.field()))
            }
            Some(_) => None,
        }
    }
}

impl Step<'_> {
    /// What the tasks came to, as the hooks are told.
    pub(super) fn compare_result(&mut self, work: &Work, run: &Run) {
        if run.result != work.result {
            let (is, wanted) = (run.result, work.result);
            let what = format!("the tasks of run {} came to {wanted:?}, it says {is:?}", run.id);
            self.found(Invariant::I7, what);
        }
    }

    /// Counts what became of the hooks of a run in this entry.
    pub(super) fn count_hooks(&mut self, work: &Work) {
        let before = self.before.runs.get(work.id.0);
        if work.result.is_some() && before.is_none_or(|run| run.result.is_none()) {
            self.count(Rare::HooksBegun);
        }
        if work.cancels == CANCELS && before.is_none_or(|run| run.cancels < CANCELS) {
            self.count(Rare::HooksCancelled);
        }
    }
}
