//! What the worker's tests share: assignments to carry out, and processes to look at.

pub mod master;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use muster_core::ids::{Fence, RunId, TaskIndex, Text};
use muster_core::spec::{ExecutorSpec, ProcessCommand, ProcessSpec, Resources};
use muster_core::state::cells::IndexRange;
use muster_core::time::Millis;
use muster_worker::executor::process::guardian::GuardianCommand;
use muster_worker::executor::{Assignment, TaskDefinition};

/// Something that carries out `executor` as `etl/3/load#1` under fence 7.
pub fn assignment(executor: ExecutorSpec) -> Assignment {
    Assignment {
        run: RunId(42),
        task_index: TaskIndex(1),
        indices: IndexRange::single(0),
        attempt: 1,
        fence: Fence(7),
        task: Arc::new(definition(executor)),
    }
}

/// What [`assignment`] has in common with all attempts of its task.
pub fn definition(executor: ExecutorSpec) -> TaskDefinition {
    TaskDefinition {
        namespace: "team-a".into(),
        workflow: "etl".into(),
        run_number: 3,
        name: "load".into(),
        executor,
        env: BTreeMap::new(),
        outputs: Vec::new(),
        is_array: false,
        columns: Vec::new(),
        timeout: None,
        grace_period: Millis(10_000),
        resources: Resources::default(),
    }
}

pub fn argv(words: &[&str]) -> ExecutorSpec {
    let words = words.iter().map(|word| Text::from(*word)).collect();
    ExecutorSpec::Process(ProcessSpec { command: ProcessCommand::Argv(words), working_dir: None })
}

pub fn script(text: &str) -> ExecutorSpec {
    let shell = ["bash", "-euo", "pipefail"].map(Text::from).to_vec();
    let command = ProcessCommand::Script { text: text.into(), shell };
    ExecutorSpec::Process(ProcessSpec { command, working_dir: None })
}

/// Starts this very test binary as a guardian, through its ignored test `guardian_entry`.
pub fn guardian_command() -> GuardianCommand {
    let args = ["guardian_entry", "--exact", "--ignored", "--nocapture"].map(Into::into).to_vec();
    GuardianCommand { program: std::env::current_exe().expect("our own path"), args }
}

/// Whether a process is there and not merely waiting to be reaped.
pub fn is_alive(pid: u32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    !matches!(state, Some('Z' | 'X') | None)
}

/// Waits until `what` holds; panics after `limit`.
pub fn wait_until(limit: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits for a file of process ids, one a line, with at least `count` of them.
pub fn pids_in(path: &Path, count: usize) -> Vec<u32> {
    let mut pids = Vec::new();
    wait_until(Duration::from_secs(20), "processes write down their ids", || {
        let text = fs::read_to_string(path).unwrap_or_default();
        pids = text
            .split_inclusive('\n')
            .filter_map(|line| line.strip_suffix('\n')?.trim().parse().ok())
            .collect();
        pids.len() >= count
    });
    pids
}
