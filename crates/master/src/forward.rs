//! Forwarding: every master takes every call, and hands to the leader what only the leader can answer.
//!
//! A forwarded call is never forwarded again: if leadership moved meanwhile the caller gets `UNAVAILABLE` and retries.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::faults;
use crate::replica::Replica;

/// Set on forwarded calls.
const FORWARDED: &str = "muster-forwarded";

/// Largest message between masters on behalf of callers, in bytes; above the API's own limit.
pub(crate) const MESSAGE_BYTES_MAX: usize = 9 << 20;

/// One lazy channel an address.
#[derive(Default)]
pub(crate) struct Channels {
    by_address: Mutex<HashMap<String, Channel>>,
}

impl Channels {
    fn to(&self, address: &str) -> Result<Channel, Status> {
        let mut channels = self.by_address.lock();
        if let Some(channel) = channels.get(address) {
            return Ok(channel.clone());
        }
        let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|error| {
            Status::internal(format!("the leader advertises a bad address {address}: {error}"))
        })?;
        let channel = endpoint
            .tcp_nodelay(true)
            .connect_timeout(Duration::from_millis(500))
            .http2_keep_alive_interval(Duration::from_secs(5))
            .keep_alive_timeout(Duration::from_secs(2))
            .connect_lazy();
        channels.insert(address.to_owned(), channel.clone());
        Ok(channel)
    }
}

impl Replica {
    /// Where to forward a call to; `None` if this master leads and answers itself.
    pub(crate) fn forward_to<T>(&self, request: &Request<T>) -> Result<Option<Channel>, Status> {
        let leadership = self.leadership();
        if leadership.is_leader {
            return Ok(None);
        }
        let was_forwarded = request.metadata().contains_key(FORWARDED);
        match leadership.leader {
            Some(leader) if !was_forwarded => self.channels.to(&leader.peer.api_address).map(Some),
            Some(_) | None => Err(faults::no_leader()),
        }
    }
}

/// The same call, marked as forwarded.
pub(crate) fn forwarded<T>(mut request: Request<T>) -> Request<T> {
    request.metadata_mut().insert(FORWARDED, MetadataValue::from_static("1"));
    request
}

/// Hands a unary call to the leader unless this master leads.
macro_rules! forward {
    ($replica:expr, $request:expr, $client:ty, $method:ident) => {
        if let Some(channel) = $replica.forward_to(&$request)? {
            let limit = $crate::forward::MESSAGE_BYTES_MAX;
            let mut client = <$client>::new(channel)
                .max_decoding_message_size(limit)
                .max_encoding_message_size(limit);
            return client.$method($crate::forward::forwarded($request)).await;
        }
    };
}

/// Hands a call with a streamed answer to the leader unless this master leads.
macro_rules! forward_stream {
    ($replica:expr, $request:expr, $client:ty, $method:ident) => {
        if let Some(channel) = $replica.forward_to(&$request)? {
            let limit = $crate::forward::MESSAGE_BYTES_MAX;
            let mut client = <$client>::new(channel)
                .max_decoding_message_size(limit)
                .max_encoding_message_size(limit);
            let response = client.$method($crate::forward::forwarded($request)).await?;
            return Ok(response.map(|stream| -> $crate::api::Answers<_> { Box::pin(stream) }));
        }
    };
}

pub(crate) use {forward, forward_stream};
