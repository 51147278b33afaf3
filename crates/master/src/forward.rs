//! Forwarding: every master takes every call, and hands to the leader what only the leader can answer.
//!
//! A forwarded call is never forwarded again: if leadership moved meanwhile the caller gets `UNAVAILABLE` and retries.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt as _, Stream};
use muster_platform::{Connector, Platform};
use parking_lot::Mutex;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};

use crate::api::asker::keep_origin;
use crate::faults;
use crate::replica::Replica;

/// Set on forwarded calls.
const FORWARDED: &str = "muster-forwarded";

/// The leader that a call was forwarded to, by its member id.
#[derive(Clone, Copy)]
pub(crate) struct Asked(u64);

/// How long a leader that leads no more may take for the answer to the call that ended its leadership.
const LAST_ANSWER_WAIT_MAX: Duration = Duration::from_secs(1);

/// Largest message between masters on behalf of callers, in bytes; above the API's own limit.
pub(crate) const MESSAGE_BYTES_MAX: usize = 9 << 20;

/// One lazy channel an address.
pub(crate) struct Channels {
    connector: Connector,
    by_address: Mutex<BTreeMap<String, Channel>>,
}

impl Channels {
    pub(crate) fn new(platform: &Platform) -> Self {
        Channels { connector: platform.connector(), by_address: Mutex::default() }
    }

    fn to(&self, address: &str) -> Result<Channel, Status> {
        let mut channels = self.by_address.lock();
        if let Some(channel) = channels.get(address) {
            return Ok(channel.clone());
        }
        let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|error| {
            Status::internal(format!("the leader advertises a bad address {address}: {error}"))
        })?;
        let channel = endpoint
            .connect_timeout(Duration::from_millis(500))
            .http2_keep_alive_interval(Duration::from_secs(5))
            .keep_alive_timeout(Duration::from_secs(2))
            .connect_with_connector_lazy(self.connector.clone());
        channels.insert(address.to_owned(), channel.clone());
        Ok(channel)
    }
}

impl Replica {
    /// Where to forward a call to; `None` if this master leads and answers itself.
    pub(crate) fn forward_to<T>(
        &self,
        request: &Request<T>,
    ) -> Result<Option<(Channel, Asked)>, Status> {
        let leadership = self.leadership();
        if leadership.is_leader {
            return Ok(None);
        }
        let was_forwarded = is_forwarded(request.metadata());
        match leadership.leader {
            Some(leader) if !was_forwarded => {
                let channel = self.channels.to(&leader.peer.api_address)?;
                Ok(Some((channel, Asked(leader.id))))
            }
            Some(_) | None => Err(faults::no_leader()),
        }
    }

    /// Waits for a leader's answer, but not beyond the end of its leadership: a leader that is cut off does not answer,
    /// and does not close the connection either.
    pub(crate) async fn while_leads<T>(
        &self,
        asked: Asked,
        call: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Status> {
        let mut leadership = self.raft.watch_leadership();
        let leads = |it: &muster_raft::Leadership| {
            it.leader.as_ref().is_some_and(|leader| leader.id == asked.0)
        };
        tokio::select! {
            biased;
            answer = call => answer.map_err(of_leader),
            _ = leadership.wait_for(|it| !leads(it)) => Err(faults::no_leader()),
        }
    }

    /// Waits for a leader's answer to a call that ends its leadership. To give up when that ends would have the caller
    /// ask again, and the next leader carry the call out once more.
    pub(crate) async fn beyond_leadership<T>(
        &self,
        asked: Asked,
        call: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Status> {
        tokio::pin!(call);
        // The first to know is the next leader, and it may be this master; the one before answers once it knows too.
        match self.while_leads(asked, call.as_mut().map(Ok)).await {
            Ok(answer) => answer.map_err(of_leader),
            Err(ended) => {
                let answer = tokio::time::timeout(LAST_ANSWER_WAIT_MAX, call).await;
                answer.map_or(Err(ended), |answer| answer.map_err(of_leader))
            }
        }
    }
}

/// What a caller is told of a leader's error. If the connection to the leader broke, the call may be repeated: the
/// transport's own code would say that it may not.
fn of_leader(status: Status) -> Status {
    // A status with a source was made here, and not sent by the leader.
    match std::error::Error::source(&status) {
        Some(_) => faults::no_leader(),
        None => status,
    }
}

/// Passes a leader's stream on until its leadership ends; see [`Replica::while_leads`].
pub(crate) fn stream_while_leads<T>(
    replica: Arc<Replica>,
    asked: Asked,
    stream: Streaming<T>,
) -> impl Stream<Item = Result<T, Status>> {
    futures::stream::unfold(Some((replica, stream)), move |state| async move {
        let (replica, mut stream) = state?;
        let next = replica.while_leads(asked, stream.message()).await.transpose()?;
        let goes_on = next.is_ok();
        Some((next, goes_on.then_some((replica, stream))))
    })
}

/// Whether another master passed a call on.
pub(crate) fn is_forwarded(metadata: &MetadataMap) -> bool {
    metadata.contains_key(FORWARDED)
}

/// The same call, marked as forwarded.
pub(crate) fn forwarded<T>(mut request: Request<T>) -> Request<T> {
    keep_origin(&mut request);
    request.metadata_mut().insert(FORWARDED, MetadataValue::from_static("1"));
    request
}

/// Hands a unary call to the leader unless this master leads.
macro_rules! forward {
    ($replica:expr, $request:expr, $client:ty, $method:ident) => {
        if let Some((channel, asked)) = $replica.forward_to(&$request)? {
            let limit = $crate::forward::MESSAGE_BYTES_MAX;
            let mut client = <$client>::new(channel)
                .max_decoding_message_size(limit)
                .max_encoding_message_size(limit);
            let call = client.$method($crate::forward::forwarded($request));
            return $replica.while_leads(asked, call).await;
        }
    };
}

/// Hands a call with a streamed answer to the leader unless this master leads.
macro_rules! forward_stream {
    ($replica:expr, $request:expr, $client:ty, $method:ident) => {
        if let Some((channel, asked)) = $replica.forward_to(&$request)? {
            let limit = $crate::forward::MESSAGE_BYTES_MAX;
            let mut client = <$client>::new(channel)
                .max_decoding_message_size(limit)
                .max_encoding_message_size(limit);
            let call = client.$method($crate::forward::forwarded($request));
            let response = $replica.while_leads(asked, call).await?;
            let replica = $replica.clone();
            return Ok(response.map(|stream| -> $crate::api::Answers<_> {
                Box::pin($crate::forward::stream_while_leads(replica, asked, stream))
            }));
        }
    };
}

pub(crate) use {forward, forward_stream};

#[cfg(test)]
mod tests {
    use std::io;

    use tonic::Code;

    use super::*;

    #[test]
    fn a_connection_that_breaks_is_no_answer_of_the_leader() {
        for kind in [io::ErrorKind::BrokenPipe, io::ErrorKind::ConnectionReset] {
            let broken = Status::from_error(Box::new(io::Error::from(kind)));
            assert_eq!(of_leader(broken).code(), Code::Unavailable);
        }
        for answer in [Status::not_found("no such run"), Status::unknown("the leader says so")] {
            assert_eq!(of_leader(answer.clone()).code(), answer.code());
        }
    }
}
