//! Commands by which people change runs that are live.

use muster_core::command::{PauseRun, PrioritizeRun};
use muster_core::ids::RunId;

use super::log::{key_from_proto, key_to_proto};
use crate::internal::v1::{self as stored};

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
