//! One pass of the planner over ready tasks and workers, without a cluster.

use std::time::Instant;

use clap::Args;
use muster_core::time::Timestamp;
use muster_planner::{Policy, bench, plan};

use super::median;
use super::table::Figures;

/// What to plan.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Ready tasks.
    #[arg(long, default_value_t = 10_000)]
    tasks: usize,
    /// Workers.
    #[arg(long, default_value_t = 1_000)]
    workers: usize,
    /// Passes; the figure is their median.
    #[arg(long, default_value_t = 21)]
    rounds: usize,
}

pub(super) fn run(options: &Options) {
    let mut figures = Figures::new(&["ready tasks", "workers", "placed", "ms a pass"]);
    let mut full = 0.0;
    for share in [8, 4, 2, 1] {
        let (tasks, workers) = (options.tasks / share, options.workers / share);
        let (placed, pass) = measure(tasks, workers, options.rounds);
        full = pass;
        figures.row(&[
            tasks.to_string(),
            workers.to_string(),
            placed.to_string(),
            format!("{pass:.3}"),
        ]);
    }
    figures.print();
    anstream::println!("ms a pass {full:.3}");
}

fn measure(tasks: usize, workers: usize, rounds: usize) -> (usize, f64) {
    let (state, view) = bench::synthetic(tasks, workers);
    let policy = Policy { placements_max: tasks, ..Policy::default() };
    let mut placed = 0;
    let mut passes = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let start = Instant::now();
        let plan = plan(&state, &view, Timestamp(state.now().0), &policy);
        passes.push(start.elapsed().as_secs_f64() * 1e3);
        placed = plan.placements.len();
    }
    (placed, median(passes))
}
