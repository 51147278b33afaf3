//! Commands about workflows and runs, gone through.

use std::sync::Arc;

use muster_core::command::{ApplyWorkflow, CancelRun, ReleaseTask, RunSource, SubmitRun};
use muster_core::ids::{Name, RunId};
use muster_core::limits;
use muster_core::reply::Reply;
use muster_core::spec::{ConcurrencyPolicy, WorkflowSpec};
use muster_core::state::run::{Params, Run};
use muster_core::state::task::{FailureReason, TaskState};
use muster_core::state::trail::Deed;

use super::rules;
use super::schedules::carried_over;
use super::step::Step;
use crate::coverage::Rare;
use crate::mix::spec_digest;
use crate::verdict::Invariant;

impl Step<'_> {
    pub(super) fn apply_workflow(&mut self, command: &ApplyWorkflow, reply: &Reply) {
        let Reply::WorkflowApplied { version, is_new } = reply else {
            return self.found(Invariant::I17, format!("an applied workflow was told {reply:?}"));
        };
        let wanted = self.expect_version(&command.namespace, &command.spec);
        if wanted != (*version, *is_new) {
            let what = format!(
                "workflow `{}` was told version {version} (new: {is_new}), should be {wanted:?}",
                command.spec.name
            );
            self.found(Invariant::I2, what);
        }
    }

    /// The version that applying a spec must give, and whether it is a new one.
    fn expect_version(&mut self, namespace: &Name, spec: &WorkflowSpec) -> (u32, bool) {
        let key = (namespace.clone(), spec.name.clone());
        self.touched_workflows.insert(key.clone());
        let digest = spec_digest(spec);
        let known = self.book.workflows.entry(key.clone()).or_default();
        match known.latest {
            Some((number, latest)) if latest == digest => (number, false),
            _ => {
                let number = known.latest.map_or(0, |(number, _)| number) + 1;
                known.earlier.extend(known.latest.replace((number, digest)));
                if known.earlier.len() > limits::EARLIER_VERSIONS_MAX {
                    known.earlier.pop_front();
                }
                known.schedules = carried_over(&known.schedules, spec, self.now);
                known.follows = known.follows.carried_over(spec);
                self.judge_circle(&key);
                self.owe(Deed::Apply, None);
                self.judge_named_groups(namespace, spec);
                (number, true)
            }
        }
    }

    pub(super) fn submit_run(&mut self, command: &SubmitRun, reply: &Reply) {
        let Reply::RunSubmitted { run: id, workflow, number } = reply else {
            return self.found(Invariant::I17, format!("a submission was told {reply:?}"));
        };
        let (id, number) = (*id, *number);
        if self.ledger.runs.contains_key(&id) || self.before.runs.get(id.0).is_some() {
            return self.found(
                Invariant::I3,
                format!("a submission was told of run {id}, which is another's"),
            );
        }
        let found = self.after.run(id).or_else(|| self.left.get(&id)).cloned();
        let Some(run) = found else {
            return self.found(Invariant::I2, format!("run {id} was accepted and is nowhere"));
        };
        self.judge_version(command, &run);
        self.judge_submission(&run, &given_params(command, &run), command.priority);
        if run.backfill != command.backfill || run.origin.is_some() {
            self.found(Invariant::I8, format!("run {id} is for another fire time than asked for"));
        }
        if run.number != number {
            self.found(Invariant::I16, format!("run {id} was told to be number {number}"));
        }
        let request = command.request.as_ref().map(|key| key.id.clone());
        let key = (command.namespace.clone(), workflow.clone());
        let policy = match &command.source {
            RunSource::OneOff(_) => ConcurrencyPolicy::Allow,
            // Of the version that it is a run of, which was judged before.
            RunSource::Apply(_) | RunSource::Workflow { .. } => run.version.spec.concurrency,
        };
        self.accept_run(&key, &run, request, policy, None);
    }

    /// A run that was told to be forbidden must have another beside it.
    pub(super) fn submission_forbidden(&mut self, command: &SubmitRun) {
        let name = match &command.source {
            RunSource::Workflow { workflow, .. } => workflow,
            RunSource::Apply(spec) | RunSource::OneOff(spec) => &spec.name,
        };
        let known = self.book.workflows.get(&(command.namespace.clone(), name.clone()));
        let is_alone = known.is_none_or(|it| it.begun.is_empty() && it.waiting.is_empty());
        if is_alone || matches!(command.source, RunSource::OneOff(_)) {
            self.found(Invariant::I9, format!("a run of `{name}` was forbidden, and is alone"));
        } else {
            self.count(Rare::RunForbidden);
        }
    }

    /// The run must have the workflow version that was asked for.
    fn judge_version(&mut self, command: &SubmitRun, run: &Arc<Run>) {
        let (number, digest) = (run.version.number, spec_digest(&run.version.spec));
        let wanted = match &command.source {
            RunSource::OneOff(spec) => {
                self.judge_named_groups(&command.namespace, spec);
                Some((0, spec_digest(spec)))
            }
            RunSource::Apply(spec) => {
                let (number, _) = self.expect_version(&command.namespace, spec);
                Some((number, spec_digest(spec)))
            }
            RunSource::Workflow { workflow, version } => {
                let key = (command.namespace.clone(), workflow.clone());
                self.book.workflows.get(&key).and_then(|known| {
                    let mut all = known.latest.iter().chain(&known.earlier);
                    all.find(|(number, _)| version.is_none_or(|it| it == *number)).copied()
                })
            }
        };
        if wanted != Some((number, digest)) {
            let what =
                format!("run {} has version {number} of another spec than asked for", run.id);
            self.found(Invariant::I2, what);
        }
    }

    /// The run must have the parameters and the priority that were asked for.
    pub(super) fn judge_submission(
        &mut self,
        run: &Arc<Run>,
        given: &Params,
        priority: Option<i32>,
    ) {
        let declared = run.version.spec.params.iter().filter_map(|(name, spec)| {
            let value = given.get(name).or(spec.default.as_ref())?;
            Some((name.clone(), value.clone()))
        });
        let params: Params = declared.collect();
        let priority = priority.unwrap_or(run.version.spec.priority);
        let priority = priority.clamp(-limits::PRIORITY_MAX, limits::PRIORITY_MAX);
        if *run.params != params || run.priority != priority || run.submitted_at != self.now {
            let what =
                format!("run {} has other parameters, priority or time than submitted", run.id);
            self.found(Invariant::I2, what);
        }
    }

    pub(super) fn cancel_run(&mut self, command: &CancelRun) {
        let (id, now, index) = (command.run, self.now, self.index);
        let Some(work) = self.live_run(id) else {
            return self.found(Invariant::I15, format!("run {id} is not live, and was cancelled"));
        };
        work.cancel(now);
        self.mark_dirty(id);
        if let Some(record) = self.ledger.runs.get_mut(&id) {
            record.cancelled.get_or_insert(index);
        }
    }

    pub(super) fn cancel_refused(&mut self, command: &CancelRun) {
        if self.live_run(command.run).is_some_and(|work| !work.is_doubtful) {
            let what = format!("run {} is live, and its cancel was refused", command.run);
            self.found(Invariant::I15, what);
        } else if self.ledger.runs.contains_key(&command.run) {
            self.count(Rare::CancelTooLate);
        }
    }

    pub(super) fn release_task(&mut self, command: &ReleaseTask) {
        let (id, task, now) = (command.run, command.task, self.now);
        let mut held = Vec::new();
        if let Some(work) = self.live_run(id)
            && let (Some(it), Some(spec)) = (work.task(task), work.spec(task))
        {
            for (range, state) in it.cells.iter() {
                let TaskState::Held { tries } = *state else { continue };
                let failed = TaskState::Failed { tries, reason: FailureReason::Lost, last: None };
                let ready = TaskState::Ready { tries, since: now, avoid: None };
                held.push((range, if command.rerun { ready } else { rules::plain(spec, failed) }));
            }
        }
        if held.is_empty() {
            self.doubt(id);
            let what = format!("task {task} of run {id} is not held, and was released");
            return self.found(Invariant::I5, what);
        }
        self.count(Rare::Released);
        for (range, to) in held {
            self.change(id, task, range, to);
        }
    }

    /// What becomes of this run cannot be told any more in this entry.
    pub(super) fn doubt(&mut self, run: RunId) {
        if let Some(work) = self.run(run) {
            work.is_doubtful = true;
        }
    }
}

/// The parameters that a submission gives: of one for a fire time, the schedule's as well, unless it has its own.
fn given_params(command: &SubmitRun, run: &Run) -> Params {
    let mut given = (*command.params).clone();
    let schedules = run.version.spec.schedules.iter();
    for schedule in schedules {
        if command.backfill.as_ref().is_some_and(|it| it.schedule == schedule.name) {
            for (name, value) in &schedule.params {
                given.entry(name.clone()).or_insert_with(|| value.clone());
            }
        }
    }
    given
}
