//! The power is cut under the real stores of masters and workers, and what they acknowledged must be there.
//!
//! Every round runs a child under `muster-faultdisk`, which undoes whatever no sync covers. A failure names its seed
//! and round; `MUSTER_POWER_CUT_ROUNDS` and `MUSTER_POWER_CUT_SEED` change both.

use std::time::Duration;

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
    let (mut put, mut pending, mut panics) = (0_u64, 0_u64, 0);
    for round in 0..rounds {
        let (seed, tears) = (chance.random(), chance.random_bool(0.5));
        let failing = Failing { seed, tears, cut_at: None, lie_one_in: None };
        let disk = bench.disk().display().to_string();
        let work: u64 = chance.random();
        let args = ["journal".to_owned(), disk, work.to_string(), put.to_string()];
        let after = chance.random_range(Duration::ZERO..JOURNAL_ROUND_MAX);
        let said = bench.run(&args, &failing, Some(after));
        let place = format!("round {round}, {failing:?}");
        was_cut(&said).unwrap_or_else(|problem| panic!("{place}: {problem}"));
        let count = |line: &String, what| line.strip_prefix(what)?.parse::<u64>().ok();
        let last = said.lines.iter().filter_map(|line| count(line, "put ")).max();
        // A batch may have been put and not told.
        put = last.unwrap_or(put) + JOURNAL_GAP;
        let copy = bench.copy().expect("a copy").display().to_string();
        let checked = bench.run_sound(&["journal-check".to_owned(), copy, put.to_string()]);
        assert!(checked.status.success(), "{place}: {}", checked.errors);
        // The store's own; the journal takes them for damage.
        panics += said.errors.matches("panicked at").count();
        pending += checked.lines.iter().filter_map(|line| count(line, "pending ")).sum::<u64>();
    }
    let names = std::fs::read_dir(bench.disk()).expect("it is there");
    let names = names.map(|entry| entry.expect("readable").file_name());
    let aside = names.filter(|name| name.to_string_lossy().contains(".unreadable-")).count();
    println!(
        "journal: {rounds} rounds, {put} records, {pending} found pending, {aside} set aside, {panics} panics of sled"
    );
}
