//! What hooks follow, in words.

use std::fmt;

use muster_core::spec::Hook;
use muster_core::state::hooks::RunResult;

use super::HookTurn;

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
