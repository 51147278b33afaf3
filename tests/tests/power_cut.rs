//! The power is cut under the real stores of masters and workers, and what they acknowledged must be there.
//!
//! Every round runs a child under `muster-faultdisk`, which undoes whatever no sync covers. A failure names its seed
//! and round; `MUSTER_POWER_CUT_ROUNDS` and `MUSTER_POWER_CUT_SEED` change both.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use muster_tests::power_cut::journal::{self, Owed};
use muster_tests::power_cut::rounds::{Figures, Plan, was_cut};
use muster_tests::power_cut::store::Steps;
use muster_tests::power_cut::{Bench, Failing, history, log};
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
    let (mut put, mut panics, mut aside) = (0_u64, 0, BTreeSet::new());
    let mut owed = Owed::default();
    for round in 0..rounds {
        let (seed, tears) = (chance.random(), chance.random_bool(0.5));
        let failing = Failing { seed, tears, cut_at: None, lie_one_in: None };
        let disk = bench.disk().display().to_string();
        let work: u64 = chance.random();
        let args = ["journal".to_owned(), disk, work.to_string(), put.to_string()];
        let is_long = round % JOURNAL_LONG_ONE_IN == JOURNAL_LONG_ONE_IN - 1;
        let after = chance.random_range(Duration::ZERO..JOURNAL_ROUND_MAX);
        let after = if is_long { JOURNAL_LONG_ROUND } else { after };
        let said = bench.run(&args, &failing, Some(after));
        let place = format!("round {round}, {failing:?}");
        was_cut(&said).unwrap_or_else(|problem| panic!("{place}: {problem}"));
        // A batch may have been put and not told.
        put = journal::told(&said.lines, "put").last().copied().unwrap_or(put) + JOURNAL_GAP;
        let copy = bench.copy().expect("a copy");
        let args = ["journal-check".to_owned(), copy.display().to_string(), put.to_string()];
        let checked = bench.run_sound(&args);
        assert!(checked.status.success(), "{place}: {}", checked.errors);
        // The store's own; the journal takes them for damage.
        panics += said.errors.matches("panicked at").count();
        let now_aside = journal::set_aside(&copy).expect("readable");
        let is_set_aside = now_aside.len() > aside.len();
        aside = journal::set_aside(&bench.disk()).expect("readable");
        owed.round(&said.lines, &checked.lines, is_set_aside);
        assert!(owed.lost == 0, "{place}: {owed:?}");
    }
    let Owed { asked, found, rounds_with_some, .. } = owed;
    println!(
        "journal: {rounds} rounds, {put} records; after {rounds_with_some} some were found, {found} in all; \
         {asked} were old, and all there; {} journals set aside, {panics} panics of sled",
        aside.len()
    );
    let is_short = rounds < ROUNDS;
    assert!(is_short || rounds_with_some > 0, "nothing ever survived");
}

/// Without torn writes, which may make a journal unreadable, nothing excuses a loss.
#[test]
fn a_new_journal_keeps_what_is_old() {
    let bench = Bench::new(DRIVER);
    let seed = number("MUSTER_POWER_CUT_SEED", 1);
    let failing = Failing { seed, tears: false, cut_at: None, lie_one_in: None };
    let disk = bench.disk().display().to_string();
    let args = ["journal".to_owned(), disk.clone(), seed.to_string(), "0".to_owned()];
    let said = bench.run(&args, &failing, Some(JOURNAL_LONG_ROUND));
    was_cut(&said).unwrap_or_else(|problem| panic!("{problem}"));
    let next = journal::told(&said.lines, "put").last().copied().unwrap_or(0) + JOURNAL_GAP;
    let checked = bench.run_sound(&["journal-check".to_owned(), disk, next.to_string()]);
    assert!(checked.status.success(), "{}", checked.errors);
    let mut owed = Owed::default();
    owed.round(&said.lines, &checked.lines, false);
    assert!(owed.asked > 0 && owed.lost == 0, "{owed:?}");
}

/// Whether a cut damages a journal so that it cannot be opened is chance; here it is certain.
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
    let damaged = disk.join("journal").join("conf");
    let mut bytes = fs::read(&damaged).expect("sled keeps its settings there");
    bytes[0] ^= 1;
    fs::write(&damaged, &bytes).expect("writable");
    let held = fs::read(disk.join("journal").join("db")).expect("sled keeps records there");
    assert_eq!(check(3), BTreeSet::from([]), "it goes on with an empty one");
    assert_eq!(check(4), BTreeSet::from([3]));
    let aside = journal::set_aside(&disk).expect("readable");
    let [aside] = aside.iter().collect::<Vec<_>>()[..] else { panic!("{aside:?}") };
    assert_eq!(fs::read(aside.join("conf")).expect("it was moved"), bytes);
    assert!(fs::read(aside.join("db")).expect("it was moved") == held, "it is what it was");
}
