//! A chain of tasks, each of which starts when the one before it ended.

use std::fmt::Write as _;

use clap::Args;

use super::table::Figures;
use super::{ClusterOptions, Rig, median};

/// What to run.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Tasks in the chain.
    #[arg(long, default_value_t = 200)]
    tasks: usize,
    /// Rounds; the figure is their median.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    #[command(flatten)]
    cluster: ClusterOptions,
}

pub(super) async fn run(options: &Options) -> anyhow::Result<()> {
    let rig = Rig::start(&options.cluster).await?;
    rig.apply(chain("bench-chain", options.tasks, r#"command: ["true"]"#)).await?;
    rig.apply(chain("bench-chain-noop", options.tasks, "noop: {}")).await?;
    let mut figures = Figures::new(&["round", "ms a hop", "of it without a process"]);
    let mut hops = Vec::new();
    for round in 1..=options.rounds {
        let hop = rig.run("bench-chain").await?.as_secs_f64() * 1e3 / options.tasks as f64;
        let bare = rig.run("bench-chain-noop").await?.as_secs_f64() * 1e3 / options.tasks as f64;
        hops.push(hop);
        figures.row(&[round.to_string(), format!("{hop:.2}"), format!("{bare:.2}")]);
    }
    rig.stop().await;
    figures.print();
    anstream::println!("ms a hop {:.2}", median(hops));
    Ok(())
}

fn chain(name: &str, tasks: usize, body: &str) -> String {
    let mut text = format!("apiVersion: v1\nkind: Workflow\nname: {name}\ntasks:\n");
    for number in 0..tasks {
        let needs =
            number.checked_sub(1).map(|before| format!(", needs: [t{before}]")).unwrap_or_default();
        let _ = writeln!(text, "  t{number}: {{{body}{needs}}}");
    }
    text
}
