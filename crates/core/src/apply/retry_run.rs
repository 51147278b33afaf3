//! A run begins that takes over what another one came to. The other one is in the history, which replicas need not
//! have: the command brings what is needed of it.

use std::sync::Arc;

use super::Step;
use super::submit_run::{NewRun, effective_params};
use crate::command::RetryRun;
use crate::ids::RunId;
use crate::reply::{Rejection, Reply};
use crate::retry;
use crate::spec::ConcurrencyPolicy;
use crate::spec::validate::validate;
use crate::state::run::Run;
use crate::state::workflow::WorkflowVersion;

impl Step<'_> {
    pub(super) fn retry_run(&mut self, command: &RetryRun) -> Result<Reply, Rejection> {
        self.check_run_limit()?;
        let (namespace, name) = (command.namespace.as_str(), command.spec.name.as_str());
        let workflow = self.state.workflow(namespace, name).ok_or_else(|| {
            let (namespace, name) = (command.namespace.clone(), name.to_owned());
            Rejection::NoSuchWorkflow { namespace, name }
        })?;
        let is_known = command.of.run.0 < self.state.meta.next_run
            && command.of.number <= workflow.runs
            && command.version_number <= workflow.versions;
        if !is_known {
            return Err(Rejection::BadRetry { problem: "there was no such run or version" });
        }
        let id = workflow.id;
        let version = self.version_of(command)?;
        let params = effective_params(&version.spec, &command.params)?;
        let fresh = Run::new(RunId(0), 0, version.clone(), params.clone(), self.now);
        retry::check(&fresh, &command.taken_over)?;
        let policy = match command.version_number {
            0 => ConcurrencyPolicy::Allow,
            _ => version.spec.concurrency,
        };
        let admission = self.admission(Some(id), &version.workflow, policy)?;
        self.check_run_quota(&command.namespace)?;
        if self.state.versions.get(version.id).is_none() {
            self.state.meta.next_version += 1;
            self.state.versions.insert(version.id, version.clone());
        }
        let new = NewRun {
            priority: Some(command.priority),
            retry: Some(command.of.clone()),
            taken_over: &command.taken_over,
            ..NewRun::fresh(params)
        };
        let (run, number) = self.start_run(version.clone(), new, admission);
        Ok(Reply::RunSubmitted { run, workflow: version.workflow.clone(), number })
    }

    /// The version that is retried: the state's own, or one that is compiled again and not in the state yet.
    fn version_of(&self, command: &RetryRun) -> Result<Arc<WorkflowVersion>, Rejection> {
        let kept = self.state.versions.get(command.version).filter(|kept| {
            kept.namespace == command.namespace
                && kept.number == command.version_number
                && kept.spec == *command.spec
        });
        if let Some(kept) = kept {
            return Ok(kept.clone());
        }
        let spec = &command.spec;
        validate(spec).map_err(|errors| Rejection::InvalidSpec { message: errors.to_string() })?;
        let (id, namespace) = (self.state.meta.next_version, command.namespace.clone());
        let number = command.version_number;
        WorkflowVersion::compile(id, namespace, number, self.now, (**spec).clone())
            .map(Arc::new)
            .map_err(|error| Rejection::InvalidSpec { message: error.to_string() })
    }
}
