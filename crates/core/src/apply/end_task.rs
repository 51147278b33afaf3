//! A person says how a task ended: it is skipped or counts as succeeded without running, or its attempts must stop; or
//! an approval is given or refused.

use std::collections::BTreeMap;

use super::Step;
use super::advance::without_history;
use crate::command::{EndTask, WantedEnd};
use crate::ids::{Name, TaskIndex};
use crate::reply::{Rejection, Reply};
use crate::state::cells::{Cells, IndexRange};
use crate::state::run::Run;
use crate::state::task::{StopReason, Task, TaskState};

impl Step<'_> {
    pub(super) fn end_task(&mut self, command: &EndTask) -> Result<Reply, Rejection> {
        let (id, index) = (command.run, command.task);
        let run = self.changeable(id)?;
        let (task, name) = task_of(run, index)?;
        let has_ended = task.end().is_some();
        let ended = Rejection::TaskEnded { task: name.clone() };
        let cells = match command.end {
            WantedEnd::Cancelled if has_ended => return Err(ended),
            WantedEnd::Cancelled => {
                self.stop_task(id, index, StopReason::Cancelled);
                return Ok(Reply::Done);
            }
            WantedEnd::Approved | WantedEnd::Rejected => return self.answer_approval(command),
            WantedEnd::Succeeded => ends(task, |state| match state {
                TaskState::Succeeded { .. } => None,
                other => Some(TaskState::Succeeded { tries: other.tries(), last: None }),
            }),
            WantedEnd::Skipped => ends(task, |state| match state {
                TaskState::Succeeded { .. } | TaskState::Skipped { by_failure: false } => None,
                _ => Some(TaskState::Skipped { by_failure: false }),
            }),
        };
        if cells.is_empty() {
            return Err(ended);
        }
        if task.cells.iter().any(|(_, state)| state.is_live()) {
            return Err(Rejection::TaskLive { task: name.clone() });
        }
        if has_ended {
            let mut changes = self.taken_back(run, BTreeMap::from([(index, Vec::new())]))?;
            changes.insert(index, cells);
            self.reopen(id, changes);
        } else {
            cells.into_iter().for_each(|(range, to)| self.change(id, index, range, to));
        }
        Ok(Reply::Done)
    }
}

/// A task of a run, and its name.
pub(super) fn task_of(run: &Run, task: TaskIndex) -> Result<(&Task, &Name), Rejection> {
    let found = run.task(task).zip(run.spec(task));
    found.map(|(found, spec)| (found, &spec.id)).ok_or(Rejection::NoSuchTask { run: run.id, task })
}

/// The indices of a task that get another end.
fn ends(
    task: &Task,
    end: impl Fn(&TaskState) -> Option<TaskState>,
) -> Vec<(IndexRange, TaskState)> {
    let is_array = matches!(task.cells, Cells::Many(_));
    let form = |state| if is_array { without_history(state) } else { state };
    let cells = task.cells.iter();
    cells.filter_map(|(range, state)| Some((range, form(end(state)?)))).collect()
}
