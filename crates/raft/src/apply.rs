//! openraft's view of the machine: applies entries, records ended runs, builds and installs snapshots.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::{FutureExt, Stream, TryStreamExt};
use muster_core::mutant::{self, Mutant};
use openraft::OptionalSend;
use openraft::storage::{
    ApplyResponder, EntryResponder, RaftSnapshotBuilder, RaftStateMachine, Snapshot,
};
use tokio::sync::watch;

use crate::error::StoreError;
use crate::fatal::Fatal;
use crate::history::{History, HistoryChange};
use crate::machine::{Machine, Position, Shard};
use crate::snapshot::{Manifest, ShardFile, SnapshotFiles, SnapshotHandle};
use crate::types::{Entry, LogId, Payload, Reply, SnapshotMeta, StoredMembership, TypeConfig};

/// After so much, replies go out and other tasks may run.
const GROUP_ENTRIES_MAX: usize = 64;
const GROUP_BYTES_MAX: usize = 64 << 10;

/// Entries applied together, and what they caused.
#[derive(Default)]
struct Group {
    entries: usize,
    bytes: usize,
    changes: Vec<HistoryChange>,
    replies: Vec<(ApplyResponder<TypeConfig>, Reply)>,
}

type RaftSnapshot = openraft::alias::SnapshotOf<TypeConfig, SnapshotHandle>;

/// What the rest of the process may see of apply.
#[derive(Debug)]
pub(crate) struct ApplyProgress {
    /// Index of the last applied entry.
    pub(crate) index: watch::Sender<u64>,
    /// Bytes of entries applied since the last snapshot began.
    pub(crate) bytes_since_snapshot: AtomicU64,
}

impl ApplyProgress {
    pub(crate) fn new() -> Self {
        Self { index: watch::Sender::new(0), bytes_since_snapshot: AtomicU64::new(0) }
    }
}

/// The machine with all that goes with it.
pub struct StateMachine {
    machine: Box<dyn Machine>,
    last_applied: Option<LogId>,
    membership: StoredMembership,
    files: Arc<SnapshotFiles>,
    history: History,
    progress: Arc<ApplyProgress>,
    fatal: Fatal,
}

impl StateMachine {
    /// Restores the newest snapshot; the log from there on is replayed by openraft.
    ///
    /// # Errors
    /// The snapshot is damaged, or the machine refuses it.
    pub(crate) fn open(
        machine: Box<dyn Machine>,
        files: Arc<SnapshotFiles>,
        history: History,
        progress: Arc<ApplyProgress>,
        fatal: Fatal,
    ) -> Result<Self, StoreError> {
        let mut this = Self {
            machine,
            last_applied: None,
            membership: StoredMembership::default(),
            files,
            history,
            progress,
            fatal,
        };
        if let Some(snapshot) = this.files.current() {
            let shards = snapshot.read_all()?;
            this.restore(&snapshot.manifest, shards).map_err(|error| StoreError::Damaged {
                path: "snapshots".into(),
                table: "-",
                key: snapshot.manifest.index().to_string(),
                problem: error.to_string(),
            })?;
        }
        Ok(this)
    }

    fn restore(&mut self, manifest: &Manifest, shards: Vec<(u64, bytes::Bytes)>) -> io::Result<()> {
        let pruned_before = self.machine.restore(manifest.index(), shards)?;
        if pruned_before > 0 {
            // The log that told so may be gone. Index 0: it says nothing of how far the history reaches.
            self.history.record(vec![HistoryChange::DeleteEndedBefore(pruned_before)], 0);
        }
        self.machine.applied_up_to(manifest.index());
        self.last_applied = manifest.last_log_id;
        self.membership = manifest.membership.clone();
        self.progress.bytes_since_snapshot.store(0, Ordering::Relaxed);
        self.progress.index.send_replace(manifest.index());
        Ok(())
    }

    fn apply_entry(&mut self, entry: &Entry, group: &mut Group) -> io::Result<Reply> {
        let LogId { leader_id, index } = entry.log_id;
        let reply = match &entry.payload {
            Payload::Blank => Reply::none(),
            Payload::Normal(command) => {
                let applied =
                    self.machine.apply(Position { index, term: leader_id.term }, &command.0)?;
                let put = |item| HistoryChange::Put(Arc::new(item));
                group.changes.extend(applied.ended.into_iter().map(put));
                group.changes.extend(applied.pruned_before.map(HistoryChange::DeleteEndedBefore));
                group.bytes += crate::log::entry_bytes(entry);
                applied.reply
            }
            Payload::Membership(membership) => {
                self.membership = StoredMembership::new(Some(entry.log_id), membership.clone());
                Reply::none()
            }
        };
        group.entries += 1;
        self.last_applied = Some(entry.log_id);
        Ok(reply)
    }

    /// Hands over what a group of entries caused. Ended runs are readable from the history before the reply that tells
    /// of them goes out.
    async fn finish(&mut self, group: &mut Group) {
        let Some(id) = self.last_applied.filter(|_| group.entries > 0) else { return };
        self.history.record(std::mem::take(&mut group.changes), id.index);
        self.machine.applied_up_to(id.index);
        self.progress.bytes_since_snapshot.fetch_add(group.bytes as u64, Ordering::Relaxed);
        self.progress.index.send_replace(id.index);
        for (responder, reply) in group.replies.drain(..) {
            responder.send(reply);
        }
        (group.entries, group.bytes) = (0, 0);
        self.history.wait_for_room().await;
    }

    fn stop_on(&self, index: u64, error: io::Error) -> io::Error {
        self.fatal.report(&StoreError::Damaged {
            path: "log".into(),
            table: "entries",
            key: index.to_string(),
            problem: format!("the entry cannot be applied: {error}"),
        });
        error
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotHandle;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok((self.last_applied, self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        let mut group = Group::default();
        loop {
            // What is ready now makes a group; nobody waits for entries that are not.
            let next = match entries.try_next().now_or_never() {
                Some(next) => next?,
                None => {
                    self.finish(&mut group).await;
                    entries.try_next().await?
                }
            };
            let Some((entry, responder)) = next else { break };
            let reply = self
                .apply_entry(&entry, &mut group)
                .map_err(|error| self.stop_on(entry.log_id.index, error))?;
            group.replies.extend(responder.map(|responder| (responder, reply)));
            if group.entries >= GROUP_ENTRIES_MAX || group.bytes >= GROUP_BYTES_MAX {
                self.finish(&mut group).await;
                tokio::task::yield_now().await;
            }
        }
        self.finish(&mut group).await;
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        self.progress.bytes_since_snapshot.store(0, Ordering::Relaxed);
        Builder {
            shards: self.machine.snapshot(),
            last_applied: self.last_applied,
            membership: self.membership.clone(),
            files: Arc::clone(&self.files),
            history: self.history.clone(),
            fatal: self.fatal.clone(),
        }
    }

    async fn install_snapshot(
        &mut self,
        _meta: &SnapshotMeta,
        snapshot: SnapshotHandle,
    ) -> Result<(), io::Error> {
        // The history is complete up to the snapshot before the snapshot counts.
        self.history.flush(snapshot.manifest.index()).await?;
        let manifest = Arc::clone(&snapshot.manifest);
        let published = self.files.publish(snapshot).await;
        let shards = published.inspect_err(|error| self.fatal.report(error))?;
        self.restore(&manifest, shards).map_err(|error| self.stop_on(manifest.index(), error))
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<RaftSnapshot>, io::Error> {
        let current = self.files.current();
        Ok(current.map(|snapshot| Snapshot { meta: snapshot.manifest.meta(), snapshot }))
    }
}

/// Writes one snapshot in the background.
pub struct Builder {
    shards: Vec<Shard>,
    last_applied: Option<LogId>,
    membership: StoredMembership,
    files: Arc<SnapshotFiles>,
    history: History,
    fatal: Fatal,
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    type SnapshotData = SnapshotHandle;

    async fn build_snapshot(&mut self) -> Result<RaftSnapshot, io::Error> {
        let shards = std::mem::take(&mut self.shards);
        let last_log_id = self.last_applied;
        let membership = self.membership.clone();
        // The log may be purged up to the snapshot, and then only the history has the runs that ended before it.
        if !mutant::is_on(Mutant::HistoryUnflushed) {
            self.history.flush(last_log_id.map_or(0, |id| id.index)).await?;
        }
        let manifest = move |shards: Vec<ShardFile>| Manifest { last_log_id, membership, shards };
        let built = self.files.build(shards, manifest).await;
        let snapshot = built.inspect_err(|error| self.fatal.report(error))?;
        Ok(Snapshot { meta: snapshot.manifest.meta(), snapshot })
    }
}
