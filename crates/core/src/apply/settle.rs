//! What follows from the end of a task: its downstream tasks start or are skipped, and the last end ends the run.

use std::sync::Arc;

use super::Step;
use crate::event::Event;
use crate::ids::{RunId, TaskIndex};
use crate::spec::{Condition, DependencyRule};
use crate::state::Due;
use crate::state::run::{Run, RunEnded};
use crate::state::task::{Task, TaskEnd, TaskState, Tries};

/// What the upstream ends say about a blocked task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Wait,
    Start,
    Skip { by_failure: bool },
}

impl Step<'_> {
    /// Follows the end of `first_ended` through the run.
    pub(super) fn settle(&mut self, run_id: RunId, first_ended: TaskIndex) {
        let mut ended = vec![first_ended];
        while let Some(task) = ended.pop() {
            let Some(run) = self.state.runs.get_mut(run_id.0) else { return };
            run.open = run.open.saturating_sub(1);
            let version = run.version.clone();
            let Some(end) = run.task(task).and_then(Task::end) else { continue };
            for downstream in version.graph.downstream(task) {
                if self.settle_downstream(run_id, *downstream, end) {
                    ended.push(*downstream);
                }
            }
        }
        if self.state.run(run_id).is_some_and(|run| run.open == 0) {
            self.end_run(run_id);
        }
    }

    /// Tells a task that one of its upstream tasks ended. Returns whether the task ended by it.
    fn settle_downstream(&mut self, run_id: RunId, index: TaskIndex, upstream: TaskEnd) -> bool {
        let Some(run) = self.state.runs.get_mut(run_id.0) else { return false };
        let Some(task) = run.tasks.get_mut(index.0 as usize) else { return false };
        task.waiting = task.waiting.saturating_sub(1);
        let range = task.cells.indices();
        let is_blocked = matches!(task.cells.at(range.first), Some((_, TaskState::Blocked)));
        if !is_blocked {
            return false;
        }
        let to = match verdict(run, index, upstream) {
            Verdict::Wait => return false,
            Verdict::Start => {
                TaskState::Ready { tries: Tries::default(), since: self.now, avoid: None }
            }
            Verdict::Skip { by_failure } => TaskState::Skipped { by_failure },
        };
        self.state.change(run_id, index, range, to);
        self.events.push(Event::TaskChanged {
            run: run_id,
            task: index,
            range,
            status: to.status(),
        });
        to.status().is_terminal()
    }

    /// Takes a run whose tasks all ended out of the state.
    pub(super) fn end_run(&mut self, run_id: RunId) {
        let ended_index = self.index;
        let Some(run) = self.state.runs.get_mut(run_id.0) else { return };
        let status = run.final_status();
        run.ended = Some(RunEnded { at: self.now, index: ended_index, status });
        let Some(run) = self.state.runs.remove(run_id.0) else { return };
        if let Some(at) = run.deadline() {
            self.state.deadlines.remove(at, Due::Run(run_id));
        }
        if let Some(workflow) = self.state.workflow_id(&run.version) {
            self.state.run_by_number.remove(&(workflow, run.number));
        }
        self.release_version(&run);
        self.events.push(Event::RunEnded { run });
    }

    /// Drops a run's version when no other run uses it and it is not the latest.
    fn release_version(&mut self, run: &Arc<Run>) {
        let version = run.version.id;
        let Some(uses) = self.state.version_uses.get_mut(&version) else { return };
        *uses = uses.saturating_sub(1);
        if *uses == 0 {
            self.state.version_uses.remove(&version);
            self.drop_version_if_unused(version);
        }
    }

    /// Drops a version that no live run uses and that is not the latest of its workflow.
    pub(super) fn drop_version_if_unused(&mut self, version: u64) {
        if self.state.version_uses.contains_key(&version) {
            return;
        }
        let Some(kept) = self.state.versions.get(version) else { return };
        let workflow = self.state.workflow_id(kept).and_then(|id| self.state.workflows.get(id));
        let is_latest = workflow.is_some_and(|workflow| workflow.latest == Some(version));
        if !is_latest {
            self.state.versions.remove(version);
        }
    }
}

/// Judges a blocked task after one more upstream task ended as `latest`. Looks at all upstream tasks only once, when
/// the last of them ended.
fn verdict(run: &Run, index: TaskIndex, latest: TaskEnd) -> Verdict {
    let (Some(task), Some(spec)) = (run.task(index), run.spec(index)) else { return Verdict::Wait };
    let all_ended = task.waiting == 0;
    let ends = || {
        let upstream = run.version.graph.upstream(index).iter();
        upstream.filter_map(|upstream| run.task(*upstream).and_then(Task::end))
    };
    match (spec.condition, spec.rule) {
        (Condition::Success, DependencyRule::AllSucceeded) => match latest {
            TaskEnd::Succeeded if all_ended => Verdict::Start,
            TaskEnd::Succeeded => Verdict::Wait,
            TaskEnd::Failed | TaskEnd::Skipped { .. } | TaskEnd::Cancelled => {
                Verdict::Skip { by_failure: is_failure(latest) }
            }
        },
        (Condition::Success, DependencyRule::AnySucceeded) => match latest {
            TaskEnd::Succeeded => Verdict::Start,
            TaskEnd::Failed | TaskEnd::Skipped { .. } | TaskEnd::Cancelled if all_ended => {
                Verdict::Skip { by_failure: ends().any(is_failure) }
            }
            TaskEnd::Failed | TaskEnd::Skipped { .. } | TaskEnd::Cancelled => Verdict::Wait,
        },
        (Condition::Success, DependencyRule::AllDone) | (Condition::Always, _) if all_ended => {
            Verdict::Start
        }
        (Condition::Failure, _) if all_ended && ends().any(is_failure) => Verdict::Start,
        (Condition::Failure, _) if all_ended => Verdict::Skip { by_failure: false },
        (Condition::Success, DependencyRule::AllDone)
        | (Condition::Always | Condition::Failure, _) => Verdict::Wait,
    }
}

/// Whether an upstream end goes back to a failure.
fn is_failure(end: TaskEnd) -> bool {
    match end {
        TaskEnd::Failed => true,
        TaskEnd::Skipped { by_failure } => by_failure,
        TaskEnd::Succeeded | TaskEnd::Cancelled => false,
    }
}
