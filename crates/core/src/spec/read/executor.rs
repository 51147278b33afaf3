//! How a task is carried out: `run`, `command`, `noop`, `approval` or `workflow`.

use std::collections::BTreeMap;

use super::super::path::Path;
use super::super::report::{NO_HELP, Report};
use super::super::yaml::{Node, Value};
use super::fields::{Fields, Schema};
use super::values::{entries, kind, name, one_of, text, texts};
use super::workflow::key_name;
use crate::ids::{Name, Text};
use crate::spec::{
    ApprovalSpec, ExecutorSpec, OnTimeout, ProcessCommand, ProcessSpec, SubWorkflowSpec,
};

/// What a `run` script is given to unless the task says otherwise.
const SHELL_DEFAULT: [&str; 3] = ["bash", "-euo", "pipefail"];

/// The ways to say what a task does.
const KINDS: [&str; 5] = ["run", "command", "noop", "approval", "workflow"];

/// What to write into a task that does nothing.
pub(super) const WAYS: &str = "give it `run: <script>`, `command: [program, argument, …]`, `noop: {}`, `approval: {}` \
                               or `workflow: {name: …}`";

const APPROVAL: Schema = Schema {
    what: "an approval",
    fields: &["message", "onTimeout"],
    later: &["approvers", "count"],
};

const WORKFLOW: Schema = Schema {
    what: "a sub-workflow",
    fields: &["name", "params"],
    later: &["version", "namespace", "priority"],
};

/// Fields of a task that belong to another executor than its own.
const NOT_WITH: [(&str, &[&str]); 5] = [
    ("run", &["args"]),
    ("command", &["shell"]),
    ("noop", &["shell", "args", "workingDir"]),
    ("approval", &["shell", "args", "workingDir"]),
    ("workflow", &["shell", "args", "workingDir"]),
];

/// Reads the executor of the task at `path`.
pub(super) fn executor(
    fields: &Fields<'_>,
    path: Path<'_>,
    report: &mut Report<'_>,
) -> Option<ExecutorSpec> {
    let given: Vec<&str> = KINDS.into_iter().filter(|kind| fields.get(kind).is_some()).collect();
    let kind = match given[..] {
        [kind] => kind,
        [] => {
            // A field that is not supported yet, or misspelt, is likely what the task wants to do, and an error itself.
            if fields.has_unknown() {
                return None;
            }
            let message = "the task does nothing".to_owned();
            report.error_with_help(path, message, WAYS);
            return None;
        }
        [first, second, ..] => {
            let message = format!("a task has either `{first}` or `{second}`, not both");
            report.error_with_help(
                path.key(second),
                message,
                "remove one, or make two tasks of it",
            );
            return None;
        }
    };
    for (_, others) in NOT_WITH.iter().filter(|(name, _)| *name == kind) {
        for other in others.iter().filter(|other| fields.get(other).is_some()) {
            report.error(path.key(other), format!("`{other}` does not go with `{kind}`"));
        }
    }
    let node = fields.get(kind)?;
    match kind {
        "noop" => noop(node, path.key("noop"), report),
        "approval" => approval(node, path.key("approval"), report),
        "workflow" => sub_workflow(node, path.key("workflow"), report),
        "run" => {
            let command = script(fields, node, path, report)?;
            Some(process(fields, path, report, command))
        }
        _ => {
            let mut argv = texts(node, path.key("command"), report)?;
            if let Some(args) = fields.get("args") {
                argv.extend(texts(args, path.key("args"), report)?);
            }
            Some(process(fields, path, report, ProcessCommand::Argv(argv)))
        }
    }
}

fn process(
    fields: &Fields<'_>,
    path: Path<'_>,
    report: &mut Report<'_>,
    command: ProcessCommand,
) -> ExecutorSpec {
    let working_dir =
        fields.get("workingDir").and_then(|node| text(node, path.key("workingDir"), report));
    ExecutorSpec::Process(ProcessSpec { command, working_dir: working_dir.map(Text::from) })
}

fn script(
    fields: &Fields<'_>,
    node: &Node<'_>,
    path: Path<'_>,
    report: &mut Report<'_>,
) -> Option<ProcessCommand> {
    let script = text(node, path.key("run"), report)?;
    let shell = match fields.get("shell") {
        Some(node) => texts(node, path.key("shell"), report)?,
        None => SHELL_DEFAULT.into_iter().map(Text::from).collect(),
    };
    Some(ProcessCommand::Script { text: script.into(), shell })
}

fn noop(node: &Node<'_>, path: Path<'_>, report: &mut Report<'_>) -> Option<ExecutorSpec> {
    match &node.value {
        Value::Map(entries) if entries.is_empty() => Some(ExecutorSpec::Noop),
        Value::Scalar { text, .. } if text == "true" => Some(ExecutorSpec::Noop),
        _ => {
            report.error_at(
                node.position,
                path,
                format!("`noop` is `{{}}` or `true`, not {}", kind(node)),
                NO_HELP,
            );
            None
        }
    }
}

fn approval(node: &Node<'_>, path: Path<'_>, report: &mut Report<'_>) -> Option<ExecutorSpec> {
    const ENDS: [(&str, OnTimeout); 2] =
        [("fail", OnTimeout::Fail), ("approve", OnTimeout::Approve)];
    if matches!(&node.value, Value::Scalar { text, .. } if text == "true") {
        return Some(ExecutorSpec::Approval(ApprovalSpec::default()));
    }
    let fields = Fields::open(node, path, &APPROVAL, report)?;
    let message = fields.get("message").and_then(|node| text(node, path.key("message"), report));
    let on_timeout = fields
        .get("onTimeout")
        .and_then(|node| one_of(node, path.key("onTimeout"), report, &ENDS))
        .unwrap_or_default();
    Some(ExecutorSpec::Approval(ApprovalSpec { message: message.map(Text::from), on_timeout }))
}

fn sub_workflow(node: &Node<'_>, path: Path<'_>, report: &mut Report<'_>) -> Option<ExecutorSpec> {
    let fields = Fields::open(node, path, &WORKFLOW, report)?;
    let params = fields
        .get("params")
        .map(|node| params(node, path.key("params"), report))
        .unwrap_or_default();
    let Some(node) = fields.get("name") else {
        let help = "write `workflow: {name: the-other-workflow}`";
        report.error_with_help(path, "it names no workflow", help);
        return None;
    };
    let name = name(node, path.key("name"), report)?;
    Some(ExecutorSpec::Workflow(SubWorkflowSpec { name, params }))
}

fn params(node: &Node<'_>, path: Path<'_>, report: &mut Report<'_>) -> BTreeMap<Name, Text> {
    let mut params = BTreeMap::new();
    for (key, value) in entries(node, path, report) {
        let value = text(value, path.key(key), report).unwrap_or_default();
        if let Some(name) = key_name(key, path, report) {
            params.insert(name, value.into());
        }
    }
    params
}
