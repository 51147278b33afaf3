//! What hooks follow.

use std::fmt;

use muster_core::ids::TaskIndex;
use muster_core::spec::Hook;
use muster_core::state::hooks::RunResult;
use muster_core::state::run::Run;

use super::{UPSTREAM_MAX, UpstreamTask};

/// What a hook follows, and how far that is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookTurn {
    /// Which hook.
    pub hook: Hook,
    /// What the tasks of the run came to, once all of them have ended.
    pub result: Option<RunResult>,
    /// Tasks that have not ended, at most [`UPSTREAM_MAX`].
    pub open: Vec<UpstreamTask>,
    /// How many more there are.
    pub open_left_out: usize,
}

impl HookTurn {
    pub(super) fn of(run: &Run, hook: Hook) -> Self {
        let tasks = (0..).map(TaskIndex).zip(run.tasks.iter().zip(&run.version.spec.tasks));
        let tasks = tasks.map(|(index, (task, spec))| (index, task.status(), spec));
        let open = tasks.filter(|(_, status, spec)| spec.hook.is_none() && !status.is_terminal());
        let named = open.take(UPSTREAM_MAX);
        let named =
            named.map(|(task, status, spec)| UpstreamTask { task, name: spec.id.text(), status });
        let open: Vec<_> = named.collect();
        let open_left_out = (run.open_tasks() as usize).saturating_sub(open.len());
        HookTurn { hook, result: run.result, open, open_left_out }
    }
}

impl fmt::Display for HookTurn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = self.hook.field();
        if let Some(result) = self.result {
            let verb = if result.begins(self.hook) { "follows" } else { "does not follow" };
            let words = match result {
                RunResult::Succeeded => "succeeded",
                RunResult::Failed => "failed",
                RunResult::Cancelled => "were cancelled",
                RunResult::TimedOut => "ran out of the run's time",
            };
            return writeln!(f, "The tasks of the run {words}, which the hook `{field}` {verb}.");
        }
        let when = match self.hook {
            Hook::OnSuccess => ", if none failed or was cancelled",
            Hook::OnFailure => ", if one failed or the run's timeout is over",
            Hook::OnExit => "",
        };
        write!(f, "The hook `{field}` begins once all tasks have ended{when}")?;
        let mut separator = "; it waits for";
        for task in &self.open {
            write!(f, "{separator} {} ({})", task.name, task.status.word())?;
            separator = ",";
        }
        if self.open_left_out > 0 {
            write!(f, " and {} more", self.open_left_out)?;
        }
        writeln!(f, ".")
    }
}
