//! A worker registers. The same process registering again, after a leader change, stays the same worker; a restarted
//! one is another, and the old one keeps its attempts until its lease is over.

use std::sync::Arc;

use super::Step;
use crate::command::RegisterWorker;
use crate::event::Event;
use crate::ids::WorkerId;
use crate::limits;
use crate::reply::{Rejection, Reply};
use crate::spec::LABEL_VALUE_BYTES_MAX;
use crate::state::Holding;
use crate::state::worker::{Worker, WorkerStatus};

impl Step<'_> {
    pub(super) fn register_worker(&mut self, command: &RegisterWorker) -> Result<Reply, Rejection> {
        check(command)?;
        if let Some(known) = self.state.live_worker(&command.name, command.incarnation) {
            let (id, lease) = (known.id, known.lease.max(command.lease));
            if lease > known.lease {
                let longer = Worker { lease, ..known.as_ref().clone() };
                self.state.workers.insert(id.0, Arc::new(longer));
                self.events.push(Event::WorkerChanged { worker: id });
            }
            return Ok(Reply::WorkerRegistered { worker: id });
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
            lease: command.lease,
            status: WorkerStatus::Active,
            registered_at: self.now,
        };
        self.state.workers.insert(id.0, Arc::new(worker));
        self.state.workers_by_name.entry(command.name.clone()).or_default().insert(id);
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
    let mut names = command.labels.keys().chain(command.capacity.custom.keys());
    if names.any(|name| name.len() > limits::NAME_BYTES_MAX) {
        return bad("names of labels and resources have at most 128 bytes");
    }
    let mut values = command.labels.values().chain(&command.pool);
    if values.any(|value| value.len() > LABEL_VALUE_BYTES_MAX) {
        return bad("values of labels and the pool have at most 256 bytes");
    }
    Ok(())
}
