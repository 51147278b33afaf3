//! Watching over workers: one that was silent for its lease and the margin is declared lost.

use std::sync::Arc;
use std::time::Duration;

use muster_core::command::{Command, LoseWorker};
use muster_core::ids::WorkerId;
use muster_core::mutant::{self, Mutant};
use muster_core::state::State;
use muster_core::state::worker::{Worker, WorkerStatus};
use muster_core::time::Millis;

use crate::live::MARGIN;
use crate::replica::Replica;

/// How often leases are looked at.
const LOOK: Duration = Duration::from_millis(100);

pub(super) async fn run(replica: Arc<Replica>, term: u64) {
    let (mut wall, mut is_first) = (Duration::MAX, true);
    loop {
        tokio::time::sleep(LOOK).await;
        let registered = replica.cell.read(|state| registered(state, replica.config.lease));
        replica.live.adopt(registered.into_iter());
        let looked = Look {
            own_lease: replica.config.lease,
            is_first: std::mem::take(&mut is_first),
            wall: wall_passed(&replica, &mut wall),
        };
        let lapsed = replica.live.lapse(|lease| looked.patience(lease));
        // Together, since a rack fails as a whole.
        futures::future::join_all(lapsed.into_iter().map(|worker| lose(&replica, term, worker)))
            .await;
        replica.live.drop_stale_fetches();
    }
}

/// What deliberate bugs make of a look.
struct Look {
    own_lease: Duration,
    is_first: bool,
    /// How far the wall clock has gone since the last look.
    wall: Duration,
}

impl Look {
    /// How long a worker with this lease may be silent.
    fn patience(&self, lease: Duration) -> Duration {
        if self.is_first && mutant::is_on(Mutant::MassExpiry) {
            return Duration::ZERO;
        }
        if mutant::is_on(Mutant::MarginDropped) {
            return lease / 2;
        }
        if mutant::is_on(Mutant::MarginForgotten) {
            return lease;
        }
        if mutant::is_on(Mutant::LeaseOfOthersIgnored) {
            return self.own_lease + MARGIN;
        }
        if mutant::is_on(Mutant::LeaseByWallClock) {
            return (lease + MARGIN + LOOK).saturating_sub(self.wall);
        }
        lease + MARGIN
    }
}

fn wall_passed(replica: &Replica, wall: &mut Duration) -> Duration {
    if !mutant::is_on(Mutant::LeaseByWallClock) {
        return LOOK;
    }
    let before = std::mem::replace(wall, replica.config.platform.wall_clock());
    wall.saturating_sub(before)
}

/// The workers that were not declared lost, each with the longest lease that it may have, whoever granted it.
pub(super) fn registered(state: &State, own_lease: Duration) -> Vec<(WorkerId, Duration)> {
    let lease_of = |worker: &Worker| match worker.lease {
        // Registered before leases were in the log, when all masters had to grant the same.
        Millis(0) => own_lease,
        Millis(lease_ms) => Duration::from_millis(lease_ms),
    };
    let known =
        state.workers().iter().filter(|worker| !matches!(worker.status, WorkerStatus::Lost { .. }));
    known.map(|worker| (worker.id, lease_of(worker))).collect()
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use muster_core::command::{Entry, RegisterWorker};
    use muster_core::ids::LogIndex;
    use muster_core::spec::Resources;
    use muster_core::time::Timestamp;

    use super::*;

    #[test]
    fn who_registered_before_leases_were_in_the_log_has_the_leaders_own() {
        let register = |name: &str, lease| {
            Command::RegisterWorker(RegisterWorker {
                name: name.into(),
                incarnation: 1,
                labels: BTreeMap::new(),
                pool: None,
                capacity: Resources::ZERO,
                lease: Millis(lease),
            })
        };
        let commands = vec![register("old", 0), register("new", 9_000)];
        let mut state = State::default();
        state.apply(LogIndex(1), &Entry { at: Timestamp(1), commands });
        let known = registered(&state, Duration::from_secs(5));
        let leases = known.into_iter().map(|(_, lease)| lease.as_secs());
        assert_eq!(leases.collect::<Vec<_>>(), [5, 9]);
    }
}
