//! The core against a naive model: random commands, compared after each entry, on two replicas of which one is now and
//! then restored from a snapshot. The number of cases is `PROPTEST_CASES`.

mod lockstep;
mod naive;
mod ops;
mod rules;
mod specs;

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

fn run_all(sequence: &[Timed]) -> Result<Lockstep, String> {
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
    Ok(lockstep)
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

/// The random commands must reach what they are meant to judge: a generator that went stale would agree for ever.
#[test]
fn the_random_commands_reach_everything() {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut seen = std::collections::BTreeMap::new();
    for _ in 0..150 {
        let sequence = ops::sequence().new_tree(&mut runner).expect("no filters").current();
        assert!(
            sequence.iter().any(|timed| !matches!(timed.clock, Clock::Back(_)))
                || sequence.len() < 9
        );
        let lockstep = run_all(&sequence).unwrap_or_else(|difference| panic!("{difference}"));
        for (what, count) in lockstep.seen {
            *seen.entry(what).or_insert(0u64) += count;
        }
    }
    let wanted = [
        "placed",
        "start accepted",
        "finish accepted",
        "ended Succeeded",
        "ended Failed",
        "ended Cancelled",
        "refused RunNotLive",
        "refused NoSuchTask",
        "refused NotReady",
        "refused WorkerNotActive",
        "refused WorkerMismatch",
        "refused NoCapacity",
        "refused Stale",
        "rejected RequestIdReused",
        "rejected InvalidSpec",
        "rejected NoSuchWorkflow",
        "rejected NoSuchRun",
        "rejected NotHeld",
        "rejected NoSuchWorker",
        "status Backoff",
        "status Held",
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
    ];
    let missing: Vec<_> = wanted.into_iter().filter(|it| !seen.contains_key(*it)).collect();
    assert!(missing.is_empty(), "never happened: {missing:?}; seen: {seen:#?}");
}
