//! A workflow is applied: a new immutable version, unless nothing changed.

use std::sync::Arc;

use super::Step;
use crate::command::ApplyWorkflow;
use crate::event::Event;
use crate::ids::Name;
use crate::limits;
use crate::reply::{Rejection, Reply};
use crate::spec::WorkflowSpec;
use crate::spec::validate::validate;
use crate::state::workflow::{Workflow, WorkflowVersion};

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
        let version = self.compile(namespace, spec, number)?;
        let workflow_id = self.workflow_named(namespace, &spec.name);
        self.state.versions.insert(version.id, version.clone());
        if let Some(workflow) = self.state.workflows.get_mut(workflow_id) {
            workflow.latest = Some(version.id);
            workflow.versions = number;
        }
        if let Some(before) = latest {
            self.drop_version_if_unused(before);
        }
        self.events.push(Event::WorkflowApplied { workflow: workflow_id, version: number });
        Ok((version, true))
    }

    /// Checks and compiles a spec under a fresh serial number. The caller puts it into the state.
    pub(super) fn compile(
        &mut self,
        namespace: &Name,
        spec: &WorkflowSpec,
        number: u32,
    ) -> Result<Arc<WorkflowVersion>, Rejection> {
        validate(spec).map_err(|errors| Rejection::InvalidSpec { message: errors.to_string() })?;
        let id = self.state.meta.next_version;
        let version =
            WorkflowVersion::compile(id, namespace.clone(), number, self.now, spec.clone())
                .map_err(|error| Rejection::InvalidSpec { message: error.to_string() })?;
        self.state.meta.next_version += 1;
        Ok(Arc::new(version))
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
            versions: 0,
            runs: 0,
        };
        self.state.workflows.insert(id, Arc::new(workflow));
        self.state.workflow_by_name.entry(namespace.clone()).or_default().insert(name.clone(), id);
        id
    }
}
