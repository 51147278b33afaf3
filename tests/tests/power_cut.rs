//! The power is cut under the real stores of masters and workers, and what they acknowledged must be there.
//!
//! Every round runs a child under `muster-faultdisk`, which undoes whatever no sync covers. A failure names its seed
//! and round; `MUSTER_POWER_CUT_ROUNDS` and `MUSTER_POWER_CUT_SEED` change both.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use muster_tests::power_cut::journal::{self, Owed};
use muster_tests::power_cut::rounds::{Figures, Plan, was_cut};
use muster_tests::power_cut::store::Steps;
use muster_tests::power_cut::{Bench, Failing, Said, history, log};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

const DRIVER: &str = env!("CARGO_BIN_EXE_power_cut_driver");
const ROUNDS: u64 = 40;
/// Opening a store takes about a dozen steps, so some recoveries are cut too.
const CUT_AT_MAX: u64 = 1_200;
/// On an empty disk: while the file is made, and a little later.
const CUT_AT_MAX_FRESH: u64 = 200;
/// A member takes more than a hundred steps to open, to form its cluster and to be elected.
const CUT_AT_MAX_MEMBER: u64 = 1_500;
const CUT_AT_MAX_MEMBER_FRESH: u64 = 400;
/// How much of an expected failure is shown.
const BRIEF_CHARS: usize = 200;
/// The journal writes in the background: the power is cut after a time.
const JOURNAL_ROUND_MAX: Duration = Duration::from_millis(1_200);
/// One round in so many takes so long that some records become old.
const JOURNAL_LONG_ONE_IN: u64 = 20;
const JOURNAL_LONG_ROUND: Duration = Duration::from_secs(6);
/// In the others every second is cut at a step, early: while the journal opens, or soon after.
const JOURNAL_CUT_AT_MAX: u64 = 100;
/// More steps than it takes to make a journal.
const JOURNAL_NEW_STEPS: u64 = 60;
/// More records than a batch of the journal holds.
const JOURNAL_GAP: u64 = 10;

fn number(variable: &str, default: u64) -> u64 {
    let text = std::env::var(variable).ok();
    text.map_or(default, |text| text.parse().expect("a number"))
}

/// Rounds that share a disk.
fn plan(cut_at_max: u64) -> Plan {
    Plan {
        driver: DRIVER,
        seed: number("MUSTER_POWER_CUT_SEED", 1),
        rounds: number("MUSTER_POWER_CUT_ROUNDS", ROUNDS),
        is_fresh: false,
        cut_at_max,
        lie_one_in: None,
    }
}

#[track_caller]
fn expect_nothing_lost(what: &str, plan: &Plan, figures: Result<Figures, String>) {
    let figures = figures.unwrap_or_else(|problem| panic!("{what}: {problem}"));
    println!("{what}: {figures:?}, lost 0");
    assert_eq!(figures.rounds, plan.rounds);
    assert!(figures.acknowledged > plan.rounds, "hardly anything was done: {figures:?}");
    let is_short = plan.rounds < ROUNDS;
    assert!(is_short || figures.cut_while_opening > 0, "no recovery was cut: {figures:?}");
}

fn cut_under<S: Steps>(kind: &str)
where
    S::Model: Default,
{
    let shared = plan(CUT_AT_MAX);
    expect_nothing_lost(kind, &shared, shared.cut_under::<S>(kind));
    let fresh = Plan { is_fresh: true, ..plan(CUT_AT_MAX_FRESH) };
    expect_nothing_lost(&format!("{kind}, fresh"), &fresh, fresh.cut_under::<S>(kind));
}

/// Whoever calls lost syncs sound would call anything sound.
#[track_caller]
fn expect_notice(what: &str, rounds: impl Fn(Plan) -> Result<Figures, String>) {
    for one_in in [1, 4] {
        let lying = Plan { lie_one_in: Some(one_in), ..plan(CUT_AT_MAX) };
        match rounds(lying) {
            Ok(figures) => panic!("{what}: one lost sync in {one_in} went unnoticed: {figures:?}"),
            Err(problem) => {
                let brief: String = problem.chars().take(BRIEF_CHARS).collect();
                println!("{what}, one lost sync in {one_in}: {brief}…");
            }
        }
    }
}

#[test]
fn the_log_keeps_what_it_acknowledged() {
    cut_under::<log::Log>("log");
}

#[test]
fn the_history_keeps_what_it_acknowledged() {
    cut_under::<history::History>("history");
}

#[test]
fn a_member_keeps_what_it_acknowledged() {
    let shared = plan(CUT_AT_MAX_MEMBER);
    let (figures, snapshot_index) =
        shared.cut_under_a_member().unwrap_or_else(|problem| panic!("member: {problem}"));
    expect_nothing_lost("member", &shared, Ok(figures));
    println!("member: last snapshot at index {snapshot_index}");
    assert!(snapshot_index > 0, "no snapshot was ever taken");
    let fresh = Plan { is_fresh: true, ..plan(CUT_AT_MAX_MEMBER_FRESH) };
    let figures = fresh.cut_under_a_member().map(|(figures, _)| figures);
    expect_nothing_lost("member, fresh", &fresh, figures);
}

#[test]
fn lost_syncs_of_the_log_are_noticed() {
    expect_notice("log", |plan| plan.cut_under::<log::Log>("log"));
}

#[test]
fn lost_syncs_of_the_history_are_noticed() {
    expect_notice("history", |plan| plan.cut_under::<history::History>("history"));
}

#[test]
fn lost_syncs_of_a_member_are_noticed() {
    expect_notice("member", |plan| plan.cut_under_a_member().map(|(figures, _)| figures));
}

#[test]
fn a_damaged_journal_does_not_stop_the_worker() {
    let Plan { seed, rounds, .. } = plan(CUT_AT_MAX);
    let bench = Bench::new(DRIVER);
    let mut chance = StdRng::seed_from_u64(seed);
    let mut put = 0_u64;
    let mut owed = Owed::default();
    for round in 0..rounds {
        let (seed, tears) = (chance.random(), chance.random_bool(0.5));
        let is_long = round % JOURNAL_LONG_ONE_IN == JOURNAL_LONG_ONE_IN - 1;
        let after = chance.random_range(Duration::ZERO..JOURNAL_ROUND_MAX);
        let step = chance.random_range(1..=JOURNAL_CUT_AT_MAX);
        let (cut_at, after) = match round % 2 {
            _ if is_long => (None, Some(JOURNAL_LONG_ROUND)),
            0 => (None, Some(after)),
            _ => (Some(step), None),
        };
        let failing = Failing { seed, tears, cut_at, lie_one_in: None };
        let disk = bench.disk().display().to_string();
        let work: u64 = chance.random();
        let args = ["journal".to_owned(), disk, work.to_string(), put.to_string()];
        let said = bench.run(&args, &failing, after);
        let place = format!("round {round}, {failing:?}");
        was_cut(&said).unwrap_or_else(|problem| panic!("{place}: {problem}"));
        // A batch may have been put and not told.
        put = journal::told(&said.lines, "put").last().copied().unwrap_or(put) + JOURNAL_GAP;
        let copy = bench.copy().expect("a copy");
        let checked = check_journal(&bench, &copy, put, &place);
        owed.round(&said.lines, &checked.lines);
        assert!(owed.lost == 0, "{place}: {owed:?}");
        let panics = [said.errors, checked.errors].concat();
        assert!(!panics.contains("panicked at"), "{place}: {panics}");
    }
    let Owed { asked, found, rounds_with_some, .. } = owed;
    println!(
        "journal: {rounds} rounds, {put} records; after {rounds_with_some} some were found, {found} in all; \
         {asked} were old, and all there; none set aside, no panic"
    );
    let is_short = rounds < ROUNDS;
    assert!(is_short || asked > 0, "nothing was ever old");
}

/// The journal on this disk opens, and was never set aside.
#[track_caller]
fn check_journal(bench: &Bench, disk: &Path, next: u64, place: &str) -> Said {
    let args = ["journal-check".to_owned(), disk.display().to_string(), next.to_string()];
    let checked = bench.run_sound(&args);
    assert!(checked.status.success(), "{place}: {}", checked.errors);
    let aside = journal::set_aside(disk).expect("readable");
    assert!(aside.is_empty(), "{place}: {aside:?}");
    checked
}

/// Its names must be on the disk as well as its content.
#[test]
fn a_new_journal_keeps_what_is_old() {
    let bench = Bench::new(DRIVER);
    let seed = number("MUSTER_POWER_CUT_SEED", 1);
    let failing = Failing { seed, tears: false, cut_at: None, lie_one_in: None };
    let disk = bench.disk().display().to_string();
    let args = ["journal".to_owned(), disk, seed.to_string(), "0".to_owned()];
    let said = bench.run(&args, &failing, Some(JOURNAL_LONG_ROUND));
    was_cut(&said).unwrap_or_else(|problem| panic!("{problem}"));
    let next = journal::told(&said.lines, "put").last().copied().unwrap_or(0) + JOURNAL_GAP;
    let checked = check_journal(&bench, &bench.disk(), next, "a new one");
    let mut owed = Owed::default();
    owed.round(&said.lines, &checked.lines);
    assert!(owed.asked > 0 && owed.lost == 0, "{owed:?}");
}

#[test]
fn a_journal_that_was_being_made_is_not_taken_for_a_damaged_one() {
    for step in 1..=JOURNAL_NEW_STEPS {
        let bench = Bench::new(DRIVER);
        let tears = step.is_multiple_of(2);
        let failing = Failing { seed: step, tears, cut_at: Some(step), lie_one_in: None };
        let disk = bench.disk().display().to_string();
        let args = ["journal".to_owned(), disk, step.to_string(), "0".to_owned()];
        let said = bench.run(&args, &failing, None);
        was_cut(&said).unwrap_or_else(|problem| panic!("{failing:?}: {problem}"));
        let next = journal::told(&said.lines, "put").last().copied().unwrap_or(0) + JOURNAL_GAP;
        check_journal(&bench, &bench.disk(), next, &format!("{failing:?}"));
    }
}

/// No power cut does this.
#[test]
fn a_journal_that_cannot_be_opened_is_set_aside_with_what_it_held() {
    let bench = Bench::new(DRIVER);
    let disk = bench.disk();
    let check = |next: u64| {
        let args = ["journal-check".to_owned(), disk.display().to_string(), next.to_string()];
        let checked = bench.run_sound(&args);
        assert!(checked.status.success(), "{}", checked.errors);
        journal::told(&checked.lines, "has")
    };
    // Each puts the record that it was given.
    assert_eq!(check(1), BTreeSet::from([]));
    assert_eq!(check(2), BTreeSet::from([1]));
    let damaged = disk.join("journal").join("outcomes.redb");
    let mut bytes = fs::read(&damaged).expect("it is there");
    bytes[0] ^= 1;
    fs::write(&damaged, &bytes).expect("writable");
    assert_eq!(check(3), BTreeSet::from([]), "it goes on with an empty one");
    assert_eq!(check(4), BTreeSet::from([3]));
    let aside = journal::set_aside(&disk).expect("readable");
    let [aside] = aside.iter().collect::<Vec<_>>()[..] else { panic!("{aside:?}") };
    let held = fs::read(aside.join("outcomes.redb")).expect("it was moved");
    assert!(held == bytes, "it is what it was");
}
