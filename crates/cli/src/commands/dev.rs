//! `muster dev`: a cluster in this process.

use std::path::PathBuf;

use clap::Args;
use muster_client::{Client, RunKey, Submission, v1};
use muster_core::spec::{Resources, WorkflowSpec};

use super::process::{asked_to_stop, stop};
use super::run::with_hint;
use crate::embedded::{Embedded, EmbeddedOptions};
use crate::exit::{Exit, Failure, Outcome};
use crate::files;
use crate::follow::{End, Show, exit_of, follow, summarize};
use crate::output::{self, Format, note};
use crate::settings::Global;
use crate::units;

#[derive(Args, Debug)]
pub(crate) struct DevArgs {
    /// How many masters
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = masters)]
    masters: usize,
    /// How many workers, which share the machine
    #[arg(long, value_name = "N", default_value_t = 1)]
    workers: usize,
    /// Keep everything in this folder [default: a temporary one that is removed at the end]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Port of the API [default: 7070, or any free one]
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// Cores that each worker offers [default: an equal share of the machine]
    #[arg(long, value_name = "CORES", value_parser = units::cpu)]
    cpu: Option<u64>,
    /// Memory that each worker offers [default: an equal share of the machine]
    #[arg(long, value_name = "BYTES", value_parser = units::memory)]
    memory: Option<u64>,
    /// Run the workflow in this file to its end, and exit with the run's code
    #[arg(long, value_name = "FILE")]
    run: Option<PathBuf>,
    /// Set a parameter of the run
    #[arg(short, long = "param", value_name = "KEY=VALUE", value_parser = units::pair, requires = "run")]
    param: Vec<(String, String)>,
    /// Print what the run's tasks print
    #[arg(long, requires = "run")]
    logs: bool,
    /// If the run failed, exit with the failed task's own exit code
    #[arg(long, requires = "run")]
    propagate_exit_code: bool,
}

fn masters(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ (1 | 3 | 5)) => Ok(count),
        _ => Err("a cluster has 1, 3 or 5 masters".to_owned()),
    }
}

pub(crate) async fn run(args: DevArgs, global: &Global) -> Outcome {
    // A wrong file is told before anything is started.
    let spec = args.run.as_deref().map(files::read_one).transpose()?;
    let options = EmbeddedOptions {
        masters: args.masters,
        workers: args.workers,
        data_dir: args.data_dir.clone(),
        port: args.port,
        capacity: capacity(&args),
        ..EmbeddedOptions::default()
    };
    let cluster = tokio::select! {
        cluster = Embedded::start(&options) => cluster.map_err(Failure::error)?,
        () = asked_to_stop() => return Ok(Exit::Interrupted),
    };
    let outcome = tokio::select! {
        outcome = use_it(&cluster, &args, spec.as_ref(), global) => outcome,
        failure = cluster.failed() => {
            Err(Failure::error(format!("a master must stop: {failure}")))
        }
    };
    stop(cluster.shutdown()).await;
    outcome
}

/// What each worker offers, if anything is said about it.
fn capacity(args: &DevArgs) -> Option<Resources> {
    if args.cpu.is_none() && args.memory.is_none() {
        return None;
    }
    let whole = muster_worker::capacity::detect();
    let parts = args.workers.max(1) as u64;
    Some(Resources {
        cpu_millis: args.cpu.unwrap_or(whole.cpu_millis / parts),
        memory_bytes: args.memory.unwrap_or(whole.memory_bytes / parts),
        ..Resources::ZERO
    })
}

async fn use_it(
    cluster: &Embedded,
    args: &DevArgs,
    spec: Option<&WorkflowSpec>,
    global: &Global,
) -> Outcome {
    match spec {
        Some(spec) => run_file(cluster, args, spec, global.format()).await,
        None => {
            greet(cluster, args)?;
            asked_to_stop().await;
            note("stopping");
            Ok(Exit::Ok)
        }
    }
}

fn greet(cluster: &Embedded, args: &DevArgs) -> Result<(), Failure> {
    let endpoints = cluster.endpoints();
    let count = |count: usize, what: &str| match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    };
    let keeps = match &args.data_dir {
        Some(dir) => format!("kept in {}", dir.display()),
        None => "in a temporary folder; --data-dir keeps it".to_owned(),
    };
    let first = &endpoints[0];
    output::line(format!("API       {}", endpoints.join(",")))?;
    output::line(format!(
        "Cluster   {}, {}",
        count(args.masters, "master"),
        count(args.workers, "worker")
    ))?;
    output::line(format!("Data      {keeps}"))?;
    let server =
        if first.ends_with(":7070") { String::new() } else { format!(" --server {first}") };
    output::line(format!("Try       {}{server} submit --logs -- echo hello", own_name()))?;
    note("Ctrl-C stops it");
    Ok(())
}

/// The program as it was called, so that what is shown can be typed as it stands.
fn own_name() -> String {
    std::env::args().next().filter(|name| !name.is_empty()).unwrap_or_else(|| "muster".to_owned())
}

async fn run_file(
    cluster: &Embedded,
    args: &DevArgs,
    spec: &WorkflowSpec,
    format: Format,
) -> Outcome {
    let client = Client::connect(cluster.endpoints())?;
    let params = args.param.iter().cloned().collect();
    let submitted = client.submit(Submission::source(spec).params(params)).await;
    let submitted = submitted.map_err(with_hint)?;
    let run = client.get_run(RunKey::from(&submitted)).await?;
    let show = if args.logs { Show::Both } else { Show::Progress };
    let followed = tokio::select! {
        followed = follow(&client, &run, show, None) => followed?,
        () = asked_to_stop() => End::Interrupted,
    };
    match followed {
        End::Run { run, tasks } => {
            note(dev_summary(&run, &tasks));
            if !args.logs && !matches!(format, Format::Table | Format::Wide) {
                output::one(format, &run, |_| String::new())?;
            }
            let exit = exit_of(&run, &tasks, args.propagate_exit_code);
            if exit != Exit::Ok && !args.logs {
                note("the cluster ends now; --logs prints what the tasks print");
            }
            Ok(exit)
        }
        End::Interrupted | End::Timeout => {
            note("stopping; the run ends with its cluster");
            Ok(Exit::Interrupted)
        }
    }
}

/// As everywhere, but without hints to commands that would find no cluster any more.
fn dev_summary(run: &v1::Run, tasks: &[v1::Task]) -> String {
    let text = summarize(run, tasks);
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("muster logs "));
    lines.collect::<Vec<_>>().join("\n")
}
