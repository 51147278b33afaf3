//! Workflows in one line.
//!
//! `etl[timeout=1m]: a, b -> c[retry=2 rule=any_succeeded]; d`: `c` needs `a` and `b`; `d` needs nothing. Tasks stand
//! in the file in the order of their first mention; options may stand at any mention. Tasks are `noop` and have no
//! jitter. `on-exit[hook=onExit]` is a hook; hooks stand last. `a[workflow=etl takes=rows]` is a sub-workflow;
//! `etl[out.rows=load.rows out.day=params.day]` has outputs.

use std::collections::BTreeMap;

use muster_core::ids::{Name, Text};
use muster_core::spec::quantity::{parse_cpu, parse_memory};
use muster_core::spec::schedule::{Dialect, ScheduleSpec, Timing};
use muster_core::spec::template::Reference;
use muster_core::spec::trigger::{TriggerOn, TriggerSpec};
use muster_core::spec::{
    ApprovalSpec, ArraySpec, Axis, ConcurrencyPolicy, Condition, DependencyRule, ExecutorSpec,
    FanOut, Hook, OnLost, OnTimeout, ParamSpec, ParamType, ProcessCommand, ProcessSpec,
    RetryPolicy, SubWorkflowSpec, TaskSpec, WorkflowSpec,
};

use super::line::{name, pairs, span};

/// `name[options]`, or only `name`.
fn head(text: &str) -> (&str, Vec<(&str, &str)>) {
    let (name, options) = text.split_once('[').unwrap_or((text, "]"));
    (name.trim(), pairs(options.trim().strip_suffix(']').expect("options end with `]`")))
}

pub(crate) fn workflow(text: &str) -> WorkflowSpec {
    let (text, dag) = text.split_once(": ").unwrap_or_else(|| (text.trim_end_matches(':'), ""));
    let (workflow, options) = head(text);
    let mut spec = WorkflowSpec::new(name(workflow), Vec::new());
    for (key, value) in options {
        match key.split_once('.').unwrap_or((key, "")) {
            ("timeout", _) => spec.timeout = Some(span(value)),
            ("priority", _) => spec.priority = value.parse().expect("a number"),
            ("fast", _) => spec.fail_fast = value == "yes",
            ("concurrency", _) => {
                spec.concurrency = match value {
                    "allow" => ConcurrencyPolicy::Allow,
                    "forbid" => ConcurrencyPolicy::Forbid,
                    "replace" => ConcurrencyPolicy::Replace,
                    "queue" => ConcurrencyPolicy::Queue,
                    _ => panic!("`{value}` is not a policy"),
                }
            }
            ("out", key) => {
                let (task, written) = value.split_once('.').expect("TASK.KEY or params.NAME");
                let reference = match task {
                    "params" => format!("${{{{ params.{written} }}}}"),
                    _ => format!("${{{{ tasks.{task}.outputs.{written} }}}}"),
                };
                spec.outputs.insert(key.into(), reference.into());
            }
            ("schedule", schedule) => schedule_of(&mut spec, schedule, value),
            ("trigger", trigger) => spec.triggers.push(trigger_of(trigger, value)),
            ("param", param) => {
                spec.params.insert(name(param), param_of(value));
            }
            _ => panic!("`{key}` is not an option of a workflow"),
        }
    }
    for chain in dag.split(';').filter(|chain| !chain.trim().is_empty()) {
        let mut upstream: Vec<Name> = Vec::new();
        for group in chain.split("->") {
            let mentions = group.split(',').map(|mention| task(&mut spec.tasks, mention));
            let group: Vec<usize> = mentions.collect();
            for position in &group {
                spec.tasks[*position].needs.extend(upstream.iter().cloned());
            }
            upstream = group.iter().map(|position| spec.tasks[*position].id.clone()).collect();
        }
    }
    spec
}

/// `schedule.nightly=@daily+off+jitter:5s+param.region:eu`: a line, which the core does not read, and what goes with
/// it.
fn schedule_of(spec: &mut WorkflowSpec, schedule: &str, value: &str) {
    let mut parts = value.split('+');
    let line = parts.next().unwrap_or_default();
    let timing = Timing::Cron { line: line.into(), dialect: Dialect::Posix };
    let mut new = ScheduleSpec::new(name(schedule), timing);
    for part in parts {
        match part.split_once(':').unwrap_or((part, "")) {
            ("off", _) => new.is_suspended = true,
            ("jitter", value) => new.jitter = span(value),
            (param, value) => {
                let param = param.strip_prefix("param.").expect("off, jitter or param.NAME");
                new.params.insert(name(param), value.into());
            }
        }
    }
    spec.schedules.push(new);
}

/// `trigger.t=ingest+failure+off+param.region:eu`: the workflow that is followed, and what goes with it.
fn trigger_of(trigger: &str, value: &str) -> TriggerSpec {
    let mut parts = value.split('+');
    let after = name(parts.next().unwrap_or_default());
    let mut new = TriggerSpec::new(name(trigger), after);
    for part in parts {
        match (part, TriggerOn::ALL.iter().find(|(word, _)| *word == part)) {
            ("off", _) => new.is_suspended = true,
            (_, Some((_, on))) => new.on = *on,
            (param, None) => {
                let param = param.strip_prefix("param.").and_then(|it| it.split_once(':'));
                let (param, value) = param.expect("off, success, failure, end or param.NAME:VALUE");
                new.params.insert(name(param), value.into());
            }
        }
    }
    new
}

/// `param.day=2026-12-24+type:date+minimum:2026-01-01+enum:a|b`: the default, or `required`, and what goes with it.
fn param_of(value: &str) -> ParamSpec {
    let mut parts = value.split('+');
    let default = parts.next().filter(|default| *default != "required");
    let mut spec = ParamSpec { default: default.map(Text::from), ..ParamSpec::default() };
    for part in parts {
        let (field, value) = part.split_once(':').expect("FIELD:VALUE");
        match field {
            "type" => {
                let kind = ParamType::ALL.into_iter().find(|(word, _)| *word == value);
                spec.kind = kind.expect("a type").1;
            }
            "minimum" => spec.minimum = Some(value.into()),
            "maximum" => spec.maximum = Some(value.into()),
            "enum" => spec.allowed = value.split('|').map(Text::from).collect(),
            _ => panic!("`{field}` is not an option of a parameter"),
        }
    }
    spec
}

/// The position of a mentioned task, with its options set.
fn task(tasks: &mut Vec<TaskSpec>, mention: &str) -> usize {
    let (id, options) = head(mention);
    let id = name(id);
    let position = tasks.iter().position(|task| task.id == id).unwrap_or_else(|| {
        let mut task = TaskSpec::new(id, ExecutorSpec::Noop);
        task.retry.backoff.jitter_millis = 0;
        tasks.push(task);
        tasks.len() - 1
    });
    for (key, value) in options {
        set(&mut tasks[position], key, value);
    }
    position
}

/// `approval=fail` or `approval=approve`: what follows a timeout.
fn approval(task: &mut TaskSpec, value: &str) {
    let on_timeout = match value {
        "fail" => OnTimeout::Fail,
        "approve" => OnTimeout::Approve,
        _ => panic!("`{value}` is not what follows a timeout"),
    };
    task.executor = ExecutorSpec::Approval(ApprovalSpec { message: None, on_timeout });
    task.retry = RetryPolicy::default();
}

/// `workflow=NAME`; the decision says what the parameters are.
fn sub_workflow(value: &str) -> ExecutorSpec {
    let params = BTreeMap::new();
    ExecutorSpec::Workflow(SubWorkflowSpec { name: name(value), params })
}

fn set(task: &mut TaskSpec, key: &str, value: &str) {
    let number = || value.parse::<u32>().unwrap_or_else(|_| panic!("{key}={value} is no number"));
    match key.split_once('.').unwrap_or((key, "")) {
        ("array", _) => {
            let (first, last) = value.split_once('-').expect("array=FIRST-LAST");
            let number = |text: &str| text.parse().expect("an index");
            task.array = Some(ArraySpec { first: number(first), last: number(last) });
        }
        ("each", _) => task.fan_out = Some(list(value)),
        ("axis", axis) => add_axis(task, axis, value),
        ("failures", _) => task.max_failures = number(),
        ("fast", _) => task.fail_fast = value == "yes",
        ("parallel", _) => task.max_parallel = Some(number()),
        ("retry", _) => task.retry.limit = number(),
        ("on", _) => {
            task.retry.on_failure = value == "failure";
            task.retry.on_timeout = value == "timeout";
        }
        ("backoff", _) => task.retry.backoff.initial = span(value),
        ("factor", _) => task.retry.backoff.factor_millis = number(),
        ("cap", _) => task.retry.backoff.cap = span(value),
        ("jitter", _) => task.retry.backoff.jitter_millis = number(),
        ("lost", _) => {
            task.on_lost = match value {
                "rerun" => OnLost::Rerun,
                "fail" => OnLost::Fail,
                "hold" => OnLost::Hold,
                _ => panic!("`{value}` is not an onLost"),
            }
        }
        ("maxlost", _) => task.max_lost = number(),
        ("timeout", _) => task.timeout = Some(span(value)),
        ("queue", _) => task.queue_timeout = Some(span(value)),
        ("grace", _) => task.grace_period = span(value),
        ("priority", _) => task.priority = Some(value.parse().expect("a number")),
        ("rule", _) => {
            task.rule = match value {
                "all_succeeded" => DependencyRule::AllSucceeded,
                "all_done" => DependencyRule::AllDone,
                "any_succeeded" => DependencyRule::AnySucceeded,
                _ => panic!("`{value}` is not a rule"),
            }
        }
        ("if", _) => {
            task.condition = match value {
                "success" => Condition::Success,
                "failure" => Condition::Failure,
                "always" => Condition::Always,
                "cancelled" => Condition::Cancelled,
                expression => Condition::Expression(expression.into()),
            }
        }
        ("outputs", _) => {
            task.outputs.push(value.into());
            let command = ProcessCommand::Argv(vec!["true".into()]);
            task.executor = ExecutorSpec::Process(ProcessSpec { command, working_dir: None });
        }
        ("approval", _) => approval(task, value),
        ("workflow", _) => task.executor = sub_workflow(value),
        ("takes", _) => task.outputs.extend(value.split('|').map(Text::from)),
        ("hook", _) => task.hook = Hook::ALL.into_iter().find(|hook| hook.field() == value),
        ("pool", _) => task.request.pool = Some(value.into()),
        ("group", _) => drop(task.request.groups.insert(name(value))),
        ("select", label) => drop(task.request.selector.insert(label.into(), value.into())),
        ("cpu", _) => task.request.resources.cpu_millis = parse_cpu(value).expect("a quantity"),
        ("memory", _) => {
            task.request.resources.memory_bytes = parse_memory(value).expect("a quantity");
        }
        _ => drop(task.request.resources.custom.insert(key.into(), u64::from(number()))),
    }
}

/// `each=a|b|c`, or `each=task.key` for what a task writes.
fn list(value: &str) -> FanOut {
    match value.split_once('.') {
        Some((task, key)) => {
            FanOut::Reference(Reference::Output { task: task.into(), key: key.into() })
        }
        None => FanOut::Items(value.split('|').collect()),
    }
}

/// `axis.x=1|2|3`.
fn add_axis(task: &mut TaskSpec, axis: &str, value: &str) {
    let values = value.split('|').map(Text::from).collect();
    let axis = Axis { name: name(axis), values };
    match &mut task.fan_out {
        Some(FanOut::Matrix(axes)) => axes.push(axis),
        _ => task.fan_out = Some(FanOut::Matrix(vec![axis])),
    }
}
