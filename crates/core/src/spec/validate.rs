//! Whether a spec makes sense: the same checks for a file, for the API and for the log.
//!
//! [`validate`] is total: any value of the types gets an answer, and its cost is bounded by the size of the spec. Every
//! limit of [`crate::limits`] that concerns what users write is enforced here and nowhere else.

mod fan_out;
mod hooks;
mod names;
mod params;
mod references;
mod schedule;
mod task;
mod trigger;
mod waiting;
mod webhook;

use std::collections::BTreeMap;

use self::names::Words;
use self::references::Names;
use super::error::SpecErrors;
use super::path::Path;
use super::report::Report;
use super::{TaskSpec, WorkflowSpec, size, suggest};
use crate::graph::{Graph, GraphError};
use crate::ids::Name;
use crate::limits;

/// Largest factor of a backoff, in thousandths.
pub const BACKOFF_FACTOR_MILLIS_MAX: u32 = 1_000_000;
/// Longest value of a label, a selector or a pool in bytes.
pub const LABEL_VALUE_BYTES_MAX: usize = 256;

/// Checks a spec from any source. The errors carry paths and no positions.
pub fn validate(spec: &WorkflowSpec) -> Result<(), SpecErrors> {
    let mut report = Report::without_positions();
    check(spec, &mut report, true);
    report.finish()
}

/// All checks. `is_whole` is false if parts of the workflow could not be read; then what only seems missing is not
/// reported.
pub(super) fn check(spec: &WorkflowSpec, report: &mut Report<'_>, is_whole: bool) {
    let top = Path::Root;
    names::labels(&spec.labels, top.key("labels"), report);
    task::timeout(spec.timeout, top.key("timeout"), report);
    task::priority(spec.priority, top.key("priority"), report);
    waiting::outputs(spec, top.key("outputs"), report);
    let unsound = params::params(spec, report);
    schedule::schedules(spec, &unsound, report);
    webhook::webhooks(spec, &unsound, report);
    trigger::triggers(spec, &unsound, report);
    let path = top.key("tasks");
    if spec.tasks.iter().all(|task| task.hook.is_some()) {
        if is_whole {
            report.error_with_help(path, "the workflow has no task", "add at least one");
        }
        return;
    }
    if spec.tasks.len() > limits::TASKS_MAX {
        let count = spec.tasks.len();
        report.error(
            path,
            format!("the workflow has {count} tasks; at most {} are possible", limits::TASKS_MAX),
        );
        return;
    }
    let dependencies: usize = spec.tasks.iter().map(|task| task.needs.len()).sum();
    if dependencies > limits::DEPENDENCIES_MAX {
        let message = format!(
            "the workflow has {dependencies} dependencies; at most {} are possible",
            limits::DEPENDENCIES_MAX
        );
        report.error_with_help(
            path,
            message,
            "let a `noop` task gather many tasks for many others",
        );
        return;
    }
    // The hooks first: where a task reads the same it is the task that can be renamed.
    let (tasks, hooks): (Vec<_>, Vec<_>) = spec.tasks.iter().partition(|it| it.hook.is_none());
    let ids = hooks.into_iter().chain(tasks).map(|task| task.id.as_str());
    names::collisions(ids, path, Words::TASKS, report);
    hooks::hooks(spec, report);
    let names = Names::of(spec);
    let is_fast = spec.fail_fast;
    let hooks_path = top.key("hooks");
    for spec in &spec.tasks {
        let path = match spec.hook {
            None => path.key(spec.id.as_str()),
            Some(hook) => hooks_path.key(hook.field()),
        };
        task::task(spec, path, report);
        if is_fast {
            task::never_handles(spec, path, report);
        }
        references::texts(spec, &names, path, report, is_whole);
        references::foreach(spec, &names, path, report, is_whole);
    }
    references::outputs(spec, &names, report, is_whole);
    graph(spec, path, report);
    if size::workflow_bytes(spec) > limits::SPEC_BYTES_MAX {
        report.error_with_help(top, size::too_large(), "split the workflow, or shorten its texts");
    }
}

/// Names that resolve, and no cycles.
fn graph(spec: &WorkflowSpec, path: Path<'_>, report: &mut Report<'_>) {
    let positions: BTreeMap<&Name, usize> =
        spec.tasks.iter().enumerate().rev().map(|(at, task)| (&task.id, at)).collect();
    let needs_at = |task: &Name, need: &Name| {
        let needs = &spec.tasks[positions[task]].needs;
        needs.iter().position(|name| name == need).unwrap_or(0)
    };
    for problem in Graph::problems(&spec.tasks) {
        match problem {
            GraphError::DuplicateId { id } => {
                let is_hook = |task: &&TaskSpec| task.hook.is_some() && task.id == id;
                let message = match spec.tasks.iter().find(is_hook).and_then(|task| task.hook) {
                    None => format!("task `{id}` is defined twice"),
                    Some(hook) => format!("`{id}` is what the hook `{}` is called", hook.field()),
                };
                report.error(path.key(id.as_str()), message);
            }
            GraphError::UnknownName { task, need } => {
                // Looking for the nearest of all tasks is worth it only for an error that is shown.
                let ids = spec.tasks.iter().map(|task| task.id.as_str());
                let ids = ids.filter(|id| *id != task.as_str());
                let ids = ids.take(if report.is_full() { 0 } else { usize::MAX });
                let help = suggest::did_you_mean(need.as_str(), ids);
                let at = path.key(task.as_str());
                let at = at.key("needs");
                let message = format!("there is no task `{need}` to need");
                report.error_with_help(at.index(needs_at(&task, &need)), message, help);
            }
            GraphError::Cycle { names } => cycle(&names, path, needs_at, report),
        }
    }
}

/// Reports a cycle at the first dependency in it.
fn cycle(
    names: &[Name],
    path: Path<'_>,
    needs_at: impl Fn(&Name, &Name) -> usize,
    report: &mut Report<'_>,
) {
    let Some(first) = names.first() else { return };
    let need = names.get(1).unwrap_or(first);
    let at = path.key(first.as_str());
    let at = at.key("needs");
    let at = at.index(needs_at(first, need));
    if names.len() == 1 {
        report.error_with_help(
            at,
            format!("task `{first}` needs itself"),
            "remove it from its own `needs`",
        );
        return;
    }
    const SHOWN: usize = 10;
    let mut way: Vec<&str> = names.iter().take(SHOWN).map(Name::as_str).collect();
    if names.len() > SHOWN {
        way.push("…");
    }
    way.push(first.as_str());
    let message = format!("these {} tasks wait for each other: {}", names.len(), way.join(" -> "));
    report.error_with_help(
        at,
        message,
        "an arrow reads \"needs\"; remove one of these dependencies",
    );
}
