//! Triggers: as users write them, what they came to, and the runs that they made.

use muster_core::ids::RunId;
use muster_core::spec::trigger::{TriggerOn, TriggerSpec};
use muster_core::state::hooks::RunResult;
use muster_core::state::run::TriggerOrigin;
use muster_core::state::workflow::Trigger;
use muster_core::time::Timestamp;

use super::error::DecodeError;
use super::read::{known, name, params_from_proto};
use crate::internal::v1::{self as stored, TriggeringEnd};
use crate::v1;

/// A trigger as a message.
pub fn trigger_to_proto(trigger: &TriggerSpec) -> v1::TriggerSpec {
    let on = match trigger.on {
        TriggerOn::Success => v1::TriggerOn::Success,
        TriggerOn::Failure => v1::TriggerOn::Failure,
        TriggerOn::End => v1::TriggerOn::End,
    };
    let params = trigger.params.iter();
    v1::TriggerSpec {
        name: trigger.name.to_string(),
        after: trigger.after.to_string(),
        on: on.into(),
        suspend: trigger.is_suspended,
        params: params.map(|(name, value)| (name.to_string(), value.to_string())).collect(),
    }
}

/// A trigger from a message.
pub fn trigger_from_proto(trigger: v1::TriggerSpec) -> Result<TriggerSpec, DecodeError> {
    let on = match known("on", trigger.on)? {
        v1::TriggerOn::Unspecified => return Err(DecodeError::missing("on")),
        v1::TriggerOn::Success => TriggerOn::Success,
        v1::TriggerOn::Failure => TriggerOn::Failure,
        v1::TriggerOn::End => TriggerOn::End,
    };
    Ok(TriggerSpec {
        name: name("name", &trigger.name)?,
        after: name("after", &trigger.after)?,
        on,
        is_suspended: trigger.suspend,
        params: params_from_proto(trigger.params)?,
    })
}

pub(super) fn trigger_state_to_proto(trigger: &Trigger) -> stored::StoredTrigger {
    stored::StoredTrigger {
        name: trigger.name.to_string(),
        is_suspended: trigger.is_suspended,
        fired: trigger.fired,
        passed_over: trigger.passed_over,
    }
}

pub(super) fn trigger_state_from_proto(
    trigger: stored::StoredTrigger,
) -> Result<Trigger, DecodeError> {
    Ok(Trigger {
        name: name("name", &trigger.name)?,
        is_suspended: trigger.is_suspended,
        fired: trigger.fired,
        passed_over: trigger.passed_over,
    })
}

pub(super) fn trigger_origin_to_proto(origin: &TriggerOrigin) -> stored::TriggerOrigin {
    let end = match origin.result {
        RunResult::Succeeded => TriggeringEnd::Succeeded,
        RunResult::Failed => TriggeringEnd::Failed,
        RunResult::Cancelled => TriggeringEnd::Cancelled,
        RunResult::TimedOut => TriggeringEnd::TimedOut,
    };
    stored::TriggerOrigin {
        trigger: origin.trigger.to_string(),
        workflow: origin.workflow.to_string(),
        run_id: origin.run.0,
        number: origin.number,
        end: end.into(),
        fire_time_ms: origin.fire_time.0,
    }
}

pub(super) fn trigger_origin_from_proto(
    origin: stored::TriggerOrigin,
) -> Result<TriggerOrigin, DecodeError> {
    let result = match known("end", origin.end)? {
        TriggeringEnd::Unspecified => return Err(DecodeError::missing("end")),
        TriggeringEnd::Succeeded => RunResult::Succeeded,
        TriggeringEnd::Failed => RunResult::Failed,
        TriggeringEnd::Cancelled => RunResult::Cancelled,
        TriggeringEnd::TimedOut => RunResult::TimedOut,
    };
    Ok(TriggerOrigin {
        trigger: name("trigger", &origin.trigger)?,
        workflow: name("workflow", &origin.workflow)?,
        run: RunId(origin.run_id),
        number: origin.number,
        result,
        fire_time: Timestamp(origin.fire_time_ms),
    })
}
