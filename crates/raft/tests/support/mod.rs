//! A small machine to replicate, and masters on loopback.
#![allow(dead_code, missing_docs, unreachable_pub)]

use std::collections::BTreeMap;
use std::io;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use muster_raft::{
    Applied, HistoryItem, Machine, PeerAddress, Position, RaftConfig, RaftMember, Reply, Shard,
};
use parking_lot::Mutex;
use tempfile::TempDir;

pub const SHARDS: usize = 16;
const PRUNED_BEFORE: &str = "pruned-before";

type Map = BTreeMap<String, String>;

/// A sharded map. Entries: `set KEY VALUE`; `end RUN_ID NUMBER` to move a run to the history; `prune all` to forget
/// those that ended so far, which is kept under a key of its own.
#[derive(Clone, Default)]
pub struct Maps {
    shards: Arc<Mutex<Vec<Arc<Map>>>>,
    pub encoded: Arc<AtomicUsize>,
}

impl Maps {
    pub fn new() -> Self {
        let maps = Self::default();
        *maps.shards.lock() = (0..SHARDS).map(|_| Arc::default()).collect();
        maps
    }

    pub fn get(&self, key: &str) -> Option<String> {
        self.shards.lock()[shard_of(key)].get(key).cloned()
    }

    pub fn all(&self) -> Map {
        self.shards.lock().iter().flat_map(|map| (**map).clone()).collect()
    }
}

pub fn shard_of(key: &str) -> usize {
    key.bytes().map(usize::from).sum::<usize>() % SHARDS
}

impl Machine for Maps {
    fn apply(&mut self, at: Position, entry: &Bytes) -> io::Result<Applied> {
        let text = std::str::from_utf8(entry).map_err(io::Error::other)?;
        let words: Vec<&str> = text.split(' ').collect();
        match words[..] {
            ["set", key, value] => {
                let mut shards = self.shards.lock();
                let map = Arc::make_mut(&mut shards[shard_of(key)]);
                let old = map.insert(key.into(), value.into());
                Ok(Applied { reply: Reply::new(old), ..Applied::default() })
            }
            ["end", run_id, number] => {
                let item = HistoryItem {
                    run_id: run_id.parse().map_err(io::Error::other)?,
                    end_index: at.index,
                    namespace: "default".into(),
                    workflow: "etl".into(),
                    number: number.parse().map_err(io::Error::other)?,
                    bytes: Bytes::from(format!("run {run_id}")),
                };
                Ok(Applied { ended: vec![item], ..Applied::default() })
            }
            ["prune", "all"] => {
                let mut shards = self.shards.lock();
                let map = Arc::make_mut(&mut shards[shard_of(PRUNED_BEFORE)]);
                map.insert(PRUNED_BEFORE.into(), at.index.to_string());
                Ok(Applied { pruned_before: Some(at.index), ..Applied::default() })
            }
            _ => Err(io::Error::other(format!("unknown entry `{text}`"))),
        }
    }

    fn snapshot(&self) -> Vec<Shard> {
        let encoded = &self.encoded;
        let shards = self.shards.lock();
        let shard = |(id, map): (usize, &Arc<Map>)| {
            let encoded = Arc::clone(encoded);
            Shard::of(id as u64, map, move |map| {
                encoded.fetch_add(1, Ordering::Relaxed);
                let lines: Vec<String> = map.iter().map(|(k, v)| format!("{k} {v}\n")).collect();
                lines.concat().into_bytes()
            })
        };
        shards.iter().enumerate().map(shard).collect()
    }

    fn restore(&mut self, _index: u64, shards: Vec<(u64, Bytes)>) -> io::Result<u64> {
        let mut maps: Vec<Arc<Map>> = (0..SHARDS).map(|_| Arc::default()).collect();
        for (id, content) in shards {
            let text = std::str::from_utf8(&content).map_err(io::Error::other)?;
            let pair = |line: &str| line.split_once(' ').map(|(k, v)| (k.to_owned(), v.to_owned()));
            maps[id as usize] = Arc::new(text.lines().filter_map(pair).collect());
        }
        *self.shards.lock() = maps;
        let pruned_before = self.get(PRUNED_BEFORE).map(|index| index.parse());
        pruned_before.transpose().map(Option::unwrap_or_default).map_err(io::Error::other)
    }
}

/// Masters on loopback, each with a folder and a fixed port.
pub struct Cluster {
    pub configs: Vec<RaftConfig>,
    pub masters: Vec<Option<(RaftMember, Maps)>>,
    dirs: Vec<TempDir>,
}

impl Cluster {
    /// Prepares `count` masters and starts none. With `RUST_LOG` set, their log goes to the test's output.
    pub fn new(count: usize, tune: impl Fn(&mut RaftConfig)) -> Self {
        // Another test of this process may have done so already.
        let _ = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .with_test_writer()
            .try_init();
        let listeners: Vec<TcpListener> =
            (0..count).map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
        let addresses: Vec<_> =
            listeners.iter().map(|listener| listener.local_addr().expect("it is bound")).collect();
        let name = |at: usize| format!("muster-{at}");
        let peers: Vec<PeerAddress> = addresses
            .iter()
            .enumerate()
            .map(|(at, address)| PeerAddress { name: name(at), address: address.to_string() })
            .collect();
        let dirs: Vec<TempDir> =
            (0..count).map(|_| tempfile::tempdir().expect("a temporary folder")).collect();
        let configs = addresses.iter().enumerate().map(|(at, address)| {
            let dir = dirs[at].path().join("data");
            let mut config = RaftConfig::new(dir, &name(at), *address, peers.clone());
            config.limits.disk_free_bytes_min = 0;
            tune(&mut config);
            config
        });
        let configs = configs.collect();
        Self { configs, masters: (0..count).map(|_| None).collect(), dirs }
    }

    /// Gives every master, all of which are stopped, another address.
    pub fn move_to_new_ports(&mut self) {
        let moved = Self::new(self.configs.len(), |_| {});
        for (config, new) in self.configs.iter_mut().zip(moved.configs) {
            config.peer_listen = new.peer_listen;
            config.peer_address = new.peer_address;
            config.peers = new.peers;
        }
    }

    pub async fn start(&mut self, at: usize) {
        let maps = Maps::new();
        let node = RaftMember::open(self.configs[at].clone(), Box::new(maps.clone())).await;
        self.masters[at] = Some((node.expect("it starts"), maps));
    }

    pub async fn start_all(&mut self) {
        for at in 0..self.configs.len() {
            self.start(at).await;
        }
    }

    /// Stops a master as a crash would.
    pub async fn kill(&mut self, at: usize) {
        if let Some((node, _)) = self.masters[at].take() {
            node.kill().await;
        }
    }

    pub fn node(&self, at: usize) -> &RaftMember {
        &self.masters[at].as_ref().expect("it runs").0
    }

    pub fn maps(&self, at: usize) -> &Maps {
        &self.masters[at].as_ref().expect("it runs").1
    }

    pub fn dir(&self, at: usize) -> PathBuf {
        self.configs[at].data_dir.clone()
    }

    /// Deletes a stopped master's volume.
    pub fn wipe(&self, at: usize) {
        std::fs::remove_dir_all(self.dir(at)).expect("it was there");
    }

    pub fn running(&self) -> Vec<usize> {
        (0..self.masters.len()).filter(|at| self.masters[*at].is_some()).collect()
    }

    /// Waits for a leader that passes a read barrier.
    pub async fn leader(&self) -> usize {
        let mut found = None;
        eventually("a leader", async || {
            for at in self.running() {
                if self.node(at).is_leader() && self.node(at).linearizable().await.is_ok() {
                    found = Some(at);
                }
            }
            found.is_some()
        })
        .await;
        found.expect("waited for it")
    }

    /// Proposes until some leader takes it.
    pub async fn write(&self, entry: &str) -> u64 {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            for at in self.running().into_iter().filter(|at| self.node(*at).is_leader()) {
                let proposal = self.node(at).propose(Bytes::copy_from_slice(entry.as_bytes()));
                if let Ok(Ok(done)) = tokio::time::timeout(Duration::from_secs(1), proposal).await {
                    return done.index;
                }
            }
            assert!(Instant::now() < deadline, "nobody takes `{entry}`");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until all running masters hold the same, and as much as `at`.
    pub async fn converge(&self) {
        eventually("the same state everywhere", async || {
            let running = self.running();
            let first = self.maps(running[0]).all();
            let applied = self.node(running[0]).applied_index();
            running.iter().all(|at| {
                self.maps(*at).all() == first && self.node(*at).applied_index() == applied
            })
        })
        .await;
    }
}

/// Polls until `done`, at most 20 seconds.
pub async fn eventually(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done().await {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
