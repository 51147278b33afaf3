//! The model's workers: what they stated, and what they have given, counted afresh each time.

use muster_core::command::{Placement, RegisterWorker};
use muster_core::ids::WorkerId;
use muster_core::reply::Reply;
use muster_core::spec::{Request, Resources};

use super::naive::{Cell, Model};

#[derive(Clone, Debug)]
pub(crate) struct Worker {
    pub(crate) stated: RegisterWorker,
    pub(crate) is_draining: bool,
    pub(crate) lost_at: Option<u64>,
}

impl Model {
    pub(super) fn register(&mut self, stated: &RegisterWorker) -> Reply {
        let known = self.workers.iter_mut().find(|(_, it)| {
            it.lost_at.is_none()
                && it.stated.name == stated.name
                && it.stated.incarnation == stated.incarnation
        });
        if let Some((id, it)) = known {
            it.stated.lease = it.stated.lease.max(stated.lease);
            return Reply::WorkerRegistered { worker: WorkerId(*id) };
        }
        self.workers_ever += 1;
        let worker = Worker { stated: stated.clone(), is_draining: false, lost_at: None };
        self.workers.insert(self.workers_ever, worker);
        Reply::WorkerRegistered { worker: WorkerId(self.workers_ever) }
    }

    /// What the live attempts on a worker take, counted afresh.
    pub(crate) fn used(&self, worker: u64) -> Resources {
        let mut used = Resources::ZERO;
        for run in self.runs.values() {
            for ((task, _), cell) in &run.cells {
                if matches!(cell, Cell::Live(live) if live.worker == worker) {
                    let part = &run.spec.tasks[*task as usize].request.resources;
                    used.cpu_millis += part.cpu_millis;
                    used.memory_bytes += part.memory_bytes;
                    for (name, amount) in part.custom.iter().filter(|(_, amount)| **amount > 0) {
                        *used.custom.entry(name.clone()).or_default() += amount;
                    }
                }
            }
        }
        used
    }

    pub(super) fn fits(&self, placement: &Placement, request: &Request) -> bool {
        let worker = &self.workers[&placement.worker.0].stated;
        let used = self.used(placement.worker.0);
        let wanted = &request.resources;
        let count = u64::from(placement.range.last - placement.range.first + 1);
        let enough = |has: u64, used: u64, wanted: u64| used + wanted * count <= has;
        let custom = |name| worker.capacity.custom.get(name).copied().unwrap_or(0);
        enough(worker.capacity.cpu_millis, used.cpu_millis, wanted.cpu_millis)
            && enough(worker.capacity.memory_bytes, used.memory_bytes, wanted.memory_bytes)
            && wanted.custom.iter().all(|(name, wanted)| {
                enough(custom(name), used.custom.get(name).copied().unwrap_or(0), *wanted)
            })
    }
}
