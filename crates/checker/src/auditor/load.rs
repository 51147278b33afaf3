//! What workers have given and namespaces have taken, summed up apart from the core: exactly, without saturation.

use std::collections::BTreeMap;

use muster_core::ids::{Name, RunId, TaskIndex, Text, WorkerId};
use muster_core::spec::namespace::Quota;
use muster_core::spec::{Request, Resources};
use muster_core::state::Usage;

/// An amount of everything that is counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Load {
    cpu_millis: u128,
    memory_bytes: u128,
    custom: BTreeMap<Text, u128>,
}

impl Load {
    pub(super) fn add(&mut self, part: &Resources, times: u32) {
        let times = u128::from(times);
        self.cpu_millis += u128::from(part.cpu_millis) * times;
        self.memory_bytes += u128::from(part.memory_bytes) * times;
        for (name, amount) in part.custom.iter().filter(|(_, amount)| **amount > 0) {
            *self.custom.entry(name.clone()).or_default() += u128::from(*amount) * times;
        }
    }

    fn sub(&mut self, part: &Resources, times: u32) {
        let times = u128::from(times);
        self.cpu_millis = self.cpu_millis.saturating_sub(u128::from(part.cpu_millis) * times);
        self.memory_bytes = self.memory_bytes.saturating_sub(u128::from(part.memory_bytes) * times);
        for (name, amount) in &part.custom {
            if let Some(held) = self.custom.get_mut(name) {
                *held = held.saturating_sub(u128::from(*amount) * times);
            }
        }
        self.custom.retain(|_, held| *held > 0);
    }

    /// Whether a worker with this capacity can give it.
    pub(super) fn is_within(&self, capacity: &Resources) -> bool {
        let has = |name: &Text| u128::from(capacity.custom.get(name).copied().unwrap_or_default());
        self.cpu_millis <= u128::from(capacity.cpu_millis)
            && self.memory_bytes <= u128::from(capacity.memory_bytes)
            && self.custom.iter().all(|(name, amount)| *amount <= has(name))
    }

    /// Whether a counter of the core says the same.
    pub(super) fn is(&self, counted: &Resources) -> bool {
        let custom: BTreeMap<Text, u128> = counted
            .custom
            .iter()
            .map(|(name, amount)| (name.clone(), u128::from(*amount)))
            .collect();
        self.cpu_millis == u128::from(counted.cpu_millis)
            && self.memory_bytes == u128::from(counted.memory_bytes)
            && self.custom == custom
    }
}

/// What one worker holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Holding {
    pub(super) load: Load,
    /// Its tasks, with the number of live attempts of each.
    pub(super) tasks: BTreeMap<(RunId, TaskIndex), u32>,
}

/// What all workers hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Holdings(BTreeMap<WorkerId, Holding>);

impl Holdings {
    pub(super) fn of(&self, worker: WorkerId) -> Option<&Holding> {
        self.0.get(&worker)
    }

    pub(super) fn take(
        &mut self,
        worker: WorkerId,
        task: (RunId, TaskIndex),
        part: &Resources,
        count: u32,
    ) {
        let holding = self.0.entry(worker).or_default();
        holding.load.add(part, count);
        *holding.tasks.entry(task).or_default() += count;
    }

    pub(super) fn give_back(
        &mut self,
        worker: WorkerId,
        task: (RunId, TaskIndex),
        part: &Resources,
        count: u32,
    ) {
        let Some(holding) = self.0.get_mut(&worker) else { return };
        holding.load.sub(part, count);
        if let Some(held) = holding.tasks.get_mut(&task) {
            *held = held.saturating_sub(count);
            if *held == 0 {
                holding.tasks.remove(&task);
            }
        }
        if holding.tasks.is_empty() {
            self.0.remove(&worker);
        }
    }
}

/// What the live attempts of one namespace take.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Taking {
    load: Load,
    attempts: u64,
    /// Those of each concurrency group that has any.
    groups: BTreeMap<Name, u64>,
}

impl Taking {
    pub(super) fn add(&mut self, request: &Request, count: u32) {
        self.load.add(&request.resources, count);
        self.attempts += u64::from(count);
        for group in &request.groups {
            *self.groups.entry(group.clone()).or_default() += u64::from(count);
        }
    }

    fn sub(&mut self, request: &Request, count: u32) {
        self.load.sub(&request.resources, count);
        self.attempts = self.attempts.saturating_sub(u64::from(count));
        for group in &request.groups {
            if let Some(live) = self.groups.get_mut(group) {
                *live = live.saturating_sub(u64::from(count));
            }
        }
        self.groups.retain(|_, live| *live > 0);
    }

    /// How many live attempts are of a concurrency group.
    pub(super) fn of_group(&self, group: &Name) -> u64 {
        self.groups.get(group).copied().unwrap_or_default()
    }

    /// Whether a quota lets it be, as far as attempts that take `part` add to it.
    pub(super) fn is_within(&self, quota: &Quota, part: &Resources) -> bool {
        let holds = |most: Option<u64>, is: u128, adds: u64| {
            adds == 0 || most.is_none_or(|most| is <= u128::from(most))
        };
        holds(quota.tasks.map(u64::from), u128::from(self.attempts), 1)
            && holds(quota.cpu_millis, self.load.cpu_millis, part.cpu_millis)
            && holds(quota.memory_bytes, self.load.memory_bytes, part.memory_bytes)
    }

    /// Whether counters of the core say the same.
    pub(super) fn is(&self, counted: &Usage) -> bool {
        let groups = counted.groups.iter().map(|(name, live)| (name, u64::from(*live)));
        self.load.is(&counted.used)
            && self.attempts == u64::from(counted.attempts)
            && self.groups.iter().map(|(name, live)| (name, *live)).eq(groups)
    }
}

/// What all namespaces take.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Takings(BTreeMap<Name, Taking>);

impl Takings {
    pub(super) fn of(&self, namespace: &Name) -> Taking {
        self.0.get(namespace).cloned().unwrap_or_default()
    }

    pub(super) fn take(&mut self, namespace: &Name, request: &Request, count: u32) {
        self.0.entry(namespace.clone()).or_default().add(request, count);
    }

    pub(super) fn give_back(&mut self, namespace: &Name, request: &Request, count: u32) {
        let Some(taking) = self.0.get_mut(namespace) else { return };
        taking.sub(request, count);
        if taking.attempts == 0 {
            self.0.remove(namespace);
        }
    }
}
