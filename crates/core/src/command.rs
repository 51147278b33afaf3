//! What may enter the log.

use std::sync::Arc;

use crate::ids::{Fence, LogIndex, Name, RunId, TaskIndex, Text, WorkerId};
use crate::retry::TakenOver;
use crate::spec::namespace::NamespaceSpec;
use crate::spec::{Items, Resources, WorkflowSpec};
use crate::state::cells::IndexRange;
use crate::state::run::{FireOrigin, Params, RetryOrigin};
use crate::state::task::Outputs;
use crate::state::trail::Asker;
use crate::state::workflow::NextFire;
use crate::time::{Millis, Timestamp};
use std::collections::BTreeMap;

/// Commands with the time they were proposed. One entry of the replicated log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The proposer's clock. Apply uses the larger of this and the state's own time.
    pub at: Timestamp,
    /// Applied in this order.
    pub commands: Vec<Command>,
}

/// An imperative that may enter the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Lets time pass.
    Tick,
    /// Makes a workflow version.
    ApplyWorkflow(ApplyWorkflow),
    /// Gives a namespace its weight and its quota.
    ApplyNamespace(ApplyNamespace),
    /// Starts a run.
    SubmitRun(SubmitRun),
    /// Ends a run.
    CancelRun(CancelRun),
    /// Gives a run no further attempts, or again.
    PauseRun(PauseRun),
    /// Gives a run another priority.
    PrioritizeRun(PrioritizeRun),
    /// Decides fire times of a schedule: begins the runs of those that fire.
    FireSchedule(FireSchedule),
    /// Switches schedules of a workflow off, or on again.
    SuspendSchedule(SuspendSchedule),
    /// Lets a held task go on.
    ReleaseTask(ReleaseTask),
    /// Gives a task the end that a person wants it to have.
    EndTask(EndTask),
    /// Starts a run that takes over what another one came to.
    RetryRun(Box<RetryRun>),
    /// Takes back what tasks came to, so that they run again.
    ReopenTasks(ReopenTasks),
    /// Takes a worker in.
    RegisterWorker(RegisterWorker),
    /// Gives a worker nothing new, or again.
    DrainWorker(DrainWorker),
    /// Declares a worker gone, and all its attempts lost.
    LoseWorker(LoseWorker),
    /// Says what the expressions of undecided tasks come to.
    DecideTasks(DecideTasks),
    /// Gives ready tasks to workers.
    PlaceAttempts(PlaceAttempts),
    /// Attempts that workers started.
    StartAttempts(StartAttempts),
    /// Attempts that ended.
    FinishAttempts(FinishAttempts),
    /// Forgets ended runs past their retention.
    PruneHistory(PruneHistory),
    /// Raises what the cluster may use.
    UpgradeCluster(UpgradeCluster),
    /// Any of these, with who asked for it.
    Asked(Asked),
}

/// See [`Command::Asked`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Who. What is longer than [`crate::limits::ASKER_BYTES_MAX`] is cut.
    pub by: Asker,
    /// For what; not again an [`Asked`].
    pub command: Box<Command>,
}

/// A caller's idempotency key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestKey {
    /// Chosen by the caller, at most [`crate::limits::REQUEST_ID_BYTES_MAX`] bytes.
    pub id: Text,
    /// A stable hash of the request's body.
    pub digest: u64,
}

/// See [`Command::ApplyWorkflow`]. Applying what is already the latest version changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplyWorkflow {
    /// Idempotency key.
    pub request: Option<RequestKey>,
    /// Where.
    pub namespace: Name,
    /// What.
    pub spec: Box<WorkflowSpec>,
}

/// See [`Command::ApplyNamespace`]. What is live stays so, even if it is more than the new quota.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplyNamespace {
    /// Idempotency key.
    pub request: Option<RequestKey>,
    /// What.
    pub spec: NamespaceSpec,
}

/// What to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunSource {
    /// The latest version of an applied workflow, or the one with this number, if it is kept: of the earlier ones the
    /// latest [`EARLIER_VERSIONS_MAX`](crate::limits::EARLIER_VERSIONS_MAX) are.
    Workflow {
        /// Its name.
        workflow: Name,
        /// Its number.
        version: Option<u32>,
    },
    /// A spec that is applied first, in the same entry.
    Apply(Box<WorkflowSpec>),
    /// A spec that only this run uses (`submit`): no version of the workflow is made.
    OneOff(Box<WorkflowSpec>),
}

/// See [`Command::SubmitRun`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubmitRun {
    /// Idempotency key.
    pub request: Option<RequestKey>,
    /// Where.
    pub namespace: Name,
    /// What.
    pub source: RunSource,
    /// Values for its parameters.
    pub params: Arc<Params>,
    /// Overrides the workflow's priority.
    pub priority: Option<i32>,
    /// The fire time it is made for after the fact. The schedule does not count it as its own.
    pub backfill: Option<FireOrigin>,
}

/// See [`Command::CancelRun`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CancelRun {
    /// Idempotency key.
    pub request: Option<RequestKey>,
    /// Which.
    pub run: RunId,
}

/// See [`Command::PauseRun`]. A pause of a paused run changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PauseRun {
    /// Idempotency key.
    pub request: Option<RequestKey>,
    /// Which.
    pub run: RunId,
    /// `false` lets it go on.
    pub is_paused: bool,
}

/// See [`Command::PrioritizeRun`]. Tasks with a priority of their own keep it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrioritizeRun {
    /// Idempotency key.
    pub request: Option<RequestKey>,
    /// Which.
    pub run: RunId,
    /// Brought within [`crate::limits::PRIORITY_MAX`] on either side.
    pub priority: i32,
}

/// See [`Command::FireSchedule`]. The leader worked all of it out from one state; if that has moved on, nothing happens
/// and it is worked out again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FireSchedule {
    /// The workflow's serial number.
    pub workflow: u64,
    /// The serial number of the version whose schedule was worked out.
    pub version: u64,
    /// Which of its schedules.
    pub schedule: Name,
    /// What [`decided_until`](crate::state::workflow::Schedule::decided_until) was.
    pub after: Timestamp,
    /// What it becomes.
    pub until: Timestamp,
    /// The fire times in between that fire now, the oldest first.
    pub fire_times: Vec<Timestamp>,
    /// How many of those in between are missed.
    pub missed: u64,
    /// What comes next.
    pub next: NextFire,
}

/// See [`Command::SuspendSchedule`]. A schedule that is switched on again owes nothing for the time in between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SuspendSchedule {
    /// Idempotency key.
    pub request: Option<RequestKey>,
    /// Where.
    pub namespace: Name,
    /// Whose.
    pub workflow: Name,
    /// Which one; `None` for all of them.
    pub schedule: Option<Name>,
    /// `false` switches it on again.
    pub is_suspended: bool,
}

/// See [`Command::ReleaseTask`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleaseTask {
    /// Idempotency key.
    pub request: Option<RequestKey>,
    /// Which run.
    pub run: RunId,
    /// Which task.
    pub task: TaskIndex,
    /// Whether it runs again; otherwise it fails.
    pub rerun: bool,
}

/// The end that a person wants a task to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WantedEnd {
    /// As if it had done what it should; nothing of it runs.
    Succeeded,
    /// As if its condition had said no.
    Skipped,
    /// Its live attempts are told to stop.
    Cancelled,
    /// An approval that waits for a person is given: it succeeds.
    Approved,
    /// It is refused: it fails.
    Rejected,
}

/// See [`Command::EndTask`]. Of an array task all indices are meant that have not succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndTask {
    /// Idempotency key.
    pub request: Option<RequestKey>,
    /// Which run.
    pub run: RunId,
    /// Which task.
    pub task: TaskIndex,
    /// How.
    pub end: WantedEnd,
    /// Why, in the person's words; of approvals alone. Longer ones than [`crate::limits::REASON_BYTES_MAX`] are cut.
    pub reason: Option<Text>,
}

/// See [`Command::ReopenTasks`]. Everything downstream of a reopened task is reopened with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReopenTasks {
    /// Idempotency key.
    pub request: Option<RequestKey>,
    /// Which run.
    pub run: RunId,
    /// Which task; `None` for all indices of all tasks that failed or were cancelled.
    pub from: Option<TaskIndex>,
}

/// See [`Command::RetryRun`]. The leader worked it out from the run that is retried; replicas need not know that one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryRun {
    /// Idempotency key.
    pub request: Option<RequestKey>,
    /// Where.
    pub namespace: Name,
    /// The run that is retried.
    pub of: RetryOrigin,
    /// The serial number of its version, which the state may hold no longer.
    pub version: u64,
    /// The number of its version; 0 for a one-off.
    pub version_number: u32,
    /// What its version says.
    pub spec: Box<WorkflowSpec>,
    /// All parameters of the new run.
    pub params: Arc<Params>,
    /// Its priority.
    pub priority: i32,
    /// What it takes over, by task.
    pub taken_over: Vec<TakenOver>,
}

/// See [`Command::RegisterWorker`]. Registering the same name and incarnation again returns the same worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisterWorker {
    /// The name it gives itself.
    pub name: Text,
    /// Drawn at random when its process started.
    pub incarnation: u64,
    /// Facts it states.
    pub labels: BTreeMap<Text, Text>,
    /// The pool it serves.
    pub pool: Option<Text>,
    /// What it offers.
    pub capacity: Resources,
    /// The lease that it is granted with its registration.
    pub lease: Millis,
}

/// See [`Command::DrainWorker`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrainWorker {
    /// Idempotency key.
    pub request: Option<RequestKey>,
    /// Which.
    pub worker: WorkerId,
    /// `false` takes it back.
    pub is_draining: bool,
}

/// See [`Command::LoseWorker`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoseWorker {
    /// Which.
    pub worker: WorkerId,
}

/// What the expressions of an undecided task come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Which run.
    pub run: RunId,
    /// Which task.
    pub task: TaskIndex,
    /// The log index at which it became undecided. If it has been something else since, the decision is stale.
    pub since: LogIndex,
    /// What becomes of it.
    pub verdict: Verdict,
}

/// What becomes of an undecided task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is ready. Not for a task that is sized late, nor for a sub-workflow.
    Start,
    /// It is sized late, goes through these items, and is ready; with no items it has succeeded.
    FanOut {
        /// The items, within the bounds that [`Items::check`] knows.
        items: Items,
    },
    /// It is a sub-workflow, and its run starts.
    StartRun {
        /// What its parameters come to.
        params: Arc<Params>,
    },
    /// Its condition does not hold.
    Skip,
    /// Something could not be evaluated.
    Fail {
        /// Which expression, and why; for people. Longer ones than [`crate::limits::REASON_BYTES_MAX`] are cut.
        message: Text,
    },
}

/// See [`Command::DecideTasks`]. Each decision stands for itself. The leader worked them out from one state; a task
/// that has moved on since is left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecideTasks {
    /// The decisions.
    pub decisions: Vec<Decision>,
}

/// One placement: ready indices of a task, and their worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Which run.
    pub run: RunId,
    /// Which task.
    pub task: TaskIndex,
    /// Which indices; 0 for a single task.
    pub range: IndexRange,
    /// Where to.
    pub worker: WorkerId,
}

/// See [`Command::PlaceAttempts`]. Each placement stands for itself: a refused one does not hinder the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaceAttempts {
    /// The placements.
    pub placements: Vec<Placement>,
}

/// Names live attempts: the indices of a task under one fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptRef {
    /// Which run.
    pub run: RunId,
    /// Which task.
    pub task: TaskIndex,
    /// Which indices.
    pub range: IndexRange,
    /// The log index of their placement.
    pub fence: Fence,
}

/// One start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// Which.
    pub attempt: AttemptRef,
    /// How long before the report it started.
    pub age: Millis,
}

/// See [`Command::StartAttempts`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartAttempts {
    /// The starts.
    pub starts: Vec<Start>,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It did what it should.
    Succeeded {
        /// What it wrote to `$MUSTER_OUTPUT`.
        outputs: Option<Arc<Outputs>>,
    },
    /// It did not.
    Failed {
        /// The exit code; negative: minus the signal number; `None` if it could not be carried out at all.
        exit_code: Option<i32>,
        /// For people.
        message: Option<Text>,
    },
    /// Its timeout was over and the worker ended it.
    TimedOut,
    /// It was told to stop, and did.
    Cancelled,
    /// Its worker gave it up, and it is dead; or the worker does not know it.
    Lost,
}

/// One end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finish {
    /// Which.
    pub attempt: AttemptRef,
    /// How.
    pub outcome: Outcome,
    /// How long it ran.
    pub duration: Millis,
}

/// See [`Command::FinishAttempts`]. Each stands for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinishAttempts {
    /// The ends.
    pub finishes: Vec<Finish>,
}

/// See [`Command::PruneHistory`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PruneHistory {
    /// Runs that ended before this log index are forgotten; before this entry's own, if it is a later one.
    pub ended_before: LogIndex,
}

/// See [`Command::UpgradeCluster`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpgradeCluster {
    /// The version every voter supports. It never goes down.
    pub version: u32,
}
