//! Commands that aim at what the state holds, so that few bytes go far into apply.

use std::collections::BTreeMap;
use std::sync::Arc;

use muster_core::command::{
    ApplyWorkflow, AttemptRef, CancelRun, Command, DrainWorker, Entry, Finish, FinishAttempts,
    LoseWorker, Outcome, PlaceAttempts, Placement, RegisterWorker, ReleaseTask, RequestKey,
    RunSource, Start, StartAttempts, SubmitRun,
};
use muster_core::ids::{Fence, LogIndex, RunId, TaskIndex, Text, WorkerId};
use muster_core::spec::{
    ArraySpec, Condition, DependencyRule, ExecutorSpec, OnLost, Resources, TaskSpec, WorkflowSpec,
};
use muster_core::state::State;
use muster_core::state::cells::IndexRange;
use muster_core::state::task::TaskStatus;
use muster_core::time::Millis;

use crate::bytes::Cursor;
use crate::replicas::Replicas;
use crate::scene::{name, workflows};

/// Most entries of one input.
const ENTRIES_MAX: usize = 64;
/// Most commands of one entry.
const COMMANDS_MAX: usize = 4;
/// Units of the time that passes before an entry, from nothing to more than a day.
const UNITS_MS: [u64; 5] = [0, 1, 100, 10_000, 3_600_000];

/// Each entry begins with a byte that says how many commands it has, and one for the time.
pub(crate) fn check(data: &[u8]) {
    let mut replicas = Replicas::new();
    let mut cursor = Cursor::new(data);
    for _ in 0..ENTRIES_MAX {
        if cursor.is_empty() {
            break;
        }
        let entry = entry(&mut cursor, replicas.state());
        replicas.apply(&entry);
        if cursor.below(8) == 7 {
            replicas.restore_follower();
        }
    }
}

fn entry(cursor: &mut Cursor<'_>, state: &State) -> Entry {
    let count = cursor.below(COMMANDS_MAX) + 1;
    let unit = UNITS_MS[cursor.below(UNITS_MS.len())];
    let after = Millis(unit * u64::from(cursor.byte()));
    let commands = (0..count).map(|_| command(cursor, state)).collect();
    Entry { at: state.now() + after, commands }
}

fn command(cursor: &mut Cursor<'_>, state: &State) -> Command {
    match cursor.below(16) {
        0 => Command::Tick,
        1 => Command::ApplyWorkflow(ApplyWorkflow {
            request: request(cursor),
            namespace: name("n"),
            spec: Box::new(spec(cursor)),
        }),
        2 | 3 => submit(cursor),
        4 => register(cursor),
        5..=7 => place(cursor, state),
        8 | 9 => start(cursor, state),
        10..=12 => finish(cursor, state),
        13 => Command::CancelRun(CancelRun { request: request(cursor), run: run(cursor, state) }),
        14 => release(cursor, state),
        _ => worker_command(cursor, state),
    }
}

/// One of the list, or something that is not there.
fn pick<T: Clone>(cursor: &mut Cursor<'_>, list: &[T], absent: T) -> T {
    list.get(cursor.below(list.len() + 1)).cloned().unwrap_or(absent)
}

fn run(cursor: &mut Cursor<'_>, state: &State) -> RunId {
    let runs: Vec<RunId> = state.runs().iter().map(|run| run.id).collect();
    pick(cursor, &runs, RunId(state.meta().next_run))
}

fn worker(cursor: &mut Cursor<'_>, state: &State) -> WorkerId {
    let workers: Vec<WorkerId> = state.workers().iter().map(|worker| worker.id).collect();
    pick(cursor, &workers, WorkerId(state.meta().next_worker))
}

fn request(cursor: &mut Cursor<'_>) -> Option<RequestKey> {
    let number = cursor.byte();
    let id = format!("r{}", number % 8).into();
    (number >= 64).then_some(RequestKey { id, digest: u64::from(number >> 7) })
}

fn submit(cursor: &mut Cursor<'_>) -> Command {
    let source = match cursor.below(4) {
        0 => RunSource::Apply(Box::new(spec(cursor))),
        1 => RunSource::OneOff(Box::new(spec(cursor))),
        draw => RunSource::Workflow {
            workflow: name(["a", "b"][draw % 2]),
            version: [None, Some(1), Some(2)][cursor.below(3)],
        },
    };
    let param = (name("p"), Text::from("given"));
    Command::SubmitRun(SubmitRun {
        request: request(cursor),
        namespace: name("n"),
        source,
        params: Arc::new(if cursor.below(4) == 0 {
            BTreeMap::from([param])
        } else {
            BTreeMap::new()
        }),
        priority: [None, Some(7), Some(i32::MIN)][cursor.below(3)],
        backfill: None,
    })
}

/// A workflow of up to five tasks, with every rule, condition and follow-up of a loss. Some make no sense.
fn spec(cursor: &mut Cursor<'_>) -> WorkflowSpec {
    let mut workflow = workflows().swap_remove(cursor.below(2));
    workflow.timeout = [None, Some(Millis(0)), Some(Millis(5000))][cursor.below(3)];
    workflow.priority = i32::from(cursor.byte());
    let count = cursor.below(6);
    workflow.tasks = (0..count).map(|position| task(cursor, position)).collect();
    workflow
}

fn task(cursor: &mut Cursor<'_>, position: usize) -> TaskSpec {
    let mut task = TaskSpec::new(name(&format!("t{position}")), ExecutorSpec::Noop);
    let needs = cursor.byte();
    let needs = (0..position).filter(|upstream| needs >> upstream & 1 == 1);
    task.needs = needs.map(|upstream| name(&format!("t{upstream}"))).collect();
    if cursor.below(3) == 0 {
        let first = u32::from(cursor.byte());
        task.array = Some(ArraySpec { first, last: first + u32::from(cursor.byte()) });
    }
    use DependencyRule::{AllDone, AllSucceeded, AnySucceeded};
    task.rule = [AllSucceeded, AllDone, AnySucceeded][cursor.below(3)];
    task.condition =
        [Condition::Success, Condition::Failure, Condition::Always][cursor.below(3)].clone();
    if task.needs.is_empty() {
        (task.rule, task.condition) = (AllSucceeded, Condition::Success);
    }
    if task.condition != Condition::Success {
        task.rule = AllSucceeded;
    }
    task.on_lost = [OnLost::Rerun, OnLost::Fail, OnLost::Hold][cursor.below(3)];
    task.max_lost = cursor.below(4) as u32;
    task.retry.limit = cursor.below(4) as u32;
    task.retry.backoff.initial = Millis(u64::from(cursor.byte()) * 100);
    let spans = [None, Some(Millis(0)), Some(Millis(1)), Some(Millis(2000))];
    task.timeout = spans[cursor.below(4)];
    task.queue_timeout = spans[cursor.below(4)];
    task.grace_period = Millis(cursor.below(3) as u64 * 1000);
    if cursor.below(4) == 0 {
        task.request.resources.custom = BTreeMap::from([("gpu".into(), 1)]);
    }
    task
}

fn register(cursor: &mut Cursor<'_>) -> Command {
    let capacity = [0, 1000, 4000, u64::MAX][cursor.below(4)];
    Command::RegisterWorker(RegisterWorker {
        name: format!("w{}", cursor.below(6)).into(),
        incarnation: cursor.below(3) as u64,
        labels: BTreeMap::new(),
        pool: None,
        lease: Millis(cursor.below(20) as u64 * 1_000),
        capacity: Resources {
            cpu_millis: capacity,
            memory_bytes: capacity,
            custom: BTreeMap::from([("gpu".into(), capacity / 1000)]),
        },
    })
}

/// Ready ranges, whole or in part, and some that are not ready.
fn place(cursor: &mut Cursor<'_>, state: &State) -> Command {
    let mut ranges = Vec::new();
    for run in state.runs().iter() {
        for (position, task) in run.tasks.iter().enumerate() {
            let cells = task.cells.iter().filter(|(_, cell)| cell.status() == TaskStatus::Ready);
            ranges.extend(cells.map(|(range, _)| (run.id, TaskIndex(position as u32), range)));
        }
    }
    let placements = (0..=cursor.below(3)).map(|_| {
        let nothing = (RunId(1), TaskIndex(0), IndexRange::single(0));
        let (run, task, range) = pick(cursor, &ranges, nothing);
        let range = part(cursor, range);
        Placement { run, task, range, worker: worker(cursor, state) }
    });
    Command::PlaceAttempts(PlaceAttempts { placements: placements.collect() })
}

/// The whole range, a part of it, or a bit more.
fn part(cursor: &mut Cursor<'_>, range: IndexRange) -> IndexRange {
    let (skip, take) = (cursor.byte(), cursor.byte());
    if skip == 0 {
        return range;
    }
    let first = range.first.wrapping_add(u32::from(skip) % range.count().saturating_add(1));
    IndexRange { first, last: first.wrapping_add(u32::from(take % 8)) }
}

/// A live attempt, one under an old fence, or one that never was.
fn attempt(cursor: &mut Cursor<'_>, state: &State) -> AttemptRef {
    let workers = state.workers().iter();
    let live: Vec<_> = workers.flat_map(|worker| state.attempts_of(worker.id)).collect();
    let range = IndexRange::single(0);
    let absent = AttemptRef { run: RunId(1), task: TaskIndex(0), range, fence: Fence(1) };
    let mut attempt = pick(cursor, &live, absent);
    attempt.range = part(cursor, attempt.range);
    if cursor.below(8) == 7 {
        attempt.fence.0 -= 1;
    }
    attempt
}

fn start(cursor: &mut Cursor<'_>, state: &State) -> Command {
    let starts = (0..=cursor.below(3)).map(|_| {
        let age = Millis(u64::from(cursor.short()));
        Start { attempt: attempt(cursor, state), age }
    });
    Command::StartAttempts(StartAttempts { starts: starts.collect() })
}

fn finish(cursor: &mut Cursor<'_>, state: &State) -> Command {
    let finishes = (0..=cursor.below(3)).map(|_| {
        let duration = Millis(u64::from(cursor.short()));
        let outcome = match cursor.below(8) {
            0..=2 => Outcome::Succeeded { outputs: None },
            3 => {
                let outputs = BTreeMap::from([("k".into(), Text::from("value"))]);
                Outcome::Succeeded { outputs: Some(Arc::new(outputs)) }
            }
            4 => Outcome::Failed { exit_code: Some(1), message: Some("no".into()) },
            5 => Outcome::TimedOut,
            6 => Outcome::Cancelled,
            _ => Outcome::Lost,
        };
        Finish { attempt: attempt(cursor, state), outcome, duration }
    });
    Command::FinishAttempts(FinishAttempts { finishes: finishes.collect() })
}

fn release(cursor: &mut Cursor<'_>, state: &State) -> Command {
    let (request, rerun) = (request(cursor), cursor.below(2) == 0);
    let mut held = Vec::new();
    for run in state.runs().iter() {
        let tasks = run.tasks.iter().enumerate();
        let tasks = tasks.filter(|(_, task)| task.cells.tally().of(TaskStatus::Held) > 0);
        held.extend(tasks.map(|(position, _)| (run.id, TaskIndex(position as u32))));
    }
    let (run, task) = pick(cursor, &held, (RunId(1), TaskIndex(0)));
    Command::ReleaseTask(ReleaseTask { request, run, task, rerun })
}

fn worker_command(cursor: &mut Cursor<'_>, state: &State) -> Command {
    let draw = cursor.below(6);
    let worker = worker(cursor, state);
    match draw {
        0 | 1 => Command::LoseWorker(LoseWorker { worker }),
        2 | 3 => {
            let (request, is_draining) = (request(cursor), draw == 2);
            Command::DrainWorker(DrainWorker { request, worker, is_draining })
        }
        4 => Command::UpgradeCluster(muster_core::command::UpgradeCluster {
            version: u32::from(cursor.byte()),
        }),
        _ => Command::PruneHistory(muster_core::command::PruneHistory {
            ended_before: LogIndex(u64::from(cursor.byte())),
        }),
    }
}
