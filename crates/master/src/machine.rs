//! The bridge from the log to the core: committed bytes in, state changed, replies and events out.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use muster_core::command::Entry;
use muster_core::event::Event;
use muster_core::ids::{LogIndex, RunId};
use muster_core::mutant::{self, Mutant};
use muster_core::reply::{Rejection, Reply};
use muster_core::snapshot::Snapshot;
use muster_core::state::State;
use muster_core::state::block_map::BlockMap;
use muster_core::state::run::Run;
use muster_platform::Platform;
use muster_proto::convert::{self, ShardId, ShardKind};
use muster_raft::{Applied, HistoryItem, Machine, Position, Shard};
use parking_lot::RwLock;
use tokio::sync::{Notify, mpsc};

use crate::observer::Observer;
use crate::watch::RunSignals;

/// What the machine answers to one entry: one answer a command.
pub(crate) struct EntryReply {
    pub(crate) index: LogIndex,
    pub(crate) replies: Vec<Result<Reply, Rejection>>,
}

/// What readers see.
#[derive(Default)]
struct Shown {
    state: State,
    /// The last entry that the state knows. May be ahead of what is announced as applied.
    index: u64,
    /// Runs that ended in entries whose effects are not in the history yet. Without them a run would for a moment be
    /// nowhere: apply takes it out of the state before the history has it.
    just_ended: BTreeMap<RunId, Arc<Run>>,
}

/// The state of this master, shared between the log (the only writer) and everybody who reads.
pub(crate) struct StateCell {
    state: RwLock<Shown>,
    applied: AtomicU64,
    /// Rung after each group of applied entries.
    pub(crate) changed: Notify,
    /// Rung for runs that somebody watches.
    pub(crate) run_signals: RunSignals,
    leads: AtomicBool,
    leader_events: mpsc::UnboundedSender<Event>,
}

impl StateCell {
    /// An empty state, and the events that reach the leader's duties.
    pub(crate) fn new() -> (Arc<Self>, mpsc::UnboundedReceiver<Event>) {
        let (leader_events, events) = mpsc::unbounded_channel();
        let cell = StateCell {
            state: RwLock::default(),
            applied: AtomicU64::new(0),
            changed: Notify::new(),
            run_signals: RunSignals::default(),
            leads: AtomicBool::new(false),
            leader_events,
        };
        (Arc::new(cell), events)
    }

    /// Looks at the state. Keep it short: apply waits.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.read().state)
    }

    /// Looks at the state, and at the runs that ended a moment ago and may not be in the history yet. A run that is in
    /// neither is in the history, or was never there.
    pub(crate) fn read_runs<T>(
        &self,
        look: impl FnOnce(&State, &BTreeMap<RunId, Arc<Run>>) -> T,
    ) -> T {
        let shown = self.state.read();
        look(&shown.state, &shown.just_ended)
    }

    /// The state as it is, and the log index it stands at.
    pub(crate) fn snapshot(&self) -> (u64, Snapshot) {
        let shown = self.state.read();
        (shown.index.max(self.applied()), shown.state.snapshot())
    }

    /// The run, if it is live or ended a moment ago.
    pub(crate) fn run(&self, id: RunId) -> Option<Arc<Run>> {
        self.read_runs(|state, just_ended| {
            state.run(id).or_else(|| just_ended.get(&id)).map(Arc::clone)
        })
    }

    /// The index of the last applied entry that changed the state.
    pub(crate) fn applied(&self) -> u64 {
        self.applied.load(Ordering::Acquire)
    }

    /// Whether events go to the leader's duties. They are hints: the duties derive from the state what they missed.
    pub(crate) fn set_leads(&self, leads: bool) {
        self.leads.store(leads, Ordering::Release);
    }

    fn publish(&self, events: Vec<Event>) {
        let leads = self.leads.load(Ordering::Acquire);
        for event in events {
            if let Some(run) = run_of(&event) {
                self.run_signals.ring(run);
            }
            let concerns_leader = matches!(
                event,
                Event::AttemptPlaced { .. }
                    | Event::AttemptStopping { .. }
                    | Event::WorkerLost { .. }
                    | Event::WorkerChanged { .. }
            );
            if leads && concerns_leader {
                // The receiver lives as long as the process; while it shuts down nobody needs events.
                let _closed = self.leader_events.send(event);
            }
        }
    }
}

fn ended_runs(events: &[Event]) -> impl Iterator<Item = &Arc<Run>> {
    events.iter().filter_map(|event| match event {
        Event::RunEnded { run } => Some(run),
        _ => None,
    })
}

fn run_of(event: &Event) -> Option<RunId> {
    match event {
        Event::RunSubmitted { run }
        | Event::RunBegun { run }
        | Event::RunChanged { run }
        | Event::RunStopping { run }
        | Event::TaskChanged { run, .. } => Some(*run),
        Event::RunEnded { run } => Some(run.id),
        Event::WorkflowApplied { .. }
        | Event::NamespaceApplied { .. }
        | Event::SchedulesChanged { .. }
        | Event::TriggerFired { .. }
        | Event::AttemptPlaced { .. }
        | Event::AttemptStopping { .. }
        | Event::WorkerChanged { .. }
        | Event::WorkerLost { .. }
        | Event::HistoryPruned { .. } => None,
    }
}

/// The state as Raft's machine.
pub(crate) struct CoreMachine {
    pub(crate) cell: Arc<StateCell>,
    pub(crate) observer: Option<Arc<dyn Observer>>,
    pub(crate) platform: Platform,
}

impl CoreMachine {
    fn apply_entry(&mut self, at: Position, entry: &Entry) -> Applied {
        let index = at.index;
        let applied = {
            let mut shown = self.cell.state.write();
            let leads = self.cell.leads.load(Ordering::Acquire);
            let applied = if mutant::is_on(Mutant::ApplyAsksWhoLeads) && !leads {
                let timeless = Entry { at: shown.state.now(), ..entry.clone() };
                shown.state.apply(LogIndex(index), &timeless)
            } else {
                shown.state.apply(LogIndex(index), entry)
            };
            shown.index = index;
            let ended = ended_runs(&applied.events).map(|run| (run.id, run.clone()));
            shown.just_ended.extend(ended);
            // Before anybody can see what it made.
            tracing::trace!(index, since_boot_us = self.platform.since_boot_us(), "applied");
            if let Some(observer) = &self.observer {
                observer.applied(at, entry, &shown.state, &applied);
            }
            applied
        };
        let item = |run: &Arc<Run>| HistoryItem {
            run_id: run.id.0,
            end_index: index,
            namespace: run.version.namespace.to_string(),
            workflow: run.version.workflow.to_string(),
            number: run.number,
            bytes: convert::encode_ended_run(run),
        };
        let ended = ended_runs(&applied.events).map(item).collect();
        let mut effects = Applied { ended, ..Applied::default() };
        let pruned_before = applied.events.iter().filter_map(|event| match event {
            Event::HistoryPruned { ended_before } => Some(ended_before.0),
            _ => None,
        });
        effects.pruned_before = pruned_before.max();
        effects.reply = muster_raft::Reply::new(EntryReply {
            index: LogIndex(index),
            replies: applied.replies,
        });
        self.cell.publish(applied.events);
        effects
    }
}

impl Machine for CoreMachine {
    fn apply(&mut self, at: Position, entry: &Bytes) -> io::Result<Applied> {
        let entry = convert::decode_entry(entry).map_err(|error| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("log entry {} cannot be applied: {error}", at.index),
            )
        })?;
        Ok(self.apply_entry(at, &entry))
    }

    fn applied_up_to(&mut self, index: u64) {
        // The history has them by now.
        let is_some_ended = !self.cell.state.read().just_ended.is_empty();
        if is_some_ended {
            self.cell.state.write().just_ended.clear();
        }
        self.cell.applied.store(index, Ordering::Release);
        self.cell.changed.notify_waiters();
    }

    fn snapshot(&self) -> Vec<Shard> {
        let mut snapshot = self.cell.read(State::snapshot);
        if mutant::is_on(Mutant::SnapshotForgetsRequests) {
            snapshot.requests = BlockMap::default();
        }
        let newest = snapshot.runs.iter().next_back().map(|run| run.id.0);
        if let Some(newest) = newest.filter(|_| mutant::is_on(Mutant::SnapshotLosesRun)) {
            snapshot.runs.remove(newest);
        }
        shards(snapshot)
    }

    fn restore(&mut self, index: u64, shards: Vec<(u64, Bytes)>) -> io::Result<u64> {
        let invalid = |error: String| io::Error::new(io::ErrorKind::InvalidData, error);
        let shards = shards.into_iter().map(|(key, bytes)| (shard_id(key), bytes));
        let shards: Option<Vec<_>> = shards.map(|(id, bytes)| Some((id?, bytes))).collect();
        let mut shards = shards
            .ok_or_else(|| invalid(format!("snapshot at {index}: a shard of an unknown kind")))?;
        shards.sort_unstable_by_key(|(id, _)| *id);
        let snapshot = convert::decode_snapshot(shards)
            .map_err(|error| invalid(format!("snapshot at {index}: {error}")))?;
        let state = State::restore(snapshot)
            .map_err(|error| invalid(format!("snapshot at {index}: {error}")))?;
        if let Some(observer) = &self.observer {
            observer.restored(LogIndex(index), &state);
        }
        let pruned_before = state.meta().pruned_before.0;
        *self.cell.state.write() = Shown { state, index, just_ended: BTreeMap::new() };
        self.cell.applied.store(index, Ordering::Release);
        self.cell.run_signals.ring_all();
        self.cell.changed.notify_waiters();
        Ok(pruned_before)
    }
}

/// The kinds of shards, by their number on disk. Append only.
const SHARD_KINDS: [ShardKind; 8] = [
    ShardKind::Meta,
    ShardKind::Versions,
    ShardKind::Workflows,
    ShardKind::Runs,
    ShardKind::Workers,
    ShardKind::Requests,
    ShardKind::Actions,
    ShardKind::Namespaces,
];
/// The kind stands in the upper bits of a shard's key, the block's number below.
const SHARD_KIND_SHIFT: u32 = 60;

fn shard_key(id: ShardId) -> u64 {
    let kind = SHARD_KINDS.iter().position(|kind| *kind == id.kind).unwrap_or_default() as u64;
    (kind << SHARD_KIND_SHIFT) | id.number
}

fn shard_id(key: u64) -> Option<ShardId> {
    let kind = *SHARD_KINDS.get((key >> SHARD_KIND_SHIFT) as usize)?;
    Some(ShardId { kind, number: key & ((1 << SHARD_KIND_SHIFT) - 1) })
}

/// The snapshot cut into shards: one for the counters, one for every block of every map.
fn shards(snapshot: Snapshot) -> Vec<Shard> {
    let snapshot = Arc::new(snapshot);
    let meta = ShardId { kind: ShardKind::Meta, number: 0 };
    let encode_meta = {
        let snapshot = snapshot.clone();
        move || convert::encode_shard(&snapshot, meta).to_vec()
    };
    let mut shards =
        vec![Shard { id: shard_key(meta), token: None, encode: Box::new(encode_meta) }];
    shards_of(ShardKind::Versions, &snapshot, &snapshot.versions, &mut shards);
    shards_of(ShardKind::Workflows, &snapshot, &snapshot.workflows, &mut shards);
    shards_of(ShardKind::Runs, &snapshot, &snapshot.runs, &mut shards);
    shards_of(ShardKind::Workers, &snapshot, &snapshot.workers, &mut shards);
    shards_of(ShardKind::Requests, &snapshot, &snapshot.requests, &mut shards);
    shards_of(ShardKind::Actions, &snapshot, &snapshot.actions, &mut shards);
    shards_of(ShardKind::Namespaces, &snapshot, &snapshot.namespaces, &mut shards);
    shards
}

fn shards_of<V: Send + Sync + 'static>(
    kind: ShardKind,
    snapshot: &Arc<Snapshot>,
    blocks: &BlockMap<V>,
    shards: &mut Vec<Shard>,
) {
    for (number, block) in blocks.blocks() {
        let id = ShardId { kind, number };
        let snapshot = snapshot.clone();
        shards.push(Shard::of(shard_key(id), block, move |_| {
            convert::encode_shard(&snapshot, id).to_vec()
        }));
    }
}

#[cfg(test)]
mod tests {
    use muster_core::command::{CancelRun, Command, RunSource, SubmitRun};
    use muster_core::ids::Name;
    use muster_core::spec;
    use muster_core::time::Timestamp;

    use super::*;

    #[test]
    fn a_run_that_ends_is_never_nowhere() {
        let manifest = "{apiVersion: v1, kind: Workflow, name: w, tasks: {t: {run: 'true'}}}";
        let spec = spec::parse(manifest).expect("a workflow").remove(0);
        let submit = Command::SubmitRun(SubmitRun {
            request: None,
            namespace: Name::parse("default").expect("a name"),
            source: RunSource::OneOff(Box::new(spec)),
            params: Arc::default(),
            priority: None,
            backfill: None,
        });
        let run = RunId(1);
        let cancel = Command::CancelRun(CancelRun { request: None, run });
        let (cell, _events) = StateCell::new();
        let mut machine =
            CoreMachine { cell: cell.clone(), observer: None, platform: Platform::system() };
        let mut apply = |index, command| {
            let entry = Entry { at: Timestamp(index), commands: vec![command] };
            machine.apply_entry(Position { index, term: 1 }, &entry)
        };
        assert!(apply(1, submit).ended.is_empty());
        assert_eq!(apply(2, cancel).ended.len(), 1);
        assert!(cell.read(|state| state.run(run).is_none()), "the state has it no more");
        let seen = cell.run(run).expect("and the history does not have it yet");
        assert!(seen.ended.is_some());
        machine.applied_up_to(2);
        assert!(cell.run(run).is_none(), "now the history has it");
    }
}
