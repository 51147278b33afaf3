//! Runs that tasks start, by what users are told of them: a task has one live run at a time and comes to what that
//! comes to, in the very entry; what stops a task stops its run.

use std::collections::BTreeSet;
use std::sync::Arc;

use muster_core::command::Decision;
use muster_core::ids::{Name, RunId, TaskIndex, Text};
use muster_core::limits;
use muster_core::spec::template::{self, Part, Reference};
use muster_core::spec::{ConcurrencyPolicy, ExecutorSpec, SubWorkflowSpec, TaskSpec};
use muster_core::state::cells::IndexRange;
use muster_core::state::run::{Params, ParentTask, RunStatus};
use muster_core::state::task::{
    Awaited, ChildRun, FailureReason, Outputs, StopReason, TaskState, Tries,
};
use muster_core::state::workflow::WorkflowVersion;
use muster_core::time::Millis;

use super::rules;
use super::step::Step;
use super::work::Work;
use crate::coverage::Rare;
use crate::verdict::Invariant;

/// Most runs above one another, beside the lowest.
const DEPTH_MAX: u32 = 8;

/// All of such a task.
const WHOLE: IndexRange = IndexRange { first: 0, last: 0 };

impl Step<'_> {
    /// A task is to start its run: it does, or there can be none and the try has failed.
    pub(super) fn start_child(&mut self, decision: &Decision, given: &Params) {
        let (id, task) = (decision.run, decision.task);
        // What an earlier decision of the command ended has left its place.
        self.begin_waiting();
        let Some(work) = self.live_run(id) else { return };
        let Some((spec, it)) = work.spec(task).zip(work.tasks.get(task.0 as usize)) else { return };
        let ExecutorSpec::Workflow(wanted) = &spec.executor else { return };
        let wanted = wanted.clone();
        let tries = it.cells.at(0).map(|(_, state)| state.tries()).unwrap_or_default();
        let tries = Tries { attempts: tries.attempts.saturating_add(1), ..tries };
        let origin = origin_of(work, spec, task);
        let priority = spec.priority.unwrap_or(work.priority);
        let key = (work.version.namespace.clone(), wanted.name.clone());
        if let Some(it) = work.tasks.get_mut(task.0 as usize) {
            it.attempts = it.attempts.max(tries.attempts);
        }
        let may_start = self.may_start(&origin, &wanted, given, &key);
        let child = RunId(self.next_run);
        let run = self.after.run(child).or_else(|| self.left.get(&child)).cloned();
        let run =
            run.filter(|run| run.parent.as_ref().is_some_and(|it| (it.run, it.task) == (id, task)));
        if run.is_some() != may_start {
            let what =
                format!("run {id} task {task} may start a run: {may_start}, and it did not so");
            self.found(Invariant::I20, what);
        }
        let Some(run) = run else {
            self.count(Rare::ChildRefused);
            return self.fail_try(id, task, tries, FailureReason::Rejected);
        };
        self.count(Rare::ChildStarted);
        let latest = self.book.workflows.get(&key).and_then(|known| known.latest);
        if latest.map(|(number, _)| number) != Some(run.version.number) {
            self.found(
                Invariant::I20,
                format!("run {child} is of another version than the latest"),
            );
        }
        self.judge_submission(&run, given, Some(priority));
        self.accept_run(&key, &run, None, run.version.spec.concurrency, None);
        if let Some(work) = self.run(child) {
            work.parent = Some(origin);
        }
        let number = run.number;
        let task_of = self.run(id).and_then(|work| work.tasks.get_mut(task.0 as usize));
        if let Some(it) = task_of {
            it.child = Some(Arc::new(ChildRun { run: child, number }));
        }
        let what = Awaited::Run { run: child, tries, stop: None };
        self.change(id, task, WHOLE, TaskState::Awaiting { since: self.now, what });
        self.begin_waiting();
    }

    /// Whether a run can be made for a task. Asked before it is.
    fn may_start(
        &mut self,
        origin: &ParentTask,
        wanted: &SubWorkflowSpec,
        given: &Params,
        key: &(Name, Name),
    ) -> bool {
        let known = self.book.workflows.get(key);
        let Some((latest, _)) = known.and_then(|known| known.latest) else { return false };
        let others = known.map_or(0, |known| known.begun.len() + known.waiting.len());
        let waiting = known.map_or(0, |known| known.waiting.len());
        let Some(version) = self.version_numbered(key, latest) else { return false };
        let policy = match version.spec.concurrency {
            ConcurrencyPolicy::Allow => true,
            ConcurrencyPolicy::Forbid => others == 0,
            ConcurrencyPolicy::Replace => others == 0 || !self.is_above(origin, &wanted.name),
            ConcurrencyPolicy::Queue => {
                let has_room = waiting < limits::QUEUED_RUNS_MAX;
                others == 0 || has_room && !self.is_above(origin, &wanted.name)
            }
        };
        origin.depth <= DEPTH_MAX
            && others < limits::FIRED_RUNS_MAX
            && policy
            && are_good(&version, given)
            && self.may_have_run(&key.0)
    }

    /// The version of a workflow with this number, which a run can have had in this entry.
    fn version_numbered(&self, key: &(Name, Name), number: u32) -> Option<Arc<WorkflowVersion>> {
        let mut all = self.after.versions().iter().chain(self.before.versions.iter());
        let is_it = |it: &&Arc<WorkflowVersion>| {
            (&it.namespace, &it.workflow, it.number) == (&key.0, &key.1, number)
        };
        all.find(is_it).cloned()
    }

    /// Whether a workflow is one of those that led to a task.
    fn is_above(&mut self, origin: &ParentTask, workflow: &Name) -> bool {
        let mut above: BTreeSet<Name> = BTreeSet::new();
        let mut next = Some(origin.clone());
        while let Some(it) = next.take() {
            above.insert(it.workflow);
            next = self.run(it.run).and_then(|work| work.parent.clone());
        }
        above.contains(workflow)
    }

    /// A try of a task came to nothing.
    fn fail_try(&mut self, id: RunId, task: TaskIndex, tries: Tries, reason: FailureReason) {
        let (now, index) = (self.now, self.index);
        let Some(retry) = self.live_run(id).and_then(|work| work.spec(task)).map(|it| &it.retry)
        else {
            return;
        };
        let tries = Tries { failures: tries.failures.saturating_add(1), ..tries };
        let may_follow = match reason {
            FailureReason::TimedOut => retry.on_timeout,
            _ => retry.on_failure,
        };
        let to = if !may_follow || u32::from(tries.failures) > retry.limit {
            TaskState::Failed { tries, reason, last: None }
        } else {
            match rules::wait(&retry.backoff, tries.failures) {
                Millis(0) => TaskState::Undecided { since: index, tries },
                wait => TaskState::Backoff { tries, until: now + wait, avoid: None },
            }
        };
        self.change(id, task, WHOLE, to);
    }

    /// A run that ended in this entry, and whose task does not know of it.
    pub(super) fn untold_child(&self) -> Option<RunId> {
        let is_untold =
            |work: &&Work| work.ended.is_some() && work.parent.is_some() && !work.is_told;
        self.work.values().find(is_untold).map(|work| work.id)
    }

    /// The task that a run was started for comes to what that came to.
    pub(super) fn tell_parent(&mut self, child: RunId) {
        let Some(work) = self.run(child) else { return };
        work.is_told = true;
        let Some((parent, status)) = work.parent.clone().zip(work.ended) else { return };
        let given = outputs_of(work);
        let (id, task) = (parent.run, parent.task);
        let state = self.live_run(id).and_then(|work| work.task(task)?.cells.at(0));
        let (tries, stop) = match state.map(|(_, state)| *state) {
            Some(TaskState::Awaiting { what: Awaited::Run { run, tries, stop }, .. })
                if run == child =>
            {
                (tries, stop)
            }
            _ => return self.found(Invariant::I20, format!("nothing waits for run {child}")),
        };
        match (status, stop) {
            (RunStatus::Succeeded, _) => {
                self.count(Rare::ChildSucceeded);
                self.take_outputs(id, task, tries, given);
            }
            (_, Some(StopReason::AttemptTimedOut)) => {
                self.fail_try(id, task, tries, FailureReason::TimedOut);
            }
            (_, Some(_)) => self.change(id, task, WHOLE, TaskState::Cancelled),
            (_, None) => {
                self.count(Rare::ChildFailed);
                self.fail_try(id, task, tries, FailureReason::RunFailed);
            }
        }
    }

    fn take_outputs(&mut self, id: RunId, task: TaskIndex, tries: Tries, given: Option<Outputs>) {
        let Some(work) = self.live_run(id) else { return };
        let wanted = work.spec(task).map(|spec| spec.outputs.clone()).unwrap_or_default();
        let taken = given.map(|mut given| {
            given.retain(|key, _| wanted.contains(key));
            given
        });
        let bytes = |it: &Outputs| it.iter().map(|(key, it)| key.len() + it.len()).sum::<usize>();
        let taken = taken.filter(|taken| bytes(taken) <= limits::OUTPUT_BYTES_MAX);
        let Some(it) = work.tasks.get_mut(task.0 as usize) else { return };
        let to = match taken {
            Some(taken) => {
                it.outputs = (!taken.is_empty()).then(|| Arc::new(taken));
                TaskState::Succeeded { tries, last: None }
            }
            None => TaskState::Failed { tries, reason: FailureReason::Rejected, last: None },
        };
        self.change(id, task, WHOLE, to);
    }

    /// A run that must stop with the task that waits for it, and was not told yet.
    pub(super) fn stopped_child(&mut self) -> Option<RunId> {
        let stopped = self.work.values().flat_map(|work| &work.stopped);
        let stopped: BTreeSet<RunId> = stopped.copied().collect();
        // Those that wait come first, lest one of them begins in the place of another.
        let mut has_begun = |id| self.run(id).is_none_or(|work| work.begun_at.is_some());
        let (_, next) = stopped.into_iter().map(|id| (has_begun(id), id)).min()?;
        for work in self.work.values_mut() {
            work.stopped.remove(&next);
        }
        Some(next)
    }

    pub(super) fn stop_child(&mut self, child: RunId) {
        let now = self.now;
        if let Some(work) = self.live_run(child) {
            work.stop(StopReason::ByParent, now);
            self.mark_dirty(child);
            self.count(Rare::ChildStopped);
        }
    }
}

/// What a run says of the task that it is started for.
fn origin_of(work: &Work, spec: &TaskSpec, task: TaskIndex) -> ParentTask {
    let above = work.parent.as_ref();
    let fired = work.origin.as_ref().or(work.backfill.as_ref());
    let own = fired.map(|it| (it.fire_time, Some(it.schedule.clone())));
    let own = own.or_else(|| work.retry.as_ref().map(|it| (it.fire_time, it.schedule.clone())));
    let own = own.or_else(|| work.trigger.as_ref().map(|it| (it.fire_time, None)));
    let own = own.or_else(|| above.map(|it| (it.fire_time, it.schedule.clone())));
    let (fire_time, schedule) = own.unwrap_or((work.submitted_at, None));
    ParentTask {
        run: work.id,
        workflow: work.version.workflow.clone(),
        number: work.number,
        task,
        name: spec.id.clone(),
        depth: above.map_or(1, |it| it.depth + 1),
        fire_time,
        schedule,
    }
}

/// Whether a version takes these parameters.
fn are_good(version: &WorkflowVersion, given: &Params) -> bool {
    let declared = &version.spec.params;
    let value = |name: &Name| {
        let spec = declared.get(name)?;
        given.get(name).or(spec.default.as_ref()).map(|value| (spec, value))
    };
    let bytes = |name: &Name| value(name).map_or(0, |(_, it)| name.as_str().len() + it.len());
    let are_known = given.keys().all(|name| declared.contains_key(name));
    let fit =
        declared.keys().all(|name| value(name).is_some_and(|(spec, it)| spec.check(it).is_ok()));
    are_known && fit && declared.keys().map(bytes).sum::<usize>() <= limits::PARAM_BYTES_MAX
}

/// What a run gives to its task; `None` if one text of it is larger than any may be.
fn outputs_of(work: &Work) -> Option<Outputs> {
    let mut outputs = Outputs::new();
    for (key, text) in &work.version.spec.outputs {
        let Ok(parts) = template::parse(text) else { continue };
        let values: Option<Vec<Text>> = parts.iter().map(|part| value_of(work, part)).collect();
        let Some(values) = values else { continue };
        let value = values.concat();
        if value.len() > limits::TEXT_BYTES_MAX {
            return None;
        }
        outputs.insert(key.clone(), value.into());
    }
    Some(outputs)
}

fn value_of(work: &Work, part: &Part) -> Option<Text> {
    match part {
        Part::Literal(text) => Some(text.clone()),
        Part::Reference(Reference::Param(wanted)) => {
            let found = work.params.iter().find(|(it, _)| is_same(wanted, it.as_str()));
            found.map(|(_, value)| value.clone())
        }
        Part::Reference(Reference::TaskOutput { task, key }) => {
            let mut tasks = work.tasks.iter().zip(&work.version.spec.tasks);
            let (it, _) = tasks.find(|(_, spec)| is_same(task, spec.id.as_str()))?;
            let found = it.outputs.as_ref()?.iter().find(|(it, _)| is_same(key, it));
            found.map(|(_, value)| value.clone())
        }
        Part::Reference(_) => None,
    }
}

/// References may write `_` for `-`.
fn is_same(written: &str, name: &str) -> bool {
    written.replace('-', "_") == name.replace('-', "_")
}
