//! Tasks that no worker carries out: approvals, and sub-workflows. What is about workers would never come true for
//! them, and is refused.

use super::super::path::Path;
use super::super::report::Report;
use super::super::{FanOut, OnTimeout, TaskSpec, WorkflowSpec};
use super::{names, task};
use crate::limits;

/// The fields of a task that say nothing about an approval, and whether they are given. The `true` ones say nothing
/// about a sub-workflow either.
fn foreign(task: &TaskSpec) -> [(&'static str, bool, bool); 18] {
    let plain = TaskSpec::new(task.id.clone(), task.executor.clone());
    let (request, wanted) = (&task.request, &plain.request);
    let is_listed = matches!(task.fan_out, Some(FanOut::Items(_) | FanOut::Reference(_)));
    [
        ("env", task.env != plain.env, true),
        ("outputs", task.outputs != plain.outputs, false),
        ("array", task.array != plain.array, true),
        ("matrix", matches!(task.fan_out, Some(FanOut::Matrix(_))), true),
        ("foreach", is_listed, true),
        ("maxParallel", task.max_parallel != plain.max_parallel, true),
        ("maxFailures", task.max_failures != plain.max_failures, true),
        ("failFast", task.fail_fast != plain.fail_fast, true),
        ("resources", request.resources != wanted.resources, true),
        ("pool", request.pool != wanted.pool, true),
        ("selector", request.selector != wanted.selector, true),
        ("concurrency", request.groups != wanted.groups, true),
        ("retry", task.retry != plain.retry, false),
        ("onLost", task.on_lost != plain.on_lost, true),
        ("maxLost", task.max_lost != plain.max_lost, true),
        ("queueTimeout", task.queue_timeout != plain.queue_timeout, true),
        ("gracePeriod", task.grace_period != plain.grace_period, true),
        ("priority", task.priority != plain.priority, false),
    ]
}

/// An approval has no attempts and no worker.
pub(super) fn approval(task: &TaskSpec, path: Path<'_>, report: &mut Report<'_>) {
    if let Some(message) = task.executor.approval().and_then(|it| it.message.as_ref()) {
        message_of(message, path.key("approval").key("message"), report);
    }
    for (field, ..) in foreign(task).into_iter().filter(|(_, is_given, _)| *is_given) {
        let message =
            format!("`{field}` says nothing about an approval, which no worker carries out");
        let help = "beside `approval` stand `needs`, `rule`, `if`, `timeout` and `description`";
        report.error_with_help(path.key(field), message, help);
    }
    task::timeout(task.timeout, path.key("timeout"), report);
    let waits_for_ever = task.timeout.is_none();
    let is_said = task.executor.approval().is_some_and(|it| it.on_timeout != OnTimeout::Fail);
    if waits_for_ever && is_said {
        let message = "`onTimeout` never comes true: the approval waits without bound";
        report.error_with_help(
            path.key("approval").key("onTimeout"),
            message,
            "add `timeout`, beside `approval`",
        );
    }
}

/// What is shown to a person, in places that are about other tasks as well.
fn message_of(message: &str, path: Path<'_>, report: &mut Report<'_>) {
    if message.trim().is_empty() {
        report.error_with_help(path, "the message is empty", "leave `message` out");
    }
    if message.len() > limits::REASON_BYTES_MAX {
        let message = format!(
            "a message of {} bytes is too long; at most {} are possible",
            message.len(),
            limits::REASON_BYTES_MAX
        );
        report.error_with_help(path, message, "say here where to read more");
    }
}

/// A sub-workflow has tries, and no worker. It is one run at a time.
pub(super) fn sub_workflow(task: &TaskSpec, path: Path<'_>, report: &mut Report<'_>) {
    if let Some(it) = task.executor.sub_workflow() {
        let at = path.key("workflow");
        let at = at.key("params");
        names::entries(it.params.len(), "parameters", at, report);
        for (name, value) in &it.params {
            names::length(value, at.key(name.as_str()), report);
        }
    }
    let given =
        foreign(task).into_iter().filter(|(_, is_given, is_foreign)| *is_given && *is_foreign);
    for (field, ..) in given {
        let (message, help) = match field {
            "array" | "matrix" | "foreach" => (
                format!("`{field}` beside `workflow` is not supported yet"),
                "write a task for each run that is wanted",
            ),
            "env" => (
                "`env` says nothing about a sub-workflow, which starts no program".to_owned(),
                "pass values as `workflow: {params: …}`",
            ),
            _ => (
                format!("`{field}` says nothing about a sub-workflow, which no worker carries out"),
                "say it of the tasks of that workflow",
            ),
        };
        report.error_with_help(path.key(field), message, help);
    }
    task::retry(&task.retry, path.key("retry"), report);
    task::timeout(task.timeout, path.key("timeout"), report);
    if let Some(wanted) = task.priority {
        task::priority(wanted, path.key("priority"), report);
    }
}

/// The outputs of a workflow; what their values refer to is checked by [`super::references`].
pub(super) fn outputs(spec: &WorkflowSpec, path: Path<'_>, report: &mut Report<'_>) {
    names::entries(spec.outputs.len(), "outputs", path, report);
    for (key, value) in &spec.outputs {
        names::output(key, path.key(key), report);
        names::length(value, path.key(key), report);
    }
    names::collisions(spec.outputs.keys().map(|key| &**key), path, names::Words::OUTPUTS, report);
}
