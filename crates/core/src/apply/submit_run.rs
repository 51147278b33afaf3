//! A run is submitted: its tasks without dependencies are ready at once.

use std::sync::Arc;

use super::Step;
use crate::command::{RunSource, SubmitRun};
use crate::event::Event;
use crate::ids::{Name, RunId, TaskIndex};
use crate::limits;
use crate::reply::{Rejection, Reply};
use crate::spec::WorkflowSpec;
use crate::state::Due;
use crate::state::run::{Params, Run};
use crate::state::task::{TaskState, Tries};
use crate::state::workflow::WorkflowVersion;

impl Step<'_> {
    pub(super) fn submit_run(&mut self, command: &SubmitRun) -> Result<Reply, Rejection> {
        if self.state.runs.len() >= limits::RUNS_MAX {
            return Err(Rejection::LimitReached {
                what: "live runs",
                max: limits::RUNS_MAX as u64,
            });
        }
        let params = self.effective_params(command)?;
        let version = match &command.source {
            RunSource::Workflow { workflow, version } => {
                self.existing_version(&command.namespace, workflow, *version)?
            }
            RunSource::Apply(spec) => self.latest_version(&command.namespace, spec)?.0,
            RunSource::OneOff(spec) => {
                self.check_workflow_limit(&command.namespace, &spec.name)?;
                let version = self.compile(&command.namespace, spec, 0)?;
                self.workflow_named(&command.namespace, &spec.name);
                self.state.versions.insert(version.id, version.clone());
                version
            }
        };
        let (run, number) = self.start_run(version.clone(), params, command.priority);
        Ok(Reply::RunSubmitted { run, workflow: version.workflow.clone(), number })
    }

    fn existing_version(
        &self,
        namespace: &Name,
        workflow: &Name,
        number: Option<u32>,
    ) -> Result<Arc<WorkflowVersion>, Rejection> {
        let found = self.state.workflow(namespace.as_str(), workflow.as_str());
        let latest = found.and_then(|it| it.latest).and_then(|id| self.state.versions.get(id));
        let wanted = match number {
            None => latest,
            Some(number) => latest.filter(|version| version.number == number),
        };
        wanted.cloned().ok_or_else(|| Rejection::NoSuchWorkflow {
            namespace: namespace.clone(),
            name: number
                .map_or_else(|| workflow.to_string(), |number| format!("{workflow}@{number}")),
        })
    }

    /// The given values with defaults filled in.
    fn effective_params(&self, command: &SubmitRun) -> Result<Arc<Params>, Rejection> {
        let existing;
        let spec: &WorkflowSpec = match &command.source {
            RunSource::Workflow { workflow, version } => {
                existing = self.existing_version(&command.namespace, workflow, *version)?;
                &existing.spec
            }
            RunSource::Apply(spec) | RunSource::OneOff(spec) => spec,
        };
        let bad = |param: &Name, problem: &str| Rejection::BadParam {
            param: param.to_string(),
            problem: problem.to_owned(),
        };
        if let Some(unknown) = command.params.keys().find(|name| !spec.params.contains_key(*name)) {
            return Err(bad(unknown, "the workflow declares no such parameter"));
        }
        let mut bytes = 0;
        let mut params = Params::new();
        for (name, declared) in &spec.params {
            let given = command.params.get(name).or(declared.default.as_ref());
            let value = given.ok_or_else(|| bad(name, "no value given, and it has no default"))?;
            bytes += name.as_str().len() + value.len();
            if bytes > limits::PARAM_BYTES_MAX {
                return Err(bad(name, "the parameters of a run have at most 64 KiB together"));
            }
            params.insert(name.clone(), value.clone());
        }
        Ok(Arc::new(params))
    }

    fn start_run(
        &mut self,
        version: Arc<WorkflowVersion>,
        params: Arc<Params>,
        priority: Option<i32>,
    ) -> (RunId, u64) {
        let id = RunId(self.state.meta.next_run);
        self.state.meta.next_run += 1;
        let workflow = self.state.workflow_id(&version).unwrap_or_default();
        let number = self.state.workflows.get_mut(workflow).map_or(0, |workflow| {
            workflow.runs += 1;
            workflow.runs
        });
        *self.state.version_uses.entry(version.id).or_default() += 1;
        let mut run = Run::new(id, number, version.clone(), params, self.now);
        run.priority =
            priority.unwrap_or(run.priority).clamp(-limits::PRIORITY_MAX, limits::PRIORITY_MAX);
        if let Some(at) = run.deadline() {
            self.state.deadlines.insert(at, Due::Run(id));
        }
        self.state.runs.insert(id.0, Arc::new(run));
        self.state.run_by_number.insert((workflow, number), id);
        self.events.push(Event::RunSubmitted { run: id });
        let ready = TaskState::Ready { tries: Tries::default(), since: self.now, avoid: None };
        for position in 0..version.spec.tasks.len() as u32 {
            let task = TaskIndex(position);
            if version.graph.upstream(task).is_empty() {
                let range = version.spec.tasks[position as usize].indices().into();
                self.change(id, task, range, ready);
            }
        }
        (id, number)
    }
}
