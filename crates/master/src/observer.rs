//! For tests: a look at what the log does on one master, from the inside.

use std::fmt;

use muster_core::apply::Applied;
use muster_core::command::{AttemptRef, Entry};
use muster_core::ids::LogIndex;
use muster_core::state::State;
use muster_raft::Position;

/// Told of what happens while it happens, by the thread that does it: what it sees is neither late nor merged, and the
/// log waits until it returns. It must not call the master. Production has none.
pub trait Observer: Send + Sync + 'static {
    /// An entry was applied. `state` is what it made; no reader has seen it yet.
    fn applied(&self, at: Position, entry: &Entry, state: &State, applied: &Applied);

    /// The state was replaced by that of a snapshot taken at `index`.
    fn restored(&self, index: LogIndex, state: &State);

    /// A worker did not say that it holds this, though it should: it is about to be dispatched again.
    fn dispatched_again(&self, attempt: &AttemptRef);

    /// This master has caught up with its predecessors and begins the leader's duties.
    fn leads(&self, term: u64);

    /// What it decided in this term came too late: another leader may have been elected since.
    fn refused(&self, term: u64);

    /// It has ended them. Not told when the master stops or dies while it leads.
    fn leads_no_more(&self, term: u64);
}

impl fmt::Debug for dyn Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}
