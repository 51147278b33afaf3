//! A run gets another priority, and its ready tasks another place in the queue.

use super::Step;
use crate::command::PrioritizeRun;
use crate::event::Event;
use crate::limits;
use crate::reply::{Rejection, Reply};

impl Step<'_> {
    pub(super) fn prioritize_run(&mut self, command: &PrioritizeRun) -> Result<Reply, Rejection> {
        let id = self.changeable(command.run)?.id;
        let Some(before) = self.state.run(id).cloned() else { return Ok(Reply::Done) };
        self.state.set_queued(&before, false);
        drop(before);
        if let Some(run) = self.state.runs.get_mut(id.0) {
            run.priority = command.priority.clamp(-limits::PRIORITY_MAX, limits::PRIORITY_MAX);
        }
        if let Some(run) = self.state.run(id).cloned() {
            self.state.set_queued(&run, run.paused.is_none());
        }
        self.events.push(Event::RunChanged { run: id });
        Ok(Reply::Done)
    }
}
