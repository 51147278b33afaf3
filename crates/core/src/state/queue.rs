//! The ready tasks, by namespace and by what they ask for, each group in the order it is served. A task whose
//! `maxParallel` lets no further index be live is not among them.
//!
//! Derived from the task states. A million ready tasks of which none can be placed cost the planner one look a group.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::run::Run;
use crate::ids::{Name, RunId, TaskIndex};
use crate::spec::Request;

/// A step of priority is worth so many milliseconds of waiting: a task of priority 5 is served as if its run had been
/// submitted five minutes earlier. So priority orders what came at about the same time, and nobody waits for ever: what
/// comes more than the difference of priorities in minutes later never overtakes.
pub const PRIORITY_STEP_MS: i64 = 60_000;

/// The order of ready tasks of one namespace: earlier turn first, then older run, then file order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadyKey {
    /// When the run was submitted, in milliseconds of the log's clock, less [`PRIORITY_STEP_MS`] for each step of the
    /// task's priority.
    pub turn: i64,
    /// Older first.
    pub run: RunId,
    /// Earlier in the file first.
    pub task: TaskIndex,
}

impl ReadyKey {
    /// The key of a task.
    pub fn of(run: &Run, task: TaskIndex) -> Self {
        let submitted = i64::try_from(run.submitted_at.0).unwrap_or(i64::MAX);
        let head_start = i64::from(run.task_priority(task)).saturating_mul(PRIORITY_STEP_MS);
        ReadyKey { turn: submitted.saturating_sub(head_start), run: run.id, task }
    }
}

/// Ready tasks of one namespace and request, with the number of indices of each that may be placed.
pub type ReadyGroup = BTreeMap<ReadyKey, u32>;

/// See the module documentation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadyQueue {
    namespaces: BTreeMap<Name, BTreeMap<Arc<Request>, ReadyGroup>>,
}

impl ReadyQueue {
    /// The groups of each namespace that has any.
    pub fn namespaces(
        &self,
    ) -> impl Iterator<Item = (&Name, impl Iterator<Item = (&Arc<Request>, &ReadyGroup)>)> {
        self.namespaces.iter().map(|(namespace, groups)| (namespace, groups.iter()))
    }

    /// All groups.
    pub fn groups(&self) -> impl Iterator<Item = (&Arc<Request>, &ReadyGroup)> {
        self.namespaces.values().flatten()
    }

    /// The group of a namespace with this request.
    pub fn group(&self, namespace: &Name, request: &Request) -> Option<&ReadyGroup> {
        self.namespaces.get(namespace)?.get(request)
    }

    /// How many tasks there are of which something may be placed.
    pub fn len(&self) -> usize {
        self.groups().map(|(_, group)| group.len()).sum()
    }

    /// How many of them a namespace has.
    pub fn len_of(&self, namespace: &Name) -> u64 {
        let groups = self.namespaces.get(namespace).into_iter().flat_map(BTreeMap::values);
        groups.map(|group| group.len() as u64).sum()
    }

    /// How many of them name each concurrency group of a namespace, where any does. Costs a look at each request.
    pub fn len_by_group(&self, namespace: &Name) -> BTreeMap<Name, u64> {
        let mut ready = BTreeMap::new();
        for (request, group) in self.namespaces.get(namespace).into_iter().flatten() {
            for name in &request.groups {
                *ready.entry(name.clone()).or_default() += group.len() as u64;
            }
        }
        ready
    }

    /// Whether nothing may be placed.
    pub fn is_empty(&self) -> bool {
        self.namespaces.is_empty()
    }

    /// Records that `count` ready indices of a task may be placed.
    pub fn set(&mut self, namespace: &Name, request: &Arc<Request>, key: ReadyKey, count: u32) {
        let groups = match self.namespaces.get_mut(namespace) {
            Some(groups) => groups,
            None if count == 0 => return,
            None => self.namespaces.entry(namespace.clone()).or_default(),
        };
        if count > 0 {
            match groups.get_mut(request) {
                Some(group) => group.insert(key, count),
                None => groups.entry(request.clone()).or_default().insert(key, count),
            };
            return;
        }
        if let Some(group) = groups.get_mut(request) {
            group.remove(&key);
            if group.is_empty() {
                groups.remove(request);
            }
        }
        if groups.is_empty() {
            self.namespaces.remove(namespace);
        }
    }
}
