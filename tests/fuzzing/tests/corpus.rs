//! What the fuzzers found once is checked for ever: every file of `tests/corpus`, and inputs near to them.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use muster_fuzzing::mutate::{Draw, mutated};
use muster_fuzzing::{
    ENTRY, LOG, REQUEST, SCHEDULE, SNAPSHOT, STEPS, TARGETS, TEXT, Target, WORKFLOW,
};

/// All files together stay small, so that a checkout does.
const CORPUS_BYTES_MAX: usize = 1 << 20;
/// Files of all targets.
const CORPUS_FILES_MAX: usize = 350;
/// Mutations of one target, unless the time is over first.
const MUTATIONS: usize = 3000;
/// Time for the mutations of one target.
const MUTATING_MAX: Duration = Duration::from_secs(2);

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus")
}

/// The inputs of a target, by file name.
fn inputs(target: Target) -> Vec<(String, Vec<u8>)> {
    let folder = corpus().join(target.name);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let mut inputs: Vec<_> = files
        .map(|file| {
            let file = file.expect("the folder is readable");
            let name = file.file_name().to_string_lossy().into_owned();
            (name, fs::read(file.path()).expect("the file is readable"))
        })
        .collect();
    inputs.sort();
    assert!(!inputs.is_empty(), "{folder:?} is empty: nothing would be checked");
    inputs
}

/// Checks every file, and then what is near to them, the same on every machine.
fn replay(target: Target) {
    let inputs = inputs(target);
    for (name, data) in &inputs {
        let outcome = catch_unwind(AssertUnwindSafe(|| (target.check)(data)));
        assert!(outcome.is_ok(), "tests/corpus/{}/{name} fails", target.name);
    }
    let start = Instant::now();
    let mut draw = Draw::new(1);
    for _ in 0..MUTATIONS {
        if start.elapsed() > MUTATING_MAX {
            break;
        }
        let (input, other) =
            (&inputs[draw.below(inputs.len())].1, &inputs[draw.below(inputs.len())].1);
        let data = mutated(input, other, &mut draw);
        let outcome = catch_unwind(AssertUnwindSafe(|| (target.check)(&data)));
        assert!(outcome.is_ok(), "{} fails with {}", target.name, data.escape_ascii());
    }
}

#[test]
fn entries() {
    replay(ENTRY);
}

#[test]
fn log_files() {
    replay(LOG);
}

#[test]
fn requests() {
    replay(REQUEST);
}

#[test]
fn schedules() {
    replay(SCHEDULE);
}

#[test]
fn snapshots() {
    replay(SNAPSHOT);
}

#[test]
fn steps() {
    replay(STEPS);
}

#[test]
fn texts() {
    replay(TEXT);
}

#[test]
fn workflow_files() {
    replay(WORKFLOW);
}

#[test]
fn every_folder_has_a_target_and_every_target_a_binary() {
    let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    for folder in fs::read_dir(corpus()).expect("there is a corpus") {
        let folder = folder.expect("readable");
        if folder.path().is_file() {
            continue;
        }
        let folder = folder.file_name().to_string_lossy().into_owned();
        assert!(names.contains(&folder.as_str()), "tests/corpus/{folder} belongs to no target");
    }
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).expect("it is there");
    for name in names {
        assert!(fuzz.join(format!("targets/{name}.rs")).is_file(), "fuzz/targets/{name}.rs");
        assert!(manifest.contains(&format!("name = \"{name}\"")), "fuzz/Cargo.toml lacks {name}");
    }
}

#[test]
fn the_corpus_is_small() {
    let inputs: Vec<_> = TARGETS.into_iter().flat_map(inputs).collect();
    let bytes: usize = inputs.iter().map(|(_, data)| data.len()).sum();
    assert!(bytes <= CORPUS_BYTES_MAX, "{bytes} bytes: see `fuzz/run minimise`");
    assert!(inputs.len() <= CORPUS_FILES_MAX, "{} files: see `fuzz/run minimise`", inputs.len());
}
