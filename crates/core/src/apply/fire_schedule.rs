//! Fire times of a schedule are decided: those that fire make their runs in this very entry, so that none is lost and
//! none makes two (I8).

use std::sync::Arc;

use super::Step;
use super::submit_run::{NewRun, effective_params};
use crate::command::FireSchedule;
use crate::event::Event;
use crate::limits;
use crate::mutant::{self, Mutant};
use crate::reply::{Rejection, Reply};
use crate::spec::schedule::ScheduleSpec;
use crate::state::run::FireOrigin;
use crate::state::workflow::{NextFire, Schedule, WorkflowVersion};

impl Step<'_> {
    pub(super) fn fire_schedule(&mut self, command: &FireSchedule) -> Result<Reply, Rejection> {
        let (version, position) = self.fireable(command).ok_or(Rejection::StaleFire)?;
        let params = effective_params(&version.spec, &version.spec.schedules[position].params)?;
        let policy = version.spec.concurrency;
        let (mut last_fired, mut passed_over) = (None, 0);
        let mut live = self.state.live_runs_of(command.workflow);
        for fire_time in &command.fire_times {
            let before = self.state.runs.len();
            let is_full = before >= limits::RUNS_MAX
                || live >= limits::FIRED_RUNS_MAX as u64
                || self.check_run_quota(&version.namespace).is_err();
            match self.admission(Some(command.workflow), &version.workflow, policy) {
                Ok(admission) if !is_full => {
                    let schedule = command.schedule.clone();
                    let origin = Some(FireOrigin { schedule, fire_time: *fire_time });
                    let run = NewRun { origin, ..NewRun::fresh(params.clone()) };
                    self.start_run(version.clone(), run, admission);
                    // The new run may have replaced others. Runs of other workflows stay as they are.
                    live = (live + self.state.runs.len() as u64).saturating_sub(before as u64);
                    last_fired = Some(*fire_time);
                }
                Ok(_) | Err(_) => passed_over += 1,
            }
        }
        let Some(workflow) = self.state.workflows.get(command.workflow) else {
            return Err(Rejection::StaleFire);
        };
        let mut schedules = workflow.schedules.clone();
        let is_undecided = last_fired.is_some() && mutant::is_on(Mutant::FireUndecided);
        if let Some(schedule) = schedules.get_mut(position).filter(|_| !is_undecided) {
            schedule.decided_until = command.until;
            schedule.next = command.next;
            schedule.last_fired = last_fired.or(schedule.last_fired);
            schedule.fired += command.fire_times.len() as u64 - passed_over;
            schedule.missed = schedule.missed.saturating_add(command.missed);
            schedule.passed_over += passed_over;
        }
        self.state.set_schedules(command.workflow, schedules);
        self.events.push(Event::SchedulesChanged {
            workflow: command.workflow,
            missed: command.missed,
            passed_over,
        });
        Ok(Reply::Done)
    }

    /// The version and the position of the schedule, if both are still as the command found them and what it decides
    /// makes sense.
    fn fireable(&self, command: &FireSchedule) -> Option<(Arc<WorkflowVersion>, usize)> {
        let workflow = self.state.workflows.get(command.workflow)?;
        let version = self.state.versions.get(workflow.latest?)?;
        let schedules = &version.spec.schedules;
        let position = schedules.iter().position(|spec| spec.name == command.schedule)?;
        let (spec, schedule) = (schedules.get(position)?, workflow.schedules.get(position)?);
        let is_same = version.id == command.version && schedule.decided_until == command.after;
        let is_on = !schedule.is_suspended && !spec.is_suspended;
        let tasks = command.fire_times.len().saturating_mul(version.spec.tasks.len());
        let is_bounded = tasks <= limits::FIRED_TASKS_MAX;
        (is_same && is_on && is_bounded && self.is_decidable(spec, schedule, command))
            .then(|| (version.clone(), position))
    }

    fn is_decidable(
        &self,
        spec: &ScheduleSpec,
        schedule: &Schedule,
        command: &FireSchedule,
    ) -> bool {
        let is_due = match schedule.next {
            NextFire::Unknown => true,
            NextFire::At { due_at, .. } => due_at <= self.now,
            NextFire::Never => false,
        };
        let decides_nothing = command.until == command.after && command.missed == 0;
        let span_is_past = command.after <= command.until && command.until <= self.now;
        let times = &command.fire_times;
        let are_in_order = times.windows(2).all(|pair| pair[0] < pair[1])
            && times.first().is_none_or(|first| *first > command.after)
            && times.last().is_none_or(|last| *last <= command.until);
        let next_is_sound = match command.next {
            NextFire::Unknown => false,
            NextFire::At { fire_time, due_at } => {
                fire_time > command.until
                    && due_at >= fire_time
                    && due_at.since(fire_time) <= spec.jitter
            }
            NextFire::Never => true,
        };
        (is_due || decides_nothing)
            && span_is_past
            && are_in_order
            && times.len() <= limits::FIRES_PER_COMMAND_MAX
            && next_is_sound
    }
}
