//! `failFast`: what failed for good takes the rest with it, of its array task or of its run.

use super::Step;
use crate::ids::{RunId, TaskIndex};
use crate::mutant::{self, Mutant};
use crate::state::task::{StopReason, TaskEnd};

impl Step<'_> {
    /// Follows up on a task that ended, or of which something failed.
    pub(super) fn fail_fast(&mut self, run: RunId, task: TaskIndex) {
        if mutant::is_on(Mutant::FailFastIgnored) {
            return;
        }
        if self.state.run(run).is_some_and(|run| run.fails_fast(task)) {
            self.stop_task(run, task, StopReason::FailFast);
        }
        if self.ends_run(run, task) {
            self.stop_run(run, StopReason::FailFast);
        }
    }

    /// Whether the task has failed as a whole, and its workflow says that this is the end of the run. Once hooks have
    /// their turn there is nothing left to end, and one that fails takes nothing with it.
    fn ends_run(&self, run: RunId, task: TaskIndex) -> bool {
        let run = self.state.run(run).filter(|run| run.version.spec.fail_fast);
        let run = run.filter(|run| run.result.is_none());
        let end = run.and_then(|run| run.task(task)).and_then(|task| task.end());
        end == Some(TaskEnd::Failed)
    }
}
