//! Connections to the peers, made when first used and made anew after a fault.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use muster_platform::{Connector, Platform};
use muster_proto::internal::v1::peer_service_client::PeerServiceClient;
use parking_lot::Mutex;
use tonic::transport::{Channel, Endpoint};

use super::outage::Outage;
use super::{
    CONNECT_TIMEOUT, CONNECTION_WINDOW_BYTES, Clocks, Identity, MESSAGE_BYTES_MAX, PROBE_AFTER,
    PROBE_TIMEOUT, STREAM_WINDOW_BYTES,
};
use crate::types::Peer;

/// Which connection a call uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    Append,
    Control,
    Bulk,
}

/// Where this master's configuration says that peers are, by name. It prevails over what the membership says: names
/// stay, addresses may change.
#[derive(Clone, Debug, Default)]
pub(crate) struct AddressBook(pub(crate) BTreeMap<String, String>);

impl AddressBook {
    pub(crate) fn find(&self, peer: &Peer) -> String {
        self.0.get(&peer.name).unwrap_or(&peer.peer_address).clone()
    }
}

/// All connections of this master.
#[derive(Debug)]
pub(crate) struct Links {
    pub(crate) identity: Arc<Identity>,
    pub(crate) addresses: AddressBook,
    pub(crate) clocks: Arc<Clocks>,
    platform: Platform,
    links: Mutex<BTreeMap<String, Arc<Link>>>,
}

impl Links {
    pub(crate) fn new(identity: Arc<Identity>, addresses: AddressBook, platform: Platform) -> Self {
        let clocks = Arc::new(Clocks::new(platform.clone()));
        Self { identity, addresses, clocks, platform, links: Mutex::default() }
    }

    /// The connections to one address.
    pub(crate) fn to(&self, address: &str) -> Arc<Link> {
        let mut links = self.links.lock();
        let new = || Arc::new(Link::new(address, self.platform.connector()));
        Arc::clone(links.entry(address.to_owned()).or_insert_with(new))
    }
}

/// The three connections to one address.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) address: String,
    connector: Connector,
    lanes: [Mutex<Option<Channel>>; 3],
    has_warned: AtomicBool,
    pub(super) outage: Outage,
}

impl Link {
    fn new(address: &str, connector: Connector) -> Self {
        Self {
            address: address.into(),
            connector,
            lanes: Default::default(),
            has_warned: AtomicBool::new(false),
            outage: Outage::default(),
        }
    }

    /// A client on a lane; it connects when it is used. Must be called within the Raft runtime.
    pub(crate) fn client(
        &self,
        lane: Lane,
    ) -> Result<PeerServiceClient<Channel>, tonic::transport::Error> {
        let mut slot = self.lanes[lane as usize].lock();
        let channel = match slot.as_ref() {
            Some(channel) => channel.clone(),
            None => slot.insert(self.connect()?).clone(),
        };
        Ok(PeerServiceClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX))
    }

    fn connect(&self) -> Result<Channel, tonic::transport::Error> {
        Ok(Endpoint::from_shared(format!("http://{}", self.address))?
            .connect_timeout(CONNECT_TIMEOUT)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .http2_keep_alive_interval(PROBE_AFTER)
            .keep_alive_timeout(PROBE_TIMEOUT)
            .keep_alive_while_idle(true)
            .connect_with_connector_lazy(self.connector.clone()))
    }

    /// Gives up the lane's connection, which may be half dead; the next use connects again.
    pub(crate) fn reset(&self, lane: Lane) {
        *self.lanes[lane as usize].lock() = None;
    }

    /// Tells the operator once that the peer refuses us.
    pub(crate) fn warn_of_refusal(&self, status: &tonic::Status) {
        let is_refusal = status.code() == tonic::Code::PermissionDenied;
        if is_refusal && !self.has_warned.swap(true, Ordering::Relaxed) {
            tracing::error!(peer = %self.address, "the peer refuses this master: {}", status.message());
        }
    }
}
