//! Runs.

use std::sync::Arc;

use muster_core::ids::{LogIndex, RunId, TaskIndex};
use muster_core::state::hooks::RunResult;
use muster_core::state::run::{ParentTask, Run, RunEnded, RunStatus};
use muster_core::state::task::StopReason;
use muster_core::state::workflow::WorkflowVersion;
use muster_core::time::Timestamp;

use super::task::{task_from_proto, task_to_proto};
use crate::convert::error::{DecodeError, Problem};
use crate::convert::read::{Within, known, name, params_from_proto};
use crate::convert::retry::{retry_origin_from_proto, retry_origin_to_proto};
use crate::convert::schedule::{fire_origin_from_proto, fire_origin_to_proto};
use crate::convert::trail::{asker_from_proto, asker_to_proto};
use crate::convert::trigger::{trigger_origin_from_proto, trigger_origin_to_proto};
use crate::internal::v1::{self as stored, StoredRunResult, StoredRunStatus, StoredStopReason};

/// The origin of a run's times. Sums wrap around, so every time has an offset and every offset a time.
#[derive(Clone, Copy)]
pub(super) struct Origin(pub(super) Timestamp);

impl Origin {
    pub(super) fn offset_ms(self, at: Timestamp) -> i64 {
        at.0.wrapping_sub(self.0.0).cast_signed()
    }

    pub(super) fn at(self, offset_ms: i64) -> Timestamp {
        Timestamp(self.0.0.wrapping_add_signed(offset_ms))
    }
}

pub(in crate::convert) fn run_to_proto(run: &Run) -> stored::StoredRun {
    let origin = Origin(run.submitted_at);
    let params = run.params.iter().map(|(name, value)| (name.to_string(), value.to_string()));
    stored::StoredRun {
        id: run.id.0,
        number: run.number,
        version_id: run.version.id,
        params: params.collect(),
        priority: run.priority,
        submitted_at_ms: run.submitted_at.0,
        is_queued: run.begun_at.is_none(),
        begun_offset_ms: run.begun_at.map_or(0, |at| origin.offset_ms(at)),
        origin: run.origin.as_ref().map(fire_origin_to_proto),
        retry: run.retry.as_ref().map(retry_origin_to_proto),
        backfill: run.backfill.as_ref().map(fire_origin_to_proto),
        trigger: run.trigger.as_ref().map(trigger_origin_to_proto),
        parent: run.parent.as_ref().map(parent_to_proto),
        asked_by: run.asked_by.as_ref().map(asker_to_proto),
        paused_offset_ms: run.paused.map(|since| origin.offset_ms(since)),
        stop: run.stop.map(|(since, reason)| stored::StoredRunStop {
            since_offset_ms: origin.offset_ms(since),
            reason: stop_reason_to_proto(reason).into(),
        }),
        cancels: run.cancels.into(),
        result: result_to_proto(run.result).into(),
        tasks: run.tasks.iter().map(|task| task_to_proto(task, origin)).collect(),
        open: run.open,
        end: run.ended.map(|ended| stored::StoredRunEnd {
            at_offset_ms: origin.offset_ms(ended.at),
            index: ended.index.0,
            status: status_to_proto(ended.status).into(),
        }),
    }
}

/// A run of `version`, which must be the one that the run names.
pub(in crate::convert) fn run_from_proto(
    run: stored::StoredRun,
    version: Arc<WorkflowVersion>,
) -> Result<Run, DecodeError> {
    if run.version_id != version.id {
        return Err(DecodeError::invalid("version_id", "is not the version that stands beside it"));
    }
    if run.tasks.len() != version.spec.tasks.len() {
        return Err(DecodeError::invalid("tasks", "are not as many as the version has"));
    }
    let origin = Origin(Timestamp(run.submitted_at_ms));
    let tasks = run.tasks.into_iter().zip(&version.spec.tasks).enumerate();
    let tasks = tasks.map(|(position, (task, spec))| {
        task_from_proto(task, spec, origin).within_element("tasks", position)
    });
    Ok(Run {
        id: RunId(run.id),
        number: run.number,
        params: Arc::new(params_from_proto(run.params)?),
        priority: run.priority,
        submitted_at: origin.0,
        begun_at: (!run.is_queued).then(|| origin.at(run.begun_offset_ms)),
        origin: run.origin.map(fire_origin_from_proto).transpose().within("origin")?,
        retry: run.retry.map(|it| retry_origin_from_proto(it).within("retry")).transpose()?,
        backfill: run.backfill.map(fire_origin_from_proto).transpose().within("backfill")?,
        trigger: run.trigger.map(trigger_origin_from_proto).transpose().within("trigger")?,
        parent: run.parent.map(|it| parent_from_proto(it).within("parent")).transpose()?,
        asked_by: run.asked_by.map(asker_from_proto),
        paused: run.paused_offset_ms.map(|since| origin.at(since)),
        stop: run.stop.map(|stop| stop_from_proto(&stop, origin).within("stop")).transpose()?,
        cancels: u8::try_from(run.cancels)
            .map_err(|_| DecodeError::invalid("cancels", "is too large"))?,
        result: result_from_proto(run.result)?,
        tasks: tasks.collect::<Result<_, _>>()?,
        open: run.open,
        ended: run.end.map(|end| end_from_proto(&end, origin).within("end")).transpose()?,
        version,
    })
}

fn parent_to_proto(it: &ParentTask) -> stored::StoredParentTask {
    stored::StoredParentTask {
        run_id: it.run.0,
        workflow: it.workflow.to_string(),
        number: it.number,
        task_index: it.task.0,
        task: it.name.to_string(),
        depth: it.depth,
        fire_time_ms: it.fire_time.0,
        schedule: it.schedule.as_ref().map(ToString::to_string),
    }
}

fn parent_from_proto(it: stored::StoredParentTask) -> Result<ParentTask, DecodeError> {
    Ok(ParentTask {
        run: RunId(it.run_id),
        workflow: name("workflow", &it.workflow)?,
        number: it.number,
        task: TaskIndex(it.task_index),
        name: name("task", &it.task)?,
        depth: it.depth,
        fire_time: Timestamp(it.fire_time_ms),
        schedule: it.schedule.map(|schedule| name("schedule", &schedule)).transpose()?,
    })
}

fn result_to_proto(result: Option<RunResult>) -> StoredRunResult {
    match result {
        None => StoredRunResult::Unspecified,
        Some(RunResult::Succeeded) => StoredRunResult::Succeeded,
        Some(RunResult::Failed) => StoredRunResult::Failed,
        Some(RunResult::Cancelled) => StoredRunResult::Cancelled,
        Some(RunResult::TimedOut) => StoredRunResult::TimedOut,
    }
}

fn result_from_proto(result: i32) -> Result<Option<RunResult>, DecodeError> {
    match StoredRunResult::try_from(result) {
        Ok(StoredRunResult::Unspecified) => Ok(None),
        Ok(StoredRunResult::Succeeded) => Ok(Some(RunResult::Succeeded)),
        Ok(StoredRunResult::Failed) => Ok(Some(RunResult::Failed)),
        Ok(StoredRunResult::Cancelled) => Ok(Some(RunResult::Cancelled)),
        Ok(StoredRunResult::TimedOut) => Ok(Some(RunResult::TimedOut)),
        Err(_) => Err(DecodeError::field("result", Problem::UnknownValue(result))),
    }
}

fn stop_from_proto(
    stop: &stored::StoredRunStop,
    origin: Origin,
) -> Result<(Timestamp, StopReason), DecodeError> {
    let reason = stop_reason_from_proto("reason", stop.reason)?;
    Ok((origin.at(stop.since_offset_ms), reason))
}

fn end_from_proto(end: &stored::StoredRunEnd, origin: Origin) -> Result<RunEnded, DecodeError> {
    let status = match known("status", end.status)? {
        StoredRunStatus::Unspecified => return Err(DecodeError::missing("status")),
        StoredRunStatus::Queued => RunStatus::Queued,
        StoredRunStatus::Running => RunStatus::Running,
        StoredRunStatus::Paused => RunStatus::Paused,
        StoredRunStatus::Succeeded => RunStatus::Succeeded,
        StoredRunStatus::Failed => RunStatus::Failed,
        StoredRunStatus::Cancelled => RunStatus::Cancelled,
    };
    Ok(RunEnded { at: origin.at(end.at_offset_ms), index: LogIndex(end.index), status })
}

fn status_to_proto(status: RunStatus) -> StoredRunStatus {
    match status {
        RunStatus::Queued => StoredRunStatus::Queued,
        RunStatus::Running => StoredRunStatus::Running,
        RunStatus::Paused => StoredRunStatus::Paused,
        RunStatus::Succeeded => StoredRunStatus::Succeeded,
        RunStatus::Failed => StoredRunStatus::Failed,
        RunStatus::Cancelled => StoredRunStatus::Cancelled,
    }
}

pub(super) fn stop_reason_to_proto(reason: StopReason) -> StoredStopReason {
    match reason {
        StopReason::Cancelled => StoredStopReason::Cancelled,
        StopReason::Replaced => StoredStopReason::Replaced,
        StopReason::FailFast => StoredStopReason::FailFast,
        StopReason::RunTimedOut => StoredStopReason::RunTimedOut,
        StopReason::AttemptTimedOut => StoredStopReason::AttemptTimedOut,
        StopReason::ByParent => StoredStopReason::ByParent,
    }
}

pub(super) fn stop_reason_from_proto(field: &str, number: i32) -> Result<StopReason, DecodeError> {
    match known(field, number)? {
        StoredStopReason::Unspecified => Err(DecodeError::missing(field)),
        StoredStopReason::Cancelled => Ok(StopReason::Cancelled),
        StoredStopReason::Replaced => Ok(StopReason::Replaced),
        StoredStopReason::FailFast => Ok(StopReason::FailFast),
        StoredStopReason::RunTimedOut => Ok(StopReason::RunTimedOut),
        StoredStopReason::AttemptTimedOut => Ok(StopReason::AttemptTimedOut),
        StoredStopReason::ByParent => Ok(StopReason::ByParent),
    }
}
