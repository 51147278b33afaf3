//! Namespaces that were applied. One that was not is there as well, as soon as somebody uses it: with weight 1, and
//! without a quota.

use super::{State, Usage};
use crate::ids::Name;
use crate::mutant::{self, Mutant};
use crate::spec::Resources;
use crate::spec::namespace::{NamespaceSpec, Quota};
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

    /// How many more attempts that take `part` the quota of a namespace lets be live.
    pub(crate) fn quota_room(&self, name: &Name, part: &Resources) -> u32 {
        let Some(quota) = self.quota_of(name) else { return u32::MAX };
        match self.used_by(name) {
            Some(usage) => quota.room(usage, part),
            None => quota.room(&Usage::default(), part),
        }
    }
}
