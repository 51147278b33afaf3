//! What only tests of the storage need: openraft's own view of it. Nothing else may use this.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

pub use crate::apply::StateMachine;
pub use crate::history::{EndCursor, HistoryChange, HistoryReader, HistoryStore, RedbHistoryStore};
pub use crate::log::{
    Identity, LogContent, LogOperation, LogReader, LogStore, RaftLog, RedbLogStore,
};
pub use crate::types::{Command, Entry, LogId, Membership, StoredMembership, TypeConfig, Vote};

use crate::apply::ApplyProgress;
use crate::error::StoreError;
use crate::fatal::Fatal;
use crate::history::{History, HistoryThread};
use crate::log::LogThread;
use crate::machine::Machine;
use crate::snapshot::SnapshotFiles;
use crate::types::{LeaderId, Payload};

/// Ends the stores' threads when dropped.
pub struct Threads(Option<(LogThread, HistoryThread)>);

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some((log, history)) = self.0.take() {
            log.stop();
            history.stop();
        }
    }
}

/// The log and the state machine over the files in `dir`, without Raft.
///
/// # Errors
/// As [`RaftMember::open`](crate::RaftMember::open).
pub fn open_storage(
    dir: &Path,
    log_tail_bytes: usize,
    machine: Box<dyn Machine>,
) -> Result<(Threads, RaftLog, StateMachine), StoreError> {
    let fatal = Fatal::new();
    let store = RedbLogStore::open(&dir.join("log.redb"), 4 << 20)?;
    let (log, log_thread, _) = RaftLog::open(Box::new(store), log_tail_bytes, fatal.clone())?;
    let store = RedbHistoryStore::open(&dir.join("history.redb"), 4 << 20)?;
    let (history, history_thread) = History::open(Box::new(store), fatal.clone())?;
    let files = SnapshotFiles::open(&dir.join("snapshots"))?;
    let progress = Arc::new(ApplyProgress::new());
    let machine = StateMachine::open(machine, files, history, progress, fatal)?;
    Ok((Threads(Some((log_thread, history_thread))), log, machine))
}

/// An entry of the leader `member_id` of `term`; blank without a command.
pub fn entry(term: u64, member_id: u64, index: u64, command: Option<Bytes>) -> Entry {
    let payload = command.map_or(Payload::Blank, |bytes| Payload::Normal(Command(bytes)));
    Entry { log_id: log_id(term, member_id, index), payload }
}

/// The position of an entry of the leader `member_id` of `term`.
pub fn log_id(term: u64, member_id: u64, index: u64) -> LogId {
    LogId { leader_id: LeaderId { term, node_id: member_id }, index }
}

/// The vote of `member_id` for itself in `term`.
pub fn vote(term: u64, member_id: u64) -> Vote {
    Vote { leader_id: LeaderId { term, node_id: member_id }, committed: false }
}
