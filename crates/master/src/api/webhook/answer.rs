//! What callers are answered, in JSON.

use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, StatusCode};
use axum::response::Response;
use muster_core::ids::Name;
use muster_proto::v1;
use serde_json::json;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::{Address, BODY_BYTES_MAX, PATIENCE};

/// The run that a call has made, or had made before.
pub(super) fn accepted(run: &v1::SubmitRunResponse) -> Response {
    let label = format!("{}/{}", run.workflow, run.number);
    let body = json!({ "namespace": run.namespace, "run": label, "runId": run.run_id });
    answer(StatusCode::ACCEPTED, None, &body)
}

fn answer(
    status: StatusCode,
    header: Option<(HeaderName, String)>,
    body: &serde_json::Value,
) -> Response {
    let mut answer = Response::builder().status(status).header(CONTENT_TYPE, "application/json");
    if let Some((name, value)) = header {
        answer = answer.header(name, value);
    }
    // Only a header that is none could be refused, and these are ours.
    answer.body(Body::from(format!("{body}\n"))).unwrap_or_default()
}

/// Why a call made no run.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    reason: String,
    message: String,
    header: Option<(HeaderName, String)>,
}

impl Refusal {
    fn new(status: StatusCode, reason: &str, message: impl Into<String>) -> Self {
        Refusal { status, reason: reason.to_owned(), message: message.into(), header: None }
    }

    fn unauthorized(message: impl Into<String>) -> Self {
        Refusal::new(StatusCode::UNAUTHORIZED, "UNAUTHENTICATED", message)
    }

    fn token(message: &str) -> Self {
        let header = Some((WWW_AUTHENTICATE, "Bearer".to_owned()));
        Refusal { header, ..Refusal::unauthorized(message) }
    }

    pub(super) fn no_token() -> Self {
        Refusal::token("the call shows no token: send it as `Authorization: Bearer TOKEN`")
    }

    pub(super) fn wrong_token() -> Self {
        Refusal::token("the token is not the one of this webhook")
    }

    pub(super) fn no_signature(header: &str) -> Self {
        Refusal::unauthorized(format!("the call has no signature in the header {header}"))
    }

    pub(super) fn wrong_signature(header: &str) -> Self {
        let text = format!("the signature in the header {header} is not that of the body");
        Refusal::unauthorized(text)
    }

    pub(super) fn no_key(name: &Name, why: &str) -> Self {
        let text = format!("this master does not have the key `{name}`: {why}");
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "KEY_MISSING", text)
    }

    pub(super) fn unknown((namespace, workflow, webhook): &Address) -> Self {
        let text = format!("no workflow `{workflow}` of `{namespace}` has a webhook `{webhook}`");
        Refusal::new(StatusCode::NOT_FOUND, "WEBHOOK_NOT_FOUND", text)
    }

    pub(super) fn no_path() -> Self {
        let text =
            "only POST /webhooks/NAMESPACE/WORKFLOW/WEBHOOK is answered here, and gRPC over HTTP/2";
        Refusal::new(StatusCode::NOT_FOUND, "WEBHOOK_NOT_FOUND", text)
    }

    pub(super) fn bad_call(message: String) -> Self {
        Refusal::new(StatusCode::BAD_REQUEST, "INVALID_CALL", message)
    }

    /// The body did not come, or is too long.
    pub(super) fn body(error: &axum::Error) -> Self {
        let text =
            format!("the body could not be read: {error}; it may have {BODY_BYTES_MAX} bytes");
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "INVALID_CALL", text)
    }

    pub(super) fn late() -> Self {
        let text = format!(
            "not done within {} s, and perhaps done later; send the call again with the same Idempotency-Key",
            PATIENCE.as_secs()
        );
        Refusal::new(StatusCode::GATEWAY_TIMEOUT, "LATE", text)
    }

    /// Whether this master may only not know yet.
    pub(super) fn may_be_outdated(&self) -> bool {
        matches!(self.status, StatusCode::UNAUTHORIZED | StatusCode::NOT_FOUND)
    }

    pub(super) fn answer(self) -> Response {
        let body = json!({ "reason": self.reason, "message": self.message });
        answer(self.status, self.header, &body)
    }

    #[cfg(test)]
    pub(super) fn message(&self) -> &str {
        &self.message
    }
}

/// What the service for runs says, in the codes of HTTP.
impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        let details = status.get_error_details();
        let reason = details.error_info().map_or("", |info| info.reason.as_str());
        let code = match status.code() {
            Code::InvalidArgument => StatusCode::BAD_REQUEST,
            Code::NotFound => StatusCode::NOT_FOUND,
            Code::AlreadyExists | Code::FailedPrecondition | Code::Aborted => StatusCode::CONFLICT,
            Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
            Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let after = details.retry_info().and_then(|info| info.retry_delay);
        // Whole seconds are all that the header can say.
        let after = after.map(|it: Duration| it.as_secs() + u64::from(it.subsec_nanos() > 0));
        let header = after.map(|seconds| (RETRY_AFTER, seconds.to_string()));
        Refusal { header, ..Refusal::new(code, reason, status.message()) }
    }
}
