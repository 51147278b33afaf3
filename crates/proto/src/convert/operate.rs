//! Commands by which people change runs that are live.

use muster_core::command::{EndTask, PauseRun, PrioritizeRun, ReopenTasks, WantedEnd};
use muster_core::ids::{RunId, TaskIndex};

use super::error::DecodeError;
use super::log::{key_from_proto, key_to_proto};
use super::read::known;
use crate::internal::v1::{self as stored, StoredWantedEnd};

pub(super) fn pause_to_proto(it: &PauseRun) -> stored::PauseRun {
    stored::PauseRun {
        request: key_to_proto(it.request.as_ref()),
        run_id: it.run.0,
        is_paused: it.is_paused,
    }
}

pub(super) fn pause_from_proto(it: stored::PauseRun) -> PauseRun {
    PauseRun {
        request: it.request.map(key_from_proto),
        run: RunId(it.run_id),
        is_paused: it.is_paused,
    }
}

pub(super) fn prioritize_to_proto(it: &PrioritizeRun) -> stored::PrioritizeRun {
    stored::PrioritizeRun {
        request: key_to_proto(it.request.as_ref()),
        run_id: it.run.0,
        priority: it.priority,
    }
}

pub(super) fn prioritize_from_proto(it: stored::PrioritizeRun) -> PrioritizeRun {
    PrioritizeRun {
        request: it.request.map(key_from_proto),
        run: RunId(it.run_id),
        priority: it.priority,
    }
}

pub(super) fn end_to_proto(it: &EndTask) -> stored::EndTask {
    let end = match it.end {
        WantedEnd::Succeeded => StoredWantedEnd::Succeeded,
        WantedEnd::Skipped => StoredWantedEnd::Skipped,
        WantedEnd::Cancelled => StoredWantedEnd::Cancelled,
        WantedEnd::Approved => StoredWantedEnd::Approved,
        WantedEnd::Rejected => StoredWantedEnd::Rejected,
    };
    stored::EndTask {
        request: key_to_proto(it.request.as_ref()),
        run_id: it.run.0,
        task_index: it.task.0,
        end: end.into(),
        reason: it.reason.as_ref().map(ToString::to_string),
    }
}

pub(super) fn end_from_proto(it: stored::EndTask) -> Result<EndTask, DecodeError> {
    let end = match known("end", it.end)? {
        StoredWantedEnd::Unspecified => return Err(DecodeError::missing("end")),
        StoredWantedEnd::Succeeded => WantedEnd::Succeeded,
        StoredWantedEnd::Skipped => WantedEnd::Skipped,
        StoredWantedEnd::Cancelled => WantedEnd::Cancelled,
        StoredWantedEnd::Approved => WantedEnd::Approved,
        StoredWantedEnd::Rejected => WantedEnd::Rejected,
    };
    Ok(EndTask {
        request: it.request.map(key_from_proto),
        run: RunId(it.run_id),
        task: TaskIndex(it.task_index),
        end,
        reason: it.reason.map(Into::into),
    })
}

pub(super) fn reopen_to_proto(it: &ReopenTasks) -> stored::ReopenTasks {
    stored::ReopenTasks {
        request: key_to_proto(it.request.as_ref()),
        run_id: it.run.0,
        from_task_index: it.from.map(|task| task.0),
    }
}

pub(super) fn reopen_from_proto(it: stored::ReopenTasks) -> ReopenTasks {
    ReopenTasks {
        request: it.request.map(key_from_proto),
        run: RunId(it.run_id),
        from: it.from_task_index.map(TaskIndex),
    }
}
