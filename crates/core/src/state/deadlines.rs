//! When time alone changes something. Derived, and exact: a replica that rebuilt it goes through the same deadlines in
//! the same order as one that did not.

use std::collections::BTreeSet;

use crate::ids::{RunId, TaskIndex, WorkerId};
use crate::time::Timestamp;

/// What a deadline is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    /// A run's timeout.
    Run(RunId),
    /// The state of the cell that starts at this index of a task.
    Cell(RunId, TaskIndex, u32),
    /// A lost worker's time to be forgotten.
    Worker(WorkerId),
}

/// See the module documentation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Deadlines(BTreeSet<(Timestamp, Due)>);

impl Deadlines {
    /// The earliest deadline.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.0.first().map(|(at, _)| *at)
    }

    /// Takes out one deadline that is not after `now`.
    pub(crate) fn pop(&mut self, now: Timestamp) -> Option<(Timestamp, Due)> {
        let first = self.0.first().filter(|(at, _)| *at <= now)?;
        let first = *first;
        self.0.remove(&first);
        Some(first)
    }

    pub(crate) fn insert(&mut self, at: Timestamp, due: Due) {
        self.0.insert((at, due));
    }

    pub(crate) fn remove(&mut self, at: Timestamp, due: Due) {
        self.0.remove(&(at, due));
    }
}
