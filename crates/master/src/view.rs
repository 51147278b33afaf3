//! The core's objects as the API shows them.

use std::collections::BTreeMap;

use muster_core::ids::{RunId, TaskIndex, Text};
use muster_core::spec::TaskSpec;
use muster_core::state::cells::{Cells, Tally};
use muster_core::state::hooks::RunResult;
use muster_core::state::run::{Run, RunStatus, TriggerOrigin};
use muster_core::state::task::{
    Awaited, FailureReason, LastAttempt, StopReason, Task, TaskState, TaskStatus,
};
use muster_proto::convert::hook_to_proto;
use muster_proto::v1;

use crate::api::audit::asker_view;
use crate::leader::question;

/// Free text as the API has it.
pub(crate) fn strings(map: &BTreeMap<Text, Text>) -> BTreeMap<String, String> {
    map.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

pub(crate) fn run_status(status: RunStatus) -> v1::RunStatus {
    match status {
        RunStatus::Queued => v1::RunStatus::Queued,
        RunStatus::Running => v1::RunStatus::Running,
        RunStatus::Paused => v1::RunStatus::Paused,
        RunStatus::Succeeded => v1::RunStatus::Succeeded,
        RunStatus::Failed => v1::RunStatus::Failed,
        RunStatus::Cancelled => v1::RunStatus::Cancelled,
    }
}

pub(crate) fn task_status(status: TaskStatus) -> v1::TaskStatus {
    match status {
        TaskStatus::Blocked => v1::TaskStatus::Blocked,
        TaskStatus::Undecided => v1::TaskStatus::Undecided,
        TaskStatus::Ready => v1::TaskStatus::Ready,
        TaskStatus::Placed => v1::TaskStatus::Placed,
        TaskStatus::Running => v1::TaskStatus::Running,
        TaskStatus::Backoff => v1::TaskStatus::Backoff,
        TaskStatus::Held => v1::TaskStatus::Held,
        TaskStatus::Awaiting => v1::TaskStatus::Awaiting,
        TaskStatus::Succeeded => v1::TaskStatus::Succeeded,
        TaskStatus::Failed => v1::TaskStatus::Failed,
        TaskStatus::Skipped => v1::TaskStatus::Skipped,
        TaskStatus::Cancelled => v1::TaskStatus::Cancelled,
    }
}

fn tally(tally: &Tally, total: &mut v1::Tally) {
    let of = |status| u64::from(tally.of(status));
    total.blocked += of(TaskStatus::Blocked);
    total.undecided += of(TaskStatus::Undecided);
    total.ready += of(TaskStatus::Ready);
    total.placed += of(TaskStatus::Placed);
    total.running += of(TaskStatus::Running);
    total.backoff += of(TaskStatus::Backoff);
    total.held += of(TaskStatus::Held);
    total.awaiting += of(TaskStatus::Awaiting);
    total.succeeded += of(TaskStatus::Succeeded);
    total.failed += of(TaskStatus::Failed);
    total.skipped += of(TaskStatus::Skipped);
    total.cancelled += of(TaskStatus::Cancelled);
}

pub(crate) fn run(run: &Run) -> v1::Run {
    let mut total = v1::Tally::default();
    for task in &run.tasks {
        tally(&task.cells.tally(), &mut total);
    }
    let stop_reason = run.stop.map(|(_, reason)| match reason {
        StopReason::Cancelled => "cancelled",
        StopReason::Replaced => "replaced by a later run",
        StopReason::FailFast => "failFast",
        StopReason::RunTimedOut | StopReason::AttemptTimedOut => "timed out",
        StopReason::ByParent => "stopped with its task",
    });
    let is_about = run.schedule().is_some() || run.followed().is_some();
    v1::Run {
        id: run.id.0,
        namespace: run.version.namespace.to_string(),
        workflow: run.version.workflow.to_string(),
        number: run.number,
        version: run.version.number,
        status: run_status(run.status()) as i32,
        params: run
            .params
            .iter()
            .map(|(key, value)| (key.to_string(), value.to_string()))
            .collect(),
        priority: run.priority,
        submitted_at_ms: run.submitted_at.0,
        ended_at_ms: run.ended.map_or(0, |ended| ended.at.0),
        stop_reason: stop_reason.unwrap_or_default().to_owned(),
        tasks: run.tasks.len() as u32,
        tally: Some(total),
        labels: strings(&run.version.spec.labels),
        begun_at_ms: run.begun_at.map_or(0, |at| at.0),
        schedule: run.schedule().map(ToString::to_string).unwrap_or_default(),
        fire_time_ms: if is_about { run.fire_time().0 } else { 0 },
        trigger: run.followed().map(trigger_origin),
        retry_of_run_id: run.retry.as_ref().map_or(0, |retry| retry.run.0),
        retry_of_number: run.retry.as_ref().map_or(0, |retry| retry.number),
        paused_at_ms: run.paused.map_or(0, |since| since.0),
        is_backfill: run.backfill.is_some(),
        asked_by: run.asked_by.as_ref().map(asker_view),
        cancels: u32::from(run.cancels),
        result: run.result.map(RunResult::word).unwrap_or_default().to_owned(),
        parent: run.parent.as_ref().map(|parent| v1::ParentTask {
            run_id: parent.run.0,
            workflow: parent.workflow.to_string(),
            number: parent.number,
            task: parent.name.to_string(),
        }),
        outputs: BTreeMap::new(),
    }
}

fn trigger_origin(origin: &TriggerOrigin) -> v1::TriggerOrigin {
    v1::TriggerOrigin {
        trigger: origin.trigger.to_string(),
        workflow: origin.workflow.to_string(),
        number: origin.number,
        run_id: origin.run.0,
        result: origin.result.word().to_owned(),
    }
}

/// A run, with what it gives to the task that it was started for once it has ended.
pub(crate) fn run_in_full(it: &Run) -> v1::Run {
    let outputs = it.ended.and_then(|_| it.outputs(|_| true));
    v1::Run { outputs: outputs.as_ref().map(strings).unwrap_or_default(), ..run(it) }
}

/// A task. The worker's name is filled in by the caller, who knows the workers.
pub(crate) fn task(run: &Run, index: TaskIndex, task: &Task) -> v1::Task {
    let mut total = v1::Tally::default();
    tally(&task.cells.tally(), &mut total);
    let spec = run.spec(index);
    let is_array = spec.is_some_and(TaskSpec::is_array);
    let size = spec.and_then(|spec| task.size(spec)).filter(|_| is_array);
    let indices = size.filter(|count| *count > 0).map(|_| task.cells.indices());
    let mut view = v1::Task {
        id: spec.map(|spec| spec.id.to_string()).unwrap_or_default(),
        index: index.0,
        status: task_status(task.status()) as i32,
        needs: spec
            .map(|spec| spec.needs.iter().map(ToString::to_string).collect())
            .unwrap_or_default(),
        message: task.message.as_deref().unwrap_or_default().to_owned(),
        outputs: task.outputs.as_deref().map(strings).unwrap_or_default(),
        tally: Some(total),
        is_array,
        array_first: indices.map_or(0, |indices| indices.first),
        array_last: indices.map_or(0, |indices| indices.last),
        array_count: size,
        hook: hook_to_proto(spec.and_then(|spec| spec.hook)).into(),
        child: spec.and_then(|spec| child(spec, task)),
        ..Default::default()
    };
    let is_asked =
        matches!(task.cells, Cells::One(TaskState::Awaiting { what: Awaited::Person, .. }));
    if let Some(spec) = spec.filter(|_| is_asked) {
        view.message = question(run, spec).unwrap_or_default();
    }
    match &task.cells {
        Cells::One(state) => show_state(state, &mut view),
        Cells::Many(_) => show_array(task, &mut view),
    }
    // An end that says nothing of attempts comes after those that there were.
    if task.cells.tally().open() == 0 && view.attempts == 0 {
        view.attempts = task.attempts;
    }
    view
}

/// The run that was started for a task.
fn child(spec: &TaskSpec, task: &Task) -> Option<v1::ChildRun> {
    let (of, child) = (spec.executor.sub_workflow()?, task.child.as_ref()?);
    let workflow = of.name.to_string();
    Some(v1::ChildRun { run_id: child.run.0, workflow, number: child.number })
}

/// Of an array task only what a range says that all its indices share.
fn show_array(task: &Task, view: &mut v1::Task) {
    let mut ranges = task.cells.iter();
    if let (Some((_, state)), None) = (ranges.next(), ranges.next()) {
        show_state(state, view);
    }
    let failed = task.cells.iter().find_map(|(range, state)| match state {
        TaskState::Failed { reason, .. } => Some((range, *reason)),
        _ => None,
    });
    if let Some((range, reason)) = failed {
        let said = std::mem::take(&mut view.message);
        let words = if said.is_empty() { failure_words(reason) } else { said };
        view.message = format!("index {}: {words}", range.first);
    }
}

fn show_state(state: &TaskState, view: &mut v1::Task) {
    let tries = state.tries();
    view.attempts = tries.attempts;
    view.failures = u32::from(tries.failures);
    view.losses = u32::from(tries.losses);
    match state {
        TaskState::Placed { attempt, .. } => {
            view.worker_id = attempt.worker.0;
            view.fence = attempt.fence.0;
        }
        TaskState::Running { attempt, started_at, .. } => {
            view.worker_id = attempt.worker.0;
            view.fence = attempt.fence.0;
            view.started_at_ms = started_at.0;
        }
        TaskState::Backoff { until, .. } => view.ready_at_ms = until.0,
        TaskState::Awaiting { since, .. } => view.awaiting_since_ms = since.0,
        TaskState::Succeeded { last, .. } => show_last(*last, view),
        TaskState::Failed { last, reason, .. } => {
            show_last(*last, view);
            show_failure(*reason, view);
        }
        TaskState::Blocked
        | TaskState::Undecided { .. }
        | TaskState::Ready { .. }
        | TaskState::Held { .. }
        | TaskState::Skipped { .. }
        | TaskState::Cancelled => {}
    }
}

fn show_last(last: Option<LastAttempt>, view: &mut v1::Task) {
    let Some(last) = last else { return };
    view.worker_id = last.worker.0;
    view.fence = last.fence.0;
    view.started_at_ms = last.started_at.0;
    view.ended_at_ms = last.ended_at.0;
}

fn show_failure(reason: FailureReason, view: &mut v1::Task) {
    if let FailureReason::Exit(code) = reason {
        view.exit_code = Some(code);
    }
    let said = std::mem::take(&mut view.message);
    view.message = match reason {
        FailureReason::NotApproved if !said.is_empty() => format!("rejected: {said}"),
        _ if said.is_empty() => failure_words(reason),
        _ => said,
    };
}

fn failure_words(reason: FailureReason) -> String {
    match reason {
        FailureReason::Exit(code) if code < 0 => format!("killed by signal {}", -code),
        FailureReason::Exit(code) => format!("exit code {code}"),
        FailureReason::Rejected => "could not be carried out".to_owned(),
        FailureReason::TimedOut => "timed out".to_owned(),
        FailureReason::QueueTimedOut => "no worker took it in time".to_owned(),
        FailureReason::Lost => "lost with its worker".to_owned(),
        FailureReason::Undecidable => "an expression could not be evaluated".to_owned(),
        FailureReason::NotApproved => "rejected".to_owned(),
        FailureReason::RunFailed => "its run did not succeed".to_owned(),
    }
}

/// The opaque page token of a listing that goes on below a run.
pub(crate) fn page_token(run: RunId) -> String {
    format!("r{}", run.0)
}
