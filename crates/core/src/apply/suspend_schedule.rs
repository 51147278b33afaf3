//! Schedules are switched off, or on again.

use super::Step;
use crate::command::SuspendSchedule;
use crate::event::Event;
use crate::reply::{Rejection, Reply};
use crate::spec::schedule::ScheduleSpec;

impl Step<'_> {
    pub(super) fn suspend_schedule(
        &mut self,
        command: &SuspendSchedule,
    ) -> Result<Reply, Rejection> {
        let (namespace, name) = (command.namespace.as_str(), command.workflow.as_str());
        let found = self.state.workflow(namespace, name);
        let latest = found.and_then(|it| Some((it, self.state.versions.get(it.latest?)?)));
        let Some((workflow, version)) = latest else {
            return Err(Rejection::NoSuchWorkflow {
                namespace: command.namespace.clone(),
                name: command.workflow.to_string(),
            });
        };
        let is_meant = |spec: &&ScheduleSpec| {
            command.schedule.as_ref().is_none_or(|schedule| spec.name == *schedule)
        };
        let mut meant = version.spec.schedules.iter().filter(is_meant).peekable();
        if meant.peek().is_none() {
            return Err(Rejection::NoSuchSchedule {
                workflow: command.workflow.clone(),
                schedule: command.schedule.clone(),
            });
        }
        // Of all of them, those are switched on that the file does not keep off; there must be one.
        if !command.is_suspended
            && meant.clone().all(|spec| spec.is_suspended)
            && let Some(spec) = meant.next()
        {
            return Err(Rejection::SuspendedByFile { schedule: spec.name.clone() });
        }
        let (id, mut schedules) = (workflow.id, workflow.schedules.clone());
        for spec in meant {
            let state = schedules.iter_mut().find(|it| it.name == spec.name);
            let Some(state) = state.filter(|it| it.is_suspended != command.is_suspended) else {
                continue;
            };
            state.is_suspended = command.is_suspended;
            state.anew(self.now);
        }
        self.state.set_schedules(id, schedules);
        self.events.push(Event::SchedulesChanged { workflow: id, missed: 0, passed_over: 0 });
        Ok(Reply::Done)
    }
}
