//! A worker registers. The same process registering again, after a leader change, stays the same worker; a restarted
//! one is another, and the old one keeps its attempts until its lease is over.

use std::sync::Arc;

use super::Step;
use crate::command::RegisterWorker;
use crate::event::Event;
use crate::ids::WorkerId;
use crate::limits;
use crate::reply::{Rejection, Reply};
use crate::state::Holding;
use crate::state::worker::{Worker, WorkerStatus};

impl Step<'_> {
    pub(super) fn register_worker(&mut self, command: &RegisterWorker) -> Result<Reply, Rejection> {
        check(command)?;
        if let Some(known) = self.state.worker_by_name(&command.name)
            && known.incarnation == command.incarnation
            && !matches!(known.status, WorkerStatus::Lost { .. })
        {
            return Ok(Reply::WorkerRegistered { worker: known.id });
        }
        if self.state.workers.len() >= limits::WORKERS_MAX {
            return Err(Rejection::LimitReached {
                what: "workers",
                max: limits::WORKERS_MAX as u64,
            });
        }
        let id = WorkerId(self.state.meta.next_worker);
        self.state.meta.next_worker += 1;
        let worker = Worker {
            id,
            name: command.name.clone(),
            incarnation: command.incarnation,
            labels: command.labels.clone(),
            pool: command.pool.clone(),
            capacity: command.capacity.clone(),
            status: WorkerStatus::Active,
            registered_at: self.now,
        };
        self.state.workers.insert(id.0, Arc::new(worker));
        self.state.worker_by_name.insert(command.name.clone(), id);
        self.state.held.insert(id, Holding::default());
        self.events.push(Event::WorkerChanged { worker: id });
        Ok(Reply::WorkerRegistered { worker: id })
    }
}

fn check(command: &RegisterWorker) -> Result<(), Rejection> {
    let bad = |problem: &str| Err(Rejection::BadWorker { problem: problem.to_owned() });
    if command.name.is_empty() || command.name.len() > limits::NAME_BYTES_MAX {
        return bad("a worker's name has 1 to 128 bytes");
    }
    let entries = command.labels.len().max(command.capacity.custom.len());
    if entries > limits::MAP_ENTRIES_MAX {
        return bad("a worker states at most 256 labels and 256 custom resources");
    }
    let texts = command
        .labels
        .iter()
        .flat_map(|(key, value)| [key, value])
        .chain(command.capacity.custom.keys());
    if texts.chain(&command.pool).any(|text| text.len() > limits::NAME_BYTES_MAX) {
        return bad("labels, pool and resource names have at most 128 bytes");
    }
    Ok(())
}
