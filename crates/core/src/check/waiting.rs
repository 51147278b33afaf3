//! Tasks that no worker carries out: what they wait for is there, and waits for nobody else.

use super::{Violation, violated};
use crate::ids::TaskIndex;
use crate::limits;
use crate::spec::TaskSpec;
use crate::state::State;
use crate::state::run::Run;
use crate::state::task::{Awaited, Task, TaskState, Tries};

/// An approval waits for a person or not at all, a sub-workflow for its run, and nothing else waits so.
pub(super) fn check(run: &Run, index: TaskIndex, state: &TaskState) -> Result<(), Violation> {
    let is_approval = run.spec(index).is_some_and(TaskSpec::is_approval);
    let is_sub_workflow = run.spec(index).is_some_and(TaskSpec::is_sub_workflow);
    let fits = match state {
        TaskState::Awaiting { what: Awaited::Person, .. } => is_approval,
        TaskState::Awaiting { what: Awaited::Run { .. }, .. } => is_sub_workflow,
        TaskState::Backoff { .. } => !is_approval,
        TaskState::Ready { .. }
        | TaskState::Placed { .. }
        | TaskState::Running { .. }
        | TaskState::Held { .. } => !is_approval && !is_sub_workflow,
        TaskState::Undecided { tries, .. } => is_sub_workflow || *tries == Tries::default(),
        TaskState::Blocked
        | TaskState::Succeeded { .. }
        | TaskState::Failed { .. }
        | TaskState::Skipped { .. }
        | TaskState::Cancelled => true,
    };
    let is_untried = !is_approval || state.tries() == Tries::default();
    if fits && is_untried {
        return Ok(());
    }
    violated("I7", format!("task {}/{index} is {state:?}", run.id))
}

impl State {
    /// A run that was started for a task is the one that this task waits for.
    pub(super) fn check_parent(&self, run: &Run) -> Result<(), Violation> {
        let Some(parent) = &run.parent else { return Ok(()) };
        let above = self.run(parent.run);
        let depth = above.map(|it| it.parent.as_ref().map_or(0, |it| it.depth) + 1);
        if depth != Some(parent.depth) || parent.depth > limits::SUB_WORKFLOW_DEPTH_MAX {
            let what = format!("run {} is {} below another, not {depth:?}", run.id, parent.depth);
            return violated("I20", what);
        }
        let task = above.and_then(|above| above.task(parent.task));
        let state = task.and_then(|task| task.cells.at(0)).map(|(_, state)| state);
        let Some(TaskState::Awaiting { what: Awaited::Run { run: awaited, stop, .. }, .. }) = state
        else {
            return violated("I20", format!("run {} is live, and no task waits for it", run.id));
        };
        if *awaited != run.id {
            return violated("I20", format!("run {} is a second one for its task", run.id));
        }
        if stop.is_some() && run.stop.is_none() && run.result.is_none() {
            return violated("I15", format!("run {} goes on, and its task must stop", run.id));
        }
        Ok(())
    }

    /// The run that a task waits for is live, and was started for it.
    pub(super) fn check_child(
        &self,
        run: &Run,
        index: TaskIndex,
        task: &Task,
    ) -> Result<(), Violation> {
        let name = || format!("task {}/{index}", run.id);
        let is_sub_workflow = run.spec(index).is_some_and(TaskSpec::is_sub_workflow);
        if task.child.is_some() && !is_sub_workflow {
            return violated("I16", format!("{} names a run, and is no sub-workflow", name()));
        }
        let Some(awaited) = task.cells.iter().find_map(|(_, state)| state.awaited_run()) else {
            return Ok(());
        };
        let child = self.run(awaited);
        let parent = child.and_then(|child| child.parent.as_ref());
        if parent.map(|it| (it.run, it.task)) != Some((run.id, index)) {
            return violated("I20", format!("{} waits for run {awaited}, not its own", name()));
        }
        let named = task.child.as_ref().map(|it| (it.run, it.number));
        if named != child.map(|child| (child.id, child.number)) {
            return violated("I16", format!("{} names another run than it waits for", name()));
        }
        Ok(())
    }
}
