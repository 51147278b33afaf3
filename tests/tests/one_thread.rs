//! A whole cluster of masters in one thread, on a platform that is not the operating system: what simulations rest on.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::Stream;
use futures::future::BoxFuture;
use muster_client::{Client, Submission};
use muster_core::apply::Applied;
use muster_core::command::{AttemptRef, Entry};
use muster_core::ids::LogIndex;
use muster_core::state::State;
use muster_master::{Master, MasterConfig, Observer};
use muster_platform::{
    BlockFile, Connection, Dedicated, Disk, Executor, Files, Incoming, Listener, Lock, Platform,
    Provider,
};
use muster_raft::Position;
use muster_tests::cluster::free_ports;
use tokio::runtime::Handle;

/// What a sync takes.
const SYNC: Duration = Duration::from_millis(2);

/// Real sockets and clocks, and no thread but the caller's.
struct OneThread;

struct Port(Incoming);

impl Listener for Port {
    fn local_address(&self) -> io::Result<SocketAddr> {
        self.0.local_address()
    }

    fn poll_accept(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Connection>> {
        let next = ready!(Pin::new(&mut self.0).poll_next(context));
        Poll::Ready(next.expect("it never ends"))
    }
}

impl Provider for OneThread {
    fn connect(&self, address: &str) -> BoxFuture<'static, io::Result<Connection>> {
        let address = address.to_owned();
        Box::pin(async move { Platform::system().connect(&address).await })
    }

    fn listen(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let port: Box<dyn Listener> = Box::new(Port(Platform::system().listen(address).await?));
            Ok(port)
        })
    }

    fn since_boot(&self) -> Duration {
        Platform::system().since_boot()
    }

    fn wall_clock(&self) -> Duration {
        Platform::system().wall_clock()
    }

    fn blocking(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, io::Result<()>> {
        work();
        Box::pin(std::future::ready(Ok(())))
    }

    fn dedicate(&self, _: &str, work: BoxFuture<'static, ()>) -> io::Result<Dedicated> {
        tokio::spawn(work);
        Ok(Dedicated::simulated())
    }

    fn executor(&self, _: &str, _: usize, _: usize) -> io::Result<Executor> {
        Ok(Executor::shared(Handle::current()))
    }
}

/// Files whose syncs take their time without blocking.
struct SlowFiles;

impl Disk for SlowFiles {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        Files.create_dir_all(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        Files.list(path)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        Files.read(path)
    }

    fn size(&self, path: &Path) -> io::Result<u64> {
        Files.size(path)
    }

    fn create_blocks(&self, path: &Path) -> io::Result<Box<dyn BlockFile>> {
        Files.create_blocks(path)
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        Files.sync(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        Files.sync_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Files.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        Files.remove(path)
    }

    fn open_blocks(&self, path: &Path) -> io::Result<Box<dyn BlockFile>> {
        Files.open_blocks(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Lock>> {
        Files.lock(path)
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        Files.free_bytes(path)
    }

    fn settled(&self) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(SYNC))
    }
}

/// What one master told.
#[derive(Default)]
struct Seen {
    /// By log index: the number of commands, and the state's digest afterwards.
    applied: Mutex<BTreeMap<u64, (usize, u64)>>,
    restored: Mutex<Vec<(u64, u64)>>,
    terms: Mutex<Vec<u64>>,
}

impl Observer for Seen {
    fn applied(&self, at: Position, entry: &Entry, state: &State, applied: &Applied) {
        assert_eq!(entry.commands.len(), applied.replies.len(), "one answer a command");
        let (commands, digest) = (entry.commands.len(), state.snapshot().digest());
        self.applied.lock().expect("not poisoned").insert(at.index, (commands, digest));
    }

    fn restored(&self, index: LogIndex, state: &State) {
        let digest = state.snapshot().digest();
        self.restored.lock().expect("not poisoned").push((index.0, digest));
    }

    fn dispatched_again(&self, _: &AttemptRef) {}

    fn refused(&self, _: u64) {}

    fn leads(&self, term: u64) {
        self.terms.lock().expect("not poisoned").push(term);
    }

    fn leads_no_more(&self, term: u64) {
        assert_eq!(self.terms.lock().expect("not poisoned").last(), Some(&term));
    }
}

fn config(folder: &Path, ports: &[u16], at: usize) -> (MasterConfig, Arc<Seen>) {
    let (api, peer) = ports.split_at(ports.len() / 2);
    let seen = Arc::<Seen>::default();
    let config = MasterConfig {
        name: format!("m{at}"),
        data_dir: folder.join(format!("m{at}")),
        api_listen: ([127, 0, 0, 1], api[at]).into(),
        peer_listen: ([127, 0, 0, 1], peer[at]).into(),
        peers: peer.iter().map(|port| format!("127.0.0.1:{port}")).collect(),
        snapshot_entries: Some(8),
        platform: Platform::new(OneThread),
        disk: Arc::new(SlowFiles),
        observer: Some(seen.clone()),
        ..MasterConfig::default()
    };
    (config, seen)
}

/// Waits, at most 30 seconds.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(30), wait).await;
    waited.unwrap_or_else(|_| panic!("waited in vain for {what}"));
}

async fn submit(client: &Client, count: usize) {
    let manifest = "{apiVersion: v1, kind: Workflow, name: w, tasks: {t: {run: 'true'}}}";
    for _ in 0..count {
        client.submit(Submission::source(manifest)).await.expect("it is accepted");
    }
}

#[tokio::test]
async fn masters_need_no_thread_of_their_own() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ports = free_ports(6);
    let (mut masters, mut seen) = (Vec::new(), Vec::new());
    for at in 0..3 {
        let (config, sees) = config(folder.path(), &ports, at);
        masters.push(Master::start(config).await.expect("a master starts"));
        seen.push(sees);
    }
    let addresses: Vec<String> =
        masters.iter().map(|master| format!("http://{}", master.api_address())).collect();
    let client = Client::connect(addresses).expect("addresses are well-formed");
    submit(&client, 12).await;
    let applied = |sees: &Seen| sees.applied.lock().expect("not poisoned").clone();
    let submitted =
        |sees: &Seen| applied(sees).values().map(|(commands, _)| commands).sum::<usize>();
    until("all to apply all", || seen.iter().all(|sees| submitted(sees) >= 12)).await;
    let terms = || seen.iter().flat_map(|sees| sees.terms.lock().expect("not poisoned").clone());
    assert!(terms().count() >= 1, "somebody leads");

    // One goes and comes back: from its snapshot, then from the log.
    masters.remove(0).shutdown().await;
    submit(&client, 1).await;
    let (config, back) = config(folder.path(), &ports, 0);
    masters.push(Master::start(config).await.expect("it closed its folder"));
    let restored = back.restored.lock().expect("not poisoned").clone();
    let (index, digest) = *restored.first().expect("it had taken a snapshot");
    assert_eq!(applied(&seen[0]).get(&index).map(|(_, digest)| *digest), Some(digest));
    let last = *applied(&seen[1]).keys().last().expect("not empty");
    until("it to catch up", || applied(&back).contains_key(&last)).await;
    let reference = applied(&seen[1]);
    for (index, of_entry) in applied(&seen[0]).iter().chain(&applied(&back)) {
        let same = reference.get(index);
        assert!(same.is_none_or(|same| same == of_entry), "entry {index}");
    }
    for master in masters {
        master.shutdown().await;
    }
}
