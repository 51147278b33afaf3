//! When time alone changes something. Derived; may hold points that no longer matter, which are dropped when reached.

use std::collections::BTreeSet;

use crate::ids::{RunId, TaskIndex, WorkerId};
use crate::time::Timestamp;

/// What a deadline is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    /// A run's timeout.
    Run(RunId),
    /// The state of the cell that holds this index of a task.
    Cell(RunId, TaskIndex, u32),
    /// A lost worker's time to be forgotten.
    Worker(WorkerId),
}

/// See the module documentation.
#[derive(Clone, Debug, Default)]
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

    /// Whether this very deadline is known.
    pub(crate) fn contains(&self, at: Timestamp, due: Due) -> bool {
        self.0.contains(&(at, due))
    }
}
