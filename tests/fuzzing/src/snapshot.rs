//! Shards → snapshot → state. What `State::restore` takes in must be a state like any other.

use bytes::Bytes;
use muster_core::command::{
    CancelRun, Command, Entry, LoseWorker, RegisterWorker, RunSource, SubmitRun,
};
use muster_core::event::Event;
use muster_core::ids::{LogIndex, RunId};
use muster_core::reply::Reply;
use muster_core::snapshot::Snapshot;
use muster_core::spec::Resources;
use muster_core::state::State;
use muster_core::time::Millis;
use muster_proto::convert::{ShardId, ShardKind, decode_snapshot, encode_shard, shards};

use crate::bytes::{Cursor, frame};
use crate::scene::{name, workflows};

const KINDS: [ShardKind; 6] = [
    ShardKind::Meta,
    ShardKind::Versions,
    ShardKind::Workflows,
    ShardKind::Runs,
    ShardKind::Workers,
    ShardKind::Requests,
];
/// Most shards of one input.
const SHARDS_MAX: usize = 32;
/// Stands for the largest number of a block.
const LAST_BLOCK: u8 = u8::MAX;

/// The input is a row of shards: the kind, the number of the block, and a frame.
pub(crate) fn check(data: &[u8]) {
    let mut cursor = Cursor::new(data);
    let mut shards = Vec::new();
    while !cursor.is_empty() && shards.len() < SHARDS_MAX {
        let kind = KINDS[cursor.below(KINDS.len())];
        let number = match cursor.byte() {
            LAST_BLOCK => u64::MAX / muster_core::state::block_map::BLOCK_LEN,
            number => u64::from(number),
        };
        shards.push((ShardId { kind, number }, Bytes::copy_from_slice(cursor.frame())));
    }
    let Ok(snapshot) = decode_snapshot(shards) else { return };
    check_round_trip(&snapshot);
    let Ok(state) = State::restore(snapshot) else { return };
    expect_sound(&state, "a restored state");
    live_on(state);
}

/// Bytes that [`check`] reads; `None` if a shard does not fit.
pub fn shards_to_bytes(snapshot: &Snapshot) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for (id, _) in shards(snapshot) {
        let kind = KINDS.iter().position(|kind| *kind == id.kind)?;
        let content = encode_shard(snapshot, id);
        u16::try_from(content.len()).ok()?;
        bytes.extend([u8::try_from(kind).ok()?, u8::try_from(id.number).ok()?]);
        bytes.extend(frame(&content));
    }
    Some(bytes)
}

fn encoded(snapshot: &Snapshot) -> Vec<(ShardId, Bytes)> {
    shards(snapshot).map(|(id, _)| (id, encode_shard(snapshot, id))).collect()
}

/// What was decoded has one encoding, and that means the same.
fn check_round_trip(snapshot: &Snapshot) {
    let shards = encoded(snapshot);
    let again = decode_snapshot(shards.clone()).expect("what was encoded decodes");
    assert_eq!(encoded(&again), shards, "equal snapshots have equal bytes");
    assert_eq!(again.digest(), snapshot.digest(), "a snapshot comes back");
}

fn expect_sound(state: &State, what: &str) {
    if let Err(violation) = state.check() {
        panic!("{what}: {violation}");
    }
}

/// Goes on with the state as a master would: apply stays total, and keeps the invariants.
fn live_on(mut state: State) {
    let digest = state.digest();
    let again = State::restore(state.snapshot()).unwrap_or_else(|violation| panic!("{violation}"));
    assert_eq!(again.digest(), digest, "a state comes back");

    let mut commands = vec![Command::Tick, register(), submit()];
    let runs = state.runs().iter().map(|run| CancelRun { request: None, run: run.id });
    commands.extend(runs.map(Command::CancelRun));
    let workers = state.workers().iter().map(|worker| LoseWorker { worker: worker.id });
    commands.extend(workers.map(Command::LoseWorker));
    for (position, command) in commands.into_iter().enumerate() {
        let known: Vec<RunId> = state.runs().iter().map(|run| run.id).collect();
        let at = state.now() + Millis(1);
        let index = LogIndex(u64::MAX / 2 + position as u64);
        let applied = state.apply(index, &Entry { at, commands: vec![command] });
        expect_sound(&state, "after a restore and more commands");
        let ended: Vec<RunId> = applied.events.iter().filter_map(ended).collect();
        let is_somewhere = |run: &RunId| state.run(*run).is_some() || ended.contains(run);
        assert!(known.iter().all(is_somewhere), "I2: a run is gone and did not end");
        if let Some(Ok(Reply::RunSubmitted { run, .. })) = applied.replies.first() {
            assert!(!known.contains(run), "I2: run {run} was there before");
        }
    }
}

fn ended(event: &Event) -> Option<RunId> {
    match event {
        Event::RunEnded { run } => Some(run.id),
        _ => None,
    }
}

fn register() -> Command {
    Command::RegisterWorker(RegisterWorker {
        name: "later".into(),
        incarnation: 7,
        labels: Default::default(),
        pool: None,
        lease: Millis(5_000),
        capacity: Resources::default(),
    })
}

fn submit() -> Command {
    let spec = workflows().swap_remove(1);
    Command::SubmitRun(SubmitRun {
        request: None,
        namespace: name("n"),
        source: RunSource::Apply(Box::new(spec)),
        params: Default::default(),
        priority: None,
        backfill: None,
    })
}
