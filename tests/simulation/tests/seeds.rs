//! A few seeds of the simulation in the ordinary tests. Hundreds run in CI and thousands by `just sim-sweep`, in the
//! release build, which is ten times as fast.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use muster_simulation::sweep::{Manner, Sweep, read_seeds, sweep};

const PROGRAM: &str = env!("CARGO_BIN_EXE_muster-sim");
/// At most so many of the seeds that ever found something run here; the newest are at the end of the list.
const REGRESSIONS_MAX: usize = 4;

fn run_all(seeds: &[u64], twice: bool) -> Sweep {
    let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let (is_stopped, told) = (&AtomicBool::new(false), &|_: &Sweep, _: Option<&str>| {});
    let manner = Manner { threads, twice, is_stopped, told };
    sweep(Path::new(PROGRAM), seeds, manner).expect("it can be started")
}

#[test]
fn equal_seeds_give_equal_traces() {
    assert_eq!(run_all(&[1, 2], true).failures, []);
}

#[test]
fn seeds_that_found_something_are_clean() {
    let seeds = read_seeds(include_str!("../seeds.txt")).expect("a list of seeds");
    let newest = &seeds[seeds.len().saturating_sub(REGRESSIONS_MAX)..];
    assert_eq!(run_all(newest, false).failures, []);
}

#[test]
fn a_sweep_that_is_stopped_has_run_a_beginning() {
    let is_stopped = AtomicBool::new(false);
    let told = |so_far: &Sweep, failed: Option<&str>| {
        assert!(failed.is_none());
        is_stopped.store(so_far.seeds == 1, Ordering::Relaxed);
    };
    let manner = Manner { threads: 1, twice: false, is_stopped: &is_stopped, told: &told };
    let result = sweep(Path::new(PROGRAM), &[1, 2, 3], manner).expect("it can be started");
    assert_eq!((result.seeds, result.failures), (1, Vec::new()));
}

#[test]
fn lists_of_seeds_are_read() {
    assert_eq!(read_seeds("# old\n12 a lost vote\n\n7\n"), Ok(vec![12, 7]));
    assert!(read_seeds("seed 12").is_err());
}
