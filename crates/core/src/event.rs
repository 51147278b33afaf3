//! Past-tense facts that apply reports: hints for watches, dispatch and history, never the truth. All of them can be
//! derived again from the state.

use std::sync::Arc;

use crate::ids::{Fence, LogIndex, Name, RunId, TaskIndex, WorkerId};
use crate::state::cells::IndexRange;
use crate::state::run::Run;
use crate::state::task::TaskStatus;

/// A fact.
#[derive(Clone, Debug)]
pub enum Event {
    /// A workflow has a new version.
    WorkflowApplied {
        /// The workflow's serial number.
        workflow: u64,
        /// The version.
        version: u32,
    },
    /// A namespace has another weight or quota.
    NamespaceApplied {
        /// Its name.
        name: Name,
    },
    /// A run was accepted.
    RunSubmitted {
        /// Which.
        run: RunId,
    },
    /// A run that waited for earlier ones began.
    RunBegun {
        /// Which.
        run: RunId,
    },
    /// Schedules of a workflow fired, were switched, or have another next fire time.
    SchedulesChanged {
        /// The workflow's serial number.
        workflow: u64,
        /// How many fire times were found to be missed.
        missed: u64,
        /// How many made no run because an earlier one was live, or because there are too many.
        passed_over: u64,
    },
    /// A run of another workflow ended that a workflow follows.
    TriggerFired {
        /// The serial number of the workflow that follows.
        workflow: u64,
        /// Whether there is no run of it, because of an earlier one or because there are too many.
        is_passed_over: bool,
    },
    /// A run was paused or goes on, or has another priority.
    RunChanged {
        /// Which.
        run: RunId,
    },
    /// A run was told to stop.
    RunStopping {
        /// Which.
        run: RunId,
    },
    /// A run ended, and left the state.
    RunEnded {
        /// The run, as it was then.
        run: Arc<Run>,
    },
    /// Indices of a task changed their status.
    TaskChanged {
        /// Which run.
        run: RunId,
        /// Which task.
        task: TaskIndex,
        /// Which indices.
        range: IndexRange,
        /// To what.
        status: TaskStatus,
    },
    /// An attempt was placed: its worker is to be told.
    AttemptPlaced {
        /// Which run.
        run: RunId,
        /// Which task.
        task: TaskIndex,
        /// Which indices.
        range: IndexRange,
        /// Where.
        worker: WorkerId,
        /// Its fence.
        fence: Fence,
    },
    /// A live attempt must stop: its worker is to be told.
    AttemptStopping {
        /// Which run.
        run: RunId,
        /// Which task.
        task: TaskIndex,
        /// Which indices.
        range: IndexRange,
        /// Where.
        worker: WorkerId,
        /// Its fence.
        fence: Fence,
    },
    /// A worker was taken in, drained, or taken back.
    WorkerChanged {
        /// Which.
        worker: WorkerId,
    },
    /// A worker was declared gone.
    WorkerLost {
        /// Which.
        worker: WorkerId,
    },
    /// Ended runs past their retention are to be forgotten.
    HistoryPruned {
        /// Those that ended before this log index.
        ended_before: LogIndex,
    },
}
