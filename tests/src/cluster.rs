//! Clusters of real processes on loopback, as a user would deploy them, for tests that kill them.

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use muster_client::{Client, v1};
use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard};

/// How long a cluster may take to form, or to find another leader, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The `muster` binary, built once.
///
/// # Panics
/// If it cannot be built.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let cargo = option_env!("CARGO").unwrap_or("cargo");
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let built = Command::new(cargo)
            .args(["build", "--quiet", "--package", "muster-cli", "--bin", "muster"])
            .current_dir(&root)
            .status()
            .expect("cargo starts");
        assert!(built.success(), "`cargo build --bin muster` failed");
        // This test runs from <target>/debug/deps.
        let test = std::env::current_exe().expect("a test knows its path");
        let binary = test.parent().and_then(Path::parent).expect("it lies in deps").join("muster");
        assert!(binary.exists(), "{} was not built", binary.display());
        binary
    })
}

/// A process that is killed when the test ends.
pub struct Process {
    /// Its name, for messages.
    pub name: String,
    child: Option<Child>,
    args: Vec<String>,
    log: PathBuf,
}

impl Process {
    fn start(name: &str, args: Vec<String>, log: PathBuf) -> Process {
        let mut process = Process { name: name.to_owned(), child: None, args, log };
        process.restart();
        process
    }

    /// Starts the process again with the same arguments.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn restart(&mut self) {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .expect("the log opens");
        let child = Command::new(binary())
            .args(&self.args)
            .env("MUSTER_LOG", "info")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file handle can be cloned"))
            .stderr(log)
            .spawn()
            .expect("the binary starts");
        self.child = Some(child);
    }

    /// Ends it as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _gone = child.kill();
            let _reaped = child.wait();
        }
    }

    /// Sends it a signal by number.
    ///
    /// # Panics
    /// If it does not run.
    pub fn signal(&self, signal: &str) {
        let pid = self.child.as_ref().expect("the process runs").id().to_string();
        let sent =
            Command::new("kill").args([&format!("-{signal}"), &pid]).status().expect("kill starts");
        assert!(sent.success(), "kill -{signal} {pid} failed");
    }

    /// Waits for its end and returns the exit code; `None` if it does not end in time, or by a signal.
    pub async fn wait(&mut self, patience: Duration) -> Option<i32> {
        let until = Instant::now() + patience;
        let child = self.child.as_mut()?;
        while Instant::now() < until {
            if let Ok(Some(status)) = child.try_wait() {
                self.child = None;
                return status.code();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        None
    }

    /// What it has said so far.
    pub fn output(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let output = self.output();
            let tail: Vec<&str> = output.lines().rev().take(40).collect();
            let mut stderr = std::io::stderr().lock();
            let _ = writeln!(stderr, "---- {} ({})", self.name, self.log.display());
            for line in tail.into_iter().rev() {
                let _ = writeln!(stderr, "{line}");
            }
        }
    }
}

/// One cluster at a time in this process: on a small machine several at once would time out for want of processor.
///
/// Hold what it returns for as long as the cluster lives.
pub async fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::const_new(());
    TURN.lock().await
}

/// Ports that were free a moment ago.
///
/// # Panics
/// If the machine has none.
pub fn free_ports(count: usize) -> Vec<u16> {
    let listeners: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0").expect("a port is free")).collect();
    listeners.iter().map(|listener| listener.local_addr().expect("it is bound").port()).collect()
}

/// Masters and workers, each a process of its own.
pub struct Cluster {
    /// The masters, by position.
    pub masters: Vec<Process>,
    /// The workers, by position.
    pub workers: Vec<Process>,
    /// API addresses, by position of the master.
    pub addresses: Vec<String>,
    /// Talks to all masters.
    pub client: Client,
    folder: TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Cluster {
    /// Starts masters and workers and waits until they work together. Each worker offers 64 cores, which no task of
    /// these tests really uses.
    ///
    /// # Panics
    /// If the cluster does not form.
    pub async fn start(masters: usize, workers: usize) -> Cluster {
        Cluster::start_with(masters, workers, &[]).await
    }

    /// As [`Cluster::start`], with more arguments for every master.
    ///
    /// # Panics
    /// If the cluster does not form.
    pub async fn start_with(masters: usize, workers: usize, more: &[&str]) -> Cluster {
        let turn = turn().await;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let ports = free_ports(masters * 2);
        let (api, peer) = ports.split_at(masters);
        let peers: Vec<String> =
            peer.iter().enumerate().map(|(at, port)| format!("m{at}=127.0.0.1:{port}")).collect();
        let addresses: Vec<String> = api.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let client = Client::connect(addresses.iter().map(|it| format!("http://{it}")))
            .expect("addresses are well-formed");
        let mut cluster = Cluster {
            masters: Vec::new(),
            workers: Vec::new(),
            addresses,
            client,
            folder,
            _turn: turn,
        };
        for (at, peer_port) in peer.iter().enumerate() {
            let name = format!("m{at}");
            let mut args =
                arguments(&["master", "start", "--name", &name, "--peers", &peers.join(",")]);
            args.extend(arguments(&["--listen", &cluster.addresses[at]]));
            args.extend(arguments(&["--peer-listen", &format!("127.0.0.1:{peer_port}")]));
            args.extend(arguments(&["--data-dir", &cluster.path(&name).to_string_lossy()]));
            args.extend(arguments(more));
            cluster.masters.push(Process::start(&name, args, cluster.path(&format!("{name}.log"))));
        }
        for _ in 0..workers {
            cluster.add_worker(&[]);
        }
        cluster.settle(workers).await;
        cluster
    }

    /// A path in the cluster's temporary folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts one more worker.
    pub fn add_worker(&mut self, more: &[&str]) {
        let name = format!("w{}", self.workers.len());
        let masters: Vec<String> = self.addresses.iter().map(|it| format!("http://{it}")).collect();
        let mut args =
            arguments(&["worker", "start", "--name", &name, "--master", &masters.join(",")]);
        args.extend(arguments(&["--data-dir", &self.path(&name).to_string_lossy()]));
        if !more.contains(&"--cpu") {
            args.extend(arguments(&["--cpu", "64"]));
        }
        args.extend(arguments(more));
        self.workers.push(Process::start(&name, args, self.path(&format!("{name}.log"))));
    }

    /// Waits until a leader is known and `workers` workers are connected.
    ///
    /// # Panics
    /// If that takes too long.
    pub async fn settle(&self, workers: usize) {
        let until = Instant::now() + PATIENCE;
        loop {
            let connected = self.connected_workers().await;
            if connected >= workers {
                return;
            }
            assert!(
                Instant::now() < until,
                "{connected} of {workers} workers connected in {PATIENCE:?}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn connected_workers(&self) -> usize {
        let mut workers = self.client.with_deadline(Duration::from_secs(2)).list_workers();
        let mut connected = 0;
        while let Some(Ok(worker)) = workers.next().await {
            connected += usize::from(worker.is_connected);
        }
        connected
    }

    /// The position of the leader.
    ///
    /// # Panics
    /// If none is known for too long.
    pub async fn leader(&self) -> usize {
        let until = Instant::now() + PATIENCE;
        loop {
            for address in &self.addresses {
                let Ok(client) = Client::connect([format!("http://{address}")]) else { continue };
                let asked = client.with_deadline(Duration::from_secs(1)).cluster_status().await;
                let Ok(status) = asked else { continue };
                let leader = status.members.iter().find(|member| member.is_leader);
                let position = leader
                    .and_then(|it| self.addresses.iter().position(|own| *own == it.api_address));
                if let Some(position) = position.filter(|it| self.masters[*it].child.is_some()) {
                    return position;
                }
            }
            assert!(Instant::now() < until, "no leader in {PATIENCE:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Runs the `muster` binary against this cluster and returns exit code, standard output and standard error.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn muster(&self, args: &[&str]) -> (i32, String, String) {
        let servers: Vec<String> = self.addresses.iter().map(|it| format!("http://{it}")).collect();
        self.muster_on(&servers.join(","), args)
    }

    /// As [`Cluster::muster`], against the given addresses.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn muster_on(&self, servers: &str, args: &[&str]) -> (i32, String, String) {
        let output = Command::new(binary())
            .args(args)
            .env("MUSTER_SERVER", servers)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .output()
            .expect("the binary starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
    }

    /// Every task of a run.
    ///
    /// # Panics
    /// If the run cannot be read.
    pub async fn tasks(&self, run: &v1::SubmitRunResponse) -> Vec<v1::Task> {
        let mut items = self.client.list_tasks(run, &[]);
        let mut tasks = Vec::new();
        while let Some(task) = items.next().await {
            tasks.push(task.expect("tasks can be listed"));
        }
        tasks
    }
}

fn arguments(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
