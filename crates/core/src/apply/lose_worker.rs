//! A worker is declared gone, and every attempt it had is lost.

use super::Step;
use crate::command::LoseWorker;
use crate::event::Event;
use crate::limits;
use crate::reply::{Rejection, Reply};
use crate::state::Due;
use crate::state::worker::WorkerStatus;

impl Step<'_> {
    pub(super) fn lose_worker(&mut self, command: &LoseWorker) -> Result<Reply, Rejection> {
        let id = command.worker;
        let missing = Rejection::NoSuchWorker { worker: id };
        let Some(worker) = self.state.workers.get_mut(id.0) else { return Err(missing) };
        match worker.status {
            WorkerStatus::Lost { .. } => return Err(missing),
            WorkerStatus::Active | WorkerStatus::Draining => {
                worker.status = WorkerStatus::Lost { at: self.now }
            }
        }
        self.state.deadlines.insert(self.now + limits::LOST_WORKER_RETENTION, Due::Worker(id));
        self.events.push(Event::WorkerLost { worker: id });
        for attempt in self.state.attempts_of(id) {
            self.lose_attempt(&attempt);
        }
        self.state.held.remove(&id);
        Ok(Reply::Done)
    }
}
