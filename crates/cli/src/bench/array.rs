//! One array task of many indices: how long it takes to be accepted, and what the masters grow by.

use std::time::Instant;

use clap::Args;
use muster_client::Submission;

use super::table::Figures;
use super::{ClusterOptions, Rig, median};

/// What to run.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Indices of the array.
    #[arg(long, default_value_t = 1_000_000)]
    indices: u32,
    /// Rounds; the figures are their medians.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    #[command(flatten)]
    cluster: ClusterOptions,
}

pub(super) async fn run(options: &Options) -> anyhow::Result<()> {
    let rig = Rig::start(&options.cluster).await?;
    let last = options.indices.saturating_sub(1);
    let mut figures =
        Figures::new(&["round", "accepted ms", "grown KiB a master", "while running KiB a master"]);
    let (mut accepted, mut grown) = (Vec::new(), Vec::new());
    for round in 1..=options.rounds {
        let manifest = format!(
            "apiVersion: v1\nkind: Workflow\nname: bench-array\ntasks:\n  \
             shard: {{noop: {{}}, array: 0-{last}, pool: none-{round}}}\n"
        );
        let before = resident_bytes();
        let start = Instant::now();
        let run = rig.client.submit(Submission::one_off(manifest)).await?;
        let took = start.elapsed().as_secs_f64() * 1e3;
        // No worker serves that pool, so all indices stay queued.
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        let growth = (resident_bytes() as f64 - before as f64).max(0.0)
            / options.cluster.masters as f64
            / 1024.0;
        rig.client.cancel(&run).await?;
        rig.client.wait_run(&run, None).await?;
        let served = format!(
            "apiVersion: v1\nkind: Workflow\nname: bench-array\ntasks:\n  shard: {{noop: {{}}, array: 0-{last}}}\n"
        );
        let run = rig.client.submit(Submission::one_off(served)).await?;
        rig.client.wait_run(&run, None).await?;
        let peak = (resident_bytes() as f64 - before as f64).max(0.0)
            / options.cluster.masters as f64
            / 1024.0;
        accepted.push(took);
        grown.push(growth);
        figures.row(&[
            round.to_string(),
            format!("{took:.2}"),
            format!("{growth:.0}"),
            format!("{peak:.0}"),
        ]);
    }
    rig.stop().await;
    figures.print();
    anstream::println!(
        "accepted in {:.2} ms, each master grew by {:.1} MiB",
        median(accepted),
        median(grown) / 1024.0
    );
    Ok(())
}

/// Memory of this process that is in use, in bytes. All masters and workers live in it.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 =
        statm.split_whitespace().nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * 4096
}
