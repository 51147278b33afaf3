//! The fields of one task.

use std::collections::BTreeSet;

use super::super::path::Path;
use super::super::quantity::AMOUNT_MAX;
use super::super::report::Report;
use super::super::{
    ArraySpec, Condition, DependencyRule, ExecutorSpec, ProcessCommand, ProcessSpec, Request,
    RetryPolicy, TaskSpec,
};
use super::{BACKOFF_FACTOR_MILLIS_MAX, fan_out, hooks, names, waiting};
use crate::limits;
use crate::time::Millis;

/// Everything about a task that can be said without the others.
pub(super) fn task(task: &TaskSpec, path: Path<'_>, report: &mut Report<'_>) {
    if task.hook.is_some() {
        hooks::fields(task, path, report);
    }
    needs(task, path, report);
    executor(task, path, report);
    names::env(&task.env, path.key("env"), report);
    names::outputs(&task.outputs, path.key("outputs"), report);
    if task.is_approval() {
        return waiting::approval(task, path, report);
    }
    if task.is_sub_workflow() {
        return waiting::sub_workflow(task, path, report);
    }
    if let Some(spec) = task.array {
        array(spec, path.key("array"), report);
    }
    fan_out::fan_out(task, path, report);
    if task.is_array() && !task.outputs.is_empty() {
        let message = "outputs of an array task are not supported yet";
        report.error_with_help(
            path.key("outputs"),
            message,
            "let each index write a file of its own",
        );
    }
    indices(task, path, report);
    request(&task.request, path, report);
    retry(&task.retry, path.key("retry"), report);
    if task.max_lost == 0 || task.max_lost > limits::LOST_LIMIT_MAX {
        let message = format!(
            "{} is out of range: 1 to {} losses are possible",
            task.max_lost,
            limits::LOST_LIMIT_MAX
        );
        report.error_with_help(
            path.key("maxLost"),
            message,
            "to fail with the first loss write `onLost: fail`",
        );
    }
    timeout(task.timeout, path.key("timeout"), report);
    timeout(task.queue_timeout, path.key("queueTimeout"), report);
    span(task.grace_period, path.key("gracePeriod"), report);
    if let Some(wanted) = task.priority {
        priority(wanted, path.key("priority"), report);
    }
}

fn needs(task: &TaskSpec, path: Path<'_>, report: &mut Report<'_>) {
    let mut seen = BTreeSet::new();
    let at = path.key("needs");
    for (position, need) in task.needs.iter().enumerate() {
        if !seen.insert(need) {
            report.error_with_help(
                at.index(position),
                format!("`{need}` is needed twice"),
                "remove one",
            );
        }
    }
    condition(task, path, report);
    if !task.needs.is_empty() {
        return;
    }
    if let Condition::Failure | Condition::Cancelled = task.condition {
        let word = if task.condition == Condition::Failure { "failure()" } else { "cancelled()" };
        let message =
            format!("the task would never run: `{word}` is about upstream tasks and it needs none");
        report.error_with_help(path.key("if"), message, "add `needs`, or remove `if`");
    }
    if task.rule == DependencyRule::AnySucceeded {
        let message =
            "the task would never run: `any_succeeded` is about upstream tasks and it needs none";
        report.error_with_help(path.key("rule"), message, "add `needs`, or remove `rule`");
    }
}

fn condition(task: &TaskSpec, path: Path<'_>, report: &mut Report<'_>) {
    let at = path.key("if");
    match (&task.condition, task.rule) {
        (Condition::Success, _)
        | (_, DependencyRule::AllSucceeded)
        | (Condition::Expression(_), DependencyRule::AllDone) => {}
        (Condition::Expression(_), DependencyRule::AnySucceeded) => {
            let message = "an `if` sees how all upstream tasks ended, and `any_succeeded` does not wait for them";
            report.error_with_help(at, message, "write `rule: all_done`, or remove one of the two");
        }
        (Condition::Failure | Condition::Always | Condition::Cancelled, _) => {
            let message = "a task has either such an `if` or a `rule`, not both";
            let help = "this `if` waits for all upstream tasks and decides by how they ended; remove one of the two";
            report.error_with_help(at, message, help);
        }
    }
    if let Condition::Expression(text) = &task.condition {
        expression(text, at, report);
    }
}

/// What can be said of an expression without reading it.
fn expression(text: &str, path: Path<'_>, report: &mut Report<'_>) {
    if text.trim().is_empty() {
        report.error_with_help(path, "the expression is empty", "remove the field");
    }
    if text.len() > limits::EXPRESSION_BYTES_MAX {
        let message = format!(
            "an expression of {} bytes is too long; at most {} are possible",
            text.len(),
            limits::EXPRESSION_BYTES_MAX
        );
        report.error_with_help(path, message, "let a task before this one work it out");
    }
}

fn executor(task: &TaskSpec, path: Path<'_>, report: &mut Report<'_>) {
    match &task.executor {
        ExecutorSpec::Noop => {
            if !task.outputs.is_empty() {
                report.error(
                    path.key("outputs"),
                    "a `noop` task starts nothing that could write outputs",
                );
            }
        }
        ExecutorSpec::Process(process) => self::process(process, path, report),
        ExecutorSpec::Approval(_) | ExecutorSpec::Workflow(_) => {}
    }
}

fn process(process: &ProcessSpec, path: Path<'_>, report: &mut Report<'_>) {
    match &process.command {
        ProcessCommand::Argv(argv) => {
            let at = path.key("command");
            if argv.first().is_none_or(|program| program.is_empty()) {
                report.error_with_help(
                    at,
                    "the command names no program",
                    "write `command: [program, argument, …]`",
                );
            }
            arguments(argv, at, report);
        }
        ProcessCommand::Script { text, shell } => {
            let at = path.key("run");
            if text.trim().is_empty() {
                report.error_with_help(
                    at,
                    "the script is empty",
                    "for a task that does nothing write `noop: {}`",
                );
            }
            names::argument(text, at, report);
            let at = path.key("shell");
            if shell.first().is_none_or(|program| program.is_empty()) {
                report.error_with_help(
                    at,
                    "the shell names no program",
                    "write for example `shell: [sh, -eu]`",
                );
            }
            arguments(shell, at, report);
        }
    }
    if let Some(folder) = &process.working_dir {
        let at = path.key("workingDir");
        if folder.is_empty() {
            report.error_with_help(
                at,
                "the folder has no name",
                "leave `workingDir` out for the attempt's own folder",
            );
        }
        names::argument(folder, at, report);
    }
}

fn arguments(argv: &[crate::ids::Text], path: Path<'_>, report: &mut Report<'_>) {
    if argv.len() > limits::ARGUMENTS_MAX {
        let message = format!(
            "{} arguments are too many; at most {} are possible",
            argv.len(),
            limits::ARGUMENTS_MAX
        );
        report.error_with_help(path, message, "pass a file with the list instead");
        return;
    }
    for (at, argument) in argv.iter().enumerate() {
        names::argument(argument, path.index(at), report);
    }
}

fn array(array: ArraySpec, path: Path<'_>, report: &mut Report<'_>) {
    let ArraySpec { first, last } = array;
    if first > last {
        let message = format!("the range {first}-{last} ends before it begins");
        report.error_with_help(path, message, format!("write `{last}-{first}`"));
        return;
    }
    if last > limits::ARRAY_INDEX_MAX {
        report.error(
            path,
            format!("the index {last} is too large; the last can be {}", limits::ARRAY_INDEX_MAX),
        );
    }
    let count = u64::from(last) - u64::from(first) + 1;
    if count > u64::from(limits::ARRAY_INDICES_MAX) {
        let message = format!(
            "an array of {count} is too large; at most {} are possible",
            limits::ARRAY_INDICES_MAX
        );
        report.error_with_help(path, message, "let each index do several pieces of the work");
    }
}

/// What is said of the indices of an array task together.
fn indices(task: &TaskSpec, path: Path<'_>, report: &mut Report<'_>) {
    let fields = [
        ("maxParallel", task.max_parallel.is_some()),
        ("maxFailures", task.max_failures > 0),
        ("failFast", task.fail_fast),
    ];
    for (field, _) in fields.into_iter().filter(|(_, is_given)| !task.is_array() && *is_given) {
        let message =
            format!("`{field}` is about the indices of an array task, and this is a single task");
        let help = format!("add `array`, `matrix` or `foreach`, or remove `{field}`");
        report.error_with_help(path.key(field), message, help);
    }
    if task.max_parallel == Some(0) {
        let message = "with `maxParallel: 0` no index could ever run";
        let help = "leave the field out for no bound";
        report.error_with_help(path.key("maxParallel"), message, help);
    }
}

/// A task that waits for a failure never runs where a failure cancels what is left of the run.
pub(super) fn never_handles(task: &TaskSpec, path: Path<'_>, report: &mut Report<'_>) {
    if task.condition == Condition::Failure {
        let message = "the task would never run: the workflow's `failFast` cancels what is left of a run when a task \
                       fails";
        report.error_with_help(
            path.key("if"),
            message,
            "remove the task, or the workflow's `failFast`",
        );
    }
}

fn request(request: &Request, path: Path<'_>, report: &mut Report<'_>) {
    if let Some(pool) = &request.pool {
        let at = path.key("pool");
        if pool.is_empty() {
            report.error_with_help(
                at,
                "the pool has no name",
                "leave `pool` out for workers without a pool",
            );
        }
        names::label_value(pool, at, report);
    }
    names::labels(&request.selector, path.key("selector"), report);
    if request.groups.len() > limits::TASK_GROUPS_MAX {
        let (count, max) = (request.groups.len(), limits::TASK_GROUPS_MAX);
        let message =
            format!("{count} concurrency groups are too many; at most {max} are possible");
        report.error(path.key("concurrency"), message);
    }
    let at = path.key("resources");
    amount(request.resources.cpu_millis, at.key("cpu"), report);
    amount(request.resources.memory_bytes, at.key("memory"), report);
    names::entries(request.resources.custom.len(), "resources", at, report);
    for (name, wanted) in &request.resources.custom {
        if matches!(&**name, "cpu" | "memory") {
            report.error(at.key(name), format!("`{name}` is not a custom resource"));
        }
        names::fact(name, "resource", at.key(name), report);
        amount(*wanted, at.key(name), report);
    }
}

fn amount(amount: u64, path: Path<'_>, report: &mut Report<'_>) {
    if amount > AMOUNT_MAX {
        report.error(
            path,
            format!("{amount} is more than Muster can count; at most {AMOUNT_MAX} is possible"),
        );
    }
}

pub(super) fn retry(retry: &RetryPolicy, path: Path<'_>, report: &mut Report<'_>) {
    if retry.limit > limits::RETRY_LIMIT_MAX {
        let message = format!(
            "{} retries are too many; at most {} are possible",
            retry.limit,
            limits::RETRY_LIMIT_MAX
        );
        report.error(path.key("limit"), message);
    }
    let backoff = &retry.backoff;
    let at = path.key("backoff");
    span(backoff.initial, at.key("duration"), report);
    span(backoff.cap, at.key("cap"), report);
    if backoff.cap < backoff.initial {
        let message =
            format!("the cap {} is below the first wait {}", backoff.cap, backoff.initial);
        report.error_with_help(at.key("cap"), message, "raise the cap, or shorten the duration");
    }
    if !(1000..=BACKOFF_FACTOR_MILLIS_MAX).contains(&backoff.factor_millis) {
        report.error(at.key("factor"), "the factor is from 1 (each wait the same) to 1000");
    }
    if backoff.jitter_millis > 1000 {
        report.error(
            at.key("jitter"),
            "the jitter is from 0 (none) to 1 (up to twice the wait, or none)",
        );
    }
}

/// A span that bounds something, so none of it makes no sense.
pub(super) fn timeout(wanted: Option<Millis>, path: Path<'_>, report: &mut Report<'_>) {
    let Some(wanted) = wanted else { return };
    if wanted == Millis(0) {
        report.error_with_help(
            path,
            "nothing can be done in no time",
            "leave the field out for no bound",
        );
    }
    span(wanted, path, report);
}

pub(super) fn span(span: Millis, path: Path<'_>, report: &mut Report<'_>) {
    if span > limits::SPAN_MAX {
        report.error(path, format!("{span} is too long; at most {} is possible", limits::SPAN_MAX));
    }
}

/// A priority of a workflow or a task.
pub(super) fn priority(priority: i32, path: Path<'_>, report: &mut Report<'_>) {
    if !(-limits::PRIORITY_MAX..=limits::PRIORITY_MAX).contains(&priority) {
        let message = format!("{priority} is out of range: from -{0} to {0}", limits::PRIORITY_MAX);
        report.error(path, message);
    }
}
