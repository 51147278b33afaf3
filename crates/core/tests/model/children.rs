//! The model's rules for tasks that start runs of other workflows.

use muster_core::limits;
use muster_core::spec::ExecutorSpec;
use muster_core::state::run::RunStatus;
use muster_core::state::task::{FailureReason, StopReason, Tries};

use super::naive::{Cell, Cells, Child, End, Lists, Model, Run};
use super::rules::wait;

impl Run {
    /// Whether the task starts runs.
    pub(crate) fn is_parent(&self, task: u32) -> bool {
        let spec = self.task(task);
        spec.is_some_and(|spec| matches!(spec.executor, ExecutorSpec::Workflow(_)))
    }
}

impl Child {
    /// Has it stop, unless it has to for good already. Returns the run that is to be told.
    pub(super) fn stop(&mut self, reason: StopReason) -> Option<u64> {
        if self.stop.is_some_and(|it| it != StopReason::AttemptTimedOut) {
            return None;
        }
        self.stop = Some(reason);
        Some(self.run)
    }
}

impl Model {
    /// What one command or moment brings about in other runs, and by `failFast`.
    pub(super) fn follow_up(&mut self) {
        loop {
            if let Some((child, (run, task, status))) = self.untold.pop_first() {
                self.end_child(child, run, task, status);
            } else if let Some(child) = self.stopped.pop_first() {
                self.stop_run(child, StopReason::ByParent);
            } else if let Some((run, task)) = self.failed.pop_first() {
                self.fail_fast(run, task);
            } else {
                return;
            }
        }
    }

    pub(super) fn start_child(&mut self, id: u64, task: u32, tries: Tries) {
        let tries = Tries { attempts: tries.attempts + 1, ..tries };
        let run = self.runs.get_mut(&id).expect("it is undecided");
        let highest = run.attempts.entry(task).or_default();
        *highest = (*highest).max(tries.attempts);
        let spec = &run.spec.tasks[task as usize];
        let ExecutorSpec::Workflow(wanted) = &spec.executor else { unreachable!("it starts runs") };
        let priority = spec.priority.unwrap_or(run.priority);
        let depth = run.parent.map_or(0, |(.., depth)| depth) + 1;
        let known = self.workflows.get(&wanted.name);
        let latest = known.and_then(|it| it.kept.last_key_value()).map(|(_, spec)| spec.clone());
        let may_start = depth <= limits::SUB_WORKFLOW_DEPTH_MAX
            && self.check_runs(&super::ops::namespace()).is_ok();
        let Some(spec) = latest.filter(|_| may_start) else {
            return self.fail_try(id, task, tries, FailureReason::Rejected);
        };
        self.start_run(spec, priority, Cells::new(), Lists::new());
        let child = self.runs_ever;
        self.runs.get_mut(&child).expect("nothing of it has ended").parent =
            Some((id, task, depth));
        let cell = Cell::Child(Child { run: child, tries, since: self.now, stop: None });
        self.set(id, task, 0, cell);
    }

    fn fail_try(&mut self, id: u64, task: u32, tries: Tries, reason: FailureReason) {
        let spec = &self.runs[&id].spec.tasks[task as usize];
        let tries = Tries { failures: tries.failures + 1, ..tries };
        let may_follow = match reason {
            FailureReason::TimedOut => spec.retry.on_timeout,
            _ => spec.retry.on_failure,
        };
        let cell = if !may_follow || u32::from(tries.failures) > spec.retry.limit {
            Cell::Ended(End::Failed(reason))
        } else {
            match wait(spec, tries) {
                0 => Cell::Undecided { since: self.index, tries },
                wait => Cell::Backoff { tries, until: self.now + wait, avoid: None },
            }
        };
        self.set(id, task, 0, cell);
    }

    /// The task that a run was started for comes to what that came to.
    fn end_child(&mut self, child: u64, id: u64, task: u32, status: RunStatus) {
        let Cell::Child(Child { run, tries, stop, .. }) = self.runs[&id].cells[&(task, 0)] else {
            panic!("run {child} ended, and its task does not wait for it");
        };
        assert_eq!(run, child, "a task waits for one run");
        match (status, stop) {
            (RunStatus::Succeeded, _) => self.set(id, task, 0, Cell::Ended(End::Succeeded)),
            (_, Some(StopReason::AttemptTimedOut)) => {
                self.fail_try(id, task, tries, FailureReason::TimedOut);
            }
            (_, Some(_)) => self.set(id, task, 0, Cell::Ended(End::Cancelled)),
            (_, None) => self.fail_try(id, task, tries, FailureReason::RunFailed),
        }
    }
}
