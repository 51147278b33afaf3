//! A worker as a simulation runs it: one thread, a network in memory, time that passes only when nothing else happens,
//! an executor and a journal from outside, no processes.

// Every test binary uses a part of it.
#[allow(dead_code, missing_docs, unreachable_pub)]
mod support;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use muster_core::spec::ExecutorSpec;
use muster_platform::{Connection, Dedicated, Executor as Tasks, Listener, Platform, Provider};
use muster_proto::internal::v1::{Assignment, OutcomeKind};
use muster_worker::executor::{Attempt, Ending, Executor, Outcome, Stop, succeeded};
use muster_worker::journal::{Change, Entry, Fault, JournalSource, JournalStore, NotOpened};
use muster_worker::load::LoadMeter;
use muster_worker::observer::{Event, Observer};
use muster_worker::session::{Worker, WorkerConfig, WorkerHandle};
use support::argv;
use support::master::{Connection as Stream, Master, assignment, held};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::UnboundedReceiverStream;

const LEASE_MS: u32 = 60_000;
/// How long the journal's disk takes.
const SETTLE: Duration = Duration::from_millis(300);

/// How many bytes may be under way on a connection.
const WINDOW_BYTES: usize = 64 << 10;

/// A machine of one thread, whose connections all lead to one master.
struct OneThread {
    master: mpsc::UnboundedSender<Connection>,
    booted: Instant,
}

impl Provider for OneThread {
    fn connect(&self, _: &str) -> BoxFuture<'static, io::Result<Connection>> {
        let (near, far) = tokio::io::duplex(WINDOW_BYTES);
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let sent = self.master.send(Connection::new(far, None)).map_err(|_| refused());
        Box::pin(async move { sent.map(|()| Connection::new(near, None)) })
    }

    fn listen(&self, _: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        unreachable!("workers do not listen")
    }

    fn since_boot(&self) -> Duration {
        self.booted.elapsed()
    }

    fn wall_clock(&self) -> Duration {
        self.booted.elapsed()
    }

    fn blocking(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, io::Result<()>> {
        work();
        Box::pin(async { Ok(()) })
    }

    fn dedicate(&self, _: &str, work: BoxFuture<'static, ()>) -> io::Result<Dedicated> {
        tokio::spawn(work);
        Ok(Dedicated::simulated())
    }

    fn executor(&self, _: &str, _: usize, _: usize) -> io::Result<Tasks> {
        unreachable!("workers have no runtimes of their own")
    }
}

/// A master and the machine from which it can be reached.
fn network() -> (Master, Platform) {
    let (sender, incoming) = mpsc::unbounded_channel();
    let incoming = UnboundedReceiverStream::new(incoming).map(Ok);
    let machine = OneThread { master: sender, booted: Instant::now() };
    (Master::serve("http://master:1".to_owned(), incoming), Platform::new(machine))
}

/// A store whose content outlives the worker, and which may be found unreadable once.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Content>>);

#[derive(Default)]
struct Content {
    entries: BTreeMap<u64, Vec<u8>>,
    is_unreadable: bool,
}

impl JournalSource for Memory {
    fn open(&self, _: &Path) -> Result<Box<dyn JournalStore>, NotOpened> {
        if self.0.lock().unwrap().is_unreadable {
            return Err(NotOpened::Unreadable("a test says so".into()));
        }
        Ok(Box::new(self.clone()))
    }

    fn set_aside(&self, dir: &Path, _: Duration) -> io::Result<PathBuf> {
        *self.0.lock().unwrap() = Content::default();
        Ok(dir.to_owned())
    }
}

impl JournalStore for Memory {
    fn apply(&mut self, changes: Vec<Change>) -> Result<(), Fault> {
        let entries = &mut self.0.lock().unwrap().entries;
        for Change { record, value } in changes {
            match value {
                Some(value) => entries.insert(record, value),
                None => entries.remove(&record),
            };
        }
        Ok(())
    }

    fn entries(&self) -> Result<Vec<Entry>, Fault> {
        Ok(self.0.lock().unwrap().entries.clone().into_iter().collect())
    }

    fn settled(&self) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(SETTLE))
    }
}

/// Takes over what would be processes: those that are `sleep` go on until they are stopped.
#[derive(Clone)]
struct Simulated {
    live: Arc<AtomicU32>,
    platform: Platform,
}

/// Counts an attempt for as long as its future lives.
struct Alive(Arc<AtomicU32>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Executor for Simulated {
    fn name(&self) -> &'static str {
        "simulated"
    }

    fn accepts(&self, spec: &ExecutorSpec) -> bool {
        matches!(spec, ExecutorSpec::Process(_))
    }

    fn execute(&self, mut attempt: Attempt) -> BoxFuture<'static, Ending> {
        self.live.fetch_add(1, Ordering::SeqCst);
        let alive = Alive(self.live.clone());
        let platform = self.platform.clone();
        let is_sleep = attempt.assignment.task.executor == argv(&["sleep"]);
        Box::pin(async move {
            let _alive = alive;
            let started_at = platform.since_boot();
            let outcome = if is_sleep {
                match attempt.stop.requested(Stop::Gently).await {
                    Stop::Gently => Outcome::Cancelled,
                    Stop::AtOnce => Outcome::Lost,
                }
            } else {
                tokio::time::sleep(Duration::from_millis(1)).await;
                succeeded(BTreeMap::new())
            };
            Ending { outcome, started_at, ended_at: platform.since_boot() }
        })
    }
}

/// What happened, and when.
#[derive(Clone)]
struct Log {
    events: Arc<Mutex<Vec<(Duration, Event)>>>,
    platform: Platform,
}

impl Observer for Log {
    fn observe(&self, event: Event) {
        self.events.lock().unwrap().push((self.platform.since_boot(), event));
    }
}

impl Log {
    /// Where the first of these is, and when it happened.
    fn first(&self, is_it: impl Fn(&Event) -> bool) -> (usize, Duration) {
        let events = self.events.lock().unwrap();
        let at = events.iter().position(|(_, event)| is_it(event));
        let at = at.unwrap_or_else(|| panic!("not among {events:?}"));
        (at, events[at].0)
    }
}

/// What there is but for the master. Survives the worker.
struct Bench {
    dir: tempfile::TempDir,
    journal: Memory,
    executor: Simulated,
    log: Log,
    platform: Platform,
}

impl Bench {
    fn new(platform: Platform) -> Self {
        let executor = Simulated { live: Arc::default(), platform: platform.clone() };
        let log = Log { events: Arc::default(), platform: platform.clone() };
        let dir = tempfile::tempdir().unwrap();
        Bench { dir, journal: Memory::default(), executor, log, platform }
    }

    async fn start(&self) -> WorkerHandle {
        let masters = vec!["http://master:1".to_owned()];
        let mut config = WorkerConfig::new("w1", self.dir.path().join("worker"), masters);
        config.runs_processes = false;
        config.executors = vec![Arc::new(self.executor.clone())];
        config.load = LoadMeter::over(Path::new("/nonexistent"), 1);
        config.platform = self.platform.clone();
        config.journal = Arc::new(self.journal.clone());
        config.observer = Some(Arc::new(self.log.clone()));
        Worker::start(config).await.unwrap()
    }

    fn live(&self) -> u32 {
        self.executor.live.load(Ordering::SeqCst)
    }
}

fn command(word: &str, fence: u64) -> Assignment {
    assignment(&argv(&[word]), &held(0, 0, fence))
}

async fn quiet(stream: &mut Stream) {
    stream.quiet_for(Duration::from_millis(200)).await;
}

#[tokio::test(start_paused = true)]
async fn an_outcome_is_reported_once_it_is_durable_and_everything_is_observed() {
    let (mut master, platform) = network();
    let bench = Bench::new(platform);
    let worker = bench.start().await;
    let (mut stream, register) = master.register(LEASE_MS).await;
    assert_eq!(register.executors, ["simulated", "noop"]);
    stream.dispatch(command("true", 9));
    assert_eq!(stream.finish().await.outcome(), OutcomeKind::Succeeded);
    quiet(&mut stream).await;
    assert!(bench.journal.0.lock().unwrap().entries.is_empty(), "acknowledged and forgotten");

    let ours = register.incarnation;
    let named = |name: &str| {
        bench.log.first(|event| {
            let (found, incarnation) = match event {
                Event::Registered { incarnation, .. } => ("registered", *incarnation),
                Event::LeaseConfirmed { .. } => ("confirmed", ours),
                Event::LeaseLapsed { .. } => ("lapsed", ours),
                Event::Accepted { incarnation, .. } => ("accepted", *incarnation),
                Event::Started { incarnation, .. } => ("started", *incarnation),
                Event::Ended { incarnation, .. } => ("ended", *incarnation),
                Event::Reported { incarnation, .. } => ("reported", *incarnation),
                Event::Acknowledged { incarnation, .. } => ("acknowledged", *incarnation),
            };
            (found, incarnation) == (name, ours)
        })
    };
    let order =
        ["confirmed", "registered", "accepted", "started", "ended", "reported", "acknowledged"];
    let order = order.map(|name| named(name).0);
    assert!(order.is_sorted(), "{order:?}");
    assert!(named("reported").1 - named("ended").1 >= SETTLE, "reported before it was durable");
    worker.shut_down(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_not_renewed_ends_attempts_at_the_time() {
    let (mut master, platform) = network();
    let bench = Bench::new(platform);
    let _worker = bench.start().await;
    // No multiple of any period.
    let (mut stream, _) = master.register(1733).await;
    stream.renews = false;
    stream.dispatch(command("sleep", 9));
    quiet(&mut stream).await;
    assert_eq!(bench.live(), 1);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(bench.live(), 0);
    let events = bench.log.events.lock().unwrap().clone();
    let stop_at = events.iter().find_map(|(_, event)| match event {
        Event::LeaseConfirmed { stop_at, .. } => Some(*stop_at),
        _ => None,
    });
    let (lapsed, lapsed_at) = bench.log.first(|event| matches!(event, Event::LeaseLapsed { .. }));
    let (lost, _) =
        bench.log.first(|event| matches!(event, Event::Ended { outcome: Outcome::Lost, .. }));
    assert!(lapsed < lost);
    let late = lapsed_at.checked_sub(stop_at.expect("there was a lease")).expect("not before");
    assert!(late <= Duration::from_millis(2), "timers are that coarse, not more: {late:?}");
}

#[test]
fn attempts_die_with_their_runtime_and_outcomes_do_not() {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().start_paused(true).build().unwrap()
    };
    let power = runtime();
    let (mut bench, worker) = power.block_on(async {
        let (mut master, platform) = network();
        let bench = Bench::new(platform);
        let worker = bench.start().await;
        let (mut stream, _) = master.register(LEASE_MS).await;
        stream.dispatch(command("sleep", 9));
        stream.dispatch(command("true", 10));
        assert_eq!(stream.report().await.finishes[0].attempt, Some(held(0, 0, 10)));
        (bench, worker)
    });
    assert_eq!(bench.live(), 1);
    drop(power);
    assert_eq!(bench.live(), 0);
    drop(worker);

    runtime().block_on(async {
        let (mut master, platform) = network();
        bench.platform = platform;
        let _worker = bench.start().await;
        let (mut stream, register) = master.register(LEASE_MS).await;
        assert!(register.held.is_empty());
        let finish = stream.finish().await;
        assert_eq!(
            (finish.attempt, finish.outcome()),
            (Some(held(0, 0, 10)), OutcomeKind::Succeeded)
        );
    });
}

#[tokio::test(start_paused = true)]
async fn an_unreadable_journal_is_set_aside() {
    let (mut master, platform) = network();
    let bench = Bench::new(platform);
    bench.journal.0.lock().unwrap().is_unreadable = true;
    let _worker = bench.start().await;
    let (mut stream, _) = master.register(LEASE_MS).await;
    stream.dispatch(command("true", 9));
    assert_eq!(stream.finish().await.outcome(), OutcomeKind::Succeeded);
}

/// How long the worker takes to stop when it may take 30 seconds.
async fn time_to_stop(worker: WorkerHandle) -> Duration {
    let asked_at = Instant::now();
    worker.shut_down(Duration::from_secs(30)).await;
    asked_at.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_worker_with_nothing_to_do_does_not_wait_for_masters() {
    let (master, platform) = network();
    drop(master);
    let worker = Bench::new(platform).start().await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let took = time_to_stop(worker).await;
    assert!(took < Duration::from_secs(2), "nobody listens, and it took {took:?}");

    let (mut master, platform) = network();
    let worker = Bench::new(platform).start().await;
    let (_stream, _) = master.accept().await;
    let took = time_to_stop(worker).await;
    assert!(took < Duration::from_secs(2), "nobody answers, and it took {took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_worker_whose_outcome_no_master_takes_leaves_it_in_the_journal() {
    let (mut master, platform) = network();
    let bench = Bench::new(platform);
    let worker = bench.start().await;
    let (mut stream, _) = master.register(LEASE_MS).await;
    stream.dispatch(command("true", 9));
    stream.report().await;
    drop((stream, master));
    let took = time_to_stop(worker).await;
    assert!(took > Duration::from_secs(4), "a leader might have come within {took:?}");
    assert!(took < Duration::from_secs(7), "it took {took:?}");
    assert_eq!(bench.journal.0.lock().unwrap().entries.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_worker_without_a_master_lets_its_attempts_have_their_time() {
    let (mut master, platform) = network();
    let bench = Bench::new(platform);
    let worker = bench.start().await;
    let (mut stream, _) = master.register(LEASE_MS).await;
    stream.dispatch(command("sleep", 9));
    quiet(&mut stream).await;
    drop((stream, master));
    let leaving = tokio::spawn(time_to_stop(worker));
    tokio::time::sleep(Duration::from_secs(29)).await;
    assert_eq!(bench.live(), 1);
    let took = leaving.await.unwrap();
    assert!(took > Duration::from_secs(30) && took < Duration::from_secs(36), "it took {took:?}");
    assert_eq!(bench.live(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_every_master_refuses_ends_with_the_reason() {
    let (mut master, platform) = network();
    let bench = Bench::new(platform);
    let worker = bench.start().await;
    let (stream, _) = master.register(1500).await;
    drop(stream);
    let refused_since = bench.platform.since_boot();
    let failed = worker.failed();
    tokio::pin!(failed);
    let error = loop {
        tokio::select! {
            error = &mut failed => break error,
            (stream, register) = master.accept() => {
                assert_eq!(register.cluster_id, "test-cluster");
                stream.refuse("this worker belongs to cluster test-cluster");
            }
        }
    };
    assert!(error.to_string().contains("belongs to cluster test-cluster"), "{error}");
    let patience = bench.platform.since_boot() - refused_since;
    assert!(patience >= Duration::from_secs(10), "given up after {patience:?}");
    worker.shut_down(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn one_refusal_does_not_keep_a_worker_from_its_cluster() {
    let (mut master, platform) = network();
    let bench = Bench::new(platform);
    let worker = bench.start().await;
    for _ in 0..3 {
        let (stream, _) = master.accept().await;
        stream.refuse("this worker belongs to another cluster");
    }
    let (_stream, _) = master.register(LEASE_MS).await;
    let mut registered = worker.registered();
    registered.wait_for(Option::is_some).await.unwrap();
}
