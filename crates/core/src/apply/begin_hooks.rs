//! The turn of the hooks: all other tasks of a run have ended, and what they came to stands.

use super::Step;
use crate::event::Event;
use crate::ids::RunId;
use crate::state::Due;
use crate::state::task::{StopReason, TaskState};

impl Step<'_> {
    /// The last end of the tasks lets the hooks of a run begin, and the last end of all ends the run.
    pub(super) fn follow_ends(&mut self, id: RunId) {
        if self.state.run(id).is_some_and(|run| run.are_hooks_due()) {
            self.begin_hooks(id);
        }
        if self.state.run(id).is_some_and(|run| run.open == 0) {
            self.end_run(id);
        }
    }

    /// Hooks that were ended before their turn keep that end.
    fn begin_hooks(&mut self, id: RunId) {
        let Some(run) = self.state.runs.get_mut(id.0) else { return };
        let result = run.result_of_tasks();
        run.result = Some(result);
        // It is the bound of the tasks; hooks have their own.
        if let Some(at) = run.tasks_deadline() {
            self.state.deadlines.remove(at, Due::Run(id));
        }
        let hooks: Vec<_> = run.hooks().collect();
        for (index, hook) in hooks {
            let Some(run) = self.state.run(id) else { return };
            let Some(task) = run.task(index) else { continue };
            let range = task.cells.indices();
            if !matches!(task.cells.at(range.first), Some((_, TaskState::Blocked))) {
                continue;
            }
            let to = match result.begins(hook) {
                true => self.started(id, index),
                false => TaskState::Skipped { by_failure: false },
            };
            self.state.change(id, index, range, to);
            let status = to.status();
            self.events.push(Event::TaskChanged { run: id, task: index, range, status });
            if let Some(run) = self.state.runs.get_mut(id.0).filter(|_| status.is_terminal()) {
                run.open = run.open.saturating_sub(1);
            }
        }
    }

    /// Ends the hooks of a run, begun or not: what has a live attempt is told to stop.
    pub(super) fn stop_hooks(&mut self, id: RunId) {
        let Some(run) = self.state.run(id) else { return };
        let hooks: Vec<_> = run.hooks().collect();
        for (index, _) in hooks {
            self.stop_task(id, index, StopReason::Cancelled);
        }
    }
}
