//! Snapshots: a manifest that names shard files by the hash of their content.
//!
//! ```text
//!  snapshots/
//!    00000000000000050000.manifest ──► shard 0: 3fa9… ──► 3fa9….shard
//!                                      shard 1: 77c0… ──► 77c0….shard   (unchanged since the last snapshot: kept)
//!                                      …
//! ```
//!
//! Shards are written and synced first, then the manifest is renamed into place and the folder synced: a snapshot
//! exists once its manifest does. A shard file that no manifest names is garbage and deleted. Installing on another
//! master ships the manifest and only the shards it lacks.

mod files;

use bytes::Bytes;
use muster_proto::internal::v1 as pb;

pub(crate) use files::SnapshotFiles;

use crate::types::{LogId, SnapshotMeta, StoredMembership};
use crate::wire::{self, Malformed};

/// SHA-256 of a shard's content.
pub(crate) type Hash = [u8; 32];

/// What a snapshot consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) last_log_id: Option<LogId>,
    pub(crate) membership: StoredMembership,
    pub(crate) shards: Vec<ShardFile>,
}

/// One shard of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ShardFile {
    pub(crate) id: u64,
    pub(crate) sha256: Hash,
    pub(crate) size_bytes: u64,
}

impl Manifest {
    pub(crate) fn index(&self) -> u64 {
        self.last_log_id.map_or(0, |id| id.index)
    }

    pub(crate) fn meta(&self) -> SnapshotMeta {
        SnapshotMeta { last_log_id: self.last_log_id, last_membership: self.membership.clone() }
    }

    pub(crate) fn to_message(&self) -> pb::SnapshotManifest {
        pb::SnapshotManifest {
            last_log_id: self.last_log_id.as_ref().map(wire::log_id_out),
            membership: Some(wire::stored_membership_out(&self.membership)),
            shards: self
                .shards
                .iter()
                .map(|shard| pb::SnapshotShard {
                    id: shard.id,
                    sha256: Bytes::copy_from_slice(&shard.sha256),
                    size_bytes: shard.size_bytes,
                })
                .collect(),
        }
    }

    pub(crate) fn from_message(message: pb::SnapshotManifest) -> Result<Self, Malformed> {
        let membership = message.membership.ok_or(Malformed("a snapshot without membership"))?;
        let shards = message.shards.iter().map(|shard| {
            Ok(ShardFile {
                id: shard.id,
                sha256: hash_in(&shard.sha256)?,
                size_bytes: shard.size_bytes,
            })
        });
        Ok(Self {
            last_log_id: message.last_log_id.as_ref().map(wire::log_id_in),
            membership: wire::stored_membership_in(membership)?,
            shards: shards.collect::<Result<_, _>>()?,
        })
    }
}

pub(crate) fn hash_in(bytes: &[u8]) -> Result<Hash, Malformed> {
    bytes.try_into().map_err(|_| Malformed("a hash that is not 32 bytes long"))
}

/// A snapshot whose shards are on this disk. Its files stay as long as this value lives.
#[derive(Clone, Debug)]
pub struct SnapshotHandle {
    pub(crate) manifest: std::sync::Arc<Manifest>,
    pub(crate) files: std::sync::Arc<SnapshotFiles>,
}
