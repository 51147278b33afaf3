//! From a placed attempt to the message its worker needs: definition, environment, resolved references.

use std::collections::BTreeMap;

use muster_calendar::Moment;
use muster_core::command::AttemptRef;
use muster_core::ids::{Fence, RunId, TaskIndex, Text, WorkerId};
use muster_core::limits;
use muster_core::spec::column::Column;
use muster_core::spec::schedule::ScheduleSpec;
use muster_core::spec::template::{self, Reference};
use muster_core::spec::{ExecutorSpec, TaskSpec};
use muster_core::state::State;
use muster_core::state::cells::IndexRange;
use muster_core::state::hooks::RunResult;
use muster_core::state::run::{Params, Run};
use muster_core::state::task::{Task, TaskEnd};
use muster_proto::convert;
use muster_proto::internal::v1 as wire;

use super::columns::Columns;

/// Most failed tasks that a hook is told of by name.
const FAILED_TASKS_MAX: usize = 100;

/// Largest environment that a task gives, in bytes, names included. Linux starts no process with a larger one.
const ENVIRONMENT_BYTES_MAX: usize = 2 << 20;

/// Longest question of an approval that is shown, in bytes. An output may be larger.
const QUESTION_BYTES_MAX: usize = 4 << 10;

/// The attempt as it goes over the wire.
pub(super) fn held(attempt: &AttemptRef) -> wire::HeldAttempt {
    wire::HeldAttempt {
        run_id: attempt.run.0,
        task_index: attempt.task.0,
        first: attempt.range.first,
        last: attempt.range.last,
        fence: attempt.fence.0,
    }
}

/// The attempt a worker means. A reversed range means its first index.
pub(crate) fn parse_held(held: &wire::HeldAttempt) -> AttemptRef {
    AttemptRef {
        run: RunId(held.run_id),
        task: TaskIndex(held.task_index),
        range: IndexRange { first: held.first, last: held.last.max(held.first) },
        fence: Fence(held.fence),
    }
}

/// The assignments of an attempt, as far as it is live on `worker` and not told to stop: one for every range of
/// indices with the same attempt number. An error says why the attempt cannot be carried out at all.
pub(super) fn assignment(
    state: &State,
    attempt: &AttemptRef,
    worker: WorkerId,
) -> Result<Vec<wire::Assignment>, String> {
    let Some(run) = state.run(attempt.run) else { return Ok(Vec::new()) };
    let (Some(task), Some(spec)) = (run.task(attempt.task), run.spec(attempt.task)) else {
        return Ok(Vec::new());
    };
    let mut assignments = Vec::new();
    for (range, cell) in task.cells.within(attempt.range) {
        let is_wanted = cell.attempt().is_some_and(|live| {
            live.fence == attempt.fence && live.worker == worker && live.stop.is_none()
        });
        if is_wanted {
            assignments.push(wire::Assignment {
                run_id: attempt.run.0,
                task_index: attempt.task.0,
                first: range.first,
                last: range.last,
                fence: attempt.fence.0,
                attempt: cell.tries().attempts,
                task: Some(definition(run, spec, task, range)?),
                task_key: 0,
            });
        }
    }
    Ok(assignments)
}

fn definition(
    run: &Run,
    spec: &TaskSpec,
    task: &Task,
    range: IndexRange,
) -> Result<wire::TaskDefinition, String> {
    let columns = Columns::of(spec, task, range)?;
    Ok(wire::TaskDefinition {
        namespace: run.version.namespace.to_string(),
        workflow: run.version.workflow.to_string(),
        run_number: run.number,
        task_id: spec.id.to_string(),
        executor: Some(convert::executor_to_proto(&spec.executor)),
        env: environment(run, spec, &columns)?,
        outputs: spec.outputs.iter().map(ToString::to_string).collect(),
        is_array: spec.is_array(),
        timeout_ms: spec.timeout.map_or(0, |span| span.0),
        grace_period_ms: spec.grace_period.0,
        resources: Some(convert::resources_to_proto(&spec.request.resources)),
        columns: columns.into_columns().into_iter().map(column).collect(),
    })
}

fn column(column: Column) -> wire::Column {
    let values = column.values.iter().map(ToString::to_string).collect();
    wire::Column { stride: column.stride, base: column.base, values }
}

/// Parameters as `MUSTER_PARAM_*`, the fire time, then what the user wrote, references resolved. What differs between
/// the indices of an array task is only marked: one assignment serves many of them, and the worker fills it in.
fn environment(
    run: &Run,
    spec: &TaskSpec,
    columns: &Columns<'_>,
) -> Result<BTreeMap<String, String>, String> {
    let mut env = BTreeMap::from_iter(columns.variables());
    let mut bytes = 0;
    for (name, value) in run.params.iter() {
        let key = format!("MUSTER_PARAM_{}", name.as_str().to_uppercase().replace('-', "_"));
        env.insert(key, without_mark(value).to_string());
    }
    // Who starts nothing reads nothing.
    if spec.executor != ExecutorSpec::Noop {
        let moment = fire_moment(run);
        env.insert("MUSTER_FIRE_TIME".to_owned(), moment.time);
        env.insert("MUSTER_FIRE_DATE".to_owned(), moment.date);
        // There for every task: a shell that takes what is not set for a mistake would stop.
        let schedule = schedule(run).map(|schedule| schedule.name.to_string());
        env.insert("MUSTER_SCHEDULE".to_owned(), schedule.unwrap_or_default());
        let (run_label, result) = trigger(run);
        env.insert("MUSTER_TRIGGER_RUN".to_owned(), run_label);
        env.insert("MUSTER_TRIGGER_RESULT".to_owned(), result);
        if spec.hook.is_some() {
            env.insert("MUSTER_RUN_RESULT".to_owned(), self::result(run).to_owned());
            env.insert("MUSTER_RUN_FAILED_TASKS".to_owned(), failed_tasks(run));
        }
    }
    for (key, value) in &spec.env {
        let resolved = if template::has_reference(value) {
            template::render(value, &|reference| resolve(run, spec, columns, reference))
                .map_err(|error| format!("env {key}: {error}"))?
        } else {
            value.to_string()
        };
        bytes += key.len() + resolved.len();
        if bytes > ENVIRONMENT_BYTES_MAX {
            return Err(format!(
                "the environment is larger than {ENVIRONMENT_BYTES_MAX} bytes with its references filled in"
            ));
        }
        env.insert(key.to_string(), resolved);
    }
    Ok(env)
}

/// What an approval asks, with its references filled in: for people, so that what cannot be filled in stays as it is.
pub(crate) fn question(run: &Run, spec: &TaskSpec) -> Option<String> {
    let message = spec.executor.approval()?.message.as_deref()?;
    let columns = Columns::none(spec);
    let rendered = template::render(message, &|reference| resolve(run, spec, &columns, reference));
    let mut text = rendered.unwrap_or_else(|_| message.to_owned());
    let end = (0..=QUESTION_BYTES_MAX).rev().find(|end| text.is_char_boundary(*end));
    text.truncate(end.unwrap_or_default());
    Some(text)
}

/// What the parameters of a sub-workflow's run come to. As in variables, outputs that nobody wrote are empty.
///
/// # Errors
/// If they are larger than those of any run; for people.
pub(super) fn parameters(run: &Run, spec: &TaskSpec) -> Result<Params, String> {
    let columns = Columns::none(spec);
    let (mut params, mut bytes) = (Params::new(), 0);
    for (name, value) in spec.executor.sub_workflow().into_iter().flat_map(|it| &it.params) {
        let value = template::render(value, &|reference| resolve(run, spec, &columns, reference))
            .map_err(|error| format!("workflow: parameter `{name}`: {error}"))?;
        bytes += name.as_str().len() + value.len();
        if bytes > limits::PARAM_BYTES_MAX {
            return Err("workflow: the parameters are larger than 64 KiB together".to_owned());
        }
        params.insert(name.clone(), value.into());
    }
    Ok(params)
}

fn resolve(
    run: &Run,
    spec: &TaskSpec,
    columns: &Columns<'_>,
    reference: &Reference,
) -> Option<Text> {
    if let Some(mark) = columns.mark(reference) {
        return Some(mark);
    }
    let text = |value: &dyn ToString| Some(value.to_string().into());
    match reference {
        Reference::Param(name) => {
            let mut params = run.params.iter();
            let (_, value) = params.find(|(it, _)| template::is_same_name(name, it.as_str()))?;
            Some(without_mark(value))
        }
        Reference::Output { task, key } => {
            let mut tasks = run.version.spec.tasks.iter();
            let position = tasks.position(|it| template::is_same_name(task, it.id.as_str()))?;
            let outputs = run.tasks.get(position)?.outputs.as_deref();
            let written = outputs
                .and_then(|outputs| outputs.iter().find(|(it, _)| template::is_same_name(key, it)));
            // A task that was skipped or failed has no outputs; its readers see the empty string.
            Some(written.map_or_else(|| "".into(), |(_, value)| without_mark(value)))
        }
        // Of outputs of workflows alone, which the core fills in.
        Reference::TaskOutput { .. } => None,
        Reference::RunId => text(&run.id),
        Reference::RunNumber => text(&run.number),
        Reference::RunResult => Some(result(run).into()),
        Reference::RunWorkflow => text(&run.version.workflow),
        Reference::RunNamespace => text(&run.version.namespace),
        Reference::RunSchedule => {
            Some(schedule(run).map_or_else(|| "".into(), |it| it.name.text()))
        }
        Reference::RunFireTime => text(&fire_moment(run).time),
        Reference::RunFireDate => text(&fire_moment(run).date),
        Reference::TaskId => text(&spec.id),
        Reference::ArrayIndex => text(&template::ARRAY_INDEX_MARK),
        // Marked above, unless nobody reads them.
        Reference::Axis(_) | Reference::Item | Reference::ItemField(_) => Some("".into()),
    }
}

/// What the tasks of a run came to, as its hooks are told: empty before their turn.
fn result(run: &Run) -> &'static str {
    run.result.map(RunResult::word).unwrap_or_default()
}

/// The first tasks of a run that failed, hooks apart, with blanks between their names.
fn failed_tasks(run: &Run) -> String {
    let tasks = run.tasks.iter().zip(&run.version.spec.tasks);
    let failed =
        tasks.filter(|(task, spec)| spec.hook.is_none() && task.end() == Some(TaskEnd::Failed));
    let names = failed.map(|(_, spec)| spec.id.as_str()).take(FAILED_TASKS_MAX);
    names.collect::<Vec<_>>().join(" ")
}

/// The run that a run follows, `ingest/42`, and how it ended; empty if it follows none.
fn trigger(run: &Run) -> (String, String) {
    let Some(origin) = run.followed() else { return Default::default() };
    (format!("{}/{}", origin.workflow, origin.number), origin.result.word().to_owned())
}

/// The schedule that made a run, as its version has it.
fn schedule(run: &Run) -> Option<&ScheduleSpec> {
    let name = run.schedule()?;
    run.version.spec.schedules.iter().find(|it| it.name == *name)
}

/// The fire time that a run was made for, or else when it was submitted.
pub(super) fn fire_moment(run: &Run) -> Moment {
    Moment::of(run.fire_time(), schedule(run).map_or("Etc/UTC", |it| &it.time_zone))
}

/// A value as it may stand in an environment, where the mark has a meaning of its own.
fn without_mark(value: &Text) -> Text {
    if value.contains(template::ARRAY_INDEX_MARK) {
        value.replace(template::ARRAY_INDEX_MARK, "").into()
    } else {
        value.clone()
    }
}
