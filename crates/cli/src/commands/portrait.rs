//! Single things in full, for people.

use std::fmt::Write as _;

use muster_client::v1;
use muster_client::v1::fan_out_spec::Kind;
use muster_core::spec::ParamType;
use muster_core::spec::quantity::{Cpu, Memory};

use crate::names::label;
use crate::output::{
    Shown, Table, asker, child, has_ended, hook_word, on_word, parent, rounded, run_word,
    task_word, upstream,
};
use crate::units::{between, clock, now_ms, short};

/// `key: value` lines with the values below each other. Empty values are left out.
struct Facts(Vec<(&'static str, String)>);

impl Facts {
    fn new() -> Facts {
        Facts(Vec::new())
    }

    fn add(&mut self, key: &'static str, value: impl ToString) -> &mut Facts {
        let value = value.to_string();
        if !value.is_empty() && value != "-" {
            self.0.push((key, value));
        }
        self
    }

    fn text(&self) -> String {
        let width = self.0.iter().map(|(key, _)| key.len()).max().unwrap_or(0) + 2;
        let mut text = String::new();
        for (key, value) in &self.0 {
            let mut lines = value.lines();
            let first = lines.next().unwrap_or_default();
            let _ = writeln!(text, "{:width$}{first}", format!("{key}:"));
            for line in lines {
                let _ = writeln!(text, "{:width$}{line}", "");
            }
        }
        text
    }
}

fn pairs<V: ToString>(map: &std::collections::BTreeMap<String, V>) -> String {
    let line = |(key, value): (&String, &V)| format!("{key}={}", value.to_string());
    map.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// A point in time; empty for none.
fn moment(ms: u64) -> String {
    if ms == 0 { String::new() } else { format!("{} UTC", clock(ms)) }
}

fn took(from_ms: u64, to_ms: u64) -> String {
    match (from_ms, to_ms) {
        (0, _) => String::new(),
        (from, 0) => format!("{} so far", short(between(from, now_ms()))),
        (from, to) => short(between(from, to)),
    }
}

pub(crate) fn run(
    run: &v1::Run,
    tasks: &[v1::Task],
    actions: &[v1::Action],
    is_wide: bool,
) -> String {
    let version = match run.version {
        0 => "none (one-off)".to_owned(),
        version => format!("{}@{version}", run.workflow),
    };
    let retries = match run.retry_of_number {
        0 => String::new(),
        number => format!("{}/{number}", run.workflow),
    };
    let mut fire_time = moment(run.fire_time_ms);
    if run.is_backfill {
        fire_time += ", after the fact";
    }
    let mut facts = Facts::new();
    facts
        .add("Run", label(run))
        .add("Namespace", &run.namespace)
        .add("Status", run_word(run.status()))
        .add("Paused", moment(run.paused_at_ms))
        .add("Stopped", &run.stop_reason)
        .add("Tasks came to", &run.result)
        .add("Version", version)
        .add("Id", run.id)
        .add("Priority", run.priority)
        .add("Retries", retries)
        .add("Started for", run.parent.as_ref().map(parent).unwrap_or_default())
        .add("Schedule", &run.schedule)
        .add("After", run.trigger.as_ref().map(after).unwrap_or_default())
        .add("Fire time", fire_time)
        .add("Submitted", moment(run.submitted_at_ms))
        .add("Asked by", run.asked_by.as_ref().map(asker).unwrap_or_default())
        .add("Begun", moment(run.begun_at_ms))
        .add("Ended", moment(run.ended_at_ms))
        .add("Took", took(run.begun_at_ms, run.ended_at_ms))
        .add("Params", pairs(&run.params))
        .add("Outputs", pairs(&run.outputs))
        .add("Labels", pairs(&run.labels));
    let mut table = Table::new(v1::Task::columns(is_wide));
    for task in tasks {
        table.row(task.row(is_wide));
    }
    if actions.is_empty() {
        return format!("{}\n{table}", facts.text());
    }
    let mut done = Table::new(v1::Action::columns(is_wide));
    for action in actions {
        done.row(action.row(is_wide));
    }
    format!("{}\n{table}\n{done}", facts.text())
}

/// `ingest/42, which succeeded (trigger nightly)`
fn after(origin: &v1::TriggerOrigin) -> String {
    let how = match origin.result.as_str() {
        "cancelled" => "which was cancelled",
        "timed-out" => "which timed out",
        "failed" => "which failed",
        _ => "which succeeded",
    };
    format!("{}, {how} (trigger {})", upstream(origin), origin.trigger)
}

/// A trigger in a line: `trigger-1: after ingest, on success; 12 fired, 1 passed over; suspended`.
fn trigger(trigger: &v1::Trigger) -> String {
    let spec = trigger.spec.clone().unwrap_or_default();
    let off = if trigger.is_suspended { "; suspended" } else { "" };
    let (name, after, on) = (&trigger.name, &spec.after, on_word(spec.on()));
    let (fired, passed_over) = (trigger.fired, trigger.passed_over);
    format!("{name}: after {after}, on {on}; {fired} fired, {passed_over} passed over{off}")
}

/// `why` says what the task waits for; `needs` are the upstream tasks with their status.
pub(crate) fn task(run: &v1::Run, task: &v1::Task, why: &str, needs: &[String]) -> String {
    let mut facts = Facts::new();
    facts
        .add("Task", format!("{}/{}", label(run), task.id))
        .add("Status", task_word(task.status()))
        .add("Hook", hook_word(task.hook()))
        .add("Why", why)
        .add("Needs", needs.join(", "));
    if task.is_array {
        let indices = match task.array_count {
            Some(0) => "none: there is nothing to go through".to_owned(),
            Some(_) => format!("{}-{}", task.array_first, task.array_last),
            None if has_ended(task) => "none: it ended before they were known".to_owned(),
            None => "not known yet".to_owned(),
        };
        facts.add("Indices", indices);
        facts.add("Counts", counts(&task.tally.unwrap_or_default()));
    }
    // Where the indices of an array differ, the task has no numbers of its own.
    if !task.is_array || task.attempts > 0 {
        facts.add("Attempts", task.attempts).add("Failures", task.failures);
        facts.add("Losses", task.losses);
    }
    let message = match task.status() {
        v1::TaskStatus::Awaiting if task.child.is_none() => "Asks",
        v1::TaskStatus::Awaiting => "Failed before",
        // Who has no attempts was answered by a person.
        v1::TaskStatus::Succeeded if task.attempts > 0 => "Failed before",
        _ => "Message",
    };
    facts
        .add("Run", task.child.as_ref().map(child).unwrap_or_default())
        .add("Worker", &task.worker)
        .add("Fence", if task.fence > 0 { task.fence.to_string() } else { String::new() })
        .add("Started", moment(task.started_at_ms))
        .add("Ended", moment(task.ended_at_ms))
        .add("Took", took(task.started_at_ms, task.ended_at_ms))
        .add("Tried again", moment(task.ready_at_ms))
        .add("Awaiting since", moment(task.awaiting_since_ms))
        .add("Exit code", task.exit_code.map(|code| code.to_string()).unwrap_or_default())
        .add(message, &task.message)
        .add("Outputs", pairs(&task.outputs));
    facts.text()
}

fn counts(tally: &v1::Tally) -> String {
    let all = [
        ("blocked", tally.blocked),
        ("undecided", tally.undecided),
        ("ready", tally.ready),
        ("placed", tally.placed),
        ("running", tally.running),
        ("backoff", tally.backoff),
        ("held", tally.held),
        ("awaiting", tally.awaiting),
        ("succeeded", tally.succeeded),
        ("failed", tally.failed),
        ("skipped", tally.skipped),
        ("cancelled", tally.cancelled),
    ];
    let some = all.into_iter().filter(|(_, count)| *count > 0);
    some.map(|(word, count)| format!("{count} {word}")).collect::<Vec<_>>().join(", ")
}

fn concurrency(policy: v1::ConcurrencyPolicy) -> &'static str {
    match policy {
        v1::ConcurrencyPolicy::Unspecified | v1::ConcurrencyPolicy::Allow => "",
        v1::ConcurrencyPolicy::Forbid => "Forbid",
        v1::ConcurrencyPolicy::Replace => "Replace",
        v1::ConcurrencyPolicy::Queue => "Queue",
    }
}

pub(crate) fn workflow(workflow: &v1::Workflow) -> String {
    let version = match (workflow.version, workflow.latest_version) {
        (_, 0) => "none (one-off runs only)".to_owned(),
        (version, latest) if version < latest => format!("{version} (the latest is {latest})"),
        (version, _) => version.to_string(),
    };
    let spec = workflow.spec.clone().unwrap_or_default();
    let params = spec.params.iter().map(|(name, param)| declared(name, param));
    let params = params.collect::<Vec<_>>().join("\n");
    let mut facts = Facts::new();
    facts
        .add("Workflow", &workflow.name)
        .add("Namespace", &workflow.namespace)
        .add("Version", version)
        .add("Applied", moment(workflow.applied_at_ms))
        .add("Runs", format!("{} ({} live)", workflow.runs, workflow.live_runs))
        .add("Labels", pairs(&spec.labels))
        .add("Params", params)
        .add(
            "Schedules",
            spec.schedules.iter().map(|it| it.name.as_str()).collect::<Vec<_>>().join(", "),
        )
        .add("Webhooks", webhooks(workflow))
        .add("Triggers", workflow.triggers.iter().map(trigger).collect::<Vec<_>>().join("\n"))
        .add("Followed by", workflow.followers.join(", "))
        .add("Concurrency", concurrency(spec.concurrency_policy()))
        .add("Fail fast", if spec.fail_fast { "yes" } else { "" });
    let mut text = facts.text();
    if !spec.tasks.is_empty() {
        let mut table = Table::new(&["TASK", "NEEDS", "CPU", "MEMORY", "POOL", "INDICES"]);
        for task in &spec.tasks {
            table.row(task_row(task));
        }
        let _ = write!(text, "\n{table}");
    }
    text
}

/// The paths that programs call.
fn webhooks(workflow: &v1::Workflow) -> String {
    let webhooks = workflow.spec.iter().flat_map(|spec| &spec.webhooks);
    let path = |it: &v1::WebhookSpec| {
        format!("POST /webhooks/{}/{}/{}", workflow.namespace, workflow.name, it.name)
    };
    webhooks.map(path).collect::<Vec<_>>().join("\n")
}

pub(crate) fn namespace(namespace: &v1::Namespace) -> String {
    let spec = namespace.spec.clone().unwrap_or_default();
    let quota = spec.quota.unwrap_or_default();
    let used = namespace.used.clone().unwrap_or_default();
    let of = |has: String, most: Option<String>| match most {
        Some(most) => format!("{has} of at most {most}"),
        None => has,
    };
    let text = |count: Option<u32>| count.map(|count| count.to_string());
    let cpu = quota.cpu_millis.map(|it| Cpu(it).to_string());
    let memory = quota.memory_bytes.map(|it| Memory(it).to_string());
    let applied = match namespace.applied_at_ms {
        0 => "never: weight 1, no quota".to_owned(),
        at => moment(at),
    };
    let groups = namespace.groups.iter().map(|it| match it.limit {
        Some(limit) => format!("{}: {} of at most {limit}", it.name, it.live_tasks),
        None => format!("{}: {}, and it is there no longer", it.name, it.live_tasks),
    });
    let groups: Vec<String> = groups.collect();
    let mut facts = Facts::new();
    facts
        .add("Namespace", &spec.name)
        .add("Applied", applied)
        .add("Weight", spec.weight.unwrap_or(1))
        .add("Workflows", namespace.workflows)
        .add("Live runs", of(namespace.live_runs.to_string(), text(quota.runs)))
        .add("Live tasks", of(namespace.live_tasks.to_string(), text(quota.tasks)))
        .add("Cpu", of(Cpu(used.cpu_millis).to_string(), cpu))
        .add("Memory", of(Memory(used.memory_bytes).to_string(), memory))
        .add("Ready tasks", namespace.ready_tasks)
        .add("Groups", groups.join("\n"));
    for (name, amount) in &used.custom {
        facts.add("Also", format!("{name} {amount}"));
    }
    facts.text()
}

pub(crate) fn group(group: &v1::GroupUse) -> String {
    let limit = match group.limit {
        Some(limit) => limit.to_string(),
        None => {
            "none any more: the namespace does not have the group, and nothing of it begins".into()
        }
    };
    let holders = group.holders.iter().map(|it| match it.live_tasks {
        1 => it.task.clone(),
        live => format!("{} ({live})", it.task),
    });
    let mut holders: Vec<String> = holders.collect();
    let named: u32 = group.holders.iter().map(|it| it.live_tasks).sum();
    if let Some(more @ 1..) = group.live_tasks.checked_sub(named) {
        holders.push(format!("and {more} more"));
    }
    let mut facts = Facts::new();
    facts
        .add("Group", &group.name)
        .add("Limit", limit)
        .add("Live tasks", group.live_tasks)
        .add("Held by", holders.join("\n"))
        .add("Ready tasks", group.ready_tasks);
    facts.text()
}

/// A parameter in a line: `size=10 (integer; 1 to 100)`.
fn declared(name: &str, param: &v1::ParamSpec) -> String {
    let kind = match param.r#type() {
        v1::ParamType::Unspecified | v1::ParamType::String => ParamType::String,
        v1::ParamType::Integer => ParamType::Integer,
        v1::ParamType::Number => ParamType::Number,
        v1::ParamType::Boolean => ParamType::Boolean,
        v1::ParamType::Date => ParamType::Date,
    };
    let mut facts = Vec::new();
    if kind != ParamType::String {
        facts.push(kind.word().to_owned());
    }
    match (&param.minimum, &param.maximum) {
        (Some(least), Some(most)) => facts.push(format!("{least} to {most}")),
        (Some(least), None) => facts.push(format!("at least {least}")),
        (None, Some(most)) => facts.push(format!("at most {most}")),
        (None, None) => {}
    }
    if !param.allowed.is_empty() {
        facts.push(format!("one of {}", param.allowed.join(", ")));
    }
    let value = param.default.as_ref().map(|value| format!("={value}")).unwrap_or_default();
    if param.default.is_none() {
        facts.push("must be given".to_owned());
    }
    let facts = if facts.is_empty() { String::new() } else { format!(" ({})", facts.join("; ")) };
    format!("{name}{value}{facts}")
}

fn task_row(task: &v1::TaskSpec) -> Vec<String> {
    let request = task.request.clone().unwrap_or_default();
    let resources = request.resources.unwrap_or_default();
    let memory = match resources.memory_bytes {
        0 => String::new(),
        bytes => Memory(bytes).to_string(),
    };
    let range = match (&task.array, task.fan_out.as_ref().and_then(|it| it.kind.as_ref())) {
        (Some(array), _) => Some(format!("{}-{}", array.first, array.last)),
        (None, Some(Kind::Matrix(matrix))) => {
            let count: usize = matrix.axes.iter().map(|axis| axis.values.len()).product();
            let axes: Vec<&str> = matrix.axes.iter().map(|axis| axis.name.as_str()).collect();
            Some(format!("0-{} ({})", count.saturating_sub(1), axes.join(" × ")))
        }
        (None, Some(Kind::Items(items))) => {
            Some(format!("0-{} (items)", items.values.len().saturating_sub(1)))
        }
        (None, Some(Kind::Reference(list))) => Some(format!("items of {list}")),
        (None, None) => None,
    };
    let indices = range.map(|range| {
        let at_once = task.max_parallel.map(|max| format!("{max} at once"));
        let may_fail = (task.max_failures > 0).then(|| format!("{} may fail", task.max_failures));
        let fast = task.fail_fast.then(|| "failFast".to_owned());
        let all: Vec<_> = [Some(range), at_once, may_fail, fast].into_iter().flatten().collect();
        all.join(", ")
    });
    vec![
        task.id.clone(),
        match task.hook() {
            v1::Hook::Unspecified => task.needs.join(","),
            it => hook_word(it).to_owned(),
        },
        Cpu(resources.cpu_millis).to_string(),
        memory,
        request.pool.unwrap_or_default(),
        indices.unwrap_or_default(),
    ]
}

pub(crate) fn worker(worker: &v1::Worker) -> String {
    let amounts = |resources: &Option<v1::Resources>| {
        let resources = resources.clone().unwrap_or_default();
        let mut text = format!(
            "cpu={}\nmemory={}",
            Cpu(resources.cpu_millis),
            rounded(resources.memory_bytes)
        );
        for (name, count) in &resources.custom {
            let _ = write!(text, "\n{name}={count}");
        }
        text
    };
    let status = v1::Worker::row(worker, false).swap_remove(1);
    let load = worker.load.unwrap_or_default();
    let busy = match load.cpu_total_millis {
        0 => String::new(),
        total => format!("{} of {} cores busy", Cpu(load.cpu_busy_millis), Cpu(total)),
    };
    let mut facts = Facts::new();
    facts
        .add("Worker", &worker.name)
        .add("Id", worker.id)
        .add("Status", status)
        .add("Connected", if worker.is_connected { "yes" } else { "no" })
        .add("Pool", &worker.pool)
        .add("Labels", pairs(&worker.labels))
        .add("Attempts", worker.attempts)
        .add("Capacity", amounts(&worker.capacity))
        .add("Used", amounts(&worker.used))
        .add("Load", busy)
        .add("Registered", moment(worker.registered_at_ms));
    facts.text()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_stand_below_each_other() {
        let mut facts = Facts::new();
        facts.add("Run", "etl/1").add("Empty", "").add("Params", "a=1\nb=2");
        assert_eq!(facts.text(), "Run:    etl/1\nParams: a=1\n        b=2\n");
    }

    #[test]
    fn a_parameter_says_what_may_be_given() {
        let plain = v1::ParamSpec { default: Some("eu".into()), ..Default::default() };
        assert_eq!(declared("region", &plain), "region=eu");
        let day = v1::ParamSpec {
            r#type: v1::ParamType::Date.into(),
            minimum: Some("2026-01-01".into()),
            ..Default::default()
        };
        assert_eq!(declared("day", &day), "day (date; at least 2026-01-01; must be given)");
        let size = v1::ParamSpec {
            r#type: v1::ParamType::Integer.into(),
            default: Some("8".into()),
            allowed: vec!["8".into(), "16".into()],
            ..Default::default()
        };
        assert_eq!(declared("size", &size), "size=8 (integer; one of 8, 16)");
    }

    #[test]
    fn only_what_there_is_is_counted() {
        let tally = v1::Tally { ready: 3, failed: 1, ..Default::default() };
        assert_eq!(counts(&tally), "3 ready, 1 failed");
    }
}
