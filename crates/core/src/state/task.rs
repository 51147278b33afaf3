//! A task within a run: its states, and what is true in each.
//!
//! ```text
//!             ┌────────────► Skipped ◄── Undecided: the leader evaluates an expression; then it is ready,
//!  Blocked ───┤                     ┌──────────► Succeeded                       skipped or failed
//!             └─► Ready ─► Placed ─►│ Running ─► Failed
//!                  ▲  ▲      │      └────┬─────► Cancelled   (from every state that is not an end)
//!                  │  └──────┴── lost ───┤
//!                  └── Backoff ◄─ failed ┘         Held: lost, and `onLost: hold`
//!
//!  An approval is Awaiting where another task is Ready, and goes to an end from there: no worker takes it.
//!  A sub-workflow is Undecided, then Awaiting the run that was started for it; a try that fails goes to Backoff, and
//!  from there to Undecided again.
//! ```

mod status;

use crate::ids::{Fence, LogIndex, RunId, Text, WorkerId};
use crate::mutant::{self, Mutant};
use crate::spec::{ArraySpec, FanOut, Items, TaskSpec};
use crate::state::cells::{Cells, IndexRange};
use crate::time::{Millis, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;

pub use status::TaskStatus;

/// How often a task was tried, and how that ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tries {
    /// Attempts so far. The latest attempt carries this number.
    pub attempts: u32,
    /// Attempts that failed or ran out of time. Bounded by the retry policy.
    pub failures: u16,
    /// Attempts that were lost. Bounded by `maxLost`, and never spends the retry policy.
    pub losses: u16,
}

/// Why a live attempt must stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StopReason {
    /// A user cancelled the run or the task.
    Cancelled,
    /// A later run of the workflow took its place.
    Replaced,
    /// Something failed, and `failFast` cancels the rest of its array task or of its run.
    FailFast,
    /// The run's own timeout is over.
    RunTimedOut,
    /// The attempt's timeout is over.
    AttemptTimedOut,
    /// Of a run alone: the task that it was started for must stop, or ran out of time.
    ByParent,
}

/// A live attempt that has been told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stop {
    /// Why.
    pub reason: StopReason,
    /// When the attempt is ended even if its worker stays silent about it; `None` where another attempt might follow,
    /// for then only the worker's word or the end of its lease may end it.
    pub force_at: Option<Timestamp>,
}

/// A live attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Attempt {
    /// Where.
    pub worker: WorkerId,
    /// The log index of its placement.
    pub fence: Fence,
    /// When it was placed.
    pub placed_at: Timestamp,
    /// Present once it must stop.
    pub stop: Option<Stop>,
}

/// What is kept about the last attempt of a task that ended. Array tasks keep none, so that ranges merge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LastAttempt {
    /// Where it ran.
    pub worker: WorkerId,
    /// Its fence.
    pub fence: Fence,
    /// When it started.
    pub started_at: Timestamp,
    /// When its outcome was accepted.
    pub ended_at: Timestamp,
}

/// Why a task failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FailureReason {
    /// The process ended with this code; negative: minus the signal number.
    Exit(i32),
    /// The attempt could not be carried out at all (no such program, bad outputs).
    Rejected,
    /// The last attempt ran out of time.
    TimedOut,
    /// No worker took it in time.
    QueueTimedOut,
    /// Lost too often, or `onLost: fail`.
    Lost,
    /// An expression of it could not be evaluated.
    Undecidable,
    /// It is an approval, and a person rejected it.
    NotApproved,
    /// It is a sub-workflow, and the run that was started for it failed or was cancelled.
    RunFailed,
}

/// What an awaiting task waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Awaited {
    /// A person, who says whether it is approved.
    Person,
    /// The end of a run that was started for it.
    Run {
        /// Which: a live one, whose parent is this task.
        run: RunId,
        /// Tries, this run included.
        tries: Tries,
        /// Present once that run must stop, and why. It stops with its parent run, or for its task's timeout.
        stop: Option<StopReason>,
    },
}

impl Awaited {
    /// Why the awaited run must stop, if it must.
    pub fn stop(&self) -> Option<StopReason> {
        match self {
            Awaited::Run { stop, .. } => *stop,
            Awaited::Person => None,
        }
    }
}

/// The state of one task, or of a range of indices of an array task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TaskState {
    /// Waits for upstream tasks.
    Blocked,
    /// Its dependencies hold, and the leader has not said yet what its expressions come to. All indices are together.
    Undecided {
        /// The log index of the entry that made it so. A decision about an earlier one is stale.
        since: LogIndex,
        /// Of a sub-workflow: earlier tries.
        tries: Tries,
    },
    /// Waits for a worker.
    Ready {
        /// Earlier tries.
        tries: Tries,
        /// Since when.
        since: Timestamp,
        /// The worker on which the attempt before this one failed; another is preferred.
        avoid: Option<WorkerId>,
    },
    /// Given to a worker, not yet known to have started.
    Placed {
        /// Tries, this attempt included.
        tries: Tries,
        /// The attempt.
        attempt: Attempt,
    },
    /// Its worker reported the start.
    Running {
        /// Tries, this attempt included.
        tries: Tries,
        /// The attempt.
        attempt: Attempt,
        /// When it started, by the log's clock.
        started_at: Timestamp,
    },
    /// Failed, and waits before the next attempt.
    Backoff {
        /// Tries so far.
        tries: Tries,
        /// When it becomes ready again.
        until: Timestamp,
        /// The worker on which it failed.
        avoid: Option<WorkerId>,
    },
    /// Lost, and waits for a person (`onLost: hold`).
    Held {
        /// Tries so far.
        tries: Tries,
    },
    /// An approval that waits for a person, or a sub-workflow that waits for its run. It has no attempts and takes
    /// nothing of any worker.
    Awaiting {
        /// Since when.
        since: Timestamp,
        /// For what.
        what: Awaited,
    },
    /// Ended well.
    Succeeded {
        /// Tries it took; the default for array tasks.
        tries: Tries,
        /// The attempt that succeeded; `None` for array tasks, and where nothing ran: a person said so, or it was taken
        /// over from another run.
        last: Option<LastAttempt>,
    },
    /// Ended badly, for good.
    Failed {
        /// Tries it took; the default for array tasks.
        tries: Tries,
        /// Why.
        reason: FailureReason,
        /// The last attempt, if there was one; `None` for array tasks.
        last: Option<LastAttempt>,
    },
    /// Never ran: its dependency rule or condition said no.
    Skipped {
        /// Whether that goes back to a failure upstream.
        by_failure: bool,
    },
    /// Ended by its own cancel, or the run's cancel or timeout.
    Cancelled,
}

impl TaskState {
    /// The state without what is in it.
    pub fn status(&self) -> TaskStatus {
        match self {
            TaskState::Blocked => TaskStatus::Blocked,
            TaskState::Undecided { .. } => TaskStatus::Undecided,
            TaskState::Ready { .. } => TaskStatus::Ready,
            TaskState::Placed { .. } => TaskStatus::Placed,
            TaskState::Running { .. } => TaskStatus::Running,
            TaskState::Backoff { .. } => TaskStatus::Backoff,
            TaskState::Held { .. } => TaskStatus::Held,
            TaskState::Awaiting { .. } => TaskStatus::Awaiting,
            TaskState::Succeeded { .. } => TaskStatus::Succeeded,
            TaskState::Failed { .. } => TaskStatus::Failed,
            TaskState::Skipped { .. } => TaskStatus::Skipped,
            TaskState::Cancelled => TaskStatus::Cancelled,
        }
    }

    /// The live attempt, if there is one.
    pub fn attempt(&self) -> Option<&Attempt> {
        match self {
            TaskState::Placed { attempt, .. } | TaskState::Running { attempt, .. } => Some(attempt),
            TaskState::Blocked
            | TaskState::Undecided { .. }
            | TaskState::Ready { .. }
            | TaskState::Backoff { .. }
            | TaskState::Held { .. }
            | TaskState::Awaiting { .. }
            | TaskState::Succeeded { .. }
            | TaskState::Failed { .. }
            | TaskState::Skipped { .. }
            | TaskState::Cancelled => None,
        }
    }

    /// The run that it waits for, if it does.
    pub fn awaited_run(&self) -> Option<RunId> {
        match self {
            TaskState::Awaiting { what: Awaited::Run { run, .. }, .. } => Some(*run),
            _ => None,
        }
    }

    /// Whether it has a live attempt, or waits for a live run: something of it goes on outside of the state.
    pub fn is_live(&self) -> bool {
        self.attempt().is_some() || self.awaited_run().is_some()
    }

    /// How often the task was tried so far.
    pub fn tries(&self) -> Tries {
        match self {
            TaskState::Ready { tries, .. }
            | TaskState::Placed { tries, .. }
            | TaskState::Running { tries, .. }
            | TaskState::Backoff { tries, .. }
            | TaskState::Undecided { tries, .. }
            | TaskState::Awaiting { what: Awaited::Run { tries, .. }, .. }
            | TaskState::Held { tries }
            | TaskState::Succeeded { tries, .. }
            | TaskState::Failed { tries, .. } => *tries,
            TaskState::Blocked
            | TaskState::Awaiting { what: Awaited::Person, .. }
            | TaskState::Skipped { .. }
            | TaskState::Cancelled => Tries::default(),
        }
    }

    /// When time alone would change this state.
    pub fn deadline(&self, spans: &TaskSpans) -> Option<Timestamp> {
        match self {
            TaskState::Ready { since, .. } => spans.queue_timeout.map(|span| *since + span),
            TaskState::Placed { attempt, .. } => attempt.stop.and_then(|stop| stop.force_at),
            TaskState::Running { attempt, started_at, .. } => match attempt.stop {
                Some(stop) => stop.force_at,
                None => spans.timeout.map(|span| *started_at + span),
            },
            TaskState::Backoff { until, .. } => Some(*until),
            TaskState::Awaiting { since, what } => {
                spans.timeout.filter(|_| what.stop().is_none()).map(|span| *since + span)
            }
            TaskState::Blocked
            | TaskState::Undecided { .. }
            | TaskState::Held { .. }
            | TaskState::Succeeded { .. }
            | TaskState::Failed { .. }
            | TaskState::Skipped { .. }
            | TaskState::Cancelled => None,
        }
    }
}

/// The spans of a task's spec that make deadlines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TaskSpans {
    /// Bound on one attempt, or on waiting for a person or a run.
    pub timeout: Option<Millis>,
    /// Bound on waiting for a worker.
    pub queue_timeout: Option<Millis>,
}

/// What a task wrote to `$MUSTER_OUTPUT`.
pub type Outputs = BTreeMap<Text, Text>;

/// The run that was started for a sub-workflow. Its workflow stands in the task's spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChildRun {
    /// Its number in the cluster.
    pub run: RunId,
    /// Its number within its workflow.
    pub number: u64,
}

/// A task within a run.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Task {
    /// Its state, or the states of its indices.
    pub cells: Cells,
    /// Of a task that is sized late: the items that it goes through, once they are decided. Without them it is not
    /// sized, and has the single index 0; with none it has that too, and ended.
    pub items: Option<Items>,
    /// How many indices may fail while the task counts as if they had succeeded: what its spec says, so that a task
    /// alone can tell how it ended.
    pub max_failures: u32,
    /// How many of its upstream tasks have not ended.
    pub waiting: u32,
    /// The highest number of an attempt of it. A task that is reopened goes on from here, at every index.
    pub attempts: u32,
    /// Outputs of the attempt that succeeded, or of the run that was started for it.
    pub outputs: Option<Arc<Outputs>>,
    /// What the latest failed attempt said, for people; the first one's for array tasks.
    pub message: Option<Text>,
    /// Of a sub-workflow: the latest run that was started for it, live or not.
    pub child: Option<Arc<ChildRun>>,
}

/// How a task ended as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskEnd {
    /// Every index succeeded, but for as many as may fail.
    Succeeded,
    /// More indices failed than may.
    Failed,
    /// It never ran.
    Skipped {
        /// Whether that goes back to a failure upstream.
        by_failure: bool,
    },
    /// Some index was cancelled, and no more failed than may.
    Cancelled,
}

impl TaskEnd {
    /// The status of a task that ended so.
    pub fn status(self) -> TaskStatus {
        match self {
            TaskEnd::Succeeded => TaskStatus::Succeeded,
            TaskEnd::Failed => TaskStatus::Failed,
            TaskEnd::Skipped { .. } => TaskStatus::Skipped,
            TaskEnd::Cancelled => TaskStatus::Cancelled,
        }
    }
}

impl Task {
    /// How many indices it has; `None` for a task that is sized late, until it is.
    pub fn size(&self, spec: &TaskSpec) -> Option<u32> {
        match &self.items {
            Some(items) => Some(items.indices().map_or(0, IndexRange::count)),
            None if spec.is_sized_late() => None,
            None => Some(self.cells.indices().count()),
        }
    }

    /// The items that a task with this spec goes through, as far as they are known.
    pub fn items<'t>(&'t self, spec: &'t TaskSpec) -> Option<&'t Items> {
        match &spec.fan_out {
            Some(FanOut::Items(items)) => Some(items),
            Some(FanOut::Reference(_)) => self.items.as_ref(),
            Some(FanOut::Matrix(_)) | None => None,
        }
    }

    /// Gives a task that is sized late its items, or takes them away. All its indices are in one state.
    pub(crate) fn resize(&mut self, items: Option<Items>, state: TaskState) {
        let indices = items.as_ref().and_then(Items::indices);
        let array = indices.map(|it| ArraySpec { first: it.first, last: it.last });
        self.cells = Cells::new(array, state);
        self.items = items;
    }

    /// The tries with which a round of it begins: nothing failed yet, and the numbers of attempts go on.
    pub(crate) fn fresh_tries(&self) -> Tries {
        Tries { attempts: self.attempts, ..Tries::default() }
    }

    /// How many of its indices have a live attempt.
    pub fn live(&self) -> u32 {
        let tally = self.cells.tally();
        tally.of(TaskStatus::Placed) + tally.of(TaskStatus::Running)
    }

    /// How many more of its indices may be live, with this `maxParallel`.
    pub fn parallel_room(&self, max_parallel: Option<u32>) -> u32 {
        let max_parallel = max_parallel.filter(|_| !mutant::is_on(Mutant::ParallelUnchecked));
        max_parallel.map_or(u32::MAX, |max| max.saturating_sub(self.live()))
    }

    /// How many of its ready indices may be placed, with this `maxParallel`.
    pub fn placeable(&self, max_parallel: Option<u32>) -> u32 {
        self.cells.tally().of(TaskStatus::Ready).min(self.parallel_room(max_parallel))
    }

    /// Whether more indices failed than may: if so, the task ends as failed.
    pub fn has_too_many_failures(&self) -> bool {
        self.cells.tally().of(TaskStatus::Failed) > self.max_failures
    }

    /// How the task ended; `None` while any index has not.
    pub fn end(&self) -> Option<TaskEnd> {
        let tally = self.cells.tally();
        if tally.open() > 0 {
            return None;
        }
        Some(if self.has_too_many_failures() {
            TaskEnd::Failed
        } else if tally.of(TaskStatus::Cancelled) > 0 {
            TaskEnd::Cancelled
        } else if tally.of(TaskStatus::Skipped) > 0 {
            let by_failure = self
                .cells
                .iter()
                .any(|(_, state)| *state == TaskState::Skipped { by_failure: true });
            TaskEnd::Skipped { by_failure }
        } else {
            TaskEnd::Succeeded
        })
    }

    /// One word for the whole task: the status of a single task, or the liveliest status of an array's indices.
    pub fn status(&self) -> TaskStatus {
        const LIVELIEST_FIRST: [TaskStatus; TaskStatus::COUNT] = [
            TaskStatus::Running,
            TaskStatus::Placed,
            TaskStatus::Ready,
            TaskStatus::Backoff,
            TaskStatus::Held,
            TaskStatus::Awaiting,
            TaskStatus::Undecided,
            TaskStatus::Blocked,
            TaskStatus::Failed,
            TaskStatus::Cancelled,
            TaskStatus::Skipped,
            TaskStatus::Succeeded,
        ];
        if let Some(end) = self.end() {
            return end.status();
        }
        let tally = self.cells.tally();
        LIVELIEST_FIRST
            .into_iter()
            .find(|status| tally.of(*status) > 0)
            .unwrap_or(TaskStatus::Blocked)
    }
}
