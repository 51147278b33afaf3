//! Tasks that do nothing: what Muster itself can place and finish.

use std::time::Instant;

use clap::Args;

use super::table::Figures;
use super::{ClusterOptions, Rig, independent, median};

/// What to run.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Tasks of the workflow that is run one by one; at most 10,000.
    #[arg(long, default_value_t = 10_000)]
    tasks: usize,
    /// Runs of it that are on their way at once.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Indices of the array.
    #[arg(long, default_value_t = 1_000_000)]
    indices: u32,
    /// Rounds; the figure is their median.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    #[command(flatten)]
    cluster: ClusterOptions,
}

pub(super) async fn run(options: &Options) -> anyhow::Result<()> {
    let cluster =
        ClusterOptions { slots: options.cluster.slots.max(4096), ..options.cluster.clone() };
    let rig = Rig::start(&cluster).await?;
    rig.apply(independent("bench-noop", options.tasks, "{noop: {}}")).await?;
    let last = options.indices.saturating_sub(1);
    let array = format!("{{noop: {{}}, array: 0-{last}}}");
    rig.apply(independent("bench-noop-array", 1, &array)).await?;
    let mut figures = Figures::new(&["round", "one by one /s", "as an array /s"]);
    let (mut singles, mut arrays) = (Vec::new(), Vec::new());
    for round in 1..=options.rounds {
        let start = Instant::now();
        let runs = (0..options.runs).map(|_| rig.run("bench-noop"));
        futures::future::try_join_all(runs).await?;
        let single = (options.tasks * options.runs) as f64 / start.elapsed().as_secs_f64();
        let array = f64::from(options.indices) / rig.run("bench-noop-array").await?.as_secs_f64();
        singles.push(single);
        arrays.push(array);
        figures.row(&[round.to_string(), format!("{single:.0}"), format!("{array:.0}")]);
    }
    rig.stop().await;
    figures.print();
    anstream::println!("tasks/s {:.0}, as an array {:.0}", median(singles), median(arrays));
    Ok(())
}
