//! Planning: whenever the state or the workers changed, ready tasks are matched with workers and the placements
//! proposed. One plan is in flight at a time, so each is computed from a state that knows the one before.

use std::sync::Arc;
use std::time::Duration;

use muster_core::command::{Command, PlaceAttempts, Placement};
use muster_core::mutant::{self, Mutant};
use muster_core::reply::Reply;

use crate::replica::Replica;

/// Placements in one command: large plans are cut, so that no entry grows without bound.
const PLACEMENTS_PER_COMMAND: usize = 2048;
/// A pass is made this often even if nothing was heard: load changes, sessions come and go.
const LOOK: Duration = Duration::from_millis(250);
/// After a plan that came to nothing, so that planner and state, should they disagree, do not fill the log.
const PAUSE: Duration = Duration::from_millis(10);

pub(super) async fn run(replica: Arc<Replica>) {
    if replica.leadership().term > 1 && mutant::is_on(Mutant::OneLeaderPlans) {
        return;
    }
    loop {
        let changed = replica.cell.changed.notified();
        let placements = plan(&replica);
        if placements.is_empty() {
            let _look = tokio::time::timeout(LOOK, changed).await;
            continue;
        }
        if !place(&replica, &placements).await {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Returns whether anything was placed. What was not is still ready, and planned again.
async fn place(replica: &Replica, placements: &[Placement]) -> bool {
    let mut is_any_placed = false;
    for part in placements.chunks(PLACEMENTS_PER_COMMAND) {
        let command = Command::PlaceAttempts(PlaceAttempts { placements: part.to_vec() });
        if mutant::is_on(Mutant::DispatchBeforeCommit) {
            super::dispatch::ahead_of_the_log(replica, &command);
        }
        match replica.proposer.propose(&command).await {
            Ok((_, Reply::Items { refused })) => is_any_placed |= refused.len() < part.len(),
            Ok(_) => {}
            Err(_) => return false,
        }
    }
    is_any_placed
}

fn plan(replica: &Replica) -> Vec<Placement> {
    if replica.cell.read(|state| state.queue().is_empty()) {
        return Vec::new();
    }
    let (view, now) = (replica.live.view(), replica.clock.now());
    let plan =
        replica.cell.read(|state| muster_planner::plan(state, &view, now, &replica.config.policy));
    plan.placements
}
