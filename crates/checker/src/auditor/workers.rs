//! Commands about workers, gone through.

use std::collections::BTreeMap;
use std::sync::Arc;

use muster_core::command::{DrainWorker, LoseWorker, Outcome, RegisterWorker};
use muster_core::ids::WorkerId;
use muster_core::reply::Reply;
use muster_core::state::worker::{Worker, WorkerStatus};
use muster_core::time::Millis;

use super::step::{Claim, Step};
use crate::coverage::Rare;
use crate::ledger::{Cause, WorkerRecord};
use crate::verdict::Invariant;

pub(super) fn is_lost(worker: &Worker) -> bool {
    matches!(worker.status, WorkerStatus::Lost { .. })
}

impl Step<'_> {
    pub(super) fn register_worker(&mut self, command: &RegisterWorker, claim: &Claim) {
        let Ok(reply) = claim else { return };
        let Reply::WorkerRegistered { worker: id } = reply else {
            return self.found(Invariant::I17, format!("a registration was told {reply:?}"));
        };
        let id = *id;
        let namesakes = self.book.workers.values();
        let mut live = namesakes.filter(|it| it.name == command.name && !is_lost(it));
        let (same, other): (Vec<_>, Vec<_>) =
            live.by_ref().partition(|it| it.incarnation == command.incarnation);
        let is_another_life = !other.is_empty();
        if let Some(known) = same.first().map(|it| it.id) {
            self.count(Rare::RegisteredAgain);
            if known != id {
                let what = format!("worker {known} registered again, and was told it is {id}");
                return self.found(Invariant::I12, what);
            }
            self.lengthen_lease(known, command.lease);
            return;
        }
        if self.ledger.workers.contains_key(&id) || self.book.workers.contains_key(&id) {
            let what =
                format!("`{}` was taken in as worker {id}, which is another's id", command.name);
            return self.found(Invariant::I12, what);
        }
        if is_another_life {
            self.count(Rare::IncarnationChanged);
        }
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
        let record = WorkerRecord {
            name: worker.name.clone(),
            incarnation: worker.incarnation,
            leases: BTreeMap::from([(self.index, worker.lease)]),
            registered: self.index,
            lost: None,
            lost_in_term: None,
        };
        self.ledger.workers.insert(id, record);
        self.book.workers.insert(id, Arc::new(worker));
        self.touched_workers.insert(id);
    }

    /// A grant that is shorter than one before it may not have arrived.
    fn lengthen_lease(&mut self, id: WorkerId, lease: Millis) {
        let Some(worker) = self.book.workers.get_mut(&id).filter(|it| it.lease < lease) else {
            return;
        };
        Arc::make_mut(worker).lease = lease;
        if let Some(record) = self.ledger.workers.get_mut(&id) {
            record.leases.insert(self.index, lease);
        }
        self.touched_workers.insert(id);
    }

    pub(super) fn drain_worker(&mut self, command: &DrainWorker) {
        let id = command.worker;
        let status =
            if command.is_draining { WorkerStatus::Draining } else { WorkerStatus::Active };
        if !self.set_worker(id, status) {
            self.found(Invariant::I12, format!("worker {id} is gone, and was drained"));
        } else if command.is_draining {
            self.count(Rare::WorkerDrained);
        }
    }

    pub(super) fn lose_worker(&mut self, command: &LoseWorker, claim: &Claim) {
        let id = command.worker;
        if claim.is_err() {
            return;
        }
        if !self.set_worker(id, WorkerStatus::Lost { at: self.now }) {
            return self
                .found(Invariant::I12, format!("worker {id} is gone, and was lost once more"));
        }
        self.count(Rare::WorkerLost);
        if let Some(record) = self.ledger.workers.get_mut(&id) {
            record.lost.get_or_insert(self.index);
            record.lost_in_term = self.term;
        }
        let tasks = self.book.holdings.of(id).map(|it| it.tasks.keys().copied().collect());
        let tasks: Vec<_> = tasks.unwrap_or_default();
        let mut lost = Vec::new();
        for (run, task) in tasks {
            let Some(cells) = self.live_run(run).and_then(|it| Some(&it.task(task)?.cells)) else {
                continue;
            };
            let its = cells.iter().filter(|(_, it)| it.attempt().is_some_and(|it| it.worker == id));
            lost.extend(its.map(|(range, state)| (run, task, range, *state)));
        }
        for (run, task, range, state) in lost {
            self.end_attempt(
                (run, task, range),
                &state,
                &Outcome::Lost,
                Millis(0),
                Cause::WorkerLost,
            );
        }
    }

    /// Gives a worker a status, unless it is gone.
    fn set_worker(&mut self, id: WorkerId, status: WorkerStatus) -> bool {
        self.touched_workers.insert(id);
        match self.book.workers.get_mut(&id).filter(|worker| !is_lost(worker)) {
            Some(worker) => {
                Arc::make_mut(worker).status = status;
                true
            }
            None => false,
        }
    }
}
