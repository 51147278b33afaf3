//! Rare events, counted. A sweep in which one of them never happened has proven nothing about it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

macro_rules! rare {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// An event that a sweep must have seen.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Rare {
            $($(#[$doc])* $name,)*
        }

        impl Rare {
            /// All of them.
            pub const ALL: &[Rare] = &[$(Rare::$name),*];

            /// Its name in reports.
            pub fn name(self) -> &'static str {
                match self {
                    $(Rare::$name => $text,)*
                }
            }
        }
    };
}

rare! {
    /// An entry was audited in depth.
    EntryAudited = "entry audited",
    /// An entry of several commands.
    EntryShared = "entry of several commands",
    /// An entry was stamped earlier than the one before.
    ClockBack = "entry stamped earlier than the one before",
    /// A master showed an index that another had shown.
    IndexCompared = "index compared between replicas",
    /// A replica was restored from a snapshot, and compared.
    SnapshotRestored = "snapshot restored",
    /// A snapshot came from a peer.
    SnapshotInstalled = "snapshot installed from a peer",
    /// Another master leads, or one leads in another term.
    LeaderChanged = "leader changed",
    /// A master was started again.
    MasterRestarted = "master restarted",
    /// A run was accepted.
    RunAccepted = "run accepted",
    /// A run ended well.
    RunSucceeded = "run succeeded",
    /// A run failed.
    RunFailed = "run failed",
    /// A run was cancelled.
    RunCancelled = "run cancelled",
    /// A run's own timeout was over.
    RunTimedOut = "run timed out",
    /// A placement was accepted.
    AttemptPlaced = "attempt placed",
    /// A namespace was given a weight or a quota.
    NamespaceApplied = "namespace applied",
    /// A run was refused for the quota of its namespace.
    RunOverQuota = "run refused for a quota",
    /// A placement after which the quota of its namespace lets no further one like it be live.
    QuotaFull = "quota full",
    /// A placement after which a concurrency group lets no further one like it be live.
    GroupFull = "concurrency group full",
    /// A workflow was refused for a concurrency group that its namespace does not have.
    GroupUnknown = "workflow refused for a group",
    /// A placement was refused.
    PlacementRefused = "placement refused",
    /// An attempt was told to stop by its timeout.
    AttemptTimedOut = "attempt timed out",
    /// A ready task found no worker in time.
    QueueTimedOut = "queue timed out",
    /// A report was refused because its fence is not current.
    StaleRefused = "stale report refused",
    /// A failed attempt was followed by another.
    Retried = "failed attempt retried",
    /// An attempt was lost.
    AttemptLost = "attempt lost",
    /// A task failed because it was lost too often.
    PoisonEnded = "task lost too often",
    /// A lost task waits for a person.
    Held = "task held",
    /// A person decided about a held task.
    Released = "held task released",
    /// A task was skipped because one before it failed.
    SkippedByFailure = "task skipped by failure",
    /// A condition that the leader evaluated held.
    DecidedToStart = "condition held",
    /// A condition that the leader evaluated did not hold.
    DecidedToSkip = "condition did not hold",
    /// A task that is sized late got its size.
    SizedLate = "task sized late",
    /// A task that is sized late had nothing to go through.
    NoItems = "task sized late without items",
    /// An expression could not be evaluated.
    Undecidable = "expression not evaluated",
    /// A decision about a task came when that had moved on.
    StaleDecision = "stale decision refused",
    /// The hooks of a run had their turn.
    HooksBegun = "hooks begun",
    /// A second cancel ended the hooks of a run.
    HooksCancelled = "hooks cancelled",
    /// A person gave an approval.
    ApprovalGiven = "approval given",
    /// A person refused an approval.
    ApprovalRefused = "approval refused",
    /// Nobody answered an approval in time.
    ApprovalTimedOut = "approval timed out",
    /// A task started a run of another workflow.
    ChildStarted = "run started for a task",
    /// A task could not start its run.
    ChildRefused = "run of a task refused",
    /// A task succeeded with its run.
    ChildSucceeded = "task succeeded with its run",
    /// A task's try failed with its run.
    ChildFailed = "run of a task failed",
    /// A run was told to stop with its task.
    ChildStopped = "run stopped with its task",
    /// A run was paused.
    RunPaused = "run paused",
    /// A person gave a task its end.
    TaskEnded = "task given an end",
    /// Ends in a live run were taken back.
    TasksReopened = "tasks reopened",
    /// What had failed in an ended run was retried in a new one.
    RunRetried = "run retried in a new one",
    /// A run waited for an earlier one of its workflow.
    RunQueued = "run queued",
    /// A run took the place of an earlier one.
    RunReplaced = "run replaced",
    /// A submission was refused because another run was live.
    RunForbidden = "run forbidden",
    /// A schedule made a run.
    ScheduleFired = "schedule fired",
    /// A fire time made no run, because it was too late for it.
    FireMissed = "fire time missed",
    /// A fire time that was late made a run all the same.
    CaughtUp = "late fire time caught up on",
    /// A fire time made no run, because an earlier one was live.
    FirePassedOver = "fire time passed over",
    /// The end of a run made a run of another workflow.
    TriggerFired = "trigger fired",
    /// The end of a run made none of a workflow that follows, because an earlier one was live.
    TriggerPassedOver = "end passed over by a trigger",
    /// A version was refused because its workflow would follow itself.
    TriggerCycleRefused = "circle of triggers refused",
    /// A decision about a schedule came when the schedule had moved on.
    StaleFire = "stale fire refused",
    /// A cancel found its run ended already.
    CancelTooLate = "cancel of an ended run",
    /// An attempt succeeded after it was told to stop.
    CancelRacedFinish = "cancel raced with a finish",
    /// A cancelled attempt was ended without its worker's word.
    StopForced = "silent attempt ended by force",
    /// Something that somebody asked for went into the audit trail.
    ActionAudited = "action in the audit trail",
    /// A request was answered from its id.
    DuplicateAnswered = "duplicate answered from its request id",
    /// A request id came with another body.
    RequestIdReused = "request id reused",
    /// A worker was declared lost.
    WorkerLost = "worker lost",
    /// A worker registered while an older incarnation was not lost yet.
    IncarnationChanged = "worker came back as another incarnation",
    /// A registered worker registered again.
    RegisteredAgain = "worker registered again",
    /// A worker shut down by itself.
    WorkerLeft = "worker left",
    /// An outcome was reported by a later process of its worker than the one that came to it.
    JournalDelivered = "outcome delivered by a later life of its worker",
    /// Ended runs were pruned from the history.
    HistoryPruned = "history pruned",
    /// A worker drains.
    WorkerDrained = "worker drained",
    /// A lease ended on its worker.
    LeaseLapsed = "lease lapsed",
    /// An attempt was killed for want of a lease, or with its worker.
    AttemptKilled = "attempt killed",
    /// A report was answered as stale.
    ReportAnsweredStale = "report answered stale",
    /// A write through a master that did not lead any more was refused.
    DeposedRefused = "deposed leader's write refused",
    /// A placed attempt was dispatched again because its worker did not know it.
    Reconciled = "attempt reconciled",
    /// A call whose outcome its caller does not know.
    OutcomeUnknown = "call of unknown outcome",
    /// A linearizable read was judged.
    ReadJudged = "linearizable read judged",
    /// A read that may be stale was judged.
    StaleReadJudged = "stale read judged",
    /// Two attempts of one task followed each other on different workers.
    AttemptMoved = "task moved to another worker",
    /// A fault was injected.
    Fault = "fault injected",
}

/// How often what happened. See the module documentation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    counts: BTreeMap<Rare, u64>,
    /// What only one harness knows.
    own: BTreeMap<String, u64>,
}

impl Coverage {
    /// Counts one event.
    pub fn count(&mut self, rare: Rare) {
        self.add(rare, 1);
    }

    /// Counts several events.
    pub fn add(&mut self, rare: Rare, times: u64) {
        if times > 0 {
            *self.counts.entry(rare).or_default() += times;
        }
    }

    /// Counts an event that only this harness knows. The name is one line and holds no colon.
    pub fn count_own(&mut self, name: &str, times: u64) {
        *self.own.entry(name.to_owned()).or_default() += times;
    }

    /// How often it happened.
    pub fn of(&self, rare: Rare) -> u64 {
        self.counts.get(&rare).copied().unwrap_or_default()
    }

    /// How often an event of the harness's own happened.
    pub fn of_own(&self, name: &str) -> u64 {
        self.own.get(name).copied().unwrap_or_default()
    }

    /// Adds the counts of another run.
    pub fn merge(&mut self, other: &Coverage) {
        for (rare, times) in &other.counts {
            self.add(*rare, *times);
        }
        for (name, times) in &other.own {
            self.count_own(name, *times);
        }
    }

    /// Those of `wanted` that never happened, and the harness's own that stayed at zero.
    pub fn never(&self, wanted: &[Rare]) -> Vec<String> {
        let rare = wanted.iter().filter(|rare| self.of(**rare) == 0);
        let own = self.own.iter().filter(|(_, times)| **times == 0);
        rare.map(|rare| rare.name().to_owned()).chain(own.map(|(name, _)| name.clone())).collect()
    }
}

impl fmt::Display for Coverage {
    /// `stale report refused: 3`, a line each. Can be parsed again.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (rare, times) in &self.counts {
            writeln!(f, "{}: {times}", rare.name())?;
        }
        for (name, times) in &self.own {
            writeln!(f, "{name}: {times}")?;
        }
        Ok(())
    }
}

/// A line that is not `name: count`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{line}` is not a counter; expected `name: count`")]
pub struct NotCoverage {
    /// The line.
    pub line: String,
}

impl FromStr for Coverage {
    type Err = NotCoverage;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut coverage = Coverage::default();
        for line in text.lines() {
            let parsed =
                line.rsplit_once(": ").and_then(|(name, count)| Some((name, count.parse().ok()?)));
            let Some((name, times)) = parsed else {
                return Err(NotCoverage { line: line.to_owned() });
            };
            match Rare::ALL.iter().find(|rare| rare.name() == name) {
                Some(rare) => coverage.add(*rare, times),
                None => coverage.count_own(name, times),
            }
        }
        Ok(coverage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_merge_and_survive_text() {
        let mut one = Coverage::default();
        one.count(Rare::StaleRefused);
        one.count_own("torn writes", 0);
        let mut two = one.clone();
        two.add(Rare::Held, 4);
        two.count_own("torn writes", 2);
        assert_eq!(one.never(&[Rare::StaleRefused, Rare::Held]), ["task held", "torn writes"]);
        one.merge(&two);
        assert_eq!((one.of(Rare::StaleRefused), one.of(Rare::Held)), (2, 4));
        assert_eq!(one.never(&[Rare::StaleRefused, Rare::Held]), [""; 0]);
        assert_eq!(one.to_string().parse(), Ok(one));
        assert!("no number: x".parse::<Coverage>().is_err());
    }

    #[test]
    fn names_tell_events_apart() {
        let names: std::collections::BTreeSet<_> = Rare::ALL.iter().map(|it| it.name()).collect();
        assert_eq!(names.len(), Rare::ALL.len());
    }
}
