//! What the `${{ }}` in env values, in what approvals ask, in parameters of sub-workflows and in outputs refer to.

use std::collections::BTreeMap;

use super::super::error::quoted;
use super::super::path::Path;
use super::super::report::Report;
use super::super::template::{self, Part, Reference};
use super::super::{FanOut, TaskSpec, WorkflowSpec, suggest};
use crate::ids::Name;

/// The names of a workflow as references write them.
pub(super) struct Names<'s> {
    params: BTreeMap<String, &'s Name>,
    tasks: BTreeMap<String, &'s TaskSpec>,
}

impl<'s> Names<'s> {
    pub(super) fn of(spec: &'s WorkflowSpec) -> Self {
        let key = |name: &Name| template::in_expressions(name.as_str());
        Names {
            params: spec.params.keys().map(|name| (key(name), name)).collect(),
            tasks: spec.tasks.iter().map(|task| (key(&task.id), task)).collect(),
        }
    }
}

/// The references in the texts of a task. What a workflow that is not whole lacks may stand in the part that could not
/// be read, so only the form is judged then.
pub(super) fn texts(
    task: &TaskSpec,
    names: &Names<'_>,
    path: Path<'_>,
    report: &mut Report<'_>,
    is_whole: bool,
) {
    let env = path.key("env");
    for (key, value) in &task.env {
        text(value, task, names, env.key(key), report, is_whole);
    }
    if let Some(message) = task.executor.approval().and_then(|it| it.message.as_deref()) {
        text(message, task, names, path.key("approval").key("message"), report, is_whole);
    }
    if let Some(it) = task.executor.sub_workflow() {
        let params = path.key("workflow");
        let params = params.key("params");
        for (name, value) in &it.params {
            text(value, task, names, params.key(name.as_str()), report, is_whole);
        }
    }
}

/// The references in the outputs of the workflow: to its parameters, and to what its tasks write.
pub(super) fn outputs(
    spec: &WorkflowSpec,
    names: &Names<'_>,
    report: &mut Report<'_>,
    is_whole: bool,
) {
    let path = Path::Root.key("outputs");
    for (key, value) in spec.outputs.iter().filter(|(_, value)| template::has_reference(value)) {
        let at = path.key(key);
        let parts = match template::parse(value) {
            Ok(parts) => parts,
            Err(error) => {
                report.error(at, error.to_string());
                continue;
            }
        };
        for part in parts.iter().filter(|_| is_whole) {
            match part {
                Part::Literal(_) => {}
                Part::Reference(Reference::Param(name)) => param(name, names, at, report),
                Part::Reference(Reference::TaskOutput { task, key }) => {
                    let near = spec.tasks.iter().map(|task| task.id.as_str());
                    if let Some(found) = writer(task, names, near, at, report) {
                        declared(found, key, at, report);
                    }
                }
                Part::Reference(other) => {
                    let help = "write `tasks.TASK.outputs.KEY` or `params.NAME`";
                    let message = format!("`{other}` is not known in the outputs of a workflow");
                    report.error_with_help(at, message, help);
                }
            }
        }
    }
}

fn text(
    value: &str,
    task: &TaskSpec,
    names: &Names<'_>,
    at: Path<'_>,
    report: &mut Report<'_>,
    is_whole: bool,
) {
    if !template::has_reference(value) {
        return;
    }
    match template::parse(value) {
        Err(error) => report.error(at, error.to_string()),
        Ok(parts) if is_whole => {
            for part in &parts {
                if let Part::Reference(found) = part {
                    reference(found, task, names, at, report);
                }
            }
        }
        Ok(_) => {}
    }
}

fn reference(
    found: &Reference,
    task: &TaskSpec,
    names: &Names<'_>,
    path: Path<'_>,
    report: &mut Report<'_>,
) {
    match found {
        Reference::Param(name) => param(name, names, path, report),
        Reference::TaskOutput { task, key } => {
            let help = format!("write `needs.{task}.outputs.{key}`");
            report.error_with_help(path, format!("`{found}` is known in `outputs` alone"), help);
        }
        Reference::Output { task: upstream, key } => {
            output(upstream, key, task, names, path, report)
        }
        Reference::ArrayIndex => {
            if !task.is_array() {
                let message =
                    format!("`{}` is not an array task, so it has no `array.index`", task.id);
                let help =
                    "give the task an `array`, a `matrix` or a `foreach`, or remove the reference";
                report.error_with_help(path, message, help_for(task, help));
            }
        }
        Reference::Axis(name) => axis(name, task, path, report),
        Reference::Item | Reference::ItemField(_) => {
            if !matches!(task.fan_out, Some(FanOut::Items(_) | FanOut::Reference(_))) {
                let message = format!("`{}` has no `foreach`, so it has no `{found}`", task.id);
                let help = match &task.fan_out {
                    Some(_) => "write `matrix.AXIS` for a value of its matrix",
                    None => "give the task a `foreach`, or remove the reference",
                };
                report.error_with_help(path, message, help_for(task, help));
            }
        }
        Reference::RunResult if task.hook.is_none() => {
            let help = "read it in a hook, which begins once the tasks have ended";
            report.error_with_help(path, "what a run comes to is known to its hooks alone", help);
        }
        Reference::RunResult
        | Reference::RunId
        | Reference::RunNumber
        | Reference::RunWorkflow
        | Reference::RunNamespace
        | Reference::RunSchedule
        | Reference::RunFireTime
        | Reference::RunFireDate
        | Reference::TaskId => {}
    }
}

/// What to do about a reference to a value of one index: an approval has none, and can have none.
fn help_for(task: &TaskSpec, help: &'static str) -> &'static str {
    if task.is_approval() {
        "remove the reference: an approval is asked once"
    } else if task.is_sub_workflow() {
        "remove the reference: one run is started for the task"
    } else {
        help
    }
}

/// The parameter is declared.
fn param(name: &str, names: &Names<'_>, path: Path<'_>, report: &mut Report<'_>) {
    if !names.params.contains_key(&template::in_expressions(name)) {
        let help = suggest::did_you_mean(name, names.params.values().map(|name| name.as_str()))
            .unwrap_or_else(|| format!("declare it: `params: {{{name}: …}}`"));
        report.error_with_help(
            path,
            format!("the workflow has no parameter {}", quoted(name)),
            help,
        );
    }
}

/// The list that a task is to go through is there.
pub(super) fn foreach(
    task: &TaskSpec,
    names: &Names<'_>,
    path: Path<'_>,
    report: &mut Report<'_>,
    is_whole: bool,
) {
    if let Some(FanOut::Reference(found @ (Reference::Param(_) | Reference::Output { .. }))) =
        &task.fan_out
        && is_whole
    {
        reference(found, task, names, path.key("foreach"), report);
    }
}

fn axis(name: &str, task: &TaskSpec, path: Path<'_>, report: &mut Report<'_>) {
    let Some(FanOut::Matrix(axes)) = &task.fan_out else {
        let message = format!("`{}` has no `matrix`, so it has no `matrix.{name}`", task.id);
        let help = match &task.fan_out {
            Some(_) => "write `item` for an item of its `foreach`",
            None => "give the task a `matrix`, or remove the reference",
        };
        return report.error_with_help(path, message, help_for(task, help));
    };
    if !axes.iter().any(|axis| template::is_same_name(name, axis.name.as_str())) {
        let known = axes.iter().map(|axis| axis.name.as_str());
        let help = suggest::did_you_mean(name, known)
            .unwrap_or_else(|| format!("add it: `matrix: {{{name}: […]}}`"));
        report.error_with_help(path, format!("the matrix has no axis {}", quoted(name)), help);
    }
}

fn output(
    upstream: &str,
    key: &str,
    task: &TaskSpec,
    names: &Names<'_>,
    path: Path<'_>,
    report: &mut Report<'_>,
) {
    let near = task.needs.iter().map(Name::as_str);
    let Some(found) = writer(upstream, names, near, path, report) else { return };
    // A hook begins after all tasks.
    if task.hook.is_none() && !task.needs.contains(&found.id) {
        let message =
            format!("`{}` does not need `{}`, so it cannot read its outputs", task.id, found.id);
        report.error_with_help(
            path,
            message,
            format!("add `{}` to the `needs` of `{}`", found.id, task.id),
        );
        return;
    }
    declared(found, key, path, report);
}

/// The task of this name, unless it is a hook. If there is none, one of `near` may be meant.
fn writer<'s, 'n>(
    task: &str,
    names: &Names<'s>,
    near: impl Iterator<Item = &'n str>,
    path: Path<'_>,
    report: &mut Report<'_>,
) -> Option<&'s TaskSpec> {
    let Some(found) = names.tasks.get(&template::in_expressions(task)) else {
        let help = suggest::did_you_mean(task, near);
        report.error_with_help(path, format!("there is no task {}", quoted(task)), help);
        return None;
    };
    if found.hook.is_some() {
        let help = "hooks begin together; read outputs of tasks";
        report.error_with_help(path, format!("`{}` is a hook", found.id), help);
        return None;
    }
    Some(found)
}

/// The task says that it writes this output.
fn declared(task: &TaskSpec, key: &str, path: Path<'_>, report: &mut Report<'_>) {
    if !task.outputs.iter().any(|output| template::is_same_name(key, output)) {
        let help = suggest::did_you_mean(key, task.outputs.iter().map(|output| &**output));
        let help = help.unwrap_or_else(|| match task.executor.sub_workflow() {
            Some(it) => {
                format!("add it to `outputs` of `{}`, and of workflow `{}`", task.id, it.name)
            }
            None => {
                format!(
                    "add it to `outputs` of `{}`, and write it to $MUSTER_OUTPUT there",
                    task.id
                )
            }
        });
        let message = format!("`{}` declares no output {}", task.id, quoted(key));
        report.error_with_help(path, message, help);
    }
}
