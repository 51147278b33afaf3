//! `muster watch`, `wait`, `cancel` and `release`: following runs, and stepping in.

use std::time::Duration;

use clap::Args;
use futures::TryStreamExt;
use muster_client::{Client, v1};

use crate::exit::{Exit, Failure, Outcome};
use crate::follow::{Show, detached, follow_and_tell, interrupted, timed_out, wait_all};
use crate::names::{OneTask, RunName, label};
use crate::output::{self, Format, note};
use crate::settings::Global;
use crate::units;

#[derive(Args, Debug)]
pub(crate) struct WatchArgs {
    /// The run
    #[arg(default_value = "@latest")]
    run: RunName,
    /// Print what the tasks print, too
    #[arg(long)]
    logs: bool,
    /// Stop watching after this long, with exit code 124; the run goes on
    #[arg(long, value_name = "DURATION", value_parser = units::span)]
    timeout: Option<Duration>,
    /// If the run failed, exit with the failed task's own exit code
    #[arg(long)]
    propagate_exit_code: bool,
}

#[derive(Args, Debug)]
pub(crate) struct WaitArgs {
    /// The runs
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<RunName>,
    /// Stop waiting after this long, with exit code 124; the runs go on
    #[arg(long, value_name = "DURATION", value_parser = units::span)]
    timeout: Option<Duration>,
}

#[derive(Args, Debug)]
pub(crate) struct CancelArgs {
    /// The runs
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<RunName>,
    /// Wait until they have ended
    #[arg(long)]
    wait: bool,
}

#[derive(Args, Debug)]
pub(crate) struct ReleaseArgs {
    /// The held task
    #[arg(value_name = "RUN/TASK")]
    task: OneTask,
    /// Let it fail instead of running it again
    #[arg(long)]
    fail: bool,
}

pub(crate) async fn watch(args: WatchArgs, global: &Global) -> Outcome {
    let client = global.client()?;
    let run = args.run.find(&client).await?;
    if global.format() == Format::Jsonl {
        return stream(&client, &run, args.timeout).await;
    }
    let show = if args.logs { Show::Both } else { Show::Progress };
    let (exit, ended) =
        follow_and_tell(&client, &run, show, args.timeout, args.propagate_exit_code).await?;
    let is_for_people = matches!(global.format(), Format::Table | Format::Wide);
    if let (Some(run), false) = (ended, is_for_people || args.logs) {
        output::one(global.format(), &run, |_| String::new())?;
    }
    Ok(exit)
}

/// Prints each change as a line of JSON, until the run ends.
async fn stream(client: &Client, run: &v1::Run, limit: Option<Duration>) -> Outcome {
    let printing = async {
        let mut updates = client.watch_run(run);
        let mut last = run.clone();
        while let Some(update) = updates.try_next().await? {
            last = update.run.clone().unwrap_or(last);
            let response = v1::WatchRunResponse {
                revision: update.revision,
                run: update.run,
                tasks: update.tasks,
                is_bookmark: false,
            };
            output::data(
                Format::Jsonl,
                &output::json::value("muster.v1.WatchRunResponse", &response),
            )?;
        }
        Ok(Exit::of_run(&last))
    };
    let limit = limit.unwrap_or(Duration::MAX);
    tokio::select! {
        waited = tokio::time::timeout(limit, printing) => match waited {
            Ok(outcome) => outcome,
            Err(_) => timed_out(client, run).await,
        },
        () = interrupted() => {
            note(detached(run));
            Ok(Exit::Interrupted)
        }
    }
}

pub(crate) async fn wait(args: WaitArgs, global: &Global) -> Outcome {
    let client = global.client()?;
    let mut runs = Vec::new();
    for name in &args.runs {
        runs.push(name.find(&client).await?);
    }
    let mut ended = Vec::new();
    let outcome = wait_all(&client, &runs, args.timeout, &mut ended).await;
    print_data(global.format(), &ended)?;
    outcome
}

/// Prints runs for programs; people were told on stderr.
fn print_data(format: Format, runs: &[v1::Run]) -> Result<(), Failure> {
    match format {
        Format::Table | Format::Wide => Ok(()),
        Format::Json | Format::Jsonl | Format::Yaml | Format::Name => {
            Ok(output::list(format, runs)?)
        }
    }
}

pub(crate) async fn cancel(args: CancelArgs, global: &Global) -> Outcome {
    let client = global.client()?;
    let mut cancelled = Vec::new();
    for name in &args.runs {
        let run = name.find(&client).await?;
        if client.cancel(&run).await? {
            note(format!("cancelling {}", label(&run)));
            cancelled.push(run);
        } else {
            note(format!("{} had ended before", label(&run)));
        }
    }
    if !args.wait {
        print_data(global.format(), &cancelled)?;
        return Ok(Exit::Ok);
    }
    let mut ended = Vec::new();
    let outcome = wait_all(&client, &cancelled, None, &mut ended).await;
    print_data(global.format(), &ended)?;
    match outcome? {
        // That the runs end as cancelled is what was asked for.
        Exit::RunStopped => Ok(Exit::Ok),
        other => Ok(other),
    }
}

pub(crate) async fn release(args: ReleaseArgs, global: &Global) -> Outcome {
    let client = global.client()?;
    let OneTask { run, part } = args.task;
    let task = part.whole()?;
    let run = run.find(&client).await?;
    client.release(&run, &task, !args.fail).await.map_err(|error| not_live(&run, error))?;
    let what = if args.fail { "fails" } else { "runs again" };
    note(format!("{}/{task} {what}", label(&run)));
    Ok(Exit::Ok)
}

/// The cluster knows an ended run by its id only; its user knows it by its name.
fn not_live(run: &v1::Run, error: muster_client::Error) -> Failure {
    if error.reason() == Some("RUN_NOT_LIVE") {
        return Failure::new(Exit::NotFound, format!("{} has ended", label(run)));
    }
    error.into()
}
