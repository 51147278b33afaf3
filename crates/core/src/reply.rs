//! The answers of apply: what was done, or the deterministic "no".

use crate::ids::{Name, RunId, TaskIndex, WorkerId};

/// A command that was carried out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reply {
    /// Done, and there is nothing to tell.
    Done,
    /// The workflow has this version now.
    WorkflowApplied {
        /// Its number.
        version: u32,
        /// Whether it is a new one.
        is_new: bool,
    },
    /// The namespace is as it was asked for.
    NamespaceApplied {
        /// Whether it was another before.
        is_changed: bool,
    },
    /// The run was accepted.
    RunSubmitted {
        /// Its number in the cluster.
        run: RunId,
        /// Its workflow.
        workflow: Name,
        /// Its number within the workflow.
        number: u64,
    },
    /// The worker is registered under this id.
    WorkerRegistered {
        /// The id.
        worker: WorkerId,
    },
    /// Items were carried out, but for these, by position in the command.
    Items {
        /// The refused ones.
        refused: Vec<(u32, ItemRefusal)>,
    },
}

/// Why one item of a command was refused. Refused items change nothing (I5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum ItemRefusal {
    /// The run is not live: it ended, or never was.
    #[error("the run is not live")]
    RunNotLive,
    /// The run has no such task or index.
    #[error("the run has no such task or index")]
    NoSuchTask,
    /// The task is not ready (any more).
    #[error("the task is not ready")]
    NotReady,
    /// The run is paused.
    #[error("the run is paused")]
    RunPaused,
    /// The task is not undecided (any more), or became so anew.
    #[error("there is nothing to decide about the task")]
    NotUndecided,
    /// The verdict is none for such a task: one that is sized late needs its items, within their bounds, a sub-workflow
    /// its parameters, and no other takes any.
    #[error("the verdict does not fit the task, or its items are too many or too large")]
    WrongVerdict,
    /// The worker is not active.
    #[error("the worker is not active")]
    WorkerNotActive,
    /// The worker lacks the pool or a label.
    #[error("the worker does not match the task's pool or selector")]
    WorkerMismatch,
    /// The worker has not enough left.
    #[error("the worker has not enough capacity left")]
    NoCapacity,
    /// More indices of the task would be live than its `maxParallel` says.
    #[error("the task's `maxParallel` does not let so many more indices be live")]
    TooParallel,
    /// More would be live than the quota of the namespace says.
    #[error("the namespace's quota does not let so much more be live")]
    QuotaReached,
    /// More attempts would be live than a concurrency group of the task lets.
    #[error("a concurrency group of the task does not let so many more be live")]
    GroupFull,
    /// The report's fence is not that of the live attempt (any more).
    #[error("stale attempt: its fence is not the current one")]
    Stale,
}

/// A name behind a word, if there is one.
fn named(name: Option<&Name>) -> String {
    name.map(|name| format!(" `{name}`")).unwrap_or_default()
}

/// The deterministic "no" to a command. It changes nothing but the time.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Rejection {
    /// The request id was used with another body.
    #[error("request id `{id}` was already used for another request; use a new id")]
    RequestIdReused {
        /// The id.
        id: String,
    },
    /// The request id is too long.
    #[error("a request id has at most {max} bytes", max = crate::limits::REQUEST_ID_BYTES_MAX)]
    RequestIdTooLong,
    /// The spec is not well-formed.
    #[error("{message}")]
    InvalidSpec {
        /// What is wrong, by path.
        message: String,
    },
    /// No such workflow, or no such version of it.
    #[error("workflow `{name}` does not exist in namespace `{namespace}`; apply it first")]
    NoSuchWorkflow {
        /// Namespace.
        namespace: Name,
        /// Name, with version if one was asked for.
        name: String,
    },
    /// A parameter is missing, unknown or too large.
    #[error("parameter `{param}`: {problem}")]
    BadParam {
        /// Its name.
        param: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// No live run has this id.
    #[error("run {run} is not live")]
    NoSuchRun {
        /// The id.
        run: RunId,
    },
    /// The run must stop, so nothing else can be done with it.
    #[error("run {run} is being stopped")]
    RunStopping {
        /// The id.
        run: RunId,
    },
    /// The hooks of the run have begun, so what its tasks came to stands.
    #[error(
        "the tasks of run {run} have ended and its hooks have begun: nothing can be taken back; retry the run once it \
         has ended"
    )]
    HooksBegun {
        /// The id.
        run: RunId,
    },
    /// The run has no such task.
    #[error("run {run} has no task number {task}")]
    NoSuchTask {
        /// The run.
        run: RunId,
        /// The task.
        task: TaskIndex,
    },
    /// A task that is to be changed has a live attempt, or waits for a live run.
    #[error(
        "task `{task}` has a live attempt or run; cancel the task, and try again once that has ended"
    )]
    TaskLive {
        /// The task.
        task: Name,
    },
    /// The task ended, and not so that the command could change that.
    #[error("task `{task}` has ended, and there is nothing to change")]
    TaskEnded {
        /// The task.
        task: Name,
    },
    /// The task waits for no approval.
    #[error("task `{task}` does not wait for an approval")]
    NotAwaiting {
        /// The task.
        task: Name,
    },
    /// What a retry takes over does not fit its workflow.
    #[error("this cannot be retried so: {problem}")]
    BadRetry {
        /// What is wrong.
        problem: &'static str,
    },
    /// There is nothing that could run again.
    #[error("no task of the run failed or was cancelled")]
    NothingFailed,
    /// The policy of the workflow forbids a second live run.
    #[error(
        "run {workflow}/{live} is live, and the workflow's `concurrencyPolicy` is Forbid; wait for it or cancel it"
    )]
    RunForbidden {
        /// The workflow.
        workflow: Name,
        /// The number of a live run.
        live: u64,
    },
    /// The namespace has as many live runs as its quota says.
    #[error(
        "namespace `{namespace}` has {live} of at most {most} live runs; wait until one ends, or raise its quota"
    )]
    QuotaReached {
        /// The namespace.
        namespace: Name,
        /// The most that it may have.
        most: u32,
        /// How many it has.
        live: u32,
    },
    /// A task names a concurrency group that the namespace does not have.
    #[error(
        "task `{task}` names the concurrency group `{group}`, which namespace `{namespace}` does not have; apply it \
         first: `concurrency: {{{group}: 1}}` in a document of kind Namespace"
    )]
    NoSuchGroup {
        /// The task.
        task: Name,
        /// The namespace.
        namespace: Name,
        /// The group.
        group: Name,
    },
    /// The namespace is not well-formed.
    #[error("namespace: {problem}")]
    BadNamespace {
        /// What is wrong.
        problem: String,
    },
    /// Triggers would go round in a circle.
    #[error("the triggers would never come to an end: {way}; remove one of them")]
    TriggerCycle {
        /// Each workflow after the next.
        way: String,
    },
    /// The workflow has no such schedule or trigger.
    #[error("workflow `{workflow}` has no schedule or trigger{}", named(schedule.as_ref()))]
    NoSuchSchedule {
        /// The workflow.
        workflow: Name,
        /// The schedule, if one was named.
        schedule: Option<Name>,
    },
    /// A run is asked for whose fire time is still ahead.
    #[error("the fire time is still ahead: the schedule makes that run itself")]
    FireTimeAhead,
    /// The schedule has moved on since its fire times were worked out, or is switched off.
    #[error("the schedule is not where the command found it")]
    StaleFire,
    /// The file switches the schedule off.
    #[error(
        "`{schedule}` is switched off by `suspend` in the workflow's file; apply it without that"
    )]
    SuspendedByFile {
        /// The schedule.
        schedule: Name,
    },
    /// The run has no such task, or it is not held.
    #[error("the task is not held")]
    NotHeld,
    /// No such worker, or it is lost.
    #[error("worker {worker} is not registered")]
    NoSuchWorker {
        /// The id.
        worker: WorkerId,
    },
    /// A fixed bound of the cluster is reached.
    #[error("the cluster holds at most {max} {what}")]
    LimitReached {
        /// Of what.
        what: &'static str,
        /// How many.
        max: u64,
    },
    /// The worker's registration is malformed.
    #[error("worker registration: {problem}")]
    BadWorker {
        /// What is wrong.
        problem: String,
    },
}
