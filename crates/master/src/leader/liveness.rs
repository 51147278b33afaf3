//! Watching over workers: one that was silent for its lease and the margin is declared lost.

use std::sync::Arc;
use std::time::Duration;

use muster_core::command::{Command, LoseWorker};
use muster_core::ids::WorkerId;
use muster_core::mutant::{self, Mutant};
use muster_core::state::State;
use muster_core::state::worker::{Worker, WorkerStatus};

use crate::live::MARGIN;
use crate::replica::Replica;

/// How often leases are looked at.
const LOOK: Duration = Duration::from_millis(100);

pub(super) async fn run(replica: Arc<Replica>, term: u64) {
    let (mut wall, mut is_first) = (Duration::MAX, true);
    loop {
        tokio::time::sleep(LOOK).await;
        let registered = replica.cell.read(registered);
        replica.live.adopt(registered.into_iter());
        let is_mass = std::mem::take(&mut is_first) && mutant::is_on(Mutant::MassExpiry);
        let leap = if mutant::is_on(Mutant::LeaseByWallClock) {
            let before = std::mem::replace(&mut wall, replica.config.platform.wall_clock());
            wall.saturating_sub(before)
        } else {
            LOOK
        };
        let lapsed = replica.live.lapse(|lease| match () {
            () if is_mass => Duration::ZERO,
            () if mutant::is_on(Mutant::MarginDropped) => lease / 2,
            () if mutant::is_on(Mutant::MarginForgotten) => lease,
            () if mutant::is_on(Mutant::LeaseOfOthersIgnored) => replica.config.lease + MARGIN,
            () => (lease + MARGIN + LOOK).saturating_sub(leap),
        });
        // Together, since a rack fails as a whole.
        futures::future::join_all(lapsed.into_iter().map(|worker| lose(&replica, term, worker)))
            .await;
        replica.live.drop_stale_fetches();
    }
}

/// The workers that were not declared lost, each with its lease.
pub(super) fn registered(state: &State) -> Vec<(WorkerId, Duration)> {
    let known =
        state.workers().iter().filter(|worker| !matches!(worker.status, WorkerStatus::Lost { .. }));
    known.map(|worker| (worker.id, lease_of(worker))).collect()
}

/// The longest lease that a worker may have, whoever granted it.
pub(crate) fn lease_of(worker: &Worker) -> Duration {
    Duration::from_millis(worker.lease.0)
}

async fn lose(replica: &Arc<Replica>, term: u64, worker: WorkerId) {
    let is_known = replica.cell.read(|state| state.held_by(worker).is_some());
    if !is_known {
        replica.live.forget(worker, "the worker is not registered");
        return;
    }
    // If this does not commit, the worker stays on the list and it is proposed again. Only in this term: a later
    // leader, be it this master, grants the worker its lease anew.
    let lose = Command::LoseWorker(LoseWorker { worker });
    if mutant::is_on(Mutant::TermUnbound) {
        let replica = Arc::clone(replica);
        tokio::spawn(async move {
            while replica.proposer.propose(&lose).await.is_err() {
                tokio::time::sleep(LOOK).await;
            }
        });
        return;
    }
    let _uncommitted = replica.proposer.propose_in(term, &lose).await;
}
