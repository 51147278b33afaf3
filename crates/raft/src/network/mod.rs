//! The peers' protocol: gRPC on a port of its own.
//!
//! ```text
//!  this master                                     a peer
//!    append lane  ══ StreamAppend, one stream ═══►   log entries, answered in order
//!    control lane ── votes, heartbeats, Hello … ─►   small and urgent
//!    bulk lane    ── InstallSnapshot ────────────►   large and patient
//! ```
//!
//! The lanes are connections of their own, so that neither a snapshot nor a batch of entries delays a heartbeat. Each
//! call says to which cluster and which member it is addressed, and a receiver that is not meant refuses: an address
//! may have been taken over by a wiped master, or by one of another cluster. Names are resolved again at each
//! reconnect. Answers on the control lane carry the clock of whoever answers, see [`clocks`].

mod append;
mod client;
mod clocks;
mod links;
mod outage;
mod server;
mod snapshot_receive;
mod snapshot_send;

use std::time::Duration;

use parking_lot::RwLock;
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};
use tonic::{Request, Status};

pub(crate) use client::PeerNetwork;
pub(crate) use clocks::Clocks;
pub(crate) use links::{AddressBook, Lane, Links};
pub(crate) use server::{PeerServer, serve};
pub(crate) use snapshot_receive::SnapshotReceiver;

use crate::types::ClusterId;

const CLUSTER_KEY: &str = "muster-cluster-id";
const MEMBER_KEY: &str = "muster-to-member";

/// The largest message of this protocol.
pub(crate) const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// Parts of a snapshot are about this large.
const PART_BYTES: usize = 1 << 20;
const STREAM_WINDOW_BYTES: u32 = 8 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// A connection without any frame for this long is probed, and closed if the probe is not answered in time.
const PROBE_AFTER: Duration = Duration::from_millis(1_000);
const PROBE_TIMEOUT: Duration = Duration::from_millis(1_000);
const CONNECT_TIMEOUT: Duration = Duration::from_millis(1_000);
/// An append that is not answered for this long ends its stream.
const APPEND_TIMEOUT: Duration = Duration::from_secs(5);
/// A snapshot transfer ends when nothing moves for this long, or its installation takes longer than the second.
const SNAPSHOT_IDLE_TIMEOUT: Duration = Duration::from_secs(30);
const SNAPSHOT_INSTALL_TIMEOUT: Duration = Duration::from_secs(600);

/// Who this master is.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) member_id: u64,
    cluster_id: RwLock<Option<ClusterId>>,
}

impl Identity {
    pub(crate) fn new(member_id: u64, cluster_id: Option<ClusterId>) -> Self {
        Self { member_id, cluster_id: RwLock::new(cluster_id) }
    }

    /// None before formation.
    pub(crate) fn cluster_id(&self) -> Option<ClusterId> {
        *self.cluster_id.read()
    }

    pub(crate) fn set_cluster_id(&self, cluster_id: ClusterId) {
        *self.cluster_id.write() = Some(cluster_id);
    }

    /// Addresses a request to member `to` of the own cluster.
    fn address<T>(&self, message: T, to: u64) -> Result<Request<T>, Status> {
        let Some(cluster_id) = self.cluster_id() else {
            return Err(Status::failed_precondition("this master belongs to no cluster yet"));
        };
        let mut request = Request::new(message);
        let value =
            |text: String| -> MetadataValue<Ascii> { text.parse().expect("hexadecimal is ASCII") };
        request.metadata_mut().insert(CLUSTER_KEY, value(cluster_id.to_string()));
        request.metadata_mut().insert(MEMBER_KEY, value(format!("{to:016x}")));
        Ok(request)
    }

    /// Refuses a request that is meant for another cluster or member.
    fn check(&self, metadata: &MetadataMap) -> Result<(), Status> {
        let text = |key| metadata.get(key).and_then(|value| value.to_str().ok());
        let Some(theirs) = text(CLUSTER_KEY).and_then(ClusterId::parse) else {
            return Err(Status::invalid_argument(format!("no metadata {CLUSTER_KEY}")));
        };
        let Some(ours) = self.cluster_id() else {
            return Err(Status::failed_precondition("this master belongs to no cluster yet"));
        };
        if theirs != ours {
            return Err(Status::permission_denied(format!(
                "the caller belongs to cluster {theirs}, this master to cluster {ours}; check the addresses of the \
                 peers, or which volumes are mounted"
            )));
        }
        let member = text(MEMBER_KEY).and_then(|text| u64::from_str_radix(text, 16).ok());
        if member != Some(self.member_id) {
            return Err(Status::failed_precondition(format!(
                "the call is for member {:016x}, this is member {:016x}",
                member.unwrap_or(0),
                self.member_id
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_calls_for_this_member_of_this_cluster_pass() {
        let (ours, theirs) = (ClusterId::random(), ClusterId::random());
        let receiver = Identity::new(7, Some(ours));
        let call = |cluster, to| {
            let caller = Identity::new(1, Some(cluster));
            receiver.check(caller.address((), to).expect("it has a cluster").metadata())
        };
        assert!(call(ours, 7).is_ok());
        assert!(call(ours, 8).is_err());
        let refusal = call(theirs, 7).expect_err("another cluster").message().to_owned();
        assert!(refusal.contains(&ours.to_string()) && refusal.contains(&theirs.to_string()));
        assert!(Identity::new(7, None).check(&MetadataMap::new()).is_err());
        assert!(Identity::new(7, None).address((), 1).is_err());
    }
}
