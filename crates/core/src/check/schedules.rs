//! Schedules and triggers, and the runs that they made or that wait.

use super::{Violation, violated};
use crate::spec::ConcurrencyPolicy;
use crate::state::State;
use crate::state::run::Run;
use crate::state::workflow::{NextFire, Workflow};

impl State {
    /// Schedules and triggers are those of the latest version (I16), each fire time and each end that a trigger follows
    /// made one run at most (I8), and runs begin beside
    /// others only where the policy allows it (I9).
    pub(super) fn check_schedules(&self) -> Result<(), Violation> {
        for workflow in self.workflows.iter() {
            self.check_schedules_of(workflow)?;
            self.check_origins(workflow)?;
            self.check_followers(workflow)?;
            self.check_concurrency(workflow)?;
        }
        Ok(())
    }

    fn check_schedules_of(&self, workflow: &Workflow) -> Result<(), Violation> {
        let id = workflow.id;
        let version = workflow.latest.and_then(|id| self.versions.get(id));
        let specs = version.map(|version| version.spec.schedules.as_slice()).unwrap_or_default();
        let names = specs.iter().map(|spec| &spec.name);
        if !names.eq(workflow.schedules.iter().map(|it| &it.name)) {
            return violated("I16", format!("workflow {id} has other schedules than its version"));
        }
        for (schedule, spec) in workflow.schedules.iter().zip(specs) {
            let is_off = schedule.is_suspended || spec.is_suspended;
            let next_is_sound = match schedule.next {
                NextFire::Unknown => true,
                NextFire::Never => !is_off,
                NextFire::At { fire_time, due_at } => {
                    !is_off && fire_time > schedule.decided_until && due_at >= fire_time
                }
            };
            let last_is_decided =
                schedule.last_fired.is_none_or(|last| last <= schedule.decided_until);
            if !next_is_sound || !last_is_decided || schedule.decided_until > self.now() {
                let what = format!("schedule {} of workflow {id}: {schedule:?}", schedule.name);
                return violated("I8", what);
            }
        }
        Ok(())
    }

    fn check_origins(&self, workflow: &Workflow) -> Result<(), Violation> {
        let mut seen = std::collections::BTreeSet::new();
        for run in self.live_runs(workflow.id) {
            let Some(origin) = &run.origin else { continue };
            if !seen.insert((&origin.schedule, origin.fire_time)) {
                return violated("I8", format!("run {} is the second for its fire time", run.id));
            }
            let schedule = workflow.schedules.iter().find(|it| it.name == origin.schedule);
            if schedule.is_some_and(|it| origin.fire_time > it.decided_until) {
                return violated("I8", format!("run {} came before its fire time", run.id));
            }
        }
        Ok(())
    }

    /// What a run follows has ended, and nothing else of its workflow follows that.
    fn check_followers(&self, workflow: &Workflow) -> Result<(), Violation> {
        let version = workflow.latest.and_then(|id| self.versions.get(id));
        let specs = version.map(|version| version.spec.triggers.as_slice()).unwrap_or_default();
        if !specs.iter().map(|it| &it.name).eq(workflow.triggers.iter().map(|it| &it.name)) {
            let id = workflow.id;
            return violated("I16", format!("workflow {id} has other triggers than its version"));
        }
        let mut seen = std::collections::BTreeSet::new();
        for run in self.live_runs(workflow.id) {
            let Some(trigger) = &run.trigger else { continue };
            if !seen.insert(trigger.run) {
                return violated("I8", format!("run {} is the second after one end", run.id));
            }
            if trigger.run >= run.id || self.run(trigger.run).is_some() {
                let what = format!("run {} follows {}, which has not ended", run.id, trigger.run);
                return violated("I8", what);
            }
        }
        Ok(())
    }

    /// A run whose policy is not to be beside others began when there was no other, and one that waits waits for one
    /// that lives.
    fn check_concurrency(&self, workflow: &Workflow) -> Result<(), Violation> {
        let (mut first, mut waits) = (None, None);
        for run in self.live_runs(workflow.id) {
            match run.begun_at {
                Some(at) => {
                    first = Some(first.map_or(at, |first: crate::time::Timestamp| first.min(at)))
                }
                None => waits = Some(run.id),
            }
        }
        if let (Some(run), None) = (waits, first) {
            return violated("I9", format!("run {run} waits for nobody"));
        }
        let is_alone = |run: &Run| match run.version.spec.concurrency {
            ConcurrencyPolicy::Allow => false,
            ConcurrencyPolicy::Forbid | ConcurrencyPolicy::Replace | ConcurrencyPolicy::Queue => {
                run.version.number > 0
            }
        };
        let begun = self.live_runs(workflow.id).filter(|run| is_alone(run));
        for run in begun {
            if run.begun_at.is_some_and(|at| first.is_some_and(|first| at > first)) {
                return violated("I9", format!("run {} began beside another", run.id));
            }
        }
        Ok(())
    }
}
