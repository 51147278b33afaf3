//! `muster schedule backfill`: runs for fire times that are past.
//!
//! Each run is asked for under an id that follows from what it is for, so that the same command again goes on where one
//! before it stopped, and two at once make no run twice.

use std::collections::BTreeMap;

use clap::{Args, ValueEnum};
use futures::{StreamExt, TryStreamExt};
use muster_calendar::{Fire, Schedule};
use muster_client::v1::RunStatus;
use muster_client::{Client, RunFilter, RunKey, Submission, v1};
use muster_core::snapshot::digest_of;
use muster_core::time::Timestamp;
use serde_json::json;

use super::run::with_hint;
use super::schedule::{Named, the_one, utc};
use super::stay::print_data;
use crate::exit::{Exit, Failure, Outcome};
use crate::follow::{interrupted, summarize};
use crate::output::{self, Format, Table, note, run_word};
use crate::settings::Global;
use crate::units::{self, now_ms};

/// Most fire times of one command.
const FIRES_MAX: usize = 10_000;

#[derive(Args, Debug)]
pub(crate) struct BackfillArgs {
    /// The workflow, or one of its schedules
    #[arg(value_name = "WORKFLOW[/SCHEDULE]")]
    which: String,
    /// The first fire time, or a time before it: 2026-12-01, 2026-12-01T09:00 (the schedule's zone), or with an offset
    #[arg(long, value_name = "TIME", value_parser = units::bound)]
    from: String,
    /// The last fire time, or a time after it, instead of now; a day is the whole day
    #[arg(long, value_name = "TIME", value_parser = units::bound)]
    to: Option<String>,
    /// Which fire times to run again that have a run already
    #[arg(long, value_name = "WHICH", default_value = "none")]
    reprocess: Reprocess,
    /// Begin with the last fire time
    #[arg(long)]
    reverse: bool,
    /// How many runs may be live at once
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    parallel: u16,
    /// Overrides the workflow's priority; larger first
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    priority: Option<i32>,
    /// Set a parameter, over the schedule's
    #[arg(short = 'p', long = "param", value_name = "NAME=VALUE", value_parser = units::pair)]
    params: Vec<(String, String)>,
    /// Start nothing more once a run has failed or was cancelled
    #[arg(long)]
    stop_on_failure: bool,
    /// Only show what would run
    #[arg(long)]
    dry_run: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Reprocess {
    /// Those without a run only
    None,
    /// Also those whose latest run failed or was cancelled
    Failed,
    /// All of them, unless their run is live
    All,
}

impl Reprocess {
    fn wants(self, latest: Option<RunStatus>) -> bool {
        match latest {
            None => true,
            Some(RunStatus::Failed | RunStatus::Cancelled) => self != Reprocess::None,
            Some(RunStatus::Succeeded) => self == Reprocess::All,
            Some(
                RunStatus::Queued | RunStatus::Running | RunStatus::Paused | RunStatus::Unspecified,
            ) => false,
        }
    }
}

/// A fire time, and its latest run.
struct Slot {
    fire: Fire,
    latest: Option<(u64, RunStatus)>,
    is_wanted: bool,
}

pub(super) async fn run(args: BackfillArgs, global: &Global) -> Outcome {
    let client = global.client()?;
    let schedule = the_one(&client, &args.which).await?;
    let mut slots = slots(&client, &schedule, &args).await?;
    if args.reverse {
        slots.reverse();
    }
    if args.dry_run {
        show(&schedule, &slots, global.format())?;
        return Ok(Exit::Ok);
    }
    let total = slots.len();
    slots.retain(|slot| slot.is_wanted);
    note(format!("{} of {total} fire times to run", slots.len()));
    carry_out(&client, &schedule, &args, &slots, global.format()).await
}

/// The fire times of the range in order, each with its latest run.
async fn slots(client: &Client, named: &Named, args: &BackfillArgs) -> Result<Vec<Slot>, Failure> {
    let (from, until) = range(&named.spec.time_zone, &args.from, args.to.as_deref(), now_ms())?;
    let schedule = Schedule::new(&named.spec).map_err(|error| Failure::error(error.to_string()))?;
    let first = schedule.next_after(Timestamp(from.saturating_sub(1)));
    let fires = std::iter::successors(first, |fire| schedule.next_after(fire.at));
    let fires: Vec<Fire> =
        fires.take_while(|fire| fire.at.0 <= until).take(FIRES_MAX + 1).collect();
    if fires.len() > FIRES_MAX {
        let text = format!("there are more than {FIRES_MAX} fire times; take a shorter range");
        return Err(Failure::usage(text));
    }
    let filter =
        RunFilter { workflow: named.workflow.clone(), page_size: 1000, ..RunFilter::default() };
    let mut latest: BTreeMap<u64, (u64, RunStatus)> = BTreeMap::new();
    let mut runs = client.list_runs(filter);
    while let Some(run) = runs.try_next().await? {
        if run.schedule == named.spec.name.as_str() {
            let known = latest.entry(run.fire_time_ms).or_insert((run.number, run.status()));
            *known = (*known).max((run.number, run.status()));
        }
    }
    let slot = |fire: Fire| {
        let latest = latest.get(&fire.at.0).copied();
        let is_wanted = args.reprocess.wants(latest.map(|(_, status)| status));
        Slot { fire, latest, is_wanted }
    };
    Ok(fires.into_iter().map(slot).collect())
}

/// The first and the last moment of a range as it was given, in the zone of the schedule. It ends now at the latest.
fn range(zone: &str, from: &str, to: Option<&str>, now: u64) -> Result<(u64, u64), Failure> {
    let read = |flag: &str, text: &str| {
        let bound = muster_calendar::bound(text, zone);
        bound.map_err(|error| Failure::usage(format!("{flag} {text}: {error}")))
    };
    let (first, _) = read("--from", from)?;
    let last = to.map(|to| read("--to", to)).transpose()?;
    if let (Some(to), Some((_, last))) = (to, last)
        && last < first
    {
        let text = format!("the range ends before it begins: --from {from} is after --to {to}");
        return Err(Failure::usage(text));
    }
    if first.0 > now {
        let text = format!(
            "the range is still to come: --from {from} ({zone}) is in the future; the schedule makes its runs itself"
        );
        return Err(Failure::usage(text));
    }
    Ok((first.0, last.map_or(now, |(_, last)| last.0.min(now))))
}

fn show(named: &Named, slots: &[Slot], format: Format) -> Result<(), Failure> {
    let word = |slot: &Slot| if slot.is_wanted { "run" } else { "leave" };
    let run = |slot: &Slot| slot.latest.map(|(number, _)| format!("{}/{number}", named.workflow));
    let status = |slot: &Slot| slot.latest.map(|(_, status)| run_word(status));
    match format {
        Format::Table | Format::Wide if slots.is_empty() => note("no fire time lies in the range"),
        Format::Table | Format::Wide => {
            let mut table = Table::new(&["TIME (UTC)", "LATEST RUN", "STATUS", "WOULD"]);
            for slot in slots {
                let (run, status) =
                    (run(slot).unwrap_or_default(), status(slot).unwrap_or_default());
                table.row(vec![utc(&slot.fire), run, status.to_owned(), word(slot).to_owned()]);
            }
            table.to_string().lines().try_for_each(output::line)?;
        }
        Format::Name => {
            for slot in slots.iter().filter(|slot| slot.is_wanted) {
                output::line(utc(&slot.fire))?;
            }
        }
        Format::Json | Format::Jsonl | Format::Yaml => {
            let times = slots.iter().map(|slot| {
                json!({
                    "time": slot.fire.local.timestamp().to_string(),
                    "latestRun": run(slot),
                    "latestStatus": status(slot),
                    "would": word(slot),
                })
            });
            output::data(format, &json!({ "times": times.collect::<Vec<_>>() }))?;
        }
    }
    Ok(())
}

/// Runs them, some at once, and begun in their order. Once something goes wrong nothing more is started, and what is
/// live is waited for.
async fn carry_out(
    client: &Client,
    named: &Named,
    args: &BackfillArgs,
    slots: &[Slot],
    format: Format,
) -> Outcome {
    let stopped = std::cell::Cell::new(false);
    let turn = tokio::sync::Mutex::new(());
    let one = async |slot: &Slot| -> Result<Option<v1::Run>, Failure> {
        let in_turn = turn.lock().await;
        if stopped.get() {
            return Ok(None);
        }
        let submitted = client.submit(submission(client, named, args, slot)).await;
        let submitted = submitted.inspect_err(|_| stopped.set(true)).map_err(with_hint)?;
        drop(in_turn);
        let run = client.wait_run(RunKey::from(&submitted), None).await;
        let run = run.inspect_err(|_| stopped.set(true))?;
        note(format!("{}: {}", utc(&slot.fire), summarize(&run, &[])));
        if args.stop_on_failure && Exit::of_run(&run) != Exit::Ok {
            stopped.set(true);
        }
        Ok(Some(run))
    };
    let mut ended = Vec::new();
    let mut first_failure = None;
    let carrying_out = async {
        let mut all =
            futures::stream::iter(slots).map(one).buffer_unordered(usize::from(args.parallel));
        while let Some(done) = all.next().await {
            match done {
                Ok(run) => ended.extend(run),
                Err(failure) => {
                    first_failure.get_or_insert(failure);
                }
            }
        }
    };
    let is_interrupted = tokio::select! {
        () = carrying_out => false,
        () = interrupted() => true,
    };
    print_data(format, &ended)?;
    let left = slots.len() - ended.len();
    if left > 0 {
        note(format!("{left} fire times are left; the same command again goes on with them"));
    }
    match first_failure {
        Some(failure) => Err(failure),
        None if is_interrupted => Ok(Exit::Interrupted),
        None => Ok(ended.iter().map(Exit::of_run).find(|it| *it != Exit::Ok).unwrap_or(Exit::Ok)),
    }
}

/// The id of the run for a fire time after the run with this number. Request ids are one space for the whole cluster,
/// and have a bound that names may exceed; so it is made of a digest.
fn request_id(names: &[&str], fire_time_ms: u64, after: u64) -> String {
    let whole = format!("{}/{fire_time_ms}/{after}", names.join("/"));
    format!("backfill-{:016x}", digest_of(whole.as_bytes()))
}

fn submission(client: &Client, named: &Named, args: &BackfillArgs, slot: &Slot) -> Submission {
    let (schedule, at) = (named.spec.name.as_str(), slot.fire.at.0);
    let after = slot.latest.map_or(0, |(number, _)| number);
    let id = request_id(&[client.namespace(), &named.workflow, schedule], at, after);
    let workflow = Submission::workflow(&named.workflow);
    let mut submission = workflow.backfill(schedule, at).request_id(id);
    for (name, value) in &args.params {
        submission = submission.param(name, value);
    }
    match args.priority {
        Some(priority) => submission.priority(priority),
        None => submission,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_in_the_zone_of_the_schedule_and_past() {
        let at = |text: &str| muster_calendar::moment(text).expect("a time").0;
        let now = at("2026-12-10T12:00");
        let range = |from, to| range("Europe/Berlin", from, to, now).ok();
        let day = (at("2026-11-30T23:00"), at("2026-12-01T23:00") - 1);
        assert_eq!(range("2026-12-01", Some("2026-12-01")), Some(day), "the whole day");
        let until_nine = (day.0, at("2026-12-01T08:00"));
        assert_eq!(range("2026-12-01", Some("2026-12-01T09:00")), Some(until_nine));
        assert_eq!(range("2026-12-01", None), Some((day.0, now)));
        assert_eq!(range("2026-12-10", Some("2027-01-01")), Some((at("2026-12-09T23:00"), now)));
        assert_eq!(range("2026-12-02", Some("2026-12-01")), None, "inverted");
        assert_eq!(range("2026-12-01T09:01", Some("2026-12-01T09:00")), None, "inverted");
        assert_eq!(range("2026-12-11", None), None, "in the future");
        assert_eq!(range("2026-12-11", Some("2026-12-12")), None, "in the future");
    }

    #[test]
    fn each_run_has_an_id_of_its_own() {
        let id = request_id(&["default", "etl", "night"], 1_000, 0);
        assert_eq!(id, request_id(&["default", "etl", "night"], 1_000, 0));
        for other in [
            request_id(&["test", "etl", "night"], 1_000, 0),
            request_id(&["default", "etl-night", "a"], 1_000, 0),
            request_id(&["default", "etl", "night-a"], 1_000, 0),
            request_id(&["default", "etl", "night"], 2_000, 0),
            request_id(&["default", "etl", "night"], 1_000, 7),
        ] {
            assert_ne!(id, other);
        }
    }

    #[test]
    fn what_is_live_is_never_run_beside() {
        let wanted = |reprocess: Reprocess| {
            [None, Some(RunStatus::Failed), Some(RunStatus::Succeeded), Some(RunStatus::Running)]
                .map(|latest| reprocess.wants(latest))
        };
        assert_eq!(wanted(Reprocess::None), [true, false, false, false]);
        assert_eq!(wanted(Reprocess::Failed), [true, true, false, false]);
        assert_eq!(wanted(Reprocess::All), [true, true, true, false]);
    }
}
