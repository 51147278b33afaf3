//! What only tests need: openraft's own view of the storage, and the log of a member that has stopped. Nothing else may
//! use this.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use muster_platform::{Disk, Lock};

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
use crate::machine::{Machine, Position};
use crate::site::Site;
use crate::snapshot::SnapshotFiles;
use crate::types::{LeaderId, Payload};

/// redb's page cache for one file, bytes.
const CACHE_BYTES: usize = 4 << 20;

/// Ends the stores' threads when dropped.
pub struct Threads(Option<(LogThread, HistoryThread)>);

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some((log, history)) = self.0.take() {
            log.stop_blocking();
            history.stop_blocking();
        }
    }
}

/// The log in the file at `path`, which nobody else may have open. `cache_bytes` bounds redb's page cache.
///
/// # Errors
/// The file cannot be opened, or its frame is damaged.
pub fn open_log(path: &Path, cache_bytes: usize) -> Result<RedbLogStore, StoreError> {
    RedbLogStore::open(&Site::default().disk, path, cache_bytes, Arc::new(Lock::new(())))
}

/// The history's store alone, without a lock on its folder.
///
/// # Errors
/// As [`RaftMember::open`](crate::RaftMember::open).
pub fn open_history(path: &Path, cache_bytes: usize) -> Result<RedbHistoryStore, StoreError> {
    RedbHistoryStore::open(&Site::default().disk, path, cache_bytes, Arc::new(Lock::new(())))
}

/// The log and the state machine over the files in `dir`, without Raft. Whatever has the files open holds the lock,
/// which may be for a while after the values are dropped.
///
/// # Errors
/// As [`RaftMember::open`](crate::RaftMember::open).
pub fn open_storage(
    dir: &Path,
    log_tail_bytes: usize,
    machine: Box<dyn Machine>,
) -> Result<(Threads, RaftLog, StateMachine), StoreError> {
    let (fatal, site) = (Fatal::new(), Site::default());
    let lock = take_lock(&site.disk, dir)?;
    let path = dir.join("log.redb");
    let store = RedbLogStore::open(&site.disk, &path, CACHE_BYTES, Arc::clone(&lock))?;
    let (log, log_thread, _) =
        RaftLog::open(Box::new(store), log_tail_bytes, fatal.clone(), &site)?;
    let store = RedbHistoryStore::open(&site.disk, &dir.join("history.redb"), CACHE_BYTES, lock)?;
    let (history, history_thread) = History::open(Box::new(store), fatal.clone(), &site)?;
    let files = SnapshotFiles::open(&site, &dir.join("snapshots"))?;
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

/// One entry of a log that was read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEntry {
    /// Where it stands.
    pub at: Position,
    /// The proposer's bytes; `None` for what Raft keeps for itself.
    pub command: Option<Bytes>,
}

/// The log of a member that has stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredLog {
    /// Whose it is.
    pub member_id: u64,
    /// Everything up to here is gone; a snapshot has its effects.
    pub purged: Option<Position>,
    /// How far the log was known to be committed when this was last written down. The rest may be committed or not.
    pub committed: Option<Position>,
    /// All entries behind `purged`, in order, without gaps.
    pub entries: Vec<StoredEntry>,
}

/// Reads the log in the data folder of a member that has stopped, all of it into memory. Repairs the file first if the
/// member crashed, as the member itself would.
///
/// # Errors
/// The folder is in use or holds no log, or a record is damaged.
pub fn read_log(disk: &Arc<dyn Disk>, data_dir: &Path) -> Result<StoredLog, StoreError> {
    let path = data_dir.join("log.redb");
    disk.size(&path).map_err(|e| StoreError::io(&path, "read", &e))?;
    let lock = take_lock(disk, data_dir)?;
    let store = RedbLogStore::open(disk, &path, CACHE_BYTES, lock)?;
    let content = store.load(usize::MAX)?;
    let position = |id: LogId| Position { index: id.index, term: id.leader_id.term };
    let entry = |entry: Entry| StoredEntry {
        at: position(entry.log_id),
        command: match entry.payload {
            Payload::Normal(command) => Some(command.0),
            Payload::Blank | Payload::Membership(_) => None,
        },
    };
    Ok(StoredLog {
        member_id: content.identity.map_or(0, |identity| identity.member_id),
        purged: content.purged.map(position),
        committed: content.committed.map(position),
        entries: content.tail.into_iter().map(entry).collect(),
    })
}

fn take_lock(disk: &Arc<dyn Disk>, data_dir: &Path) -> Result<Arc<Lock>, StoreError> {
    let path = data_dir.join("LOCK");
    let error = |e| StoreError::io(&path, "lock", &e);
    let lock = disk.lock(&path).map_err(error)?;
    let in_use = || error(std::io::Error::other("the member still runs"));
    lock.map(Arc::new).ok_or_else(in_use)
}
