//! Snapshots as shards, and back.
//!
//! ```text
//!  Snapshot ──► meta, versions/0, versions/1, …, runs/0, … ──► encode_shard ──► bytes of a file
//!           ◄── SnapshotBuilder::finish ◄── SnapshotBuilder::add(shard, bytes), in the order of the ids
//! ```
//!
//! A shard is one block of one map of the state, or the scalars. Equal shards have equal bytes, so a shard whose block
//! is shared with an earlier snapshot need not be encoded again, and one that is encoded again gets the same name.

mod builder;
mod objects;
mod reply;
mod run;
mod shard_id;
mod task;

pub use builder::{SnapshotBuilder, decode_snapshot};
pub use shard_id::{ParseShardIdError, ShardId, ShardKind};

pub(super) use builder::check_format;
pub(super) use objects::{version_from_proto, version_to_proto};
pub(super) use run::{run_from_proto, run_to_proto};
pub(super) use task::{failure_from_proto, failure_to_proto};

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use muster_core::snapshot::{FORMAT_VERSION, Snapshot, digest_of};
use muster_core::state::Meta;
use muster_core::state::block_map::{BLOCK_LEN, Block, BlockMap};
use prost::Message;

use super::namespace;
use super::trail;
use crate::internal::v1 as stored;

/// Number of the field `objects` in every shard's message.
const SHARD_OBJECTS: u32 = 1;

/// The shards of a snapshot in the order of their ids, each with a token: two snapshots that give a shard the same
/// token hold the same content in it. The token of a block is its address, so it says something only while both
/// snapshots are held.
pub fn shards(snapshot: &Snapshot) -> impl Iterator<Item = (ShardId, usize)> {
    let meta = digest_of(&encode_meta(&snapshot.meta)) as usize;
    std::iter::once((ShardId { kind: ShardKind::Meta, number: 0 }, meta))
        .chain(blocks_of(ShardKind::Versions, &snapshot.versions))
        .chain(blocks_of(ShardKind::Workflows, &snapshot.workflows))
        .chain(blocks_of(ShardKind::Runs, &snapshot.runs))
        .chain(blocks_of(ShardKind::Workers, &snapshot.workers))
        .chain(blocks_of(ShardKind::Requests, &snapshot.requests))
        .chain(blocks_of(ShardKind::Actions, &snapshot.actions))
        .chain(blocks_of(ShardKind::Namespaces, &snapshot.namespaces))
}

fn blocks_of<V>(kind: ShardKind, map: &BlockMap<V>) -> impl Iterator<Item = (ShardId, usize)> {
    map.blocks().map(move |(number, block)| (ShardId { kind, number }, Arc::as_ptr(block).addr()))
}

/// The bytes of a shard; none if the snapshot has no such shard.
pub fn encode_shard(snapshot: &Snapshot, id: ShardId) -> Bytes {
    let number = id.number;
    match id.kind {
        ShardKind::Meta => encode_meta(&snapshot.meta),
        ShardKind::Versions => encode_block(&snapshot.versions, number, |_, version| {
            objects::version_to_proto(version)
        }),
        ShardKind::Workflows => encode_block(&snapshot.workflows, number, |_, workflow| {
            objects::workflow_to_proto(workflow)
        }),
        ShardKind::Runs => encode_block(&snapshot.runs, number, |_, run| run_to_proto(run)),
        ShardKind::Workers => {
            encode_block(&snapshot.workers, number, |_, worker| objects::worker_to_proto(worker))
        }
        ShardKind::Requests => encode_block(&snapshot.requests, number, objects::request_to_proto),
        ShardKind::Actions => encode_block(&snapshot.actions, number, trail::action_to_proto),
        ShardKind::Namespaces => encode_block(&snapshot.namespaces, number, |_, namespace| {
            namespace::stored_to_proto(namespace)
        }),
    }
}

/// Encodes object by object, so that only one of them is held as a message at a time.
fn encode_block<V, M: Message>(
    map: &BlockMap<V>,
    number: u64,
    to_message: impl Fn(u64, &V) -> M,
) -> Bytes {
    let mut bytes = BytesMut::new();
    for (place, object) in map.block(number).into_iter().flat_map(|it| Block::iter_with_places(it))
    {
        let message = to_message(number * BLOCK_LEN + place, object);
        prost::encoding::message::encode(SHARD_OBJECTS, &message, &mut bytes);
    }
    bytes.freeze()
}

fn encode_meta(meta: &Meta) -> Bytes {
    let Meta {
        now,
        cluster_version,
        next_run,
        next_workflow,
        next_version,
        next_worker,
        next_action,
        next_namespace,
        pruned_before,
    } = *meta;
    let meta = stored::MetaShard {
        format: FORMAT_VERSION,
        now_ms: now.0,
        cluster_version,
        next_run_id: next_run,
        next_workflow_id: next_workflow,
        next_version_id: next_version,
        next_worker_id: next_worker,
        // Numbers start at 1. Sums wrap around, so that every number comes back.
        actions: next_action.wrapping_sub(1),
        pruned_before_index: pruned_before.0,
        namespaces_ever: next_namespace.saturating_sub(1),
    };
    meta.encode_to_vec().into()
}
