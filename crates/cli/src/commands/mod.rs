//! The subcommands: each parses its own arguments, calls the cluster, and prints.

pub(crate) mod admin;
pub(crate) mod apply;
pub(crate) mod approve;
mod backfill;
pub(crate) mod convert;
pub(crate) mod dev;
pub(crate) mod diff;
mod each;
pub(crate) mod get;
pub(crate) mod graph;
pub(crate) mod logs;
pub(crate) mod lookup;
pub(crate) mod operate;
pub(crate) mod plan;
mod portrait;
pub(crate) mod process;
pub(crate) mod retry;
pub(crate) mod rollback;
pub(crate) mod run;
pub(crate) mod schedule;
mod select;
pub(crate) mod stay;
pub(crate) mod submit;
pub(crate) mod validate;
pub(crate) mod webhook;

use muster_client::v1::TaskStatus;

use crate::args::{Cli, Command};
use crate::exit::{Exit, Failure, Outcome};
use crate::output::{self, Format};

/// Carries out what the command line says.
pub(crate) async fn run(cli: Cli) -> Outcome {
    let Cli { global, command } = cli;
    if global.picture().is_some() && !matches!(command, Command::Graph(_)) {
        return Err(Failure::usage("only `muster graph` draws: use -o table, json, yaml or name"));
    }
    match command {
        Command::Dev(args) => dev::run(args, &global).await,
        Command::Master(command) => process::master(command).await,
        Command::Worker(command) => process::worker(command, &global).await,
        Command::Run(args) => run::run(args, &global).await,
        Command::Submit(args) => submit::run(args, &global).await,
        Command::Apply(args) => apply::run(args, &global).await,
        Command::Diff(args) => diff::run(args, &global).await,
        Command::Rollback(args) => rollback::run(args, &global).await,
        Command::Plan(args) => plan::run(args, &global).await,
        Command::Validate(args) => validate::run(&args, &global),
        Command::Graph(args) => graph::run(&args, &global).await,
        Command::Get(command) => get::run(command, &global).await,
        Command::Describe(command) => lookup::describe(command, &global).await,
        Command::Explain(args) => lookup::explain(args, &global).await,
        Command::Logs(args) => logs::run(args, &global).await,
        Command::Watch(args) => stay::watch(args, &global).await,
        Command::Wait(args) => stay::wait(args, &global).await,
        Command::Cancel(args) => operate::cancel(args, &global).await,
        Command::Pause(args) => operate::pause(args, true, &global).await,
        Command::Resume(args) => operate::pause(args, false, &global).await,
        Command::Priority(args) => operate::priority(args, &global).await,
        Command::Skip(args) => operate::end(args, TaskStatus::Skipped, &global).await,
        Command::Succeed(args) => operate::end(args, TaskStatus::Succeeded, &global).await,
        Command::Approve(args) => approve::answer(args, true, &global).await,
        Command::Reject(args) => approve::answer(args, false, &global).await,
        Command::Retry(args) => retry::retry(args, &global).await,
        Command::Rerun(args) => retry::rerun(args, &global).await,
        Command::Release(args) => operate::release(args, &global).await,
        Command::Schedule(command) => schedule::run(command, &global).await,
        Command::Webhook(command) => webhook::run(&command, &global),
        Command::Cluster(command) => admin::cluster(command, &global).await,
        Command::Convert(command) => convert::run(&command, &global),
        Command::Bench(bench) => {
            bench.run().await.map_err(|error| Failure::error(format!("{error:#}")))?;
            Ok(Exit::Ok)
        }
        Command::Completion(args) => admin::completion(&args),
        Command::Version => version(global.format()),
        Command::Guardian => unreachable!("it is started before anything else"),
    }
}

fn version(format: Format) -> Outcome {
    let version = env!("CARGO_PKG_VERSION");
    match format {
        Format::Table | Format::Wide | Format::Name => output::line(format!("muster {version}"))?,
        Format::Json | Format::Jsonl | Format::Yaml => {
            output::data(format, &serde_json::json!({ "version": version }))?;
        }
    }
    Ok(Exit::Ok)
}
