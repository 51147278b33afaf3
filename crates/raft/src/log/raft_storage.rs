//! openraft's view of the log: storage for its core, readers for replication and apply.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::Arc;

use futures::Stream;
use muster_platform::{Dedicated, Platform};
use openraft::storage::{LogState, RaftLogReader, RaftLogStorage};
use openraft::{OptionalSend, storage::IOFlushed};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::tail::Tail;
use super::writer::{self, Ended, Queue, Request, Waiter};
use super::{Identity, LogOperation, LogReader, LogStore, entry_bytes};
use crate::error::StoreError;
use crate::fatal::Fatal;
use crate::site::Site;
use crate::types::{Entry, LogId, TypeConfig, Vote};

/// One read for replication returns at most this many bytes, to keep messages small.
const REPLICATION_READ_BYTES_MAX: usize = 1 << 20;
/// One step of a long read, for apply.
const STREAM_READ_BYTES_MAX: usize = 4 << 20;

/// The log as openraft and the rest of this crate use it. Cheap to clone; all clones are one log.
#[derive(Clone)]
pub struct RaftLog {
    tail: Arc<Mutex<Tail>>,
    reader: Arc<dyn LogReader>,
    queue: Queue,
    platform: Platform,
}

/// Stops the log thread.
pub(crate) struct LogThread {
    queue: Queue,
    thread: Dedicated,
    ended: Ended,
}

impl LogThread {
    /// Writes what is queued, closes the file, then ends; returns afterwards.
    pub(crate) async fn stop(self) {
        // An error means that the thread has ended already; so below.
        let _ = self.queue.send(Request::Stop);
        let _ = self.ended.await;
    }

    /// As [`stop`](Self::stop), and blocks for as long as the disk takes.
    pub(crate) fn stop_blocking(self) {
        let _ = self.queue.send(Request::Stop);
        self.thread.join();
    }
}

impl RaftLog {
    /// Checks everything that is stored and starts the log thread. `tail_bytes_max` bounds the entries in memory.
    ///
    /// # Errors
    /// A damaged record.
    pub(crate) fn open(
        store: Box<dyn LogStore>,
        tail_bytes_max: usize,
        fatal: Fatal,
        site: &Site,
    ) -> Result<(Self, LogThread, Option<Identity>), StoreError> {
        let content = store.load(tail_bytes_max)?;
        let identity = content.identity;
        let reader = store.reader();
        let tail = Arc::new(Mutex::new(Tail::new(content, tail_bytes_max)));
        let started = writer::start(store, Arc::clone(&tail), fatal, site);
        let (queue, thread, ended) = started.map_err(|error| {
            StoreError::io(std::path::Path::new("raft-log"), "start the thread", &error)
        })?;
        let log = Self { tail, reader, queue: queue.clone(), platform: site.platform.clone() };
        Ok((log, LogThread { queue, thread, ended }, identity))
    }

    /// Replaces the identity; on disk when this returns.
    pub(crate) async fn save_identity(&self, identity: Identity) -> io::Result<()> {
        self.operate_durably(LogOperation::Identity(identity)).await
    }

    fn operate(&self, operation: LogOperation, waiter: Waiter) -> io::Result<()> {
        self.queue.send(Request::Operate(operation, waiter)).map_err(|_| thread_gone())
    }

    async fn operate_durably(&self, operation: LogOperation) -> io::Result<()> {
        let (sender, done) = oneshot::channel();
        self.operate(operation, Waiter::Done(sender))?;
        done.await.map_err(|_| thread_gone())?.map_err(Into::into)
    }

    /// The entries of `range` that the log has, from the first one: as many as fit, but at least one.
    async fn read(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<Entry>> {
        loop {
            let (disk, copied) = self.tail.lock().read(range.clone(), bytes_max);
            if disk.is_empty() {
                return Ok(copied);
            }
            // Old entries: for a follower far behind, or after a restart. Off the runtime's threads, which must keep
            // the heartbeats.
            let reader = Arc::clone(&self.reader);
            let wanted = disk.clone();
            let read = self.platform.blocking(move || reader.read(wanted, bytes_max));
            match read.await? {
                Ok(entries) => return Ok(join(entries, copied, disk.end, bytes_max)),
                // The beginning may have been purged since; then what is left is read.
                Err(_) if self.tail.lock().begin() > disk.start => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Entries from the disk and those from memory that follow at `seam`, if the disk's part was read up to there.
fn join(mut entries: Vec<Entry>, copied: Vec<Entry>, seam: u64, bytes_max: usize) -> Vec<Entry> {
    if entries.last().is_none_or(|entry| entry.log_id.index + 1 != seam) {
        return entries;
    }
    let mut bytes: usize = entries.iter().map(entry_bytes).sum();
    let fits = |entry: &Entry| {
        bytes = bytes.saturating_add(entry_bytes(entry));
        bytes <= bytes_max
    };
    entries.extend(copied.into_iter().take_while(fits));
    entries
}

fn thread_gone() -> io::Error {
    io::Error::other("the log thread has ended")
}

fn to_range(bounds: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match bounds.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(start) => start + 1,
        Bound::Unbounded => 0,
    };
    let end = match bounds.end_bound() {
        Bound::Included(end) => end + 1,
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    start..end
}

impl RaftLogReader<TypeConfig> for RaftLog {
    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = Result<Entry, io::Error>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let state = (self.clone(), to_range(&range), Vec::new().into_iter());
        futures::stream::try_unfold(state, |(log, mut rest, mut ready)| async move {
            if let Some(entry) = ready.next() {
                return Ok(Some((entry, (log, rest, ready))));
            }
            let batch = log.read(rest.clone(), STREAM_READ_BYTES_MAX).await?;
            let Some(last) = batch.last() else { return Ok(None) };
            rest.start = last.log_id.index + 1;
            let mut ready = batch.into_iter();
            let first = ready.next();
            Ok(first.map(|entry| (entry, (log, rest, ready))))
        })
    }

    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        self.read(to_range(&range), usize::MAX).await
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.tail.lock().vote)
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, io::Error> {
        self.read(start..end, REPLICATION_READ_BYTES_MAX).await
    }
}

impl RaftLogStorage<TypeConfig> for RaftLog {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let tail = self.tail.lock();
        Ok(LogState { last_purged_log_id: tail.purged, last_log_id: tail.last })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        self.operate_durably(LogOperation::Vote(*vote)).await?;
        self.tail.lock().vote = Some(*vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        self.tail.lock().committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.tail.lock().committed)
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: IOFlushed<TypeConfig>,
    ) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let batch: Vec<Entry> = entries.into_iter().collect();
        self.tail.lock().append(&batch);
        self.operate(LogOperation::Append(batch), Waiter::Flushed(callback))
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        let index = last_log_id.map_or(0, |id| id.index + 1);
        self.tail.lock().truncate(index, last_log_id);
        // Waited for, though the queue keeps the order: a snapshot that replaces the tail is written elsewhere, and a
        // log that goes beyond it with other entries than the leader's could not be opened again.
        self.operate_durably(LogOperation::TruncateFrom(index)).await
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        self.tail.lock().purge(log_id);
        self.operate(LogOperation::Purge(log_id), Waiter::Nobody)
    }
}
