//! Files of a master are damaged at random places. Opening refuses by name, and again when tried again; or nothing is
//! lost. There is never a panic, and never a record that was not put in.
//!
//! Two limits are known, counted and held here. A log that was not closed, whose very last commit is damaged, looks as
//! if the power had gone in that commit, and goes back to the commit before. And a history is not read as a whole when
//! it is opened: a damaged page of its trees may hide runs, though never change one. `MUSTER_DAMAGES` and
//! `MUSTER_DAMAGE_SEED` change the number of damages and which they are.

use std::fs;
use std::path::{Path, PathBuf};

use muster_tests::power_cut::damage::{Consequence, Damage, consequence};
use muster_tests::power_cut::store::Steps;
use muster_tests::power_cut::{copy_folder, history, log, member};
use rand::SeedableRng as _;
use rand::rngs::StdRng;

const SEED: u64 = 1;
/// Steps of a store before it is damaged.
const STEPS: usize = 40;
/// Of each file.
const DAMAGES: u64 = 200;

fn number(variable: &str, default: u64) -> u64 {
    let text = std::env::var(variable).ok();
    text.map_or(default, |text| text.parse().expect("a number"))
}

/// A store with some content.
struct Grown<S: Steps> {
    /// After a clean end.
    closed: PathBuf,
    /// After a crash.
    crashed: PathBuf,
    model: S::Model,
    /// Without its last commit.
    earlier: S::Model,
}

fn grow<S: Steps>(dir: &Path) -> Grown<S>
where
    S::Model: Default,
{
    let (closed, crashed) = (dir.join("closed"), dir.join("crashed"));
    fs::create_dir(&closed).expect("a new folder");
    let mut store = S::open(&closed).expect("a new store");
    let (mut model, mut earlier) = (S::Model::default(), S::Model::default());
    let mut chance = StdRng::seed_from_u64(SEED);
    for _ in 0..STEPS {
        let step = S::plan(&model, &mut chance);
        store.carry_out(&step).expect("a sound disk");
        earlier = model.clone();
        S::expect(&mut model, step);
    }
    copy_folder(&closed, &crashed).expect("a copy");
    drop(store);
    Grown { closed, crashed, model, earlier }
}

/// What damages came to.
#[derive(Debug, Default)]
struct Tally {
    harmless: u64,
    refused: u64,
    /// Allowed, and not noticed.
    known: u64,
    faults: Vec<String>,
}

fn damage<S: Steps>(
    folder: &Path,
    file: &str,
    model: &S::Model,
    is_known: impl Fn(&Path, &Consequence) -> bool,
) -> Tally {
    let mut chance = StdRng::seed_from_u64(number("MUSTER_DAMAGE_SEED", SEED));
    let mut tally = Tally::default();
    let copy = folder.with_extension("damaged");
    for _ in 0..number("MUSTER_DAMAGES", DAMAGES) {
        copy_folder(folder, &copy).expect("a copy");
        let damage = Damage::draw(&[copy.join(file)], &mut chance).expect("readable");
        damage.inflict().expect("writable");
        let came = consequence(&damage.path, model, || S::open(&copy)?.read());
        match came {
            Consequence::Harmless => tally.harmless += 1,
            Consequence::Refused(_) => tally.refused += 1,
            came if is_known(&copy, &came) => tally.known += 1,
            came => tally.faults.push(format!("{:?}: {came:?}", damage.kind)),
        }
        fs::remove_dir_all(&copy).expect("it is ours");
    }
    let Tally { harmless, refused, known, ref faults } = tally;
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    println!(
        "{file}, {name}: {harmless} harmless, {refused} refused, {known} known limits, {} faults",
        faults.len()
    );
    tally
}

#[track_caller]
fn expect_none(tally: &Tally) {
    assert!(tally.refused > 0, "nothing was ever noticed: {tally:?}");
    assert!(tally.faults.is_empty(), "{} faults:\n{}", tally.faults.len(), tally.faults.join("\n"));
}

#[test]
fn a_damaged_log_is_refused_by_name() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let grown = grow::<log::Log>(dir.path());
    expect_none(&damage::<log::Log>(&grown.closed, "log.redb", &grown.model, |_, _| false));
    let crashed = damage::<log::Log>(&grown.crashed, "log.redb", &grown.model, |copy, came| {
        matches!(came, Consequence::Wrong(_))
            && log::Log::open(copy).and_then(|log| log.read()).as_ref() == Ok(&grown.earlier)
    });
    expect_none(&crashed);
}

#[test]
fn a_damaged_history_is_refused_by_name_or_hides_runs() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let grown = grow::<history::History>(dir.path());
    for folder in [&grown.closed, &grown.crashed] {
        let is_known = |copy: &Path, came: &Consequence| match came {
            Consequence::Wrong(_) => {
                let found = history::History::open(copy).and_then(|history| history.read());
                found.is_ok_and(|found| found == grown.earlier || found.is_part_of(&grown.model))
            }
            Consequence::Nameless(problem) => problem.starts_with(history::HIDDEN),
            Consequence::Harmless | Consequence::Refused(_) | Consequence::Panicked(_) => false,
        };
        expect_none(&damage::<history::History>(folder, "history.redb", &grown.model, is_known));
    }
}

#[test]
fn a_damaged_snapshot_is_refused_by_name() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let grown = dir.path().join("grown");
    fs::create_dir(&grown).expect("a new folder");
    runtime.block_on(member::grow(&grown)).expect("a sound disk");
    let expected = member::snapshot_of(&grown).expect("a snapshot");
    assert!(!expected.is_empty());
    let mut chance = StdRng::seed_from_u64(number("MUSTER_DAMAGE_SEED", SEED));
    let mut tally = Tally::default();
    for _ in 0..number("MUSTER_DAMAGES", DAMAGES) {
        let copy = dir.path().join("damaged");
        copy_folder(&grown, &copy).expect("a copy");
        let snapshots = fs::read_dir(copy.join("data/snapshots")).expect("it is there");
        let mut files: Vec<PathBuf> =
            snapshots.map(|file| file.expect("readable").path()).collect();
        files.sort();
        files.retain(|path| path.metadata().is_ok_and(|it| it.len() > 0));
        let damage = Damage::draw(&files, &mut chance).expect("readable");
        let is_damaged = damage.inflict().expect("writable");
        let _within = runtime.enter();
        match consequence(&damage.path, &expected, || member::snapshot_of(&copy)) {
            Consequence::Harmless if !is_damaged => tally.harmless += 1,
            // The one byte of a record that carries nothing.
            Consequence::Harmless if damage.is_at_reserved_byte() => tally.known += 1,
            Consequence::Refused(_) => tally.refused += 1,
            came => tally.faults.push(format!("{damage:?}: {came:?}")),
        }
        fs::remove_dir_all(&copy).expect("it is ours");
    }
    println!(
        "snapshots: {} unchanged, {} at a reserved byte, {} refused, {} faults",
        tally.harmless,
        tally.known,
        tally.refused,
        tally.faults.len()
    );
    expect_none(&tally);
}
