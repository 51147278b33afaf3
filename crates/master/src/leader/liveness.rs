//! Watching over workers: one that was silent for its lease and the margin is declared lost.

use std::sync::Arc;
use std::time::Duration;

use muster_core::command::{Command, LoseWorker};

use crate::replica::Replica;

/// How often leases are looked at.
const LOOK: Duration = Duration::from_millis(100);

pub(super) async fn run(replica: Arc<Replica>) {
    loop {
        tokio::time::sleep(LOOK).await;
        for worker in replica.live.lapse(replica.config.lease) {
            let is_known = replica.cell.read(|state| state.held_by(worker).is_some());
            if !is_known {
                replica.live.forget(worker, "the worker is not registered");
                continue;
            }
            tracing::warn!(%worker, "no heartbeat for a full lease and its margin: the worker is lost");
            // If this does not commit, the worker stays on the list and it is proposed again.
            let _uncommitted =
                replica.proposer.propose(&Command::LoseWorker(LoseWorker { worker })).await;
        }
        replica.live.drop_stale_fetches();
    }
}
