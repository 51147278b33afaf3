//! One task, and the defaults that tasks start from.

use std::collections::BTreeSet;

use super::super::expression;
use super::super::path::Path;
use super::super::report::Report;
use super::super::yaml::Node;
use super::fields::{Fields, Schema};
use super::values::{self, integer, one_of, span, text, text_map, texts, truth};
use super::{executor, fan_out, policies};
use crate::ids::Name;
use crate::spec::{Condition, DependencyRule, ExecutorSpec, OnLost, TaskSpec};

/// Fields of other executors and of the expression language, which are refused by name.
const LATER: &[&str] = &[
    "docker",
    "container",
    "kubernetes",
    "http",
    "plugin",
    "secrets",
    "with",
    "artifacts",
    "cache",
    "services",
];

const TASK: Schema = Schema {
    what: "a task",
    fields: &[
        "run",
        "command",
        "noop",
        "approval",
        "workflow",
        "needs",
        "rule",
        "if",
        "shell",
        "args",
        "workingDir",
        "env",
        "outputs",
        "array",
        "matrix",
        "foreach",
        "maxParallel",
        "maxFailures",
        "failFast",
        "resources",
        "pool",
        "selector",
        "concurrency",
        "retry",
        "onLost",
        "maxLost",
        "timeout",
        "queueTimeout",
        "gracePeriod",
        "priority",
        "description",
    ],
    later: LATER,
};

pub(super) const DEFAULTS: Schema = Schema {
    what: "defaults",
    fields: &[
        "retry",
        "resources",
        "env",
        "timeout",
        "pool",
        "selector",
        "concurrency",
        "gracePeriod",
        "priority",
        "onLost",
        "maxLost",
        "queueTimeout",
    ],
    later: &["shell", "workingDir", "image", "docker", "kubernetes"],
};

/// Reads the task `id` at `path`. Every field it does not write is that of `base`. A task whose executor cannot be read
/// comes back all the same, so that others that need it are not wrong for it.
pub(super) fn task(
    id: Name,
    base: &TaskSpec,
    node: &Node<'_>,
    path: Path<'_>,
    report: &mut Report<'_>,
) -> TaskSpec {
    let mut task = TaskSpec { id, ..base.clone() };
    if node.is_null() {
        report.error_with_help(path, "the task does nothing", executor::WAYS);
        return task;
    }
    let Some(fields) = Fields::open(node, path, &TASK, report) else { return task };
    if fields.has("approval") || fields.has("workflow") {
        // The defaults are about attempts and workers, and these have neither.
        task = TaskSpec::new(task.id, ExecutorSpec::Noop);
    }
    task.executor = executor::executor(&fields, path, report).unwrap_or(ExecutorSpec::Noop);
    shared(&fields, path, report, &mut task);
    if let Some(node) = fields.get("needs") {
        task.needs = names(node, path.key("needs"), report);
    }
    if let Some(node) = fields.get("rule") {
        const RULES: [(&str, DependencyRule); 3] = [
            ("all_succeeded", DependencyRule::AllSucceeded),
            ("all_done", DependencyRule::AllDone),
            ("any_succeeded", DependencyRule::AnySucceeded),
        ];
        task.rule = one_of(node, path.key("rule"), report, &RULES).unwrap_or_default();
    }
    if let Some(node) = fields.get("if") {
        task.condition = condition(node, path.key("if"), report).unwrap_or_default();
        if let Condition::Expression(text) = &task.condition
            && !fields.has("rule")
            && expression::asks_for_ends(text)
        {
            task.rule = DependencyRule::AllDone;
        }
    }
    if let Some(node) = fields.get("outputs") {
        task.outputs = texts(node, path.key("outputs"), report).unwrap_or_default();
    }
    if let Some(node) = fields.get("array") {
        task.array = policies::array(node, path.key("array"), report);
    }
    task.fan_out = fan_out::fan_out(&fields, path, report);
    if let Some(node) = fields.get("maxParallel") {
        task.max_parallel = integer(node, path.key("maxParallel"), report);
    }
    if let Some(node) = fields.get("maxFailures") {
        task.max_failures = integer(node, path.key("maxFailures"), report).unwrap_or_default();
    }
    if let Some(node) = fields.get("failFast") {
        task.fail_fast = truth(node, path.key("failFast"), report);
    }
    if let Some(node) = fields.get("description") {
        text(node, path.key("description"), report);
    }
    task
}

/// Reads the fields that a task and the defaults have in common, on top of what `task` holds.
pub(super) fn shared(
    fields: &Fields<'_>,
    path: Path<'_>,
    report: &mut Report<'_>,
    task: &mut TaskSpec,
) {
    if let Some(node) = fields.get("env") {
        text_map(node, path.key("env"), report, &mut task.env);
    }
    if let Some(node) = fields.get("resources") {
        policies::resources(node, path.key("resources"), report, &mut task.request.resources);
    }
    if let Some(node) = fields.get("pool") {
        task.request.pool = text(node, path.key("pool"), report).map(Into::into);
    }
    if let Some(node) = fields.get("selector") {
        text_map(node, path.key("selector"), report, &mut task.request.selector);
    }
    if let Some(node) = fields.get("concurrency") {
        task.request.groups = groups(node, path.key("concurrency"), report);
    }
    if let Some(node) = fields.get("retry") {
        policies::retry(node, path.key("retry"), report, &mut task.retry);
    }
    if let Some(node) = fields.get("onLost") {
        const ENDS: [(&str, OnLost); 3] =
            [("rerun", OnLost::Rerun), ("fail", OnLost::Fail), ("hold", OnLost::Hold)];
        task.on_lost = one_of(node, path.key("onLost"), report, &ENDS).unwrap_or_default();
    }
    if let Some(most) =
        fields.get("maxLost").and_then(|node| integer(node, path.key("maxLost"), report))
    {
        task.max_lost = most;
    }
    if let Some(node) = fields.get("timeout") {
        task.timeout = span(node, path.key("timeout"), report);
    }
    if let Some(node) = fields.get("queueTimeout") {
        task.queue_timeout = span(node, path.key("queueTimeout"), report);
    }
    if let Some(grace) =
        fields.get("gracePeriod").and_then(|node| span(node, path.key("gracePeriod"), report))
    {
        task.grace_period = grace;
    }
    if let Some(node) = fields.get("priority") {
        task.priority = integer(node, path.key("priority"), report);
    }
}

fn names(node: &Node<'_>, path: Path<'_>, report: &mut Report<'_>) -> Vec<Name> {
    let mut names = Vec::new();
    for (at, text) in texts(node, path, report).unwrap_or_default().into_iter().enumerate() {
        match Name::parse(&text) {
            Ok(name) => names.push(name),
            Err(error) => {
                report.error_with_help(path.index(at), error.to_string(), values::name_help(&text))
            }
        }
    }
    names
}

fn groups(node: &Node<'_>, path: Path<'_>, report: &mut Report<'_>) -> BTreeSet<Name> {
    let mut groups = BTreeSet::new();
    for name in names(node, path, report) {
        if groups.contains(&name) {
            report.error(path, format!("`{name}` is named twice; an attempt takes one place"));
        }
        groups.insert(name);
    }
    groups
}

/// The conditions with a name are the core's own; anything else is an expression, which is not read here.
fn condition(node: &Node<'_>, path: Path<'_>, report: &mut Report<'_>) -> Option<Condition> {
    const CONDITIONS: [(&str, Condition); 4] = [
        ("success()", Condition::Success),
        ("failure()", Condition::Failure),
        ("always()", Condition::Always),
        ("cancelled()", Condition::Cancelled),
    ];
    let written = text(node, path, report)?;
    let bare = written.trim();
    let bare =
        bare.strip_prefix("${{").and_then(|text| text.strip_suffix("}}")).unwrap_or(bare).trim();
    let known = CONDITIONS.into_iter().find(|(text, _)| *text == bare);
    Some(known.map_or_else(|| Condition::Expression(bare.into()), |(_, condition)| condition))
}
