//! Prints how many `true` a second the process executor carries out, beside a bare spawn loop in the same run.
//!
//! `cargo run --release -p muster-worker --example spawn_rate [attempts] [slots]`

use std::collections::BTreeMap;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use muster_core::ids::{Fence, RunId, TaskIndex};
use muster_core::spec::{ExecutorSpec, ProcessCommand, ProcessSpec, Resources};
use muster_core::state::cells::IndexRange;
use muster_core::time::Millis;
use muster_platform::Platform;
use muster_worker::executor::process::guardian::{self, GuardianCommand};
use muster_worker::executor::process::{ProcessConfig, ProcessExecutor};
use muster_worker::executor::{Assignment, Attempt, Executor, Outcome, TaskDefinition, stop_pair};
use muster_worker::logs::{LogLimits, LogStore};

const ROUNDS: usize = 5;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|arg| arg == "guardian") {
        return guardian::run();
    }
    let number =
        |at: usize, default: u32| args.get(at).and_then(|arg| arg.parse().ok()).unwrap_or(default);
    let (attempts, slots) = (number(0, 2000), number(1, 8));
    let data_dir = std::env::temp_dir().join(format!("muster-spawn-rate-{}", std::process::id()));
    let executor = start(&data_dir);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let mut ratios = Vec::new();
    for _ in 0..ROUNDS {
        let bare = rate(attempts, bare_loop(attempts));
        let ours = rate(attempts, runtime.block_on(executor_loop(&executor, attempts, slots)));
        println!(
            "bare {bare:.0}/s   executor with {slots} slots {ours:.0}/s   ratio {:.2}",
            ours / bare
        );
        ratios.push(ours / bare);
    }
    ratios.sort_by(f64::total_cmp);
    println!("median ratio {:.2}", ratios[ROUNDS / 2]);
    drop(executor);
    let _ = std::fs::remove_dir_all(data_dir);
    ExitCode::SUCCESS
}

fn start(data_dir: &std::path::Path) -> ProcessExecutor {
    let logs = LogStore::open(data_dir.join("logs"), LogLimits::default(), &Platform::system())
        .expect("a log store");
    let mut config = ProcessConfig::new(data_dir.to_owned());
    let program = std::env::current_exe().expect("our own path");
    config.guardian = Some(GuardianCommand { program, args: vec!["guardian".into()] });
    ProcessExecutor::start(&config, logs).expect("an executor")
}

fn rate(attempts: u32, took: Duration) -> f64 {
    f64::from(attempts) / took.as_secs_f64()
}

fn bare_loop(attempts: u32) -> Duration {
    let started = Instant::now();
    for _ in 0..attempts {
        Command::new("/bin/true").spawn().expect("starts").wait().expect("ends");
    }
    started.elapsed()
}

async fn executor_loop(executor: &ProcessExecutor, attempts: u32, slots: u32) -> Duration {
    let assignment = Arc::new(assignment(attempts));
    let started = Instant::now();
    let mut running = FuturesUnordered::new();
    for index in 0..attempts {
        let (handle, stop) = stop_pair();
        let attempt = Attempt {
            assignment: assignment.clone(),
            indices: IndexRange { first: index, last: index },
            stop,
        };
        let ending = executor.execute(attempt);
        running.push(async move {
            let _handle = handle;
            ending.await
        });
        if running.len() as u32 == slots {
            check(running.next().await);
        }
    }
    while let Some(ending) = running.next().await {
        check(Some(ending));
    }
    started.elapsed()
}

fn check(ending: Option<muster_worker::executor::Ending>) {
    let outcome = ending.map(|ending| ending.outcome);
    assert!(matches!(outcome, Some(Outcome::Succeeded { .. })), "{outcome:?}");
}

fn assignment(attempts: u32) -> Assignment {
    let argv = vec!["true".into()];
    let task = TaskDefinition {
        namespace: "default".into(),
        workflow: "rate".into(),
        run_number: 1,
        name: "true".into(),
        executor: ExecutorSpec::Process(ProcessSpec {
            command: ProcessCommand::Argv(argv),
            working_dir: None,
        }),
        env: BTreeMap::new(),
        outputs: Vec::new(),
        is_array: true,
        columns: Vec::new(),
        timeout: None,
        grace_period: Millis(10_000),
        resources: Resources::default(),
    };
    Assignment {
        run: RunId(1),
        task_index: TaskIndex(0),
        indices: IndexRange { first: 0, last: attempts - 1 },
        attempt: 1,
        fence: Fence(1),
        task: Arc::new(task),
    }
}
