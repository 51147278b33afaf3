//! A snapshot from its shards.

use std::sync::Arc;

use bytes::Bytes;
use muster_core::ids::LogIndex;
use muster_core::snapshot::{FORMAT_VERSION, Snapshot};
use muster_core::state::Meta;
use muster_core::state::block_map::{BLOCK_LEN, BlockMap};
use muster_core::state::run::Run;
use muster_core::time::Timestamp;
use prost::Message;

use super::objects::{
    live_version_from_proto, request_from_proto, worker_from_proto, workflow_from_proto,
};
use super::run::run_from_proto;
use super::{ShardId, ShardKind};
use crate::convert::error::DecodeError;
use crate::convert::namespace::stored_from_proto;
use crate::convert::read::{Within, required};
use crate::convert::trail::action_from_proto;
use crate::internal::v1 as stored;

/// Puts a snapshot together, shard by shard.
#[derive(Debug, Default)]
pub struct SnapshotBuilder {
    snapshot: Snapshot,
    has_meta: bool,
}

/// A snapshot from all its shards, in the order of their ids.
///
/// The result is well-formed, but whether it makes sense is for `State::restore` to say.
pub fn decode_snapshot(
    shards: impl IntoIterator<Item = (ShardId, Bytes)>,
) -> Result<Snapshot, DecodeError> {
    let mut builder = SnapshotBuilder::default();
    for (id, bytes) in shards {
        builder.add(id, &bytes)?;
    }
    builder.finish()
}

impl SnapshotBuilder {
    /// Adds a shard. All versions must be added before any run that refers to one of them, as they are in the order of
    /// the ids.
    pub fn add(&mut self, id: ShardId, bytes: &[u8]) -> Result<(), DecodeError> {
        self.add_shard(id, bytes).within(&id.to_string())
    }

    /// The snapshot, once all shards are added.
    pub fn finish(self) -> Result<Snapshot, DecodeError> {
        if self.has_meta { Ok(self.snapshot) } else { Err(DecodeError::missing("meta")) }
    }

    fn add_shard(&mut self, id: ShardId, bytes: &[u8]) -> Result<(), DecodeError> {
        let block = id.number;
        match id.kind {
            ShardKind::Meta => self.add_meta(stored::MetaShard::decode(bytes)?)?,
            ShardKind::Versions => {
                let objects = stored::VersionShard::decode(bytes)?.objects;
                put_all(&mut self.snapshot.versions, block, objects, |version| {
                    live_version_from_proto(version).map(|version| (version.id, version))
                })?;
            }
            ShardKind::Workflows => {
                let objects = stored::WorkflowShard::decode(bytes)?.objects;
                put_all(&mut self.snapshot.workflows, block, objects, |workflow| {
                    workflow_from_proto(workflow).map(|workflow| (workflow.id, workflow))
                })?;
            }
            ShardKind::Runs => self.add_runs(block, stored::RunShard::decode(bytes)?)?,
            ShardKind::Workers => {
                let objects = stored::WorkerShard::decode(bytes)?.objects;
                put_all(&mut self.snapshot.workers, block, objects, |worker| {
                    worker_from_proto(worker).map(|worker| (worker.id.0, worker))
                })?;
            }
            ShardKind::Namespaces => {
                let objects = stored::NamespaceShard::decode(bytes)?.objects;
                put_all(&mut self.snapshot.namespaces, block, objects, |namespace| {
                    stored_from_proto(namespace).map(|namespace| (namespace.id, namespace))
                })?;
            }
            ShardKind::Requests => {
                let objects = stored::RequestShard::decode(bytes)?.objects;
                put_all(&mut self.snapshot.requests, block, objects, |request| {
                    let number = request.number;
                    request_from_proto(request).map(|request| (number, request))
                })?;
            }
            ShardKind::Actions => {
                let objects = stored::ActionShard::decode(bytes)?.objects;
                put_all(&mut self.snapshot.actions, block, objects, |action| {
                    let number = action.number;
                    action_from_proto(action).map(|action| (number, action))
                })?;
            }
        }
        Ok(())
    }

    fn add_meta(&mut self, meta: stored::MetaShard) -> Result<(), DecodeError> {
        check_format(meta.format)?;
        self.has_meta = true;
        self.snapshot.meta = Meta {
            now: Timestamp(meta.now_ms),
            cluster_version: meta.cluster_version,
            next_run: meta.next_run_id,
            next_workflow: meta.next_workflow_id,
            next_version: meta.next_version_id,
            next_worker: meta.next_worker_id,
            next_action: meta.actions.wrapping_add(1),
            next_namespace: meta.namespaces_ever.saturating_add(1),
            pruned_before: LogIndex(meta.pruned_before_index),
        };
        Ok(())
    }

    fn add_runs(&mut self, block: u64, shard: stored::RunShard) -> Result<(), DecodeError> {
        let versions = &self.snapshot.versions;
        put_all(&mut self.snapshot.runs, block, shard.objects, |run| {
            let version = versions.get(run.version_id).cloned();
            let run: Run = run_from_proto(run, required("version_id", version)?)?;
            Ok((run.id.0, run))
        })
    }
}

/// Refuses a format that is newer than what can be read, and the absence of one.
pub(in crate::convert) fn check_format(format: u32) -> Result<(), DecodeError> {
    match format {
        0 => Err(DecodeError::missing("format")),
        format if format > FORMAT_VERSION => {
            Err(DecodeError::UnknownFormat { format, known: FORMAT_VERSION })
        }
        _ => Ok(()),
    }
}

/// Puts the objects of one block into their map, each under its number.
fn put_all<M, V>(
    map: &mut BlockMap<V>,
    block: u64,
    objects: Vec<M>,
    from_message: impl Fn(M) -> Result<(u64, V), DecodeError>,
) -> Result<(), DecodeError> {
    for (position, object) in objects.into_iter().enumerate() {
        let (number, object) = from_message(object).within_element("objects", position)?;
        let misplaced = |problem| DecodeError::invalid(&format!("objects[{position}]"), problem);
        if number / BLOCK_LEN != block {
            return Err(misplaced("belongs to another shard"));
        }
        if map.insert(number, Arc::new(object)).is_some() {
            return Err(misplaced("has a number that was taken before"));
        }
    }
    Ok(())
}
