//! Starting a master's Raft: folder, stores, Raft, port, background tasks, in this order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use muster_platform::{Executor, Incoming};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::data_dir::DataDir;
use super::strangers::Reminder;
use super::{Inner, Machinery, RaftConfig, RaftMember, Roster, leadership, space};
use crate::apply::{ApplyProgress, StateMachine};
use crate::error::{OpenError, StoreError};
use crate::fatal::Fatal;
use crate::history::{History, RedbHistoryStore};
use crate::log::{Identity as StoredIdentity, LogThread, RaftLog, RedbLogStore};
use crate::machine::Machine;
use crate::network::{
    AddressBook, Identity, Links, PeerNetwork, PeerServer, SnapshotReceiver, serve,
};
use crate::site::Site;
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
    /// The folder is locked, damaged, of another cluster or format, or the port cannot be opened. That the folder is of
    /// another cluster than the peers is found now only if they answer within two seconds, else by
    /// [`fatal`](Self::fatal).
    pub async fn open(config: RaftConfig, machine: Box<dyn Machine>) -> Result<Self, OpenError> {
        config.check()?;
        let openraft_config = config.openraft()?;
        let site = config.site();
        let dir = DataDir::open(&site, &config.data_dir)?;
        // The folder is known as ours before anything else is made in it.
        site.disk.settled().await;
        let fatal = Fatal::new();
        let (history, history_thread) = open_history(&config, &site, &dir, &fatal)?;
        let (log, log_thread, stored) = open_log(&config, &site, &dir, &fatal)?;
        let files = SnapshotFiles::open(&site, &dir.snapshots())?;
        check_together(&dir, stored.as_ref(), history.durable_index(), &files)?;
        let identity = Arc::new(identify(&config, &dir, &log, stored).await?);
        // The names of what was made just now.
        site.sync_dir(dir.path())?;
        site.disk.settled().await;
        let progress = Arc::new(ApplyProgress::new());
        let state_machine = StateMachine::open(
            machine,
            Arc::clone(&files),
            history.clone(),
            Arc::clone(&progress),
            fatal.clone(),
        )?;
        let address = config.peer_listen;
        let listening = site.platform.listen(address).await;
        let incoming = listening.map_err(|source| OpenError::Listen { address, source })?;
        let addresses = config.peers.iter().map(|p| (p.name.clone(), p.address.clone())).collect();
        let links = Arc::new(Links::new(
            Arc::clone(&identity),
            AddressBook(addresses),
            site.platform.clone(),
        ));
        let executor = start_executor(&config)?;
        let network = PeerNetwork { links: Arc::clone(&links), history: history.clone() };
        let raft = {
            let (id, config, log) = (identity.member_id, Arc::new(openraft_config), log.clone());
            let start = async move { Raft::new(id, config, network, log, state_machine).await };
            let started = executor.handle().spawn(start).await.map_err(not_started)?;
            started.map_err(not_started)?
        };
        let roster = Arc::new(Roster {
            identity: Arc::clone(&identity),
            me: config.own_peer(),
            expected: config.peers.clone(),
            required_cluster: config.cluster_id,
            data_dir: config.data_dir.clone(),
            raft: raft.clone(),
            log,
            links,
            changing: Arc::default(),
            asked_since: Mutex::default(),
            reminder: Reminder::default(),
        });
        let parts = Parts { config, raft, roster, identity, history, files, progress, fatal };
        let machinery = Machinery { executor, log: log_thread, history: history_thread, dir };
        if let Err(refusal) = parts.check_volume(&machinery.executor).await {
            machinery.end(&parts.raft, &parts.config.platform).await;
            return Err(refusal);
        }
        Ok(Self(Arc::new(parts.start(incoming, machinery))))
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
    /// Lets Raft take part in elections, unless the volume is another cluster's.
    async fn check_volume(&self, executor: &Executor) -> Result<(), OpenError> {
        let roster = Arc::clone(&self.roster);
        let check = executor.handle().spawn(async move { roster.check_volume().await });
        check.await.map_err(not_started)??;
        self.raft.runtime_config().elect(true);
        Ok(())
    }

    /// Starts the port and the background tasks.
    fn start(self, incoming: Incoming, machinery: Machinery) -> Inner {
        let (stop, stopped) = watch::channel(false);
        let server = PeerServer {
            identity: Arc::clone(&self.identity),
            clocks: Arc::clone(&self.roster.links.clocks),
            raft: self.raft.clone(),
            roster: Arc::clone(&self.roster),
            snapshots: SnapshotReceiver {
                raft: self.raft.clone(),
                files: Arc::clone(&self.files),
                history: self.history.clone(),
                turn: Arc::default(),
            },
        };
        let runtime = machinery.executor.handle();
        let ended = wait_for_stop(stopped.clone());
        runtime.spawn(async move {
            if let Err(error) = serve(server, incoming, ended).await {
                tracing::error!(%error, "the peers' port failed");
            }
        });
        runtime.spawn(until(stopped.clone(), Arc::clone(&self.roster).tend()));
        runtime.spawn(until(stopped.clone(), Arc::clone(&self.roster).end_changes()));
        let keep_apart = Arc::clone(&self.roster).keep_apart(self.fatal.clone());
        runtime.spawn(until(stopped.clone(), keep_apart));
        let snapshots = snapshot_by_bytes(
            self.raft.clone(),
            Arc::clone(&self.progress),
            self.config.snapshots.every_bytes,
        );
        runtime.spawn(until(stopped.clone(), snapshots));
        let free_bytes_min = self.config.limits.disk_free_bytes_min;
        let (refuse, refusal) = watch::channel(space::shortage(
            &*self.config.disk,
            &self.config.data_dir,
            free_bytes_min,
        ));
        let disk = Arc::clone(&self.config.disk);
        let space = space::watch(disk, self.config.data_dir.clone(), free_bytes_min, refuse);
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
            platform: self.config.platform,
            machinery: Mutex::new(Some(machinery)),
        }
    }
}

fn open_history(
    config: &RaftConfig,
    site: &Site,
    dir: &DataDir,
    fatal: &Fatal,
) -> Result<(History, crate::history::HistoryThread), OpenError> {
    let cache_bytes = config.limits.history_cache_bytes;
    let store = RedbHistoryStore::open(&site.disk, &dir.history(), cache_bytes, dir.lock())?;
    Ok(History::open(Box::new(store), fatal.clone(), site)?)
}

fn open_log(
    config: &RaftConfig,
    site: &Site,
    dir: &DataDir,
    fatal: &Fatal,
) -> Result<(RaftLog, LogThread, Option<StoredIdentity>), OpenError> {
    let cache_bytes = config.limits.log_cache_bytes;
    let store = RedbLogStore::open(&site.disk, &dir.log(), cache_bytes, dir.lock())?;
    Ok(RaftLog::open(Box::new(store), config.limits.log_tail_bytes, fatal.clone(), site)?)
}

/// Whether the three stores of a folder can be of one master: each alone may look sound and still be older than the
/// others, or new.
fn check_together(
    dir: &DataDir,
    stored: Option<&StoredIdentity>,
    history_index: u64,
    files: &Arc<SnapshotFiles>,
) -> Result<(), StoreError> {
    let snapshot_index = files.current().map(|snapshot| snapshot.manifest.index());
    if stored.is_none() && (history_index > 0 || snapshot_index.is_some()) {
        let problem =
            "there is none, but the history or a snapshot beside it is of a master that had one";
        return Err(StoreError::damaged(&dir.log(), "identity", "-", problem));
    }
    // Runs that ended before a snapshot are in the history alone, which is written first.
    match snapshot_index.filter(|snapshot| history_index < *snapshot) {
        Some(snapshot) => {
            let problem = format!(
                "it reaches up to log index {history_index}, the snapshot beside it was taken at {snapshot}"
            );
            Err(StoreError::damaged(&dir.history(), "meta", "durable index", problem))
        }
        None => Ok(()),
    }
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
            log.save_identity(identity)
                .await
                .map_err(|error| StoreError::io(&dir.log(), "write the identity", &error))?;
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

fn not_started(error: impl std::fmt::Display) -> OpenError {
    OpenError::Raft(error.to_string())
}

fn start_executor(config: &RaftConfig) -> Result<Executor, OpenError> {
    let started = config.platform.executor("raft", RUNTIME_THREADS, BLOCKING_THREADS_MAX);
    started.map_err(|error| StoreError::io(&config.data_dir, "start threads for", &error).into())
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
