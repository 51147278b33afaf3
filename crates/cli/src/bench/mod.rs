//! `muster bench`: what Muster costs on this machine, always with three masters, real gRPC and durable logs.
//!
//! Every figure that depends on the machine is a ratio to something measured in the same run, or stands beside one. The
//! last line of each benchmark is its figure.

mod array;
mod chain;
mod noop;
mod planner;
mod process;
mod submit;
mod table;

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use muster_client::{Client, Submission, v1};
use muster_core::spec::Resources;

use crate::embedded::{Embedded, EmbeddedOptions};

/// What to measure.
#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// Real processes against a bare spawn loop of the same number, in turn.
    Process(process::Options),
    /// Tasks that do nothing, one by one and as an array: Muster alone.
    Noop(noop::Options),
    /// A chain of tasks: the time from one's end to the next one's start, the process included.
    Chain(chain::Options),
    /// One task at a time, from submission to its end as the SDK sees it.
    Submit(submit::Options),
    /// An array task: the time to accept it, and what the masters grow by.
    Array(array::Options),
    /// One pass of the planner, without a cluster.
    Planner(planner::Options),
}

/// The cluster that is measured.
#[derive(Args, Clone, Debug)]
pub(crate) struct ClusterOptions {
    /// Masters.
    #[arg(long, default_value_t = 3)]
    masters: usize,
    /// Workers.
    #[arg(long, default_value_t = 2)]
    workers: usize,
    /// Attempts that run at once on each worker.
    #[arg(long, default_value_t = 64)]
    slots: u64,
    /// Where the masters' data lives; a temporary folder if absent.
    #[arg(long)]
    data_dir: Option<std::path::PathBuf>,
}

impl Bench {
    /// Runs one benchmark and prints its table and figure.
    pub(crate) async fn run(&self) -> anyhow::Result<()> {
        match self {
            Bench::Process(options) => process::run(options).await,
            Bench::Noop(options) => noop::run(options).await,
            Bench::Chain(options) => chain::run(options).await,
            Bench::Submit(options) => submit::run(options).await,
            Bench::Array(options) => array::run(options).await,
            Bench::Planner(options) => {
                planner::run(options);
                Ok(())
            }
        }
    }
}

/// A cluster under measurement.
pub(crate) struct Rig {
    cluster: Embedded,
    client: Client,
}

impl Rig {
    async fn start(options: &ClusterOptions) -> anyhow::Result<Rig> {
        let slots = Resources { cpu_millis: options.slots * 1000, ..Resources::ZERO };
        let embedded = EmbeddedOptions {
            masters: options.masters,
            workers: options.workers,
            data_dir: options.data_dir.clone(),
            capacity: Some(slots),
            ..EmbeddedOptions::default()
        };
        let cluster = Embedded::start(&embedded).await?;
        let client = Client::connect(cluster.endpoints())?;
        Ok(Rig { cluster, client })
    }

    async fn stop(self) {
        self.cluster.shutdown().await;
    }

    /// Applies a workflow, so that submissions name it instead of carrying it.
    async fn apply(&self, manifest: String) -> anyhow::Result<()> {
        self.client.apply(manifest).await.context("the benchmark's workflow is refused")?;
        Ok(())
    }

    /// Runs an applied workflow to its end; returns the time from submission to the end, as the SDK sees it.
    async fn run(&self, workflow: &str) -> anyhow::Result<Duration> {
        let start = Instant::now();
        let run = self.client.submit(Submission::workflow(workflow)).await?;
        let ended = self.client.wait_run(&run, None).await?;
        anyhow::ensure!(
            ended.status() == v1::RunStatus::Succeeded,
            "run {}/{} ended as {:?}: {:?}",
            ended.workflow,
            ended.number,
            ended.status(),
            ended.tally
        );
        Ok(start.elapsed())
    }
}

/// A workflow of `count` tasks that do not depend on each other. `body` is one task's YAML on one line.
fn independent(name: &str, count: usize, body: &str) -> String {
    let mut text = format!("apiVersion: v1\nkind: Workflow\nname: {name}\ntasks:\n");
    for number in 0..count {
        let _ = writeln!(text, "  t{number}: {body}");
    }
    text
}

/// The middle of the values.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        len if len % 2 == 1 => values[len / 2],
        len => f64::midpoint(values[len / 2 - 1], values[len / 2]),
    }
}

/// The value below which `share` of the sorted values lie.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    if sorted.is_empty() {
        return 0.0;
    }
    let position = (sorted.len() - 1) as f64 * share;
    sorted[position.round() as usize]
}
