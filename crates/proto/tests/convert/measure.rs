//! What the encodings cost. Run with
//! `cargo test -p muster-proto --release --test convert -- --ignored --nocapture measure`.

use std::hint::black_box;
use std::time::{Duration, Instant};

use muster_core::command::{
    AttemptRef, Command, Entry, Finish, FinishAttempts, Outcome, PlaceAttempts, Placement,
};
use muster_core::ids::{Fence, LogIndex, RunId, TaskIndex, WorkerId};
use muster_core::spec::{ExecutorSpec, TaskSpec, WorkflowSpec};
use muster_core::state::cells::{Cells, IndexRange};
use muster_core::state::run::{Run, RunEnded, RunStatus};
use muster_core::state::task::{LastAttempt, TaskState, Tries};
use muster_core::state::workflow::WorkflowVersion;
use muster_core::time::{Millis, Timestamp};
use muster_proto::convert::{decode_ended_run, decode_entry, encode_ended_run, encode_entry};
use prost::Message;

use crate::states::name;

const ITEMS: u64 = 1000;

/// The alternative to columns: a message an item.
#[derive(Clone, PartialEq, Message)]
struct Row {
    #[prost(uint64, tag = "1")]
    run: u64,
    #[prost(uint32, tag = "2")]
    task: u32,
    #[prost(uint32, tag = "3")]
    first: u32,
    #[prost(uint32, tag = "4")]
    extent: u32,
    #[prost(uint64, tag = "5")]
    fence: u64,
    #[prost(uint64, tag = "6")]
    duration: u64,
    #[prost(uint32, tag = "7")]
    outcome: u32,
    #[prost(uint64, tag = "8")]
    worker: u64,
    #[prost(string, optional, tag = "9")]
    message: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
struct Rows {
    #[prost(message, repeated, tag = "1")]
    rows: Vec<Row>,
}

/// The shortest of many rounds.
fn best(mut work: impl FnMut()) -> Duration {
    let round = |work: &mut dyn FnMut()| {
        let start = Instant::now();
        work();
        start.elapsed()
    };
    (0..300).map(|_| round(&mut work)).min().expect("there is a round")
}

fn print(what: &str, took: Duration, items: u64, bytes: usize) {
    let nanos = took.as_nanos() as f64 / items as f64;
    println!("{what:<34} {nanos:>7.1} ns/item {:>6.1} bytes/item", bytes as f64 / items as f64);
}

/// Single tasks of many runs, as a busy cluster has them.
fn attempt(item: u64) -> AttemptRef {
    let run = RunId(2_000_000 + item * 7 % 500);
    let fence = Fence(9_000_000 + item / 50);
    AttemptRef {
        run,
        task: TaskIndex((item * 13 % 10_000) as u32),
        range: IndexRange::single(0),
        fence,
    }
}

fn finishes() -> FinishAttempts {
    let finish = |item| Finish {
        attempt: attempt(item),
        outcome: Outcome::Succeeded { outputs: None },
        duration: Millis(item * 3 % 900),
    };
    FinishAttempts { finishes: (0..ITEMS).map(finish).collect() }
}

fn placements() -> PlaceAttempts {
    let placement = |item| {
        let AttemptRef { run, task, range, .. } = attempt(item);
        Placement { run, task, range, worker: WorkerId(100 + item % 64) }
    };
    PlaceAttempts { placements: (0..ITEMS).map(placement).collect() }
}

fn row(attempt: &AttemptRef) -> Row {
    Row {
        run: attempt.run.0,
        task: attempt.task.0,
        first: attempt.range.first,
        extent: attempt.range.last - attempt.range.first,
        fence: attempt.fence.0,
        ..Row::default()
    }
}

fn attempt_of(row: &Row) -> AttemptRef {
    let range = IndexRange { first: row.first, last: row.first + row.extent };
    AttemptRef { run: RunId(row.run), task: TaskIndex(row.task), range, fence: Fence(row.fence) }
}

fn measure_columns(what: &str, command: Command) {
    let entry = Entry { at: Timestamp(1_760_000_000_000), commands: vec![command] };
    let bytes = encode_entry(&entry);
    let took = best(|| drop(black_box(encode_entry(&entry))));
    print(&format!("{what}, columns, encode"), took, ITEMS, bytes.len());
    let took = best(|| drop(black_box(decode_entry(&bytes))));
    print(&format!("{what}, columns, decode"), took, ITEMS, bytes.len());
}

#[test]
#[ignore = "a measurement"]
fn measure_attempts() {
    measure_columns("finish", Command::FinishAttempts(finishes()));
    let to_row = |it: &Finish| Row { duration: it.duration.0, outcome: 1, ..row(&it.attempt) };
    let source = finishes().finishes;
    let encode = || Rows { rows: source.iter().map(to_row).collect() }.encode_to_vec();
    let bytes = encode();
    print("finish, rows, encode", best(|| drop(black_box(encode()))), ITEMS, bytes.len());
    let from_row = |row: &Row| Finish {
        attempt: attempt_of(row),
        outcome: match row.outcome {
            1 => Outcome::Succeeded { outputs: None },
            2 => Outcome::Failed { exit_code: None, message: row.message.clone().map(Into::into) },
            _ => Outcome::Lost,
        },
        duration: Millis(row.duration),
    };
    let decode = || -> Vec<Finish> {
        Rows::decode(&bytes[..]).expect("it was just encoded").rows.iter().map(from_row).collect()
    };
    print("finish, rows, decode", best(|| drop(black_box(decode()))), ITEMS, bytes.len());

    measure_columns("place", Command::PlaceAttempts(placements()));
    let rows = placements().placements.into_iter().map(|it| Row {
        worker: it.worker.0,
        fence: 0,
        ..row(&AttemptRef { run: it.run, task: it.task, range: it.range, fence: Fence(0) })
    });
    let bytes = Rows { rows: rows.collect() }.encode_to_vec();
    let from_row = |row: &Row| {
        let AttemptRef { run, task, range, .. } = attempt_of(row);
        Placement { run, task, range, worker: WorkerId(row.worker) }
    };
    let decode = || -> Vec<Placement> {
        Rows::decode(&bytes[..]).expect("it was just encoded").rows.iter().map(from_row).collect()
    };
    print("place, rows, decode", best(|| drop(black_box(decode()))), ITEMS, bytes.len());
}

/// A run of plain tasks, without its spec, once all blocked and once all succeeded.
#[test]
#[ignore = "a measurement"]
fn measure_tasks() {
    let task = |number| TaskSpec::new(name(&format!("t{number}")), ExecutorSpec::Noop);
    let spec = WorkflowSpec::new(name("etl"), (0..ITEMS).map(task).collect());
    let at = Timestamp(1_760_000_000_000);
    let version = WorkflowVersion::compile(1, name("default"), 1, at, spec);
    let version = std::sync::Arc::new(version.expect("the spec is well-formed"));
    let mut run = Run::new(RunId(1), 1, version, Default::default(), at);
    run.ended = Some(RunEnded { at, index: LogIndex(9), status: RunStatus::Succeeded });
    let without_tasks = {
        let tasks = std::mem::take(&mut run.tasks);
        let len = encode_ended_run(&run).len();
        run.tasks = tasks;
        len
    };
    let measure = |what: &str, run: &Run| {
        let bytes = encode_ended_run(run);
        let len = bytes.len() - without_tasks;
        print(
            &format!("{what}, encode with spec"),
            best(|| drop(encode_ended_run(run))),
            ITEMS,
            len,
        );
        print(
            &format!("{what}, decode with spec"),
            best(|| drop(decode_ended_run(&bytes))),
            ITEMS,
            len,
        );
    };
    measure("blocked task", &run);
    for (position, task) in run.tasks.iter_mut().enumerate() {
        let started_at = at + Millis(60_000 + position as u64 * 10);
        let last = LastAttempt {
            worker: WorkerId(1000),
            fence: Fence(9_000_000),
            started_at,
            ended_at: started_at + Millis(5000),
        };
        let tries = Tries { attempts: 1, ..Tries::default() };
        task.cells = Cells::One(TaskState::Succeeded { tries, last: Some(last) });
    }
    measure("succeeded task", &run);
    println!("the spec: {:.1} bytes/task", without_tasks as f64 / ITEMS as f64);
}
