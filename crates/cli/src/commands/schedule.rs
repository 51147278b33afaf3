//! `muster schedule`: when workflows run by themselves.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use futures::TryStreamExt;
use muster_calendar::{Fire, Remark, Schedule};
use muster_client::{Client, Submission, v1};
use muster_core::spec::schedule::ScheduleSpec;
use muster_core::time::Timestamp;
use muster_proto::convert::schedule_from_proto;
use serde_json::{Value, json};

use super::backfill::{self, BackfillArgs};
use super::run::with_hint;
use crate::exit::{Exit, Failure, Outcome};
use crate::files;
use crate::output::{self, Format, Table, note};
use crate::settings::Global;
use crate::units::{self, between, now_ms, short};

/// Most fire times that are worked out at once.
const SHOWN_MAX: usize = 10_000;

#[derive(Debug, Subcommand)]
pub(crate) enum ScheduleCommand {
    /// Show when workflows run next
    Next(NextArgs),
    /// Switch schedules and triggers off; what would have run meanwhile is not caught up on
    Suspend(WhichArgs),
    /// Switch schedules and triggers on again
    Resume(WhichArgs),
    /// Run a workflow now, with the parameters of its schedule
    Trigger(TriggerArgs),
    /// Run a workflow for fire times that are past, and wait for the runs
    Backfill(BackfillArgs),
}

#[derive(Args, Debug)]
pub(crate) struct NextArgs {
    /// The workflow, or one of its schedules
    #[arg(value_name = "WORKFLOW[/SCHEDULE]", required_unless_present = "file")]
    which: Option<String>,
    /// Look at the workflows in this file instead, without a cluster; `-` reads standard input
    #[arg(short = 'f', long, value_name = "FILE", conflicts_with = "which")]
    file: Option<PathBuf>,
    /// Begin after this time instead of now: 2026-12-01, 2026-12-01T09:00 (UTC), or with an offset
    #[arg(long, value_name = "TIME", value_parser = units::moment)]
    from: Option<u64>,
    /// How many times at most
    #[arg(short = 'c', long, value_name = "N", default_value_t = 10)]
    count: usize,
}

#[derive(Args, Debug)]
pub(crate) struct WhichArgs {
    /// The workflow, or one of its schedules or triggers
    #[arg(value_name = "WORKFLOW[/SCHEDULE|/TRIGGER]")]
    which: String,
}

#[derive(Args, Debug)]
pub(crate) struct TriggerArgs {
    /// The workflow, or one of its schedules
    #[arg(value_name = "WORKFLOW[/SCHEDULE]")]
    which: String,
    /// Set a parameter
    #[arg(short = 'p', long = "param", value_name = "NAME=VALUE", value_parser = units::pair)]
    params: Vec<(String, String)>,
}

/// A schedule and whose it is.
pub(super) struct Named {
    pub(super) workflow: String,
    pub(super) spec: ScheduleSpec,
    is_suspended: bool,
}

pub(crate) async fn run(command: ScheduleCommand, global: &Global) -> Outcome {
    match command {
        ScheduleCommand::Next(args) => next(args, global).await,
        ScheduleCommand::Suspend(args) => suspend(&args.which, true, global).await,
        ScheduleCommand::Resume(args) => suspend(&args.which, false, global).await,
        ScheduleCommand::Trigger(args) => trigger(args, global).await,
        ScheduleCommand::Backfill(args) => backfill::run(args, global).await,
    }
}

async fn next(args: NextArgs, global: &Global) -> Outcome {
    let schedules = match &args.file {
        Some(file) => in_file(file)?,
        None => in_cluster(&global.client()?, &args.which.unwrap_or_default()).await?,
    };
    let from = Timestamp(args.from.unwrap_or_else(now_ms));
    let count = args.count.min(SHOWN_MAX);
    let mut fires: Vec<(usize, Fire)> = Vec::new();
    let mut first_fires: Vec<(usize, Fire)> = Vec::new();
    for (at, named) in schedules.iter().enumerate() {
        let schedule = Schedule::new(&named.spec).map_err(|error| {
            Failure::error(format!("{}/{}: {error}", named.workflow, named.spec.name))
        })?;
        if named.is_suspended {
            note(format!("{}/{} is suspended", named.workflow, named.spec.name));
            continue;
        }
        let after =
            std::iter::successors(schedule.next_after(from), |fire| schedule.next_after(fire.at));
        let coming: Vec<Fire> = after.take(count).collect();
        first_fires.extend(coming.first().map(|fire| (at, fire.clone())));
        fires.extend(coming.into_iter().map(|fire| (at, fire)));
    }
    fires.sort_by_key(|(at, fire)| (fire.at, *at));
    fires.truncate(count);
    add_hidden(&mut fires, first_fires);
    let format = global.format();
    match format {
        Format::Table | Format::Wide if fires.is_empty() => note("nothing comes"),
        Format::Table | Format::Wide => {
            let mut table = Table::new(&["SCHEDULE", "TIME (UTC)", "LOCAL", "IN", "REMARK"]);
            for (at, fire) in &fires {
                table.row(row(&schedules[*at], fire));
            }
            write_text(&table.to_string())?;
        }
        Format::Name => {
            for (_, fire) in &fires {
                output::line(utc(fire))?;
            }
        }
        Format::Jsonl => {
            for (at, fire) in &fires {
                output::data(format, &value(&schedules[*at], fire))?;
            }
        }
        Format::Json | Format::Yaml => {
            let times = fires.iter().map(|(at, fire)| value(&schedules[*at], fire));
            output::data(format, &json!({ "times": times.collect::<Vec<_>>() }))?;
        }
    }
    Ok(Exit::Ok)
}

/// Adds the next time of each schedule that fires after all the times shown: one that fires each minute must not hide
/// one that fires each night.
fn add_hidden(fires: &mut Vec<(usize, Fire)>, mut first_fires: Vec<(usize, Fire)>) {
    first_fires.retain(|(at, _)| !fires.iter().any(|(shown, _)| shown == at));
    if first_fires.is_empty() || fires.is_empty() {
        return;
    }
    first_fires.sort_by_key(|(at, fire)| (fire.at, *at));
    let last = fires.last().map(|(_, fire)| utc(fire)).unwrap_or_default();
    note(format!("after {last} only the next time of each schedule not shown before follows"));
    fires.append(&mut first_fires);
}

fn write_text(text: &str) -> Result<(), Failure> {
    for line in text.lines() {
        output::line(line)?;
    }
    Ok(())
}

fn row(named: &Named, fire: &Fire) -> Vec<String> {
    let now = now_ms();
    let ahead = if fire.at.0 > now { short(between(now, fire.at.0)) } else { String::new() };
    let local = fire.local.strftime("%a %F %T %Z").to_string();
    let name = format!("{}/{}", named.workflow, named.spec.name);
    vec![name, utc(fire), local, ahead, remark(fire)]
}

pub(super) fn utc(fire: &Fire) -> String {
    fire.local.timestamp().strftime("%F %T").to_string()
}

fn remark(fire: &Fire) -> String {
    match fire.remark {
        None => String::new(),
        Some(Remark::Skipped { meant }) => {
            format!("the clock skips {}", meant.strftime("%H:%M"))
        }
        Some(Remark::FirstOfTwo) => "comes twice, runs the first time".to_owned(),
        Some(Remark::Earlier) => "comes twice, runs both times: the first".to_owned(),
        Some(Remark::Later) => "comes twice, runs both times: the second".to_owned(),
    }
}

fn value(named: &Named, fire: &Fire) -> Value {
    json!({
        "workflow": named.workflow,
        "schedule": named.spec.name.as_str(),
        "time": fire.local.timestamp().to_string(),
        "local": fire.local.strftime("%FT%T%:z").to_string(),
        "timeZone": named.spec.time_zone.to_string(),
        "remark": remark(fire),
    })
}

fn in_file(file: &Path) -> Result<Vec<Named>, Failure> {
    let files = files::read_all(&[file.to_owned()])?;
    let workflows = files.into_iter().flat_map(|file| file.workflows);
    let schedules: Vec<Named> = workflows
        .flat_map(|workflow| {
            let name = workflow.name.to_string();
            workflow.schedules.into_iter().map(move |spec| Named {
                workflow: name.clone(),
                is_suspended: spec.is_suspended,
                spec,
            })
        })
        .collect();
    match schedules.is_empty() {
        true => Err(Failure::error(format!("{} has no schedule", file.display()))),
        false => Ok(schedules),
    }
}

async fn in_cluster(client: &Client, which: &str) -> Result<Vec<Named>, Failure> {
    let found = find(client, which).await?;
    found.into_iter().map(named).collect()
}

fn named(schedule: v1::Schedule) -> Result<Named, Failure> {
    let malformed = || Failure::error("the master's answer has no schedule in it");
    let spec = schedule_from_proto(schedule.spec.ok_or_else(malformed)?)
        .map_err(|error| Failure::error(error.to_string()))?;
    Ok(Named { workflow: schedule.workflow, spec, is_suspended: schedule.is_suspended })
}

/// The schedules that `WORKFLOW[/SCHEDULE]` names; at least one.
async fn find(client: &Client, which: &str) -> Result<Vec<v1::Schedule>, Failure> {
    let (workflow, schedule) = parts(which)?;
    let of_workflow: Vec<v1::Schedule> =
        client.list_schedules(Some(workflow)).try_collect().await?;
    if of_workflow.is_empty() {
        // A name that is mistyped is told from a workflow without a schedule.
        client.get_workflow(workflow).await?;
        return Err(Failure::not_found(format!("workflow `{workflow}` has no schedule")));
    }
    let names: Vec<String> = of_workflow.iter().map(|it| it.name.clone()).collect();
    let is_meant = |it: &v1::Schedule| schedule.is_none_or(|schedule| it.name == schedule);
    let found: Vec<_> = of_workflow.into_iter().filter(is_meant).collect();
    match (found.is_empty(), schedule) {
        (true, Some(schedule)) => Err(Failure::not_found(format!(
            "workflow `{workflow}` has no schedule `{schedule}`; it has {}",
            names.join(", ")
        ))),
        _ => Ok(found),
    }
}

/// The one schedule that `WORKFLOW[/SCHEDULE]` names.
pub(super) async fn the_one(client: &Client, which: &str) -> Result<Named, Failure> {
    let found = find(client, which).await?;
    let names: Vec<String> =
        found.iter().map(|it| format!("{}/{}", it.workflow, it.name)).collect();
    match <[v1::Schedule; 1]>::try_from(found) {
        Ok([schedule]) => named(schedule),
        Err(_) => Err(Failure::usage(format!("say which schedule: {}", names.join(", ")))),
    }
}

fn parts(which: &str) -> Result<(&str, Option<&str>), Failure> {
    let (workflow, schedule) = match which.split_once('/') {
        Some((workflow, schedule)) => (workflow, Some(schedule)),
        None => (which, None),
    };
    // `etl/` is an empty variable of a script rather than all schedules.
    if workflow.is_empty() || schedule == Some("") {
        return Err(Failure::usage(format!("`{which}` is not WORKFLOW or WORKFLOW/SCHEDULE")));
    }
    Ok((workflow, schedule))
}

async fn suspend(which: &str, is_suspended: bool, global: &Global) -> Outcome {
    let client = global.client()?;
    let (workflow, schedule) = parts(which)?;
    client.suspend_schedule(workflow, schedule, is_suspended).await?;
    let word = if is_suspended { "suspended" } else { "resumed" };
    note(format!("{which} is {word}"));
    if !is_suspended {
        for left in still_off(&client, workflow, schedule).await? {
            note(format!("{workflow}/{left} stays off: the workflow's file says `suspend`"));
        }
    }
    Ok(Exit::Ok)
}

/// The names of the schedules and triggers that were meant and are off all the same.
async fn still_off(
    client: &Client,
    workflow: &str,
    name: Option<&str>,
) -> Result<Vec<String>, Failure> {
    let schedules: Vec<v1::Schedule> = client.list_schedules(Some(workflow)).try_collect().await?;
    let triggers: Vec<v1::Trigger> = client.list_triggers(Some(workflow)).try_collect().await?;
    let schedules = schedules.into_iter().map(|it| (it.name, it.is_suspended));
    let all = schedules.chain(triggers.into_iter().map(|it| (it.name, it.is_suspended)));
    let meant = all.filter(|(it, is_off)| *is_off && name.is_none_or(|name| name == it));
    Ok(meant.map(|(name, _)| name).collect())
}

async fn trigger(args: TriggerArgs, global: &Global) -> Outcome {
    let client = global.client()?;
    let named = the_one(&client, &args.which).await?;
    let mut submission = Submission::workflow(&named.workflow);
    for (name, value) in &named.spec.params {
        submission = submission.param(name.as_str(), &**value);
    }
    for (name, value) in args.params {
        submission = submission.param(name, value);
    }
    let submitted = client.submit(submission).await.map_err(with_hint)?;
    output::line(format!("{}/{}", submitted.workflow, submitted.number))?;
    Ok(Exit::Ok)
}
