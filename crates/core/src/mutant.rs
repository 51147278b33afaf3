//! Deliberate bugs, one at a time, to test what tests us: for each promise there is a mutant that breaks it, and the
//! simulation must notice.
//!
//! Compiled in by the feature `mutants` alone, which `tests/simulation` asks for and nothing that is shipped does:
//! without it [`is_on`] is a constant `false`, and not a byte of a mutant is left. Cargo unifies features, so a test
//! build of the whole workspace carries mutants too; none of them does anything until [`set`] wakes it, which only the
//! simulation's program calls, in a process of its own.
//!
//! The core's laws, no shared state and no configuration, are about the product: two replicas with the same entries
//! hold the same bytes. A mutant is there to break such laws.

macro_rules! mutants {
    ($($name:ident = $text:literal: $what:literal,)*) => {
        /// A deliberate bug. What follows in brackets is the promise that it breaks.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Mutant {
            $(#[doc = $what] $name,)*
        }

        impl Mutant {
            /// All of them.
            pub const ALL: &[Mutant] = &[$(Mutant::$name),*];

            /// Its name on the command line.
            pub fn name(self) -> &'static str {
                match self {
                    $(Mutant::$name => $text,)*
                }
            }

            /// What is wrong with it, and which promise that breaks.
            pub fn what(self) -> &'static str {
                match self {
                    $(Mutant::$name => $what,)*
                }
            }
        }
    };
}

mutants! {
    LapseIgnored = "lapse-ignored": "Neither a worker nor its guardian kills its attempts when its lease is over (P1).",
    GuardianUntold = "guardian-untold": "The guardian does not hear when the lease is over (P1).",
    ApplyAsksWhoLeads = "apply-asks-who-leads": "Time passes on the leader alone (I1).",
    SnapshotLosesRun = "snapshot-loses-run": "A snapshot lacks the newest run (I1).",
    HistoryUnflushed = "history-unflushed": "The history is written late, and the log is purged all the same (I2).",
    AcknowledgedEarly = "acknowledged-early": "A report is acknowledged before it is committed (I2).",
    JournalForgotten = "journal-forgotten": "A restarted worker reports nothing of what it came to before (I2).",
    JournalGarbled = "journal-garbled": "A restarted worker reports all it came to before as failed (I4).",
    LogAnsweredEarly = "log-answered-early": "The log calls durable what it has yet to write (I2).",
    RequestIgnored = "request-ignored": "A repeated request is carried out again (I3).",
    BodyUnchecked = "body-unchecked": "A request id answers for every body (I3).",
    SnapshotForgetsRequests = "snapshot-forgets-requests": "A snapshot lacks the request ids (I3).",
    FenceUnchecked = "fence-unchecked": "A report counts whatever its fence (I4).",
    FenceReused = "fence-reused": "All attempts of a run carry one fence (I4).",
    StaleReportKept = "stale-report-kept": "A stale report is refused, and leaves its message (I5).",
    EndOverwritten = "end-overwritten": "A cancel makes cancelled what had succeeded (I6).",
    DependencyIgnored = "dependency-ignored": "A task starts when the first task it needs has ended (I7).",
    RejectionIgnored = "rejection-ignored": "An approval that a person refuses counts as given (I7).",
    ApprovalHasty = "approval-hasty": "An approval whose turn comes is given at once (I7).",
    HookMisled = "hook-misled": "A hook for success begins whatever the tasks came to (I7).",
    HooksForgotten = "hooks-forgotten": "A run that is told to stop ends without its hooks (I7).",
    ChildMisread = "child-misread": "A sub-workflow whose run failed counts as succeeded (I20).",
    ChildOrphaned = "child-orphaned": "What stops leaves the runs going that its tasks wait for (I15).",
    ItemForgotten = "item-forgotten": "A list that is known only at run time loses its last item (I2).",
    DecisionUnchecked = "decision-unchecked": "A decision counts whatever its task has come to meanwhile (I7).",
    FireUndecided = "fire-undecided": "A schedule that fired is where it was before (I8).",
    FireForgotten = "fire-forgotten": "What came due together fires once and is not counted (I8).",
    CatchUpIgnored = "catch-up-ignored": "What is late fires whatever the schedule says (I8).",
    TriggerDoubled = "trigger-doubled": "A trigger makes two runs for one end (I8).",
    TriggerForgotten = "trigger-forgotten": "Nothing follows a run that fails (I8).",
    ClockBelieved = "clock-believed": "A leader goes by its own wall clock, however wrong it is (I8).",
    SuspendForgotten = "suspend-forgotten": "A schedule is said to be suspended, and is not (I14).",
    PolicyIgnored = "policy-ignored": "A run begins whatever the concurrency policy (I9).",
    RetryLimitIgnored = "retry-limit-ignored": "A task is tried until it succeeds (I10).",
    LossSpendsRetry = "loss-spends-retry": "A loss counts as a failure too (I10).",
    LossCountedTwice = "loss-counted-twice": "One lease expiry costs two losses (I10).",
    CapacityUnchecked = "capacity-unchecked": "Planner and state forget what workers hold (I11).",
    ParallelUnchecked = "parallel-unchecked": "More indices are live than `maxParallel` lets (I11).",
    QuotaUnchecked = "quota-unchecked": "Planner and state forget the quotas of namespaces (I11).",
    GroupUnchecked = "group-unchecked": "Planner and state forget the limits of concurrency groups (I11).",
    MassExpiry = "mass-expiry": "A new leader gives up every worker at once (I12).",
    MarginDropped = "margin-dropped": "A worker is declared lost in the middle of its lease (I12).",
    MarginForgotten = "margin-forgotten": "A worker is declared lost the moment its lease is over (I12).",
    LeaseOfOthersIgnored = "lease-of-others-ignored": "A leader waits for the leases that it would grant itself (I12).",
    TermUnbound = "term-unbound": "Who was to be lost in one term is lost in a later one (I12).",
    QuorumRemembered = "quorum-remembered": "A leader confirms leases seconds after it last heard of a quorum (I12).",
    LeaseFromAnswer = "lease-from-answer": "A worker counts its lease from the answer to its heartbeat (I12).",
    LeaseByWallClock = "lease-by-wall-clock": "A jump of the leader's wall clock ends leases (I12).",
    IncarnationUnchecked = "incarnation-unchecked": "A restarted worker is taken for the old one (I12).",
    DispatchBeforeCommit = "dispatch-before-commit": "A leader dispatches what it only proposed (I13).",
    DeposedAcknowledges = "deposed-acknowledges": "A leader without a quorum prolongs leases (I12).",
    FollowerReads = "follower-reads": "Every master answers every read from its own state (I14).",
    DeposedReads = "deposed-reads": "A leader reads without asking a quorum (I14).",
    PauseForgotten = "pause-forgotten": "A run is said to be paused, and is not (I15).",
    FailFastIgnored = "fail-fast-ignored": "What failed takes nothing with it, whatever `failFast` says (I15).",
    CancelForgotten = "cancel-forgotten": "A cancel is acknowledged and nothing is stopped (I15).",
    CancelRetried = "cancel-retried": "An attempt that was stopped by a cancel is tried again (I15).",
    CountDrifts = "count-drifts": "Of several attempts that end at once one is given back (I16).",
    AnswerDropped = "answer-dropped": "A rejected command gets no answer (I17).",
    VoteForgotten = "vote-forgotten": "A restarted master does not know whom it voted for (I18).",
    LogTailLost = "log-tail-lost": "A restarted master forgets the last entry of its log (I18).",
    ActionForgotten = "action-forgotten": "A cancel is not in the audit trail (I19).",
    NoSecondLeader = "no-second-leader": "Masters vote in the first election only (L1).",
    SnapshotRefused = "snapshot-refused": "Masters take no snapshot from a peer (L2).",
    QueueForgets = "queue-forgets": "A task is not queued again after its backoff (L3).",
    ReleaseForgotten = "release-forgotten": "A held task is not let go (L3).",
    OneLeaderPlans = "one-leader-plans": "Later leaders than the first plan nothing (L4).",
    HeldIgnored = "held-ignored": "What a worker says it holds is not compared with the state (L5).",
}

impl Mutant {
    /// The mutant of this name.
    pub fn named(name: &str) -> Option<Mutant> {
        Mutant::ALL.iter().copied().find(|mutant| mutant.name() == name)
    }
}

#[cfg(feature = "mutants")]
mod switch {
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::Mutant;

    /// No mutant has this number.
    const NONE: u8 = u8::MAX;

    static ON: AtomicU8 = AtomicU8::new(NONE);

    /// Wakes a mutant, for the rest of this process.
    pub fn set(mutant: Mutant) {
        ON.store(mutant as u8, Ordering::Relaxed);
    }

    /// Whether this mutant was woken.
    pub fn is_on(mutant: Mutant) -> bool {
        ON.load(Ordering::Relaxed) == mutant as u8
    }
}

#[cfg(not(feature = "mutants"))]
mod switch {
    use super::Mutant;

    /// No mutant is compiled in.
    pub const fn is_on(_: Mutant) -> bool {
        false
    }
}

pub use switch::*;
