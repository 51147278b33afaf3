//! The core's types as protobuf messages, and back.
//!
//! ```text
//!  core type ──► message ──► bytes     total: every value has an encoding, and equal values have equal bytes
//!  bytes ──► message ──► core type     total on any bytes: a value or a DecodeError, in time linear in the bytes
//! ```
//!
//! Nothing is guessed on the way back: an unknown or unspecified enum value and a missing field are errors that name
//! the field.

mod attempts;
mod decisions;
mod error;
mod fan_out;
mod history;
mod log;
mod namespace;
mod operate;
mod read;
mod retry;
mod schedule;
mod snapshot;
mod spec;
mod trail;
mod trigger;
mod webhook;

pub use error::{DecodeError, Problem};
pub use history::{decode_ended_run, encode_ended_run};
pub use log::{assemble_entry, decode_command, decode_entry, encode_command, encode_entry};
pub use namespace::{namespace_from_proto, namespace_to_proto};
pub use read::{Within, name, required, text_map, texts};
pub use schedule::{schedule_from_proto, schedule_to_proto};
pub use snapshot::{
    ParseShardIdError, ShardId, ShardKind, SnapshotBuilder, decode_snapshot, encode_shard, shards,
};
pub use spec::{
    executor_from_proto, executor_to_proto, hook_to_proto, request_from_proto, request_to_proto,
    resources_from_proto, resources_to_proto, spec_from_proto, spec_to_proto, task_from_proto,
    task_to_proto,
};
pub use trigger::{trigger_from_proto, trigger_to_proto};
