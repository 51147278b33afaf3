//! `muster watch` and `muster wait`: following runs.

use std::time::Duration;

use clap::Args;
use futures::TryStreamExt;
use muster_client::{Client, v1};

use crate::exit::{Exit, Failure, Outcome};
use crate::follow::{Show, detached, follow_and_tell, interrupted, timed_out, wait_all};
use crate::names::RunName;
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
pub(super) fn print_data(format: Format, runs: &[v1::Run]) -> Result<(), Failure> {
    match format {
        Format::Table | Format::Wide => Ok(()),
        Format::Json | Format::Jsonl | Format::Yaml | Format::Name => {
            Ok(output::list(format, runs)?)
        }
    }
}
