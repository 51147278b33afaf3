//! Firing schedules: what comes next is worked out here, and the log carries it.
//!
//! The state says which schedules are due and which have no next fire time yet. A decision is one command that names
//! what it was worked out from; if another came first, by this leader or by one before it, the state refuses it and it
//! is worked out again (I8). So nothing here needs to be remembered.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use muster_calendar::Schedule;
use muster_core::command::{Command, FireSchedule};
use muster_core::limits;
use muster_core::snapshot::digest_of;
use muster_core::state::workflow::{NextFire, Workflow, WorkflowVersion};
use muster_core::state::{ScheduleKey, State};
use muster_core::time::Timestamp;

use crate::replica::Replica;

/// The state is looked at this often at least.
const LOOK: Duration = Duration::from_millis(250);
/// After decisions that the log did not take.
const PAUSE: Duration = Duration::from_millis(50);
/// Most schedules that are decided about at once.
const DECISIONS_MAX: usize = 256;
/// Most schedules that are kept as they were read. Reading one again costs microseconds.
const KEPT_MAX: usize = 20_000;

pub(super) async fn run(replica: Arc<Replica>) {
    let mut calendar = Calendar::default();
    loop {
        let changed = replica.cell.changed.notified();
        let now = replica.clock.now();
        let decisions = replica.cell.read(|state| calendar.decisions(state, now));
        if decisions.is_empty() {
            let next = replica.cell.read(|state| state.fires().next());
            // What is due and not decided cannot be read here.
            let wait = next
                .filter(|at| *at > now)
                .map_or(LOOK, |at| Duration::from_millis(at.since(now).0));
            let _look = tokio::time::timeout(wait.min(LOOK), changed).await;
            continue;
        }
        let proposed = decisions.into_iter().map(|decision| decide(&replica, decision));
        let is_any_taken = join_all(proposed).await.contains(&true);
        if !is_any_taken {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Returns whether the decision was carried out. If not, it is worked out anew.
async fn decide(replica: &Replica, decision: FireSchedule) -> bool {
    let (workflow, missed) = (decision.workflow, decision.missed);
    let schedule = decision.schedule.clone();
    let is_taken = replica.proposer.propose(&Command::FireSchedule(decision)).await.is_ok();
    if is_taken && missed > 0 {
        let name = replica.cell.read(|state| name_of(state, workflow));
        tracing::warn!(workflow = name, %schedule, missed, "fire times were missed");
    }
    is_taken
}

fn name_of(state: &State, workflow: u64) -> String {
    let workflow = state.workflows().get(workflow);
    workflow.map(|it| format!("{}/{}", it.namespace, it.name)).unwrap_or_default()
}

/// Schedules as they were read, so that a schedule of every second is not read every second.
#[derive(Default)]
struct Calendar {
    /// By version and position; `None` if this master cannot read it.
    read: BTreeMap<(u64, u32), Option<Arc<Schedule>>>,
}

impl Calendar {
    /// What is to be decided about schedules that are due or not worked out.
    fn decisions(&mut self, state: &State, now: Timestamp) -> Vec<FireSchedule> {
        let fires = state.fires();
        let keys = fires.due(now).chain(fires.unknown());
        let decisions = keys.filter_map(|key| self.decision(state, key, now));
        decisions.take(DECISIONS_MAX).collect()
    }

    fn decision(
        &mut self,
        state: &State,
        key: ScheduleKey,
        now: Timestamp,
    ) -> Option<FireSchedule> {
        let workflow = state.workflows().get(key.0)?;
        let version = state.version(workflow.latest?)?;
        let known = workflow.schedules.get(key.1 as usize)?;
        let schedule = self.schedule(workflow, version, key.1)?;
        let spread = digest_of(
            format!("{}/{}/{}", workflow.namespace, workflow.name, known.name).as_bytes(),
        );
        let mut due = schedule.due(spread, known.decided_until, now);
        if due.fire.len() > limits::FIRES_PER_COMMAND_MAX {
            // The rest is due still, once this is decided.
            due.fire.truncate(limits::FIRES_PER_COMMAND_MAX);
            due.until = *due.fire.last()?;
            let next = schedule.next_after(due.until)?.at;
            due.next = Some((next, next + schedule.delay(spread, next)));
        }
        Some(FireSchedule {
            workflow: workflow.id,
            version: version.id,
            schedule: known.name.clone(),
            after: known.decided_until,
            until: due.until,
            fire_times: due.fire,
            missed: due.missed,
            next: due
                .next
                .map_or(NextFire::Never, |(fire_time, due_at)| NextFire::At { fire_time, due_at }),
        })
    }

    fn schedule(
        &mut self,
        workflow: &Workflow,
        version: &WorkflowVersion,
        position: u32,
    ) -> Option<Arc<Schedule>> {
        if let Some(known) = self.read.get(&(version.id, position)) {
            return known.clone();
        }
        if self.read.len() >= KEPT_MAX {
            self.read.clear();
        }
        let read = match Schedule::new(version.spec.schedules.get(position as usize)?) {
            Ok(schedule) => Some(Arc::new(schedule)),
            Err(error) => {
                let name = format!("{}/{}", workflow.namespace, workflow.name);
                tracing::error!(workflow = name, %error, "this master cannot read a schedule");
                None
            }
        };
        self.read.insert((version.id, position), read.clone());
        read
    }
}
