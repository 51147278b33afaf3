//! The bridge from the log to the core: committed bytes in, state changed, replies and events out.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use muster_core::command::Entry;
use muster_core::event::Event;
use muster_core::ids::{LogIndex, RunId};
use muster_core::reply::{Rejection, Reply};
use muster_core::snapshot::Snapshot;
use muster_core::state::State;
use muster_core::state::block_map::BlockMap;
use muster_proto::convert::{self, ShardId, ShardKind};
use muster_raft::{Applied, HistoryItem, Machine, Shard};
use parking_lot::RwLock;
use tokio::sync::{Notify, mpsc};

use crate::watch::RunSignals;

/// What the machine answers to one entry: one answer a command.
pub(crate) struct EntryReply {
    pub(crate) index: LogIndex,
    pub(crate) replies: Vec<Result<Reply, Rejection>>,
}

/// The state of this master, shared between the log (the only writer) and everybody who reads.
pub(crate) struct StateCell {
    state: RwLock<State>,
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
            state: RwLock::new(State::default()),
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
        look(&self.state.read())
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

fn run_of(event: &Event) -> Option<RunId> {
    match event {
        Event::RunSubmitted { run }
        | Event::RunStopping { run }
        | Event::TaskChanged { run, .. } => Some(*run),
        Event::RunEnded { run } => Some(run.id),
        Event::WorkflowApplied { .. }
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
}

impl CoreMachine {
    fn apply_entry(&mut self, index: u64, entry: &Entry) -> Applied {
        let applied = self.cell.state.write().apply(LogIndex(index), entry);
        let mut effects = Applied::default();
        for event in &applied.events {
            match event {
                Event::RunEnded { run } => effects.ended.push(HistoryItem {
                    run_id: run.id.0,
                    end_index: index,
                    namespace: run.version.namespace.to_string(),
                    workflow: run.version.workflow.to_string(),
                    number: run.number,
                    bytes: convert::encode_ended_run(run),
                }),
                _ => {}
            }
        }
        effects.reply = muster_raft::Reply::new(EntryReply {
            index: LogIndex(index),
            replies: applied.replies,
        });
        self.cell.publish(applied.events);
        effects
    }
}

impl Machine for CoreMachine {
    fn apply(&mut self, index: u64, entry: &Bytes) -> io::Result<Applied> {
        let entry = convert::decode_entry(entry).map_err(|error| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("log entry {index} cannot be applied: {error}"),
            )
        })?;
        Ok(self.apply_entry(index, &entry))
    }

    fn applied_up_to(&mut self, index: u64) {
        self.cell.applied.store(index, Ordering::Release);
        self.cell.changed.notify_waiters();
    }

    fn snapshot(&self) -> Vec<Shard> {
        shards(self.cell.read(State::snapshot))
    }

    fn restore(&mut self, index: u64, shards: Vec<(u64, Bytes)>) -> io::Result<()> {
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
        *self.cell.state.write() = state;
        self.cell.applied.store(index, Ordering::Release);
        self.cell.run_signals.ring_all();
        self.cell.changed.notify_waiters();
        Ok(())
    }
}

/// The kinds of shards, by their number on disk. Append only.
const SHARD_KINDS: [ShardKind; 6] = [
    ShardKind::Meta,
    ShardKind::Versions,
    ShardKind::Workflows,
    ShardKind::Runs,
    ShardKind::Workers,
    ShardKind::Requests,
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
