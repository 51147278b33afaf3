//! Letting time pass: when nothing else enters the log, a tick does at the state's next deadline.

use std::sync::Arc;
use std::time::Duration;

use muster_core::command::Command;

use crate::replica::Replica;

/// The state is looked at this often at least, in case a deadline came nearer unnoticed.
const LOOK: Duration = Duration::from_millis(100);
pub(super) async fn run(replica: Arc<Replica>) {
    loop {
        let next = replica.cell.read(muster_core::state::State::next_deadline);
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
