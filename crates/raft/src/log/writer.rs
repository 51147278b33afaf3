//! The log thread: drains the queue, commits the group with one fsync, then answers in order.

use std::sync::Arc;
use std::time::Duration;

use muster_core::mutant::{self, Mutant};
use muster_platform::{Dedicated, Disk};
use parking_lot::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::sync::{mpsc, oneshot};

use super::tail::Tail;
use super::{LogOperation, LogStore};
use crate::error::StoreError;
use crate::fatal::Fatal;
use crate::site::Site;
use crate::types::IoFlushed;

/// A group holds at most this many requests.
const GROUP_REQUESTS_MAX: usize = 4_096;
/// Pause between commits that only free purged space.
const GARBAGE_PAUSE: Duration = Duration::from_millis(5);

/// How late the log is with [`Mutant::LogAnsweredEarly`].
const LATE: Duration = Duration::from_millis(100);

/// Who waits for an operation.
pub(crate) enum Waiter {
    Nobody,
    Flushed(IoFlushed),
    Done(oneshot::Sender<Result<(), StoreError>>),
}

pub(crate) enum Request {
    Operate(LogOperation, Waiter),
    /// Commits what is queued, then ends the thread.
    Stop,
}

/// The sending half; the thread ends when all of them are gone.
pub(crate) type Queue = UnboundedSender<Request>;

/// Resolves when the thread has closed the file.
pub(crate) type Ended = oneshot::Receiver<()>;

/// Starts the thread.
pub(crate) fn start(
    store: Box<dyn LogStore>,
    tail: Arc<Mutex<Tail>>,
    fatal: Fatal,
    site: &Site,
) -> std::io::Result<(Queue, Dedicated, Ended)> {
    let (queue, requests) = mpsc::unbounded_channel();
    let (end, ended) = oneshot::channel();
    let disk = Arc::clone(&site.disk);
    let writer =
        Writer { store, disk, tail, fatal, requests, operations: Vec::new(), waiters: Vec::new() };
    let thread = site.platform.dedicate("raft-log", async move {
        writer.run().await;
        // Nobody may be waiting.
        let _ = end.send(());
    })?;
    Ok((queue, thread, ended))
}

struct Writer {
    store: Box<dyn LogStore>,
    disk: Arc<dyn Disk>,
    tail: Arc<Mutex<Tail>>,
    fatal: Fatal,
    requests: UnboundedReceiver<Request>,
    operations: Vec<LogOperation>,
    waiters: Vec<Waiter>,
}

impl Writer {
    async fn run(mut self) {
        let (mut saved, mut written_end) = {
            let tail = self.tail.lock();
            (tail.committed, tail.last.map_or(0, |id| id.index + 1))
        };
        loop {
            let go_on = self.gather().await;
            written_end = self.operations.iter().fold(written_end, end_after);
            // The committed position rides along with whatever is written anyway. It may lag behind, but must not name
            // an entry that is still in the queue.
            let committed = self.tail.lock().committed.filter(|id| id.index < written_end);
            if let Some(id) = committed.filter(|_| committed != saved) {
                self.operations.push(LogOperation::Committed(id));
                saved = committed;
            }
            if !self.operations.is_empty() || self.store.has_garbage() {
                if mutant::is_on(Mutant::LogAnsweredEarly) {
                    self.waiters.drain(..).for_each(|waiter| respond(waiter, &Ok(())));
                    tokio::time::sleep(LATE).await;
                }
                let result = self.store.commit(&self.operations);
                let failed = result.is_err();
                // Meanwhile the next group gathers in the queue.
                self.disk.settled().await;
                self.answer(result);
                if failed && go_on {
                    return self.refuse_all().await;
                }
            }
            if !go_on {
                return;
            }
        }
    }

    /// Waits for requests and takes as many as a group may hold. False when the thread shall end.
    async fn gather(&mut self) -> bool {
        let mut next = if self.store.has_garbage() {
            match tokio::time::timeout(GARBAGE_PAUSE, self.requests.recv()).await {
                Ok(request) => request,
                Err(_) => return true,
            }
        } else {
            self.requests.recv().await
        };
        if next.is_none() {
            return false;
        }
        while let Some(request) = next {
            match request {
                Request::Stop => return false,
                Request::Operate(operation, waiter) => {
                    self.operations.push(operation);
                    self.waiters.push(waiter);
                }
            }
            next = if self.waiters.len() < GROUP_REQUESTS_MAX {
                self.requests.try_recv().ok()
            } else {
                None
            };
        }
        true
    }

    fn answer(&mut self, result: Result<(), StoreError>) {
        if let Err(error) = &result {
            self.fatal.report(error);
        } else {
            self.note_durable();
        }
        for waiter in self.waiters.drain(..) {
            respond(waiter, &result);
        }
        self.operations.clear();
    }

    fn note_durable(&self) {
        let is_append = |operation: &&LogOperation| matches!(operation, LogOperation::Append(_));
        let appends = self.operations.iter().filter(is_append).count();
        if appends > 0 {
            self.tail.lock().flushed(appends);
        }
    }

    /// After a failed commit nothing is written any more; whoever asks is told so, until the thread shall end.
    async fn refuse_all(&mut self) {
        let Some(error) = self.fatal.get() else { return };
        while let Some(Request::Operate(_, waiter)) = self.requests.recv().await {
            respond(waiter, &Err(error.clone()));
        }
    }
}

/// Where the written log ends after `operation`, if it ended at `end` before.
fn end_after(end: u64, operation: &LogOperation) -> u64 {
    match operation {
        LogOperation::Append(batch) => batch.last().map_or(end, |entry| entry.log_id.index + 1),
        LogOperation::TruncateFrom(index) => end.min(*index),
        LogOperation::Purge(id) => end.max(id.index + 1),
        LogOperation::Vote(_) | LogOperation::Committed(_) | LogOperation::Identity(_) => end,
    }
}

fn respond(waiter: Waiter, result: &Result<(), StoreError>) {
    match waiter {
        Waiter::Nobody => {}
        Waiter::Flushed(callback) => callback.io_completed(result.clone().map_err(Into::into)),
        Waiter::Done(sender) => {
            // The waiter may have given up; the operation stands all the same.
            let _ = sender.send(result.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::ops::Range;
    use std::path::{Path, PathBuf};
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::future::BoxFuture;
    use muster_platform::{BlockFile, Lock, Platform};
    use openraft::storage::RaftLogStorage;
    use openraft::type_config::TypeConfigExt;
    use openraft::type_config::alias::OneshotReceiverOf;
    use tokio::sync::watch;

    use super::super::{LogContent, LogReader, RaftLog};
    use super::*;
    use crate::types::{Entry, LeaderId, LogId, Payload, TypeConfig, Vote};

    /// How long a thread may take to end on a busy machine.
    const PATIENCE: Duration = Duration::from_secs(30);

    /// Takes one commit and fails from then on, as a disk whose sync failed does.
    #[derive(Clone, Default)]
    struct FailingStore {
        commits: Arc<AtomicUsize>,
    }

    struct NoEntries;

    impl LogReader for NoEntries {
        fn read(&self, _: Range<u64>, _: usize) -> Result<Vec<Entry>, StoreError> {
            Ok(Vec::new())
        }
    }

    impl LogStore for FailingStore {
        fn commit(&mut self, _: &[LogOperation]) -> Result<(), StoreError> {
            match self.commits.fetch_add(1, Ordering::Relaxed) {
                0 => Ok(()),
                1 => {
                    let error = std::io::Error::from(std::io::ErrorKind::StorageFull);
                    Err(StoreError::io(Path::new("/data/log.redb"), "commit", &error))
                }
                _ => panic!("a failed commit must not be followed by another"),
            }
        }

        fn has_garbage(&self) -> bool {
            false
        }

        fn load(&self, _: usize) -> Result<LogContent, StoreError> {
            Ok(LogContent {
                identity: None,
                vote: None,
                committed: None,
                purged: None,
                last: None,
                tail: Vec::new(),
            })
        }

        fn reader(&self) -> Arc<dyn LogReader> {
            Arc::new(NoEntries)
        }
    }

    fn blank(index: u64) -> Entry {
        let leader_id = LeaderId { term: 1, node_id: 1 };
        Entry { log_id: LogId { leader_id, index }, payload: Payload::Blank }
    }

    async fn append(log: &mut RaftLog, index: u64) -> std::io::Result<()> {
        let (sender, flushed) = TypeConfig::oneshot();
        log.append([blank(index)], IoFlushed::signal(sender)).await?;
        flushed.await.expect("an answer always comes")
    }

    #[tokio::test]
    async fn a_failed_commit_is_told_to_all_and_never_tried_again() {
        let fatal = Fatal::new();
        let store = Box::new(FailingStore::default());
        let (mut log, _thread, _) =
            RaftLog::open(store, 1 << 20, fatal.clone(), &Site::default()).expect("it loads");
        append(&mut log, 0).await.expect("the first commit succeeds");
        let error = append(&mut log, 1).await.expect_err("the second fails");
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
        let reported = fatal.reported().await.to_string();
        assert!(reported.contains("/data/log.redb") && reported.contains("no space"), "{reported}");
        let vote = Vote { leader_id: LeaderId { term: 2, node_id: 1 }, committed: false };
        log.save_vote(&vote).await.expect_err("nothing is written any more");
    }

    /// Counts commits.
    #[derive(Clone, Default)]
    struct CountingStore(Arc<AtomicUsize>);

    impl LogStore for CountingStore {
        fn commit(&mut self, _: &[LogOperation]) -> Result<(), StoreError> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }

        fn has_garbage(&self) -> bool {
            false
        }

        fn load(&self, tail_bytes_max: usize) -> Result<LogContent, StoreError> {
            FailingStore::default().load(tail_bytes_max)
        }

        fn reader(&self) -> Arc<dyn LogReader> {
            Arc::new(NoEntries)
        }
    }

    /// Holds no files. Settles when it is told to.
    struct SlowDisk(watch::Receiver<bool>);

    impl Disk for SlowDisk {
        fn create_dir_all(&self, _: &Path) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn list(&self, _: &Path) -> io::Result<Vec<PathBuf>> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn read(&self, _: &Path) -> io::Result<Vec<u8>> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn size(&self, _: &Path) -> io::Result<u64> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn create_blocks(&self, _: &Path) -> io::Result<Box<dyn BlockFile>> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn sync(&self, _: &Path) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn sync_dir(&self, _: &Path) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn remove(&self, _: &Path) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn open_blocks(&self, _: &Path) -> io::Result<Box<dyn BlockFile>> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn lock(&self, _: &Path) -> io::Result<Option<Lock>> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn free_bytes(&self, _: &Path) -> io::Result<u64> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn settled(&self) -> BoxFuture<'static, ()> {
            let mut settled = self.0.clone();
            Box::pin(async move {
                settled.wait_for(|settled| *settled).await.expect("the test holds the sender");
            })
        }
    }

    /// Appends so many entries, all but the first of them while the first one's commit is under way.
    async fn append_behind_a_commit(
        log: &mut RaftLog,
        count: u64,
        commits: &AtomicUsize,
    ) -> Vec<OneshotReceiverOf<TypeConfig, io::Result<()>>> {
        let mut flushed = Vec::new();
        for index in 0..count {
            let (sender, receiver) = TypeConfig::oneshot();
            log.append([blank(index)], IoFlushed::signal(sender)).await.expect("it is queued");
            flushed.push(receiver);
            while commits.load(Ordering::Relaxed) == 0 {
                tokio::task::yield_now().await;
            }
        }
        flushed
    }

    #[tokio::test]
    async fn a_commit_that_fails_with_the_stop_behind_it_does_not_keep_the_thread() {
        let (settle, settled) = watch::channel(false);
        let site = Site { platform: Platform::system(), disk: Arc::new(SlowDisk(settled)) };
        let store = FailingStore::default();
        let (mut log, thread, _) =
            RaftLog::open(Box::new(store.clone()), 1 << 20, Fatal::new(), &site).expect("it loads");
        let mut flushed = append_behind_a_commit(&mut log, 2, &store.commits).await;
        // While the first commit settles, the second entry and the stop become one group.
        let stopped = tokio::spawn(thread.stop());
        tokio::task::yield_now().await;
        settle.send_replace(true);
        let ended = tokio::time::timeout(PATIENCE, stopped).await;
        ended.expect("it ends").expect("without a panic");
        let second = flushed.pop().expect("there are two").await.expect("an answer");
        second.expect_err("its commit failed");
    }

    #[tokio::test]
    async fn nobody_is_answered_before_the_disk_has_settled_and_the_next_group_gathers() {
        let (settle, settled) = watch::channel(false);
        let site = Site { platform: Platform::system(), disk: Arc::new(SlowDisk(settled)) };
        let store = CountingStore::default();
        let (mut log, thread, _) =
            RaftLog::open(Box::new(store.clone()), 1 << 20, Fatal::new(), &site).expect("it loads");
        let mut flushed = append_behind_a_commit(&mut log, 10, &store.0).await;
        let mut second = flushed.remove(1);
        assert!(second.try_recv().is_err(), "it is queued behind the first");
        let mut first = flushed.remove(0);
        assert!(first.try_recv().is_err(), "it is written and may still be lost");
        settle.send_replace(true);
        first.await.expect("an answer").expect("it is on disk");
        second.await.expect("an answer").expect("it is on disk");
        thread.stop().await;
        assert_eq!(store.0.load(Ordering::Relaxed), 2, "nine appends made one group");
    }
}
