//! The history thread, and reads that see what it has not written yet.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use muster_core::mutant::{self, Mutant};
use muster_platform::{Dedicated, Disk};
use parking_lot::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::sync::{mpsc, oneshot, watch};

use super::{EndCursor, HistoryChange, HistoryItem, HistoryReader, HistoryStore};
use crate::error::StoreError;
use crate::fatal::Fatal;
use crate::site::Site;

/// A group holds at most this many changes.
const GROUP_CHANGES_MAX: usize = 4_096;
/// Apply waits while more than this is queued.
const QUEUED_BYTES_MAX: usize = 64 << 20;
/// How late the history is with [`Mutant::HistoryUnflushed`].
const LATE: Duration = Duration::from_secs(1);
/// Runs that one pruning looks at.
const PRUNE_LOOK_MAX: usize = 1_000;

/// The history of ended runs: written in the background, readable at once. Cheap to clone.
#[derive(Clone)]
pub struct History {
    shared: Arc<Shared>,
    reader: Arc<dyn HistoryReader>,
    queue: UnboundedSender<Batch>,
    site: Site,
}

struct Shared {
    pending: Mutex<Pending>,
    /// Every run that ended at or below this log index is on disk.
    durable_index: watch::Sender<u64>,
    /// Runs that ended before this log index are forgotten, though their rows may not be gone yet.
    pruned_before: AtomicU64,
    /// Bytes that are queued and not on disk.
    queued_bytes: watch::Sender<usize>,
    fatal: Fatal,
}

/// What is queued, by run id; `None` is a deletion. The number says which batch it belongs to.
#[derive(Default)]
struct Pending {
    overlay: BTreeMap<u64, (u64, Option<Arc<HistoryItem>>)>,
    batches_sent: u64,
    /// The batch that the thread has not finished, if any.
    batches_done: u64,
}

enum Batch {
    Changes { changes: Vec<HistoryChange>, index: u64, bytes: usize },
    Stop,
}

/// Stops the thread.
pub(crate) struct HistoryThread {
    queue: UnboundedSender<Batch>,
    thread: Dedicated,
    ended: oneshot::Receiver<()>,
}

impl HistoryThread {
    /// Writes what is queued, closes the file, then ends; returns afterwards.
    pub(crate) async fn stop(self) {
        // An error means that the thread has ended already; so below.
        let _ = self.queue.send(Batch::Stop);
        let _ = self.ended.await;
    }

    /// As [`stop`](Self::stop), and blocks for as long as the disk takes.
    pub(crate) fn stop_blocking(self) {
        let _ = self.queue.send(Batch::Stop);
        self.thread.join();
    }
}

impl History {
    pub(crate) fn open(
        store: Box<dyn HistoryStore>,
        fatal: Fatal,
        site: &Site,
    ) -> Result<(Self, HistoryThread), StoreError> {
        let reader = store.reader();
        let shared = Arc::new(Shared {
            pending: Mutex::default(),
            durable_index: watch::Sender::new(reader.durable_index()?),
            pruned_before: AtomicU64::new(0),
            queued_bytes: watch::Sender::new(0),
            fatal,
        });
        let (queue, batches) = mpsc::unbounded_channel();
        let (end, ended) = oneshot::channel();
        let disk = Arc::clone(&site.disk);
        let writer = Writer { store, disk, batches, shared: Arc::clone(&shared) };
        let started = site.platform.dedicate("raft-history", async move {
            writer.run().await;
            // Nobody may be waiting.
            let _ = end.send(());
        });
        let thread = started
            .map_err(|e| StoreError::io(Path::new("raft-history"), "start the thread", &e))?;
        let history = Self { shared, reader, queue: queue.clone(), site: site.clone() };
        Ok((history, HistoryThread { queue, thread, ended }))
    }

    /// Queues the changes that the log caused up to `index`; without changes it only notes the index.
    pub(crate) fn record(&self, changes: Vec<HistoryChange>, index: u64) {
        let mut pending = self.shared.pending.lock();
        if changes.is_empty() && pending.batches_done == pending.batches_sent {
            // Nothing is missing on disk, so the index costs nothing.
            self.shared.durable_index.send_if_modified(|durable| {
                let grows = index > *durable;
                *durable = index.max(*durable);
                grows
            });
            return;
        }
        self.send(&mut pending, changes, index);
    }

    fn send(&self, pending: &mut Pending, changes: Vec<HistoryChange>, index: u64) {
        pending.batches_sent += 1;
        let number = pending.batches_sent;
        let mut bytes = 0;
        for change in &changes {
            bytes += 128;
            match change {
                HistoryChange::Put(item) => {
                    bytes += item.bytes.len();
                    pending.overlay.insert(item.run_id, (number, Some(Arc::clone(item))));
                }
                HistoryChange::DeleteEndedBefore(index) => {
                    self.shared.pruned_before.fetch_max(*index, Ordering::AcqRel);
                    for (batch, item) in pending.overlay.values_mut() {
                        if item.as_ref().is_some_and(|item| item.end_index < *index) {
                            (*batch, *item) = (number, None);
                        }
                    }
                }
            }
        }
        self.shared.queued_bytes.send_modify(|queued| *queued += bytes);
        // The thread ends only after a fault, which stops this process.
        let _ = self.queue.send(Batch::Changes { changes, index, bytes });
    }

    /// Returns at once unless the disk is far behind; then waits until it has caught up somewhat.
    pub(crate) async fn wait_for_room(&self) {
        let mut queued = self.shared.queued_bytes.subscribe();
        tokio::select! {
            // The sender lives as long as self.
            _ = queued.wait_for(|queued| *queued < QUEUED_BYTES_MAX) => {}
            _ = self.shared.fatal.reported() => {}
        }
    }

    /// Every run that ended at or below this log index is on disk.
    pub fn durable_index(&self) -> u64 {
        *self.shared.durable_index.borrow()
    }

    /// Writes what is queued and the index itself, and returns when all of it is on disk.
    pub(crate) async fn flush(&self, index: u64) -> Result<(), StoreError> {
        let number = {
            let mut pending = self.shared.pending.lock();
            self.send(&mut pending, Vec::new(), index);
            pending.batches_sent
        };
        let mut durable = self.shared.durable_index.subscribe();
        loop {
            if self.shared.pending.lock().batches_done >= number {
                return Ok(());
            }
            tokio::select! {
                _ = durable.changed() => {}
                error = self.shared.fatal.reported() => return Err(error),
            }
        }
    }

    fn overlaid(&self, run_id: u64) -> Option<Option<Arc<HistoryItem>>> {
        self.shared.pending.lock().overlay.get(&run_id).map(|(_, item)| item.clone())
    }

    /// One run.
    ///
    /// # Errors
    /// The disk fails or a record is damaged; so for all reads.
    pub fn get(&self, run_id: u64) -> Result<Option<HistoryItem>, StoreError> {
        match self.overlaid(run_id) {
            Some(item) => Ok(item.map(|item| (*item).clone())),
            None => Ok(self.reader.get(run_id)?.filter(|item| self.is_kept(item))),
        }
    }

    /// One run by its name.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn find(
        &self,
        namespace: &str,
        workflow: &str,
        number: u64,
    ) -> Result<Option<HistoryItem>, StoreError> {
        let is_it = |item: &HistoryItem| {
            item.number == number && item.workflow == workflow && item.namespace == namespace
        };
        let queued = {
            let pending = self.shared.pending.lock();
            pending.overlay.values().filter_map(|(_, item)| item.clone()).find(|item| is_it(item))
        };
        if let Some(item) = queued {
            return Ok(Some((*item).clone()));
        }
        let found = self.reader.find(namespace, workflow, number)?;
        Ok(found.filter(|item| self.overlaid(item.run_id).is_none() && self.is_kept(item)))
    }

    /// Newest first by run id, those with an id below `before`, at most `limit`.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn page(&self, before: Option<u64>, limit: usize) -> Result<Vec<HistoryItem>, StoreError> {
        // The overlay is taken first: what leaves it meanwhile is in the file by then.
        let overlay = self.overlay(|item| before.is_none_or(|before| item.run_id < before));
        let read = |before, limit| self.reader.page(before, limit);
        let stored = self.kept(before, limit + overlay.len(), read, |item| item.run_id)?;
        let mut items = merge(overlay, stored);
        items.sort_unstable_by_key(|item| std::cmp::Reverse(item.run_id));
        items.truncate(limit);
        Ok(items)
    }

    /// Newest first by number, the runs of one workflow with a number below `before`, at most `limit`.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn page_of(
        &self,
        namespace: &str,
        workflow: &str,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<HistoryItem>, StoreError> {
        let overlay = self.overlay(|item| {
            item.namespace == namespace
                && item.workflow == workflow
                && before.is_none_or(|before| item.number < before)
        });
        let read = |before, limit| self.reader.page_of(namespace, workflow, before, limit);
        let stored = self.kept(before, limit + overlay.len(), read, |item| item.number)?;
        let mut items = merge(overlay, stored);
        items.sort_unstable_by_key(|item| std::cmp::Reverse(item.number));
        items.truncate(limit);
        Ok(items)
    }

    /// The log index before which runs must have ended for no more than about `keep` to be left; `None` if there are
    /// no more than that. Looks at a bounded number of runs: a long history takes several prunings.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn prune_before(&self, keep: u64) -> Result<Option<u64>, StoreError> {
        let surplus = self.reader.count()?.saturating_sub(keep);
        if surplus == 0 {
            return Ok(None);
        }
        let oldest = usize::try_from(surplus).unwrap_or(usize::MAX).min(PRUNE_LOOK_MAX);
        let items = self.reader.ended_after(EndCursor::default(), u64::MAX, oldest)?;
        Ok(items.last().map(|item| item.end_index + 1))
    }

    /// In order of ending, from the file alone: flush first. See [`HistoryReader::ended_after`].
    pub(crate) async fn ended_after(
        &self,
        after: EndCursor,
        end_index_max: u64,
        limit: usize,
    ) -> Result<Vec<HistoryItem>, StoreError> {
        let reader = Arc::clone(&self.reader);
        let read = move || reader.ended_after(after, end_index_max, limit);
        self.site.blocking(Path::new("history"), read).await
    }

    fn is_kept(&self, item: &HistoryItem) -> bool {
        item.end_index >= self.shared.pruned_before.load(Ordering::Acquire)
    }

    /// At least `limit` rows that are not forgotten, as far as there are any, read in descending order of `key`.
    fn kept(
        &self,
        mut before: Option<u64>,
        limit: usize,
        read: impl Fn(Option<u64>, usize) -> Result<Vec<HistoryItem>, StoreError>,
        key: impl Fn(&HistoryItem) -> u64,
    ) -> Result<Vec<HistoryItem>, StoreError> {
        let mut kept = Vec::new();
        loop {
            let rows = read(before, limit)?;
            let is_last = rows.len() < limit || rows.is_empty();
            before = rows.last().map(&key);
            kept.extend(rows.into_iter().filter(|item| self.is_kept(item)));
            if is_last || kept.len() >= limit {
                return Ok(kept);
            }
        }
    }

    /// The queued items that match, and every queued deletion.
    fn overlay(
        &self,
        matches: impl Fn(&HistoryItem) -> bool,
    ) -> BTreeMap<u64, Option<Arc<HistoryItem>>> {
        let pending = self.shared.pending.lock();
        let wanted =
            |item: &Option<Arc<HistoryItem>>| item.as_ref().is_none_or(|item| matches(item));
        pending
            .overlay
            .iter()
            .filter(|(_, (_, item))| wanted(item))
            .map(|(run_id, (_, item))| (*run_id, item.clone()))
            .collect()
    }
}

fn merge(
    overlay: BTreeMap<u64, Option<Arc<HistoryItem>>>,
    mut stored: Vec<HistoryItem>,
) -> Vec<HistoryItem> {
    stored.retain(|item| !overlay.contains_key(&item.run_id));
    stored.extend(overlay.into_values().flatten().map(|item| (*item).clone()));
    stored
}

struct Writer {
    store: Box<dyn HistoryStore>,
    disk: Arc<dyn Disk>,
    batches: UnboundedReceiver<Batch>,
    shared: Arc<Shared>,
}

impl Writer {
    async fn run(mut self) {
        while let Some(first) = self.batches.recv().await {
            let mut group = Vec::new();
            let (mut index, mut bytes, mut count, mut stop) = (0, 0, 0, false);
            let mut next = Some(first);
            while let Some(batch) = next {
                match batch {
                    Batch::Stop => stop = true,
                    Batch::Changes { changes, index: at, bytes: size } => {
                        group.extend(changes);
                        index = index.max(at);
                        bytes += size;
                        count += 1;
                    }
                }
                let room = !stop && group.len() < GROUP_CHANGES_MAX;
                next = if room { self.batches.try_recv().ok() } else { None };
            }
            if mutant::is_on(Mutant::HistoryUnflushed) {
                tokio::time::sleep(LATE).await;
            }
            if count > 0 {
                if let Err(error) = self.store.commit(&group, index) {
                    return self.shared.fatal.report(&error);
                }
                self.disk.settled().await;
                self.shared.written(index, bytes, count);
            }
            if stop {
                return;
            }
        }
    }
}

impl Shared {
    /// `count` batches up to log index `index` are on disk.
    fn written(&self, index: u64, bytes: usize, count: u64) {
        {
            let mut pending = self.pending.lock();
            pending.batches_done += count;
            let done = pending.batches_done;
            pending.overlay.retain(|_, (number, _)| *number > done);
        }
        self.queued_bytes.send_modify(|queued| *queued -= bytes);
        self.durable_index.send_modify(|durable| *durable = index.max(*durable));
    }
}
