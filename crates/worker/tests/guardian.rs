//! A worker that is killed or stopped leaves no attempt running. The worker here is this test binary, started again.

// Every test binary uses a part of it.
#[allow(dead_code, missing_docs, unreachable_pub)]
mod support;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use muster_platform::Platform;
use muster_worker::executor::process::{ProcessConfig, ProcessExecutor, guardian};
use muster_worker::executor::{Attempt, Executor, stop_pair};
use muster_worker::logs::{LogLimits, LogStore};
use rustix::process::{Pid, Signal, kill_process};
use support::{assignment, guardian_command, is_alive, pids_in, script, wait_until};

const DIR_KEY: &str = "WORKER_TEST_DIR";
const LEASE_KEY: &str = "WORKER_TEST_LEASE_MS";

#[test]
#[ignore = "the guardian's process, started by the worker under test"]
fn guardian_entry() {
    guardian::run();
}

/// Starts an attempt of two processes, one of which leaves the group, and waits to be killed.
#[test]
#[ignore = "the worker's process, started by the tests"]
fn worker_entry() {
    let Some(dir) = std::env::var_os(DIR_KEY).map(PathBuf::from) else { return };
    let lease =
        std::env::var(LEASE_KEY).ok().and_then(|text| text.parse().ok()).map(Duration::from_millis);
    let logs = LogStore::open(dir.join("logs"), LogLimits::default(), &Platform::system()).unwrap();
    let mut config = ProcessConfig::new(dir.join("worker"));
    config.guardian = Some(guardian_command());
    let executor = ProcessExecutor::start(&config, logs).unwrap();
    let text = format!(
        "trap '' TERM; echo $$ >> {0}; setsid bash -c 'echo $$ >> {0}; sleep 300' & sleep 300",
        dir.join("pids").display()
    );
    let (_handle, stop) = stop_pair();
    let assignment = assignment(script(&text));
    let indices = assignment.indices;
    let ending = executor.execute(Attempt { assignment: Arc::new(assignment), indices, stop });
    executor.set_lease_end(lease.map(|lease| Platform::system().since_boot() + lease));
    tokio::runtime::Runtime::new().unwrap().block_on(ending);
}

fn start_worker(dir: &Path, lease_ms: Option<u64>) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["worker_entry", "--exact", "--ignored"]).env(DIR_KEY, dir).stdout(Stdio::null());
    if let Some(lease) = lease_ms {
        command.env(LEASE_KEY, lease.to_string());
    }
    command.spawn().unwrap()
}

fn send(worker: &Child, signal: Signal) {
    kill_process(Pid::from_raw(worker.id().cast_signed()).unwrap(), signal).unwrap();
}

/// The guardian of `worker`: its only child that is not an attempt.
fn guardian_of(worker: &Child, attempts: &[u32]) -> u32 {
    let children: Vec<u32> =
        children_of(worker).into_iter().filter(|pid| !attempts.contains(pid)).collect();
    assert_eq!(children.len(), 1, "{children:?}");
    children[0]
}

fn children_of(worker: &Child) -> Vec<u32> {
    let path = format!("/proc/{0}/task", worker.id());
    let tasks = std::fs::read_dir(path).unwrap().map(|task| task.unwrap().path().join("children"));
    let lists = tasks.map(|path| std::fs::read_to_string(path).unwrap_or_default());
    lists
        .flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .filter_map(|word| word.parse().ok())
        .collect()
}

/// Kills the guardian and the worker, in this order, such that the worker cannot start another in between.
fn kill_both(mut worker: Child, guardian: u32) {
    send(&worker, Signal::STOP);
    kill_process(Pid::from_raw(guardian.cast_signed()).unwrap(), Signal::KILL).unwrap();
    send(&worker, Signal::KILL);
    worker.wait().unwrap();
}

#[test]
fn a_killed_worker_takes_its_attempts_along() {
    let dir = tempfile::tempdir().unwrap();
    let mut worker = start_worker(dir.path(), None);
    let pids = pids_in(&dir.path().join("pids"), 2);
    assert!(pids.iter().all(|pid| is_alive(*pid)));
    send(&worker, Signal::KILL);
    worker.wait().unwrap();
    wait_until(Duration::from_secs(5), "attempts die with the worker", || {
        !pids.iter().any(|pid| is_alive(*pid))
    });
}

#[test]
fn a_stopped_worker_loses_its_attempts_before_the_lease_ends() {
    let dir = tempfile::tempdir().unwrap();
    let lease = Duration::from_secs(3);
    let mut worker = start_worker(dir.path(), Some(3000));
    let started = Instant::now();
    let pids = pids_in(&dir.path().join("pids"), 2);
    send(&worker, Signal::STOP);
    assert!(pids.iter().all(|pid| is_alive(*pid)), "the lease still holds");
    wait_until(Duration::from_secs(10), "attempts die with the lease", || {
        !pids.iter().any(|pid| is_alive(*pid))
    });
    let took = started.elapsed();
    assert!(took > Duration::from_secs(1) && took < lease + Duration::from_secs(2), "{took:?}");
    send(&worker, Signal::KILL);
    worker.wait().unwrap();
}

#[test]
fn a_killed_guardian_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let mut worker = start_worker(dir.path(), None);
    let pids = pids_in(&dir.path().join("pids"), 2);
    let first = guardian_of(&worker, &pids);
    kill_process(Pid::from_raw(first.cast_signed()).unwrap(), Signal::KILL).unwrap();
    wait_until(Duration::from_secs(5), "the old guardian is gone", || !is_alive(first));
    std::thread::sleep(Duration::from_secs(1));
    assert!(is_alive(guardian_of(&worker, &pids)));
    send(&worker, Signal::KILL);
    worker.wait().unwrap();
    wait_until(Duration::from_secs(5), "the new guardian does its work", || {
        !pids.iter().any(|pid| is_alive(*pid))
    });
}

#[test]
fn a_restarted_worker_ends_what_was_left() {
    let dir = tempfile::tempdir().unwrap();
    let worker = start_worker(dir.path(), None);
    let pids = pids_in(&dir.path().join("pids"), 2);
    let escaped = pids[1];
    let guardian = guardian_of(&worker, &pids);
    kill_both(worker, guardian);
    std::thread::sleep(Duration::from_millis(300));
    assert!(is_alive(escaped), "nobody was there to end it");
    let logs =
        LogStore::open(dir.path().join("logs"), LogLimits::default(), &Platform::system()).unwrap();
    let _executor =
        ProcessExecutor::start(&ProcessConfig::new(dir.path().join("worker")), logs).unwrap();
    wait_until(Duration::from_secs(5), "leftovers are dead", || !is_alive(escaped));
}

#[test]
fn a_worker_killed_together_with_its_guardian_takes_the_task_along() {
    let dir = tempfile::tempdir().unwrap();
    let worker = start_worker(dir.path(), None);
    let pids = pids_in(&dir.path().join("pids"), 2);
    let (first, escaped) = (pids[0], pids[1]);
    let guardian = guardian_of(&worker, &pids);
    kill_both(worker, guardian);
    wait_until(Duration::from_secs(5), "the kernel ends the task's process", || !is_alive(first));
    // Only so is it known that nobody but the kernel was there.
    assert!(is_alive(escaped));
    kill_process(Pid::from_raw(escaped.cast_signed()).unwrap(), Signal::KILL).unwrap();
}

#[test]
fn a_worker_killed_by_its_name_leaves_its_guardian() {
    let dir = tempfile::tempdir().unwrap();
    let mut worker = start_worker(dir.path(), None);
    let pids = pids_in(&dir.path().join("pids"), 2);
    let name = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
    let line = |pid: u32| std::fs::read(format!("/proc/{pid}/cmdline")).unwrap();
    let guardian = guardian_of(&worker, &pids);
    wait_until(Duration::from_secs(5), "it takes its name", || name(guardian) != name(worker.id()));
    assert_eq!(name(guardian).trim(), "task-guardian");
    assert!(line(guardian).starts_with(b"task-guardian\0"));
    // As `killall -9` does.
    let own = name(worker.id());
    let victims = [worker.id()].into_iter().chain(children_of(&worker));
    for victim in victims.filter(|pid| name(*pid) == own).collect::<Vec<_>>() {
        kill_process(Pid::from_raw(victim.cast_signed()).unwrap(), Signal::KILL).unwrap();
    }
    worker.wait().unwrap();
    wait_until(Duration::from_secs(5), "the guardian does its work", || {
        !pids.iter().any(|pid| is_alive(*pid))
    });
}
