//! Sub-workflows: a run of another workflow is started for a task, which comes to what that run comes to.
//!
//! ```text
//!   Undecided ── StartRun ──► Awaiting ── the run succeeded ──► Succeeded, with the run's outputs
//!      ▲              │           └────── failed, cancelled, or out of time ──► Backoff, or Failed
//!      └─── Backoff ◄─┴─ refused
//! ```
//!
//! Nothing here follows an end or a stop from run to run by itself: they go into lists of the step, see
//! [`Step::follow_up`].

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Step;
use super::finish_attempts::{TOO_LARGE, cut, wait_after_failure};
use super::submit_run::{Admission, NewRun, effective_params};
use crate::ids::{Name, RunId, TaskIndex};
use crate::limits;
use crate::mutant::{self, Mutant};
use crate::state::cells::IndexRange;
use crate::state::run::{Params, ParentTask, Run, RunStatus};
use crate::state::task::{Awaited, ChildRun, FailureReason, StopReason, Task, TaskState, Tries};
use crate::time::Millis;

/// All of a sub-workflow.
const WHOLE: IndexRange = IndexRange { first: 0, last: 0 };

impl Step<'_> {
    /// Starts a run for a sub-workflow, and says what the task is then. A run that cannot be started is a failed try.
    pub(super) fn start_child(
        &mut self,
        id: RunId,
        index: TaskIndex,
        tries: Tries,
        params: &Params,
    ) -> TaskState {
        let tries = Tries { attempts: tries.attempts.saturating_add(1), ..tries };
        self.state.count_attempt(id, index, tries.attempts);
        match self.submit_child(id, index, params) {
            Ok(child) => {
                if let Some(task) = self.task_mut(id, index) {
                    task.child = Some(Arc::new(child));
                }
                let what = Awaited::Run { run: child.run, tries, stop: None };
                TaskState::Awaiting { since: self.now, what }
            }
            Err(why) => self.failed_try(id, index, tries, FailureReason::Rejected, &why),
        }
    }

    /// Makes the run, with the checks of a submission; or says why there can be none.
    fn submit_child(
        &mut self,
        id: RunId,
        index: TaskIndex,
        given: &Params,
    ) -> Result<ChildRun, String> {
        let parent = self.state.run(id).cloned().ok_or("the run is not live")?;
        let spec = parent.spec(index).ok_or("there is no such task")?;
        let wanted = spec.executor.sub_workflow().ok_or("it is no sub-workflow")?;
        let depth = parent.parent.as_ref().map_or(0, |it| it.depth) + 1;
        if depth > limits::SUB_WORKFLOW_DEPTH_MAX {
            return Err(format!(
                "{} runs are above it already, each started by the one above; no more are possible",
                limits::SUB_WORKFLOW_DEPTH_MAX
            ));
        }
        let namespace = &parent.version.namespace;
        self.check_run_limit().map_err(|no| no.to_string())?;
        let version =
            self.existing_version(namespace, &wanted.name, None).map_err(|no| no.to_string())?;
        let params = effective_params(&version.spec, given).map_err(|no| no.to_string())?;
        let workflow = self.state.workflow_id(&version);
        let live = workflow.map_or(0, |workflow| self.state.live_runs_of(workflow));
        if live >= limits::FIRED_RUNS_MAX as u64 {
            return Err(format!(
                "{live} runs of workflow `{}` are live; no more are started for tasks",
                wanted.name
            ));
        }
        let admission = self
            .admission(workflow, &wanted.name, version.spec.concurrency)
            .map_err(|no| no.to_string())?;
        if admission != Admission::Begin && self.ancestors(&parent).contains(&wanted.name) {
            return Err(format!(
                "workflow `{}` is one of those that started this run: by its `concurrencyPolicy` the new run would \
                 wait for itself, or stop itself",
                wanted.name
            ));
        }
        self.check_run_quota(namespace).map_err(|no| no.to_string())?;
        let origin = ParentTask {
            run: id,
            workflow: parent.version.workflow.clone(),
            number: parent.number,
            task: index,
            name: spec.id.clone(),
            depth,
            fire_time: parent.fire_time(),
            schedule: parent.schedule().cloned(),
        };
        let priority = Some(parent.task_priority(index));
        let new = NewRun { priority, parent: Some(origin), ..NewRun::fresh(params) };
        let (run, number) = self.start_run(version, new, admission);
        Ok(ChildRun { run, number })
    }

    /// The workflows of a run and of all that are above it. As far as they are live, which they are while a task of
    /// theirs waits.
    fn ancestors(&self, run: &Run) -> BTreeSet<Name> {
        let mut names = BTreeSet::from([run.version.workflow.clone()]);
        let mut parent = run.parent.clone();
        while let Some(above) = parent.take() {
            names.insert(above.workflow);
            parent = self.state.run(above.run).and_then(|run| run.parent.clone());
        }
        names
    }

    /// What a sub-workflow is after a try of it failed; `tries` does not count the failure yet.
    fn failed_try(
        &mut self,
        id: RunId,
        index: TaskIndex,
        tries: Tries,
        reason: FailureReason,
        why: &str,
    ) -> TaskState {
        let tries = Tries { failures: tries.failures.saturating_add(1), ..tries };
        let retry = self.state.run(id).and_then(|run| run.spec(index)).and_then(|spec| {
            let may_retry = match reason {
                FailureReason::TimedOut => spec.retry.on_timeout,
                _ => spec.retry.on_failure,
            };
            wait_after_failure(spec, tries, may_retry, (id, index, 0))
        });
        if let Some(task) = self.task_mut(id, index) {
            task.message = Some(cut(&why.into()));
        }
        match retry {
            None => TaskState::Failed { tries, reason, last: None },
            Some(Millis(0)) => TaskState::Undecided { since: self.index, tries },
            Some(wait) => TaskState::Backoff { tries, until: self.now + wait, avoid: None },
        }
    }

    /// Tells the task that a run was started for how that ended.
    pub(super) fn end_awaiting(&mut self, child: &Run) {
        let Some(ParentTask { run: id, task: index, .. }) = child.parent else { return };
        let Some(task) = self.state.run(id).and_then(|run| run.task(index)) else { return };
        let (tries, stop) = match task.cells.at(WHOLE.first) {
            Some((_, TaskState::Awaiting { what: Awaited::Run { run, tries, stop }, .. }))
                if *run == child.id =>
            {
                (*tries, *stop)
            }
            _ => return,
        };
        let status = child.status();
        let has_succeeded = status == RunStatus::Succeeded
            || status == RunStatus::Failed && mutant::is_on(Mutant::ChildMisread);
        let to = match stop {
            _ if has_succeeded => self.take_outputs(id, index, tries, child),
            Some(StopReason::AttemptTimedOut) => {
                let why = format!("run {} took too long", child.label());
                self.failed_try(id, index, tries, FailureReason::TimedOut, &why)
            }
            Some(_) => TaskState::Cancelled,
            None => {
                let word = match status {
                    RunStatus::Cancelled => "was cancelled",
                    _ => "failed",
                };
                let why = format!("run {} {word}", child.label());
                self.failed_try(id, index, tries, FailureReason::RunFailed, &why)
            }
        };
        self.change(id, index, WHOLE, to);
    }

    /// A sub-workflow succeeds, with those of the run's outputs that it takes.
    fn take_outputs(
        &mut self,
        id: RunId,
        index: TaskIndex,
        tries: Tries,
        child: &Run,
    ) -> TaskState {
        let spec = self.state.run(id).and_then(|run| run.spec(index));
        let wanted = spec.map(|spec| spec.outputs.clone()).unwrap_or_default();
        let outputs = child.outputs(|key| wanted.contains(key));
        let Some(task) = self.task_mut(id, index) else { return TaskState::Cancelled };
        match outputs {
            Some(outputs) => {
                task.outputs = Some(outputs).filter(|it| !it.is_empty()).map(Arc::new);
                TaskState::Succeeded { tries, last: None }
            }
            None => {
                task.message = Some(TOO_LARGE.into());
                TaskState::Failed { tries, reason: FailureReason::Rejected, last: None }
            }
        }
    }

    /// The run that a task waits for must stop; the task ends with it. The first reason stays, unless it was the task's
    /// own timeout, after which another run might follow.
    pub(super) fn stop_awaiting(&mut self, id: RunId, index: TaskIndex, reason: StopReason) {
        let found = self.state.run(id).and_then(|run| run.task(index)?.cells.at(WHOLE.first));
        let Some((_, TaskState::Awaiting { since, what })) = found else { return };
        let (since, Awaited::Run { run, tries, stop }) = (*since, *what) else { return };
        if stop.is_some_and(|stop| stop != StopReason::AttemptTimedOut || stop == reason) {
            return;
        }
        if !mutant::is_on(Mutant::ChildOrphaned) {
            let has_begun = self.has_begun(run);
            self.stopped_children.insert((has_begun, run));
        }
        let what = Awaited::Run { run, tries, stop: Some(reason) };
        self.change(id, index, WHOLE, TaskState::Awaiting { since, what });
    }

    /// The run that must stop next: those that wait for earlier ones come first, so that none of them begins where
    /// another of them stops.
    pub(super) fn next_stopped_child(&mut self) -> Option<RunId> {
        while let Some((had_begun, child)) = self.stopped_children.pop_first() {
            if had_begun == self.has_begun(child) {
                return Some(child);
            }
            self.stopped_children.insert((true, child));
        }
        None
    }

    fn has_begun(&self, run: RunId) -> bool {
        self.state.run(run).is_none_or(|run| run.begun_at.is_some())
    }

    fn task_mut(&mut self, id: RunId, index: TaskIndex) -> Option<&mut Task> {
        self.state.runs.get_mut(id.0)?.tasks.get_mut(index.0 as usize)
    }
}
