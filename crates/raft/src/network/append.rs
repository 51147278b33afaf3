//! Log replication over one bidirectional stream.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use muster_proto::internal::v1 as pb;
use openraft::OptionalSend;
use openraft::base::BoxStream;
use openraft::errors::RPCError;
use openraft::raft::{AppendEntriesRequest, StreamAppendResult};
use parking_lot::Mutex;
use tokio::time::Instant;
use tonic::{Status, Streaming};

use super::client::{broken, unreachable};
use super::links::Link;
use super::{APPEND_TIMEOUT, CONNECT_TIMEOUT, Identity, Lane};
use crate::types::TypeConfig;
use crate::wire;

type Failure = RPCError<TypeConfig>;
type Answers<'s> = BoxStream<'s, Result<StreamAppendResult<TypeConfig>, Failure>>;

/// How often the age of the oldest unanswered request is looked at.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// When each unanswered request was sent, oldest first.
type InFlight = Arc<Mutex<VecDeque<Instant>>>;

#[derive(Debug, thiserror::Error)]
#[error("no answer to an append for {0:?}")]
struct Unanswered(Duration);

/// Sends `input` to member `target` and returns the answers in order.
pub(super) async fn stream<'s, S>(
    link: Arc<Link>,
    identity: Arc<Identity>,
    target: u64,
    mut input: S,
) -> Result<Answers<'s>, Failure>
where
    S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
{
    // openraft backs off inside `input`. Connecting before the first request is there would turn a refused connection
    // into a busy loop.
    let Some(first) = input.next().await else {
        return Ok(futures::stream::empty().boxed());
    };
    let in_flight = InFlight::default();
    let sent = Arc::clone(&in_flight);
    let requests =
        futures::stream::once(std::future::ready(first)).chain(input).map(move |request| {
            sent.lock().push_back(Instant::now());
            wire::append_out(&request)
        });
    let request = identity.address(requests, target).map_err(|status| unreachable(&status))?;
    let mut client = link.client(Lane::Append).map_err(|error| unreachable(&error))?;
    match tokio::time::timeout(2 * CONNECT_TIMEOUT, client.stream_append(request)).await {
        Ok(Ok(response)) => Ok(answers(link, response.into_inner(), in_flight)),
        Ok(Err(status)) => {
            link.warn_of_refusal(&status);
            Err(unreachable(&status))
        }
        Err(elapsed) => {
            link.reset(Lane::Append);
            Err(unreachable(&elapsed))
        }
    }
}

fn answers<'s>(
    link: Arc<Link>,
    responses: Streaming<pb::AppendResponse>,
    in_flight: InFlight,
) -> Answers<'s> {
    let state = Some((link, responses, in_flight));
    futures::stream::unfold(state, |state| async move {
        let (link, mut responses, in_flight) = state?;
        let item = match next(&mut responses, &in_flight).await {
            Ok(Some(response)) => wire::append_result_in(&response).map_err(|error| broken(&error)),
            Ok(None) => return None,
            Err(failure) => {
                // Streams have no deadline of their own, and the connection may be half dead.
                link.reset(Lane::Append);
                Err(failure)
            }
        };
        let is_last = !matches!(item, Ok(Ok(_)));
        Some((item, (!is_last).then_some((link, responses, in_flight))))
    })
    .boxed()
}

/// The next answer, or an error once the oldest request has waited too long for its own.
async fn next(
    responses: &mut Streaming<pb::AppendResponse>,
    in_flight: &InFlight,
) -> Result<Option<pb::AppendResponse>, Failure> {
    loop {
        match tokio::time::timeout(CHECK_INTERVAL, responses.message()).await {
            Ok(Ok(response)) => {
                in_flight.lock().pop_front();
                return Ok(response);
            }
            Ok(Err(status)) => return Err(stream_failure(&status)),
            Err(_) => {
                let waited = in_flight.lock().front().map(Instant::elapsed);
                if let Some(waited) = waited.filter(|waited| *waited > APPEND_TIMEOUT) {
                    return Err(unreachable(&Unanswered(waited)));
                }
            }
        }
    }
}

/// A broken stream is opened again at once; a peer that refuses is given time.
fn stream_failure(status: &Status) -> Failure {
    match status.code() {
        tonic::Code::FailedPrecondition
        | tonic::Code::PermissionDenied
        | tonic::Code::InvalidArgument => unreachable(status),
        _ => broken(status),
    }
}
