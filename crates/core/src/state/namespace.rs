//! Namespaces that were applied. One that was not is there as well, as soon as somebody uses it: with weight 1, and
//! without a quota.

use std::collections::BTreeMap;

use super::{State, TaskKey, Usage};
use crate::ids::Name;
use crate::mutant::{self, Mutant};
use crate::spec::namespace::{NamespaceSpec, Quota};
use crate::spec::{Request, Resources};
use crate::time::Timestamp;

/// A namespace that was applied.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Namespace {
    /// Its serial number.
    pub id: u64,
    /// What was applied last.
    pub spec: NamespaceSpec,
    /// When that was.
    pub applied_at: Timestamp,
}

/// What of a quota bounds live attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum QuotaKind {
    /// [`Quota::tasks`].
    Tasks,
    /// [`Quota::cpu_millis`].
    Cpu,
    /// [`Quota::memory_bytes`].
    Memory,
}

/// What one bound of a quota says to an attempt that asks for something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaBound {
    /// Of what: the other numbers are in its unit.
    pub kind: QuotaKind,
    /// The most that there may be.
    pub most: u64,
    /// What there is.
    pub used: u64,
    /// What one more attempt takes; more than 0.
    pub needs: u64,
}

impl QuotaBound {
    /// How many more such attempts may be live.
    pub fn room(&self) -> u32 {
        let left = self.most.saturating_sub(self.used);
        u32::try_from(left.checked_div(self.needs).unwrap_or(u64::MAX)).unwrap_or(u32::MAX)
    }

    /// Whether not one such attempt could be live if nothing else were.
    pub fn is_lasting(&self) -> bool {
        self.needs > self.most
    }
}

/// What a concurrency group says to an attempt of a task that names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupBound<'a> {
    /// Its name.
    pub name: &'a Name,
    /// Most attempts of it that may be live; `None` if the namespace does not have the group.
    pub limit: Option<u32>,
    /// How many are.
    pub live: u32,
}

impl GroupBound<'_> {
    /// How many more attempts may be live: none of a group that the namespace does not have.
    pub fn room(&self) -> u32 {
        self.limit.unwrap_or(0).saturating_sub(self.live)
    }
}

impl Quota {
    /// The bounds that an attempt which takes `part` meets in a namespace that has `usage`.
    pub fn bounds(&self, usage: &Usage, part: &Resources) -> impl Iterator<Item = QuotaBound> {
        let (used, attempts) = (&usage.used, u64::from(usage.attempts));
        let bounds = [
            (QuotaKind::Tasks, self.tasks.map(u64::from), attempts, 1),
            (QuotaKind::Cpu, self.cpu_millis, used.cpu_millis, part.cpu_millis),
            (QuotaKind::Memory, self.memory_bytes, used.memory_bytes, part.memory_bytes),
        ];
        let bounds = bounds.into_iter().filter(|(.., needs)| *needs > 0);
        bounds.filter_map(|(kind, most, used, needs)| {
            most.map(|most| QuotaBound { kind, most, used, needs })
        })
    }

    /// How many more attempts that take `part` may be live in a namespace that has `usage`.
    pub fn room(&self, usage: &Usage, part: &Resources) -> u32 {
        self.bounds(usage, part).map(|bound| bound.room()).min().unwrap_or(u32::MAX)
    }
}

impl State {
    /// The namespace of this name, if it was applied.
    pub fn namespace(&self, name: &Name) -> Option<&Namespace> {
        self.namespaces.get(*self.namespace_by_name.get(name)?).map(|namespace| &**namespace)
    }

    /// All namespaces that were applied.
    pub fn namespaces(&self) -> impl Iterator<Item = &Namespace> {
        self.namespaces.iter().map(|namespace| &**namespace)
    }

    /// The names of all namespaces that were applied or that have a workflow, in order.
    pub fn namespace_names(&self) -> impl Iterator<Item = &Name> {
        let (mut applied, mut used) =
            (self.namespace_by_name.keys().peekable(), self.workflow_by_name.keys().peekable());
        std::iter::from_fn(move || {
            let first = match (applied.peek(), used.peek()) {
                (Some(one), Some(other)) => (*one).min(*other),
                (one, other) => *one.or(other)?,
            };
            applied.next_if_eq(&first);
            used.next_if_eq(&first);
            Some(first)
        })
    }

    /// How many workflows a namespace has.
    pub fn workflows_in(&self, name: &Name) -> u64 {
        self.workflow_by_name.get(name).map_or(0, |workflows| workflows.len() as u64)
    }

    /// The weight of a namespace beside others.
    pub fn weight_of(&self, name: &Name) -> u32 {
        self.namespace(name).map_or(1, |namespace| namespace.spec.weight)
    }

    /// The quota of a namespace, if it has one.
    pub fn quota_of(&self, name: &Name) -> Option<&Quota> {
        let quota = self.namespace(name).map(|namespace| &namespace.spec.quota);
        quota.filter(|_| !mutant::is_on(Mutant::QuotaUnchecked))
    }

    /// What a concurrency group of a namespace lets be live, if the namespace has it.
    pub fn group_limit(&self, namespace: &Name, group: &Name) -> Option<u32> {
        if mutant::is_on(Mutant::GroupUnchecked) {
            return Some(u32::MAX);
        }
        Some(self.namespace(namespace)?.spec.groups.get(group)?.limit)
    }

    /// The concurrency groups of a request in a namespace that has `usage`.
    pub fn group_bounds<'a>(
        &self,
        namespace: &Name,
        usage: &Usage,
        request: &'a Request,
    ) -> impl Iterator<Item = GroupBound<'a>> {
        request.groups.iter().map(move |name| {
            let live = usage.groups.get(name).copied().unwrap_or(0);
            GroupBound { name, limit: self.group_limit(namespace, name), live }
        })
    }

    /// How many more attempts with this request its concurrency groups let be live, in a namespace that has `usage`.
    pub fn group_room(&self, namespace: &Name, usage: &Usage, request: &Request) -> u32 {
        let bounds = self.group_bounds(namespace, usage, request);
        bounds.map(|bound| bound.room()).min().unwrap_or(u32::MAX)
    }

    /// The tasks with live attempts of a concurrency group, and how many each has. Costs a walk over all tasks with
    /// live attempts.
    pub fn group_holders(&self, namespace: &Name, group: &Name) -> BTreeMap<TaskKey, u32> {
        let mut holders = BTreeMap::new();
        for ((run_id, task), count) in self.held.values().flat_map(|holding| &holding.tasks) {
            let version = self.run(*run_id).map(|run| &run.version);
            let version = version.filter(|version| version.namespace == *namespace);
            let request = version.and_then(|version| version.request(*task));
            if request.is_some_and(|request| request.groups.contains(group)) {
                *holders.entry((*run_id, *task)).or_default() += count;
            }
        }
        holders
    }

    /// How many more attempts with this request the quota of a namespace lets be live, and how many its concurrency
    /// groups.
    pub(crate) fn limited_room(&self, namespace: &Name, request: &Request) -> (u32, u32) {
        let unused = Usage::default();
        let usage = self.used_by(namespace).unwrap_or(&unused);
        let quota = self.quota_of(namespace);
        let of_quota = quota.map_or(u32::MAX, |quota| quota.room(usage, &request.resources));
        (of_quota, self.group_room(namespace, usage, request))
    }
}
