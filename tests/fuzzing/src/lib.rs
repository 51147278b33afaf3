//! What the fuzzers check: one function a target, from any bytes to a panic if a promise is broken.
//!
//! ```text
//!  fuzz/targets/NAME.rs ──► libFuzzer, which looks for new bytes ─────┐
//!                                                                     ├──► check(bytes)
//!  tests/corpus/NAME/*  ──► `cargo test`: each file, and mutations ───┘
//! ```
//!
//! A target refuses most bytes and says nothing about them but that they were refused in time. What is accepted must
//! keep what the product promises of it.

mod bytes;
mod entry;
mod log;
pub mod mutate;
mod replicas;
mod request;
mod scene;
mod schedule;
mod snapshot;
mod steps;
mod text;
mod workflow;

pub use self::bytes::{Cursor, frame};
pub use self::log::tolerate_refusals;
pub use self::replicas::Replicas;
pub use self::scene::scene;
pub use self::snapshot::shards_to_bytes;

/// Something to fuzz.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// As its folder in `tests/corpus` and its file in `fuzz/targets` are called.
    pub name: &'static str,
    /// Panics if the bytes break a promise.
    pub check: fn(&[u8]),
}

/// Entries as a master decodes them from the log, applied to a state in which much is going on.
pub const ENTRY: Target = Target { name: "entry", check: entry::check };
/// A damaged log file: it is refused, or it gives what was written.
pub const LOG: Target = Target { name: "log", check: log::check };
/// Messages of the API as they come from the wire.
pub const REQUEST: Target = Target { name: "request", check: request::check };
/// Schedules: cron lines, intervals and single times, with all that can be said of them.
pub const SCHEDULE: Target = Target { name: "schedule", check: schedule::check };
/// Shards of a snapshot.
pub const SNAPSHOT: Target = Target { name: "snapshot", check: snapshot::check };
/// Commands that aim at what is there, so that they go far.
pub const STEPS: Target = Target { name: "steps", check: steps::check };
/// Small texts: names, durations, quantities, templates, names of shards.
pub const TEXT: Target = Target { name: "text", check: text::check };
/// Workflow files.
pub const WORKFLOW: Target = Target { name: "workflow", check: workflow::check };

/// All of them.
pub const TARGETS: [Target; 8] = [ENTRY, LOG, REQUEST, SCHEDULE, SNAPSHOT, STEPS, TEXT, WORKFLOW];
