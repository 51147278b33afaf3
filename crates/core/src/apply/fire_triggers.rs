//! Runs that ended make runs of the workflows that follow theirs, in this very entry, so that no end is lost and none
//! makes two runs of one workflow (I8).

use std::sync::Arc;

use super::Step;
use super::submit_run::{Admission, NewRun, effective_params};
use crate::event::Event;
use crate::ids::Name;
use crate::limits;
use crate::mutant::{self, Mutant};
use crate::state::run::{Params, Run, RunStatus, TriggerOrigin};
use crate::state::workflow::WorkflowVersion;

impl Step<'_> {
    /// What ended makes the runs that follow it. Runs that are made here end here only if another one replaces them,
    /// and then nothing follows them, so that this comes to an end. `tasks` is what all such runs of the command have
    /// so far.
    pub(super) fn fire_triggers(&mut self, run: &Arc<Run>, tasks: &mut usize) {
        let version = &run.version;
        let after = self.state.triggers.after(&version.namespace, &version.workflow);
        let followers: Vec<(Name, u32)> = after.cloned().collect();
        for (workflow, position) in followers {
            self.fire_trigger(run, &workflow, position, tasks);
            if mutant::is_on(Mutant::TriggerDoubled) {
                self.fire_trigger(run, &workflow, position, tasks);
            }
        }
    }

    /// Keeps a run that ended, if others may follow it.
    pub(super) fn note_end(&mut self, run: &Arc<Run>) {
        let is_forgotten =
            run.status() == RunStatus::Failed && mutant::is_on(Mutant::TriggerForgotten);
        if run.may_be_followed() && !is_forgotten {
            self.ended.insert(run.id, run.clone());
        }
    }

    /// Makes the run of a workflow that follows another one's end, or passes it over.
    fn fire_trigger(&mut self, ended: &Arc<Run>, workflow: &Name, at: u32, tasks: &mut usize) {
        let at = at as usize;
        let namespace = ended.version.namespace.as_str();
        let Some(it) = self.state.workflow(namespace, workflow.as_str()) else { return };
        let Some(version) = it.latest.and_then(|id| self.state.versions.get(id)).cloned() else {
            return;
        };
        let (Some(spec), Some(state)) = (version.spec.triggers.get(at), it.triggers.get(at)) else {
            return;
        };
        let Some(result) = ended.ended_as() else { return };
        if !result.is_followed(spec.on) || spec.is_suspended || state.is_suspended {
            return;
        }
        let id = it.id;
        let admitted = self.admit_triggered(id, &version, at, *tasks);
        let is_made = admitted.is_some();
        if let Some((params, admission)) = admitted {
            *tasks += weight(&version);
            let trigger = Some(TriggerOrigin {
                trigger: spec.name.clone(),
                workflow: ended.version.workflow.clone(),
                run: ended.id,
                number: ended.number,
                result,
                fire_time: ended.fire_time(),
            });
            let run = NewRun { trigger, ..NewRun::fresh(params) };
            self.start_run(version.clone(), run, admission);
        }
        let state = self.state.workflows.get_mut(id).and_then(|it| it.triggers.get_mut(at));
        if let Some(state) = state {
            state.fired += u64::from(is_made);
            state.passed_over += u64::from(!is_made);
        }
        self.events.push(Event::TriggerFired { workflow: id, is_passed_over: !is_made });
    }

    /// What one more run of a workflow begins with, unless the bounds or the policy are in the way.
    fn admit_triggered(
        &self,
        workflow: u64,
        version: &WorkflowVersion,
        at: usize,
        tasks: usize,
    ) -> Option<(Arc<Params>, Admission)> {
        let params =
            effective_params(&version.spec, &version.spec.triggers.get(at)?.params).ok()?;
        let is_bounded = tasks + weight(version) <= limits::TRIGGERED_TASKS_MAX
            && self.state.runs.len() < limits::RUNS_MAX
            && self.state.live_runs_of(workflow) < limits::FIRED_RUNS_MAX as u64;
        if !is_bounded || self.check_run_quota(&version.namespace).is_err() {
            return None;
        }
        let policy = version.spec.concurrency;
        let admission = self.admission(Some(workflow), &version.workflow, policy).ok()?;
        Some((params, admission))
    }
}

/// What a run counts for: its tasks, and some more for itself.
fn weight(version: &WorkflowVersion) -> usize {
    version.spec.tasks.len() + limits::TRIGGERED_RUN_WEIGHT
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::LogIndex;
    use crate::spec::trigger::TriggerSpec;
    use crate::spec::{ExecutorSpec, TaskSpec, WorkflowSpec};
    use crate::state::State;
    use crate::time::Timestamp;

    #[test]
    fn one_command_makes_so_many_tasks_and_no_more() {
        let name = |text: &str| Name::parse(text).expect("a name");
        let task = |id: &str| TaskSpec::new(name(id), ExecutorSpec::Noop);
        let mut spec = WorkflowSpec::new(name("report"), vec![task("a"), task("b")]);
        spec.triggers.push(TriggerSpec::new(name("t"), name("ingest")));
        let mut state = State::default();
        let mut step = Step::new(&mut state, LogIndex(1), Timestamp(0));
        let (version, _) = step.latest_version(&name("default"), &spec).expect("it is sound");
        let is_admitted = |tasks| step.admit_triggered(1, &version, 0, tasks).is_some();
        let weight = 2 + limits::TRIGGERED_RUN_WEIGHT;
        assert!(is_admitted(limits::TRIGGERED_TASKS_MAX - weight));
        assert!(!is_admitted(limits::TRIGGERED_TASKS_MAX - weight + 1));
    }
}
