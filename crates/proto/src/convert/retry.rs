//! Runs that take over what others came to.

use std::sync::Arc;

use muster_core::command::RetryRun;
use muster_core::ids::{RunId, TaskIndex};
use muster_core::retry::{TakenEnd, TakenOver};
use muster_core::state::cells::IndexRange;
use muster_core::state::run::RetryOrigin;
use muster_core::time::Timestamp;

use super::error::DecodeError;
use super::fan_out::{items_from_proto, items_to_proto};
use super::log::{key_from_proto, key_to_proto};
use super::read::{Within, known, name, params_from_proto, required, string_map, text_map};
use super::snapshot::{failure_from_proto, failure_to_proto};
use super::spec::{spec_from_proto, spec_to_proto};
use super::trigger::{trigger_origin_from_proto, trigger_origin_to_proto};
use crate::internal::v1::{self as stored, StoredTakenEnd};

pub(super) fn retry_to_proto(it: &RetryRun) -> stored::RetryRun {
    let params = it.params.iter().map(|(name, value)| (name.to_string(), value.to_string()));
    stored::RetryRun {
        request: key_to_proto(it.request.as_ref()),
        namespace: it.namespace.to_string(),
        of: Some(retry_origin_to_proto(&it.of)),
        version_id: it.version,
        version: it.version_number,
        spec: Some(spec_to_proto(&it.spec)),
        params: params.collect(),
        priority: it.priority,
        taken_over: it.taken_over.iter().map(taken_to_proto).collect(),
    }
}

pub(super) fn retry_from_proto(it: stored::RetryRun) -> Result<RetryRun, DecodeError> {
    let taken = it.taken_over.into_iter().enumerate();
    Ok(RetryRun {
        request: it.request.map(key_from_proto),
        namespace: name("namespace", &it.namespace)?,
        of: retry_origin_from_proto(required("of", it.of)?).within("of")?,
        version: it.version_id,
        version_number: it.version,
        spec: Box::new(spec_from_proto(required("spec", it.spec)?).within("spec")?),
        params: Arc::new(params_from_proto(it.params)?),
        priority: it.priority,
        taken_over: taken
            .map(|(at, it)| taken_from_proto(it).within_element("taken_over", at))
            .collect::<Result<_, _>>()?,
    })
}

pub(super) fn retry_origin_to_proto(it: &RetryOrigin) -> stored::RetryOrigin {
    stored::RetryOrigin {
        run_id: it.run.0,
        number: it.number,
        fire_time_ms: it.fire_time.0,
        schedule: it.schedule.as_ref().map(ToString::to_string),
        trigger: it.trigger.as_ref().map(trigger_origin_to_proto),
    }
}

pub(super) fn retry_origin_from_proto(it: stored::RetryOrigin) -> Result<RetryOrigin, DecodeError> {
    Ok(RetryOrigin {
        run: RunId(it.run_id),
        number: it.number,
        fire_time: Timestamp(it.fire_time_ms),
        schedule: it.schedule.map(|schedule| name("schedule", &schedule)).transpose()?,
        trigger: it.trigger.map(trigger_origin_from_proto).transpose().within("trigger")?,
    })
}

fn taken_to_proto(it: &TakenOver) -> stored::TakenOver {
    let end = |end: TakenEnd| match end {
        TakenEnd::Succeeded => StoredTakenEnd::Succeeded,
        TakenEnd::Skipped { by_failure: false } => StoredTakenEnd::Skipped,
        TakenEnd::Skipped { by_failure: true } => StoredTakenEnd::SkippedByFailure,
        TakenEnd::Failed { .. } => StoredTakenEnd::Failed,
    };
    let failure = |(_, end): &(IndexRange, TakenEnd)| match end {
        TakenEnd::Succeeded | TakenEnd::Skipped { .. } => None,
        TakenEnd::Failed { reason } => {
            let (reason, exit_code) = failure_to_proto(*reason);
            Some(stored::TakenFailure { reason: reason.into(), exit_code })
        }
    };
    let outputs = it.outputs.as_ref();
    stored::TakenOver {
        task_index: it.task.0,
        first_indices: it.ends.iter().map(|(range, _)| range.first).collect(),
        last_indices: it.ends.iter().map(|(range, _)| range.last).collect(),
        ends: it.ends.iter().map(|(_, it)| end(*it).into()).collect(),
        failures: it.ends.iter().filter_map(failure).collect(),
        outputs: outputs.map(|it| stored::SucceededDetail { outputs: string_map(it) }),
        items: it.items.as_ref().map(items_to_proto),
    }
}

fn taken_from_proto(it: stored::TakenOver) -> Result<TakenOver, DecodeError> {
    if it.first_indices.len() != it.ends.len() || it.last_indices.len() != it.ends.len() {
        return Err(DecodeError::invalid("ends", "are not as many as the ranges of indices"));
    }
    let mut failures = it.failures.iter();
    let mut end = |number: i32| match known("ends", number)? {
        StoredTakenEnd::Unspecified => Err(DecodeError::missing("ends")),
        StoredTakenEnd::Succeeded => Ok(TakenEnd::Succeeded),
        StoredTakenEnd::Skipped => Ok(TakenEnd::Skipped { by_failure: false }),
        StoredTakenEnd::SkippedByFailure => Ok(TakenEnd::Skipped { by_failure: true }),
        StoredTakenEnd::Failed => {
            let failure = required("failures", failures.next())?;
            let reason = failure_from_proto(failure.reason, failure.exit_code);
            Ok(TakenEnd::Failed { reason: reason.within("failures")? })
        }
    };
    let ranges = it.first_indices.iter().zip(&it.last_indices);
    let ranges = ranges.map(|(first, last)| IndexRange { first: *first, last: *last });
    let ends = ranges.zip(&it.ends).map(|(range, number)| Ok((range, end(*number)?)));
    Ok(TakenOver {
        task: TaskIndex(it.task_index),
        ends: ends.collect::<Result<_, DecodeError>>()?,
        outputs: it.outputs.map(|it| Arc::new(text_map(it.outputs))),
        items: it.items.map(items_from_proto),
    })
}
