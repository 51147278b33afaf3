//! Commands by which people change runs that are live, gone through.

use muster_core::command::{PauseRun, PrioritizeRun};
use muster_core::ids::RunId;
use muster_core::limits;
use muster_core::state::task::TaskState;

use super::step::Step;
use super::work::Work;
use crate::verdict::Invariant;

impl Step<'_> {
    /// The run that a command changed, if it could be changed.
    fn changed_run(&mut self, id: RunId, what: &str) -> Option<&mut Work> {
        let is_live = self.live_run(id).is_some_and(|work| work.stop.is_none());
        if !is_live {
            self.found(Invariant::I6, format!("run {id} has ended or must stop, and was {what}"));
            return None;
        }
        self.mark_dirty(id);
        self.live_run(id)
    }

    pub(super) fn pause_run(&mut self, command: &PauseRun) {
        let (id, now) = (command.run, self.now);
        let Some(work) = self.changed_run(id, "paused or resumed") else { return };
        if work.paused.is_some() == command.is_paused {
            return;
        }
        work.paused = command.is_paused.then_some(now);
        if command.is_paused {
            return;
        }
        // What is ready waits for a worker from here on.
        for task in &mut work.tasks {
            let cells: Vec<_> = task.cells.iter().map(|(range, state)| (range, *state)).collect();
            for (range, state) in cells {
                if let TaskState::Ready { tries, avoid, .. } = state {
                    task.cells.set(range, TaskState::Ready { tries, since: now, avoid });
                    task.is_touched = true;
                }
            }
        }
    }

    pub(super) fn prioritize_run(&mut self, command: &PrioritizeRun) {
        let bounds = -limits::PRIORITY_MAX..=limits::PRIORITY_MAX;
        let priority = command.priority.clamp(*bounds.start(), *bounds.end());
        if let Some(work) = self.changed_run(command.run, "given another priority") {
            work.priority = priority;
        }
    }
}
