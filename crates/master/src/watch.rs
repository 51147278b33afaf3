//! Watching runs: signals from apply, and the stream of changes that a caller sees.
//!
//! A watcher never lags by more than one picture: signals say only *that* a run changed, the stream then compares the
//! run with what it sent last. So a slow consumer costs no memory, and sees the latest state when it comes back.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use muster_core::ids::{RunId, TaskIndex};
use muster_core::state::run::Run;
use muster_core::state::task::Task;
use muster_proto::v1;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tonic::Status;

use crate::read::FoundRun;
use crate::replica::Replica;
use crate::view;

/// A stream tells of changes at most this often.
const COALESCE: Duration = Duration::from_millis(50);
/// A stream without changes says this often that it is alive.
const BOOKMARK: Duration = Duration::from_secs(15);

/// Who waits for changes of which run. Costs apply one atomic read while nobody does.
#[derive(Default)]
pub(crate) struct RunSignals {
    watched: AtomicUsize,
    senders: Mutex<HashMap<RunId, watch::Sender<u64>>>,
}

/// Someone who waits for changes of a run.
pub(crate) struct RunSignal {
    run: RunId,
    changed: watch::Receiver<u64>,
    replica: Arc<Replica>,
}

impl RunSignals {
    pub(crate) fn ring(&self, run: RunId) {
        if self.watched.load(Ordering::Acquire) == 0 {
            return;
        }
        if let Some(sender) = self.senders.lock().get(&run) {
            sender.send_modify(|count| *count += 1);
        }
    }

    pub(crate) fn ring_all(&self) {
        for sender in self.senders.lock().values() {
            sender.send_modify(|count| *count += 1);
        }
    }
}

impl RunSignal {
    /// Must be made *before* looking at the run, so that no change between goes unnoticed.
    pub(crate) fn new(replica: &Arc<Replica>, run: RunId) -> Self {
        let signals = &replica.cell.run_signals;
        let mut senders = signals.senders.lock();
        let sender = senders.entry(run).or_insert_with(|| watch::channel(0).0);
        let changed = sender.subscribe();
        signals.watched.store(senders.len(), Ordering::Release);
        RunSignal { run, changed, replica: replica.clone() }
    }

    /// Returns once the run changed since the last call.
    pub(crate) async fn changed(&mut self) {
        // The sender lives in the map as long as this receiver does.
        let _closed = self.changed.changed().await;
    }
}

impl Drop for RunSignal {
    fn drop(&mut self) {
        let signals = &self.replica.cell.run_signals;
        let mut senders = signals.senders.lock();
        let is_last = senders.get(&self.run).is_some_and(|sender| sender.receiver_count() <= 1);
        if is_last {
            senders.remove(&self.run);
        }
        signals.watched.store(senders.len(), Ordering::Release);
    }
}

/// What a stream sent last about a task.
type Seen = (muster_core::state::cells::Tally, u32, Option<u64>);

fn seen(task: &Task) -> Seen {
    let first = task.cells.iter().next().map(|(_, state)| state);
    let attempts = first.map_or(0, |state| state.tries().attempts);
    let fence = first.and_then(|state| state.attempt()).map(|attempt| attempt.fence.0);
    (task.cells.tally(), attempts, fence)
}

/// Follows a run until it ends or the caller goes away.
pub(crate) async fn follow(
    replica: Arc<Replica>,
    run: FoundRun,
    out: mpsc::Sender<Result<v1::WatchRunResponse, Status>>,
) {
    let mut signal = RunSignal::new(&replica, run.id);
    let mut sent: Vec<Seen> = Vec::new();
    let mut sent_stop = None;
    loop {
        let revision = replica.cell.applied();
        let picture = replica.with_run(run.id, |run| picture(run, &mut sent, &mut sent_stop));
        let (response, is_ended) = match picture {
            Ok((response, is_ended)) => (v1::WatchRunResponse { revision, ..response }, is_ended),
            Err(status) => {
                let _gone = out.send(Err(status)).await;
                return;
            }
        };
        let has_news = response.run.is_some() || !response.tasks.is_empty();
        if has_news && out.send(Ok(response)).await.is_err() {
            return;
        }
        if is_ended {
            return;
        }
        tokio::time::sleep(COALESCE).await;
        tokio::select! {
            () = signal.changed() => {}
            () = out.closed() => return,
            () = tokio::time::sleep(BOOKMARK) => {
                let revision = replica.cell.applied();
                let bookmark = v1::WatchRunResponse { revision, is_bookmark: true, ..Default::default() };
                if out.send(Ok(bookmark)).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// The run as far as it differs from what was sent, and whether it ended.
fn picture(
    run: &Run,
    sent: &mut Vec<Seen>,
    sent_stop: &mut Option<bool>,
) -> (v1::WatchRunResponse, bool) {
    let is_first = sent.len() != run.tasks.len();
    let mut tasks = Vec::new();
    for (position, task) in run.tasks.iter().enumerate() {
        let now = seen(task);
        if is_first || sent[position] != now {
            tasks.push(view::task(run, TaskIndex(position as u32), task));
        }
        if is_first {
            sent.push(now);
        } else {
            sent[position] = now;
        }
    }
    let is_stopping = Some(run.stop.is_some());
    let is_ended = run.ended.is_some();
    let run_changed = is_first || is_ended || *sent_stop != is_stopping || !tasks.is_empty();
    *sent_stop = is_stopping;
    let run = run_changed.then(|| view::run(run));
    (v1::WatchRunResponse { run, tasks, ..Default::default() }, is_ended)
}
