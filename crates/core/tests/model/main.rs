//! The core against a naive model: random commands, compared after each entry, on two replicas of which one is now and
//! then restored from a snapshot. The number of cases is `PROPTEST_CASES`.

mod children;
mod decisions;
mod hooks;
mod lockstep;
mod naive;
mod operate;
mod ops;
mod quota;
mod rules;
mod specs;
mod workers;

use std::collections::BTreeMap;

use muster_checker::{Coverage, Rare};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

use lockstep::Lockstep;
use ops::{Clock, Timed};

fn config() -> ProptestConfig {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/proptest-regressions/model.txt");
    ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(file))),
        ..ProptestConfig::default()
    }
}

/// Runs a sequence; returns what happened, and what the checker says about all of it.
fn run_all(sequence: &[Timed]) -> Result<(BTreeMap<String, u64>, Coverage), String> {
    let mut lockstep = Lockstep::default();
    let mut entry: Vec<&Timed> = Vec::new();
    for timed in sequence {
        entry.push(timed);
        if !timed.is_joined {
            lockstep.apply(&entry)?;
            entry.clear();
        }
    }
    if !entry.is_empty() {
        lockstep.apply(&entry)?;
    }
    let (seen, verdict) = lockstep.finish();
    if verdict.is_clean() { Ok((seen, verdict.coverage)) } else { Err(verdict.to_string()) }
}

proptest! {
    #![proptest_config(config())]

    /// Every status, reply, ready set and capacity agrees with the model; replicas agree with each other; what ended
    /// stays as it is.
    #[test]
    fn the_core_does_what_the_naive_model_does(sequence in ops::sequence()) {
        if let Err(difference) = run_all(&sequence) {
            return Err(TestCaseError::fail(difference));
        }
    }
}

/// What the checker must have met among the random commands.
const CHECKED: [Rare; 49] = [
    Rare::ChildStarted,
    Rare::ChildRefused,
    Rare::ChildSucceeded,
    Rare::ChildFailed,
    Rare::ChildStopped,
    Rare::HooksBegun,
    Rare::HooksCancelled,
    Rare::EntryAudited,
    Rare::EntryShared,
    Rare::ClockBack,
    Rare::IndexCompared,
    Rare::SnapshotRestored,
    Rare::RunAccepted,
    Rare::RunSucceeded,
    Rare::RunFailed,
    Rare::RunCancelled,
    Rare::RunTimedOut,
    Rare::AttemptPlaced,
    Rare::PlacementRefused,
    Rare::NamespaceApplied,
    Rare::RunOverQuota,
    Rare::QuotaFull,
    Rare::GroupFull,
    Rare::GroupUnknown,
    Rare::AttemptTimedOut,
    Rare::QueueTimedOut,
    Rare::StaleRefused,
    Rare::Retried,
    Rare::AttemptLost,
    Rare::PoisonEnded,
    Rare::Held,
    Rare::Released,
    Rare::SkippedByFailure,
    Rare::DecidedToStart,
    Rare::DecidedToSkip,
    Rare::Undecidable,
    Rare::SizedLate,
    Rare::NoItems,
    Rare::StaleDecision,
    Rare::ApprovalGiven,
    Rare::ApprovalRefused,
    Rare::ApprovalTimedOut,
    Rare::CancelRacedFinish,
    Rare::StopForced,
    Rare::ActionAudited,
    Rare::DuplicateAnswered,
    Rare::RequestIdReused,
    Rare::WorkerLost,
    Rare::IncarnationChanged,
];

/// What must happen in some sequence.
const WANTED: [&str; 70] = [
    "stopped ByParent",
    "hooks after Succeeded",
    "hooks after Failed",
    "hooks after Cancelled",
    "hooks after TimedOut",
    "rejected HooksBegun",
    "placed",
    "start accepted",
    "finish accepted",
    "ended Succeeded",
    "ended Failed",
    "ended Cancelled",
    "refused RunNotLive",
    "refused NoSuchTask",
    "refused NotReady",
    "refused RunPaused",
    "refused NotUndecided",
    "refused WrongVerdict",
    "refused WorkerNotActive",
    "refused WorkerMismatch",
    "refused NoCapacity",
    "refused TooParallel",
    "refused QuotaReached",
    "refused GroupFull",
    "rejected QuotaReached",
    "rejected NoSuchGroup",
    "carried out ApplyNamespace",
    "refused Stale",
    "rejected RequestIdReused",
    "rejected InvalidSpec",
    "rejected NoSuchWorkflow",
    "rejected NoSuchRun",
    "rejected RunStopping",
    "rejected NotHeld",
    "rejected NotAwaiting",
    "rejected NoSuchWorker",
    "carried out PauseRun",
    "carried out EndTask",
    "carried out ReopenTasks",
    "rejected TaskLive",
    "rejected TaskEnded",
    "rejected NoSuchTask",
    "rejected NothingFailed",
    "an end was taken back",
    "carried out RetryRun",
    "rejected BadRetry",
    "carried out PrioritizeRun",
    "status Backoff",
    "status Held",
    "status Awaiting",
    "status Undecided",
    "status Skipped",
    "skipped by failure",
    "status Cancelled",
    "told to stop",
    "range shared",
    "restored",
    "worker forgotten",
    "failed TimedOut",
    "failed QueueTimedOut",
    "failed Lost",
    "failed Rejected",
    "failed Undecidable",
    "failed NotApproved",
    "failed RunFailed",
    "failFast of a task",
    "failFast of a run",
    "failures that may be",
    "failures taken over",
    "items taken over",
];

/// The random commands must reach what they are meant to judge: a generator that went stale would agree for ever.
#[test]
fn the_random_commands_reach_everything() {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut seen = BTreeMap::new();
    let mut coverage = Coverage::default();
    for _ in 0..900 {
        let sequence = ops::sequence().new_tree(&mut runner).expect("no filters").current();
        assert!(
            sequence.iter().any(|timed| !matches!(timed.clock, Clock::Back(_)))
                || sequence.len() < 9
        );
        let (happened, covered) =
            run_all(&sequence).unwrap_or_else(|difference| panic!("{difference}"));
        coverage.merge(&covered);
        for (what, count) in happened {
            *seen.entry(what).or_insert(0u64) += count;
        }
    }
    let unseen = coverage.never(&CHECKED);
    assert!(unseen.is_empty(), "the checker never saw: {unseen:?}; it saw:\n{coverage}");
    let missing: Vec<_> = WANTED.into_iter().filter(|it| !seen.contains_key(*it)).collect();
    assert!(missing.is_empty(), "never happened: {missing:?}; seen: {seen:#?}");
}
