//! A run is cancelled: nothing of it starts from here on, and it always ends (I15).

use super::Step;
use crate::command::CancelRun;
use crate::mutant::{self, Mutant};
use crate::reply::{Rejection, Reply};
use crate::state::task::StopReason;

impl Step<'_> {
    pub(super) fn cancel_run(&mut self, command: &CancelRun) -> Result<Reply, Rejection> {
        if self.state.run(command.run).is_none() {
            return Err(Rejection::NoSuchRun { run: command.run });
        }
        if !mutant::is_on(Mutant::CancelForgotten) {
            self.stop_run(command.run, StopReason::Cancelled);
        }
        Ok(Reply::Done)
    }
}
