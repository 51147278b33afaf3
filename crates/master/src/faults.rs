//! Errors as callers see them: `google.rpc.Status` with a reason that programs can match on.
//!
//! Reasons are append-only; `docs/api.md` lists them.

use std::collections::HashMap;
use std::time::Duration;

use muster_core::reply::Rejection;
use muster_core::spec::error::SpecErrors;
use muster_proto::convert::DecodeError;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

const DOMAIN: &str = "muster";

/// A status with a reason.
pub(crate) fn fault(code: Code, reason: &str, message: impl Into<String>) -> Status {
    fault_with(code, reason, message, &[])
}

/// A status with a reason and facts about it.
pub(crate) fn fault_with(
    code: Code,
    reason: &str,
    message: impl Into<String>,
    facts: &[(&str, String)],
) -> Status {
    let metadata: HashMap<String, String> =
        facts.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    let mut details = ErrorDetails::new();
    details.set_error_info(reason, DOMAIN, metadata);
    Status::with_error_details(code, message, details)
}

/// The caller should try again after a moment.
pub(crate) fn try_again(
    code: Code,
    reason: &str,
    message: impl Into<String>,
    after: Duration,
) -> Status {
    let mut details = ErrorDetails::new();
    details.set_error_info(reason, DOMAIN, HashMap::new());
    details.set_retry_info(Some(after));
    Status::with_error_details(code, message, details)
}

/// When a caller may ask again for a leader: handing leadership over takes some 10 ms, an election some hundreds. A
/// caller that goes on asking waits longer each time by itself.
const LEADER_RETRY: Duration = Duration::from_millis(50);

/// No leader is known: an election is going on, or a majority of the masters is gone.
pub(crate) fn no_leader() -> Status {
    let message = "no leader is known: an election is going on, or a majority of the masters cannot be reached";
    try_again(Code::Unavailable, "NO_LEADER", message, LEADER_RETRY)
}

/// Too much work is waiting.
pub(crate) fn overloaded() -> Status {
    let message = "too many commands are waiting to be committed; try again in a moment";
    try_again(Code::ResourceExhausted, "OVERLOADED", message, Duration::from_millis(500))
}

/// A run that is neither live nor in the history.
pub(crate) fn no_such_run(what: &str) -> Status {
    let message = format!("run {what} does not exist; `muster get runs` lists those that do");
    fault_with(Code::NotFound, "RUN_NOT_FOUND", message, &[("run", what.to_owned())])
}

/// Malformed request fields.
pub(crate) fn bad_request(violations: Vec<FieldViolation>) -> Status {
    let message = violations
        .iter()
        .map(|it| format!("{}: {}", it.field, it.description))
        .collect::<Vec<_>>()
        .join("\n");
    let mut details = ErrorDetails::new();
    details.set_error_info("INVALID_REQUEST", DOMAIN, HashMap::new());
    for violation in violations {
        details.add_bad_request_violation(violation.field, violation.description);
    }
    Status::with_error_details(Code::InvalidArgument, message, details)
}

/// One malformed request field.
pub(crate) fn bad_field(field: &str, description: impl Into<String>) -> Status {
    bad_request(vec![FieldViolation::new(field, description)])
}

/// What is wrong with a workflow, each problem with its place.
pub(crate) fn bad_spec(errors: &SpecErrors) -> Status {
    let mut facts = HashMap::new();
    let mut details = ErrorDetails::new();
    for (number, error) in errors.errors.iter().enumerate() {
        if let Some(position) = &error.position {
            facts.insert(format!("line.{number}"), position.line.to_string());
            facts.insert(format!("column.{number}"), position.column.to_string());
        }
        details.add_bad_request_violation(error.path.clone(), error.message.clone());
    }
    details.set_error_info("INVALID_WORKFLOW", DOMAIN, facts);
    Status::with_error_details(Code::InvalidArgument, errors.to_string(), details)
}

/// A message that does not decode.
pub(crate) fn bad_message(error: &DecodeError) -> Status {
    fault(Code::InvalidArgument, "INVALID_REQUEST", error.to_string())
}

/// The deterministic "no" of the state.
pub(crate) fn rejection(rejection: &Rejection) -> Status {
    let (code, reason) = match rejection {
        Rejection::RequestIdReused { .. } => (Code::AlreadyExists, "REQUEST_ID_REUSED"),
        Rejection::RequestIdTooLong => (Code::InvalidArgument, "REQUEST_ID_TOO_LONG"),
        Rejection::InvalidSpec { .. } => (Code::InvalidArgument, "INVALID_WORKFLOW"),
        Rejection::NoSuchWorkflow { .. } => (Code::NotFound, "WORKFLOW_NOT_FOUND"),
        Rejection::BadParam { .. } => (Code::InvalidArgument, "INVALID_PARAM"),
        Rejection::NoSuchRun { .. } => (Code::NotFound, "RUN_NOT_LIVE"),
        Rejection::RunStopping { .. } => (Code::FailedPrecondition, "RUN_STOPPING"),
        Rejection::HooksBegun { .. } => (Code::FailedPrecondition, "HOOKS_BEGUN"),
        Rejection::NoSuchTask { .. } => (Code::NotFound, "TASK_NOT_FOUND"),
        Rejection::TaskLive { .. } => (Code::FailedPrecondition, "TASK_LIVE"),
        Rejection::TaskEnded { .. } => (Code::FailedPrecondition, "TASK_ENDED"),
        Rejection::BadRetry { .. } => (Code::FailedPrecondition, "RETRY_IMPOSSIBLE"),
        Rejection::NothingFailed => (Code::FailedPrecondition, "NOTHING_FAILED"),
        Rejection::RunForbidden { .. } => (Code::FailedPrecondition, "RUN_FORBIDDEN"),
        Rejection::QuotaReached { .. } => (Code::FailedPrecondition, "QUOTA_REACHED"),
        Rejection::NoSuchGroup { .. } => (Code::FailedPrecondition, "NO_SUCH_GROUP"),
        Rejection::BadNamespace { .. } => (Code::InvalidArgument, "INVALID_NAMESPACE"),
        Rejection::TriggerCycle { .. } => (Code::FailedPrecondition, "TRIGGER_CYCLE"),
        Rejection::NoSuchSchedule { .. } => (Code::NotFound, "SCHEDULE_NOT_FOUND"),
        Rejection::FireTimeAhead => (Code::InvalidArgument, "FIRE_TIME_AHEAD"),
        Rejection::StaleFire => (Code::Aborted, "STALE_FIRE"),
        Rejection::SuspendedByFile { .. } => (Code::FailedPrecondition, "SUSPENDED_BY_FILE"),
        Rejection::NotAwaiting { .. } => (Code::FailedPrecondition, "TASK_NOT_AWAITING"),
        Rejection::NotHeld => (Code::FailedPrecondition, "TASK_NOT_HELD"),
        Rejection::NoSuchWorker { .. } => (Code::NotFound, "WORKER_NOT_FOUND"),
        Rejection::LimitReached { .. } => (Code::ResourceExhausted, "LIMIT_REACHED"),
        Rejection::BadWorker { .. } => (Code::InvalidArgument, "INVALID_WORKER"),
    };
    fault(code, reason, rejection.to_string())
}
