//! The table against executors that end when a test says so.

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use muster_core::spec::Resources;
use muster_core::time::Millis;

use super::*;
use crate::executor::noop::NoopExecutor;
use crate::executor::{TaskDefinition, succeeded};

fn now() -> Duration {
    Platform::system().since_boot()
}

fn table(executors: Vec<Arc<dyn Executor>>) -> (Arc<Attempts>, mpsc::UnboundedReceiver<Ended>) {
    let (sender, endings) = mpsc::unbounded_channel();
    (Attempts::new(executors, sender, Platform::system(), Arc::default()), endings)
}

/// Runs until it is told to stop, and notes what it was given.
#[derive(Default)]
struct Patient {
    started: Arc<Mutex<Vec<IndexRange>>>,
}

impl Executor for Patient {
    fn name(&self) -> &'static str {
        "patient"
    }

    fn accepts(&self, spec: &ExecutorSpec) -> bool {
        matches!(spec, ExecutorSpec::Process(_))
    }

    fn execute(&self, mut attempt: Attempt) -> BoxFuture<'static, Ending> {
        self.started.lock().push(attempt.indices);
        Box::pin(async move {
            let started_at = now();
            let outcome = match attempt.stop.requested(Stop::Gently).await {
                Stop::Gently => Outcome::Cancelled,
                Stop::AtOnce => Outcome::Lost,
            };
            Ending { outcome, started_at, ended_at: now() }
        })
    }
}

struct Bench {
    attempts: Arc<Attempts>,
    endings: mpsc::UnboundedReceiver<Ended>,
    started: Arc<Mutex<Vec<IndexRange>>>,
}

fn bench() -> Bench {
    let patient = Patient::default();
    let started = patient.started.clone();
    let noop = NoopExecutor::new(Platform::system());
    let (attempts, endings) = table(vec![Arc::new(noop), Arc::new(patient)]);
    Bench { attempts, endings, started }
}

fn range(first: u32, last: u32) -> IndexRange {
    IndexRange { first, last }
}

fn attempt(indices: IndexRange) -> AttemptRef {
    AttemptRef { run: RunId(1), task: TaskIndex(2), range: indices, fence: Fence(3) }
}

fn assignment(executor: ExecutorSpec, indices: IndexRange) -> Assignment {
    let task = TaskDefinition {
        namespace: "default".into(),
        workflow: "etl".into(),
        run_number: 1,
        name: "load".into(),
        executor,
        env: BTreeMap::new(),
        outputs: Vec::new(),
        is_array: true,
        columns: Vec::new(),
        timeout: None,
        grace_period: Millis(0),
        resources: Resources::default(),
    };
    let AttemptRef { run, task: task_index, fence, .. } = attempt(indices);
    Assignment { run, task_index, indices, attempt: 1, fence, task: Arc::new(task) }
}

fn patient(indices: IndexRange) -> Assignment {
    let command = muster_core::spec::ProcessCommand::Argv(Vec::new());
    let spec = muster_core::spec::ProcessSpec { command, working_dir: None };
    assignment(ExecutorSpec::Process(spec), indices)
}

fn held(bench: &Bench) -> Vec<(u32, u32)> {
    let mut held: Vec<_> =
        bench.attempts.held().iter().map(|a| (a.range.first, a.range.last)).collect();
    held.sort_unstable();
    held
}

#[tokio::test]
async fn a_range_of_noops_ends_as_one() {
    let mut bench = bench();
    bench.attempts.dispatch(assignment(ExecutorSpec::Noop, range(0, 999_999)));
    let ended = bench.endings.recv().await.unwrap();
    assert_eq!(ended.attempt, attempt(range(0, 999_999)));
    assert_eq!(ended.ending.outcome, succeeded(BTreeMap::new()));
    assert!(!ended.is_worth_keeping);
    assert_eq!((bench.attempts.live(), held(&bench)), (0, vec![(0, 999_999)]));
    bench.attempts.acknowledge(&attempt(range(0, 999_999)));
    assert!(bench.attempts.is_empty());
}

#[tokio::test]
async fn what_is_dispatched_after_its_end_was_acknowledged_is_lost() {
    let mut bench = bench();
    bench.attempts.dispatch(assignment(ExecutorSpec::Noop, range(0, 9)));
    bench.endings.recv().await.unwrap();
    bench.attempts.dispatch(assignment(ExecutorSpec::Noop, range(0, 9)));
    assert!(bench.endings.try_recv().is_err(), "the outcome may still be on its way");
    bench.attempts.acknowledge(&attempt(range(0, 9)));
    bench.attempts.dispatch(assignment(ExecutorSpec::Noop, range(3, 12)));
    let lost = bench.endings.recv().await.unwrap();
    assert_eq!((lost.attempt, lost.ending.outcome), (attempt(range(3, 9)), Outcome::Lost));
    let fresh = bench.endings.recv().await.unwrap();
    assert_eq!(fresh.attempt, attempt(range(10, 12)));
    assert_eq!(held(&bench), [(10, 12)]);
}

#[tokio::test]
async fn an_index_is_started_once_however_often_it_is_dispatched() {
    let mut bench = bench();
    bench.attempts.dispatch(patient(range(0, 3)));
    bench.attempts.dispatch(patient(range(0, 3)));
    bench.attempts.dispatch(patient(range(2, 5)));
    assert_eq!(*bench.started.lock(), (0..=5).map(IndexRange::single).collect::<Vec<_>>());
    bench.attempts.stop(&attempt(range(0, 1)), Stop::Gently);
    for _ in 0..2 {
        assert_eq!(bench.endings.recv().await.unwrap().ending.outcome, Outcome::Cancelled);
    }
    bench.attempts.dispatch(patient(range(0, 0)));
    assert_eq!(held(&bench), [(0, 5)], "ended but not acknowledged");
    bench.attempts.acknowledge(&attempt(range(0, 1)));
    assert_eq!(held(&bench), [(2, 5)]);
    bench.attempts.dispatch(patient(range(0, 5)));
    assert_eq!(bench.started.lock().len(), 6, "acknowledged and still known");
}

#[tokio::test]
async fn what_was_acknowledged_in_full_is_still_known() {
    let mut bench = bench();
    for indices in [range(0, 0), range(1, 1), range(0, 1)] {
        bench.attempts.dispatch(assignment(ExecutorSpec::Noop, indices));
        while let Ok(ended) = bench.endings.try_recv() {
            bench.attempts.acknowledge(&ended.attempt);
            assert_eq!(ended.attempt.range, indices, "the third dispatch brings nothing");
        }
        assert!(bench.attempts.is_empty());
    }
}

#[tokio::test]
async fn a_stop_of_something_unknown_is_answered_and_outruns_its_dispatch() {
    let mut bench = bench();
    bench.attempts.stop(&attempt(range(4, 6)), Stop::Gently);
    let ended = bench.endings.recv().await.unwrap();
    assert_eq!((ended.attempt.range, ended.ending.outcome), (range(4, 6), Outcome::Lost));
    bench.attempts.dispatch(patient(range(4, 6)));
    assert!(bench.started.lock().is_empty());
    bench.attempts.stop(&attempt(range(4, 6)), Stop::Gently);
    assert!(bench.endings.try_recv().is_err(), "answered once");
}

#[tokio::test]
async fn what_the_leader_does_not_know_is_ended_and_not_reported() {
    let mut bench = bench();
    bench.attempts.dispatch(patient(range(0, 1)));
    bench.attempts.stop(&attempt(range(0, 0)), Stop::Gently);
    bench.endings.recv().await.unwrap();
    bench.attempts.forget(&attempt(range(0, 3)));
    while bench.attempts.live() > 0 {
        tokio::task::yield_now().await;
    }
    assert!(bench.attempts.is_empty());
    assert!(bench.endings.try_recv().is_err());
    bench.attempts.dispatch(patient(range(0, 3)));
    assert_eq!(bench.started.lock().len(), 2, "nothing of it is started again");
}

#[tokio::test]
async fn a_stop_of_all_reaches_a_dispatch_under_way() {
    let mut bench = bench();
    let (handle, mut signal) = stop_pair();
    let stops = bench.attempts.table.lock().stops;
    bench.attempts.stop_all(Stop::AtOnce);
    let key = Key::of(&attempt(range(0, 0)));
    bench.attempts.table.lock().begin(key, range(0, 0), handle, stops, now());
    assert_eq!(signal.requested(Stop::AtOnce).await, Stop::AtOnce);
    bench.attempts.dispatch(patient(range(7, 7)));
    bench.attempts.stop_all(Stop::AtOnce);
    assert_eq!(bench.endings.recv().await.unwrap().ending.outcome, Outcome::Lost);
}

#[tokio::test]
async fn only_what_runs_for_a_while_is_reported_as_started() {
    let mut bench = bench();
    bench.attempts.dispatch(patient(range(0, 5)));
    let now = now();
    assert!(bench.attempts.starts(now).is_empty());
    bench.attempts.stop(&attempt(range(2, 2)), Stop::Gently);
    bench.endings.recv().await.unwrap();
    let later = now + Duration::from_millis(150);
    let starts: Vec<_> = bench.attempts.starts(later).into_iter().map(|(a, _)| a.range).collect();
    assert_eq!(starts, [range(0, 1), range(3, 5)]);
    assert!(bench.attempts.starts(later).is_empty(), "once");
    bench.attempts.announce_again(now);
    assert_eq!(bench.attempts.starts(later).iter().map(|(a, _)| a.range.count()).sum::<u32>(), 5);
}

#[tokio::test]
async fn a_task_without_an_executor_fails() {
    let (attempts, mut endings) = table(Vec::new());
    attempts.dispatch(assignment(ExecutorSpec::Noop, range(0, 2)));
    let ended = endings.recv().await.unwrap();
    assert!(matches!(ended.ending.outcome, Outcome::Failed { exit_code: None, .. }));
    assert_eq!(ended.attempt.range, range(0, 2));
}

fn ended(indices: IndexRange, outcome: Outcome, millis: (u64, u64)) -> Ended {
    let (started_at, ended_at) = (Duration::from_millis(millis.0), Duration::from_millis(millis.1));
    let ending = Ending { outcome, started_at, ended_at };
    Ended { attempt: attempt(indices), ending, is_worth_keeping: true }
}

#[test]
fn equal_neighbours_are_reported_as_one() {
    let ok = || succeeded(BTreeMap::new());
    let wrote = || succeeded(BTreeMap::from([("a".into(), "b".into())]));
    let joined = coalesce(vec![
        ended(range(3, 3), ok(), (5, 30)),
        ended(range(1, 1), ok(), (10, 20)),
        ended(range(2, 2), ok(), (1, 15)),
        ended(range(4, 4), failed(Some(1), "exit code 1"), (0, 9)),
        ended(range(5, 5), failed(Some(2), "exit code 2"), (0, 9)),
        ended(range(7, 7), ok(), (0, 9)),
        ended(range(8, 8), wrote(), (0, 9)),
        ended(range(9, 9), wrote(), (0, 9)),
    ]);
    let ranges: Vec<_> =
        joined.iter().map(|e| (e.attempt.range.first, e.attempt.range.last)).collect();
    assert_eq!(ranges, [(1, 3), (4, 4), (5, 5), (7, 7), (8, 8), (9, 9)]);
    assert_eq!(joined[0].ending.started_at, Duration::from_millis(1));
    assert_eq!(joined[0].ending.ended_at, Duration::from_millis(30));
}
