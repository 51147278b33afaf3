//! A whole cluster in this process: masters and workers that talk over loopback, as they would over a network.
//!
//! ```text
//!  start ─► folder ─► free ports ─► masters ─► a leader ─► workers ─► all registered
//! ```

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::stream::FuturesUnordered;
use futures::{StreamExt, TryStreamExt};
use muster_client::{API_PORT, Client};
use muster_core::spec::Resources;
use muster_master::{Master, MasterConfig, MasterError};
use muster_worker::executor::process::guardian::GuardianCommand;
use muster_worker::session::{StartError, Worker, WorkerConfig, WorkerError, WorkerHandle};
use tempfile::TempDir;
use tokio::time::Instant;

/// How long masters may take to choose a leader, and workers to register.
const READY_MAX: Duration = Duration::from_secs(20);
/// Times a cluster is started with other ports when one was taken meanwhile.
const PORT_TRIES: u32 = 3;
const READY_LOOK: Duration = Duration::from_millis(20);
/// How long a stopping worker waits for what is running.
const WORKER_GRACE: Duration = Duration::ZERO;

/// What to start.
#[derive(Clone, Debug)]
pub(crate) struct EmbeddedOptions {
    /// 1, 3 or 5.
    pub(crate) masters: usize,
    pub(crate) workers: usize,
    /// Kept afterwards; a temporary folder that is removed if absent.
    pub(crate) data_dir: Option<PathBuf>,
    /// Port of the first master's API, which must be free. If absent: the usual one, or any if that is taken.
    pub(crate) port: Option<u16>,
    /// What each worker offers; an equal share of the machine if absent.
    pub(crate) capacity: Option<Resources>,
    /// Of the workers' leases.
    pub(crate) lease: Duration,
    pub(crate) heartbeat: Duration,
}

impl Default for EmbeddedOptions {
    fn default() -> Self {
        let usual = MasterConfig::default();
        EmbeddedOptions {
            masters: 1,
            workers: 1,
            data_dir: None,
            port: None,
            capacity: None,
            lease: usual.lease,
            heartbeat: usual.heartbeat,
        }
    }
}

/// Why the cluster could not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EmbeddedError {
    #[error("cannot use {path}: {error}")]
    Folder { path: String, error: std::io::Error },
    #[error("port {port} is taken: {error}; choose another with --port, or leave it out")]
    Port { port: u16, error: std::io::Error },
    #[error("no free port can be found: {0}")]
    Ports(std::io::Error),
    #[error("{name}: {error}")]
    Master { name: String, error: MasterError },
    #[error("{name}: {error}")]
    Worker { name: String, error: StartError },
    #[error("{name}: {error}")]
    WorkerEnded { name: String, error: WorkerError },
    #[error("the cluster was not ready within {} s: {what}", READY_MAX.as_secs())]
    NotReady { what: String },
}

/// A running cluster. Must be ended with [`Embedded::shutdown`].
pub(crate) struct Embedded {
    masters: Vec<Master>,
    workers: Vec<WorkerHandle>,
    /// Removed when it is dropped.
    scratch: Option<TempDir>,
}

impl Embedded {
    /// Starts everything, and returns once there is a leader and all workers are registered.
    pub(crate) async fn start(options: &EmbeddedOptions) -> Result<Embedded, EmbeddedError> {
        // Between the look for a free port and its use somebody else may take it; another cluster that starts in the
        // same moment looks for the same usual port.
        let mut tries_left = if options.port.is_none() { PORT_TRIES } else { 1 };
        let mut is_usual_port_wanted = true;
        loop {
            tries_left -= 1;
            let (dir, scratch) = folder(options.data_dir.as_deref())?;
            let mut cluster = Embedded { masters: Vec::new(), workers: Vec::new(), scratch };
            let started = cluster.start_all(options, &dir, is_usual_port_wanted).await;
            let Err(error) = started else { return Ok(cluster) };
            cluster.shutdown().await;
            let is_taken =
                matches!(&error, EmbeddedError::Master { error: MasterError::Listen { .. }, .. });
            if !is_taken || tries_left == 0 {
                return Err(error);
            }
            is_usual_port_wanted = false;
        }
    }

    async fn start_all(
        &mut self,
        options: &EmbeddedOptions,
        dir: &Path,
        is_usual_port_wanted: bool,
    ) -> Result<(), EmbeddedError> {
        let configs = master_configs(options, dir, is_usual_port_wanted)?;
        // All at once: each needs a majority of the others.
        let starts = configs.into_iter().map(|config| async {
            let name = config.name.clone();
            Master::start(config).await.map_err(|error| EmbeddedError::Master { name, error })
        });
        let mut starts = starts.collect::<FuturesUnordered<_>>();
        while let Some(master) = starts.try_next().await? {
            self.masters.push(master);
        }
        drop(starts);
        self.masters.sort_by_key(|master| {
            (
                options.port != Some(master.api_address().port()),
                master.api_address().port() != API_PORT,
            )
        });
        let deadline = Instant::now() + READY_MAX;
        self.await_leader(deadline).await?;
        for number in 0..options.workers {
            let name = worker_name(number);
            let mut config = WorkerConfig::new(name.clone(), dir.join(&name), self.endpoints());
            config.capacity = options
                .capacity
                .clone()
                .unwrap_or_else(|| share(&config.capacity, options.workers as u64));
            config.guardian = guardian();
            let worker = Worker::start(config).await;
            self.workers.push(worker.map_err(|error| EmbeddedError::Worker { name, error })?);
        }
        self.await_workers(deadline).await
    }

    /// The addresses of the APIs, complete.
    pub(crate) fn endpoints(&self) -> Vec<String> {
        self.masters.iter().map(|master| format!("http://{}", master.api_address())).collect()
    }

    /// Resolves when a master must stop by itself.
    pub(crate) async fn failed(&self) -> MasterError {
        let failures = self.masters.iter().map(Master::failed);
        let mut failures = failures.collect::<FuturesUnordered<_>>();
        match failures.next().await {
            Some(error) => error,
            None => std::future::pending().await,
        }
    }

    /// Ends workers, then masters, and removes the temporary folder.
    pub(crate) async fn shutdown(self) {
        let workers = self.workers.into_iter().map(|worker| worker.shut_down(WORKER_GRACE));
        futures::future::join_all(workers).await;
        let masters = self.masters.into_iter().map(Master::shutdown_with_all_others);
        futures::future::join_all(masters).await;
        if let Some(scratch) = self.scratch
            && let Err(error) = scratch.close()
        {
            tracing::warn!(%error, "the temporary folder cannot be removed");
        }
    }

    async fn await_leader(&self, deadline: Instant) -> Result<(), EmbeddedError> {
        let not_ready = |what: String| EmbeddedError::NotReady { what };
        let client =
            Client::connect(self.endpoints()).map_err(|error| not_ready(error.to_string()))?;
        loop {
            let seen = match client.cluster_status().await {
                Ok(status) if status.leader_id > 0 => return Ok(()),
                Ok(_) => "the masters have not chosen a leader".to_owned(),
                Err(error) => error.to_string(),
            };
            if Instant::now() >= deadline {
                return Err(not_ready(seen));
            }
            tokio::time::sleep(READY_LOOK).await;
        }
    }

    async fn await_workers(&mut self, deadline: Instant) -> Result<(), EmbeddedError> {
        for (number, worker) in self.workers.iter().enumerate() {
            let mut registered = worker.registered();
            let wait = async {
                tokio::select! {
                    _ = registered.wait_for(Option::is_some) => Ok(()),
                    error = worker.failed() => Err(error),
                }
            };
            match tokio::time::timeout_at(deadline, wait).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    let name = worker_name(number);
                    return Err(EmbeddedError::WorkerEnded { name, error });
                }
                Err(_) => {
                    let what = "not every worker could register".to_owned();
                    return Err(EmbeddedError::NotReady { what });
                }
            }
        }
        Ok(())
    }
}

/// How workers of this program start their guardian.
pub(crate) fn guardian() -> Option<GuardianCommand> {
    match std::env::current_exe() {
        Ok(program) => Some(GuardianCommand { program, args: vec!["guardian".into()] }),
        Err(error) => {
            tracing::warn!(%error, "processes will outlive a killed worker: this program cannot be found");
            None
        }
    }
}

fn folder(wanted: Option<&Path>) -> Result<(PathBuf, Option<TempDir>), EmbeddedError> {
    let failed =
        |path: &Path, error| EmbeddedError::Folder { path: path.display().to_string(), error };
    match wanted {
        Some(dir) => {
            std::fs::create_dir_all(dir).map_err(|error| failed(dir, error))?;
            Ok((dir.to_owned(), None))
        }
        None => {
            let made = tempfile::Builder::new().prefix("muster-").tempdir();
            let scratch = made.map_err(|error| failed(&std::env::temp_dir(), error))?;
            Ok((scratch.path().to_owned(), Some(scratch)))
        }
    }
}

fn master_configs(
    options: &EmbeddedOptions,
    dir: &Path,
    is_usual_port_wanted: bool,
) -> Result<Vec<MasterConfig>, EmbeddedError> {
    let count = options.masters;
    let peer_ports = peer_ports(count, dir)?;
    let api_ports = api_ports(count, options.port, is_usual_port_wanted, &peer_ports)?;
    let name = |number: usize| format!("muster-{number}");
    let peers: Vec<String> = peer_ports
        .iter()
        .enumerate()
        .map(|(number, port)| format!("{}={}", name(number), loopback(*port)))
        .collect();
    let configs = api_ports.into_iter().zip(peer_ports).enumerate();
    Ok(configs
        .map(|(number, (api, peer))| MasterConfig {
            name: name(number),
            data_dir: dir.join(name(number)),
            api_listen: loopback(api),
            peer_listen: loopback(peer),
            peers: peers.clone(),
            lease: options.lease,
            heartbeat: options.heartbeat,
            ..MasterConfig::default()
        })
        .collect())
}

fn worker_name(number: usize) -> String {
    format!("worker-{number}")
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn api_ports(
    count: usize,
    wanted: Option<u16>,
    is_usual_port_wanted: bool,
    taken: &[u16],
) -> Result<Vec<u16>, EmbeddedError> {
    let is_usual_port_free = || TcpListener::bind(loopback(API_PORT)).is_ok();
    let first = match wanted {
        Some(port) => match TcpListener::bind(loopback(port)) {
            Ok(_free) => Some(port),
            Err(error) => return Err(EmbeddedError::Port { port, error }),
        },
        None => Some(API_PORT).filter(|_| is_usual_port_wanted && is_usual_port_free()),
    };
    // So many that enough are left when those that are taken come up again: nobody listens there yet.
    let free = free_ports(count + taken.len())?;
    let others = free.into_iter().filter(|port| Some(*port) != first && !taken.contains(port));
    Ok(first.into_iter().chain(others).take(count).collect())
}

/// The masters find each other, and themselves, under the ports they had before: those of a folder that is used again
/// are kept in it.
fn peer_ports(count: usize, dir: &Path) -> Result<Vec<u16>, EmbeddedError> {
    let path = dir.join("peer-ports");
    let failed = |error| EmbeddedError::Folder { path: path.display().to_string(), error };
    if let Ok(text) = std::fs::read_to_string(&path) {
        let ports: Vec<u16> =
            text.split_whitespace().filter_map(|port| port.parse().ok()).collect();
        if ports.len() != count {
            let message = format!(
                "the folder holds a cluster of {} masters; use --masters {0} or another folder",
                ports.len()
            );
            return Err(failed(std::io::Error::other(message)));
        }
        return Ok(ports);
    }
    let ports = free_ports(count)?;
    let text = ports.iter().map(u16::to_string).collect::<Vec<_>>().join(" ");
    std::fs::write(&path, text).map_err(failed)?;
    Ok(ports)
}

/// Ports that are free at this moment. They are held until all are found, so that they differ.
fn free_ports(count: usize) -> Result<Vec<u16>, EmbeddedError> {
    let held: Result<Vec<TcpListener>, _> =
        (0..count).map(|_| TcpListener::bind(loopback(0))).collect();
    let held = held.map_err(EmbeddedError::Ports)?;
    held.iter()
        .map(|listener| listener.local_addr().map(|address| address.port()))
        .collect::<Result<_, _>>()
        .map_err(EmbeddedError::Ports)
}

/// An equal part of what the machine has, so that several workers do not promise it several times.
fn share(whole: &Resources, parts: u64) -> Resources {
    let parts = parts.max(1);
    Resources {
        cpu_millis: (whole.cpu_millis / parts).max(1),
        memory_bytes: whole.memory_bytes / parts,
        custom: BTreeMap::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_kept_with_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let ports = peer_ports(3, dir.path()).unwrap();
        assert_eq!(peer_ports(3, dir.path()).unwrap(), ports);
        let error = peer_ports(1, dir.path()).unwrap_err().to_string();
        assert!(error.contains("a cluster of 3 masters"), "{error}");
    }

    #[test]
    fn every_master_has_ports_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let options = EmbeddedOptions { masters: 5, ..EmbeddedOptions::default() };
        let configs = master_configs(&options, dir.path(), true).unwrap();
        let mut ports: Vec<u16> =
            configs.iter().flat_map(|it| [it.api_listen.port(), it.peer_listen.port()]).collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 10);
        assert!(configs.iter().all(|config| config.peers.len() == 5));
    }

    #[test]
    fn a_port_that_was_asked_for_must_be_free() {
        let taken = TcpListener::bind(loopback(0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = api_ports(1, Some(port), true, &[]).unwrap_err().to_string();
        assert!(error.contains(&format!("port {port} is taken")), "{error}");
    }

    #[test]
    fn workers_share_the_machine() {
        let whole = Resources { cpu_millis: 8000, memory_bytes: 1 << 30, ..Resources::ZERO };
        let part = share(&whole, 4);
        assert_eq!((part.cpu_millis, part.memory_bytes), (2000, 1 << 28));
        assert_eq!(share(&Resources::ZERO, 4).cpu_millis, 1);
    }
}
