//! What a sub-workflow runs.

use std::fmt;

use muster_core::ids::{RunId, Text};
use muster_core::spec::TaskSpec;
use muster_core::state::State;
use muster_core::state::run::RunStatus;
use muster_core::state::task::Task;

/// Which workflow a task runs, and the latest run that was started for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubWorkflow {
    /// The workflow.
    pub workflow: Text,
    /// The latest run, and its number within the workflow.
    pub child: Option<(RunId, u64)>,
    /// How that stands, if it is live.
    pub status: Option<RunStatus>,
}

impl SubWorkflow {
    pub(super) fn of(progress: &Task, spec: &TaskSpec) -> Option<Self> {
        let workflow = spec.executor.sub_workflow()?.name.text();
        let child = progress.child.as_ref().map(|child| (child.run, child.number));
        Some(SubWorkflow { workflow, child, status: None })
    }

    /// Looks up how the run stands.
    pub(super) fn look_up(&mut self, state: &State) {
        let child = self.child.and_then(|(id, _)| state.run(id));
        self.status = child.map(|run| run.status());
    }
}

impl fmt::Display for SubWorkflow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = &self.workflow;
        match (self.child, self.status) {
            (None, _) => writeln!(f, "It starts a run of workflow `{of}`."),
            (Some((_, number)), None) => writeln!(f, "Its latest run is {of}/{number}."),
            (Some((_, number)), Some(status)) => {
                writeln!(f, "Its run {of}/{number} is {}.", status.word())?;
                writeln!(f, "To see that: muster describe run {of}/{number}")
            }
        }
    }
}
