//! What a file says about a namespace: its weight beside others, the most that it may have at once, and its concurrency
//! groups.

use std::collections::BTreeMap;
use std::fmt;

use super::quantity::AMOUNT_MAX;
use crate::ids::Name;
use crate::limits;

/// A namespace as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NamespaceSpec {
    /// Its name.
    pub name: Name,
    /// How many times as much of the cluster as a namespace of weight 1 it gets where both compete:
    /// `1..=`[`limits::WEIGHT_MAX`].
    pub weight: u32,
    /// The most that it may have.
    pub quota: Quota,
    /// Its concurrency groups; at most [`limits::GROUPS_MAX`].
    pub groups: BTreeMap<Name, GroupSpec>,
}

/// A concurrency group: what stands outside of the cluster and bears only so much, such as a database or a licence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GroupSpec {
    /// Most live attempts of all tasks that name it.
    pub limit: u32,
}

/// The most that a namespace may have at once. Of what is `None` there is no such bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Quota {
    /// Live runs, those that wait for earlier ones of their workflow included.
    pub runs: Option<u32>,
    /// Live attempts.
    pub tasks: Option<u32>,
    /// What live attempts hold, in thousandths of a core.
    pub cpu_millis: Option<u64>,
    /// What live attempts hold, in bytes.
    pub memory_bytes: Option<u64>,
}

impl NamespaceSpec {
    /// A namespace of which nothing is said but its name: as one that was never applied.
    pub fn new(name: Name) -> Self {
        NamespaceSpec { name, weight: 1, quota: Quota::default(), groups: BTreeMap::new() }
    }

    /// Whether it is within its bounds.
    pub fn check(&self) -> Result<(), NamespaceError> {
        if self.weight == 0 || self.weight > limits::WEIGHT_MAX {
            return Err(NamespaceError::Weight { found: self.weight });
        }
        if self.groups.len() > limits::GROUPS_MAX {
            return Err(NamespaceError::Groups { found: self.groups.len() });
        }
        let amounts = [("cpu", self.quota.cpu_millis), ("memory", self.quota.memory_bytes)];
        match amounts.into_iter().find(|(_, amount)| amount.is_some_and(|it| it > AMOUNT_MAX)) {
            Some((what, _)) => Err(NamespaceError::Amount { what }),
            None => Ok(()),
        }
    }
}

/// What is wrong with a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamespaceError {
    /// The weight is out of bounds.
    Weight {
        /// What was given.
        found: u32,
    },
    /// An amount of the quota is more than can be counted.
    Amount {
        /// Which.
        what: &'static str,
    },
    /// There are too many concurrency groups.
    Groups {
        /// How many were given.
        found: usize,
    },
}

impl fmt::Display for NamespaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NamespaceError::Weight { found } => {
                write!(f, "a weight is a number from 1 to {}, not {found}", limits::WEIGHT_MAX)
            }
            NamespaceError::Amount { what } => {
                write!(f, "the quota of {what} is more than Muster can count")
            }
            NamespaceError::Groups { found } => {
                let max = limits::GROUPS_MAX;
                write!(f, "{found} concurrency groups are too many; at most {max} are possible")
            }
        }
    }
}
