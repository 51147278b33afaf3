//! A worker as a simulation runs it: one thread, an executor and a journal from outside, no processes.

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

const LEASE_MS: u32 = 60_000;
/// How long the journal's disk takes.
const SETTLE: Duration = Duration::from_millis(300);

/// The operating system, but for its threads: everything runs among the tasks of the runtime.
struct OneThread;

impl Provider for OneThread {
    fn connect(&self, address: &str) -> BoxFuture<'static, io::Result<Connection>> {
        let address = address.to_owned();
        Box::pin(async move { Platform::system().connect(&address).await })
    }

    fn listen(&self, _: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        unreachable!("workers do not listen")
    }

    fn since_boot(&self) -> Duration {
        Platform::system().since_boot()
    }

    fn wall_clock(&self) -> Duration {
        Platform::system().wall_clock()
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

/// A store whose content outlives the worker, and which may be found unreadable once.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Content>>);

#[derive(Default)]
struct Content {
    entries: BTreeMap<Vec<u8>, Vec<u8>>,
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
        for Change { key, value } in changes {
            match value {
                Some(value) => entries.insert(key, value),
                None => entries.remove(&key),
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
#[derive(Clone, Default)]
struct Simulated {
    live: Arc<AtomicU32>,
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
        let is_sleep = attempt.assignment.task.executor == argv(&["sleep"]);
        Box::pin(async move {
            let _alive = alive;
            let started_at = Platform::system().since_boot();
            let outcome = if is_sleep {
                match attempt.stop.requested(Stop::Gently).await {
                    Stop::Gently => Outcome::Cancelled,
                    Stop::AtOnce => Outcome::Lost,
                }
            } else {
                tokio::time::sleep(Duration::from_millis(1)).await;
                succeeded(BTreeMap::new())
            };
            Ending { outcome, started_at, ended_at: Platform::system().since_boot() }
        })
    }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<Event>>>);

impl Observer for Log {
    fn observe(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

impl Log {
    fn position(&self, is_it: impl Fn(&Event) -> bool) -> usize {
        let events = self.0.lock().unwrap();
        events.iter().position(is_it).unwrap_or_else(|| panic!("not among {events:?}"))
    }
}

#[derive(Default)]
struct Bench {
    journal: Memory,
    executor: Simulated,
    log: Log,
}

impl Bench {
    async fn start(&self, dir: &Path, master: &Master) -> WorkerHandle {
        let mut config = WorkerConfig::new("w1", dir.join("worker"), vec![master.address.clone()]);
        config.runs_processes = false;
        config.executors = vec![Arc::new(self.executor.clone())];
        config.load = LoadMeter::over(Path::new("/nonexistent"), 1);
        config.platform = Platform::new(OneThread);
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

#[tokio::test]
async fn an_outcome_is_reported_once_it_is_durable_and_everything_is_observed() {
    let (dir, bench) = (tempfile::tempdir().unwrap(), Bench::default());
    let mut master = Master::start().await;
    let worker = bench.start(dir.path(), &master).await;
    let (mut stream, register) = master.register(LEASE_MS).await;
    assert_eq!(register.executors, ["simulated", "noop"]);
    let sent_at = tokio::time::Instant::now();
    stream.dispatch(command("true", 9));
    let finish = stream.finish().await;
    assert!(sent_at.elapsed() >= SETTLE, "reported before it was durable");
    assert_eq!(finish.outcome(), OutcomeKind::Succeeded);
    quiet(&mut stream).await;
    assert!(bench.journal.0.lock().unwrap().entries.is_empty(), "acknowledged and forgotten");

    let incarnation = register.incarnation;
    let is_ours = |event: &Event, name: &str| {
        let (found, of) = match event {
            Event::Registered { incarnation, .. } => ("registered", *incarnation),
            Event::LeaseConfirmed { .. } => ("confirmed", incarnation),
            Event::LeaseLapsed => ("lapsed", incarnation),
            Event::Accepted { incarnation, .. } => ("accepted", *incarnation),
            Event::Started { incarnation, .. } => ("started", *incarnation),
            Event::Ended { incarnation, .. } => ("ended", *incarnation),
            Event::Reported { incarnation, .. } => ("reported", *incarnation),
            Event::Acknowledged { incarnation, .. } => ("acknowledged", *incarnation),
        };
        (found, of) == (name, incarnation)
    };
    let order = ["registered", "accepted", "started", "ended", "reported", "acknowledged"];
    let order = order.map(|name| bench.log.position(|event| is_ours(event, name)));
    assert!(order.is_sorted(), "{order:?}");
    bench.log.position(|event| is_ours(event, "confirmed"));
    worker.shut_down(Duration::from_secs(1)).await;
}

#[tokio::test]
async fn a_lease_that_is_not_renewed_ends_simulated_attempts_in_time() {
    let (dir, bench) = (tempfile::tempdir().unwrap(), Bench::default());
    let mut master = Master::start().await;
    let _worker = bench.start(dir.path(), &master).await;
    let (mut stream, _) = master.register(1500).await;
    stream.renews = false;
    stream.dispatch(command("sleep", 9));
    quiet(&mut stream).await;
    assert_eq!(bench.live(), 1);
    while bench.live() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let now = Platform::system().since_boot();
    let events = bench.log.0.lock().unwrap().clone();
    let end = events.iter().find_map(|event| match event {
        Event::LeaseConfirmed { end, .. } => Some(*end),
        _ => None,
    });
    assert!(now < end.expect("there was a lease"), "an attempt outlived the lease");
    let lapsed = bench.log.position(|event| *event == Event::LeaseLapsed);
    let lost = |event: &Event| matches!(event, Event::Ended { outcome: Outcome::Lost, .. });
    assert!(lapsed < bench.log.position(lost));
}

#[test]
fn attempts_die_with_their_runtime_and_outcomes_do_not() {
    let (dir, bench) = (tempfile::tempdir().unwrap(), Bench::default());
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let power = runtime();
    let worker = power.block_on(async {
        let mut master = Master::start().await;
        let worker = bench.start(dir.path(), &master).await;
        let (mut stream, _) = master.register(LEASE_MS).await;
        stream.dispatch(command("sleep", 9));
        stream.dispatch(command("true", 10));
        assert_eq!(stream.report().await.finishes[0].attempt, Some(held(0, 0, 10)));
        worker
    });
    assert_eq!(bench.live(), 1);
    drop(power);
    assert_eq!(bench.live(), 0);
    drop(worker);

    runtime().block_on(async {
        let mut master = Master::start().await;
        let worker = bench.start(dir.path(), &master).await;
        let (mut stream, register) = master.register(LEASE_MS).await;
        assert!(register.held.is_empty());
        let finish = stream.finish().await;
        assert_eq!(
            (finish.attempt, finish.outcome()),
            (Some(held(0, 0, 10)), OutcomeKind::Succeeded)
        );
        drop(worker);
    });
}

#[tokio::test]
async fn an_unreadable_journal_is_set_aside() {
    let (dir, bench) = (tempfile::tempdir().unwrap(), Bench::default());
    bench.journal.0.lock().unwrap().is_unreadable = true;
    let mut master = Master::start().await;
    let _worker = bench.start(dir.path(), &master).await;
    let (mut stream, _) = master.register(LEASE_MS).await;
    stream.dispatch(command("true", 9));
    assert_eq!(stream.finish().await.outcome(), OutcomeKind::Succeeded);
}
