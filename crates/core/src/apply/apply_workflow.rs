//! A workflow is applied: a new immutable version, unless nothing changed.

use std::sync::Arc;

use super::Step;
use crate::command::ApplyWorkflow;
use crate::event::Event;
use crate::ids::Name;
use crate::limits;
use crate::reply::{Rejection, Reply};
use crate::spec::WorkflowSpec;
use crate::spec::schedule::ScheduleSpec;
use crate::spec::validate::validate;
use crate::state::workflow::{NextFire, Schedule, Trigger, Workflow, WorkflowVersion};

impl Step<'_> {
    pub(super) fn apply_workflow(&mut self, command: &ApplyWorkflow) -> Result<Reply, Rejection> {
        let (version, is_new) = self.latest_version(&command.namespace, &command.spec)?;
        Ok(Reply::WorkflowApplied { version: version.number, is_new })
    }

    /// The version with this spec, made if it is not the latest already; and whether it was made.
    pub(super) fn latest_version(
        &mut self,
        namespace: &Name,
        spec: &WorkflowSpec,
    ) -> Result<(Arc<WorkflowVersion>, bool), Rejection> {
        let latest =
            self.state.workflow(namespace.as_str(), spec.name.as_str()).and_then(|it| it.latest);
        if let Some(version) = latest.and_then(|id| self.state.versions.get(id))
            && version.spec == *spec
        {
            return Ok((version.clone(), false));
        }
        let number =
            self.state.workflow(namespace.as_str(), spec.name.as_str()).map_or(0, |it| it.versions)
                + 1;
        self.check_workflow_limit(namespace, &spec.name)?;
        self.state.check_triggers(namespace, spec)?;
        let version = self.compile(namespace, spec, number)?;
        let workflow_id = self.workflow_named(namespace, &spec.name);
        let schedules = self.carried_over(workflow_id, spec);
        let triggers = self.triggers_carried_over(workflow_id, spec);
        self.state.forget_triggers_of(workflow_id);
        self.state.versions.insert(version.id, version.clone());
        let mut forgotten = None;
        if let Some(workflow) = self.state.workflows.get_mut(workflow_id) {
            workflow.earlier.extend(workflow.latest.replace(version.id));
            workflow.versions = number;
            workflow.triggers = triggers;
            let is_full = workflow.earlier.len() > limits::EARLIER_VERSIONS_MAX;
            forgotten = is_full.then(|| workflow.earlier.remove(0));
        }
        self.state.set_schedules(workflow_id, schedules);
        self.state.derive_triggers_of(workflow_id);
        if let Some(version) = forgotten {
            self.drop_version_if_unused(version);
        }
        self.note_version(namespace, &spec.name, number);
        self.events.push(Event::WorkflowApplied { workflow: workflow_id, version: number });
        Ok((version, true))
    }

    /// The schedules of a new version. One that keeps its name keeps what it counted; if it keeps its times as well, it
    /// goes on where it was.
    fn carried_over(&self, workflow: u64, spec: &WorkflowSpec) -> Vec<Schedule> {
        let now = self.now;
        let before = self.state.workflows.get(workflow);
        let old_spec = before.and_then(|it| it.latest).and_then(|id| self.state.versions.get(id));
        let carried = |new: &ScheduleSpec| {
            let state = before?.schedules.iter().find(|it| it.name == new.name)?;
            let old = old_spec?.spec.schedules.iter().find(|it| it.name == new.name)?;
            let mut state = state.clone();
            if !new.has_times_of(old) || new.is_suspended || old.is_suspended {
                state.anew(now);
            }
            // Days off, the end or the jitter may be others.
            state.next = NextFire::Unknown;
            Some(state)
        };
        let schedules = spec.schedules.iter();
        schedules
            .map(|it| carried(it).unwrap_or_else(|| Schedule::new(it.name.clone(), now)))
            .collect()
    }

    /// The triggers of a new version. One that keeps its name keeps what it counted, and whether it is switched off.
    fn triggers_carried_over(&self, workflow: u64, spec: &WorkflowSpec) -> Vec<Trigger> {
        let before = self.state.workflows.get(workflow);
        let known = |name: &Name| before?.triggers.iter().find(|it| it.name == *name).cloned();
        let names = spec.triggers.iter().map(|it| &it.name);
        names.map(|name| known(name).unwrap_or_else(|| Trigger::new(name.clone()))).collect()
    }

    /// Checks and compiles a spec under a fresh serial number. The caller puts it into the state.
    pub(super) fn compile(
        &mut self,
        namespace: &Name,
        spec: &WorkflowSpec,
        number: u32,
    ) -> Result<Arc<WorkflowVersion>, Rejection> {
        validate(spec).map_err(|errors| Rejection::InvalidSpec { message: errors.to_string() })?;
        self.check_groups(namespace, spec)?;
        let id = self.state.meta.next_version;
        let version =
            WorkflowVersion::compile(id, namespace.clone(), number, self.now, spec.clone())
                .map_err(|error| Rejection::InvalidSpec { message: error.to_string() })?;
        self.state.meta.next_version += 1;
        Ok(Arc::new(version))
    }

    /// Whether the namespace has the concurrency groups that the tasks name: of one that is misspelt nothing would ever
    /// begin.
    fn check_groups(&self, namespace: &Name, spec: &WorkflowSpec) -> Result<(), Rejection> {
        let groups = self.state.namespace(namespace).map(|known| &known.spec.groups);
        let is_unknown = |group: &Name| groups.is_none_or(|groups| !groups.contains_key(group));
        for task in &spec.tasks {
            if let Some(group) = task.request.groups.iter().find(|group| is_unknown(group)) {
                return Err(Rejection::NoSuchGroup {
                    task: task.id.clone(),
                    namespace: namespace.clone(),
                    group: group.clone(),
                });
            }
        }
        Ok(())
    }

    /// Whether there is room for a workflow of this name. Asked before anything is changed.
    pub(super) fn check_workflow_limit(
        &self,
        namespace: &Name,
        name: &Name,
    ) -> Result<(), Rejection> {
        let is_known = self.state.workflow(namespace.as_str(), name.as_str()).is_some();
        if is_known || self.state.workflows.len() < limits::WORKFLOWS_MAX {
            return Ok(());
        }
        Err(Rejection::LimitReached { what: "workflows", max: limits::WORKFLOWS_MAX as u64 })
    }

    /// The serial number of a workflow, which is made if there is none of that name.
    pub(super) fn workflow_named(&mut self, namespace: &Name, name: &Name) -> u64 {
        if let Some(workflow) = self.state.workflow(namespace.as_str(), name.as_str()) {
            return workflow.id;
        }
        let id = self.state.meta.next_workflow;
        self.state.meta.next_workflow += 1;
        let workflow = Workflow {
            id,
            namespace: namespace.clone(),
            name: name.clone(),
            latest: None,
            earlier: Vec::new(),
            versions: 0,
            runs: 0,
            schedules: Vec::new(),
            triggers: Vec::new(),
        };
        self.state.workflows.insert(id, Arc::new(workflow));
        self.state.workflow_by_name.entry(namespace.clone()).or_default().insert(name.clone(), id);
        id
    }
}
