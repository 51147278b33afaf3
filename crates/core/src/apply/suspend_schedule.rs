//! Schedules and triggers are switched off, or on again.

use super::Step;
use crate::command::SuspendSchedule;
use crate::event::Event;
use crate::ids::Name;
use crate::reply::{Rejection, Reply};
use crate::spec::WorkflowSpec;

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
        check(command, &version.spec)?;
        let is_meant = |name: &Name| command.schedule.as_ref().is_none_or(|it| it == name);
        let (id, mut schedules) = (workflow.id, workflow.schedules.clone());
        for state in schedules.iter_mut().filter(|it| is_meant(&it.name)) {
            if state.is_suspended != command.is_suspended {
                state.is_suspended = command.is_suspended;
                state.anew(self.now);
            }
        }
        let mut triggers = workflow.triggers.clone();
        for state in triggers.iter_mut().filter(|it| is_meant(&it.name)) {
            state.is_suspended = command.is_suspended;
        }
        if let Some(workflow) = self.state.workflows.get_mut(id) {
            workflow.triggers = triggers;
        }
        self.state.set_schedules(id, schedules);
        self.events.push(Event::SchedulesChanged { workflow: id, missed: 0, passed_over: 0 });
        Ok(Reply::Done)
    }
}

/// Of all that are meant, those are switched on that the file does not keep off; there must be one.
fn check(command: &SuspendSchedule, spec: &WorkflowSpec) -> Result<(), Rejection> {
    let schedules = spec.schedules.iter().map(|it| (&it.name, it.is_suspended));
    let all = schedules.chain(spec.triggers.iter().map(|it| (&it.name, it.is_suspended)));
    let is_meant = |name: &Name| command.schedule.as_ref().is_none_or(|it| it == name);
    let mut meant = all.filter(|(name, _)| is_meant(name)).peekable();
    let Some((first, _)) = meant.peek().copied() else {
        return Err(Rejection::NoSuchSchedule {
            workflow: command.workflow.clone(),
            schedule: command.schedule.clone(),
        });
    };
    if !command.is_suspended && meant.all(|(_, is_off)| is_off) {
        return Err(Rejection::SuspendedByFile { schedule: first.clone() });
    }
    Ok(())
}
