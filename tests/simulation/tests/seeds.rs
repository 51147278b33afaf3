//! A few seeds of the simulation in the ordinary tests. Hundreds run in CI and thousands by `just sim-sweep`, in the
//! release build, which is ten times as fast.

use std::path::Path;

use muster_simulation::sweep::{read_seeds, sweep};

const PROGRAM: &str = env!("CARGO_BIN_EXE_muster-sim");
/// At most so many of the seeds that ever found something run here; the newest are at the end of the list.
const REGRESSIONS_MAX: usize = 4;

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get())
}

#[test]
fn equal_seeds_give_equal_traces() {
    let result = sweep(Path::new(PROGRAM), &[1, 2], cores(), true).expect("it can be started");
    assert_eq!(result.failures, []);
}

#[test]
fn seeds_that_found_something_are_clean() {
    let seeds = read_seeds(include_str!("../seeds.txt")).expect("a list of seeds");
    let newest = &seeds[seeds.len().saturating_sub(REGRESSIONS_MAX)..];
    let result = sweep(Path::new(PROGRAM), newest, cores(), false).expect("it can be started");
    assert_eq!(result.failures, []);
}

#[test]
fn lists_of_seeds_are_read() {
    assert_eq!(read_seeds("# old\n12 a lost vote\n\n7\n"), Ok(vec![12, 7]));
    assert!(read_seeds("seed 12").is_err());
}
