//! What the leader knows about workers beyond the replicated state: sessions and load. Lost with the leader.

use std::collections::BTreeMap;

use muster_core::ids::WorkerId;
use muster_core::time::Millis;

/// A run queue of this many thousandths a core counts as full: two wait for every core.
const RUN_QUEUE_FULL_MILLIS: u32 = 2000;

/// What the leader hears from the workers. A worker that is missing is not connected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveView {
    /// By worker.
    pub workers: BTreeMap<WorkerId, WorkerView>,
}

/// What the leader hears from one worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkerView {
    /// From its latest heartbeat.
    pub load: Load,
    /// Whether it has a live session. Only connected workers get placements.
    pub is_connected: bool,
    /// How long ago its latest heartbeat came.
    pub heartbeat_age: Millis,
}

/// How busy a machine is, all processes on it included. A total of zero means that the worker could not tell; it then
/// counts as idle in that respect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Busy thousandths of a core.
    pub cpu_busy_millis: u64,
    /// Thousandths of a core there are.
    pub cpu_total_millis: u64,
    /// Memory in use.
    pub memory_used_bytes: u64,
    /// Memory there is.
    pub memory_total_bytes: u64,
    /// Threads that could run, in thousandths a core: 1000 is one for every core.
    pub run_queue_millis: u32,
    /// Bytes sent and received a second.
    pub network_bytes_per_s: u64,
    /// Bytes a second that its network carries.
    pub network_capacity_bytes_per_s: u64,
}

impl Load {
    /// Busy share of the cpu, `0.0..=1.0`.
    pub(crate) fn cpu(&self) -> f64 {
        share(self.cpu_busy_millis, self.cpu_total_millis)
    }

    /// Used share of the memory, `0.0..=1.0`.
    pub(crate) fn memory(&self) -> f64 {
        share(self.memory_used_bytes, self.memory_total_bytes)
    }

    /// Share of a full run queue, `0.0..=1.0`.
    pub(crate) fn run_queue(&self) -> f64 {
        share(u64::from(self.run_queue_millis), u64::from(RUN_QUEUE_FULL_MILLIS))
    }

    /// Used share of the network, `0.0..=1.0`.
    pub(crate) fn network(&self) -> f64 {
        share(self.network_bytes_per_s, self.network_capacity_bytes_per_s)
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { (part as f64 / whole as f64).min(1.0) }
}
