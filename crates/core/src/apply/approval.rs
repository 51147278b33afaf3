//! Approvals end: a person gives or refuses them, or nobody answers in time.

use super::Step;
use super::end_task::task_of;
use super::finish_attempts::cut;
use crate::command::{EndTask, WantedEnd};
use crate::ids::{RunId, TaskIndex, Text};
use crate::mutant::{self, Mutant};
use crate::reply::{Rejection, Reply};
use crate::spec::OnTimeout;
use crate::state::task::{Awaited, FailureReason, TaskState, Tries};

/// What is said of an approval that time alone ended, so that silence is not taken for a person's word.
const UNANSWERED: &str = "nobody answered in time";

impl Step<'_> {
    /// Ends an approval that waits for a person. One that does not wait yet, or no longer, has no answer: whoever gave
    /// it saw something else.
    pub(super) fn answer_approval(&mut self, command: &EndTask) -> Result<Reply, Rejection> {
        let (id, index) = (command.run, command.task);
        let (task, name) = task_of(self.changeable(id)?, index)?;
        let state = task.cells.at(task.cells.indices().first);
        if !matches!(state, Some((_, TaskState::Awaiting { what: Awaited::Person, .. }))) {
            return Err(Rejection::NotAwaiting { task: name.clone() });
        }
        let is_refused =
            command.end == WantedEnd::Rejected && !mutant::is_on(Mutant::RejectionIgnored);
        let failure = is_refused.then_some(FailureReason::NotApproved);
        self.end_approval(id, index, failure, command.reason.as_ref().map(cut));
        Ok(Reply::Done)
    }

    /// Nobody answered within the task's timeout.
    pub(super) fn let_approval_time_out(&mut self, id: RunId, index: TaskIndex) {
        let spec = self.state.run(id).and_then(|run| run.spec(index));
        let on_timeout = spec.and_then(|spec| spec.executor.approval()).map(|it| it.on_timeout);
        let failure = match on_timeout {
            Some(OnTimeout::Approve) => None,
            Some(OnTimeout::Fail) | None => Some(FailureReason::TimedOut),
        };
        self.end_approval(id, index, failure, Some(UNANSWERED.into()));
    }

    fn end_approval(
        &mut self,
        id: RunId,
        index: TaskIndex,
        failure: Option<FailureReason>,
        message: Option<Text>,
    ) {
        let Some(run) = self.state.runs.get_mut(id.0) else { return };
        let Some(task) = run.tasks.get_mut(index.0 as usize) else { return };
        task.message = message;
        let (range, tries) = (task.cells.indices(), Tries::default());
        let to = match failure {
            Some(reason) => TaskState::Failed { tries, reason, last: None },
            None => TaskState::Succeeded { tries, last: None },
        };
        self.change(id, index, range, to);
    }
}
