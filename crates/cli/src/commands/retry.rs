//! `muster retry` and `muster rerun`: running again what has run.

use clap::Args;
use muster_client::{Client, Retry, RetryScope, v1};

use super::operate::not_live;
use super::run::with_hint;
use super::select::{RunsArgs, Wish, YesArg, each};
use crate::exit::{Failure, Outcome};
use crate::names::label;
use crate::output::{self, Format, note};
use crate::settings::Global;
use crate::units;

#[derive(Args, Debug)]
pub(crate) struct RetryArgs {
    #[command(flatten)]
    runs: RunsArgs,
    #[command(flatten)]
    yes: YesArg,
    /// What failed or was cancelled, and all that needs it; this is the default
    #[arg(long, conflicts_with_all = ["from", "only"])]
    failed: bool,
    /// This task, whatever it came to, and all that needs it
    #[arg(long, value_name = "TASK")]
    from: Option<String>,
    /// This task alone, in a new run
    #[arg(long, value_name = "TASK", conflicts_with = "from")]
    only: Option<String>,
    /// Another value for a parameter; this makes a new run even of one that is live
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = units::pair)]
    param: Vec<(String, String)>,
}

#[derive(Args, Debug)]
pub(crate) struct RerunArgs {
    #[command(flatten)]
    runs: RunsArgs,
    #[command(flatten)]
    yes: YesArg,
    /// Another value for a parameter
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = units::pair)]
    param: Vec<(String, String)>,
}

const RETRY: Wish<'_> = Wish {
    verb: "retry",
    statuses: &[v1::RunStatus::Failed, v1::RunStatus::Cancelled],
    is_possible: |_| true,
};
const RERUN: Wish<'_> = Wish {
    verb: "rerun",
    statuses: &[v1::RunStatus::Succeeded, v1::RunStatus::Failed, v1::RunStatus::Cancelled],
    is_possible: |_| true,
};

pub(crate) async fn retry(args: RetryArgs, global: &Global) -> Outcome {
    let scope = match (args.from, args.only) {
        (Some(task), _) => RetryScope::From(task),
        (None, Some(task)) => RetryScope::Only(task),
        (None, None) => RetryScope::Failed,
    };
    let what = Retry { scope, params: args.param.into_iter().collect() };
    again(&args.runs, args.yes, &RETRY, &what, global).await
}

pub(crate) async fn rerun(args: RerunArgs, global: &Global) -> Outcome {
    let what = Retry { scope: RetryScope::All, params: args.param.into_iter().collect() };
    again(&args.runs, args.yes, &RERUN, &what, global).await
}

async fn again(
    runs: &RunsArgs,
    yes: YesArg,
    wish: &Wish<'_>,
    what: &Retry,
    global: &Global,
) -> Outcome {
    let client = global.client()?;
    let runs = runs.find(&client, wish, yes).await?;
    each(&runs, async |run| again_one(&client, &run, what, global.format()).await).await
}

async fn again_one(
    client: &Client,
    run: &v1::Run,
    what: &Retry,
    format: Format,
) -> Result<(), Failure> {
    let retried = client.retry(run, what).await.map_err(|error| match error.reason() {
        Some("INVALID_PARAM") => with_hint(error),
        _ => not_live(run, error),
    })?;
    let name = format!("{}/{}", retried.workflow, retried.number);
    match retried.is_new {
        true => note(format!("{name} retries {}", label(run))),
        false => note(format!("{name} goes on with what runs again")),
    }
    match format {
        Format::Table | Format::Wide | Format::Name => output::line(name)?,
        Format::Json | Format::Jsonl | Format::Yaml => {
            let value = output::json::value("muster.v1.RetryRunResponse", &retried);
            output::data(format, &value)?;
        }
    }
    Ok(())
}
