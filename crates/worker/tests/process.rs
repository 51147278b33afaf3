//! The process executor against real processes.

// Every test binary uses a part of it.
#[allow(dead_code, missing_docs, unreachable_pub)]
mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use muster_core::ids::{RunId, TaskIndex};
use muster_core::spec::column::{self, Column};
use muster_core::spec::template::ARRAY_INDEX_MARK;
use muster_core::spec::{ExecutorSpec, ProcessCommand, ProcessSpec};
use muster_core::state::cells::IndexRange;
use muster_core::time::Millis;
use muster_platform::Platform;
use muster_worker::executor::process::{ProcessConfig, ProcessExecutor};
use muster_worker::executor::{
    self, Assignment, Attempt, Ending, Executor, Outcome, Stop, StopHandle, TaskDefinition,
    stop_pair,
};
use muster_worker::logs::{LogKey, LogLimits, LogStore};
use support::{argv, assignment, definition, is_alive, pids_in, script, wait_until};
use tokio::task::JoinHandle;

struct Bench {
    dir: tempfile::TempDir,
    logs: Arc<LogStore>,
    executor: ProcessExecutor,
}

impl Bench {
    fn new() -> Self {
        Bench::with_limits(LogLimits::default())
    }

    fn with_limits(limits: LogLimits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let logs = LogStore::open(dir.path().join("logs"), limits, &Platform::system()).unwrap();
        let executor =
            ProcessExecutor::start(&ProcessConfig::new(dir.path().join("worker")), logs.clone())
                .unwrap();
        Bench { dir, logs, executor }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn start(&self, assignment: Assignment) -> (StopHandle, JoinHandle<Ending>) {
        let (handle, stop) = stop_pair();
        let indices = assignment.indices;
        let ending =
            self.executor.execute(Attempt { assignment: Arc::new(assignment), indices, stop });
        (handle, tokio::spawn(ending))
    }

    async fn run(&self, assignment: Assignment) -> Ending {
        let (_handle, ending) = self.start(assignment);
        ending.await.unwrap()
    }

    async fn outcome(&self, spec: ExecutorSpec) -> Outcome {
        self.run(assignment(spec)).await.outcome
    }

    fn log(&self) -> Option<String> {
        let key = LogKey { run: RunId(42), task: TaskIndex(1), index: 0, attempt: 1 };
        let chunk = self.logs.read(key, 0, 1 << 20).unwrap()?;
        Some(String::from_utf8(chunk.bytes).unwrap())
    }
}

/// `spec` as `etl/3/load`, with `change` made to its definition.
fn changed(spec: ExecutorSpec, change: impl FnOnce(&mut TaskDefinition)) -> Assignment {
    let mut definition = definition(spec.clone());
    change(&mut definition);
    Assignment { task: Arc::new(definition), ..assignment(spec) }
}

fn succeeded(outputs: &[(&str, &str)]) -> Outcome {
    let texts = outputs.iter().map(|(key, value)| ((*key).into(), (*value).into()));
    executor::succeeded(texts.collect())
}

#[track_caller]
fn assert_failed(outcome: &Outcome, code: Option<i32>, part: &str) {
    let Outcome::Failed { exit_code, message: Some(message) } = outcome else {
        panic!("{outcome:?} is not a failure")
    };
    assert_eq!(*exit_code, code, "{message}");
    assert!(message.contains(part), "`{message}` does not say `{part}`");
}

#[tokio::test]
async fn exit_codes_and_signals_are_told_apart() {
    let bench = Bench::new();
    assert_eq!(bench.outcome(argv(&["true"])).await, succeeded(&[]));
    assert_failed(&bench.outcome(script("exit 7")).await, Some(7), "exit code 7");
    assert_failed(&bench.outcome(script("kill -SEGV $$")).await, Some(-11), "SIGSEGV");
    assert_failed(&bench.outcome(script("kill -KILL $$")).await, Some(-9), "memory");
}

#[tokio::test]
async fn nothing_starts_once_the_lease_is_over() {
    let bench = Bench::new();
    let mark = bench.path("mark");
    let touch = || script(&format!("touch {}", mark.display()));
    let now = Platform::system().since_boot();
    bench.executor.set_lease_end(Some(now.saturating_sub(Duration::from_millis(1))));
    assert_eq!(bench.outcome(touch()).await, Outcome::Lost);
    assert!(!mark.exists(), "it ran");
    assert_eq!(bench.executor.running(), 0);
    bench.executor.set_lease_end(Some(now + Duration::from_secs(60)));
    assert_eq!(bench.outcome(touch()).await, succeeded(&[]));
    assert!(mark.exists());
}

#[tokio::test]
async fn what_cannot_be_started_says_why() {
    let bench = Bench::new();
    assert_failed(&bench.outcome(argv(&["no-such-program"])).await, None, "not found in PATH");
    assert_failed(&bench.outcome(argv(&["/no/such/program"])).await, None, "not there");
    assert_failed(&bench.outcome(argv(&[])).await, None, "empty");
    let file = bench.path("program");
    fs::write(&file, "not a program").unwrap();
    let program = file.to_str().unwrap();
    assert_failed(&bench.outcome(argv(&[program])).await, None, "permission denied");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    assert_failed(&bench.outcome(argv(&[program])).await, None, "neither a program");
    let command = ProcessCommand::Argv(vec!["true".into()]);
    let nowhere =
        ExecutorSpec::Process(ProcessSpec { command, working_dir: Some("/no/such/folder".into()) });
    assert_failed(&bench.outcome(nowhere).await, None, "working folder `/no/such/folder`");
    let malformed =
        changed(argv(&["true"]), |task| drop(task.env.insert("A=B".into(), "x".into())));
    assert_failed(&bench.run(malformed).await.outcome, None, "`A=B` is malformed");
}

#[tokio::test]
async fn values_stand_where_the_leader_marked_them() {
    let bench = Bench::new();
    let mut wanted = changed(argv(&["env"]), |task| {
        let text = format!("{}/{}", column::column_mark(1), column::index_mark());
        task.env.insert("MUSTER_ITEM".into(), column::column_mark(0).into());
        task.env.insert("MUSTER_MATRIX_A".into(), text.into());
        task.columns = vec![
            Column::each(5, vec!["a b".into(), "${{ x }}".into()]),
            Column { stride: 3, base: 1, values: vec!["p".into(), "q".into()] },
        ];
        task.is_array = true;
    });
    wanted.indices = IndexRange { first: 6, last: 6 };
    assert_eq!(bench.run(wanted.clone()).await.outcome, succeeded(&[]));
    let key = LogKey { run: RunId(42), task: TaskIndex(1), index: 6, attempt: 1 };
    let text = String::from_utf8(bench.logs.read(key, 0, 1 << 20).unwrap().unwrap().bytes).unwrap();
    for line in ["MUSTER_ITEM=${{ x }}", "MUSTER_MATRIX_A=q/6", "MUSTER_ARRAY_INDEX=6"] {
        assert!(text.lines().any(|held| held == line), "{line} is not in\n{text}");
    }
    // A leader that says too little does not start anything.
    wanted.indices = IndexRange { first: 2, last: 2 };
    let Outcome::Failed { exit_code: None, message: Some(why) } = bench.run(wanted).await.outcome
    else {
        panic!("it has no value")
    };
    assert!(why.contains("of the index 2 has none"), "{why}");
}

#[tokio::test]
async fn the_environment_is_clean_and_says_who_the_attempt_is() {
    let bench = Bench::new();
    let mut wanted = changed(argv(&["env"]), |task| {
        task.env.insert("DAY".into(), "2026-11-21 = a day".into());
        task.env.insert("MUSTER_FENCE".into(), "999".into());
        task.env.insert("MUSTER_PARAM_REGION".into(), "eu".into());
        task.env.insert("SHARD".into(), format!("s-{ARRAY_INDEX_MARK}").into());
        task.env.insert("RAW".into(), "${{ array.index }}".into());
        task.is_array = true;
    });
    wanted.indices = IndexRange { first: 5, last: 5 };
    assert_eq!(bench.run(wanted).await.outcome, succeeded(&[]));
    let key = LogKey { run: RunId(42), task: TaskIndex(1), index: 5, attempt: 1 };
    let text = String::from_utf8(bench.logs.read(key, 0, 1 << 20).unwrap().unwrap().bytes).unwrap();
    let has =
        |line: &str| assert!(text.lines().any(|held| held == line), "{line} is not in\n{text}");
    for line in [
        "DAY=2026-11-21 = a day",
        "MUSTER_PARAM_REGION=eu",
        "SHARD=s-5",
        "RAW=${{ array.index }}",
        "MUSTER_RUN_ID=42",
        "MUSTER_RUN_NUMBER=3",
        "MUSTER_WORKFLOW=etl",
        "MUSTER_NAMESPACE=team-a",
        "MUSTER_TASK=load",
        "MUSTER_ATTEMPT=1",
        "MUSTER_FENCE=7",
        "MUSTER_ARRAY_INDEX=5",
    ] {
        has(line);
    }
    assert!(!text.contains("CARGO"), "the worker's own environment stays its own:\n{text}");
    assert!(text.contains("PATH=") && text.contains("TMPDIR=") && text.contains("MUSTER_OUTPUT="));
}

#[tokio::test]
async fn each_attempt_has_an_empty_folder_of_its_own() {
    let bench = Bench::new();
    let text = "test -z \"$(ls -A)\"; test \"$PWD\" = \"$TMPDIR\"; test -z \"${MUSTER_ARRAY_INDEX-}\"; \
                echo x > left; pwd";
    for _ in 0..3 {
        assert_eq!(bench.outcome(script(text)).await, succeeded(&[]));
    }
    let folder = bench.log().unwrap().trim().to_owned();
    wait_until(Duration::from_secs(5), "a dirty folder is removed", || {
        !Path::new(&folder).exists()
    });
}

#[tokio::test]
async fn outputs_are_kept_if_declared_and_only_after_success() {
    let bench = Bench::new();
    let with_outputs =
        |text: &str| changed(script(text), |task| task.outputs = vec!["rows".into()]);
    let ending = bench.run(with_outputs("echo rows=12 >> \"$MUSTER_OUTPUT\"")).await;
    assert_eq!(ending.outcome, succeeded(&[("rows", "12")]));
    let ending = bench.run(with_outputs("true")).await;
    assert_failed(&ending.outcome, Some(0), "`rows` is declared but was not written");
    let ending = bench.run(with_outputs("echo other=12 >> \"$MUSTER_OUTPUT\"")).await;
    assert_failed(&ending.outcome, Some(0), "`other` is not declared");
    let ending = bench.run(with_outputs("echo rows=12 >> \"$MUSTER_OUTPUT\"; exit 3")).await;
    assert_failed(&ending.outcome, Some(3), "exit code 3");
}

#[tokio::test]
async fn both_streams_go_to_the_log_and_silence_leaves_none() {
    let bench = Bench::new();
    assert_eq!(bench.outcome(script("echo out; echo err >&2; echo end")).await, succeeded(&[]));
    assert_eq!(bench.log().unwrap(), "out\nerr\nend\n");
    let bench = Bench::new();
    assert_eq!(bench.outcome(argv(&["true"])).await, succeeded(&[]));
    assert_eq!(bench.log(), None);
}

#[tokio::test]
async fn a_log_is_cut_while_it_grows() {
    let limits = LogLimits { attempt_bytes_max: 100_000, ..LogLimits::default() };
    let bench = Bench::with_limits(limits);
    let live = bench.path("logs/live/42.1.0.1.log");
    let (_handle, ending) = bench.start(assignment(script(
        "head -c 5000000 /dev/zero | tr '\\0' y; sleep 1; echo late; sleep 0.1",
    )));
    let mut largest_seen_last = u64::MAX;
    while !ending.is_finished() {
        tokio::time::sleep(Duration::from_millis(10)).await;
        largest_seen_last = fs::metadata(&live).map_or(largest_seen_last, |facts| facts.len());
    }
    assert!(largest_seen_last < 200_000, "cut while the attempt ran, to {largest_seen_last}");
    let log = bench.log().unwrap();
    assert!(
        log.starts_with("yyyy")
            && log.ends_with("[muster: the log was cut here, at 100000 bytes]\n")
    );
}

#[tokio::test]
async fn a_timeout_asks_first_and_forces_after_the_grace_period() {
    let bench = Bench::new();
    let polite = script("trap 'echo asked; exit 0' TERM; sleep 60 & wait");
    let polite = changed(polite, |task| task.timeout = Some(Millis(300)));
    let ending = bench.run(polite).await;
    assert_eq!(ending.outcome, Outcome::TimedOut);
    assert!(ending.duration() < Duration::from_secs(5));
    assert_eq!(bench.log().unwrap(), "asked\n");

    let stubborn = script("trap '' TERM; for i in $(seq 600); do sleep 0.1; done");
    let stubborn = changed(stubborn, |task| {
        task.timeout = Some(Millis(200));
        task.grace_period = Millis(400);
    });
    let ending = bench.run(stubborn).await;
    assert_eq!(ending.outcome, Outcome::TimedOut);
    let took = ending.duration();
    assert!(took >= Duration::from_millis(550) && took < Duration::from_secs(5), "{took:?}");
}

#[tokio::test]
async fn a_stop_ends_the_whole_group() {
    let bench = Bench::new();
    let file = bench.path("pids");
    let text = format!(
        "echo $$ >> {0}; (trap '' TERM; echo $BASHPID >> {0}; sleep 300) & wait",
        file.display()
    );
    let wanted = changed(script(&text), |task| task.grace_period = Millis(200));
    let (handle, ending) = bench.start(wanted);
    let pids = pids_in(&file, 2);
    assert!(pids.iter().all(|pid| is_alive(*pid)));
    handle.request(Stop::Gently);
    assert_eq!(ending.await.unwrap().outcome, Outcome::Cancelled);
    wait_until(Duration::from_secs(5), "grandchildren are dead", || {
        !pids.iter().any(|pid| is_alive(*pid))
    });
}

#[tokio::test]
async fn an_urgent_stop_cuts_the_grace_period_short() {
    let bench = Bench::new();
    let file = bench.path("pids");
    let text =
        format!("trap '' TERM; echo $$ >> {}; while true; do sleep 0.05; done", file.display());
    let (handle, ending) = bench.start(assignment(script(&text)));
    pids_in(&file, 1);
    handle.request(Stop::Gently);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!ending.is_finished());
    let asked = Instant::now();
    handle.request(Stop::AtOnce);
    assert_eq!(ending.await.unwrap().outcome, Outcome::Lost);
    assert!(asked.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn nothing_of_an_ended_attempt_runs_on() {
    let bench = Bench::new();
    let file = bench.path("pids");
    let text = format!("sleep 300 & echo $! >> {}", file.display());
    assert_eq!(bench.outcome(script(&text)).await, succeeded(&[]));
    let pid = pids_in(&file, 1)[0];
    wait_until(Duration::from_secs(5), "the straggler is dead", || !is_alive(pid));
}

#[tokio::test]
async fn dropping_the_future_ends_the_process() {
    let bench = Bench::new();
    let file = bench.path("pids");
    let (_handle, ending) =
        bench.start(assignment(script(&format!("echo $$ >> {}; sleep 300", file.display()))));
    let pid = pids_in(&file, 1)[0];
    ending.abort();
    assert!(ending.await.unwrap_err().is_cancelled());
    wait_until(Duration::from_secs(5), "the process is dead", || !is_alive(pid));
    wait_until(Duration::from_secs(5), "the process is forgotten", || {
        bench.executor.running() == 0
    });
}

#[tokio::test]
async fn killing_everything_reaches_those_who_left_their_group() {
    let bench = Bench::new();
    let file = bench.path("pids");
    let text = format!(
        "echo $$ >> {0}; setsid bash -c 'echo $$ >> {0}; sleep 300' & wait",
        file.display()
    );
    let (_handle, ending) = bench.start(assignment(script(&text)));
    let pids = pids_in(&file, 2);
    bench.executor.kill_all();
    assert_failed(&ending.await.unwrap().outcome, Some(-9), "SIGKILL");
    wait_until(Duration::from_secs(5), "all are dead", || !pids.iter().any(|pid| is_alive(*pid)));
}

/// A lapse asks for a stop, then kills. That the exit is heard of first makes it no failure.
#[tokio::test]
async fn what_a_lapse_killed_is_lost_whatever_is_heard_of_first() {
    let bench = Bench::new();
    let (handle, stop) = stop_pair();
    let text = format!("echo $$ > {}; exec sleep 300", bench.path("pids").display());
    let assignment = Arc::new(assignment(script(&text)));
    let indices = assignment.indices;
    let ending = bench.executor.execute(Attempt { assignment, indices, stop });
    pids_in(&bench.path("pids"), 1);
    bench.executor.kill_all();
    wait_until(Duration::from_secs(5), "it is reaped", || bench.executor.running() == 0);
    handle.request(Stop::AtOnce);
    assert_eq!(ending.await.outcome, Outcome::Lost);
}

#[tokio::test]
async fn what_a_lapse_kept_from_starting_is_lost() {
    const ATTEMPTS: u32 = 100;
    let bench = Bench::new();
    let sleeping = Arc::new(changed(argv(&["sleep", "300"]), |task| task.is_array = true));
    let (handles, endings): (Vec<_>, Vec<_>) = (0..ATTEMPTS)
        .map(|index| {
            let (handle, stop) = stop_pair();
            let indices = IndexRange { first: index, last: index };
            let attempt = Attempt { assignment: sleeping.clone(), indices, stop };
            (handle, bench.executor.execute(attempt))
        })
        .unzip();
    bench.executor.kill_all();
    wait_until(Duration::from_secs(20), "all are reaped", || bench.executor.running() == 0);
    handles.iter().for_each(|handle| handle.request(Stop::AtOnce));
    for ending in endings {
        assert_eq!(ending.await.outcome, Outcome::Lost);
    }
}

#[tokio::test]
async fn a_process_starts_with_no_signal_blocked_and_dies_of_a_broken_pipe() {
    const SIGPIPE_BIT: u64 = 1 << 12;
    let bench = Bench::new();
    bench.outcome(argv(&["cat", "/proc/self/status"])).await;
    let log = bench.log().unwrap();
    let mask = |name: &str| {
        let line = log.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        u64::from_str_radix(line.trim(), 16).unwrap()
    };
    assert_eq!(mask("SigBlk:"), 0, "{log}");
    assert_eq!(mask("SigIgn:") & SIGPIPE_BIT, 0, "{log}");
    assert_eq!(mask("SigCgt:"), 0, "{log}");
}

#[tokio::test]
async fn many_at_once_all_end() {
    let bench = Bench::new();
    let endings: Vec<_> = (0..300)
        .map(|index| {
            let mut wanted = assignment(argv(&["true"]));
            wanted.indices = IndexRange { first: index, last: index };
            bench.start(wanted)
        })
        .collect();
    for (_handle, ending) in endings {
        assert_eq!(ending.await.unwrap().outcome, succeeded(&[]));
    }
    assert_eq!(bench.executor.running(), 0);
}
