//! Real processes against a bare spawn loop.

use std::process::{Command, Stdio};
use std::time::Instant;

use clap::Args;

use super::table::Figures;
use super::{ClusterOptions, Rig, independent, median};

/// Tasks in one workflow; more are spread over several runs.
const TASKS_PER_RUN: usize = 10_000;

/// What to run.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Processes in each round.
    #[arg(long, default_value_t = 10_000)]
    tasks: usize,
    /// Rounds; the figure is the median of their ratios.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    #[command(flatten)]
    cluster: ClusterOptions,
}

pub(super) async fn run(options: &Options) -> anyhow::Result<()> {
    let rig = Rig::start(&options.cluster).await?;
    let count = options.tasks.clamp(1, TASKS_PER_RUN);
    let runs = options.tasks.div_ceil(count);
    rig.apply(independent("bench-process", count, r#"{command: ["true"]}"#)).await?;
    let mut figures = Figures::new(&["round", "spawn loop /s", "muster /s", "ratio"]);
    let mut ratios = Vec::new();
    for round in 1..=options.rounds {
        let processes = count * runs;
        let bare = tokio::task::spawn_blocking(move || spawn_loop(processes)).await??;
        let start = Instant::now();
        for _ in 0..runs {
            rig.run("bench-process").await?;
        }
        let ours = processes as f64 / start.elapsed().as_secs_f64();
        ratios.push(ours / bare);
        figures.row(&[
            round.to_string(),
            format!("{bare:.0}"),
            format!("{ours:.0}"),
            format!("{:.2}", ours / bare),
        ]);
    }
    rig.stop().await;
    figures.print();
    anstream::println!("ratio {:.2}", median(ratios));
    Ok(())
}

/// Starts and awaits `count` processes one after another; returns how many a second.
fn spawn_loop(count: usize) -> anyhow::Result<f64> {
    let start = Instant::now();
    for _ in 0..count {
        let status = Command::new("true").stdin(Stdio::null()).stdout(Stdio::null()).status()?;
        anyhow::ensure!(status.success(), "`true` failed");
    }
    Ok(count as f64 / start.elapsed().as_secs_f64())
}
