//! One workflow: its head, its schedule, and what its tasks share.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use muster_core::ids::Name;
use muster_core::spec::schedule::{Dialect, ScheduleSpec, Timing};
use serde_json::Value as Json;

use super::ConvertError;
use super::export::{Definition, Property, Schedule};
use super::finding::{Finding, Kind};
use super::outputs::Outputs;
use super::scope::Scope;
use super::task::left_over_words;
use super::text;
use crate::convert::names::{Unique, sanitize, word};

/// A workflow on its way.
pub(super) struct Workflow<'d> {
    pub(super) definition: &'d Definition,
    pub(super) name: String,
    /// New names of the tasks, by position.
    pub(super) ids: Vec<String>,
    pub(super) unique: Unique,
    /// New names of the parameters.
    params: BTreeMap<String, (String, String)>,
    outputs: Outputs,
    /// The zone of the schedule, if it is one.
    pub(super) zone: Option<String>,
    pub(super) findings: Vec<Finding>,
}

/// Writes a workflow.
pub(super) fn write(
    definition: &Definition,
    name: String,
) -> Result<(String, Vec<Finding>), ConvertError> {
    let mut unique = Unique::default();
    let ids = definition.tasks.iter().map(|it| unique.name(sanitize(&it.name, "task"))).collect();
    let mut names = Unique::default();
    let mut params = BTreeMap::new();
    for param in &definition.params {
        let new = names.name(sanitize(&param.name, "param"));
        params.insert(param.name.clone(), (new, param.value.clone()));
    }
    let mut workflow = Workflow {
        definition,
        name,
        ids,
        unique,
        params,
        outputs: Outputs::of(definition)?,
        zone: definition.schedule.as_ref().and_then(zone),
        findings: Vec::new(),
    };
    workflow.check_order()?;
    let head = workflow.head();
    let mut tasks = String::new();
    for position in 0..definition.tasks.len() {
        tasks.push_str(&workflow.task(position)?);
    }
    let text = format!("{}{head}tasks:\n{tasks}", workflow.list());
    Ok((text, workflow.findings))
}

impl Workflow<'_> {
    /// Remembers something that has no exact equivalent.
    pub(super) fn find(
        &mut self,
        task: Option<usize>,
        path: &str,
        kind: Kind,
        what: impl Into<String>,
    ) {
        self.findings.push(Finding {
            workflow: self.name.clone(),
            task: task.map(|position| self.ids[position].clone()),
            path: path.to_owned(),
            kind,
            what: what.into(),
        });
    }

    /// Tasks that wait for each other.
    fn check_order(&self) -> Result<(), ConvertError> {
        let tasks = &self.definition.tasks;
        let mut open: Vec<usize> = tasks.iter().map(|task| task.needs.len()).collect();
        let mut needed_by = vec![Vec::new(); tasks.len()];
        for (to, task) in tasks.iter().enumerate() {
            for from in &task.needs {
                needed_by[*from].push(to);
            }
        }
        let mut ready: Vec<usize> = (0..tasks.len()).filter(|at| open[*at] == 0).collect();
        let mut done = 0;
        while let Some(from) = ready.pop() {
            done += 1;
            for to in &needed_by[from] {
                open[*to] -= 1;
                if open[*to] == 0 {
                    ready.push(*to);
                }
            }
        }
        if done == tasks.len() {
            return Ok(());
        }
        let waiting = tasks.iter().zip(&open).filter(|(_, open)| **open > 0).take(10);
        let waiting: Vec<String> = waiting.map(|(task, _)| format!("{:?}", task.name)).collect();
        Err(ConvertError::Shape {
            path: self.definition.path.clone(),
            message: format!("the relations form a circle through {}", waiting.join(", ")),
        })
    }

    /// The comment on top of the file.
    fn list(&self) -> String {
        let definition = self.definition;
        let code = match definition.code.as_str() {
            "" => String::new(),
            code => format!(" (code {code})"),
        };
        let mut out = text::comment(
            "",
            &format!(
                "Made by `muster convert dolphinscheduler` from the workflow {:?}{code}.",
                definition.name
            ),
        );
        if !self.findings.is_empty() {
            out.push_str("# What has no exact equivalent:\n");
            for finding in &self.findings {
                let task = finding.task.as_deref().unwrap_or("the workflow");
                let what = format!("  {task}: {}: {}", finding.kind.words(), finding.what);
                out.push_str(&text::comment("", &what));
            }
        }
        out
    }

    fn head(&mut self) -> String {
        let definition = self.definition;
        let path = definition.path.clone();
        let mut out = format!("apiVersion: v1\nkind: Workflow\nname: {}\n", word(&self.name));
        let description = match (self.name == definition.name, definition.description.trim()) {
            (true, description) => description.to_owned(),
            (false, "") => definition.name.clone(),
            (false, description) => format!("{}: {description}", definition.name),
        };
        if !description.is_empty() {
            let _ = writeln!(out, "description: {}", text::quoted(&description));
        }
        let policy = match definition.beside.as_str() {
            "SERIAL_WAIT" => Some("Queue"),
            "SERIAL_DISCARD" => Some("Forbid"),
            "SERIAL_PRIORITY" => Some("Replace"),
            "" | "PARALLEL" => None,
            other => {
                let what =
                    format!("runs beside each other are treated as {other:?}; here all begin");
                self.find(None, &path, Kind::LeftOut, what);
                None
            }
        };
        if let Some(policy) = policy {
            let _ = writeln!(out, "concurrencyPolicy: {policy}");
        }
        if definition.timeout_minutes > 0 {
            let what = format!(
                "a warning after {} minutes, after which the run goes on; `timeout` would end it",
                definition.timeout_minutes
            );
            self.find(None, &format!("{path}.timeout"), Kind::LeftOut, what);
        }
        if definition.is_offline {
            let what = "it is offline, which no workflow is here: it can be run once it is applied";
            self.find(None, &format!("{path}.releaseState"), Kind::LeftOut, what);
        }
        for left in &definition.left_over {
            let what = left_over_words(&left.field, &left.value);
            self.find(None, &left.path, Kind::LeftOut, what);
        }
        if let Some(schedule) = &definition.schedule {
            out.push_str(&self.shared(schedule));
        }
        out.push_str(&self.params());
        if let Some(schedule) = &definition.schedule {
            out.push_str(&self.schedule(schedule));
        }
        out
    }

    /// What a schedule says about the runs it makes; here it holds for all runs.
    fn shared(&mut self, schedule: &Schedule) -> String {
        let mut out = String::new();
        let priority = level(&schedule.priority) * 10;
        if priority != 0 {
            let _ = writeln!(out, "priority: {priority}");
            let what = format!(
                "the priority {} of its schedule goes for all of its runs",
                schedule.priority
            );
            self.find(None, &schedule.path, Kind::Changed, what);
        }
        if schedule.failure_strategy == "END" {
            let what =
                "the strategy END: when a task fails, what does not depend on it goes on here";
            self.find(None, &format!("{}.failureStrategy", schedule.path), Kind::LeftOut, what);
        }
        if is_group(&schedule.worker_group) {
            let what = format!(
                "the worker group {:?} of its schedule goes for all of its runs, for tasks without one of their own",
                schedule.worker_group
            );
            self.find(None, &schedule.path, Kind::Changed, what);
        }
        for left in &schedule.left_over {
            let what = left_over_words(&left.field, &left.value);
            self.find(None, &left.path, Kind::LeftOut, what);
        }
        out
    }

    fn params(&mut self) -> String {
        let definition = self.definition;
        if definition.params.is_empty() {
            return String::new();
        }
        let scope = Scope { params: self.params.clone(), ..Scope::default() };
        let mut out = "params:\n".to_owned();
        let mut seen = BTreeSet::new();
        for param in &definition.params {
            let (new, _) = &self.params[&param.name];
            let new = new.clone();
            if !seen.insert(new.clone()) {
                continue;
            }
            // One that is worked out is empty until somebody gives a value.
            let fixed = scope.fixed_text(&param.value);
            let default = text::quoted(fixed.as_deref().unwrap_or_default());
            let description = match (new == param.name, fixed.is_some()) {
                (true, true) => None,
                (false, true) => Some(param.name.clone()),
                (_, false) => Some(format!("{}: {} unless it is given", param.name, param.value)),
            };
            match description {
                Some(description) => {
                    let description = text::quoted(&description);
                    let _ = writeln!(
                        out,
                        "  {}: {{default: {default}, description: {description}}}",
                        word(&new)
                    );
                }
                None => {
                    let _ = writeln!(out, "  {}: {default}", word(&new));
                }
            }
            self.param(param);
        }
        out
    }

    fn param(&mut self, param: &Property) {
        if param.is_out {
            let what = format!("the parameter {:?} as an output of the workflow", param.name);
            self.find(None, &param.path, Kind::LeftOut, what);
        }
        if param.kind == "FILE" {
            let what = format!("the parameter {:?} is a file; here it is a text", param.name);
            self.find(None, &param.path, Kind::LeftOut, what);
        }
    }

    fn schedule(&mut self, schedule: &Schedule) -> String {
        let mut lines =
            vec![format!("cron: {}", text::quoted(&schedule.cron)), "dialect: quartz".to_owned()];
        if !schedule.zone.is_empty() {
            lines.push(format!("timeZone: {}", text::quoted(&schedule.zone)));
        } else {
            let what = "the export names no time zone, so the schedule is in UTC";
            self.find(None, &schedule.path, Kind::Changed, what);
        }
        let missed = match schedule.missed.as_str() {
            "FIRE_ALL_MISSED" => Some("all"),
            "FIRE_ONCE_NOW" => Some("latest"),
            "SKIP_MISSED" => None,
            _ => self.definition.is_new.then_some("all"),
        };
        lines.extend(missed.map(|missed| format!("catchup: {missed}")));
        for (field, value) in [("start", &schedule.start), ("end", &schedule.end)] {
            if let Some(value) = value {
                match moment(value) {
                    Some(time) => lines.push(format!("{field}: {}", text::quoted(&time))),
                    None => {
                        let what = format!("the {field} of its schedule is no time: {value}");
                        self.find(None, &schedule.path, Kind::LeftOut, what);
                    }
                }
            }
        }
        if schedule.is_offline || self.definition.is_offline {
            lines.push("suspend: true".to_owned());
        }
        if let Err((field, problem)) = muster_calendar::check(&spec(schedule)) {
            let what = format!("its schedule `{}`: {field}: {problem}", schedule.cron);
            self.find(None, &schedule.path, Kind::LeftOut, what);
            let lines: Vec<String> = lines.iter().map(|line| format!("  {line}\n")).collect();
            return text::comment("", &format!("schedule:\n{}", lines.concat()));
        }
        format!("schedule:\n  - {}\n", lines.join("\n    "))
    }

    /// The pool of a task of this worker group.
    pub(super) fn pool(&self, group: &str) -> Option<String> {
        let shared = self.definition.schedule.as_ref().map(|it| it.worker_group.as_str());
        let groups = [Some(group), shared];
        groups.into_iter().flatten().find(|it| is_group(it)).map(str::to_owned)
    }

    /// The priority of a task if it is not the run's. A workflow's counts before that of a task.
    pub(super) fn priority(&self, position: usize) -> Option<i64> {
        let own = level(&self.definition.tasks[position].priority);
        let shared = self.definition.schedule.as_ref().map_or(0, |it| level(&it.priority)) * 10;
        (own != 0).then_some(shared + own)
    }

    /// What the names in a task stand for.
    pub(super) fn scope(&self, position: usize, own: &[Property], script: &str) -> Scope {
        let definition = self.definition;
        let task = &definition.tasks[position];
        let fixed = [
            ("system.workflow.definition.name", &definition.name),
            ("system.workflow.definition.code", &definition.code),
            ("system.task.definition.name", &task.name),
            ("system.task.definition.code", &task.code),
        ];
        let values = own.iter().chain(&definition.params).map(|param| param.value.as_str());
        let text: String = values.chain([script]).collect::<Vec<_>>().join("\n");
        Scope {
            own: own.iter().map(|it| (it.name.clone(), it.value.clone())).collect(),
            params: self.params.clone(),
            outputs: self.outputs.seen(definition, &self.ids, position, &text),
            fixed: fixed.into_iter().map(|(key, it)| (key.to_owned(), it.clone())).collect(),
        }
    }
}

/// A schedule as the calendar checks it.
fn spec(schedule: &Schedule) -> ScheduleSpec {
    let mut spec = ScheduleSpec::new(schedule_name(), quartz(&schedule.cron));
    if !schedule.zone.is_empty() {
        spec.time_zone = schedule.zone.as_str().into();
    }
    spec.start = schedule.start.as_ref().and_then(moment).map(Into::into);
    spec.end = schedule.end.as_ref().and_then(moment).map(Into::into);
    spec
}

fn quartz(line: &str) -> Timing {
    Timing::Cron { line: line.into(), dialect: Dialect::Quartz }
}

fn schedule_name() -> Name {
    Name::parse("schedule-1").expect("it is a name")
}

/// The zone of a schedule if it is one that scripts can use.
fn zone(schedule: &Schedule) -> Option<String> {
    let mut spec = ScheduleSpec::new(schedule_name(), quartz("0 0 0 * * ?"));
    spec.time_zone = schedule.zone.as_str().into();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/_+-".contains(c);
    let is_known = schedule.zone.chars().all(is_plain) && muster_calendar::check(&spec).is_ok();
    (is_known && !schedule.zone.is_empty()).then(|| schedule.zone.clone())
}

fn is_group(group: &str) -> bool {
    !["", "default", "null"].contains(&group.trim())
}

/// A priority as a number: 0 is the middle.
fn level(priority: &str) -> i64 {
    match priority {
        "HIGHEST" | "0" => 2,
        "HIGH" | "1" => 1,
        "LOW" | "3" => -1,
        "LOWEST" | "4" => -2,
        _ => 0,
    }
}

/// A time as Muster writes it, from milliseconds, `2021-01-01 00:00:00` or `2021-01-01T00:00:00.000+0800`.
fn moment(value: &Json) -> Option<String> {
    let text = match value {
        Json::Number(millis) => {
            let at = jiff::Timestamp::from_millisecond(millis.as_i64()?).ok()?;
            return Some(at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
        }
        Json::String(text) => text.trim(),
        _ => return None,
    };
    let (day, rest) = text.split_at_checked(10)?;
    let rest = rest.strip_prefix(['T', ' ']).unwrap_or(rest);
    let end = rest.find(['+', '-', 'Z']).unwrap_or(rest.len());
    let (clock, offset) = rest.split_at(end);
    let clock = clock.split('.').next().unwrap_or_default();
    let offset = match offset.len() {
        5 => format!("{}:{}", &offset[..3], &offset[3..]),
        _ => offset.to_owned(),
    };
    let whole = if clock.is_empty() { day.to_owned() } else { format!("{day}T{clock}{offset}") };
    let is_day = day.parse::<jiff::civil::Date>().is_ok();
    let is_time = clock.is_empty() || clock.parse::<jiff::civil::Time>().is_ok();
    (is_day && is_time).then_some(whole)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn times_of_all_versions_are_read() {
        for (written, expected) in [
            (json!("2021-06-24 00:00:00"), Some("2021-06-24T00:00:00")),
            (json!("2021-06-24T00:00:00.000+0800"), Some("2021-06-24T00:00:00+08:00")),
            (json!("2021-06-24T00:00:00.000+00:00"), Some("2021-06-24T00:00:00+00:00")),
            (json!("2021-06-24T00:00:00Z"), Some("2021-06-24T00:00:00Z")),
            (json!("2021-06-24"), Some("2021-06-24")),
            (json!(1_624_464_000_000_i64), Some("2021-06-23T16:00:00Z")),
            (json!("soon"), None),
            (json!("2021-13-24 00:00:00"), None),
            (json!("2021-06-24 25:00:00"), None),
            (json!("日日日日日日日日"), None),
            (json!([]), None),
        ] {
            assert_eq!(moment(&written).as_deref(), expected, "{written}");
        }
    }
}
