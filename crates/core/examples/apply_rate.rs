//! What apply costs: time per placed and finished task, and bytes per queued task, on one thread without a log.
//!
//! `cargo run --release -p muster-core --example apply_rate`

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a measurement reads the clock"
)]
#![allow(unsafe_code, reason = "an allocator that counts has to be one")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use muster_core::apply::Applied;
use muster_core::command::{
    AttemptRef, Command, Entry, Finish, FinishAttempts, Outcome, PlaceAttempts, Placement,
    RegisterWorker, RunSource, SubmitRun,
};
use muster_core::ids::{Fence, LogIndex, Name, WorkerId};
use muster_core::snapshot::Snapshot;
use muster_core::spec::{ArraySpec, ExecutorSpec, Resources, TaskSpec, WorkflowSpec};
use muster_core::state::State;
use muster_core::state::cells::IndexRange;
use muster_core::state::task::{Task, TaskState};
use muster_core::time::{Millis, Timestamp};

struct Counting;

static BYTES: AtomicUsize = AtomicUsize::new(0);
static CALLS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator with the arguments as they came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        BYTES.fetch_add(layout.size(), Ordering::Relaxed);
        CALLS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the promises of `GlobalAlloc::alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the promises of `GlobalAlloc::dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const WORKERS: u64 = 10;
const ITEMS: usize = 500;

/// A state with its log, which measures what apply takes.
struct Bench {
    state: State,
    index: u64,
    spent: Duration,
    calls: usize,
    /// Kept alive as a snapshot in progress would be; renewed every so many entries.
    snapshot: Option<(u64, Snapshot)>,
}

impl Bench {
    fn new(snapshot_every: Option<u64>) -> Self {
        let state = State::default();
        let snapshot = snapshot_every.map(|every| (every, state.snapshot()));
        let mut bench = Bench { state, index: 0, spent: Duration::ZERO, calls: 0, snapshot };
        for number in 1..=WORKERS {
            bench.apply(Command::RegisterWorker(RegisterWorker {
                name: format!("w{number}").into(),
                incarnation: number,
                labels: Default::default(),
                pool: None,
                lease: Millis(5_000),
                capacity: Resources { cpu_millis: 1 << 40, ..Resources::ZERO },
            }));
        }
        bench
    }

    fn apply(&mut self, command: Command) -> Applied {
        self.index += 1;
        if let Some((every, snapshot)) = &mut self.snapshot
            && self.index.is_multiple_of(*every)
        {
            *snapshot = self.state.snapshot();
        }
        let entry = Entry { at: Timestamp(self.index), commands: vec![command] };
        let (calls, start) = (CALLS.load(Ordering::Relaxed), Instant::now());
        let applied = self.state.apply(LogIndex(self.index), &entry);
        self.spent += start.elapsed();
        self.calls += CALLS.load(Ordering::Relaxed) - calls;
        assert!(applied.replies.iter().all(Result::is_ok), "{:?}", applied.replies);
        applied
    }

    fn submit(&mut self, spec: WorkflowSpec) {
        self.apply(Command::SubmitRun(SubmitRun {
            request: None,
            namespace: name("default"),
            source: RunSource::OneOff(Box::new(spec)),
            params: Arc::default(),
            priority: None,
            backfill: None,
        }));
    }

    /// Places everything that is ready, in commands of [`ITEMS`], and returns the attempts.
    fn place_all(&mut self, range_len: u32) -> Vec<AttemptRef> {
        let mut placements = Vec::new();
        for (_, group) in self.state.queue().groups() {
            for key in group.keys() {
                let run = self.state.run(key.run).expect("a queued run is live");
                let spec = run.spec(key.task).expect("a queued task has a spec").indices();
                let mut first = spec.first;
                while first <= spec.last {
                    let last = (first + range_len - 1).min(spec.last);
                    let worker = WorkerId(placements.len() as u64 % WORKERS + 1);
                    let range = IndexRange { first, last };
                    placements.push(Placement { run: key.run, task: key.task, range, worker });
                    first = last + 1;
                }
            }
        }
        let mut attempts = Vec::new();
        for placements in placements.chunks(ITEMS) {
            let placements = placements.to_vec();
            let fence = Fence(self.index + 1);
            attempts.extend(placements.iter().map(|it| AttemptRef {
                run: it.run,
                task: it.task,
                range: it.range,
                fence,
            }));
            self.apply(Command::PlaceAttempts(PlaceAttempts { placements }));
        }
        attempts
    }

    fn finish_all(&mut self, attempts: &[AttemptRef]) {
        for attempts in attempts.chunks(ITEMS) {
            let finish = |attempt: &AttemptRef| Finish {
                attempt: *attempt,
                outcome: Outcome::Succeeded { outputs: None },
                duration: Millis(1),
            };
            let finishes = attempts.iter().map(finish).collect();
            self.apply(Command::FinishAttempts(FinishAttempts { finishes }));
        }
    }

    fn run_to_end(&mut self, range_len: u32) {
        while !self.state.queue().is_empty() {
            let attempts = self.place_all(range_len);
            self.finish_all(&attempts);
        }
        assert!(self.state.runs().is_empty(), "every run ended");
    }
}

fn name(text: &str) -> Name {
    Name::parse(text).expect("the names here are well-formed")
}

fn workflow(workflow: &str, tasks: Vec<TaskSpec>) -> WorkflowSpec {
    WorkflowSpec::new(name(workflow), tasks)
}

/// `count` tasks in layers of `width`; each needs two of the layer before. One layer if `width` is `count`.
fn layered(count: usize, width: usize) -> Vec<TaskSpec> {
    let task = |position: usize| {
        let mut task = TaskSpec::new(name(&format!("t{position}")), ExecutorSpec::Noop);
        if position >= width {
            let above = (position / width - 1) * width;
            let needs = [above + position % width, above + (position + 1) % width];
            task.needs = needs.map(|it| name(&format!("t{it}"))).to_vec();
            task.needs.dedup();
        }
        task
    };
    (0..count).map(task).collect()
}

fn report(what: &str, tasks: u64, bench: &Bench, submit: Duration) {
    let each = bench.spent.as_nanos() as u64 / tasks;
    println!(
        "{what:<52} submit {:>8.2} ms, place+finish {each:>6} ns and {:.1} allocations a task",
        submit.as_secs_f64() * 1000.0,
        bench.calls as f64 / tasks as f64,
    );
}

/// Submits, then places and finishes everything; the best of a few rounds, since other programs disturb.
fn rate(what: &str, specs: Vec<WorkflowSpec>, tasks: u64, range_len: u32, snapshots: Option<u64>) {
    const ROUNDS: usize = 5;
    let mut best: Option<(Bench, Duration)> = None;
    for _ in 0..ROUNDS {
        let mut bench = Bench::new(snapshots);
        bench.spent = Duration::ZERO;
        specs.iter().for_each(|spec| bench.submit(spec.clone()));
        let submit = std::mem::take(&mut bench.spent);
        bench.calls = 0;
        bench.run_to_end(range_len);
        if best.as_ref().is_none_or(|(best, _)| bench.spent < best.spent) {
            best = Some((bench, submit));
        }
    }
    let Some((bench, submit)) = best else { return };
    let what = match snapshots {
        None => what.to_owned(),
        Some(every) => format!("{what}, snapshot every {every} entries"),
    };
    report(&what, tasks, &bench, submit);
}

fn rates(snapshots: Option<u64>) {
    rate(
        "10,000 tasks, one layer",
        vec![workflow("a", layered(10_000, 10_000))],
        10_000,
        1,
        snapshots,
    );
    rate(
        "10,000 tasks, 100 layers",
        vec![workflow("a", layered(10_000, 100))],
        10_000,
        1,
        snapshots,
    );
    let runs = (0..1000).map(|it| workflow(&format!("b{it}"), layered(10, 5))).collect();
    rate("1,000 runs of 10 tasks", runs, 10_000, 1, snapshots);
    let mut array = TaskSpec::new(name("x"), ExecutorSpec::Noop);
    array.array = Some(ArraySpec { first: 0, last: 999_999 });
    rate(
        "1,000,000 indices by 100 (a task = a range)",
        vec![workflow("c", vec![array])],
        10_000,
        100,
        snapshots,
    );
}

fn memory() {
    const RUNS: usize = 100;
    const TASKS: usize = 10_000;
    let per_task = |bytes: usize| bytes as f64 / (RUNS * TASKS) as f64;
    println!(
        "size_of: TaskState {}, Task {}, TaskSpec {}",
        size_of::<TaskState>(),
        size_of::<Task>(),
        size_of::<TaskSpec>()
    );
    for (what, is_shared, width) in [
        ("100 runs of one version, all ready", true, TASKS),
        ("100 runs of one version, 100 layers", true, 100),
        ("100 workflows, all ready", false, TASKS),
        ("100 workflows, 100 layers", false, 100),
    ] {
        let mut bench = Bench::new(None);
        let before = BYTES.load(Ordering::Relaxed);
        for number in 0..RUNS {
            let number = if is_shared { 0 } else { number };
            let spec = workflow(&format!("m{number}"), layered(TASKS, width));
            bench.apply(Command::SubmitRun(SubmitRun {
                request: None,
                namespace: name("default"),
                source: RunSource::Apply(Box::new(spec)),
                params: Arc::default(),
                priority: None,
                backfill: None,
            }));
        }
        let queued = BYTES.load(Ordering::Relaxed) - before;
        let start = Instant::now();
        let snapshot = bench.state.snapshot();
        let took = start.elapsed();
        let attempts = bench.place_all(1);
        let placed = BYTES.load(Ordering::Relaxed) - before;
        drop(snapshot);
        let alone = BYTES.load(Ordering::Relaxed) - before;
        println!(
            "{what:<38} {:>4.0} bytes a task queued; {:>4.0} with all {} ready ones placed, \
             {:>4.0} with a snapshot from before; snapshot {took:?}",
            per_task(queued),
            per_task(alone),
            attempts.len(),
            per_task(placed),
        );
        let start = Instant::now();
        let restored = State::restore(bench.state.snapshot()).expect("a snapshot can be restored");
        println!("{:<38} restored in {:?}, digest in {:?}", "", start.elapsed(), {
            let start = Instant::now();
            assert_eq!(restored.digest(), bench.state.digest());
            start.elapsed() / 2
        });
    }
}

fn main() {
    rates(None);
    rates(Some(10));
    memory();
}
