//! Snapshots: through shards and back, shards that are shared, and shards that do not fit.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use muster_core::ids::Text;
use muster_core::reply::{ItemRefusal, Reply};
use muster_core::snapshot::{FORMAT_VERSION, Snapshot};
use muster_core::state::State;
use muster_core::state::requests::AnsweredRequest;
use muster_core::time::Timestamp;
use muster_proto::convert::{
    DecodeError, ShardId, ShardKind, SnapshotBuilder, decode_snapshot, encode_shard, shards,
};
use muster_proto::internal::v1 as stored;
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;

use crate::states::{World, steps, world};

fn encode(snapshot: &Snapshot) -> Vec<(ShardId, Bytes)> {
    shards(snapshot).map(|(id, _)| (id, encode_shard(snapshot, id))).collect()
}

proptest! {
    #[test]
    fn a_state_comes_back(world in world()) {
        let encoded = encode(&world.state.snapshot());
        prop_assert!(encoded.is_sorted_by(|a, b| a.0 < b.0), "shards are in the order of their ids");
        let snapshot = decode_snapshot(encoded.clone()).expect("what was encoded decodes");
        prop_assert_eq!(encode(&snapshot), encoded, "equal snapshots have equal bytes");
        let restored = State::restore(snapshot).expect("a restored state is well-formed");
        prop_assert_eq!(restored.digest(), world.state.digest());
    }

    /// A shard with the same token as in an earlier snapshot has the same bytes, so it need not be written again.
    #[test]
    fn equal_tokens_mean_equal_bytes(before in steps(), after in steps()) {
        let mut world = World::default();
        before.into_iter().for_each(|step| world.step(step));
        let earlier = world.state.snapshot();
        let earlier_shards: BTreeMap<_, _> = shards(&earlier).collect();
        after.into_iter().take(3).for_each(|step| world.step(step));
        let later = world.state.snapshot();
        for (id, token) in shards(&later) {
            if earlier_shards.get(&id) == Some(&token) {
                prop_assert_eq!(encode_shard(&earlier, id), encode_shard(&later, id));
            }
        }
    }

    #[test]
    fn any_bytes_give_an_answer(bytes in vec(any::<u8>(), 0..200), number in 0..3u64) {
        for kind in KINDS {
            let _answer = SnapshotBuilder::default().add(ShardId { kind, number }, &bytes);
        }
    }

    /// Damaged shards that still decode are restored or refused, but never make a panic.
    #[test]
    fn damaged_snapshots_give_an_answer(
        world in world(),
        damage in vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut encoded = encode(&world.state.snapshot());
        for (shard, place, byte) in damage {
            let shard = shard.index(encoded.len());
            let mut bytes = encoded[shard].1.to_vec();
            if !bytes.is_empty() {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
            encoded[shard].1 = bytes.into();
        }
        if let Ok(snapshot) = decode_snapshot(encoded) {
            let _answer = State::restore(snapshot);
        }
    }
}

const KINDS: [ShardKind; 6] = [
    ShardKind::Meta,
    ShardKind::Versions,
    ShardKind::Workflows,
    ShardKind::Runs,
    ShardKind::Workers,
    ShardKind::Requests,
];

fn id(text: &str) -> ShardId {
    text.parse().expect("ids in tests are well-formed")
}

#[test]
fn an_unchanged_state_keeps_all_tokens() {
    let state = State::default();
    let (a, b) = (state.snapshot(), state.snapshot());
    assert_eq!(shards(&a).collect::<Vec<_>>(), shards(&b).collect::<Vec<_>>());
    let mut later = state.clone();
    let entry = muster_core::command::Entry { at: Timestamp(9), commands: Vec::new() };
    later.apply(muster_core::ids::LogIndex(1), &entry);
    let later = later.snapshot();
    assert_ne!(shards(&a).next(), shards(&later).next(), "meta has another token");
}

#[test]
fn every_reply_comes_back_under_its_number() {
    let refusals = [
        ItemRefusal::RunNotLive,
        ItemRefusal::NoSuchTask,
        ItemRefusal::NotReady,
        ItemRefusal::WorkerNotActive,
        ItemRefusal::WorkerMismatch,
        ItemRefusal::NoCapacity,
        ItemRefusal::NotUndecided,
        ItemRefusal::TooParallel,
        ItemRefusal::Stale,
        ItemRefusal::RunPaused,
    ];
    let replies = [
        Reply::Done,
        Reply::WorkflowApplied { version: 3, is_new: true },
        Reply::RunSubmitted {
            run: muster_core::ids::RunId(9),
            workflow: crate::states::name("etl"),
            number: 4,
        },
        Reply::WorkerRegistered { worker: muster_core::ids::WorkerId(5) },
        Reply::Items { refused: (10..).zip(refusals).collect() },
        Reply::Items { refused: Vec::new() },
    ];
    let mut snapshot = Snapshot::default();
    for (number, reply) in [0, 15, 16, 40, 1_000_000, 1_000_001].into_iter().zip(replies) {
        let request = AnsweredRequest {
            id: Text::from(format!("request-{number}")),
            digest: u64::MAX - number,
            at: Timestamp(number),
            reply,
        };
        snapshot.requests.insert(number, Arc::new(request));
    }
    let decoded = decode_snapshot(encode(&snapshot)).expect("what was encoded decodes");
    assert_eq!(decoded.requests, snapshot.requests);
    assert_eq!(decoded.meta, snapshot.meta);
}

#[test]
fn a_newer_format_and_a_missing_meta_are_refused() {
    let meta = |format| stored::MetaShard { format, ..Default::default() }.encode_to_vec();
    let add = |format| SnapshotBuilder::default().add(id("meta"), &meta(format));
    assert_eq!(add(FORMAT_VERSION), Ok(()));
    assert_eq!(
        add(FORMAT_VERSION + 1),
        Err(DecodeError::UnknownFormat { format: FORMAT_VERSION + 1, known: FORMAT_VERSION })
    );
    let error = add(0).expect_err("a format is needed");
    assert_eq!(error.to_string(), "`meta.format` is missing");
    assert!(decode_snapshot([]).is_err());
}

/// A snapshot with one run, whose first task is a single one, and whose third is an array.
fn snapshot_with_a_run() -> Snapshot {
    let mut world = World::default();
    world.step((3, 2, 1));
    let snapshot = world.state.snapshot();
    let arrays: Vec<bool> = snapshot
        .runs
        .iter()
        .flat_map(|run| &run.version.spec.tasks)
        .map(|task| task.array.is_some())
        .collect();
    assert_eq!(arrays, [false, false, true]);
    snapshot
}

/// The error of the shards after `change` to the run.
fn error_after(change: impl FnOnce(&mut stored::StoredRun)) -> String {
    let snapshot = snapshot_with_a_run();
    let mut shards: BTreeMap<_, _> = encode(&snapshot).into_iter().collect();
    let bytes = shards.get_mut(&id("runs/0")).expect("the run is there");
    let mut shard = stored::RunShard::decode(bytes.as_ref()).expect("it was just encoded");
    change(&mut shard.objects[0]);
    *bytes = shard.encode_to_vec().into();
    decode_snapshot(shards).expect_err("the change is an error").to_string()
}

#[test]
fn a_run_must_fit_its_version() {
    let at = |rest: &str| format!("`runs/0.objects[0].{rest}");
    assert_eq!(error_after(|run| run.version_id = 77), at("version_id` is missing"));
    assert!(error_after(|run| drop(run.tasks.pop())).starts_with(&at("tasks` are not")));
    assert!(
        error_after(|run| run.tasks[0].cells.clear()).starts_with(&at("tasks[0].cells` are not"))
    );
    assert!(
        error_after(|run| run.tasks[2].cells[0].count -= 1)
            .starts_with(&at("tasks[2].cells` do not cover"))
    );
    assert!(
        error_after(|run| run.tasks[2].cells[0].count = u32::MAX)
            .starts_with(&at("tasks[2].cells` do not cover"))
    );
    assert_eq!(
        error_after(|run| run.tasks[0].cells[0].state = None),
        at("tasks[0].cells[0].state` is missing")
    );
    assert!(error_after(|run| run.tasks[0].cells[0].losses = 1 << 16).contains("losses"));
    assert!(error_after(|run| run.id += 16).contains("another shard"));
}

#[test]
fn a_number_is_taken_once() {
    let snapshot = snapshot_with_a_run();
    let mut builder = SnapshotBuilder::default();
    let bytes = encode_shard(&snapshot, id("versions/0"));
    assert_eq!(builder.add(id("versions/0"), &bytes), Ok(()));
    assert!(builder.add(id("versions/0"), &bytes).is_err());
}
