//! A person decides what becomes of a task that was lost under `onLost: hold`.

use super::Step;
use super::advance::without_history;
use crate::command::ReleaseTask;
use crate::mutant::{self, Mutant};
use crate::reply::{Rejection, Reply};
use crate::state::task::{FailureReason, TaskState};

impl Step<'_> {
    pub(super) fn release_task(&mut self, command: &ReleaseTask) -> Result<Reply, Rejection> {
        let run = self.state.run(command.run).ok_or(Rejection::NoSuchRun { run: command.run })?;
        let task = run.task(command.task).ok_or(Rejection::NotHeld)?;
        let is_array = run.spec(command.task).is_some_and(|spec| spec.is_array());
        let held = task.cells.iter().filter_map(|(range, state)| match state {
            TaskState::Held { tries } => Some((range, *tries)),
            _ => None,
        });
        let held: Vec<_> = held.collect();
        if held.is_empty() {
            return Err(Rejection::NotHeld);
        }
        if mutant::is_on(Mutant::ReleaseForgotten) {
            return Ok(Reply::Done);
        }
        for (range, tries) in held {
            let to = if command.rerun {
                TaskState::Ready { tries, since: self.now, avoid: None }
            } else {
                TaskState::Failed { tries, reason: FailureReason::Lost, last: None }
            };
            self.change(
                command.run,
                command.task,
                range,
                if is_array { without_history(to) } else { to },
            );
        }
        Ok(Reply::Done)
    }
}
