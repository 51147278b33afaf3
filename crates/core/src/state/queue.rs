//! The ready tasks, grouped by what they ask for, each group in the order it is served. A task whose `maxParallel` lets
//! no further index be live is not among them.
//!
//! Derived from the task states. A million ready tasks of which none can be placed cost the planner one look a group.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ids::{RunId, TaskIndex};
use crate::spec::Request;

/// The order of ready tasks: larger priority first, then older run, then file order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadyKey {
    /// Larger first.
    pub priority: Reverse<i32>,
    /// Older first.
    pub run: RunId,
    /// Earlier in the file first.
    pub task: TaskIndex,
}

/// Ready tasks of one request, with the number of indices of each that may be placed.
pub type ReadyGroup = BTreeMap<ReadyKey, u32>;

/// See the module documentation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadyQueue {
    groups: BTreeMap<Arc<Request>, ReadyGroup>,
}

impl ReadyQueue {
    /// The groups.
    pub fn groups(&self) -> impl Iterator<Item = (&Arc<Request>, &ReadyGroup)> {
        self.groups.iter()
    }

    /// How many tasks there are of which something may be placed.
    pub fn len(&self) -> usize {
        self.groups.values().map(BTreeMap::len).sum()
    }

    /// Whether nothing may be placed.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Records that `count` ready indices of a task may be placed.
    pub fn set(&mut self, request: &Arc<Request>, key: ReadyKey, count: u32) {
        if count > 0 {
            match self.groups.get_mut(request) {
                Some(group) => group.insert(key, count),
                None => self.groups.entry(request.clone()).or_default().insert(key, count),
            };
            return;
        }
        if let Some(group) = self.groups.get_mut(request) {
            group.remove(&key);
            if group.is_empty() {
                self.groups.remove(request);
            }
        }
    }
}
