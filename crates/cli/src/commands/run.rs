//! `muster run`: a run of a workflow that was applied, or of one in a file.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use muster_client::{Client, RunKey, Submission, v1};

use crate::exit::{Exit, Failure, Outcome};
use crate::files;
use crate::follow::{FollowArgs, Show, follow_and_tell};
use crate::output::{self, Format, note};
use crate::settings::Global;
use crate::units;

#[derive(Args, Debug)]
pub(crate) struct RunArgs {
    /// A workflow that was applied
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    workflow: Option<String>,
    /// Apply the workflow in this file and run it, in one step; `-` reads standard input
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Set a parameter
    #[arg(short, long = "param", value_name = "KEY=VALUE", value_parser = units::pair)]
    param: Vec<(String, String)>,
    /// Run this version of the workflow instead of the latest
    #[arg(
        long,
        value_name = "N",
        conflicts_with = "file",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    version: Option<u32>,
    /// Overrides the workflow's priority; larger first
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    priority: Option<i32>,
    /// Submitting the same id again gives the same run
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
    #[command(flatten)]
    follow: FollowArgs,
    /// Stop waiting after this long, with exit code 124; the run goes on
    #[arg(long, value_name = "DURATION", value_parser = units::span)]
    timeout: Option<Duration>,
}

pub(crate) async fn run(args: RunArgs, global: &Global) -> Outcome {
    let submission = submission(&args)?;
    let client = global.client()?;
    submit_and_follow(&client, submission, args.follow, args.timeout, global.format()).await
}

fn submission(args: &RunArgs) -> Result<Submission, Failure> {
    let mut submission = match (&args.workflow, &args.file) {
        (_, Some(file)) => Submission::source(&files::read_one(file)?),
        (Some(workflow), None) => Submission::workflow(workflow),
        (None, None) => return Err(Failure::usage("name a workflow, or give a file with -f")),
    };
    for (key, value) in &args.param {
        submission = submission.param(key, value);
    }
    if let Some(version) = args.version {
        submission = submission.version(version);
    }
    if let Some(priority) = args.priority {
        submission = submission.priority(priority);
    }
    if let Some(id) = &args.request_id {
        submission = submission.request_id(id);
    }
    Ok(submission)
}

/// Submits, prints the run, and stays until its end if asked to.
pub(crate) async fn submit_and_follow(
    client: &Client,
    submission: Submission,
    follow: FollowArgs,
    limit: Option<Duration>,
    format: Format,
) -> Outcome {
    let show = if limit.is_some() { follow.show().or(Some(Show::Nothing)) } else { follow.show() };
    let is_for_people = matches!(format, Format::Table | Format::Wide | Format::Name);
    // What the tasks print is the data then, and the name is for people.
    let prints_logs = matches!(show, Some(Show::Logs | Show::Both));
    if prints_logs && !is_for_people {
        return Err(Failure::usage(
            "--logs prints what the tasks print to stdout: leave -o out, or use --wait and `muster logs` afterwards",
        ));
    }
    let submitted = client.submit(submission).await.map_err(with_hint)?;
    let name = format!("{}/{}", submitted.workflow, submitted.number);
    let Some(show) = show else {
        print_submitted(format, &submitted, &name)?;
        if format == Format::Table {
            note(format!("to follow it: muster watch {name}"));
        }
        return Ok(Exit::Ok);
    };
    match (prints_logs, is_for_people) {
        (true, _) => note(&name),
        (false, true) => output::line(&name)?,
        // The run is printed as it ended.
        (false, false) => {}
    }
    let run = client.get_run(RunKey::from(&submitted)).await?;
    let (exit, ended) =
        follow_and_tell(client, &run, show, limit, follow.propagate_exit_code).await?;
    if !is_for_people {
        output::one(format, &ended.unwrap_or(run), |_| String::new())?;
    }
    Ok(exit)
}

/// Says how a parameter is given, if one was refused.
pub(super) fn with_hint(error: muster_client::Error) -> Failure {
    let is_about_param = error.reason() == Some("INVALID_PARAM");
    let mut failure = Failure::from(error);
    if let (true, Some(message)) = (is_about_param, &mut failure.message) {
        message.push_str("\n-p NAME=VALUE sets a parameter");
    }
    failure
}

fn print_submitted(
    format: Format,
    submitted: &v1::SubmitRunResponse,
    name: &str,
) -> Result<(), Failure> {
    match format {
        Format::Table | Format::Wide | Format::Name => output::line(name)?,
        Format::Json | Format::Jsonl | Format::Yaml => {
            let value = output::json::value("muster.v1.SubmitRunResponse", submitted);
            output::data(format, &value)?;
        }
    }
    Ok(())
}
