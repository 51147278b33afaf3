//! The worker as a whole: one stream to the leader, and everything behind it.
//!
//! ```text
//!                     ┌──────────── session (async) ────────────┐
//!  leader ◄── stream ─┤ heartbeats, starts, reports, logs       │
//!                     └──▲───────────────┬──────────────────────┘
//!            to report   │               │ dispatch, stop
//!                   recorder         attempts ──► executors
//!                  (thread, journal)     ▲
//!                                        │ kill all
//!                                  lease keeper (thread)
//! ```
//!
//! Masters are tried in turn; one that does not lead names the leader. While a stream is broken attempts run on for as
//! long as the lease lasts, outcomes are kept, and what was sent and not acknowledged is sent again on the next stream,
//! in the same pieces: a leader decides about a piece as a whole.
//!
//! The lease keeper is a thread of its own, so that neither a stuck stream nor a busy runtime delays the end of
//! attempts. Outcomes are written to the journal by another thread, in batches of whatever is ready.

mod candidates;
mod convert;
mod folder;
mod inbound;
mod keeper;
mod leaving;
mod recorder;
mod stream;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use muster_core::ids::{Text, WorkerId};
use muster_core::spec::Resources;
use muster_platform::{Disk, Files, Lock, Platform};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use self::candidates::Candidates;
use self::folder::Folder;
pub use self::folder::FolderError;
use self::keeper::LeaseKeeper;
use self::recorder::Recorder;
use self::stream::Session;
use crate::attempts::Attempts;
use crate::executor::noop::NoopExecutor;
use crate::executor::process::guardian::GuardianCommand;
use crate::executor::process::{ProcessConfig, ProcessExecutor};
use crate::executor::{Executor, Stop};
use crate::journal::{Journal, JournalError, JournalSource, Redb};
use crate::lease;
use crate::load::LoadMeter;
use crate::logs::{LogLimits, LogStore};
use crate::observer::{Observer, Witness};

/// File descriptors a worker would like to have: one for each live process, and some.
const FILES_WANTED: u64 = 1 << 16;

/// How a worker is set up.
pub struct WorkerConfig {
    /// The name it gives itself; one live worker a name.
    pub name: String,
    /// A folder of its own; no other worker may use it.
    pub data_dir: PathBuf,
    /// API addresses of masters, `host:port` or a URL. At least one; others are learnt.
    pub masters: Vec<String>,
    /// What it offers. See [`crate::capacity::detect`].
    pub capacity: Resources,
    /// Facts it states.
    pub labels: BTreeMap<Text, Text>,
    /// The pool it serves.
    pub pool: Option<Text>,
    /// How to start the guardian; without one, children of an attempt's first process outlive a killed worker.
    pub guardian: Option<GuardianCommand>,
    /// Executors beside the built-in ones. They come first.
    pub executors: Vec<Arc<dyn Executor>>,
    /// Bounds on the logs it keeps.
    pub log_limits: LogLimits,
    /// How long before the end of its lease a worker kills its attempts.
    pub stop_margin: Duration,
    /// Whether it starts processes. Without, it has neither the executor for them nor a guardian nor logs, and carries
    /// out only no-ops and what `executors` take: for simulations.
    pub runs_processes: bool,
    /// Where it tells how busy it is.
    pub load: LoadMeter,
    /// The machine it runs on.
    pub platform: Platform,
    /// What `data_dir` lies on. Logs and the folders of processes are always the operating system's.
    pub disk: Arc<dyn Disk>,
    /// Where outcomes are kept until they are acknowledged.
    pub journal: Arc<dyn JournalSource>,
    /// Who is told what happens in it: for tests.
    pub observer: Option<Arc<dyn Observer>>,
}

impl WorkerConfig {
    /// A worker called `name` with all that this machine has, and no guardian.
    pub fn new(name: impl Into<String>, data_dir: PathBuf, masters: Vec<String>) -> Self {
        WorkerConfig {
            name: name.into(),
            data_dir,
            masters,
            capacity: crate::capacity::detect(),
            labels: BTreeMap::new(),
            pool: None,
            guardian: None,
            executors: Vec::new(),
            log_limits: LogLimits::default(),
            stop_margin: lease::STOP_MARGIN_DEFAULT,
            runs_processes: true,
            load: LoadMeter::new(),
            platform: Platform::system(),
            disk: Arc::new(Files),
            journal: Arc::new(Redb::default()),
            observer: None,
        }
    }
}

/// Why a worker cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A thread or the guardian cannot be started, or its logs cannot be used.
    #[error("cannot start the worker: {0}")]
    Io(#[from] io::Error),
    /// Its folder cannot be used, or is not a worker's.
    #[error("cannot start the worker: {0}")]
    Folder(#[from] FolderError),
    /// Its journal can be neither opened nor replaced.
    #[error("cannot start the worker: {0}")]
    Journal(#[from] JournalError),
    /// There is nobody to register with.
    #[error("cannot start the worker: no address of a master is given")]
    NoMasters,
}

/// Why a worker ended by itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WorkerError {
    /// No master takes it, and this is what the last one that answered said: for example that its folder belongs to
    /// another cluster.
    #[error("the master at {address} refuses this worker: {reason}")]
    Refused {
        /// The master.
        address: String,
        /// In the master's words.
        reason: String,
    },
}

/// A worker: a namespace for [`Worker::start`].
#[derive(Debug)]
pub struct Worker;

/// A running worker. Dropping it kills all attempts without reporting them.
#[derive(Debug)]
pub struct WorkerHandle {
    shutdown: watch::Sender<Option<Instant>>,
    registered: watch::Receiver<Option<WorkerId>>,
    failure: watch::Receiver<Option<WorkerError>>,
    attempts: Arc<Attempts>,
    keeper: Arc<LeaseKeeper>,
    session: JoinHandle<()>,
    /// Hears when the journal is closed.
    closed: oneshot::Receiver<()>,
}

/// What lies in a worker's folder, opened.
struct Opened {
    lock: Lock,
    logs: Option<Arc<LogStore>>,
    process: Option<Arc<ProcessExecutor>>,
    journal: Journal,
    cluster_id: String,
}

impl Worker {
    /// Starts a worker on the current runtime. It registers as soon as it finds a leader, and again whenever it lost
    /// it.
    ///
    /// # Errors
    /// No master is named, or its folder cannot be used.
    pub async fn start(config: WorkerConfig) -> Result<WorkerHandle, StartError> {
        if config.masters.is_empty() {
            return Err(StartError::NoMasters);
        }
        let platform = config.platform.clone();
        let (folder, lock) = Folder::take(config.disk.clone(), &config.data_dir).await?;
        let (config, folder, opened) = platform
            .blocking(move || {
                let opened = open(&config, &folder, lock);
                (config, folder, opened)
            })
            .await?;
        let Opened { lock, logs, process, journal, cluster_id } = opened?;

        let mut executors = config.executors.clone();
        executors.push(Arc::new(NoopExecutor::new(platform.clone())));
        executors.extend(process.map(|process| process as Arc<dyn Executor>));
        let (ended, endings) = mpsc::unbounded_channel();
        let witness = Arc::new(Witness::new(config.observer.clone()));
        let attempts = Attempts::new(executors, ended, platform.clone(), witness.clone());
        let (margin, kept) = (config.stop_margin, attempts.clone());
        let keeper = LeaseKeeper::start(margin, kept, platform.clone(), witness.clone())?;
        let (recorder, recorded, closed) =
            Recorder::start(journal, endings, keeper.clone(), lock, &platform)?;

        let (shutdown, shutdown_asked) = watch::channel(None);
        let (registered_sender, registered) = watch::channel(None);
        let (failure_sender, failure) = watch::channel(None);
        let incarnation = rand::random();
        witness.set_incarnation(incarnation);
        let session = Session {
            candidates: Candidates::new(&config.masters),
            config,
            folder,
            cluster_id,
            logs,
            attempts: attempts.clone(),
            keeper: keeper.clone(),
            witness,
            recorder,
            recorded,
            registered: registered_sender,
            failure: failure_sender,
            incarnation,
            outbox: VecDeque::new(),
        };
        let session = tokio::spawn(session.run(shutdown_asked));
        Ok(WorkerHandle { shutdown, registered, failure, attempts, keeper, session, closed })
    }
}

/// Opens everything in the folder. Blocks.
fn open(config: &WorkerConfig, folder: &Folder, lock: Lock) -> Result<Opened, StartError> {
    let (mut logs, mut process) = (None, None);
    if config.runs_processes {
        raise_file_limit();
        let dir = config.data_dir.join("logs");
        let store = LogStore::open(dir, config.log_limits, &config.platform)?;
        let mut process_config = ProcessConfig::new(config.data_dir.clone());
        process_config.guardian.clone_from(&config.guardian);
        process_config.platform = config.platform.clone();
        process = Some(Arc::new(ProcessExecutor::start(&process_config, store.clone())?));
        logs = Some(store);
    }
    let now = config.platform.wall_clock();
    let journal = Journal::open(config.journal.as_ref(), &config.data_dir.join("journal"), now)?;
    Ok(Opened { lock, logs, process, journal, cluster_id: folder.cluster_id() })
}

impl WorkerHandle {
    /// The id the cluster gave it; `None` while it is not registered.
    pub fn registered(&self) -> watch::Receiver<Option<WorkerId>> {
        self.registered.clone()
    }

    /// Resolves when the worker has ended by itself, with the reason.
    pub fn failed(&self) -> impl Future<Output = WorkerError> + Send + use<> {
        let mut failure = self.failure.clone();
        async move {
            let failed = failure.wait_for(Option::is_some).await;
            match failed.ok().and_then(|failure| failure.clone()) {
                Some(error) => error,
                // It was shut down.
                None => std::future::pending().await,
            }
        }
    }

    /// How many attempts are running.
    pub fn live_attempts(&self) -> usize {
        self.attempts.live()
    }

    /// Takes nothing new, waits up to `wait` for what is running, kills the rest, reports all outcomes and leaves.
    /// Without a master it goes once nothing runs: within a second or so, or five if there is something to report.
    /// Outcomes that no master takes in time stay in the journal.
    pub async fn shut_down(mut self, wait: Duration) {
        self.shutdown.send_replace(Some(Instant::now() + wait));
        if let Err(error) = (&mut self.session).await {
            tracing::error!(%error, "the session did not end well");
        }
        // So that the process does not end in the middle of a write.
        let _ = (&mut self.closed).await;
    }
}

impl Drop for WorkerHandle {
    fn drop(&mut self) {
        self.session.abort();
        self.attempts.stop_all(Stop::AtOnce);
        self.keeper.end();
    }
}

/// Each live process takes a file descriptor, and the usual soft limit is 1024.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.unwrap_or(FILES_WANTED).min(FILES_WANTED);
    if limit.current.is_some_and(|current| current < wanted) {
        let raised = Rlimit { current: Some(wanted), maximum: limit.maximum };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, "cannot raise the limit of open files");
        }
    }
}
