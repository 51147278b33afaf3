//! When a workflow runs by itself.

use super::super::path::Path;
use super::super::report::Report;
use super::super::yaml::{Node, Value};
use super::fields::{Fields, Schema};
use super::values::{entries, integer, name, one_of, span, text, texts, truth};
use crate::ids::{Name, Text};
use crate::limits;
use crate::spec::schedule::{CatchUp, Dialect, ScheduleSpec, Timing};

const SCHEDULE: Schema = Schema {
    what: "a schedule",
    fields: &[
        "cron",
        "every",
        "at",
        "timeZone",
        "name",
        "dialect",
        "catchup",
        "maxCatchup",
        "startingDeadline",
        "jitter",
        "exclude",
        "start",
        "end",
        "suspend",
        "params",
        "description",
    ],
    later: &["workflow", "calendar", "when"],
};

const TIMINGS: [&str; 3] = ["cron", "every", "at"];
const DIALECTS: [(&str, Dialect); 2] = [("posix", Dialect::Posix), ("quartz", Dialect::Quartz)];
/// Airflow says it with `true` and `false`.
const CATCH_UPS: [(&str, CatchUp); 5] = [
    ("none", CatchUp::None),
    ("latest", CatchUp::Latest),
    ("all", CatchUp::All),
    ("false", CatchUp::None),
    ("true", CatchUp::All),
];

/// Reads a list of schedules, a single one, or a single cron line.
pub(super) fn schedules(
    node: &Node<'_>,
    path: Path<'_>,
    report: &mut Report<'_>,
) -> Vec<ScheduleSpec> {
    let single = std::slice::from_ref(node);
    let items = match &node.value {
        Value::List(items) => &items[..],
        Value::Scalar { .. } | Value::Map(_) => single,
    };
    if items.len() > limits::SCHEDULES_MAX {
        let (count, max) = (items.len(), limits::SCHEDULES_MAX);
        report.error(path, format!("{count} schedules are too many; at most {max} are possible"));
        return Vec::new();
    }
    let read = |(at, item)| schedule(at, item, path.index(at), report);
    items.iter().enumerate().map(read).collect()
}

/// What cannot be read is left at its default, so that those after it keep their places.
fn schedule(at: usize, node: &Node<'_>, path: Path<'_>, report: &mut Report<'_>) -> ScheduleSpec {
    let cron = |line: &str| Timing::Cron { line: line.into(), dialect: Dialect::default() };
    let default_name = Name::parse(&format!("schedule-{}", at + 1)).expect("it is a name");
    let mut spec = ScheduleSpec::new(default_name, cron("@daily"));
    if node.scalar().is_some() {
        spec.timing = text(node, path, report).map_or(spec.timing, cron);
        return spec;
    }
    let Some(fields) = Fields::open(node, path, &SCHEDULE, report) else { return spec };
    if let Some(node) = fields.get("name") {
        spec.name = name(node, path.key("name"), report).unwrap_or(spec.name);
    }
    spec.timing = timing(&fields, path, report).unwrap_or(spec.timing);
    let mut word = |field: &'static str| -> Option<Text> {
        fields.get(field).and_then(|node| text(node, path.key(field), report)).map(Text::from)
    };
    spec.time_zone = word("timeZone").unwrap_or(spec.time_zone);
    (spec.start, spec.end) = (word("start"), word("end"));
    word("description");
    if let Some(node) = fields.get("catchup") {
        spec.catch_up = one_of(node, path.key("catchup"), report, &CATCH_UPS).unwrap_or_default();
    }
    if let Some(node) = fields.get("maxCatchup") {
        spec.catch_up_max = integer(node, path.key("maxCatchup"), report).unwrap_or(1);
    }
    spec.starting_deadline = fields
        .get("startingDeadline")
        .and_then(|node| span(node, path.key("startingDeadline"), report));
    if let Some(node) = fields.get("jitter") {
        spec.jitter = span(node, path.key("jitter"), report).unwrap_or_default();
    }
    if let Some(node) = fields.get("exclude") {
        spec.exclude = texts(node, path.key("exclude"), report).unwrap_or_default();
    }
    if let Some(node) = fields.get("suspend") {
        spec.is_suspended = truth(node, path.key("suspend"), report);
    }
    if let Some(node) = fields.get("params") {
        let at = path.key("params");
        for (key, value) in entries(node, at, report) {
            let value = text(value, at.key(key), report);
            let key = super::workflow::key_name(key, at, report);
            spec.params.extend(key.zip(value.map(Text::from)));
        }
    }
    spec
}

/// Exactly one of the ways to say when.
fn timing(fields: &Fields<'_>, path: Path<'_>, report: &mut Report<'_>) -> Option<Timing> {
    let mut given = TIMINGS.into_iter().filter(|field| fields.has(field));
    let (first, second) = (given.next(), given.next());
    let (Some(field), None) = (first, second) else {
        let message = match second {
            None => "a schedule needs one of `cron`, `every` and `at`".to_owned(),
            Some(second) => {
                format!("`{}` and `{second}` exclude each other", first.unwrap_or_default())
            }
        };
        let help = "write for example `cron: \"30 2 * * *\"`, and several schedules as a list";
        if second.is_some() || !fields.has_unknown() {
            report.error_with_help(path, message, help);
        }
        return None;
    };
    let at = path.key(field);
    let Some(node) = fields.get(field) else {
        report.error(at, format!("`{field}` is empty"));
        return None;
    };
    let dialect = fields.get("dialect").map(|node| {
        (one_of(node, path.key("dialect"), report, &DIALECTS).unwrap_or_default(), node.position)
    });
    if let Some((_, position)) = dialect
        && field != "cron"
    {
        report.error_at(
            position,
            path.key("dialect"),
            format!("`dialect` says how `cron` is read, and goes not with `{field}`"),
            "remove it".to_owned(),
        );
    }
    match field {
        "cron" => {
            let line = text(node, at, report)?.into();
            Some(Timing::Cron { line, dialect: dialect.map(|(it, _)| it).unwrap_or_default() })
        }
        "every" => Some(Timing::Every(span(node, at, report)?)),
        _ => Some(Timing::At(text(node, at, report)?.into())),
    }
}
