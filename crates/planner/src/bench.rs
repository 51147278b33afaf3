//! Made-up clusters for measuring the planner: `muster bench planner`, and this crate's own timing test.

use std::collections::BTreeMap;
use std::sync::Arc;

use muster_core::command::{Command, Entry, RegisterWorker, RunSource, SubmitRun};
use muster_core::ids::{LogIndex, Name, Text, WorkerId};
use muster_core::spec::{ArraySpec, ExecutorSpec, Request, Resources, TaskSpec, WorkflowSpec};
use muster_core::state::State;
use muster_core::time::{Millis, Timestamp};

use crate::view::{LiveView, Load, WorkerView};

/// How many ready tasks one worker of a synthetic cluster can take.
pub const SLOTS_PER_WORKER: usize = 16;
/// How many different requests the tasks of a synthetic cluster have.
pub const REQUEST_GROUPS: usize = 8;

/// Tasks a run has.
const RUN_TASKS: usize = 1000;
const GIBI: u64 = 1 << 30;

/// A state with `ready` ready tasks and `workers` idle workers with different loads, each with room for
/// [`SLOTS_PER_WORKER`] tasks whichever they are. The tasks have [`REQUEST_GROUPS`] different requests in turn, and
/// stand in runs of a thousand.
pub fn synthetic(ready: usize, workers: usize) -> (State, LiveView) {
    let requests: Vec<Request> = (0..REQUEST_GROUPS as u64).map(request).collect();
    let tasks = |first: usize, count: usize| {
        let task = |number: usize| {
            let mut task = TaskSpec::new(task_name(number), ExecutorSpec::Noop);
            task.request = requests[number % REQUEST_GROUPS].clone();
            task
        };
        (first..first + count).map(task).collect::<Vec<_>>()
    };
    let runs = (0..ready).step_by(RUN_TASKS);
    build(workers, runs.map(|first| tasks(first, RUN_TASKS.min(ready - first))))
}

/// Like [`synthetic`], but the ready indices belong to array tasks of `array_len` indices, one a run.
///
/// # Panics
/// If `array_len` is zero.
pub fn synthetic_arrays(ready: u32, array_len: u32, workers: usize) -> (State, LiveView) {
    let run = |first: u32| {
        let mut task = TaskSpec::new(task_name(0), ExecutorSpec::Noop);
        task.array = Some(ArraySpec { first: 0, last: array_len.min(ready - first) - 1 });
        task.request = request(u64::from(first / array_len) % REQUEST_GROUPS as u64);
        vec![task]
    };
    build(workers, (0..ready).step_by(array_len as usize).map(run))
}

fn build(workers: usize, runs: impl Iterator<Item = Vec<TaskSpec>>) -> (State, LiveView) {
    let mut state = State::default();
    let mut index = 0;
    let mut apply = |command: Command| {
        index += 1;
        state.apply(LogIndex(index), &Entry { at: Timestamp(0), commands: vec![command] });
    };
    for number in 0..workers {
        apply(Command::RegisterWorker(worker(number)));
    }
    for (number, tasks) in runs.enumerate() {
        let spec = WorkflowSpec {
            priority: (number % 3) as i32,
            ..WorkflowSpec::new(name(&format!("bench{number}")), tasks)
        };
        apply(Command::SubmitRun(SubmitRun {
            request: None,
            namespace: name("default"),
            source: RunSource::OneOff(Box::new(spec)),
            params: Arc::default(),
            priority: None,
            backfill: None,
        }));
    }
    let view = state.workers().iter().map(|worker| (worker.id, load_of(worker.id))).collect();
    (state, LiveView { workers: view })
}

fn name(text: &str) -> Name {
    Name::parse(text).expect("the names made here are letters and digits")
}

fn task_name(number: usize) -> Name {
    name(&format!("task{number}"))
}

fn text(text: &str) -> Text {
    text.into()
}

/// One core each; what differs always fits beside it.
fn request(group: u64) -> Request {
    let selector = match group % 2 {
        0 => BTreeMap::new(),
        _ => BTreeMap::from([(text("arch"), text("x86_64"))]),
    };
    let custom = match group % 4 {
        3 => BTreeMap::from([(text("licence"), 1)]),
        _ => BTreeMap::new(),
    };
    let resources = Resources { cpu_millis: 1000, memory_bytes: group * (GIBI / 4), custom };
    Request { selector, resources, ..Request::default() }
}

fn worker(number: usize) -> RegisterWorker {
    let slots = SLOTS_PER_WORKER as u64;
    RegisterWorker {
        name: format!("worker-{number}").into(),
        incarnation: number as u64,
        labels: BTreeMap::from([
            (text("arch"), text("x86_64")),
            (text("zone"), format!("zone-{}", number % 3).into()),
        ]),
        pool: None,
        lease: Millis(5_000),
        capacity: Resources {
            cpu_millis: slots * 1000,
            memory_bytes: slots * 2 * GIBI,
            custom: BTreeMap::from([(text("licence"), slots)]),
        },
    }
}

/// Loads that differ from worker to worker, and are the same every time.
fn load_of(worker: WorkerId) -> WorkerView {
    let cpu_total_millis = SLOTS_PER_WORKER as u64 * 1000;
    let mixed = worker.0.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    let load = Load {
        cpu_busy_millis: mixed % cpu_total_millis,
        cpu_total_millis,
        memory_used_bytes: mixed % (32 * GIBI),
        memory_total_bytes: 32 * GIBI,
        run_queue_millis: (mixed % 1500) as u32,
        network_bytes_per_s: mixed % 125_000_000,
        network_capacity_bytes_per_s: 125_000_000,
    };
    WorkerView { load, is_connected: true, heartbeat_age: Millis(mixed % 1000) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ATTEMPTS_PER_WORKER_MAX, Policy, Strategy, plan};

    fn placed_indices(state: &State, view: &LiveView, policy: &Policy) -> usize {
        let plan = plan(state, view, Timestamp(0), policy);
        plan.placements.iter().map(|placement| placement.range.count() as usize).sum()
    }

    #[test]
    fn a_pass_fills_every_slot_and_no_more() {
        for strategy in [Strategy::Spread, Strategy::BinPack] {
            let policy = Policy { strategy, placements_max: 10_000, ..Policy::default() };
            for (ready, workers) in [(0, 3), (5, 0), (40, 3), (48, 3), (300, 3), (900, 60)] {
                let (state, view) = synthetic(ready, workers);
                assert_eq!(state.queue().len(), ready);
                let slots = workers * SLOTS_PER_WORKER;
                assert_eq!(placed_indices(&state, &view, &policy), ready.min(slots));
            }
            let (state, view) = synthetic_arrays(300, 70, 10);
            assert_eq!(placed_indices(&state, &view, &policy), 160);
        }
        assert!(SLOTS_PER_WORKER < ATTEMPTS_PER_WORKER_MAX as usize);
    }
}
