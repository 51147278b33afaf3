//! When schedules fire next, over all workflows. Derived.

use std::collections::BTreeSet;

use super::State;
use super::workflow::{NextFire, Schedule};
use crate::time::Timestamp;

/// Names a schedule: the serial number of its workflow, and its position in the latest version.
pub type ScheduleKey = (u64, u32);

/// See the module documentation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fires {
    due: BTreeSet<(Timestamp, ScheduleKey)>,
    unknown: BTreeSet<ScheduleKey>,
}

impl Fires {
    /// The schedules that are due at `now`, those that have waited longest first.
    pub fn due(&self, now: Timestamp) -> impl Iterator<Item = ScheduleKey> {
        self.due.iter().take_while(move |(at, _)| *at <= now).map(|(_, key)| *key)
    }

    /// The schedules whose next fire time is to be worked out.
    pub fn unknown(&self) -> impl Iterator<Item = ScheduleKey> {
        self.unknown.iter().copied()
    }

    /// When the next one is due.
    pub fn next(&self) -> Option<Timestamp> {
        self.due.first().map(|(at, _)| *at)
    }

    fn insert(&mut self, key: ScheduleKey, next: NextFire) {
        match next {
            NextFire::Unknown => drop(self.unknown.insert(key)),
            NextFire::At { due_at, .. } => drop(self.due.insert((due_at, key))),
            NextFire::Never => {}
        }
    }

    fn remove(&mut self, key: ScheduleKey, next: NextFire) {
        match next {
            NextFire::Unknown => drop(self.unknown.remove(&key)),
            NextFire::At { due_at, .. } => drop(self.due.remove(&(due_at, key))),
            NextFire::Never => {}
        }
    }
}

impl State {
    /// Puts the schedules of a workflow's latest version in place of those it had.
    pub(crate) fn set_schedules(&mut self, workflow_id: u64, schedules: Vec<Schedule>) {
        let Some(workflow) = self.workflows.get_mut(workflow_id) else { return };
        let before = std::mem::replace(&mut workflow.schedules, schedules);
        for (position, schedule) in (0..).zip(&before) {
            self.fires.remove((workflow_id, position), schedule.next);
        }
        self.derive_fires_of(workflow_id);
    }

    pub(super) fn derive_fires(&mut self) {
        let ids: Vec<u64> = self.workflows.iter().map(|workflow| workflow.id).collect();
        ids.into_iter().for_each(|id| self.derive_fires_of(id));
    }

    fn derive_fires_of(&mut self, workflow_id: u64) {
        let Some(workflow) = self.workflows.get(workflow_id) else { return };
        let version = workflow.latest.and_then(|id| self.versions.get(id));
        let specs = version.map(|version| version.spec.schedules.as_slice()).unwrap_or_default();
        for ((position, schedule), spec) in (0..).zip(&workflow.schedules).zip(specs) {
            if !schedule.is_suspended && !spec.is_suspended {
                self.fires.insert((workflow_id, position), schedule.next);
            }
        }
    }
}
