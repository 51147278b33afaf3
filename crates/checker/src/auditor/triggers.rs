//! Triggers, gone through: what follows the end of a run, and that nothing follows itself.

use std::collections::BTreeSet;

use muster_core::ids::{Name, RunId};
use muster_core::limits;
use muster_core::spec::trigger::{TriggerOn, TriggerSpec};
use muster_core::spec::{ConcurrencyPolicy, WorkflowSpec};
use muster_core::state::hooks::RunResult;
use muster_core::state::run::{RunStatus, TriggerOrigin};
use muster_core::state::task::StopReason;
use muster_core::state::workflow::Trigger;

use super::step::Step;
use super::work::Work;
use crate::coverage::Rare;
use crate::mix::spec_digest;
use crate::verdict::Invariant;

/// How many tasks a run counts for by itself.
const RUN_WEIGHT: usize = 50;

/// Namespace and name of a workflow.
type Key = (Name, Name);

/// What the latest version of a workflow says of the runs that follow others' ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Follows {
    pub(super) policy: ConcurrencyPolicy,
    pub(super) tasks: usize,
    /// Its triggers, in its order, each as it was written and what it came to.
    pub(super) triggers: Vec<(TriggerSpec, Trigger)>,
}

impl Follows {
    /// Those of a new version: a trigger with a name that is known keeps what it counted.
    pub(super) fn carried_over(&self, spec: &WorkflowSpec) -> Self {
        let state = |name: &Name| self.triggers.iter().find(|(_, state)| state.name == *name);
        let fresh = |name: &Name| Trigger {
            name: name.clone(),
            is_suspended: false,
            fired: 0,
            passed_over: 0,
        };
        let triggers = spec.triggers.iter().map(|trigger| {
            let known = state(&trigger.name).map(|(_, state)| state.clone());
            (trigger.clone(), known.unwrap_or_else(|| fresh(&trigger.name)))
        });
        Follows { policy: spec.concurrency, tasks: spec.tasks.len(), triggers: triggers.collect() }
    }
}

/// How a run ended that others may follow, and what it was about.
struct End {
    key: Key,
    origin: TriggerOrigin,
}

impl Step<'_> {
    /// A run that ended makes the runs that follow it. `tasks` is what all such runs of the command have so far.
    pub(super) fn follow_end(&mut self, id: RunId, tasks: &mut usize) {
        let Some(end) = self.end_to_follow(id) else { return };
        let key = &end.key;
        let all = self.book.workflows.iter().filter(|((namespace, _), _)| *namespace == key.0);
        let followers = all.flat_map(|(follower, known)| {
            let triggers = known.follows.triggers.iter().enumerate();
            let after = triggers.filter(|(_, (spec, _))| spec.after == key.1);
            after.map(|(at, _)| (follower.clone(), at))
        });
        let followers: Vec<(Key, usize)> = followers.collect();
        for (follower, at) in followers {
            self.follow(&end, &follower, at, tasks);
        }
    }

    /// The end of a run, unless nothing follows it: one that never began or was replaced, a one-off, or one of a
    /// backfill or of a task.
    fn end_to_follow(&self, id: RunId) -> Option<End> {
        let Work {
            version,
            begun_at,
            origin,
            retry,
            trigger,
            parent,
            submitted_at,
            stop,
            ended,
            ..
        } = self.work.get(&id)?;
        let left = self.left.get(&id)?;
        let is_replaced = matches!(stop, Some((_, StopReason::Replaced)));
        let is_made_apart = version.number == 0 || left.backfill.is_some() || parent.is_some();
        if begun_at.is_none() || is_replaced || is_made_apart {
            return None;
        }
        let is_late = matches!(stop, Some((_, StopReason::RunTimedOut)));
        let result = match ended {
            Some(RunStatus::Succeeded) => RunResult::Succeeded,
            Some(RunStatus::Failed) if is_late => RunResult::TimedOut,
            Some(RunStatus::Failed) => RunResult::Failed,
            Some(RunStatus::Cancelled) => RunResult::Cancelled,
            Some(RunStatus::Queued | RunStatus::Running | RunStatus::Paused) | None => return None,
        };
        let fire_time = match (origin, retry, trigger) {
            (Some(origin), _, _) => origin.fire_time,
            (None, Some(retry), _) => retry.fire_time,
            (None, None, Some(trigger)) => trigger.fire_time,
            (None, None, None) => *submitted_at,
        };
        let origin = TriggerOrigin {
            // Stands for that of each trigger.
            trigger: version.workflow.clone(),
            workflow: version.workflow.clone(),
            run: id,
            number: left.number,
            result,
            fire_time,
        };
        Some(End { key: (version.namespace.clone(), version.workflow.clone()), origin })
    }

    /// One trigger, and an end: the run that it makes is the next one, or it is passed over.
    fn follow(&mut self, end: &End, key: &Key, at: usize, tasks: &mut usize) {
        let Some(known) = self.book.workflows.get(key) else { return };
        let follows = &known.follows;
        let Some((spec, state)) = follows.triggers.get(at).cloned() else { return };
        let is_off = spec.is_suspended || state.is_suspended;
        if is_off || !is_meant(spec.on, end.origin.result) {
            return;
        }
        self.touched_workflows.insert(key.clone());
        let (others, policy) = (known.begun.len() + known.waiting.len(), follows.policy);
        let is_held = match policy {
            ConcurrencyPolicy::Allow | ConcurrencyPolicy::Replace => false,
            ConcurrencyPolicy::Forbid => others > 0,
            ConcurrencyPolicy::Queue => {
                others > 0 && known.waiting.len() >= limits::QUEUED_RUNS_MAX
            }
        };
        let is_crowded = others >= limits::FIRED_RUNS_MAX
            || *tasks + follows.tasks + RUN_WEIGHT > limits::TRIGGERED_TASKS_MAX;
        let (latest, size) = (known.latest, follows.tasks);
        if is_held || is_crowded || !self.may_have_run(&key.0) {
            self.count(Rare::TriggerPassedOver);
            return self.note_fired(key, at, false);
        }
        *tasks += size + RUN_WEIGHT;
        let id = RunId(self.next_run);
        let Some(run) = self.after.run(id).or_else(|| self.left.get(&id)).cloned() else {
            let what = format!("nothing of `{}` followed run {}", key.1, end.origin.run);
            return self.found(Invariant::I8, what);
        };
        let of = (&run.version.namespace, &run.version.workflow);
        let version = (run.version.number, spec_digest(&run.version.spec));
        if of != (&key.0, &key.1) || Some(version) != latest {
            let what = format!("run {id} is not what `{}` makes after {}", key.1, end.origin.run);
            return self.found(Invariant::I8, what);
        }
        self.judge_submission(&run, &spec.params, None);
        self.cause = Some(TriggerOrigin { trigger: spec.name.clone(), ..end.origin.clone() });
        self.accept_run(key, &run, None, policy, None);
        // One that replaces others begins before anything else is looked at.
        self.begin_waiting();
        self.count(Rare::TriggerFired);
        self.note_fired(key, at, true);
    }

    fn note_fired(&mut self, key: &Key, at: usize, is_made: bool) {
        let known = self.book.workflows.entry(key.clone()).or_default();
        let Some((_, state)) = known.follows.triggers.get_mut(at) else { return };
        let counted = if is_made { &mut state.fired } else { &mut state.passed_over };
        *counted += 1;
    }

    /// No workflow whose version was taken follows itself, over others or not.
    pub(super) fn judge_circle(&mut self, key: &Key) {
        let known = self.book.workflows.get(key);
        let triggers = known.into_iter().flat_map(|known| &known.follows.triggers);
        let after: Vec<Name> = triggers.map(|(spec, _)| spec.after.clone()).collect();
        if self.follows_itself(key, after) {
            let what = format!("`{}` was let follow itself", key.1);
            self.found(Invariant::I8, what);
        }
    }

    /// A version that was refused for a circle must have made one.
    pub(super) fn circle_refused(&mut self, namespace: &Name, spec: &WorkflowSpec) {
        let key = (namespace.clone(), spec.name.clone());
        let after = spec.triggers.iter().map(|trigger| trigger.after.clone()).collect();
        if self.follows_itself(&key, after) {
            self.count(Rare::TriggerCycleRefused);
        } else {
            let what = format!("`{}` was refused for a circle, and makes none", key.1);
            self.found(Invariant::I8, what);
        }
    }

    /// Whether a workflow that comes after these comes after itself.
    fn follows_itself(&self, key: &Key, after: Vec<Name>) -> bool {
        let (mut ahead, mut seen) = (after, BTreeSet::new());
        while let Some(name) = ahead.pop() {
            if name == key.1 {
                return true;
            }
            let known = self.book.workflows.get(&(key.0.clone(), name.clone()));
            if seen.insert(name) {
                let triggers = known.into_iter().flat_map(|known| &known.follows.triggers);
                ahead.extend(triggers.map(|(spec, _)| spec.after.clone()));
            }
        }
        false
    }

    pub(super) fn compare_triggers(&mut self, key: &Key) {
        let known = self.book.workflows.get(key);
        let triggers = known.into_iter().flat_map(|it| &it.follows.triggers);
        let wanted: Vec<&Trigger> = triggers.map(|(_, state)| state).collect();
        let workflow = self.after.workflow(key.0.as_str(), key.1.as_str());
        let actual: Vec<&Trigger> = workflow.into_iter().flat_map(|it| &it.triggers).collect();
        if wanted != actual {
            let what = format!("`{}` has triggers {actual:?}, should have {wanted:?}", key.1);
            self.found(Invariant::I8, what);
        }
    }
}

/// Whether a trigger follows such ends, as the reference says it.
fn is_meant(on: TriggerOn, result: RunResult) -> bool {
    match (on, result) {
        (TriggerOn::End, _) => true,
        (TriggerOn::Success, RunResult::Succeeded) => true,
        (TriggerOn::Failure, RunResult::Failed | RunResult::TimedOut) => true,
        (TriggerOn::Success, RunResult::Failed | RunResult::TimedOut | RunResult::Cancelled)
        | (TriggerOn::Failure, RunResult::Succeeded | RunResult::Cancelled) => false,
    }
}
