//! Starting a master's Raft: folder, stores, Raft, port, background tasks, in this order.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::data_dir::DataDir;
use super::{Inner, Machinery, RaftConfig, RaftMember, Roster, leadership, space};
use crate::apply::{ApplyProgress, StateMachine};
use crate::error::OpenError;
use crate::fatal::Fatal;
use crate::history::{History, RedbHistoryStore};
use crate::log::{Identity as StoredIdentity, LogThread, RaftLog, RedbLogStore};
use crate::machine::Machine;
use crate::network::{
    AddressBook, Identity, Links, PeerNetwork, PeerServer, SnapshotReceiver, serve,
};
use crate::snapshot::SnapshotFiles;
use crate::types::Raft;

/// Threads of the Raft runtime, and at most this many for blocking disk work.
const RUNTIME_THREADS: usize = 2;
const BLOCKING_THREADS_MAX: usize = 8;
/// How often the size of the log since the last snapshot is looked at.
const SNAPSHOT_CHECK_INTERVAL: Duration = Duration::from_secs(1);

impl RaftMember {
    /// Opens the data folder and joins the peers in the background. Returns once the local state is restored; a leader
    /// may not be known yet, see [`watch_leadership`](Self::watch_leadership).
    ///
    /// # Errors
    /// The folder is locked, damaged, of another cluster or format, or the port cannot be opened.
    pub async fn open(config: RaftConfig, machine: Box<dyn Machine>) -> Result<Self, OpenError> {
        config.check()?;
        let openraft_config = Arc::new(config.openraft()?);
        let dir = DataDir::open(&config.data_dir)?;
        let fatal = Fatal::new();
        let (history, history_thread) = open_history(&config, &dir, &fatal)?;
        let (log, log_thread, stored) = open_log(&config, &dir, &fatal)?;
        let identity = Arc::new(identify(&config, &dir, &log, stored).await?);
        let files = SnapshotFiles::open(&dir.snapshots())?;
        let progress = Arc::new(ApplyProgress::new());
        let state_machine = StateMachine::open(
            machine,
            Arc::clone(&files),
            history.clone(),
            Arc::clone(&progress),
            fatal.clone(),
        )?;
        let listener = TcpListener::bind(config.peer_listen)
            .map_err(|source| OpenError::Listen { address: config.peer_listen, source })?;
        let addresses = config.peers.iter().map(|p| (p.name.clone(), p.address.clone())).collect();
        let links = Arc::new(Links::new(Arc::clone(&identity), AddressBook(addresses)));
        let runtime = start_runtime(&config)?;
        let network = PeerNetwork { links: Arc::clone(&links), history: history.clone() };
        let raft = {
            let (id, log) = (identity.member_id, log.clone());
            let start =
                async move { Raft::new(id, openraft_config, network, log, state_machine).await };
            let started =
                runtime.spawn(start).await.map_err(|error| OpenError::Raft(error.to_string()))?;
            started.map_err(|error| OpenError::Raft(error.to_string()))?
        };
        let roster = Arc::new(Roster {
            identity: Arc::clone(&identity),
            me: config.own_peer(),
            expected: config.peers.clone(),
            required_cluster: config.cluster_id,
            raft: raft.clone(),
            log,
            links,
            changing: Arc::default(),
            asked_since: Mutex::default(),
        });
        let parts = Parts { config, raft, roster, identity, history, files, progress, fatal };
        let machinery = Machinery { runtime, log: log_thread, history: history_thread, dir };
        Ok(Self(Arc::new(parts.start(listener, machinery))))
    }
}

struct Parts {
    config: RaftConfig,
    raft: Raft,
    roster: Arc<Roster>,
    identity: Arc<Identity>,
    history: History,
    files: Arc<SnapshotFiles>,
    progress: Arc<ApplyProgress>,
    fatal: Fatal,
}

impl Parts {
    /// Starts the port and the background tasks.
    fn start(self, listener: TcpListener, machinery: Machinery) -> Inner {
        let (stop, stopped) = watch::channel(false);
        let server = PeerServer {
            identity: Arc::clone(&self.identity),
            raft: self.raft.clone(),
            roster: Arc::clone(&self.roster),
            snapshots: SnapshotReceiver {
                raft: self.raft.clone(),
                files: Arc::clone(&self.files),
                history: self.history.clone(),
                turn: Arc::default(),
            },
        };
        let runtime = &machinery.runtime;
        let ended = wait_for_stop(stopped.clone());
        runtime.spawn(async move {
            if let Err(error) = serve(server, listener, ended).await {
                tracing::error!(%error, "the peers' port failed");
            }
        });
        runtime.spawn(until(stopped.clone(), Arc::clone(&self.roster).tend()));
        let snapshots = snapshot_by_bytes(
            self.raft.clone(),
            Arc::clone(&self.progress),
            self.config.snapshots.every_bytes,
        );
        runtime.spawn(until(stopped.clone(), snapshots));
        let free_bytes_min = self.config.limits.disk_free_bytes_min;
        let (refuse, refusal) =
            watch::channel(space::shortage(&self.config.data_dir, free_bytes_min));
        let space = space::watch(self.config.data_dir.clone(), free_bytes_min, refuse);
        runtime.spawn(until(stopped.clone(), space));
        let (tell, leadership) = watch::channel(leadership::now(&self.raft));
        runtime
            .spawn(until(stopped, leadership::follow(self.raft.clone(), tell, self.fatal.clone())));
        Inner {
            raft: self.raft,
            roster: self.roster,
            identity: self.identity,
            history: self.history,
            files: self.files,
            progress: self.progress,
            fatal: self.fatal,
            leadership,
            refusal,
            is_transferring: AtomicBool::new(false),
            entry_bytes_max: self.config.limits.entry_bytes_max,
            stop,
            machinery: Mutex::new(Some(machinery)),
        }
    }
}

fn open_history(
    config: &RaftConfig,
    dir: &DataDir,
    fatal: &Fatal,
) -> Result<(History, crate::history::HistoryThread), OpenError> {
    let store = RedbHistoryStore::open(&dir.history(), config.limits.history_cache_bytes)?;
    Ok(History::open(Box::new(store), fatal.clone())?)
}

fn open_log(
    config: &RaftConfig,
    dir: &DataDir,
    fatal: &Fatal,
) -> Result<(RaftLog, LogThread, Option<StoredIdentity>), OpenError> {
    let store = RedbLogStore::open(&dir.log(), config.limits.log_cache_bytes)?;
    Ok(RaftLog::open(Box::new(store), config.limits.log_tail_bytes, fatal.clone())?)
}

/// The identity on disk, drawn anew on an empty one.
async fn identify(
    config: &RaftConfig,
    dir: &DataDir,
    log: &RaftLog,
    stored: Option<StoredIdentity>,
) -> Result<Identity, OpenError> {
    let identity = match stored {
        Some(identity) => identity,
        None => {
            let member_id = rand::random_range(1..=u64::MAX);
            let identity = StoredIdentity { member_id, cluster_id: None };
            log.save_identity(identity).await.map_err(|error| {
                crate::error::StoreError::io(&dir.log(), "write the identity", &error)
            })?;
            identity
        }
    };
    if let (Some(found), Some(expected)) = (identity.cluster_id, config.cluster_id)
        && found != expected
    {
        return Err(OpenError::OtherCluster { path: dir.path().into(), found, expected });
    }
    Ok(Identity::new(identity.member_id, identity.cluster_id))
}

fn start_runtime(config: &RaftConfig) -> Result<Runtime, OpenError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(RUNTIME_THREADS)
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_name("raft")
        .enable_all()
        .build()
        .map_err(|error| {
            crate::error::StoreError::io(&config.data_dir, "start threads for", &error).into()
        })
}

async fn wait_for_stop(mut stopped: watch::Receiver<bool>) {
    // An error means that the sender is gone, which is a stop too.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

async fn until(stopped: watch::Receiver<bool>, work: impl Future<Output = ()>) {
    tokio::select! {
        () = work => {}
        () = wait_for_stop(stopped) => {}
    }
}

/// openraft counts entries; this counts bytes.
async fn snapshot_by_bytes(raft: Raft, progress: Arc<ApplyProgress>, every_bytes: u64) {
    loop {
        tokio::time::sleep(SNAPSHOT_CHECK_INTERVAL).await;
        let is_due = progress.bytes_since_snapshot.load(Ordering::Relaxed) >= every_bytes;
        if is_due && raft.trigger().snapshot().await.is_err() {
            return;
        }
    }
}
