//! One task at a time, from submission to its end.

use clap::Args;

use super::table::Figures;
use super::{ClusterOptions, Rig, independent, quantile};

/// What to run.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Submissions, one after another.
    #[arg(long, default_value_t = 500)]
    tasks: usize,
    #[command(flatten)]
    cluster: ClusterOptions,
}

pub(super) async fn run(options: &Options) -> anyhow::Result<()> {
    let rig = Rig::start(&options.cluster).await?;
    rig.apply(independent("bench-submit", 1, r#"{command: ["true"]}"#)).await?;
    rig.apply(independent("bench-submit-noop", 1, "{noop: {}}")).await?;
    let mut figures = Figures::new(&["task", "p50 ms", "p90 ms", "p99 ms", "max ms"]);
    let process = measure(&rig, "bench-submit", options.tasks).await?;
    let noop = measure(&rig, "bench-submit-noop", options.tasks).await?;
    rig.stop().await;
    for (name, times) in [("true", &process), ("no-op", &noop)] {
        let at = |share| format!("{:.2}", quantile(times, share));
        figures.row(&[name.to_owned(), at(0.5), at(0.9), at(0.99), at(1.0)]);
    }
    figures.print();
    anstream::println!(
        "submit to finished p50 {:.2} ms, p99 {:.2} ms",
        quantile(&process, 0.5),
        quantile(&process, 0.99)
    );
    Ok(())
}

/// Sorted times in milliseconds. A tenth more go before, unmeasured.
async fn measure(rig: &Rig, workflow: &str, tasks: usize) -> anyhow::Result<Vec<f64>> {
    for _ in 0..tasks / 10 {
        rig.run(workflow).await?;
    }
    let mut times = Vec::with_capacity(tasks);
    for _ in 0..tasks {
        times.push(rig.run(workflow).await?.as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    Ok(times)
}
