//! What can be observed from outside: by clients, workers, masters, and whoever injects faults.

use muster_core::ids::{Fence, LogIndex, RunId, TaskIndex, Text, WorkerId};
use muster_core::state::run::RunStatus;

use super::Nanos;
use super::line::{lines, nested, words};

lines! {
    /// What a client asked for.
    Call
    /// `SubmitRun`.
    Submit = "submit" {
        /// Its request id.
        request: Option<Text>,
        /// A digest of the body: equal for equal bodies.
        body: u64,
        /// [`crate::spec_digest()`] of the workflow it carries, if it carries one.
        spec: Option<u64>,
        /// The workflow's name.
        workflow: Text,
    }
    /// `ApplyWorkflow`.
    Apply = "apply" {
        /// Its request id.
        request: Option<Text>,
        /// A digest of the body.
        body: u64,
        /// The workflow's name.
        workflow: Text,
    }
    /// `CancelRun`.
    Cancel = "cancel" {
        /// Its request id.
        request: Option<Text>,
        /// A digest of the body.
        body: u64,
        /// Which run.
        run: RunId,
    }
    /// `RetryRun`.
    Retry = "retry" {
        /// Its request id.
        request: Option<Text>,
        /// A digest of the body.
        body: u64,
        /// Which run.
        of: RunId,
    }
    /// `ReleaseTask`, `PauseRun`, `PrioritizeRun`, `EndTask`, `SuspendSchedule`, `DrainWorker`: calls that change
    /// something, and whose answer tells nothing.
    Change = "change" {
        /// Its request id.
        request: Option<Text>,
        /// A digest of the body.
        body: u64,
    }
    /// `GetRun`, or a `WaitRun` that came to its end.
    Get = "get" {
        /// Which run.
        run: RunId,
        /// Whether a stale answer was asked for.
        is_stale: bool,
        /// The log index that the answer must know, if one was asked for.
        min_index: Option<LogIndex>,
    }
    /// `ListRuns`: one call, one page.
    List = "list" {
        /// Only runs of this workflow.
        workflow: Option<Text>,
        /// Whether a stale answer was asked for.
        is_stale: bool,
        /// The log index that the answer must know, if one was asked for.
        min_index: Option<LogIndex>,
    }
}

nested!(Call);

lines! {
    /// What a client was told.
    Answer
    /// The run was accepted.
    Submitted = "submitted" {
        /// Its number in the cluster.
        run: RunId,
        /// Its number within its workflow.
        number: u64,
    }
    /// The workflow has this version.
    Applied = "applied" {
        /// Its number.
        version: u32,
    }
    /// The answer to a cancel.
    Cancelling = "cancelling" {
        /// False: the run had ended before.
        is_cancelling: bool,
    }
    /// Done, and nothing to tell.
    Done = "done" {}
    /// A run as it was.
    Run = "run" {
        /// Its status.
        status: RunStatus,
    }
    /// There is no such run.
    NoRun = "no-run" {}
    /// A page of runs, newest first.
    Runs = "runs" {
        /// The runs and their statuses.
        runs: Vec<(RunId, RunStatus)>,
        /// Whether there are no further pages.
        is_whole: bool,
    }
    /// A definite no: the call was certainly not carried out. What may have been is [`Answer::Unknown`].
    Refused = "refused" {
        /// The code, `ALREADY_EXISTS`.
        code: Text,
    }
    /// The caller does not know: a timeout, a broken connection, `UNAVAILABLE` after the request left.
    Unknown = "unknown" {
        /// Why.
        code: Text,
    }
}

nested!(Answer);

words! {
    /// How an attempt ended, as it was carried out or as it was reported.
    Ending
    /// It did what it should.
    Succeeded = "succeeded",
    /// It did not.
    Failed = "failed",
    /// Its timeout was over.
    TimedOut = "timed-out",
    /// It was told to stop.
    Cancelled = "cancelled",
    /// It was killed: no lease, or its worker died. Reported as lost.
    Lost = "lost",
}

lines! {
    /// What was observed. Workers are named as they name themselves, with the incarnation of their process; masters by
    /// their member id.
    Observed
    /// A client called.
    Invoked = "invoked" {
        /// Unique over the history.
        call: u64,
        /// Which client.
        client: u64,
        /// What it asked for.
        what: Call,
    }
    /// A client's call came back. A call that never did is of unknown outcome.
    Returned = "returned" {
        /// Which.
        call: u64,
        /// What it was told.
        answer: Answer,
        /// How far the answering master said it had applied the log.
        index: Option<LogIndex>,
    }
    /// A worker's process started.
    WorkerStarted = "worker-started" {
        /// Name.
        worker: Text,
        /// Incarnation.
        incarnation: u64,
    }
    /// A worker was taken in.
    WorkerRegistered = "worker-registered" {
        /// Name.
        worker: Text,
        /// Incarnation.
        incarnation: u64,
        /// Its id in the cluster.
        id: WorkerId,
    }
    /// A worker's lease was confirmed.
    LeaseConfirmed = "lease-confirmed" {
        /// Name.
        worker: Text,
        /// Incarnation.
        incarnation: u64,
        /// When it ends, in the history's time: masters may give the worker's attempts to others from then on.
        until: Nanos,
        /// How much of it is left, by the worker's clock.
        left: Nanos,
    }
    /// A worker took its lease for ended.
    LeaseLapsed = "lease-lapsed" {
        /// Name.
        worker: Text,
        /// Incarnation.
        incarnation: u64,
    }
    /// A worker shut down by itself, its attempts ended before.
    WorkerLeft = "worker-left" {
        /// Name.
        worker: Text,
        /// Incarnation.
        incarnation: u64,
    }
    /// A worker's process is gone.
    WorkerStopped = "worker-stopped" {
        /// Name.
        worker: Text,
        /// Incarnation.
        incarnation: u64,
    }
    /// An attempt began, as whoever carries it out sees it.
    AttemptBegan = "attempt-began" {
        /// Name of the worker.
        worker: Text,
        /// Incarnation of the worker.
        incarnation: u64,
        /// Which run.
        run: RunId,
        /// Which task.
        task: TaskIndex,
        /// Which index; 0 for a single task.
        index: u32,
        /// Its fence.
        fence: Fence,
    }
    /// An attempt shows that it is still alive.
    AttemptSeen = "attempt-seen" {
        /// Which run.
        run: RunId,
        /// Which task.
        task: TaskIndex,
        /// Which index.
        index: u32,
        /// Its fence.
        fence: Fence,
    }
    /// An attempt is dead.
    AttemptEnded = "attempt-ended" {
        /// Which run.
        run: RunId,
        /// Which task.
        task: TaskIndex,
        /// Which index.
        index: u32,
        /// Its fence.
        fence: Fence,
        /// How.
        how: Ending,
    }
    /// An attempt found another one of its task alive: it could not get the lock that each holds while it lives.
    AttemptConflict = "attempt-conflict" {
        /// Which run.
        run: RunId,
        /// Which task.
        task: TaskIndex,
        /// Which index.
        index: u32,
        /// The fence of the one that noticed.
        fence: Fence,
    }
    /// A worker reported an end.
    Reported = "reported" {
        /// Name of the worker.
        worker: Text,
        /// Incarnation of the worker.
        incarnation: u64,
        /// Which run.
        run: RunId,
        /// Which task.
        task: TaskIndex,
        /// First index.
        first: u32,
        /// Last index.
        last: u32,
        /// The fence.
        fence: Fence,
        /// What.
        how: Ending,
        /// Whether the worker has it on its disk: then it is reported until it is answered, across restarts.
        is_kept: bool,
    }
    /// A worker was told what became of its report.
    ReportAnswered = "report-answered" {
        /// Name of the worker.
        worker: Text,
        /// Incarnation of the worker.
        incarnation: u64,
        /// Which run.
        run: RunId,
        /// Which task.
        task: TaskIndex,
        /// First index.
        first: u32,
        /// Last index.
        last: u32,
        /// The fence.
        fence: Fence,
        /// What had been reported.
        how: Ending,
        /// False: stale.
        is_accepted: bool,
    }
    /// What a worker had on its disk and had not reported is gone.
    JournalLost = "journal-lost" {
        /// Name of the worker.
        worker: Text,
    }
    /// An attempt was dispatched to its worker once more.
    Reconciled = "reconciled" {
        /// Which run.
        run: RunId,
        /// Which task.
        task: TaskIndex,
        /// The fence.
        fence: Fence,
    }
    /// A master's process started.
    MasterStarted = "master-started" {
        /// Which.
        master: u64,
        /// How often it had been started before.
        restarts: u64,
    }
    /// A master's process is gone.
    MasterStopped = "master-stopped" {
        /// Which.
        master: u64,
    }
    /// A master leads.
    Leads = "leads" {
        /// Which.
        master: u64,
        /// Its term.
        term: u64,
    }
    /// A master leads no more.
    StepsDown = "steps-down" {
        /// Which.
        master: u64,
        /// The term it led in.
        term: u64,
    }
    /// A master that does not lead (any more) had a proposal refused.
    ProposalRefused = "proposal-refused" {
        /// Which.
        master: u64,
        /// The term in which it believed to lead.
        term: u64,
    }
    /// A master took a peer's snapshot.
    SnapshotInstalled = "snapshot-installed" {
        /// Which.
        master: u64,
        /// The log index of the snapshot.
        index: LogIndex,
    }
    /// A fault began, or ended.
    Fault = "fault" {
        /// What, for people.
        what: Text,
    }
    /// From here on nothing is broken on purpose.
    FaultsStopped = "faults-stopped" {}
    /// Where a master stood when everything was over.
    MasterFinal = "master-final" {
        /// Which.
        master: u64,
        /// What it has applied.
        index: LogIndex,
        /// `State::digest` there.
        digest: u64,
    }
    /// A run as a master showed it when everything was over.
    RunFinal = "run-final" {
        /// Which master.
        master: u64,
        /// Which run.
        run: RunId,
        /// Its status.
        status: RunStatus,
    }
    /// An ended run that a master showed at some time, from its history.
    HistoryShown = "history-shown" {
        /// Which master.
        master: u64,
        /// What it had applied before it was asked.
        applied: LogIndex,
        /// Which run.
        run: RunId,
    }
    /// A run that a master did not know when everything was over.
    RunAbsent = "run-absent" {
        /// Which master.
        master: u64,
        /// Which run.
        run: RunId,
    }
}

impl Observed {
    pub(super) fn write(&self, out: &mut String) {
        self.put_fields(out);
    }

    pub(super) fn read(
        kind: &str,
        line: &super::line::Line<'_>,
    ) -> Result<Self, super::line::ParseError> {
        Observed::get_fields("kind", kind, line)
    }
}
