//! Watching runs: signals from apply, and the stream of changes that a caller sees.
//!
//! A watcher never lags by more than one picture: signals say only *that* a run changed, the stream then compares the
//! run with what it sent last. So a slow consumer costs no memory, and sees the latest state when it comes back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use muster_core::ids::{RunId, TaskIndex};
use muster_core::state::run::Run;
use muster_core::state::task::Task;
use muster_proto::v1;
use parking_lot::Mutex;
use prost::Message as _;
use tokio::sync::{mpsc, watch};
use tonic::Status;

use crate::faults;
use crate::machine::StateCell;
use crate::read::FoundRun;
use crate::replica::Replica;
use crate::view;

/// A stream tells of changes at most this often.
const COALESCE: Duration = Duration::from_millis(50);
/// A stream without changes says this often that it is alive.
const BOOKMARK: Duration = Duration::from_secs(15);

/// Bytes of tasks after which a message is sent; it is above this by one task at most.
const TASKS_BYTES_SOFT_MAX: usize = 1 << 20;

/// Who waits for changes of which run. Costs apply one atomic read while nobody does.
#[derive(Default)]
pub(crate) struct RunSignals {
    watched: AtomicUsize,
    /// With the number of those who wait.
    senders: Mutex<BTreeMap<RunId, (watch::Sender<u64>, usize)>>,
}

/// Someone who waits for changes of a run.
pub(crate) struct RunSignal {
    run: RunId,
    changed: watch::Receiver<u64>,
    cell: Arc<StateCell>,
}

impl RunSignals {
    pub(crate) fn ring(&self, run: RunId) {
        if self.watched.load(Ordering::Acquire) == 0 {
            return;
        }
        if let Some((sender, _)) = self.senders.lock().get(&run) {
            sender.send_modify(|count| *count += 1);
        }
    }

    pub(crate) fn ring_all(&self) {
        for (sender, _) in self.senders.lock().values() {
            sender.send_modify(|count| *count += 1);
        }
    }
}

impl RunSignal {
    /// Must be made *before* looking at the run, so that no change between goes unnoticed.
    pub(crate) fn new(cell: &Arc<StateCell>, run: RunId) -> Self {
        let signals = &cell.run_signals;
        let mut senders = signals.senders.lock();
        let (sender, waiting) = senders.entry(run).or_insert_with(|| (watch::channel(0).0, 0));
        *waiting += 1;
        let changed = sender.subscribe();
        signals.watched.store(senders.len(), Ordering::Release);
        RunSignal { run, changed, cell: cell.clone() }
    }

    /// Returns once the run changed since the last call.
    pub(crate) async fn changed(&mut self) {
        // The sender lives in the map as long as this receiver does.
        let _closed = self.changed.changed().await;
    }
}

impl Drop for RunSignal {
    fn drop(&mut self) {
        let signals = &self.cell.run_signals;
        let mut senders = signals.senders.lock();
        if let Some((_, waiting)) = senders.get_mut(&self.run) {
            *waiting -= 1;
            if *waiting == 0 {
                senders.remove(&self.run);
            }
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

/// What a stream sent so far.
#[derive(Default)]
struct Sent {
    tasks: Vec<Seen>,
    /// Of the run itself: whether it must stop or is paused, and its priority.
    run: Option<(bool, bool, i32)>,
}

/// Follows a run until it ends, the caller goes away, or this master leads no more: a master that is cut off would tell
/// of nothing for ever.
pub(crate) async fn follow(
    replica: Arc<Replica>,
    run: FoundRun,
    out: mpsc::Sender<Result<v1::WatchRunResponse, Status>>,
) {
    let told = tokio::select! {
        told = tell(&replica, run.id, &out) => told,
        () = replica.leads_no_more() => Err(faults::no_leader()),
        () = out.closed() => return,
    };
    if let Err(status) = told {
        let _gone = out.send(Err(status)).await;
    }
}

async fn tell(
    replica: &Replica,
    run: RunId,
    out: &mpsc::Sender<Result<v1::WatchRunResponse, Status>>,
) -> Result<(), Status> {
    let mut signal = RunSignal::new(&replica.cell, run);
    let mut sent = Sent::default();
    loop {
        if tell_changes(replica, run, &mut sent, out).await? {
            return Ok(());
        }
        tokio::time::sleep(COALESCE).await;
        if tokio::time::timeout(BOOKMARK, signal.changed()).await.is_err() {
            let revision = replica.cell.applied();
            let bookmark =
                v1::WatchRunResponse { revision, is_bookmark: true, ..Default::default() };
            // A caller that went away ends all this from outside.
            let _gone = out.send(Ok(bookmark)).await;
        }
    }
}

/// Sends what changed, in pieces. Returns whether the run had ended before the first of them.
async fn tell_changes(
    replica: &Replica,
    run: RunId,
    sent: &mut Sent,
    out: &mpsc::Sender<Result<v1::WatchRunResponse, Status>>,
) -> Result<bool, Status> {
    let mut from = Some(0);
    let mut had_ended = None;
    while let Some(position) = from {
        let revision = replica.cell.applied();
        let (response, next, has_ended) =
            replica.with_run(run, |run| picture(run, position, sent))?;
        had_ended.get_or_insert(has_ended);
        from = next;
        if response.run.is_some() || !response.tasks.is_empty() {
            let _gone = out.send(Ok(v1::WatchRunResponse { revision, ..response })).await;
        }
    }
    Ok(had_ended.unwrap_or(false))
}

/// The run as far as it differs from what was sent, from the task at `from` on; where to go on if the message is full;
/// and whether the run ended.
fn picture(run: &Run, from: usize, sent: &mut Sent) -> (v1::WatchRunResponse, Option<usize>, bool) {
    let mut tasks = Vec::new();
    let (mut next, mut bytes) = (None, 0);
    for (position, task) in run.tasks.iter().enumerate().skip(from) {
        if bytes > TASKS_BYTES_SOFT_MAX {
            next = Some(position);
            break;
        }
        let now = seen(task);
        if sent.tasks.get(position) != Some(&now) {
            let view = view::task(run, TaskIndex(position as u32), task);
            bytes += view.encoded_len();
            tasks.push(view);
        }
        match sent.tasks.get_mut(position) {
            Some(before) => *before = now,
            // Positions ascend, so this one is the next.
            None => sent.tasks.push(now),
        }
    }
    let itself = Some((run.stop.is_some(), run.paused.is_some(), run.priority));
    let is_ended = run.ended.is_some();
    let run_changed = is_ended || sent.run != itself || !tasks.is_empty();
    sent.run = itself;
    let run = run_changed.then(|| view::run(run));
    (v1::WatchRunResponse { run, tasks, ..Default::default() }, next, is_ended)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_of_those_who_waited() {
        let (cell, _events) = StateCell::new();
        let first = RunSignal::new(&cell, RunId(1));
        let mut second = RunSignal::new(&cell, RunId(1));
        let other = RunSignal::new(&cell, RunId(2));
        drop(first);
        cell.run_signals.ring(RunId(1));
        assert!(second.changed.has_changed().unwrap(), "one who waits is not cut off by another");
        second.changed.mark_unchanged();
        drop((second, other));
        assert!(cell.run_signals.senders.lock().is_empty());
        assert_eq!(cell.run_signals.watched.load(Ordering::Acquire), 0);
    }
}
