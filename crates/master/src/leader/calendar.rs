//! Firing schedules: what comes next is worked out here, and the log carries it.
//!
//! The state says which schedules are due and which have no next fire time yet. A decision is one command that names
//! what it was worked out from; if another came first, by this leader or by one before it, the state refuses it and it
//! is worked out again (I8). So nothing here needs to be remembered.
//!
//! Fire times are times of day, so the wall clock of the masters together says what is due, and not the log's time,
//! which would stay ahead for good if most clocks were once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use muster_calendar::Schedule;
use muster_core::command::{Command, FireSchedule};
use muster_core::limits;
use muster_core::mutant::{self, Mutant};
use muster_core::snapshot::digest_of;
use muster_core::spec::schedule::CatchUp;
use muster_core::state::workflow::{NextFire, WorkflowVersion};
use muster_core::state::{ScheduleKey, State};
use muster_core::time::Timestamp;
use tokio::time::Instant;

use crate::propose::NotDone;
use crate::replica::Replica;

/// The state is looked at this often at least.
const LOOK: Duration = Duration::from_millis(250);
/// A schedule about which the log did not take a decision is left alone for so long.
const PAUSE: Duration = Duration::from_millis(200);
/// A decision that is not in the log after so long is taken back as far as it can be, and worked out again: it was made
/// for another moment, and what was on time then may be late by now.
const DECISION_MAX: Duration = Duration::from_millis(500);
/// Most schedules that are decided about at once, and how many of them may be such that were never worked out.
const DECISIONS_MAX: usize = 256;
const UNKNOWN_MAX: usize = 128;
/// What is worked out in this time is decided first; the rest follows.
const ROUND: Duration = Duration::from_millis(50);
/// Most schedules that are kept as they were read.
const KEPT_MAX: usize = 20_000;

pub(super) async fn run(replica: Arc<Replica>) {
    let mut calendar = Calendar::default();
    loop {
        let changed = replica.cell.changed.notified();
        let now = replica.clock.calendar_now();
        let open = replica.cell.read(|state| calendar.open(state, now));
        if open.is_empty() {
            let next = replica.cell.read(|state| state.fires().next());
            // What is due and not open is left alone for a while.
            let wait = next.filter(|at| *at > now);
            let wait = wait.map_or(LOOK, |at| Duration::from_millis(at.since(now).0));
            let _look = tokio::time::timeout(wait.min(LOOK), changed).await;
            continue;
        }
        let decisions = calendar.decisions(open, now).await;
        let proposed = decisions.into_iter().map(|(key, decision)| decide(&replica, key, decision));
        for key in join_all(proposed).await.into_iter().flatten() {
            calendar.left_alone.insert(key, Instant::now() + PAUSE);
        }
    }
}

/// Proposes a decision. Returns the schedule if it was not carried out; then it is worked out anew.
async fn decide(
    replica: &Replica,
    key: ScheduleKey,
    decision: FireSchedule,
) -> Option<ScheduleKey> {
    let (workflow, missed) = (decision.workflow, decision.missed);
    let schedule = decision.schedule.clone();
    let command = Command::FireSchedule(decision);
    let proposed = tokio::time::timeout(DECISION_MAX, replica.proposer.propose(&command)).await;
    let Ok(proposed) = proposed else { return Some(key) };
    let name = || replica.cell.read(|state| name_of(state, workflow));
    match proposed {
        Ok(_) if missed > 0 => {
            tracing::warn!(workflow = name(), %schedule, missed, "fire times were missed");
            None
        }
        Ok(_) => None,
        Err(NotDone::Rejected(rejection)) => {
            tracing::debug!(workflow = name(), %schedule, %rejection, "a decision came too late");
            Some(key)
        }
        Err(NotDone::Uncommitted(_)) => Some(key),
    }
}

fn name_of(state: &State, workflow: u64) -> String {
    let workflow = state.workflows().get(workflow);
    workflow.map(|it| format!("{}/{}", it.namespace, it.name)).unwrap_or_default()
}

/// A schedule that is to be decided about, as the state has it.
struct Open {
    key: ScheduleKey,
    version: Arc<WorkflowVersion>,
    decided_until: Timestamp,
}

/// Schedules as they were read, so that a schedule of every second is not read every second.
#[derive(Default)]
struct Calendar {
    /// By version and position; `None` if this master cannot read it.
    read: BTreeMap<(u64, u32), Option<Arc<Schedule>>>,
    /// Until when.
    left_alone: BTreeMap<ScheduleKey, Instant>,
}

impl Calendar {
    /// The schedules that are due or not worked out. Cheap, for meanwhile nothing is applied.
    fn open(&mut self, state: &State, now: Timestamp) -> Vec<Open> {
        self.left_alone.retain(|_, until| *until > Instant::now());
        let is_free = |key: &ScheduleKey| !self.left_alone.contains_key(key);
        let open = |key: ScheduleKey| {
            let workflow = state.workflows().get(key.0)?;
            let version = state.version(workflow.latest?)?.clone();
            let decided_until = workflow.schedules.get(key.1 as usize)?.decided_until;
            let is_unreadable = matches!(self.read.get(&(version.id, key.1)), Some(None));
            (!is_unreadable).then_some(Open { key, version, decided_until })
        };
        let fires = state.fires();
        // What cannot be read takes the place of nothing that can.
        let unknown = fires.unknown().filter(is_free).filter_map(open).take(UNKNOWN_MAX);
        let due = fires.due(now).filter(is_free).filter_map(open);
        unknown.chain(due).take(DECISIONS_MAX).collect()
    }

    /// What becomes of them, as far as that is worked out in a round.
    async fn decisions(
        &mut self,
        open: Vec<Open>,
        now: Timestamp,
    ) -> Vec<(ScheduleKey, FireSchedule)> {
        let end = Instant::now() + ROUND;
        let mut decisions = Vec::with_capacity(open.len());
        for open in open {
            decisions.extend(self.decision(&open, now).map(|decision| (open.key, decision)));
            if Instant::now() >= end {
                break;
            }
            tokio::task::yield_now().await;
        }
        decisions
    }

    fn decision(&mut self, open: &Open, now: Timestamp) -> Option<FireSchedule> {
        let Open { key, version, decided_until } = open;
        let schedule = self.schedule(version, key.1)?;
        let name = &version.spec.schedules.get(key.1 as usize)?.name;
        let path = format!("{}/{}/{name}", version.namespace, version.workflow);
        let spread = digest_of(path.as_bytes());
        let mut due = schedule.due(spread, *decided_until, now);
        if mutant::is_on(Mutant::FireForgotten) && due.fire.len() > 1 {
            due.fire.drain(1..);
        }
        let most = (limits::FIRED_TASKS_MAX / version.spec.tasks.len().max(1))
            .min(limits::FIRES_PER_COMMAND_MAX);
        if let Some(first_left) = due.fire.get(most).copied() {
            // The rest is due still, once this is decided.
            due.fire.truncate(most);
            due.until = *due.fire.last()?;
            due.next = Some((first_left, first_left));
        }
        Some(FireSchedule {
            workflow: key.0,
            version: version.id,
            schedule: name.clone(),
            after: *decided_until,
            until: due.until,
            fire_times: due.fire,
            missed: due.missed,
            next: due
                .next
                .map_or(NextFire::Never, |(fire_time, due_at)| NextFire::At { fire_time, due_at }),
        })
    }

    fn schedule(&mut self, version: &WorkflowVersion, position: u32) -> Option<Arc<Schedule>> {
        if let Some(known) = self.read.get(&(version.id, position)) {
            return known.clone();
        }
        if self.read.len() >= KEPT_MAX {
            self.read.clear();
        }
        let mut spec = version.spec.schedules.get(position as usize)?.clone();
        if mutant::is_on(Mutant::CatchUpIgnored) {
            (spec.catch_up, spec.catch_up_max) = (CatchUp::All, limits::CATCH_UP_MAX);
        }
        let read = match Schedule::new(&spec) {
            Ok(schedule) => Some(Arc::new(schedule)),
            Err(error) => {
                let name = format!("{}/{}", version.namespace, version.workflow);
                tracing::error!(workflow = name, %error, "this master cannot read a schedule");
                None
            }
        };
        self.read.insert((version.id, position), read.clone());
        read
    }
}
