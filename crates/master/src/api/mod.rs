//! The public API's services: check, forward or propose, answer.

pub(crate) mod asker;
pub(crate) mod audit;
mod backfill;
pub(crate) mod cluster;
pub(crate) mod log;
pub(crate) mod namespace;
mod operate;
mod retry;
pub(crate) mod run;
pub(crate) mod schedule;
pub(crate) mod webhook;
pub(crate) mod worker;
pub(crate) mod workflow;

use std::pin::Pin;

use futures::Stream;
use muster_core::command::RequestKey;
use muster_core::limits;
use muster_core::reply::{Rejection, Reply};
use muster_core::spec::{self, WorkflowSpec};
use muster_proto::{convert, v1};
use tonic::{Response, Status};

use crate::faults;
use crate::replica::Replica;

/// A streamed answer.
pub(crate) type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Bytes of the items on one page: less than any caller takes in one message.
const PAGE_BYTES_MAX: usize = 2 << 20;

/// The idempotency key of a request; `None` if the caller gave none.
pub(crate) fn request_key(id: &str, digest: u64) -> Result<Option<RequestKey>, Status> {
    if id.len() > limits::REQUEST_ID_BYTES_MAX {
        return Err(faults::bad_field("request_id", "a request id has at most 128 bytes"));
    }
    Ok((!id.is_empty()).then(|| RequestKey { id: id.into(), digest }))
}

/// What was answered to this request, if it was carried out before: for calls that first look up what they name, and
/// find it gone because they were carried out (I3).
pub(crate) fn answered(
    replica: &Replica,
    request: Option<&RequestKey>,
) -> Result<Option<Reply>, Status> {
    let Some(RequestKey { id, digest }) = request else { return Ok(None) };
    replica.cell.read(|state| match state.requests().get(id) {
        Some(known) if known.digest == *digest => Ok(Some(known.reply.clone())),
        Some(_) => Err(faults::rejection(&Rejection::RequestIdReused { id: id.to_string() })),
        None => Ok(None),
    })
}

/// The workflow a caller sends, checked.
pub(crate) fn checked_spec(source: Option<v1::WorkflowSource>) -> Result<WorkflowSpec, Status> {
    let source = source.and_then(|source| source.source);
    let source = source.ok_or_else(|| faults::bad_field("source", "give a spec or a manifest"))?;
    match source {
        v1::workflow_source::Source::Spec(spec) => {
            let spec =
                convert::spec_from_proto(spec).map_err(|error| faults::bad_message(&error))?;
            spec::validate_with(&spec, &muster_expressions::check)
                .map_err(|errors| faults::bad_spec(&errors))?;
            for (at, schedule) in spec.schedules.iter().enumerate() {
                muster_calendar::check(schedule).map_err(|(field, problem)| {
                    faults::bad_field(&format!("schedule[{at}].{field}"), problem)
                })?;
            }
            Ok(spec)
        }
        v1::workflow_source::Source::Manifest(manifest) => {
            let specs =
                spec::parse_with(&manifest, &muster_calendar::check, &muster_expressions::check);
            let mut specs = specs.map_err(|errors| faults::bad_spec(&errors))?;
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

/// The first of `items`: at most `limit`, and fewer if they are large, but at least one. With the first that is left.
pub(crate) fn bounded_page<M: prost::Message>(
    items: impl Iterator<Item = M>,
    limit: usize,
) -> (Vec<M>, Option<M>) {
    let mut page = Vec::new();
    let mut bytes = 0;
    for item in items {
        let size = item.encoded_len();
        let is_full = page.len() >= limit || (bytes + size > PAGE_BYTES_MAX && !page.is_empty());
        if is_full {
            return (page, Some(item));
        }
        bytes += size;
        page.push(item);
    }
    (page, None)
}

/// Whether a page has as many bytes as it should have.
pub(crate) fn is_large(page: &[impl prost::Message]) -> bool {
    page.iter().map(prost::Message::encoded_len).sum::<usize>() >= PAGE_BYTES_MAX
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_bounded_in_number_and_in_bytes() {
        let run = |bytes| v1::Run { workflow: "x".repeat(bytes), ..Default::default() };
        let sizes = |bytes: usize, limit| {
            let (page, left) = bounded_page((0..10).map(|_| run(bytes)), limit);
            (page.len(), left.is_some())
        };
        assert_eq!(sizes(10, 20), (10, false));
        assert_eq!(sizes(10, 10), (10, false));
        assert_eq!(sizes(10, 9), (9, true));
        assert_eq!(sizes(900_000, 10), (2, true));
        assert_eq!(
            sizes(3 << 20, 10),
            (1, true),
            "one always fits, or the caller would never get on"
        );
    }
}
