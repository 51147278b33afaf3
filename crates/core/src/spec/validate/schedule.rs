//! Schedules, as far as that needs no calendar.

use std::collections::{BTreeMap, BTreeSet};

use super::super::WorkflowSpec;
use super::super::path::Path;
use super::super::report::Report;
use super::super::schedule::{ScheduleSpec, Timing};
use super::{names, task};
use crate::ids::{Name, Text};
use crate::limits;
use crate::time::Millis;

/// Longest line, zone, date or time.
const TEXT_BYTES_MAX: usize = 256;
/// Shortest distance of fire times.
const INTERVAL_MIN: Millis = Millis::from_secs(1);

/// Values for the parameters in `unsound` cannot be judged.
pub(super) fn schedules(spec: &WorkflowSpec, unsound: &BTreeSet<&Name>, report: &mut Report<'_>) {
    let path = Path::Root.key("schedule");
    if spec.schedules.len() > limits::SCHEDULES_MAX {
        let (count, max) = (spec.schedules.len(), limits::SCHEDULES_MAX);
        report.error(path, format!("{count} schedules are too many; at most {max} are possible"));
        return;
    }
    let mut names = BTreeSet::new();
    for (at, schedule) in spec.schedules.iter().enumerate() {
        let path = path.index(at);
        if !names.insert(&schedule.name) {
            let message = format!("two schedules are called `{}`", schedule.name);
            report.error_with_help(path.key("name"), message, "give one of them another `name`");
        }
        one(schedule, path, report);
        params(spec, "schedule", &schedule.params, path, report);
        values(spec, &schedule.params, unsound, path, report);
    }
}

fn one(schedule: &ScheduleSpec, path: Path<'_>, report: &mut Report<'_>) {
    let at = path.key(schedule.timing.field());
    match &schedule.timing {
        Timing::Cron { line, .. } => length(line, at, report),
        Timing::At(time) => length(time, at, report),
        Timing::Every(interval) => {
            task::span(*interval, at, report);
            if *interval < INTERVAL_MIN {
                report.error(at, format!("a schedule fires every {INTERVAL_MIN} at most"));
            }
        }
    }
    length(&schedule.time_zone, path.key("timeZone"), report);
    for (field, bound) in [("start", &schedule.start), ("end", &schedule.end)] {
        if let Some(bound) = bound {
            length(bound, path.key(field), report);
        }
    }
    let at = path.key("exclude");
    if schedule.exclude.len() > limits::EXCLUDED_DAYS_MAX {
        let (count, max) = (schedule.exclude.len(), limits::EXCLUDED_DAYS_MAX);
        report.error(at, format!("{count} days are too many; at most {max} are possible"));
    } else {
        for (position, days) in schedule.exclude.iter().enumerate() {
            length(days, at.index(position), report);
        }
    }
    if !(1..=limits::CATCH_UP_MAX).contains(&schedule.catch_up_max) {
        let message = format!(
            "{} is out of range: 1 to {} fire times are possible",
            schedule.catch_up_max,
            limits::CATCH_UP_MAX
        );
        let help = "to catch up on none write `catchup: none`";
        report.error_with_help(path.key("maxCatchup"), message, help);
    }
    task::timeout(schedule.starting_deadline, path.key("startingDeadline"), report);
    task::span(schedule.jitter, path.key("jitter"), report);
}

/// Nobody is there to give a value when a schedule or a trigger fires; `what` it is says the message.
pub(super) fn params(
    spec: &WorkflowSpec,
    what: &str,
    given: &BTreeMap<Name, Text>,
    path: Path<'_>,
    report: &mut Report<'_>,
) {
    let at = path.key("params");
    for (name, value) in given {
        if !spec.params.contains_key(name) {
            let message = format!("the workflow declares no parameter `{name}`");
            report.key_error(at.key(name.as_str()), message, super::super::report::NO_HELP);
        }
        names::argument(value, at.key(name.as_str()), report);
    }
    let mut bytes = 0;
    for (name, declared) in &spec.params {
        let value = given.get(name).or(declared.default.as_ref());
        bytes += name.as_str().len() + value.map_or(0, |value| value.len());
        if value.is_none() {
            let message = format!("the {what} has no value for the parameter `{name}`");
            let help = format!("add `params: {{{name}: …}}` to it, or a default to the parameter");
            report.error_with_help(path, message, help);
        }
    }
    if bytes > limits::PARAM_BYTES_MAX {
        let message = format!("its parameters take more than {} bytes", limits::PARAM_BYTES_MAX);
        report.error_with_help(at, message, "pass large values by file or URL");
    }
}

/// What is given for parameters is allowed. Defaults are judged where they are declared.
pub(super) fn values(
    spec: &WorkflowSpec,
    given: &BTreeMap<Name, Text>,
    unsound: &BTreeSet<&Name>,
    path: Path<'_>,
    report: &mut Report<'_>,
) {
    let path = path.key("params");
    for (name, value) in given.iter().filter(|(name, _)| !unsound.contains(name)) {
        if let Some(Err(error)) = spec.params.get(name).map(|declared| declared.check(value)) {
            report.error(path.key(name.as_str()), format!("parameter `{name}`: {error}"));
        }
    }
}

fn length(text: &str, path: Path<'_>, report: &mut Report<'_>) {
    if text.len() > TEXT_BYTES_MAX {
        let message =
            format!("this has {} bytes; at most {TEXT_BYTES_MAX} are possible", text.len());
        report.error(path, message);
    }
}
