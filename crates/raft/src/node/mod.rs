//! One master's part in Raft, with everything about openraft hidden.
//!
//! Raft runs on a runtime of its own with two threads, so that nothing else in the process can hold up a heartbeat. All
//! methods may be called from any runtime.

mod config;
mod data_dir;
mod leadership;
mod open;
mod propose;
mod roster;
mod space;
mod strangers;

use std::sync::Arc;
use std::time::Duration;

use muster_platform::{Executor, Platform};
use parking_lot::Mutex;
use tokio::sync::watch;

pub use config::{PeerAddress, RaftConfig, RaftLimits, SnapshotPolicy, Timing};
pub use leadership::{Leadership, MemberStatus, RaftStatus, Role};
pub use propose::Committed;
pub(crate) use roster::Roster;

use crate::apply::ApplyProgress;
use crate::error::StoreError;
use crate::fatal::Fatal;
use crate::history::{History, HistoryThread};
use crate::log::LogThread;
use crate::network::Identity;
use crate::snapshot::SnapshotFiles;
use crate::types::{ClusterId, Raft};
use data_dir::DataDir;

/// How long a stop waits for the threads of the Raft runtime.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// One master's part in Raft. Cheap to clone; all clones are one. Call [`shutdown`](Self::shutdown) before the last one
/// is dropped: dropping alone stops the way a crash does.
#[derive(Clone)]
pub struct RaftMember(Arc<Inner>);

struct Inner {
    raft: Raft,
    roster: Arc<Roster>,
    identity: Arc<Identity>,
    history: History,
    files: Arc<SnapshotFiles>,
    progress: Arc<ApplyProgress>,
    fatal: Fatal,
    leadership: watch::Receiver<Leadership>,
    /// Why proposals are refused for now, if they are.
    refusal: watch::Receiver<Option<String>>,
    /// Set while leadership is handed over.
    is_transferring: std::sync::atomic::AtomicBool,
    entry_bytes_max: usize,
    /// True ends the server and the background tasks.
    stop: watch::Sender<bool>,
    platform: Platform,
    machinery: Mutex<Option<Machinery>>,
}

/// What must be stopped in order.
struct Machinery {
    executor: Executor,
    log: LogThread,
    history: HistoryThread,
    dir: DataDir,
}

impl RaftMember {
    /// This master's member id.
    pub fn member_id(&self) -> u64 {
        self.0.identity.member_id
    }

    /// The cluster this master belongs to; `None` before formation.
    pub fn cluster_id(&self) -> Option<ClusterId> {
        self.0.identity.cluster_id()
    }

    /// The ended runs.
    pub fn history(&self) -> &History {
        &self.0.history
    }

    /// Returns when a local fault, such as a failed sync, a damaged record or a volume of another cluster, means that
    /// this process must end.
    pub async fn fatal(&self) -> StoreError {
        self.0.fatal.reported().await
    }

    /// How many snapshot shards were written since the start; unchanged shards are not written again.
    pub fn snapshot_shards_written(&self) -> u64 {
        self.0.files.shards_written()
    }

    /// Hands leadership over if this master leads, then stops and writes everything down.
    pub async fn shutdown(&self) {
        if self.is_leader()
            && let Err(error) = self.transfer_leader(None).await
        {
            tracing::info!(%error, "stopping without handing leadership over");
        }
        self.stop().await;
    }

    /// Stops and writes everything down without handing leadership over: for the end of a whole cluster, where nobody
    /// is left to take it.
    pub async fn stop(&self) {
        // It fails only if Raft has stopped already.
        let _ = self.0.raft.shutdown().await;
        self.halt().await;
    }

    /// Stops at once, without a word to the peers, as a crash would; for tests.
    #[doc(hidden)]
    pub async fn kill(&self) {
        self.halt().await;
    }

    async fn halt(&self) {
        self.0.stop.send_replace(true);
        let machinery = self.0.machinery.lock().take();
        let Some(machinery) = machinery else { return };
        machinery.end(&self.0.raft, &self.0.platform).await;
    }
}

impl Machinery {
    async fn end(self, raft: &Raft, platform: &Platform) {
        let Self { executor, log, history, dir } = self;
        // A panic in there has been reported; there is nothing left to stop then.
        let _ = platform.blocking(move || executor.shutdown_within(STOP_PATIENCE)).await;
        // Where the runtime is shared its tasks live on, this one too. It fails if Raft has ended with the runtime.
        let _ = raft.shutdown().await;
        log.stop().await;
        history.stop().await;
        tracing::debug!(path = %dir.path().display(), "stopped");
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(machinery) = self.machinery.lock().take() {
            // A runtime must not be waited for here: this may be one of another runtime's threads.
            machinery.executor.shutdown();
        }
    }
}
