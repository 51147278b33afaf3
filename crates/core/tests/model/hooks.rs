//! The model's rules for the end of a run: the turn of its hooks, what a cancel leaves of them, and the status.

use muster_core::ids::RunId;
use muster_core::reply::{Rejection, Reply};
use muster_core::spec::{ExecutorSpec, Hook, TaskSpec};
use muster_core::state::hooks::RunResult;
use muster_core::state::run::RunStatus;
use muster_core::state::task::StopReason;
use proptest::prelude::*;

use super::naive::{Answered, Cell, End, Ended, Model, Run};
use super::rules::fresh;

impl Run {
    pub(crate) fn hook(&self, task: u32) -> Option<Hook> {
        self.task(task)?.hook
    }

    pub(super) fn has_hooks(&self) -> bool {
        self.spec.tasks.iter().any(|task| task.hook.is_some())
    }

    /// How all tasks ended that are hooks, or are not; `None` while one is open.
    fn ends(&self, hooks: bool) -> Option<Vec<End>> {
        let tasks = 0..self.spec.tasks.len() as u32;
        tasks.filter(|it| self.hook(*it).is_some() == hooks).map(|it| self.end_of(it)).collect()
    }
}

fn is_failed(end: &End) -> bool {
    matches!(end, End::Failed(_))
}

impl Model {
    pub(super) fn cancel(&mut self, id: RunId) -> Answered {
        let run = self.runs.get_mut(&id.0).ok_or(Rejection::NoSuchRun { run: id })?;
        let is_second = run.has_hooks() && run.is_cancelled;
        run.is_cancelled |= run.has_hooks();
        if is_second {
            run.is_cancelled_twice = true;
            self.stop_cells(id.0, StopReason::Cancelled, |run, task| run.hook(task).is_some());
        } else {
            self.stop_run(id.0, StopReason::Cancelled);
        }
        Ok(Reply::Done)
    }

    /// What the last end of the tasks, or of the hooks, brings.
    pub(super) fn end_if_over(&mut self, run_id: u64) {
        let now = self.now;
        let run = self.runs.get_mut(&run_id).expect("the caller saw it");
        let Some(ends) = run.ends(false) else { return };
        let result = match run.stop {
            Some(StopReason::Cancelled | StopReason::ByParent) => RunResult::Cancelled,
            Some(StopReason::RunTimedOut) => RunResult::TimedOut,
            Some(_) => RunResult::Failed,
            None if ends.iter().any(is_failed) => RunResult::Failed,
            None if ends.contains(&End::Cancelled) => RunResult::Cancelled,
            None => RunResult::Succeeded,
        };
        let has_begun = run.result.is_some();
        let result = *run.result.get_or_insert(result);
        for task in (0..run.spec.tasks.len() as u32).filter(|_| !has_begun) {
            let begins = match (run.hook(task), result) {
                (None, _) => continue,
                (Some(Hook::OnExit), _) => true,
                (Some(Hook::OnSuccess), result) => result == RunResult::Succeeded,
                (Some(Hook::OnFailure), result) => {
                    matches!(result, RunResult::Failed | RunResult::TimedOut)
                }
            };
            let to = match begins {
                true => fresh(run, task, now),
                false => Cell::Ended(End::Skipped { by_failure: false }),
            };
            if run.cells[&(task, 0)] == Cell::Blocked {
                run.cells.insert((task, 0), to);
            }
        }
        let Some(hooks) = run.ends(true) else { return };
        let status = match result {
            RunResult::Failed | RunResult::TimedOut => RunStatus::Failed,
            RunResult::Cancelled => RunStatus::Cancelled,
            RunResult::Succeeded if run.is_cancelled => RunStatus::Cancelled,
            RunResult::Succeeded if hooks.iter().any(is_failed) => RunStatus::Failed,
            RunResult::Succeeded => RunStatus::Succeeded,
        };
        self.ended.push(Ended { run: run_id, status, cells: run.cells.clone() });
        let run = self.runs.remove(&run_id).expect("it was looked at above");
        self.untold.extend(run.parent.map(|(above, task, _)| (run_id, (above, task, status))));
        self.history.push((run_id, run));
    }
}

/// Hooks to stand behind tasks: some of the three, often none.
pub(crate) fn hooks(task: impl Strategy<Value = TaskSpec>) -> impl Strategy<Value = Vec<TaskSpec>> {
    (0..16u8, prop::collection::vec(task, 3)).prop_map(|(chosen, tasks)| {
        let all = Hook::ALL.into_iter().zip(tasks).enumerate();
        let chosen = all.filter(|(at, _)| chosen < 8 && chosen >> at & 1 == 1);
        let hooks = chosen.map(|(_, (hook, task))| {
            let plain = TaskSpec::new(hook.id(), ExecutorSpec::Noop);
            TaskSpec {
                hook: Some(hook),
                request: task.request,
                retry: task.retry,
                on_lost: task.on_lost,
                max_lost: task.max_lost,
                timeout: task.timeout,
                queue_timeout: task.queue_timeout,
                grace_period: task.grace_period,
                priority: task.priority,
                ..plain
            }
        });
        hooks.collect()
    })
}
