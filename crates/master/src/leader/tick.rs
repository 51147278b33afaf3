//! Letting time pass: when nothing else enters the log, a tick does at the state's next deadline. And as time passes,
//! the history is pruned.

use std::sync::Arc;
use std::time::Duration;

use muster_core::command::{Command, PruneHistory};
use muster_core::ids::LogIndex;
use muster_core::state::State;

use crate::replica::Replica;

/// The state is looked at this often at least, in case a deadline came nearer unnoticed.
const LOOK: Duration = Duration::from_millis(100);

pub(super) async fn run(replica: Arc<Replica>) {
    tokio::join!(tick(&replica), prune(&replica));
}

async fn tick(replica: &Replica) {
    loop {
        let next = replica.cell.read(State::next_deadline);
        let wait = next.map_or(LOOK, |at| Duration::from_millis(at.since(replica.clock.now()).0));
        if wait.is_zero() {
            // Uncommitted ticks are proposed again on the next round; the log refuses them if this is no leader.
            let _uncommitted = replica.proposer.propose(&Command::Tick).await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        } else {
            tokio::time::sleep(wait.min(LOOK)).await;
        }
    }
}

/// Forgets the runs that ended first when there are more of them than are to be kept.
async fn prune(replica: &Replica) {
    loop {
        tokio::time::sleep(replica.config.history_look).await;
        let surplus = replica.raft.history().prune_before(replica.config.history_runs_max);
        match surplus {
            Ok(Some(index)) => {
                let prune = PruneHistory { ended_before: LogIndex(index) };
                // What is not pruned now is pruned on a later round.
                let _uncommitted = replica.proposer.propose(&Command::PruneHistory(prune)).await;
            }
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "the history cannot be looked at"),
        }
    }
}
