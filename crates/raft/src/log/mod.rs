//! The durable Raft log.
//!
//! ```text
//!  openraft ──append──► tail (memory) ──► queue ──► log thread: drain, one transaction, one fsync
//!     ▲                   │                              │
//!     │◄──── read ────────┤                              ├──► IOFlushed callbacks, in order
//!     │◄──── read (old entries, from the file) ──────────┘
//! ```
//!
//! Entries are readable the moment they are appended and acknowledged only once they are on disk. The tail keeps the
//! newest entries within a byte budget, so replication in steady state never reads the file. A vote is on disk before
//! `save_vote` returns. A commit that fails ends the log for good.

mod raft_storage;
mod redb_store;
mod tail;
mod writer;

use std::ops::Range;
use std::sync::Arc;

pub(crate) use raft_storage::LogThread;
pub use raft_storage::RaftLog;
pub use redb_store::RedbLogStore;

use crate::error::StoreError;
use crate::types::{ClusterId, Entry, LogId, Vote};

/// Whose volume this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Random, never zero.
    pub member_id: u64,
    /// None before formation.
    pub cluster_id: Option<ClusterId>,
}

/// One change of the log.
#[derive(Debug)]
pub enum LogOperation {
    /// Consecutive entries that follow the last one.
    Append(Vec<Entry>),
    /// Drops all entries with this index and above.
    TruncateFrom(u64),
    /// Drops all entries up to and including this one.
    Purge(LogId),
    /// Replaces the vote.
    Vote(Vote),
    /// Remembers how far the log is committed.
    Committed(LogId),
    /// Replaces the identity.
    Identity(Identity),
}

/// What a log holds when it is opened.
#[derive(Debug)]
pub struct LogContent {
    /// None on a new volume.
    pub identity: Option<Identity>,
    /// The last vote.
    pub vote: Option<Vote>,
    /// The last committed log id that was noted; may lag.
    pub committed: Option<LogId>,
    /// Where the log begins: everything up to here is gone.
    pub purged: Option<LogId>,
    /// The last entry, if any is left.
    pub last: Option<LogId>,
    /// The newest consecutive entries that fit the budget.
    pub tail: Vec<Entry>,
}

/// Where the log is kept. Synchronous, and called by one thread only.
pub trait LogStore: Send + 'static {
    /// Carries the operations out in order and makes them durable, all or none.
    ///
    /// # Errors
    /// After an error the store must not be used again.
    fn commit(&mut self, operations: &[LogOperation]) -> Result<(), StoreError>;

    /// True while purged entries still take space; each further [`commit`](Self::commit), even of nothing, frees some.
    fn has_garbage(&self) -> bool;

    /// Reads and checks everything that is stored. Entries for `tail` are kept up to `tail_bytes_max`.
    ///
    /// # Errors
    /// A damaged or missing record.
    fn load(&self, tail_bytes_max: usize) -> Result<LogContent, StoreError>;

    /// For reading while the store is written.
    fn reader(&self) -> Arc<dyn LogReader>;
}

/// Reads committed operations from any thread.
pub trait LogReader: Send + Sync {
    /// The entries of `range`, all of which must be there: from its start, as many as fit `bytes_max` but at least one.
    ///
    /// # Errors
    /// A damaged or missing record.
    fn read(&self, range: Range<u64>, bytes_max: usize) -> Result<Vec<Entry>, StoreError>;
}

/// Bytes an entry takes in memory and on the wire, roughly.
pub(crate) fn entry_bytes(entry: &Entry) -> usize {
    const OVERHEAD: usize = 64;
    match &entry.payload {
        crate::types::Payload::Normal(command) => command.0.len() + OVERHEAD,
        crate::types::Payload::Blank => OVERHEAD,
        crate::types::Payload::Membership(membership) => {
            OVERHEAD + 128 * membership.nodes().count()
        }
    }
}
