//! A run is cancelled: no task of it starts from here on, and it always ends (I15). Its hooks are left to do their
//! work, until it is cancelled once more.

use super::Step;
use crate::command::CancelRun;
use crate::mutant::{self, Mutant};
use crate::reply::{Rejection, Reply};
use crate::state::run::CANCELS_MAX;
use crate::state::task::StopReason;

impl Step<'_> {
    pub(super) fn cancel_run(&mut self, command: &CancelRun) -> Result<Reply, Rejection> {
        let id = command.run;
        let Some(run) = self.state.runs.get_mut(id.0) else {
            return Err(Rejection::NoSuchRun { run: id });
        };
        if mutant::is_on(Mutant::CancelForgotten) {
            return Ok(Reply::Done);
        }
        if run.has_hooks() {
            run.cancels = (run.cancels + 1).min(CANCELS_MAX);
        }
        let is_last = run.cancels == CANCELS_MAX;
        self.stop_run(id, StopReason::Cancelled);
        if is_last {
            self.stop_hooks(id);
        }
        Ok(Reply::Done)
    }
}
