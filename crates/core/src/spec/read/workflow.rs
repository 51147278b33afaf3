//! A whole document.

use std::collections::BTreeMap;

use super::super::error::quoted;
use super::super::path::Path;
use super::super::report::{NO_HELP, Report};
use super::super::size;
use super::super::yaml::{Node, Value};
use super::fields::{Fields, Schema};
use super::schedule;
use super::task::{self, DEFAULTS};
use super::trigger;
use super::values::{entries, integer, kind, name, one_of, span, text, text_map, texts, truth};
use super::webhook;
use crate::ids::{Name, Text};
use crate::limits;
use crate::spec::{
    ConcurrencyPolicy, ExecutorSpec, Hook, ParamSpec, ParamType, TaskSpec, WorkflowSpec,
};

const WORKFLOW: Schema = Schema {
    what: "a workflow",
    fields: &[
        "apiVersion",
        "kind",
        "name",
        "description",
        "labels",
        "timeout",
        "priority",
        "params",
        "schedule",
        "webhooks",
        "triggers",
        "concurrencyPolicy",
        "failFast",
        "outputs",
        "defaults",
        "tasks",
        "hooks",
    ],
    later: &[
        "concurrency",
        "suspend",
        "secrets",
        "env",
        "on",
        "namespace",
        "annotations",
        "matrix",
        "maxParallel",
        "retention",
    ],
};

const HOOKS: Schema =
    Schema { what: "hooks", fields: &["onSuccess", "onFailure", "onExit"], later: &[] };

const PARAM: Schema = Schema {
    what: "a parameter",
    fields: &["default", "description", "type", "enum", "minimum", "maximum"],
    later: &["required", "pattern"],
};

const POLICIES: [(&str, ConcurrencyPolicy); 4] = [
    ("Allow", ConcurrencyPolicy::Allow),
    ("Forbid", ConcurrencyPolicy::Forbid),
    ("Replace", ConcurrencyPolicy::Replace),
    ("Queue", ConcurrencyPolicy::Queue),
];

/// Reads the workflow in `root`. What comes back is meaningful only while `report` is clean, but complete enough for
/// further checks; nothing comes back if there is too little, or too much, to check.
pub(in super::super) fn workflow(root: &Node<'_>, report: &mut Report<'_>) -> Option<WorkflowSpec> {
    let top = Path::Root;
    let fields = Fields::open(root, top, &WORKFLOW, report)?;
    expect(&fields, "apiVersion", "v1", root, report);
    expect(&fields, "kind", "Workflow", root, report);
    let of = (root, "workflow");
    let name = required(&fields, "name", "a short name in lower case", of, report)
        .and_then(|node| name(node, top.key("name"), report));
    if let Some(node) = fields.get("description") {
        text(node, top.key("description"), report);
    }
    let mut labels = BTreeMap::new();
    if let Some(node) = fields.get("labels") {
        text_map(node, top.key("labels"), report, &mut labels);
    }
    let timeout = fields.get("timeout").and_then(|node| span(node, top.key("timeout"), report));
    let priority = fields
        .get("priority")
        .and_then(|node| integer(node, top.key("priority"), report))
        .unwrap_or(0);
    let params = fields
        .get("params")
        .map(|node| params(node, top.key("params"), report))
        .unwrap_or_default();
    let schedules = fields
        .get("schedule")
        .map(|node| schedule::schedules(node, top.key("schedule"), report))
        .unwrap_or_default();
    let webhooks = fields.get("webhooks");
    let webhooks = webhooks.map(|node| webhook::webhooks(node, top.key("webhooks"), report));
    let triggers = fields
        .get("triggers")
        .map(|node| trigger::triggers(node, top.key("triggers"), report))
        .unwrap_or_default();
    let concurrency = fields
        .get("concurrencyPolicy")
        .and_then(|node| one_of(node, top.key("concurrencyPolicy"), report, &POLICIES))
        .unwrap_or_default();
    let fail_fast = fields.get("failFast");
    let fail_fast = fail_fast.is_some_and(|node| truth(node, top.key("failFast"), report));
    let mut outputs = BTreeMap::new();
    if let Some(node) = fields.get("outputs") {
        text_map(node, top.key("outputs"), report, &mut outputs);
    }
    let base = defaults(&fields, report);
    let tasks = required(&fields, "tasks", "the work to do", of, report)
        .and_then(|node| tasks(node, &base, top.key("tasks"), report));
    let hooks = fields.get("hooks").map(|node| hooks(node, &base, top.key("hooks"), report));
    // The name is a stand-in where the real one could not be read; then the report is not clean.
    let name = name.unwrap_or(base.id);
    Some(WorkflowSpec {
        name,
        labels,
        timeout,
        priority,
        params,
        schedules,
        webhooks: webhooks.unwrap_or_default(),
        triggers,
        concurrency,
        fail_fast,
        outputs,
        tasks: tasks?.into_iter().chain(hooks.unwrap_or_default()).collect(),
    })
}

pub(super) fn required<'d>(
    fields: &Fields<'d>,
    field: &str,
    what: &str,
    (root, of): (&Node<'_>, &str),
    report: &mut Report<'_>,
) -> Option<&'d Node<'d>> {
    let node = fields.get(field);
    if node.is_none() {
        let message = format!("the {of} has no `{field}`");
        let help = format!("add `{field}:` with {what}");
        if fields.has(field) {
            report.error_with_help(Path::Root.key(field), format!("`{field}` is empty"), help);
        } else {
            report.error_at(root.position, Path::Root.key(field), message, help);
        }
    }
    node
}

/// The field must be there and read `value`.
pub(super) fn expect(
    fields: &Fields<'_>,
    field: &str,
    value: &str,
    root: &Node<'_>,
    report: &mut Report<'_>,
) {
    let path = Path::Root.key(field);
    match fields.get(field) {
        None => {
            let message = format!("the document has no `{field}`");
            report.error_at(root.position, path, message, format!("add `{field}: {value}` on top"));
        }
        Some(node) => {
            if let Some(found) = text(node, path, report)
                && found != value
            {
                let message = format!("{} is not a known `{field}`", quoted(found));
                report.error_at(node.position, path, message, format!("write `{field}: {value}`"));
            }
        }
    }
}

fn params(node: &Node<'_>, path: Path<'_>, report: &mut Report<'_>) -> BTreeMap<Name, ParamSpec> {
    let mut params = BTreeMap::new();
    for (key, value) in entries(node, path, report) {
        let at = path.key(key);
        let spec = param(value, at, report);
        if let Some(name) = key_name(key, path, report) {
            params.insert(name, spec);
        }
    }
    params
}

fn param(node: &Node<'_>, path: Path<'_>, report: &mut Report<'_>) -> ParamSpec {
    if node.is_null() {
        return ParamSpec::default();
    }
    if let Some(default) = node.scalar() {
        return ParamSpec { default: Some(default.into()), ..ParamSpec::default() };
    }
    let Some(fields) = Fields::open(node, path, &PARAM, report) else {
        return ParamSpec::default();
    };
    let mut field = |name: &str| {
        fields.get(name).and_then(|node| text(node, path.key(name), report)).map(Text::from)
    };
    let (default, description) = (field("default"), field("description"));
    let (minimum, maximum) = (field("minimum"), field("maximum"));
    let allowed = fields.get("enum").and_then(|node| allowed(node, path.key("enum"), report));
    let kind = match fields.get("type") {
        None => ParamType::String,
        Some(node) => match one_of(node, path.key("type"), report, &ParamType::ALL) {
            Some(kind) => kind,
            // What depends on the type cannot be judged.
            None => return ParamSpec { default, description, ..ParamSpec::default() },
        },
    };
    ParamSpec { kind, default, description, allowed: allowed.unwrap_or_default(), minimum, maximum }
}

/// The values that may be given: at least one, or nothing could be.
fn allowed(node: &Node<'_>, path: Path<'_>, report: &mut Report<'_>) -> Option<Vec<Text>> {
    let allowed = texts(node, path, report)?;
    if allowed.is_empty() {
        let help = "list the values that may be given, or leave `enum` out";
        report.error_at(node.position, path, "`enum` allows no value at all", help.to_owned());
    }
    Some(allowed)
}

/// A name that is the key of a map.
pub(super) fn key_name(key: &str, path: Path<'_>, report: &mut Report<'_>) -> Option<Name> {
    match Name::parse(key) {
        Ok(name) => Some(name),
        Err(error) => {
            report.key_error(path.key(key), error.to_string(), super::values::name_help(key));
            None
        }
    }
}

/// The task that every task starts from.
fn defaults(fields: &Fields<'_>, report: &mut Report<'_>) -> TaskSpec {
    let name = Name::parse("defaults").expect("it is a well-formed name");
    let mut base = TaskSpec::new(name, ExecutorSpec::Noop);
    if let Some(node) = fields.get("defaults") {
        let path = Path::Root.key("defaults");
        if let Some(fields) = Fields::open(node, path, &DEFAULTS, report) {
            task::shared(&fields, path, report, &mut base);
        }
    }
    base
}

/// Reads all tasks, or none if there are too many: a file of a million tasks costs little more than its size.
fn tasks(
    node: &Node<'_>,
    base: &TaskSpec,
    path: Path<'_>,
    report: &mut Report<'_>,
) -> Option<Vec<TaskSpec>> {
    match &node.value {
        Value::Map(entries) if entries.len() > limits::TASKS_MAX => {
            let message = format!(
                "the workflow has {} tasks; at most {} are possible",
                entries.len(),
                limits::TASKS_MAX
            );
            let help = "use an array task (`array: 0-99999`) for many equal pieces of work, or several workflows";
            report.error_with_help(path, message, help.to_owned());
            return None;
        }
        Value::Map(_) => {}
        Value::List(_) => {
            let help = "write each task as `id:` with its fields below, without `-`".to_owned();
            report.error_at(node.position, path, "`tasks` is a map of task ids, not a list", help);
            return None;
        }
        Value::Scalar { .. } => {
            let message = format!("`tasks` is a map of task ids, not {}", kind(node));
            report.error_at(node.position, path, message, NO_HELP);
            return None;
        }
    }
    let mut tasks = Vec::new();
    let mut bytes: usize = 0;
    for (key, value) in entries(node, path, report) {
        let Some(id) = key_name(key, path, report) else { continue };
        let task = task::task(id, base, value, path.key(key), report);
        bytes = bytes.saturating_add(size::task_bytes(&task));
        if bytes > limits::SPEC_BYTES_MAX {
            let help = "defaults count once for each task that has them; split the workflow, or shorten its texts";
            report.error_with_help(path.key(key), size::too_large(), help.to_owned());
            return None;
        }
        tasks.push(task);
    }
    Some(tasks)
}

/// Reads the hooks, as tasks that stand behind all others.
fn hooks(
    node: &Node<'_>,
    base: &TaskSpec,
    path: Path<'_>,
    report: &mut Report<'_>,
) -> Vec<TaskSpec> {
    let Some(fields) = Fields::open(node, path, &HOOKS, report) else { return Vec::new() };
    let given = Hook::ALL.into_iter().filter_map(|hook| Some((hook, fields.entry(hook.field())?)));
    let hooks = given.map(|(hook, node)| {
        let task = task::task(hook.id(), base, node, path.key(hook.field()), report);
        TaskSpec { hook: Some(hook), ..task }
    });
    hooks.collect()
}
