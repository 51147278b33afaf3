//! Measures passes. Ignored by default: `cargo test --release -p muster-planner --test timing -- --ignored
//! --nocapture`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use muster_core::command::{ApplyNamespace, Command, Entry, RunSource, SubmitRun};
use muster_core::ids::{LogIndex, Name};
use muster_core::spec::namespace::{GroupSpec, NamespaceSpec, Quota};
use muster_core::spec::{ExecutorSpec, TaskSpec, WorkflowSpec};
use muster_core::state::State;
use muster_core::time::Timestamp;
use muster_planner::bench::{synthetic, synthetic_arrays};
use muster_planner::{LiveView, Plan, Policy, Strategy, plan};

fn policy(strategy: Strategy) -> Policy {
    Policy { strategy, placements_max: 10_000, ..Policy::default() }
}

/// The median of several passes over one state.
fn measure(what: &str, state: &State, view: &LiveView, policy: &Policy) -> (Duration, Plan) {
    let mut times = Vec::new();
    let mut made = None;
    for _ in 0..21 {
        let start = Instant::now();
        made = Some(plan(state, view, Timestamp(0), policy));
        times.push(start.elapsed());
    }
    times.sort();
    let made = made.expect("at least one pass was made");
    let (best, median, worst) = (times[0], times[times.len() / 2], times[times.len() - 1]);
    let placed = made.placements.len();
    println!("{what}: median {median:?}, {best:?} to {worst:?}, {placed} placements");
    (median, made)
}

/// Applies plans until nothing finds a worker.
fn fill(state: &mut State, view: &LiveView) {
    let mut index = 1 << 40;
    while let Some(command) = plan(state, view, Timestamp(0), &policy(Strategy::BinPack)).command()
    {
        index += 1;
        state.apply(LogIndex(index), &Entry { at: Timestamp(0), commands: vec![command] });
    }
}

#[test]
#[ignore = "a measurement"]
fn ten_thousand_ready_tasks_and_a_thousand_workers() {
    for strategy in [Strategy::Spread, Strategy::BinPack] {
        let (state, view) = synthetic(10_000, 1000);
        let what = format!("10,000 ready x 1,000 workers, {strategy:?}");
        let (median, made) = measure(&what, &state, &view, &policy(strategy));
        assert_eq!(made.placements.len(), 10_000);
        assert!(median <= Duration::from_millis(5), "{median:?}");
    }
}

#[test]
#[ignore = "a measurement"]
fn growth() {
    for (ready, workers) in
        [(1000, 100), (2000, 200), (5000, 500), (10_000, 1000), (10_000, 10_000)]
    {
        let (state, view) = synthetic(ready, workers);
        measure(&format!("{ready} x {workers}"), &state, &view, &policy(Strategy::Spread));
    }
    let (state, view) = synthetic_arrays(1_000_000, 10_000, 1000);
    measure("1,000,000 indices x 1,000", &state, &view, &policy(Strategy::Spread));
}

#[test]
#[ignore = "a measurement"]
fn a_million_ready_tasks_and_no_quota() {
    for workers in [10, 1000] {
        let (mut state, view) = synthetic(1_000_000, workers);
        let name = Name::parse("default").expect("a name");
        let quota = Quota { tasks: Some(1), ..Quota::default() };
        let spec = NamespaceSpec { quota, ..NamespaceSpec::new(name) };
        let command = Command::ApplyNamespace(ApplyNamespace { request: None, spec });
        let entry = Entry { at: Timestamp(0), commands: vec![command] };
        state.apply(LogIndex(1 << 39), &entry);
        fill(&mut state, &view);
        let what = format!("{} ready tasks, a full quota", state.queue().len());
        let (median, made) = measure(&what, &state, &view, &policy(Strategy::Spread));
        assert!(made.placements.is_empty());
        assert!(median <= Duration::from_millis(1), "{median:?}");
    }
}

/// A thousand runs of a thousand tasks, all of one concurrency group that lets one be live.
fn submit_in_group(state: &mut State) {
    let name = |text: &str| Name::parse(text).expect("a name");
    let groups = [(name("db"), GroupSpec { limit: 1 })].into();
    let spec = NamespaceSpec { groups, ..NamespaceSpec::new(name("default")) };
    let mut commands = vec![Command::ApplyNamespace(ApplyNamespace { request: None, spec })];
    for run in 0..1000 {
        let task = |number| {
            let mut task = TaskSpec::new(name(&format!("t{number}")), ExecutorSpec::Noop);
            task.request.groups = [name("db")].into();
            task
        };
        let spec = WorkflowSpec::new(name(&format!("w{run}")), (0..1000).map(task).collect());
        commands.push(Command::SubmitRun(SubmitRun {
            request: None,
            namespace: name("default"),
            source: RunSource::OneOff(Box::new(spec)),
            params: Arc::default(),
            priority: None,
            backfill: None,
        }));
    }
    let applied = state.apply(LogIndex(1 << 39), &Entry { at: Timestamp(0), commands });
    assert!(applied.replies.iter().all(Result::is_ok));
}

#[test]
#[ignore = "a measurement"]
fn a_million_ready_tasks_of_a_full_group() {
    for workers in [10, 1000] {
        let (mut state, view) = synthetic(0, workers);
        submit_in_group(&mut state);
        fill(&mut state, &view);
        let what = format!("{} ready tasks, a full group", state.queue().len());
        let (median, made) = measure(&what, &state, &view, &policy(Strategy::Spread));
        assert!(made.placements.is_empty());
        assert!(median <= Duration::from_millis(1), "{median:?}");
    }
}

#[test]
#[ignore = "a measurement"]
fn a_million_ready_tasks_and_no_room() {
    for workers in [10, 1000] {
        let (mut state, view) = synthetic(1_000_000, workers);
        fill(&mut state, &view);
        let what = format!("{} ready tasks, {workers} full workers", state.queue().len());
        let (median, made) = measure(&what, &state, &view, &policy(Strategy::Spread));
        assert!(made.placements.is_empty());
        assert!(median <= Duration::from_millis(1), "{median:?}");

        let (mut state, view) = synthetic_arrays(1_000_000, 10_000, workers);
        fill(&mut state, &view);
        let what = format!("1,000,000 indices in arrays of 10,000, {workers} full workers");
        let (median, made) = measure(&what, &state, &view, &policy(Strategy::Spread));
        assert!(made.placements.is_empty());
        assert!(median <= Duration::from_millis(1), "{median:?}");
    }
}
