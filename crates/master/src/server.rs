//! Starting and stopping a master.

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use muster_core::state::State;
use muster_platform::Incoming;
use muster_proto::FILE_DESCRIPTOR_SET;
use muster_proto::internal::v1::worker_session_service_server::WorkerSessionServiceServer;
use muster_proto::v1::audit_service_server::AuditServiceServer;
use muster_proto::v1::cluster_service_server::ClusterServiceServer;
use muster_proto::v1::log_service_server::LogServiceServer;
use muster_proto::v1::namespace_service_server::NamespaceServiceServer;
use muster_proto::v1::run_service_server::RunServiceServer;
use muster_proto::v1::schedule_service_server::ScheduleServiceServer;
use muster_proto::v1::worker_service_server::WorkerServiceServer;
use muster_proto::v1::workflow_service_server::WorkflowServiceServer;
use muster_raft::{PeerAddress, RaftConfig, RaftMember, RaftStatus, Timing};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::service::{Routes, RoutesBuilder};
use tonic::transport::Server;

use crate::api::audit::Audit;
use crate::api::cluster::Cluster;
use crate::api::log::Logs;
use crate::api::namespace::Namespaces;
use crate::api::run::Runs;
use crate::api::schedule::Schedules;
use crate::api::webhook;
use crate::api::worker::Workers;
use crate::api::workflow::Workflows;
use crate::clock::{LogClock, LogView};
use crate::config::{ConfigError, MasterConfig};
use crate::forward::{Channels, MESSAGE_BYTES_MAX};
use crate::live::Live;
use crate::machine::{CoreMachine, StateCell};
use crate::propose::Proposer;
use crate::replica::Replica;
use crate::session::WorkerSessions;
use crate::{gate, leader};

/// Largest message a caller may send, in bytes.
const REQUEST_BYTES_MAX: usize = 8 << 20;
/// How long a stopping master waits for calls in progress.
const DRAIN: Duration = Duration::from_secs(2);

/// Why a master could not start, or must stop.
#[derive(Debug, thiserror::Error)]
pub enum MasterError {
    /// A setting cannot be.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The API address cannot be listened on.
    #[error("cannot listen on {address}: {error}; is another master running there?")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the operating system says.
        error: std::io::Error,
    },
    /// The replica could not be opened.
    #[error(transparent)]
    Open(#[from] muster_raft::OpenError),
    /// The replica must stop: its disk failed, or the log holds what this version does not understand.
    #[error("{0}")]
    Fatal(String),
}

/// A running master.
pub struct Master {
    replica: Arc<Replica>,
    api_address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    server: JoinHandle<()>,
    leading: JoinHandle<()>,
}

impl Master {
    /// Opens the data folder, joins or forms the cluster, and serves. Returns once the API listens; a leader may not
    /// be known yet.
    ///
    /// # Errors
    /// Says which setting, address or file is at fault, and what to do.
    pub async fn start(config: MasterConfig) -> Result<Master, MasterError> {
        config.check()?;
        let address = config.api_listen;
        let failed = |error| MasterError::Listen { address, error };
        let incoming = config.platform.listen(address).await.map_err(failed)?;
        let api_address = incoming.local_address().map_err(failed)?;
        let (cell, events) = StateCell::new();
        let machine = CoreMachine {
            cell: cell.clone(),
            observer: config.observer.clone(),
            platform: config.platform.clone(),
        };
        let raft = RaftMember::open(raft_config(&config), Box::new(machine)).await?;
        let clock = Arc::new(log_clock(&raft, &cell));
        let proposer = Proposer::start(raft.clone(), clock.clone(), config.observer.clone());
        let channels = Channels::new(&config.platform);
        let replica = Arc::new(Replica {
            config,
            raft,
            cell,
            clock,
            proposer,
            live: Live::default(),
            channels,
        });
        let leading = tokio::spawn(leader::run(replica.clone(), events));
        let (stop, stopped) = oneshot::channel();
        let server = tokio::spawn(serve(replica.clone(), incoming, stopped));
        Ok(Master { replica, api_address, stop: Some(stop), server, leading })
    }

    /// Where the API listens.
    pub fn api_address(&self) -> SocketAddr {
        self.api_address
    }

    /// Where its replica stands.
    pub fn status(&self) -> RaftStatus {
        self.replica.raft.status()
    }

    /// Resolves when the master must stop by itself.
    pub async fn failed(&self) -> MasterError {
        MasterError::Fatal(self.replica.raft.fatal().await.to_string())
    }

    /// Hands leadership over, ends calls and sessions, and closes the data folder.
    pub async fn shutdown(self) {
        self.replica.raft.shutdown().await;
        self.close().await;
    }

    /// As [`Master::shutdown`], without looking for a successor: for the end of a whole cluster.
    pub async fn shutdown_with_all_others(self) {
        self.replica.raft.stop().await;
        self.close().await;
    }

    async fn close(mut self) {
        self.leading.abort();
        self.replica.live.end();
        if let Some(stop) = self.stop.take() {
            let _gone = stop.send(());
        }
        if tokio::time::timeout(DRAIN, &mut self.server).await.is_err() {
            self.server.abort();
        }
    }
}

fn log_clock(raft: &RaftMember, cell: &Arc<StateCell>) -> LogClock {
    let (masters, leadership, cell) = (raft.clone(), raft.watch_leadership(), cell.clone());
    let log = move || LogView { term: leadership.borrow().term, now: cell.read(State::now) };
    LogClock::new(move || masters.wall_clock(), log)
}

fn raft_config(config: &MasterConfig) -> RaftConfig {
    let peers: Vec<PeerAddress> = match config.peers.as_slice() {
        [] => vec![PeerAddress { name: config.name.clone(), address: config.peer_address() }],
        peers => peers.iter().map(|peer| PeerAddress::parse(peer)).collect(),
    };
    // Peers that are listed without names are known by their addresses, this master included.
    let address = config.peer_address();
    let name = peers
        .iter()
        .find(|peer| peer.address == address)
        .map_or(&config.name, |own| &own.name)
        .clone();
    let mut raft = RaftConfig::new(config.data_dir.clone(), &name, config.peer_listen, peers);
    raft.platform = config.platform.clone();
    raft.disk = config.disk.clone();
    raft.peer_address = address;
    raft.api_address = config.api_address();
    if let Some(entries) = config.snapshot_entries {
        raft.snapshots.every_entries = entries.max(1);
        raft.snapshots.keep_entries = raft.snapshots.keep_entries.min(entries);
    }
    if config.slow_disk {
        raft.timing = Timing::slow_disk();
    }
    raft
}

async fn serve(replica: Arc<Replica>, incoming: Incoming, stopped: oneshot::Receiver<()>) {
    let routes = routes(&replica).await;
    let server = Server::builder()
        .http2_keepalive_interval(Some(Duration::from_secs(10)))
        .http2_keepalive_timeout(Some(Duration::from_secs(5)))
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(8 << 20)
        .max_concurrent_streams(10_000)
        // Webhooks are called by programs that know no other.
        .accept_http1(true)
        .layer(tonic::service::InterceptorLayer::new(gate::admit))
        .add_routes(routes);
    let ended = server
        .serve_with_incoming_shutdown(incoming, async {
            let _gone = stopped.await;
        })
        .await;
    if let Err(error) = ended {
        tracing::error!(%error, "the API server ended");
    }
}

async fn routes(replica: &Arc<Replica>) -> Routes {
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_service_status("liveness", tonic_health::ServingStatus::Serving).await;
    reporter.set_service_status("readiness", tonic_health::ServingStatus::NotServing).await;
    tokio::spawn(report_readiness(replica.clone(), reporter));
    let mut routes = RoutesBuilder::from(REFLECTION.clone());
    let replica = || replica.clone();
    macro_rules! add {
        ($service:expr) => {
            routes.add_service(
                $service
                    .max_decoding_message_size(REQUEST_BYTES_MAX)
                    .max_encoding_message_size(MESSAGE_BYTES_MAX),
            )
        };
    }
    add!(WorkflowServiceServer::new(Workflows { replica: replica() }));
    add!(NamespaceServiceServer::new(Namespaces { replica: replica() }));
    add!(ScheduleServiceServer::new(Schedules { replica: replica() }));
    add!(RunServiceServer::new(Runs { replica: replica() }));
    add!(WorkerServiceServer::new(Workers { replica: replica() }));
    add!(LogServiceServer::new(Logs { replica: replica() }));
    add!(AuditServiceServer::new(Audit { replica: replica() }));
    add!(ClusterServiceServer::new(Cluster::new(replica())));
    add!(WorkerSessionServiceServer::new(WorkerSessions { replica: replica() }));
    routes.add_service(health);
    let routes = routes.routes().into_axum_router().merge(webhook::routes(replica()));
    Routes::from(routes.layer(axum::middleware::from_fn(webhook::only_known_ways)))
}

/// What tells callers how the services look. Some milliseconds of work, and the same for all masters of a process.
static REFLECTION: LazyLock<Routes> = LazyLock::new(|| {
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    match (reflection().build_v1(), reflection().build_v1alpha()) {
        (Ok(v1), Ok(v1alpha)) => Routes::new(v1).add_service(v1alpha),
        _ => Routes::default(),
    }
});

/// Ready while a leader is known. Liveness never depends on a quorum.
async fn report_readiness(replica: Arc<Replica>, reporter: tonic_health::server::HealthReporter) {
    let mut leadership = replica.raft.watch_leadership();
    loop {
        let is_ready = leadership.borrow_and_update().leader.is_some();
        let status = if is_ready {
            tonic_health::ServingStatus::Serving
        } else {
            tonic_health::ServingStatus::NotServing
        };
        reporter.set_service_status("readiness", status).await;
        if leadership.changed().await.is_err() {
            return;
        }
    }
}
