//! The simulation on trial: every deliberate bug of [`muster_core::mutant`] must be noticed, by the promise it breaks.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;

use muster_checker::Invariant;
use muster_core::mutant::Mutant;

use crate::sweep::run_each;

/// A mutant, and what must find it.
#[derive(Clone, Copy, Debug)]
pub struct Trial {
    /// Which.
    pub mutant: Mutant,
    /// The promises that it breaks. One of these must be named.
    pub breaks: &'static [Invariant],
    /// A seed that caught it before, to begin with.
    pub first: u64,
}

macro_rules! trials {
    ($($mutant:ident: $($invariant:ident)|+ @ $seed:literal,)*) => {
        /// All mutants.
        pub const TRIALS: &[Trial] = &[$(Trial {
            mutant: Mutant::$mutant,
            breaks: &[$(Invariant::$invariant),+],
            first: $seed,
        }),*];
    };
}

trials! {
    LapseIgnored: P1 @ 39,
    GuardianUntold: P1 @ 129,
    ApplyAsksWhoLeads: I1 @ 0,
    SnapshotLosesRun: I1 @ 2,
    HistoryUnflushed: I2 @ 10,
    AcknowledgedEarly: I2 @ 0,
    JournalForgotten: I2 @ 4,
    JournalGarbled: I4 @ 0,
    ItemForgotten: I2 @ 3,
    LogAnsweredEarly: I2 | I18 @ 3,
    RequestIgnored: I3 @ 0,
    BodyUnchecked: I3 @ 1,
    SnapshotForgetsRequests: I3 | I1 @ 2,
    FenceUnchecked: I4 | I5 @ 4,
    FenceReused: I4 @ 0,
    StaleReportKept: I5 @ 3,
    EndOverwritten: I6 @ 1,
    DependencyIgnored: I7 @ 0,
    RejectionIgnored: I7 @ 6,
    ApprovalHasty: I7 @ 6,
    HookMisled: I7 @ 10,
    HooksForgotten: I7 @ 10,
    DecisionUnchecked: I7 @ 9,
    ChildMisread: I20 @ 44,
    ChildOrphaned: I15 @ 12,
    FireUndecided: I8 @ 0,
    FireForgotten: I8 @ 4,
    CatchUpIgnored: I8 @ 45,
    TriggerDoubled: I8 @ 7,
    TriggerForgotten: I8 @ 7,
    ClockBelieved: I8 @ 8,
    SuspendForgotten: I14 @ 0,
    PolicyIgnored: I9 @ 1,
    RetryLimitIgnored: I10 @ 0,
    LossSpendsRetry: I10 @ 0,
    LossCountedTwice: I10 @ 0,
    CapacityUnchecked: I11 @ 0,
    ParallelUnchecked: I11 @ 0,
    QuotaUnchecked: I11 @ 3,
    GroupUnchecked: I11 @ 7,
    MassExpiry: I12 @ 1,
    MarginDropped: I12 @ 2,
    MarginForgotten: I12 @ 0,
    LeaseOfOthersIgnored: I12 @ 2,
    TermUnbound: I12 @ 4,
    QuorumRemembered: I12 | P1 @ 6,
    LeaseFromAnswer: I12 | P1 @ 1,
    LeaseByWallClock: I12 @ 11,
    IncarnationUnchecked: I12 @ 0,
    DispatchBeforeCommit: I13 @ 0,
    DeposedAcknowledges: I12 | P1 @ 6,
    FollowerReads: I14 @ 13,
    DeposedReads: I14 @ 93,
    PauseForgotten: I15 @ 0,
    FailFastIgnored: I15 @ 0,
    CancelForgotten: I15 @ 1,
    CancelRetried: I15 @ 0,
    CountDrifts: I16 @ 0,
    AnswerDropped: I17 @ 0,
    VoteForgotten: I18 @ 7,
    LogTailLost: I18 | I2 @ 0,
    ActionForgotten: I19 @ 1,
    NoSecondLeader: L1 @ 0,
    SnapshotRefused: L2 @ 25,
    QueueForgets: L3 @ 0,
    ReleaseForgotten: L3 @ 5,
    OneLeaderPlans: L4 @ 10,
    HeldIgnored: L5 @ 1,
}

/// What became of a mutant.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Which.
    pub trial: Trial,
    /// How many seeds were run.
    pub seeds: u64,
    /// The seed that named a broken promise, and what it said.
    pub caught: Option<(u64, String)>,
    /// What else was found on the way, and how often.
    pub besides: BTreeMap<String, u64>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let breaks: Vec<_> = self.trial.breaks.iter().map(|it| it.code()).collect();
        let (name, breaks) = (self.trial.mutant.name(), breaks.join(" or "));
        write!(f, "{name:26} {breaks:12} ")?;
        match &self.caught {
            Some((seed, what)) => write!(f, "seed {seed:4} {:4} run(s)  {what}", self.seeds),
            None if self.besides.is_empty() => write!(f, "ESCAPED from {} seeds", self.seeds),
            None => write!(f, "NOT NAMED by {} seeds; they found {:?}", self.seeds, self.besides),
        }
    }
}

/// Runs seeds, first the one that caught the mutant before and then from 0 on, until one names what the mutant breaks;
/// at most `seeds_max`, so many at once.
///
/// # Errors
/// A process cannot be started.
pub fn hunt(program: &Path, trial: Trial, seeds_max: u64, threads: usize) -> io::Result<Outcome> {
    let others = (0..seeds_max).filter(|seed| *seed != trial.first);
    let seeds: Vec<u64> =
        [trial.first].into_iter().chain(others).take(seeds_max as usize).collect();
    let mut outcome = Outcome { trial, seeds: 0, caught: None, besides: BTreeMap::new() };
    // The first alone: mostly it is enough.
    let (first, rest) = seeds.split_at(seeds.len().min(1));
    for batch in [first].into_iter().chain(rest.chunks(threads.max(1))) {
        for (seed, text) in run_each(program, batch, trial.mutant)? {
            outcome.seeds += 1;
            outcome.take_in(seed, &text);
        }
        if outcome.caught.is_some() {
            break;
        }
    }
    Ok(outcome)
}

impl Outcome {
    /// What one seed printed: a line for each violation, and one if it did not come to an end.
    fn take_in(&mut self, seed: u64, text: &str) {
        for line in text.lines().filter_map(|line| line.strip_prefix("  ")) {
            let code = line.split_whitespace().next().unwrap_or_default();
            let named = Invariant::ALL.iter().find(|it| it.code() == code);
            match named {
                Some(invariant) if self.trial.breaks.contains(invariant) => {
                    self.caught.get_or_insert_with(|| (seed, line.to_owned()));
                }
                Some(_) => *self.besides.entry(code.to_owned()).or_default() += 1,
                None if line.starts_with('#') => {}
                None => {
                    let words = line.split(':').next().unwrap_or_default();
                    *self.besides.entry(words.to_owned()).or_default() += 1;
                }
            }
        }
        if text.is_empty() {
            *self.besides.entry("no verdict at all".to_owned()).or_default() += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sweep::overdue;

    #[test]
    fn every_mutant_is_tried_once_and_every_promise_has_one() {
        let tried: Vec<Mutant> = TRIALS.iter().map(|trial| trial.mutant).collect();
        let mut sorted = tried.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), tried.len());
        let mut all = Mutant::ALL.to_vec();
        all.sort_unstable();
        assert_eq!(sorted, all);
        for invariant in Invariant::ALL {
            let has_one = TRIALS.iter().any(|trial| trial.breaks[0] == *invariant);
            assert!(has_one, "nothing breaks {invariant}");
        }
    }

    #[test]
    fn what_a_mutant_says_of_itself_is_what_is_looked_for() {
        for Trial { mutant, breaks, .. } in TRIALS {
            let said = format!("({}).", breaks[0]);
            assert!(mutant.what().ends_with(&said), "{}: {}", mutant.name(), mutant.what());
            assert_eq!(Mutant::named(mutant.name()), Some(*mutant));
        }
    }

    #[test]
    fn a_seed_that_did_not_return_has_noticed_nothing() {
        let trial = TRIALS[0];
        let mut outcome = Outcome { trial, seeds: 1, caught: None, besides: BTreeMap::new() };
        outcome.take_in(3, &overdue());
        assert!(outcome.caught.is_none());
        assert!(
            outcome.to_string().contains(r#"{"did not return in 300 s of CPU time": 1}"#),
            "{outcome}"
        );
    }

    #[test]
    fn only_the_promise_itself_counts_as_caught() {
        let trial = TRIALS[0];
        let mut outcome = Outcome { trial, seeds: 1, caught: None, besides: BTreeMap::new() };
        outcome
            .take_in(3, "seed=3 hash=0 BROKEN\n  panic: oh\n  I4 at index 5: twice\n  # runs: 1\n");
        assert!(outcome.caught.is_none());
        assert_eq!(outcome.besides.keys().collect::<Vec<_>>(), ["I4", "panic"]);
        outcome.take_in(4, "  P1 at 1 s: two\n  P1 at 2 s: two\n");
        assert_eq!(outcome.caught, Some((4, "P1 at 1 s: two".to_owned())));
    }
}
