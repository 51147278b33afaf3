//! The public API's services: check, forward or propose, answer.

pub(crate) mod cluster;
pub(crate) mod log;
pub(crate) mod run;
pub(crate) mod worker;
pub(crate) mod workflow;

use std::pin::Pin;

use futures::Stream;
use muster_core::command::RequestKey;
use muster_core::limits;
use muster_core::spec::validate::validate;
use muster_core::spec::{self, WorkflowSpec};
use muster_proto::{convert, v1};
use tonic::{Response, Status};

use crate::faults;
use crate::replica::Replica;

/// A streamed answer.
pub(crate) type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The idempotency key of a request; `None` if the caller gave none.
pub(crate) fn request_key(id: &str, digest: u64) -> Result<Option<RequestKey>, Status> {
    if id.len() > limits::REQUEST_ID_BYTES_MAX {
        return Err(faults::bad_field("request_id", "a request id has at most 128 bytes"));
    }
    Ok((!id.is_empty()).then(|| RequestKey { id: id.into(), digest }))
}

/// The workflow a caller sends, checked.
pub(crate) fn checked_spec(source: Option<v1::WorkflowSource>) -> Result<WorkflowSpec, Status> {
    let source = source.and_then(|source| source.source);
    let source = source.ok_or_else(|| faults::bad_field("source", "give a spec or a manifest"))?;
    match source {
        v1::workflow_source::Source::Spec(spec) => {
            let spec =
                convert::spec_from_proto(spec).map_err(|error| faults::bad_message(&error))?;
            validate(&spec).map_err(|errors| faults::bad_spec(&errors))?;
            Ok(spec)
        }
        v1::workflow_source::Source::Manifest(manifest) => {
            let mut specs = spec::parse(&manifest).map_err(|errors| faults::bad_spec(&errors))?;
            match (specs.pop(), specs.len()) {
                (Some(spec), 0) => Ok(spec),
                (_, more) => {
                    let message =
                        format!("one workflow is expected, the manifest has {}", more + 1);
                    Err(faults::bad_field("source.manifest", message))
                }
            }
        }
    }
}

/// An answer that says how far this master has applied the log, and who leads.
pub(crate) fn answer<T>(replica: &Replica, message: T) -> Response<T> {
    let mut response = Response::new(message);
    let leadership = replica.leadership();
    let leader = leadership.leader.map(|leader| leader.peer.api_address).unwrap_or_default();
    let facts = [
        ("muster-leader", leader),
        ("muster-term", leadership.term.to_string()),
        ("muster-applied-index", replica.cell.applied().to_string()),
    ];
    for (key, value) in facts {
        if let Ok(value) = value.parse() {
            response.metadata_mut().insert(key, value);
        }
    }
    response
}

/// How many items a page has.
pub(crate) fn page_size(asked: u32, default: usize, max: usize) -> usize {
    if asked == 0 { default } else { (asked as usize).min(max) }
}

/// The number in a page token; `None` for the first page.
pub(crate) fn page_start(token: &str, prefix: char) -> Result<Option<u64>, Status> {
    if token.is_empty() {
        return Ok(None);
    }
    let number = token.strip_prefix(prefix).and_then(|number| number.parse().ok());
    number.map(Some).ok_or_else(|| {
        faults::bad_field("page_token", "this is not a token that this listing gave out")
    })
}
