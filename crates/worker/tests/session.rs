//! A whole worker against a master that does what the test says.

// Every test binary uses a part of it.
#[allow(dead_code, missing_docs, unreachable_pub)]
mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use muster_core::spec::{ExecutorSpec, Resources};
use muster_proto::internal::v1::session_request::Message as Request;
use muster_proto::internal::v1::session_response::Message as Response;
use muster_proto::internal::v1::{
    Assignment, Dispatch, FetchLog, Lost, OutcomeKind, StopAttempts, StopReason,
};
use muster_worker::session::{Worker, WorkerConfig, WorkerHandle};
use support::master::{Connection, Master, assignment, held};
use support::{argv, is_alive, pids_in, script, wait_until};

const LEASE_MS: u32 = 60_000;

async fn start(dir: &Path, master: &Master) -> WorkerHandle {
    start_with(dir, &[&master.address]).await
}

async fn start_with(dir: &Path, masters: &[&String]) -> WorkerHandle {
    // Shown with the output of a test that fails.
    let _ = tracing_subscriber::fmt().with_test_writer().try_init();
    let masters = masters.iter().map(|address| (*address).clone()).collect();
    let mut config = WorkerConfig::new("w1", dir.join("worker"), masters);
    config.capacity = Resources { cpu_millis: 4000, memory_bytes: 1 << 30, ..Resources::ZERO };
    config.labels.insert("zone".into(), "a".into());
    config.pool = Some("batch".into());
    Worker::start(config).await.unwrap()
}

/// A script that writes the ids of its processes into `file`: itself and a child that ignores TERM.
fn two_processes(file: &Path) -> ExecutorSpec {
    let file = file.display();
    script(&format!("echo $$ >> {file}; (trap '' TERM; echo $BASHPID >> {file}; sleep 300) & wait"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn finds_the_leader_through_a_redirect_and_says_who_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let (mut follower, mut leader) = (Master::start().await, Master::start().await);
    let worker = start(dir.path(), &follower).await;
    let (connection, _) = follower.accept().await;
    connection.redirect(&leader.address);
    let (mut connection, register) = leader.register(LEASE_MS).await;
    assert_eq!((register.name.as_str(), register.pool.as_str()), ("w1", "batch"));
    assert_eq!(register.labels.get("zone").map(String::as_str), Some("a"));
    assert_eq!(register.capacity.as_ref().unwrap().cpu_millis, 4000);
    assert_eq!(register.executors, ["noop", "process"]);
    assert!(register.cluster_id.is_empty() && register.held.is_empty());
    connection.quiet_for(Duration::from_millis(400)).await;
    assert_eq!(worker.registered().borrow().map(|id| id.0), Some(1));
    drop(connection);
    let (_connection, again) = leader.register(LEASE_MS).await;
    assert_eq!(again.incarnation, register.incarnation, "the same process");
    assert_eq!(again.cluster_id, "test-cluster");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tries_the_next_master_when_one_is_down() {
    let dir = tempfile::tempdir().unwrap();
    let down = Master::start().await.address.clone();
    let mut up = Master::start().await;
    let _worker = start_with(dir.path(), &[&down, &up.address]).await;
    up.register(LEASE_MS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dispatch_is_carried_out_reported_and_forgotten_once_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut master = Master::start().await;
    let _worker = start(dir.path(), &master).await;
    let (mut connection, _) = master.register(LEASE_MS).await;
    connection.dispatch(assignment(&script("echo hello; exit 3"), &held(0, 0, 9)));
    let report = connection.report().await;
    let finish = &report.finishes[0];
    assert_eq!(finish.attempt, Some(held(0, 0, 9)));
    assert_eq!((finish.outcome(), finish.exit_code), (OutcomeKind::Failed, Some(3)));
    connection.quiet_for(Duration::from_millis(300)).await;
    assert_eq!(connection.held, [held(0, 0, 9)], "held until it is acknowledged");
    connection.acknowledge(report.seq);
    connection.quiet_for(Duration::from_millis(300)).await;
    assert!(connection.held.is_empty());

    let fetch = FetchLog {
        fetch_id: 5,
        run_id: 42,
        task_index: 1,
        index: 0,
        attempt: 0,
        offset: 1,
        limit_bytes: 100,
    };
    connection.say(Response::FetchLog(fetch));
    let Some(Request::LogChunk(chunk)) = connection.next().await else { panic!("a log comes") };
    assert_eq!((chunk.fetch_id, chunk.is_found, chunk.attempt), (5, true, 1));
    assert_eq!((chunk.data.as_ref(), chunk.size, chunk.is_complete), (&b"ello\n"[..], 6, true));
    connection.say(Response::FetchLog(FetchLog { fetch_id: 6, run_id: 43, ..fetch }));
    let Some(Request::LogChunk(chunk)) = connection.next().await else { panic!("an answer") };
    assert_eq!((chunk.fetch_id, chunk.is_found), (6, false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_acknowledged_is_reported_again_and_what_runs_runs_on() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pids");
    let mut master = Master::start().await;
    let _worker = start(dir.path(), &master).await;
    let (mut connection, _) = master.register(LEASE_MS).await;
    connection.dispatch(assignment(&two_processes(&file), &held(0, 0, 9)));
    connection.dispatch(assignment(&script("exit 4"), &held(0, 0, 10)));
    let first = connection.report().await;
    let pids = pids_in(&file, 2);
    drop(connection);

    let (mut connection, register) = master.register(LEASE_MS).await;
    let mut register_held = register.held;
    register_held.sort_by_key(|held| held.fence);
    assert_eq!(register_held, [held(0, 0, 9), held(0, 0, 10)]);
    let second = connection.report().await;
    assert_eq!(second.finishes, first.finishes);
    assert!(pids.iter().all(|pid| is_alive(*pid)));
    assert_eq!(pids_in(&file, 2), pids, "not started again");
    connection.acknowledge(second.seq);
    connection.quiet_for(Duration::from_millis(300)).await;
    assert_eq!(connection.held, [held(0, 0, 9)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attempts_are_dead_before_an_unrenewed_lease_ends() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pids");
    let lease = Duration::from_millis(2500);
    let mut master = Master::start().await;
    let _worker = start(dir.path(), &master).await;
    let registered_at = Instant::now();
    let (mut connection, first) = master.register(2500).await;
    connection.renews = false;
    connection.dispatch(assignment(&two_processes(&file), &held(0, 0, 9)));
    let pids = pids_in(&file, 2);
    assert!(registered_at.elapsed() < Duration::from_millis(1500), "the machine is too slow");
    // The stream is silent, so the worker gives it up, and nobody else takes the worker.
    let all_dead = || !pids.iter().any(|pid| is_alive(*pid));
    while !all_dead() {
        assert!(registered_at.elapsed() < lease, "an attempt outlived the lease");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(registered_at.elapsed() > Duration::from_millis(1500), "killed too early");
    // What it opened before the lapse it gives up; then it comes back and says what became of the attempt.
    let report = loop {
        let (mut connection, again) = master.register(LEASE_MS).await;
        assert_eq!(again.incarnation, first.incarnation);
        match connection.next().await {
            Some(Request::Report(report)) => break report,
            Some(other) => panic!("reports, not {other:?}"),
            None => {}
        }
    };
    let finish = &report.finishes[0];
    assert_eq!((finish.attempt, finish.outcome()), (Some(held(0, 0, 9)), OutcomeKind::Lost));
}

/// The test's only thread does nothing but wait for the processes to be dead.
#[tokio::test]
async fn a_stuck_runtime_does_not_delay_the_end_of_attempts() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pids");
    let lease = Duration::from_secs(3);
    let mut master = Master::start().await;
    let _worker = start(dir.path(), &master).await;
    let (mut connection, _) = master.register(3000).await;
    let registered_at = Instant::now();
    connection.renews = false;
    connection.dispatch(assignment(&two_processes(&file), &held(0, 0, 9)));
    connection.quiet_for(Duration::from_millis(100)).await;
    let pids = pids_in(&file, 2);
    assert!(registered_at.elapsed() < Duration::from_millis(2000), "the machine is too slow");
    wait_until(lease - registered_at.elapsed(), "attempts are dead with the lease", || {
        !pids.iter().any(|pid| is_alive(*pid))
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_taken_without_a_lease() {
    let dir = tempfile::tempdir().unwrap();
    let mut master = Master::start().await;
    let _worker = start(dir.path(), &master).await;
    let file = dir.path().join("ran");
    let (connection, _) = master.register(0).await;
    let wanted = script(&format!("echo ran > {}", file.display()));
    connection.dispatch(assignment(&wanted, &held(0, 0, 9)));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!file.exists());
    // With a lease the same dispatch is taken.
    let (mut connection, register) = master.register(LEASE_MS).await;
    assert!(register.held.is_empty());
    connection.dispatch(assignment(&wanted, &held(0, 0, 9)));
    assert_eq!(connection.finish().await.outcome(), OutcomeKind::Succeeded);
    assert!(file.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dispatch_that_comes_twice_is_carried_out_once() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pids");
    let mut master = Master::start().await;
    let _worker = start(dir.path(), &master).await;
    let (mut connection, _) = master.register(LEASE_MS).await;
    let wanted = assignment(&script(&format!("echo $$ >> {}", file.display())), &held(0, 0, 9));
    for _ in 0..3 {
        connection.dispatch(wanted.clone());
    }
    // A definition that was given before may be left out.
    let by_key = Assignment { task: None, fence: 10, ..wanted.clone() };
    connection.dispatch(by_key);
    let mut fences = Vec::new();
    while fences.len() < 2 {
        let report = connection.report().await;
        connection.acknowledge(report.seq);
        fences.extend(report.finishes.iter().map(|finish| finish.attempt.unwrap().fence));
    }
    fences.sort_unstable();
    assert_eq!(fences, [9, 10]);
    connection.quiet_for(Duration::from_millis(300)).await;
    // A leader that still wants it did not accept the outcome.
    connection.dispatch(wanted);
    let lost = connection.finish().await;
    assert_eq!((lost.attempt, lost.outcome()), (Some(held(0, 0, 9)), OutcomeKind::Lost));
    connection.quiet_for(Duration::from_millis(300)).await;
    assert_eq!(pids_in(&file, 2).len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_ends_the_group_and_a_long_start_is_announced() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pids");
    let mut master = Master::start().await;
    let _worker = start(dir.path(), &master).await;
    let (mut connection, _) = master.register(LEASE_MS).await;
    connection.dispatch(assignment(&two_processes(&file), &held(0, 0, 9)));
    let Some(Request::Report(report)) = connection.next().await else { panic!("a start comes") };
    assert_eq!(report.starts.len(), 1);
    assert_eq!(report.starts[0].attempt, Some(held(0, 0, 9)));
    assert!(report.starts[0].age_ms >= 100);
    let pids = pids_in(&file, 2);
    let stop = |fence, reason: StopReason| {
        let attempts = vec![held(0, 0, fence)];
        Response::Stop(StopAttempts { attempts, reason: reason.into() })
    };
    connection.say(stop(9, StopReason::Cancelled));
    assert_eq!(connection.finish().await.outcome(), OutcomeKind::Cancelled);
    wait_until(Duration::from_secs(5), "grandchildren are dead", || {
        !pids.iter().any(|pid| is_alive(*pid))
    });
    connection.say(stop(77, StopReason::Cancelled));
    let finish = connection.finish().await;
    assert_eq!((finish.attempt, finish.outcome()), (Some(held(0, 0, 77)), OutcomeKind::Lost));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_declared_lost_comes_back_as_another_without_its_attempts() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pids");
    let mut master = Master::start().await;
    let _worker = start(dir.path(), &master).await;
    let (mut connection, first) = master.register(LEASE_MS).await;
    connection.dispatch(assignment(&two_processes(&file), &held(0, 0, 9)));
    let pids = pids_in(&file, 2);
    connection.quiet_for(Duration::from_millis(1)).await;
    connection.say(Response::Lost(Lost { reason: "a test".to_owned() }));
    let (_connection, again) = master.register(LEASE_MS).await;
    assert_ne!(again.incarnation, first.incarnation);
    wait_until(Duration::from_secs(1), "attempts are dead", || {
        !pids.iter().any(|pid| is_alive(*pid))
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_worker_delivers_what_it_had_not() {
    let dir = tempfile::tempdir().unwrap();
    let mut master = Master::start().await;
    let worker = start(dir.path(), &master).await;
    let (mut connection, first) = master.register(LEASE_MS).await;
    connection.dispatch(assignment(&script("exit 5"), &held(0, 0, 9)));
    let report = connection.report().await;
    drop(worker);
    let _worker = start(dir.path(), &master).await;
    let (mut connection, second) = master.register(LEASE_MS).await;
    assert_ne!(second.incarnation, first.incarnation);
    let again = connection.report().await;
    assert_eq!(again.finishes, report.finishes);
    connection.acknowledge(again.seq);
    connection.quiet_for(Duration::from_millis(300)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_shuts_down_finishes_reports_and_leaves() {
    let dir = tempfile::tempdir().unwrap();
    let mut master = Master::start().await;
    let worker = start(dir.path(), &master).await;
    let (mut connection, _) = master.register(LEASE_MS).await;
    connection.dispatch(assignment(&script("sleep 1.5"), &held(0, 0, 9)));
    connection.quiet_for(Duration::from_millis(80)).await;
    let leaving = tokio::spawn(worker.shut_down(Duration::from_secs(20)));
    tokio::time::sleep(Duration::from_millis(100)).await;
    connection.dispatch(assignment(&script("true"), &held(0, 0, 10)));
    connection.quiet_for(Duration::from_millis(200)).await;
    assert_eq!(connection.held, [held(0, 0, 9)], "neither taken nor given back");
    connection.is_draining = true;
    connection.quiet_for(Duration::from_millis(250)).await;
    connection.dispatch(assignment(&script("true"), &held(0, 0, 10)));
    let refused = connection.finish().await;
    assert_eq!((refused.attempt, refused.outcome()), (Some(held(0, 0, 10)), OutcomeKind::Lost));
    let finish = connection.finish().await;
    assert_eq!((finish.attempt, finish.outcome()), (Some(held(0, 0, 9)), OutcomeKind::Succeeded));
    assert!(matches!(connection.next().await, Some(Request::Leave(_))));
    drop(connection);
    leaving.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_that_may_not_wait_kills() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pids");
    let mut master = Master::start().await;
    let worker = start(dir.path(), &master).await;
    let (mut connection, _) = master.register(LEASE_MS).await;
    connection.dispatch(assignment(&two_processes(&file), &held(0, 0, 9)));
    let pids = pids_in(&file, 2);
    let leaving = tokio::spawn(worker.shut_down(Duration::ZERO));
    assert_eq!(connection.finish().await.outcome(), OutcomeKind::Lost);
    assert!(matches!(connection.next().await, Some(Request::Leave(_))));
    drop(connection);
    leaving.await.unwrap();
    wait_until(Duration::from_secs(1), "attempts are dead", || {
        !pids.iter().any(|pid| is_alive(*pid))
    });
}

async fn finish_all(connection: &mut Connection, mut open: u64) {
    while open > 0 {
        let report = connection.report().await;
        connection.acknowledge(report.seq);
        for finish in report.finishes {
            assert_eq!(finish.outcome(), OutcomeKind::Succeeded, "{}", finish.message);
            let range = finish.attempt.unwrap();
            open -= u64::from(range.last - range.first) + 1;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn arrays_and_many_single_tasks_all_end_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut master = Master::start().await;
    let _worker = start(dir.path(), &master).await;
    let (mut connection, _) = master.register(LEASE_MS).await;
    connection.dispatch(assignment(&ExecutorSpec::Noop, &held(0, 999_999, 9)));
    connection.dispatch(assignment(&argv(&["true"]), &held(0, 99, 10)));
    finish_all(&mut connection, 1_000_100).await;

    let started = Instant::now();
    let singles = 50_000_u64;
    let wanted = assignment(&ExecutorSpec::Noop, &held(0, 0, 11));
    connection.dispatch(wanted.clone());
    for batch in 0..singles / 500 {
        let assignments = (0..500)
            .map(|at| Assignment { task: None, run_id: 100 + batch * 500 + at, ..wanted.clone() })
            .collect();
        connection.say(Response::Dispatch(Dispatch { assignments }));
    }
    finish_all(&mut connection, singles + 1).await;
    println!("{:.0} no-op attempts a second", singles as f64 / started.elapsed().as_secs_f64());
}
