//! The audit trail: who asked for what, when, and from where.
//!
//! Every command that a person or a program asks for, and that was carried out, leaves one [`Action`]; but for those
//! that make a run, which carries its asker itself ([`Run::asked_by`](super::run::Run::asked_by)), and an apply of what
//! is applied already. Commands that were refused, or answered from their request id, leave none.

use std::sync::Arc;

use super::block_map::BlockMap;
use crate::ids::{Name, RunId, Text};
use crate::limits;
use crate::time::Timestamp;

/// Who asked for something. What is said here is not authenticated.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Asker {
    /// As the caller names itself, by habit `user@host`; empty if it does not.
    pub who: Text,
    /// The address that it called from, as the master saw it that was called.
    pub from: Text,
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Deed {
    /// A version of a workflow was applied.
    Apply,
    /// A run was told to end.
    Cancel,
    /// A run was paused.
    Pause,
    /// A run, or a schedule, goes on.
    Resume,
    /// A run has another priority.
    Prioritize,
    /// A task counts as succeeded.
    Succeed,
    /// A task is skipped.
    Skip,
    /// A task was told to end.
    CancelTask,
    /// An approval was given.
    Approve,
    /// An approval was refused.
    Reject,
    /// A held task goes on, as failed or once more.
    Release,
    /// Tasks of a live run run again.
    Rerun,
    /// A schedule was switched off.
    Suspend,
    /// A worker gets nothing new.
    Drain,
    /// A worker was taken back.
    Undrain,
}

/// One line of the trail.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Action {
    /// The log's time.
    pub at: Timestamp,
    /// Who asked.
    pub by: Asker,
    /// For what.
    pub deed: Deed,
    /// The namespace of what it was done to; `None` for workers, which belong to the cluster.
    pub namespace: Option<Name>,
    /// What it was done to, as people write it: `etl/42`, `etl/42/load`, `etl`, `etl/nightly`, or a worker's name.
    pub subject: Text,
    /// The run that it was done to, or the run of the task.
    pub run: Option<RunId>,
    /// More about it, such as a reason in the person's words; at most [`limits::REASON_BYTES_MAX`] bytes. May be empty.
    pub detail: Text,
}

/// The latest actions, oldest first: at most [`limits::ACTIONS_MAX`], for at most [`limits::ACTION_RETENTION`].
#[derive(Clone, Debug, Default)]
pub struct Trail {
    actions: BlockMap<Action>,
    /// Derived: the number of the oldest.
    oldest: u64,
}

impl Trail {
    /// The actions as they are kept, by number. Numbers ascend with time.
    pub fn actions(&self) -> &BlockMap<Action> {
        &self.actions
    }

    /// Rebuilds from a snapshot.
    pub(crate) fn restore(actions: BlockMap<Action>) -> Self {
        let oldest = actions.iter_below(u64::MAX).last().map_or(0, |(number, _)| number);
        Trail { actions, oldest }
    }

    /// Whether the numbers follow each other by age, up to the one before `next`, which is at most `bound`.
    pub(crate) fn is_well_formed(&self, next: u64, bound: u64) -> bool {
        let ascends = self.actions.iter().is_sorted_by_key(|action| action.at);
        let len = self.actions.len() as u64;
        let is_whole = self.actions.is_empty() || next.checked_sub(self.oldest) == Some(len);
        is_whole && ascends && next <= bound && len <= limits::ACTIONS_MAX as u64
    }

    /// Adds an action under the number that follows the one before.
    pub(crate) fn add(&mut self, number: u64, action: Action) {
        if self.actions.is_empty() {
            self.oldest = number;
        }
        if self.actions.len() >= limits::ACTIONS_MAX {
            self.forget_oldest();
        }
        self.actions.insert(number, Arc::new(action));
    }

    /// Forgets what is older than the retention.
    pub(crate) fn expire(&mut self, now: Timestamp) {
        while let Some(oldest) = self.actions.get(self.oldest)
            && now.since(oldest.at) > limits::ACTION_RETENTION
        {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        self.actions.remove(self.oldest);
        self.oldest += 1;
    }
}
