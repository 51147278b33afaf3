//! `muster master` and `muster worker`: the processes of a cluster, and looking after workers.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use muster_core::ids::Text;
use muster_master::{Master, MasterConfig, MasterError};
use muster_worker::session::{Worker, WorkerConfig};
use tokio::signal::unix::{SignalKind, signal};

use super::get;
use crate::embedded::guardian;
use crate::exit::{Exit, Failure, Outcome};
use crate::output::note;
use crate::settings::{Global, machine_name};
use crate::units;

#[derive(Debug, Subcommand)]
pub(crate) enum MasterCommand {
    /// Run a master until SIGTERM or Ctrl-C, then hand leadership over
    Start(Box<MasterArgs>),
}

#[derive(Debug, Subcommand)]
pub(crate) enum WorkerCommand {
    /// Run a worker until SIGTERM or Ctrl-C, then finish what runs
    Start(Box<WorkerArgs>),
    /// List workers
    List,
    /// Have a worker take nothing new and finish what it has
    Drain {
        /// The workers
        #[arg(required = true, value_name = "WORKER")]
        workers: Vec<String>,
    },
    /// Take a drain back
    Undrain {
        /// The workers
        #[arg(required = true, value_name = "WORKER")]
        workers: Vec<String>,
    },
}

#[derive(Args, Debug)]
pub(crate) struct MasterArgs {
    /// Stable name, unique among the masters
    #[arg(
        long,
        value_name = "NAME",
        default_value = "muster-0",
        env = "MUSTER_NAME",
        hide_env_values = true
    )]
    name: String,
    /// Folder for log, snapshots and history
    #[arg(long, value_name = "DIR", env = "MUSTER_DATA_DIR", hide_env_values = true)]
    data_dir: PathBuf,
    /// Peer addresses of all masters, this one included: host:port or name=host:port [default: a cluster of one]
    #[arg(
        long,
        value_name = "ADDR,…",
        value_delimiter = ',',
        env = "MUSTER_PEERS",
        hide_env_values = true
    )]
    peers: Vec<String>,
    /// Where the API listens
    #[arg(
        long,
        value_name = "IP:PORT",
        default_value = "127.0.0.1:7070",
        env = "MUSTER_LISTEN",
        hide_env_values = true
    )]
    listen: SocketAddr,
    /// Where the peers' protocol listens
    #[arg(
        long,
        value_name = "IP:PORT",
        default_value = "127.0.0.1:7071",
        env = "MUSTER_PEER_LISTEN",
        hide_env_values = true
    )]
    peer_listen: SocketAddr,
    /// host:port under which others reach the API [default: the listen address]
    #[arg(long, value_name = "HOST:PORT", env = "MUSTER_ADVERTISE", hide_env_values = true)]
    advertise: Option<String>,
    /// host:port under which the other masters reach this one [default: the listen address]
    #[arg(long, value_name = "HOST:PORT", env = "MUSTER_PEER_ADVERTISE", hide_env_values = true)]
    peer_advertise: Option<String>,
    /// Listen beyond loopback although nothing is encrypted or authenticated: whoever reaches it can run commands
    #[arg(long, env = "MUSTER_INSECURE", hide_env_values = true)]
    insecure: bool,
    /// Slower elections, for disks whose fsync takes tens of milliseconds
    #[arg(long)]
    slow_disk: bool,
    /// Log entries between two snapshots [default: 50000]
    #[arg(long, value_name = "N")]
    snapshot_entries: Option<u64>,
    /// How long a worker may keep its attempts without a heartbeat
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = units::span)]
    lease: Duration,
    /// How often workers send heartbeats
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = units::span)]
    heartbeat: Duration,
    /// Ended runs to keep; older ones are pruned
    #[arg(long, value_name = "N")]
    history_runs: Option<u64>,
    /// Folder with the keys of webhooks that are signed: a file NAMESPACE.KEY each
    #[arg(long, value_name = "DIR")]
    webhook_keys: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct WorkerArgs {
    /// Name, unique among the workers [default: the machine's]
    #[arg(long, value_name = "NAME", env = "MUSTER_NAME", hide_env_values = true)]
    name: Option<String>,
    /// Folder for logs and outcomes, of this worker alone
    #[arg(long, value_name = "DIR", env = "MUSTER_DATA_DIR", hide_env_values = true)]
    data_dir: PathBuf,
    /// Addresses of the masters, some or all [default: those of --server]
    #[arg(long, value_name = "URL,…", value_delimiter = ',')]
    master: Vec<String>,
    /// Cores to offer [default: all]
    #[arg(long, value_name = "CORES", value_parser = units::cpu)]
    cpu: Option<u64>,
    /// Memory to offer [default: all]
    #[arg(long, value_name = "BYTES", value_parser = units::memory)]
    memory: Option<u64>,
    /// Something else to offer: `gpu=1`
    #[arg(long, value_name = "NAME=COUNT", value_parser = units::count)]
    resource: Vec<(String, u64)>,
    /// A fact that tasks can select by
    #[arg(long, value_name = "KEY=VALUE", value_parser = units::pair)]
    label: Vec<(String, String)>,
    /// Serve the tasks of this pool, and no others
    #[arg(long, value_name = "POOL")]
    pool: Option<String>,
    /// How long to wait for what runs when asked to stop
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = units::span)]
    grace: Duration,
}

pub(crate) async fn master(command: MasterCommand) -> Outcome {
    let MasterCommand::Start(args) = command;
    let mut config = MasterConfig {
        name: args.name,
        data_dir: args.data_dir,
        api_listen: args.listen,
        api_advertise: args.advertise,
        peer_listen: args.peer_listen,
        peer_advertise: args.peer_advertise,
        peers: args.peers,
        insecure: args.insecure,
        slow_disk: args.slow_disk,
        snapshot_entries: args.snapshot_entries,
        lease: args.lease,
        heartbeat: args.heartbeat,
        webhook_keys: args.webhook_keys,
        ..MasterConfig::default()
    };
    if let Some(runs) = args.history_runs {
        config.history_runs_max = runs;
    }
    let master = Master::start(config).await.map_err(|error| match error {
        MasterError::Config(error) => Failure::usage(error.to_string()),
        other => Failure::error(other),
    })?;
    tracing::info!(api = %master.api_address(), "the master listens");
    let failure = tokio::select! {
        failure = master.failed() => Some(failure),
        () = asked_to_stop() => None,
    };
    match failure {
        // What it holds in memory can no longer be trusted to reach the disk: end at once.
        Some(failure) => Err(Failure::error(format!("the master must stop: {failure}"))),
        None => {
            tracing::info!("asked to stop");
            stop(master.shutdown()).await;
            tracing::info!("stopped");
            Ok(Exit::Ok)
        }
    }
}

pub(crate) async fn worker(command: WorkerCommand, global: &Global) -> Outcome {
    match command {
        WorkerCommand::Start(args) => start_worker(*args, global).await,
        WorkerCommand::List => get::workers(global).await,
        WorkerCommand::Drain { workers } => drain(&workers, false, global).await,
        WorkerCommand::Undrain { workers } => drain(&workers, true, global).await,
    }
}

async fn drain(workers: &[String], undrain: bool, global: &Global) -> Outcome {
    let client = global.client()?;
    for worker in workers {
        client.drain(worker, undrain).await?;
        let what = if undrain { "takes tasks again" } else { "takes nothing new" };
        note(format!("{worker} {what}"));
    }
    Ok(Exit::Ok)
}

async fn start_worker(args: WorkerArgs, global: &Global) -> Outcome {
    let masters = match args.master.is_empty() {
        // The addresses that the settings give, complete.
        true => global.client()?.endpoints(),
        false => args.master,
    };
    let name = args.name.unwrap_or_else(machine_name);
    let mut config = WorkerConfig::new(name.clone(), args.data_dir, masters);
    if let Some(cpu) = args.cpu {
        config.capacity.cpu_millis = cpu;
    }
    if let Some(memory) = args.memory {
        config.capacity.memory_bytes = memory;
    }
    let resources = args.resource.into_iter().map(|(name, count)| (Text::from(name), count));
    config.capacity.custom.extend(resources);
    config.labels = args.label.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
    config.pool = args.pool.map(Text::from);
    config.guardian = guardian();
    let worker = Worker::start(config).await.map_err(Failure::error)?;
    tracing::info!(name, "the worker runs");
    tokio::select! {
        () = asked_to_stop() => {}
        error = worker.failed() => return Err(Failure::error(error)),
    }
    tracing::info!(attempts = worker.live_attempts(), "asked to stop");
    stop(worker.shut_down(args.grace)).await;
    Ok(Exit::Ok)
}

/// Resolves with SIGTERM or Ctrl-C.
pub(crate) async fn asked_to_stop() {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        // Without handlers the signals end the process by themselves.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// Stops in good order, or at once if asked a second time.
pub(crate) async fn stop(ending: impl Future<Output = ()>) {
    tokio::select! {
        () = ending => {}
        () = asked_to_stop() => tracing::warn!("asked to stop again: stopping at once"),
    }
}
