//! The simulation notices deliberate bugs: a few of them here, all of them by `just sim-mutants`, which needs the
//! release build.

use std::path::Path;

use muster_core::mutant::Mutant;
use muster_simulation::mutants::{TRIALS, hunt};

const PROGRAM: &str = env!("CARGO_BIN_EXE_muster-sim");
/// Found within the first seconds of most seeds: one by the log, one by what workers saw.
const CHEAP: [Mutant; 2] = [Mutant::DependencyIgnored, Mutant::DispatchBeforeCommit];
/// Any change may shift what happens in a seed.
const SEEDS_MAX: u64 = 10;

#[test]
fn deliberate_bugs_are_noticed_by_the_promise_they_break() {
    for mutant in CHEAP {
        let trial = TRIALS.iter().find(|trial| trial.mutant == mutant).expect("all are tried");
        let outcome = hunt(Path::new(PROGRAM), *trial, SEEDS_MAX, 2).expect("it can be started");
        assert!(outcome.caught.is_some(), "{outcome}");
    }
}
