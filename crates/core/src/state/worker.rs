//! Workers as the state knows them. When a lease began and what a worker is busy with are the leader's, in memory, and
//! never here.

use std::collections::BTreeMap;

use crate::ids::{Text, WorkerId};
use crate::spec::{Request, Resources};
use crate::time::{Millis, Timestamp};

/// One registration of a worker process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Worker {
    /// Its number; never used again.
    pub id: WorkerId,
    /// The name it gave itself. A restarted worker comes back under the same name and another id.
    pub name: Text,
    /// Drawn at random when its process started.
    pub incarnation: u64,
    /// Facts it states.
    pub labels: BTreeMap<Text, Text>,
    /// The pool it serves; none means tasks without a pool.
    pub pool: Option<Text>,
    /// What it offers.
    pub capacity: Resources,
    /// The longest lease that this process was ever granted: so long a leader must wait before it gives it up, whatever
    /// it would grant itself. It never shrinks, for the grant of a shorter one may not have arrived.
    pub lease: Millis,
    /// Its state.
    pub status: WorkerStatus,
    /// When it registered.
    pub registered_at: Timestamp,
}

/// The state of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WorkerStatus {
    /// Takes attempts.
    Active,
    /// Finishes what it has and takes nothing new.
    Draining,
    /// Declared gone, since when; never comes back under this id.
    Lost {
        /// When.
        at: Timestamp,
    },
}

impl WorkerStatus {
    /// The word people see.
    pub fn word(self) -> &'static str {
        match self {
            WorkerStatus::Active => "active",
            WorkerStatus::Draining => "draining",
            WorkerStatus::Lost { .. } => "lost",
        }
    }
}

impl Worker {
    /// Whether the worker's pool and labels satisfy `request`, capacity aside.
    pub fn matches(&self, request: &Request) -> bool {
        self.pool == request.pool
            && request.selector.iter().all(|(key, value)| self.labels.get(key) == Some(value))
    }
}

impl Resources {
    /// How many times `part` fits into `self`. `u32::MAX` if `part` is nothing.
    pub fn fits(&self, part: &Resources) -> u32 {
        let mut times = u64::from(u32::MAX);
        let mut consider = |have: u64, need: u64| {
            if let Some(share) = have.checked_div(need) {
                times = times.min(share);
            }
        };
        consider(self.cpu_millis, part.cpu_millis);
        consider(self.memory_bytes, part.memory_bytes);
        for (name, need) in &part.custom {
            consider(self.custom.get(name).copied().unwrap_or(0), *need);
        }
        times as u32
    }

    /// Adds `part` `times` times, saturating. A custom quantity of zero leaves no trace.
    pub fn add(&mut self, part: &Resources, times: u32) {
        let times = u64::from(times);
        self.cpu_millis = self.cpu_millis.saturating_add(part.cpu_millis.saturating_mul(times));
        self.memory_bytes =
            self.memory_bytes.saturating_add(part.memory_bytes.saturating_mul(times));
        for (name, amount) in part.custom.iter().filter(|(_, amount)| **amount > 0) {
            let held = self.custom.entry(name.clone()).or_default();
            *held = held.saturating_add(amount.saturating_mul(times));
        }
    }

    /// Takes `part` away `times` times, stopping at zero. A custom quantity that reaches zero is dropped.
    pub fn sub(&mut self, part: &Resources, times: u32) {
        let times = u64::from(times);
        self.cpu_millis = self.cpu_millis.saturating_sub(part.cpu_millis.saturating_mul(times));
        self.memory_bytes =
            self.memory_bytes.saturating_sub(part.memory_bytes.saturating_mul(times));
        for (name, amount) in &part.custom {
            if let Some(held) = self.custom.get_mut(name) {
                *held = held.saturating_sub(amount.saturating_mul(times));
            }
        }
        self.custom.retain(|_, held| *held > 0);
    }

    /// What is left of `self` when `used` is taken.
    pub fn minus(&self, used: &Resources) -> Resources {
        let mut custom = self.custom.clone();
        for (name, amount) in &used.custom {
            if let Some(held) = custom.get_mut(name) {
                *held = held.saturating_sub(*amount);
            }
        }
        Resources {
            cpu_millis: self.cpu_millis.saturating_sub(used.cpu_millis),
            memory_bytes: self.memory_bytes.saturating_sub(used.memory_bytes),
            custom,
        }
    }
}
