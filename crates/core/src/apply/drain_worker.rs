//! A worker is drained, or taken back.

use super::Step;
use crate::command::DrainWorker;
use crate::event::Event;
use crate::reply::{Rejection, Reply};
use crate::state::worker::WorkerStatus;

impl Step<'_> {
    pub(super) fn drain_worker(&mut self, command: &DrainWorker) -> Result<Reply, Rejection> {
        let missing = Rejection::NoSuchWorker { worker: command.worker };
        let Some(worker) = self.state.workers.get_mut(command.worker.0) else {
            return Err(missing);
        };
        worker.status = match worker.status {
            WorkerStatus::Lost { .. } => return Err(missing),
            WorkerStatus::Active | WorkerStatus::Draining if command.is_draining => {
                WorkerStatus::Draining
            }
            WorkerStatus::Active | WorkerStatus::Draining => WorkerStatus::Active,
        };
        self.events.push(Event::WorkerChanged { worker: command.worker });
        Ok(Reply::Done)
    }
}
