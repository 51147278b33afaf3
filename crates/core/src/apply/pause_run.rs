//! A run is paused: what it has ready is kept from workers. Resumed, it waits for them as if it had just begun to.

use super::Step;
use crate::command::PauseRun;
use crate::event::Event;
use crate::ids::{RunId, TaskIndex};
use crate::mutant::{self, Mutant};
use crate::reply::{Rejection, Reply};
use crate::state::Due;
use crate::state::cells::IndexRange;
use crate::state::run::Run;
use crate::state::task::TaskState;

impl Step<'_> {
    pub(super) fn pause_run(&mut self, command: &PauseRun) -> Result<Reply, Rejection> {
        let run = self.changeable(command.run)?;
        match (run.paused, command.is_paused) {
            _ if mutant::is_on(Mutant::PauseForgotten) => {}
            (None, true) => self.pause(run.id),
            (Some(_), false) => self.resume(run.id),
            (Some(_), true) | (None, false) => return Ok(Reply::Done),
        }
        self.events.push(Event::RunChanged { run: command.run });
        Ok(Reply::Done)
    }

    /// A live run that goes on, so that it can be changed.
    pub(super) fn changeable(&self, run: RunId) -> Result<&Run, Rejection> {
        let found = self.state.run(run).ok_or(Rejection::NoSuchRun { run })?;
        if found.stop.is_some() {
            return Err(Rejection::RunStopping { run });
        }
        Ok(found)
    }

    fn pause(&mut self, id: RunId) {
        let Some(run) = self.state.run(id).cloned() else { return };
        for (task, range, state) in ready_cells(&run) {
            if let Some(at) = state.deadline(&run.spans(task)) {
                self.state.deadlines.remove(at, Due::Cell(id, task, range.first));
            }
        }
        self.state.set_queued(&run, false);
        if let Some(run) = self.state.runs.get_mut(id.0) {
            run.paused = Some(self.now);
        }
    }

    pub(super) fn resume(&mut self, id: RunId) {
        let Some(run) = self.state.runs.get_mut(id.0) else { return };
        run.paused = None;
        let ready = ready_cells(run);
        for (task, range, state) in ready {
            if let TaskState::Ready { tries, avoid, .. } = state {
                let to = TaskState::Ready { tries, since: self.now, avoid };
                self.state.change(id, task, range, to);
            }
        }
    }
}

fn ready_cells(run: &Run) -> Vec<(TaskIndex, IndexRange, TaskState)> {
    let mut ready = Vec::new();
    for (position, task) in run.tasks.iter().enumerate() {
        let index = TaskIndex(position as u32);
        let cells = task.cells.iter().filter(|(_, it)| matches!(it, TaskState::Ready { .. }));
        ready.extend(cells.map(|(range, state)| (index, range, *state)));
    }
    ready
}
