//! What a master must be told about Raft, and what may be tuned.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use muster_platform::{Disk, Files, Platform};

use crate::error::OpenError;
use crate::site::Site;
use crate::types::{ClusterId, Peer};

/// Configuration of one master's Raft.
#[derive(Clone, Debug)]
pub struct RaftConfig {
    /// Where everything durable lives; this master's alone.
    pub data_dir: PathBuf,
    /// Stable and unique among the masters, such as `muster-0`.
    pub name: String,
    /// What the peers' port binds to.
    pub peer_listen: SocketAddr,
    /// host:port under which the peers reach this master.
    pub peer_address: String,
    /// host:port of this master's public API, told to clients that ask for the leader.
    pub api_address: String,
    /// All masters that form the cluster, this one included. The one with the smallest address forms it.
    pub peers: Vec<PeerAddress>,
    /// Refuse any other cluster; `None` takes what the disk or the peers say.
    pub cluster_id: Option<ClusterId>,
    /// Election and heartbeat.
    pub timing: Timing,
    /// When snapshots are taken.
    pub snapshots: SnapshotPolicy,
    /// Sizes and bounds.
    pub limits: RaftLimits,
    /// Sockets, clocks and threads.
    pub platform: Platform,
    /// Where `data_dir` is.
    pub disk: Arc<dyn Disk>,
}

impl RaftConfig {
    /// A configuration with default tuning for one master among `peers`.
    pub fn new(
        data_dir: PathBuf,
        name: &str,
        peer_listen: SocketAddr,
        peers: Vec<PeerAddress>,
    ) -> Self {
        let own = peers.iter().find(|peer| peer.name == name);
        Self {
            data_dir,
            name: name.into(),
            peer_listen,
            peer_address: own.map_or_else(|| peer_listen.to_string(), |peer| peer.address.clone()),
            api_address: String::new(),
            peers,
            cluster_id: None,
            timing: Timing::default(),
            snapshots: SnapshotPolicy::default(),
            limits: RaftLimits::default(),
            platform: Platform::system(),
            disk: Arc::new(Files),
        }
    }

    pub(crate) fn site(&self) -> Site {
        Site { platform: self.platform.clone(), disk: Arc::clone(&self.disk) }
    }

    pub(crate) fn own_peer(&self) -> Peer {
        Peer {
            name: self.name.clone(),
            peer_address: self.peer_address.clone(),
            api_address: self.api_address.clone(),
        }
    }

    pub(crate) fn check(&self) -> Result<(), OpenError> {
        let wrong = |text: String| Err(OpenError::Config(text));
        if self.name.is_empty() {
            return wrong("the master has no name".into());
        }
        for (at, peer) in self.peers.iter().enumerate() {
            if !is_host_port(&peer.address) {
                return wrong(format!(
                    "the address of peer `{}` is not host:port: `{}`",
                    peer.name, peer.address
                ));
            }
            let is_same =
                |other: &PeerAddress| other.name == peer.name || other.address == peer.address;
            if self.peers[..at].iter().any(is_same) {
                return wrong(format!("peer {} at {} is listed twice", peer.name, peer.address));
            }
        }
        let own = self.peers.iter().find(|peer| peer.name == self.name);
        if own.is_some_and(|own| own.address != self.peer_address) {
            return wrong(format!(
                "this master's own address differs from the one listed for `{}`",
                self.name
            ));
        }
        Ok(())
    }

    pub(crate) fn openraft(&self) -> Result<openraft::Config, OpenError> {
        let timing = &self.timing;
        let config = openraft::Config {
            cluster_name: "muster".into(),
            election_timeout_min: timing.election_min_ms,
            election_timeout_max: timing.election_max_ms,
            heartbeat_interval: timing.heartbeat_ms,
            enable_pre_vote: Some(true),
            // Not before the volume is known to be this cluster's.
            enable_elect: false,
            // A leader that no quorum answers stops accepting after its lease.
            quorum_loss_probe_interval: Some(2 * timing.election_max_ms),
            // A leader that restarts may have sent entries to others that its own disk never got. Leading on in the
            // same term, it would give their log ids to other entries. It must be elected anew.
            enable_leader_restore: Some(false),
            snapshot_policy: openraft::SnapshotPolicy::LogsSinceLast(self.snapshots.every_entries),
            max_in_snapshot_log_to_keep: self.snapshots.keep_entries,
            replication_lag_threshold: self.snapshots.keep_entries.max(1),
            purge_batch_size: 1,
            max_payload_entries: 1_024,
            backoff: "25ms 50ms ...250ms".into(),
            ..openraft::Config::default()
        };
        config.validate().map_err(|error| OpenError::Config(error.to_string()))
    }
}

fn is_host_port(text: &str) -> bool {
    text.rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

/// A master by name and address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerAddress {
    /// Stable name.
    pub name: String,
    /// host:port of the peers' protocol; a host name is resolved again at each connection.
    pub address: String,
}

impl PeerAddress {
    /// From `name=host:port`, or `host:port`, which then is the name too.
    pub fn parse(text: &str) -> Self {
        let (name, address) = text.split_once('=').unwrap_or((text, text));
        Self { name: name.into(), address: address.into() }
    }
}

/// How soon a silent leader is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Shortest election timeout, milliseconds.
    pub election_min_ms: u64,
    /// Longest election timeout and length of the leader's lease, milliseconds.
    pub election_max_ms: u64,
    /// Between heartbeats, milliseconds; less than the shortest election timeout.
    pub heartbeat_ms: u64,
}

impl Default for Timing {
    fn default() -> Self {
        Self { election_min_ms: 150, election_max_ms: 300, heartbeat_ms: 50 }
    }
}

impl Timing {
    /// For disks whose syncs take tens of milliseconds: a killed leader is replaced in about 1.2 s instead of 0.6 s.
    pub fn slow_disk() -> Self {
        Self { election_min_ms: 300, election_max_ms: 600, heartbeat_ms: 100 }
    }
}

/// A snapshot is taken when either bound is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotPolicy {
    /// Log entries since the last snapshot.
    pub every_entries: u64,
    /// Bytes of log entries since the last snapshot.
    pub every_bytes: u64,
    /// Log entries kept behind a snapshot, for followers that lag a little.
    pub keep_entries: u64,
}

impl Default for SnapshotPolicy {
    fn default() -> Self {
        Self { every_entries: 50_000, every_bytes: 64 << 20, keep_entries: 10_000 }
    }
}

/// Sizes and bounds of one master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RaftLimits {
    /// redb's page cache for the log, bytes. 64 MiB pays off under sustained load.
    pub log_cache_bytes: usize,
    /// redb's page cache for the history, bytes.
    pub history_cache_bytes: usize,
    /// The newest log entries kept in memory, bytes.
    pub log_tail_bytes: usize,
    /// The largest entry that may be proposed, bytes.
    pub entry_bytes_max: usize,
    /// With less free space on the data folder's file system, proposals are refused, bytes.
    pub disk_free_bytes_min: u64,
}

impl Default for RaftLimits {
    fn default() -> Self {
        Self {
            log_cache_bytes: 16 << 20,
            history_cache_bytes: 8 << 20,
            log_tail_bytes: 16 << 20,
            entry_bytes_max: 8 << 20,
            disk_free_bytes_min: 64 << 20,
        }
    }
}
