//! What a run knows of its hooks: which tasks they are, when their turn comes, and what they make of its end.

use super::run::{Run, RunStatus};
use super::task::{StopReason, TaskEnd};
use crate::ids::TaskIndex;
use crate::mutant::{self, Mutant};
use crate::spec::Hook;
use crate::spec::trigger::TriggerOn;

/// What the tasks of a run came to, its hooks apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RunResult {
    /// None failed, and none was cancelled.
    Succeeded,
    /// One failed.
    Failed,
    /// The run was cancelled, replaced or stopped by its parent, or one of them was cancelled while none failed.
    Cancelled,
    /// The run's timeout was over.
    TimedOut,
}

impl RunResult {
    /// All of them.
    pub const ALL: [RunResult; 4] =
        [RunResult::Succeeded, RunResult::Failed, RunResult::Cancelled, RunResult::TimedOut];

    /// The word that hooks see.
    pub fn word(self) -> &'static str {
        match self {
            RunResult::Succeeded => "succeeded",
            RunResult::Failed => "failed",
            RunResult::Cancelled => "cancelled",
            RunResult::TimedOut => "timed-out",
        }
    }

    /// Whether a hook begins after tasks that came to this.
    pub fn begins(self, hook: Hook) -> bool {
        match (hook, self) {
            (Hook::OnExit, _) => true,
            (Hook::OnSuccess, RunResult::Succeeded) => true,
            (Hook::OnSuccess, _) => mutant::is_on(Mutant::HookMisled),
            (Hook::OnFailure, RunResult::Failed | RunResult::TimedOut) => true,
            (Hook::OnFailure, RunResult::Succeeded | RunResult::Cancelled) => false,
        }
    }

    /// Whether a trigger follows a run that ended so.
    pub fn is_followed(self, on: TriggerOn) -> bool {
        match self {
            RunResult::Succeeded => on != TriggerOn::Failure,
            RunResult::Failed | RunResult::TimedOut => on != TriggerOn::Success,
            RunResult::Cancelled => on == TriggerOn::End,
        }
    }
}

impl Run {
    /// What makes the task at `index` a hook, if it is one.
    pub fn hook(&self, index: TaskIndex) -> Option<Hook> {
        self.spec(index)?.hook
    }

    /// Its hooks: at most one for each [`Hook`].
    pub fn hooks(&self) -> impl DoubleEndedIterator<Item = (TaskIndex, Hook)> {
        let tasks = &self.version.spec.tasks;
        let last = tasks.len().saturating_sub(Hook::ALL.len());
        let hooks = tasks.iter().enumerate().skip(last);
        hooks.filter_map(|(at, task)| Some((TaskIndex(at as u32), task.hook?)))
    }

    /// Whether it has any.
    pub fn has_hooks(&self) -> bool {
        self.hooks().next().is_some()
    }

    /// How many of its tasks that are no hooks have not ended.
    pub fn open_tasks(&self) -> u32 {
        let is_open = |index| self.task(index).is_some_and(|task| task.end().is_none());
        let open_hooks = self.hooks().filter(|(index, _)| is_open(*index)).count() as u32;
        self.open.saturating_sub(open_hooks)
    }

    /// Whether it has hooks whose turn has come, and has not been told so.
    pub(crate) fn are_hooks_due(&self) -> bool {
        let is_due = self.result.is_none() && self.begun_at.is_some() && self.has_hooks();
        is_due && self.open_tasks() == 0
    }

    /// What its tasks came to, once all that are no hooks have ended.
    pub fn result_of_tasks(&self) -> RunResult {
        let tasks = self.tasks.iter().zip(&self.version.spec.tasks);
        let tasks = || tasks.clone().filter(|(_, spec)| spec.hook.is_none());
        let some = |end| tasks().any(|(task, _)| task.end() == Some(end));
        match self.stop {
            Some((_, StopReason::Cancelled | StopReason::Replaced | StopReason::ByParent)) => {
                RunResult::Cancelled
            }
            Some((_, StopReason::RunTimedOut | StopReason::AttemptTimedOut)) => RunResult::TimedOut,
            Some((_, StopReason::FailFast)) => RunResult::Failed,
            None if some(TaskEnd::Failed) => RunResult::Failed,
            None if some(TaskEnd::Cancelled) => RunResult::Cancelled,
            None => RunResult::Succeeded,
        }
    }

    /// The status it ends with once no task is open. Of a run whose tasks succeeded a cancel makes a cancelled one, as
    /// whoever asked for it was told, and otherwise a hook that failed makes a failed one. No other is changed.
    pub fn final_status(&self) -> RunStatus {
        let has_failed =
            |index| self.task(index).and_then(|task| task.end()) == Some(TaskEnd::Failed);
        match self.result.unwrap_or_else(|| self.result_of_tasks()) {
            RunResult::Succeeded if self.cancels > 0 => RunStatus::Cancelled,
            RunResult::Succeeded if self.hooks().any(|(index, _)| has_failed(index)) => {
                RunStatus::Failed
            }
            RunResult::Succeeded => RunStatus::Succeeded,
            RunResult::Failed | RunResult::TimedOut => RunStatus::Failed,
            RunResult::Cancelled => RunStatus::Cancelled,
        }
    }
}
