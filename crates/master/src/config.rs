//! What a master is told at its start.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use muster_planner::Policy;
use muster_platform::{Disk, Files, Platform};
use muster_raft::PeerAddress;

use crate::observer::Observer;

/// Longest lease. Worker and leader may drift by 1 % each, and the margin behind a lease leaves half a second for it.
const LEASE_MAX: Duration = Duration::from_secs(24);

/// Settings of one master. `Default` suits a single master on loopback, but for `data_dir`.
#[derive(Clone, Debug)]
pub struct MasterConfig {
    /// Stable name, unique among the masters: `muster-0`.
    pub name: String,
    /// Where the log, snapshots and history live. Made if absent.
    pub data_dir: PathBuf,
    /// Where the API listens.
    pub api_listen: SocketAddr,
    /// host:port under which others reach the API; the listen address if absent.
    pub api_advertise: Option<String>,
    /// Where the peers' protocol listens.
    pub peer_listen: SocketAddr,
    /// host:port under which peers reach this master; the listen address if absent.
    pub peer_advertise: Option<String>,
    /// The peers' protocol of all masters, this one included: `host:port`, or `name=host:port`. Empty: a cluster of
    /// one.
    pub peers: Vec<String>,
    /// Allows addresses other than loopback although nothing is encrypted or authenticated.
    pub insecure: bool,
    /// Slower elections, for disks whose fsync takes tens of milliseconds.
    pub slow_disk: bool,
    /// A snapshot is taken every so many log entries; the default is Raft's own.
    pub snapshot_entries: Option<u64>,
    /// A worker's right to keep its attempts, from its last acknowledged heartbeat.
    pub lease: Duration,
    /// How often workers send heartbeats.
    pub heartbeat: Duration,
    /// Ended runs kept in the history; older ones are pruned.
    pub history_runs_max: u64,
    /// How often the leader looks whether there are more. Not a setting of the program.
    pub history_look: Duration,
    /// Folder with the keys of webhooks that are signed, a file `NAMESPACE.KEY` each. Read anew for each call.
    pub webhook_keys: Option<PathBuf>,
    /// The planner's tunables.
    pub policy: Policy,
    /// Sockets, clocks and threads.
    pub platform: Platform,
    /// Where `data_dir` is.
    pub disk: Arc<dyn Disk>,
    /// For tests: is told what the log does here.
    pub observer: Option<Arc<dyn Observer>>,
}

impl Default for MasterConfig {
    fn default() -> Self {
        let loopback = |port| SocketAddr::from(([127, 0, 0, 1], port));
        MasterConfig {
            name: "muster-0".to_owned(),
            data_dir: PathBuf::new(),
            api_listen: loopback(7070),
            api_advertise: None,
            peer_listen: loopback(7071),
            peer_advertise: None,
            peers: Vec::new(),
            insecure: false,
            slow_disk: false,
            snapshot_entries: None,
            lease: Duration::from_secs(5),
            heartbeat: Duration::from_secs(1),
            history_runs_max: 100_000,
            history_look: Duration::from_secs(30),
            webhook_keys: None,
            policy: Policy::default(),
            platform: Platform::system(),
            disk: Arc::new(Files),
            observer: None,
        }
    }
}

/// A setting that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// No data folder.
    #[error("no data folder is set; pass --data-dir")]
    NoDataDir,
    /// Listening beyond loopback without protection.
    #[error(
        "{what} {address} is not a loopback address, and without TLS anybody who reaches it could run commands on the \
         workers; listen on 127.0.0.1, or pass --insecure if the network itself is trusted"
    )]
    Exposed {
        /// Which address.
        what: &'static str,
        /// The address.
        address: SocketAddr,
    },
    /// A lease that a heartbeat cannot keep.
    #[error("the lease ({lease_ms} ms) must be at least three heartbeats ({heartbeat_ms} ms each)")]
    ShortLease {
        /// The lease.
        lease_ms: u128,
        /// The heartbeat.
        heartbeat_ms: u128,
    },
    /// A lease that the margin cannot cover.
    #[error(
        "the lease ({lease_ms} ms) must be at most 24 s: beyond it drifting clocks use up the margin behind it"
    )]
    LongLease {
        /// The lease.
        lease_ms: u128,
    },
    /// This master is not in its own list of peers.
    #[error(
        "--peers must name this master too: {address} is not in the list {peers}; add {name}={address} to the list, \
         or pass this master's address as it is listed with --peer-advertise"
    )]
    NotAPeer {
        /// Its name.
        name: String,
        /// Its address.
        address: String,
        /// The list.
        peers: String,
    },
    /// The list of peers has another name for this master.
    #[error(
        "--name and --peers do not agree on this master: its name is `{name}`, and the list says {listed}={address}; \
         pass --name {listed}, or write {name}={address} in the --peers of all masters"
    )]
    OtherName {
        /// Its name.
        name: String,
        /// Its name in the list.
        listed: String,
        /// Its address.
        address: String,
    },
}

impl MasterConfig {
    /// Checks the settings against each other.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        if self.data_dir.as_os_str().is_empty() {
            return Err(ConfigError::NoDataDir);
        }
        for (what, address) in
            [("the API address", self.api_listen), ("the peer address", self.peer_listen)]
        {
            if !self.insecure && !address.ip().is_loopback() {
                return Err(ConfigError::Exposed { what, address });
            }
        }
        if self.lease < self.heartbeat * 3 {
            let (lease_ms, heartbeat_ms) = (self.lease.as_millis(), self.heartbeat.as_millis());
            return Err(ConfigError::ShortLease { lease_ms, heartbeat_ms });
        }
        if self.lease > LEASE_MAX {
            return Err(ConfigError::LongLease { lease_ms: self.lease.as_millis() });
        }
        self.check_peers()
    }

    fn check_peers(&self) -> Result<(), ConfigError> {
        if self.peers.is_empty() {
            return Ok(());
        }
        let (name, address) = (self.name.clone(), self.peer_address());
        let mut peers = self.peers.iter().map(|peer| PeerAddress::parse(peer));
        let Some(own) = peers.find(|peer| peer.address == address) else {
            return Err(ConfigError::NotAPeer { name, address, peers: self.peers.join(",") });
        };
        // Who is listed without a name is known by the address.
        if own.name != name && own.name != own.address {
            return Err(ConfigError::OtherName { name, listed: own.name, address });
        }
        Ok(())
    }

    /// host:port under which clients and other masters reach the API.
    pub(crate) fn api_address(&self) -> String {
        self.api_advertise.clone().unwrap_or_else(|| self.api_listen.to_string())
    }

    /// host:port under which peers reach this master.
    pub(crate) fn peer_address(&self) -> String {
        self.peer_advertise.clone().unwrap_or_else(|| self.peer_listen.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> MasterConfig {
        MasterConfig { data_dir: "data".into(), ..MasterConfig::default() }
    }

    #[test]
    fn only_loopback_is_listened_on_unless_told() {
        let exposed = |api: &str, peer: &str, insecure| {
            let (api_listen, peer_listen) = (api.parse().unwrap(), peer.parse().unwrap());
            MasterConfig { api_listen, peer_listen, insecure, ..config() }.check()
        };
        let (inside, outside) =
            ("127.0.0.2:1", ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "[::ffff:127.0.0.1]:1"]);
        assert_eq!(exposed(inside, "[::1]:2", false), Ok(()));
        for address in outside {
            assert!(matches!(exposed(address, inside, false), Err(ConfigError::Exposed { .. })));
            assert!(matches!(exposed(inside, address, false), Err(ConfigError::Exposed { .. })));
            assert_eq!(exposed(address, address, true), Ok(()));
        }
    }

    #[test]
    fn a_lease_lies_within_what_the_margin_covers() {
        let lease =
            |seconds| MasterConfig { lease: Duration::from_secs(seconds), ..config() }.check();
        assert!(matches!(lease(2), Err(ConfigError::ShortLease { .. })));
        assert_eq!(lease(24), Ok(()));
        assert!(matches!(lease(25), Err(ConfigError::LongLease { .. })));
    }

    #[test]
    fn the_list_of_peers_knows_this_master_by_its_name() {
        let check = |name: &str, peers: &[&str]| {
            let peers = peers.iter().map(ToString::to_string).collect();
            MasterConfig { name: name.to_owned(), peers, ..config() }.check()
        };
        let named = ["m0=127.0.0.1:7071", "m1=127.0.0.1:7171"];
        assert_eq!(check("m0", &named), Ok(()));
        assert_eq!(check("m0", &[]), Ok(()));
        assert_eq!(check("m0", &["127.0.0.1:7071", "127.0.0.1:7171"]), Ok(()));
        for other in ["m1", "m9"] {
            let error = check(other, &named).expect_err("the list calls it m0").to_string();
            assert!(error.contains("pass --name m0"), "{error}");
            assert!(error.contains(&format!("write {other}=127.0.0.1:7071")), "{error}");
        }
        let error = check("m0", &named[1..]).expect_err("it is not in there").to_string();
        assert!(error.contains("add m0=127.0.0.1:7071"), "{error}");
    }
}
