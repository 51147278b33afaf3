//! A run is submitted, and begins at once unless the concurrency policy of its workflow lets it wait (I9).

use std::sync::Arc;

use super::Step;
use crate::command::{RunSource, SubmitRun};
use crate::event::Event;
use crate::ids::{Name, RunId, TaskIndex};
use crate::limits;
use crate::mutant::{self, Mutant};
use crate::reply::{Rejection, Reply};
use crate::retry::TakenOver;
use crate::spec::{ConcurrencyPolicy, WorkflowSpec};
use crate::state::Due;
use crate::state::run::{FireOrigin, Params, ParentTask, RetryOrigin, Run, TriggerOrigin};
use crate::state::task::StopReason;
use crate::state::workflow::WorkflowVersion;

/// What a run is made of, besides its version.
pub(super) struct NewRun<'a> {
    /// Defaults filled in.
    pub(super) params: Arc<Params>,
    pub(super) priority: Option<i32>,
    pub(super) origin: Option<FireOrigin>,
    pub(super) retry: Option<RetryOrigin>,
    pub(super) backfill: Option<FireOrigin>,
    pub(super) trigger: Option<TriggerOrigin>,
    pub(super) parent: Option<ParentTask>,
    pub(super) taken_over: &'a [TakenOver],
}

impl NewRun<'_> {
    /// One that retries no other.
    pub(super) fn fresh(params: Arc<Params>) -> Self {
        NewRun {
            params,
            priority: None,
            origin: None,
            retry: None,
            backfill: None,
            trigger: None,
            parent: None,
            taken_over: &[],
        }
    }
}

/// How a run may join those of its workflow that are live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// It begins at once.
    Begin,
    /// It begins when no other is left.
    Wait,
    /// It begins when no other is left, and the others must stop.
    Replace,
}

impl Step<'_> {
    pub(super) fn submit_run(&mut self, command: &SubmitRun) -> Result<Reply, Rejection> {
        self.check_run_limit()?;
        let existing;
        let spec: &WorkflowSpec = match &command.source {
            RunSource::Workflow { workflow, version } => {
                existing = self.existing_version(&command.namespace, workflow, *version)?;
                &existing.spec
            }
            RunSource::Apply(spec) | RunSource::OneOff(spec) => spec,
        };
        let policy = match &command.source {
            RunSource::OneOff(_) => ConcurrencyPolicy::Allow,
            RunSource::Workflow { .. } | RunSource::Apply(_) => spec.concurrency,
        };
        let given = self.given_params(spec, command)?;
        let params = effective_params(spec, &given)?;
        let known = self.state.workflow(command.namespace.as_str(), spec.name.as_str());
        let admission = self.admission(known.map(|it| it.id), &spec.name, policy)?;
        self.check_run_quota(&command.namespace)?;
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
        let (priority, backfill) = (command.priority, command.backfill.clone());
        let run = NewRun { priority, backfill, ..NewRun::fresh(params) };
        let (run, number) = self.start_run(version.clone(), run, admission);
        Ok(Reply::RunSubmitted { run, workflow: version.workflow.clone(), number })
    }

    /// One more run may be live, in all of the cluster.
    pub(super) fn check_run_limit(&self) -> Result<(), Rejection> {
        if self.state.runs.len() >= limits::RUNS_MAX {
            let max = limits::RUNS_MAX as u64;
            return Err(Rejection::LimitReached { what: "live runs", max });
        }
        Ok(())
    }

    /// The parameters that a submission gives. One for a fire time of a schedule begins with those of the schedule.
    fn given_params(
        &self,
        spec: &WorkflowSpec,
        command: &SubmitRun,
    ) -> Result<Arc<Params>, Rejection> {
        let Some(backfill) = &command.backfill else { return Ok(command.params.clone()) };
        let schedule = spec.schedules.iter().find(|it| it.name == backfill.schedule);
        let schedule = schedule.ok_or_else(|| Rejection::NoSuchSchedule {
            workflow: spec.name.clone(),
            schedule: Some(backfill.schedule.clone()),
        })?;
        if backfill.fire_time > self.now {
            return Err(Rejection::FireTimeAhead);
        }
        let own = command.params.iter().map(|(name, value)| (name.clone(), value.clone()));
        let mut params = schedule.params.clone();
        params.extend(own);
        Ok(Arc::new(params))
    }

    /// What the policy says to one more run of a workflow. Asked before anything is changed.
    pub(super) fn admission(
        &self,
        workflow: Option<u64>,
        name: &Name,
        policy: ConcurrencyPolicy,
    ) -> Result<Admission, Rejection> {
        let live = workflow.and_then(|workflow| self.state.live_runs(workflow).next());
        let live = live.filter(|_| !mutant::is_on(Mutant::PolicyIgnored));
        match (policy, live) {
            (ConcurrencyPolicy::Allow, _) | (_, None) => Ok(Admission::Begin),
            (ConcurrencyPolicy::Forbid, Some(live)) => {
                Err(Rejection::RunForbidden { workflow: name.clone(), live: live.number })
            }
            (ConcurrencyPolicy::Replace, Some(_)) => Ok(Admission::Replace),
            (ConcurrencyPolicy::Queue, Some(_)) => {
                let queued = workflow.and_then(|it| self.state.queued_runs.get(&it));
                if queued.is_some_and(|queued| queued.len() >= limits::QUEUED_RUNS_MAX) {
                    let max = limits::QUEUED_RUNS_MAX as u64;
                    return Err(Rejection::LimitReached { what: "queued runs of a workflow", max });
                }
                Ok(Admission::Wait)
            }
        }
    }

    pub(super) fn existing_version(
        &self,
        namespace: &Name,
        workflow: &Name,
        number: Option<u32>,
    ) -> Result<Arc<WorkflowVersion>, Rejection> {
        let found = self.state.workflow(namespace.as_str(), workflow.as_str());
        let kept = |id: &u64| self.state.versions.get(*id);
        let wanted = match number {
            None => found.and_then(|it| it.latest.as_ref()).and_then(kept),
            Some(number) => found.and_then(|it| {
                let mut all = it.latest.iter().chain(it.earlier.iter().rev()).filter_map(kept);
                all.find(|version| version.number == number)
            }),
        };
        wanted.cloned().ok_or_else(|| Rejection::NoSuchWorkflow {
            namespace: namespace.clone(),
            name: number
                .map_or_else(|| workflow.to_string(), |number| format!("{workflow}@{number}")),
        })
    }

    /// Makes a run, which begins as `admission` says.
    pub(super) fn start_run(
        &mut self,
        version: Arc<WorkflowVersion>,
        new: NewRun<'_>,
        admission: Admission,
    ) -> (RunId, u64) {
        let id = RunId(self.state.meta.next_run);
        self.state.meta.next_run += 1;
        let workflow = self.state.workflow_id(&version).unwrap_or_default();
        let number = self.state.workflows.get_mut(workflow).map_or(0, |workflow| {
            workflow.runs += 1;
            workflow.runs
        });
        *self.state.version_uses.entry(version.id).or_default() += 1;
        self.state.count_run(&version.namespace);
        let mut run = Run::new(id, number, version, new.params, self.now);
        let priority = new.priority.unwrap_or(run.priority);
        run.priority = priority.clamp(-limits::PRIORITY_MAX, limits::PRIORITY_MAX);
        run.origin = new.origin;
        run.retry = new.retry;
        run.backfill = new.backfill;
        run.trigger = new.trigger;
        run.parent = new.parent;
        run.asked_by = self.asker.clone();
        if !new.taken_over.is_empty() {
            run.take_over(new.taken_over);
        }
        self.state.runs.insert(id.0, Arc::new(run));
        self.state.enlist_run(workflow, number, id);
        self.events.push(Event::RunSubmitted { run: id });
        if admission == Admission::Begin {
            self.begin_run(id);
            return (id, number);
        }
        let mut others: Vec<(bool, RunId)> = match admission {
            Admission::Begin | Admission::Wait => Vec::new(),
            Admission::Replace => {
                let others = self.state.live_runs(workflow).filter(|run| run.id != id);
                others.map(|run| (run.begun_at.is_some(), run.id)).collect()
            }
        };
        self.state.queued_runs.entry(workflow).or_default().insert(id);
        // Those that wait first, so that none of them begins when another ends.
        others.sort();
        for (_, other) in others {
            self.stop_run(other, StopReason::Replaced);
        }
        self.begin_next(workflow);
        (id, number)
    }

    /// Begins the oldest run of a workflow that waits, if no other is left; and the next one if that ends at once. Runs
    /// that end while this goes on ask for it again: it is not their turn, so that the stack does not grow with them.
    pub(super) fn begin_next(&mut self, workflow: u64) {
        if std::mem::replace(&mut self.is_beginning, true) {
            return;
        }
        while let Some(first) = self.next_to_begin(workflow) {
            self.state.forget_queued(workflow, first);
            self.events.push(Event::RunBegun { run: first });
            self.begin_run(first);
        }
        self.is_beginning = false;
    }

    fn next_to_begin(&self, workflow: u64) -> Option<RunId> {
        let first = self.state.queued_runs.get(&workflow)?.first().copied()?;
        let is_free = self.state.live_runs(workflow).all(|run| run.begun_at.is_none());
        is_free.then_some(first)
    }

    /// Begins a run: its timeout starts, and its tasks without upstream tasks are ready.
    fn begin_run(&mut self, id: RunId) {
        let Some(run) = self.state.runs.get_mut(id.0) else { return };
        run.begun_at = Some(self.now);
        let version = run.version.clone();
        // Ends may have been taken over, or tasks may have ended while it waited.
        let is_whole = run.retry.is_none() && run.open as usize == run.tasks.len();
        if let Some(at) = run.deadline() {
            self.state.deadlines.insert(at, Due::Run(id));
        }
        if !is_whole {
            return self.judge_blocked(id);
        }
        for position in 0..version.spec.tasks.len() as u32 {
            let task = TaskIndex(position);
            let spec = &version.spec.tasks[position as usize];
            if spec.hook.is_none() && version.graph.upstream(task).is_empty() {
                let range = spec.indices().into();
                let to = self.fresh(id, task);
                self.change(id, task, range, to);
            }
        }
    }
}

/// The given values with defaults filled in.
pub(super) fn effective_params(
    spec: &WorkflowSpec,
    given: &Params,
) -> Result<Arc<Params>, Rejection> {
    let bad = |param: &Name, problem: &str| Rejection::BadParam {
        param: param.to_string(),
        problem: problem.to_owned(),
    };
    if let Some(unknown) = given.keys().find(|name| !spec.params.contains_key(*name)) {
        return Err(bad(unknown, "the workflow declares no such parameter"));
    }
    let mut bytes = 0;
    let mut params = Params::new();
    for (name, declared) in &spec.params {
        let value = given.get(name).or(declared.default.as_ref());
        let value = value.ok_or_else(|| bad(name, "no value given, and it has no default"))?;
        bytes += name.as_str().len() + value.len();
        if bytes > limits::PARAM_BYTES_MAX {
            return Err(bad(name, "the parameters of a run have at most 64 KiB together"));
        }
        declared.check(value).map_err(|error| bad(name, &error.to_string()))?;
        params.insert(name.clone(), value.clone());
    }
    Ok(Arc::new(params))
}
