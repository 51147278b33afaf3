//! What Raft replicates: the machine that committed entries are applied to.

use std::any::Any;
use std::io;
use std::sync::{Arc, Weak};

use bytes::Bytes;

use crate::history::HistoryItem;
use crate::types::Reply;

/// Where an entry stands in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Its log index.
    pub index: u64,
    /// The term of the leader that proposed it.
    pub term: u64,
}

/// A deterministic machine. Raft calls it from one task at a time; others may share its state behind a lock of its own.
pub trait Machine: Send + Sync + 'static {
    /// Applies one committed entry. Indexes grow but skip the entries Raft keeps for itself. What the machine becomes
    /// may depend on the index, never on the term: a snapshot does not keep it.
    ///
    /// # Errors
    /// An error stops the process: an entry that this version does not understand must never be skipped.
    fn apply(&mut self, at: Position, entry: &Bytes) -> io::Result<Applied>;

    /// Called after a group of entries, with the index of the last: a good moment to publish what was applied.
    fn applied_up_to(&mut self, index: u64) {
        let _ = index;
    }

    /// The whole state as of the last applied entry, in shards that are encoded later, elsewhere. Must be cheap: apply
    /// waits for it.
    fn snapshot(&self) -> Vec<Shard>;

    /// Replaces the state by that of a snapshot; `index` is the log index it was taken at. Returns the log index before
    /// which ended runs were pruned from the history when it was taken, zero if never.
    ///
    /// # Errors
    /// An error stops the process.
    fn restore(&mut self, index: u64, shards: Vec<(u64, Bytes)>) -> io::Result<u64>;
}

/// The effects of one entry.
#[derive(Debug, Default)]
pub struct Applied {
    /// For the proposer, if it is this master.
    pub reply: Reply,
    /// Runs that ended and left the state.
    pub ended: Vec<HistoryItem>,
    /// Runs that ended before this log index are pruned from the history.
    pub pruned_before: Option<u64>,
}

/// A part of a snapshot.
pub struct Shard {
    /// Unique within a snapshot and stable between snapshots.
    pub id: u64,
    /// Identity of the shard's content: the same live allocation as in the last snapshot means the same content, which
    /// then is neither encoded nor written again. `None` if unknown.
    pub token: Option<ShardToken>,
    /// Encodes the shard. Called at most once, on another thread.
    pub encode: Box<dyn FnOnce() -> Vec<u8> + Send + Sync>,
}

impl Shard {
    /// A shard whose content is an `Arc` that is replaced, or changed through [`Arc::make_mut`], whenever the content
    /// changes. Keeps only a weak reference after encoding, so that changes stay cheap.
    pub fn of<T: Any + Send + Sync>(
        id: u64,
        content: &Arc<T>,
        encode: impl FnOnce(&T) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        let shared = Arc::clone(content);
        let token = ShardToken(Arc::downgrade(content) as Weak<dyn Any + Send + Sync>);
        Self { id, token: Some(token), encode: Box::new(move || encode(&shared)) }
    }
}

/// See [`Shard::token`].
#[derive(Clone)]
pub struct ShardToken(Weak<dyn Any + Send + Sync>);

impl ShardToken {
    /// True if both name the same allocation and it still is alive. `Arc::make_mut` moves the content away from an
    /// allocation that has weak references, so a changed shard never looks the same.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.0.ptr_eq(&other.0) && self.0.strong_count() > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_shard_has_another_token() {
        let mut content = Arc::new(vec![1]);
        let token = |content: &Arc<Vec<i32>>| {
            let shard = Shard::of(0, content, |v| vec![v.len() as u8]);
            let token = shard.token.clone().expect("it has one");
            assert_eq!((shard.encode)(), vec![content.len() as u8]);
            token
        };
        let first = token(&content);
        assert!(first.is_same(&token(&content)));
        Arc::make_mut(&mut content).push(2);
        assert!(!first.is_same(&token(&content)));
    }
}
