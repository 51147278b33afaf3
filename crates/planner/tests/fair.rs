//! What a namespace with few tasks has to wait when another has thousands.

use std::sync::Arc;

use muster_core::command::{
    ApplyNamespace, AttemptRef, Command, Entry, Finish, FinishAttempts, Outcome, RegisterWorker,
    RunSource, SubmitRun,
};
use muster_core::ids::{Fence, LogIndex, Name, RunId};
use muster_core::spec::namespace::{GroupSpec, NamespaceSpec, Quota};
use muster_core::spec::{ArraySpec, ExecutorSpec, TaskSpec, WorkflowSpec};
use muster_core::state::State;
use muster_core::time::{Millis, Timestamp};
use muster_planner::{LiveView, Policy, WorkerView, plan};

const WORKERS: u64 = 4;
/// An attempt takes so long, or a little more or less.
const LASTS: u64 = 10;

fn name(text: &str) -> Name {
    Name::parse(text).expect("the names here are well-formed")
}

/// A cluster of workers with one core each, and what runs on it with the time at which it ends.
#[derive(Default)]
struct Cluster {
    state: State,
    index: u64,
    now: u64,
    live: Vec<(u64, AttemptRef)>,
}

impl Cluster {
    fn new() -> Self {
        let mut cluster = Cluster::default();
        for worker in 0..WORKERS {
            cluster.apply(Command::RegisterWorker(RegisterWorker {
                name: format!("w{worker}").into(),
                incarnation: 1,
                labels: Default::default(),
                pool: None,
                lease: Millis(5_000),
                capacity: Default::default(),
            }));
        }
        cluster
    }

    fn apply(&mut self, command: Command) {
        self.index += 1;
        let entry = Entry { at: Timestamp(self.now), commands: vec![command] };
        let replies = self.state.apply(LogIndex(self.index), &entry).replies;
        assert!(replies.iter().all(Result::is_ok), "{replies:?}");
    }

    /// Submits a run of so many equal tasks.
    fn submit(&mut self, namespace: &str, count: u32) -> RunId {
        self.submit_in(namespace, count, &[])
    }

    fn submit_in(&mut self, namespace: &str, tasks: u32, groups: &[&str]) -> RunId {
        let mut task = TaskSpec::new(name("t"), ExecutorSpec::Noop);
        task.request.groups = groups.iter().copied().map(name).collect();
        task.array = Some(ArraySpec { first: 0, last: tasks - 1 });
        let run = RunId(self.state.meta().next_run);
        self.apply(Command::SubmitRun(SubmitRun {
            request: None,
            namespace: name(namespace),
            source: RunSource::OneOff(Box::new(WorkflowSpec::new(name("w"), vec![task]))),
            params: Arc::default(),
            priority: None,
            backfill: None,
        }));
        run
    }

    fn namespace(&mut self, namespace: &str, weight: u32, tasks: Option<u32>) {
        let quota = Quota { tasks, ..Quota::default() };
        let spec = NamespaceSpec { weight, quota, ..NamespaceSpec::new(name(namespace)) };
        self.apply(Command::ApplyNamespace(ApplyNamespace { request: None, spec }));
    }

    fn group(&mut self, namespace: &str, group: &str, limit: u32) {
        let groups = [(name(group), GroupSpec { limit })].into();
        let spec = NamespaceSpec { groups, ..NamespaceSpec::new(name(namespace)) };
        self.apply(Command::ApplyNamespace(ApplyNamespace { request: None, spec }));
    }

    /// How many attempts of a namespace are live.
    fn live_of(&self, namespace: &str) -> u32 {
        self.state.used_by(&name(namespace)).map_or(0, |usage| usage.attempts)
    }

    /// One step of time: what is over ends, and what is free is given away.
    fn step(&mut self) {
        self.now += 1;
        let all = std::mem::take(&mut self.live);
        let (over, live) = all.into_iter().partition::<Vec<_>, _>(|(at, _)| *at <= self.now);
        self.live = live;
        for (_, attempt) in over {
            let (outcome, duration) = (Outcome::Succeeded { outputs: None }, Millis(LASTS));
            let finishes = vec![Finish { attempt, outcome, duration }];
            self.apply(Command::FinishAttempts(FinishAttempts { finishes }));
        }
        let connected = WorkerView { is_connected: true, ..WorkerView::default() };
        let workers = self.state.workers().iter().map(|worker| (worker.id, connected)).collect();
        let plan = plan(&self.state, &LiveView { workers }, self.state.now(), &Policy::default());
        let Some(command) = plan.command() else { return };
        self.apply(command);
        let fence = Fence(self.index);
        for placed in plan.placements {
            // Neither all at once nor in step.
            let lasts = LASTS - 2 + (placed.range.first as u64 * 7 + placed.run.0 * 3) % 5;
            let attempt =
                AttemptRef { run: placed.run, task: placed.task, range: placed.range, fence };
            self.live.push((self.now + lasts, attempt));
        }
    }

    /// How long it takes until a run has ended.
    fn end_of(&mut self, run: RunId) -> u64 {
        let begin = self.now;
        while self.state.run(run).is_some() {
            self.step();
        }
        self.now - begin
    }
}

#[test]
fn ten_tasks_beside_ten_thousand_take_at_most_twice_their_time_alone() {
    let mut cluster = Cluster::new();
    let small = cluster.submit("small", 10);
    let alone = cluster.end_of(small);

    let mut cluster = Cluster::new();
    let large = cluster.submit("large", 10_000);
    (0..50).for_each(|_| cluster.step());
    let small = cluster.submit("small", 10);
    let beside = cluster.end_of(small);
    assert!(beside <= 2 * alone, "{beside} beside the others, {alone} alone");
    assert!(cluster.state.run(large).is_some(), "the large one was there all the time");

    // In one namespace they come one after the other.
    let mut cluster = Cluster::new();
    cluster.submit("large", 1_000);
    (0..50).for_each(|_| cluster.step());
    let small = cluster.submit("large", 10);
    let behind = cluster.end_of(small);
    assert!(behind > 50 * alone, "{behind} behind the others, {alone} alone");
}

#[test]
fn what_runs_of_a_namespace_follows_its_weight() {
    let mut cluster = Cluster::new();
    cluster.namespace("heavy", 3, None);
    for namespace in ["light", "heavy"] {
        cluster.submit(namespace, 10_000);
    }
    let (mut heavy, mut light) = (0, 0);
    for step in 0..500 {
        cluster.step();
        // What came first has had all for a while.
        if step >= 20 {
            heavy += cluster.live_of("heavy");
            light += cluster.live_of("light");
        }
    }
    let times = f64::from(heavy) / f64::from(light);
    assert!((2.5..=3.5).contains(&times), "{heavy} beside {light}: {times} times as much");
}

#[test]
fn a_namespace_at_its_quota_holds_up_nobody() {
    let mut cluster = Cluster::new();
    cluster.namespace("bounded", 100, Some(1));
    cluster.submit("bounded", 10_000);
    let small = cluster.submit("small", 30);
    let mut most = 0;
    let begin = cluster.now;
    while cluster.state.run(small).is_some() {
        cluster.step();
        most = most.max(cluster.live_of("bounded"));
    }
    assert_eq!(most, 1, "the quota holds, whatever the weight");
    // Three of the four workers are left to it: ten rounds of three tasks.
    let took = cluster.now - begin;
    assert!(took <= 10 * (LASTS + 2), "{took} beside a namespace that may have one task");
}

#[test]
fn a_full_group_holds_up_nobody_of_its_namespace() {
    let mut cluster = Cluster::new();
    cluster.group("team", "db", 1);
    cluster.submit_in("team", 10_000, &["db"]);
    let free = cluster.submit("team", 30);
    let mut most = 0;
    let begin = cluster.now;
    while cluster.state.run(free).is_some() {
        cluster.step();
        let live = cluster.state.used_by(&name("team")).expect("it has runs");
        most = most.max(live.groups.get("db").copied().unwrap_or(0));
    }
    assert_eq!(most, 1, "the limit holds");
    // Three of the four workers are left to it: ten rounds of three tasks.
    let took = cluster.now - begin;
    assert!(took <= 10 * (LASTS + 2), "{took} behind a group of which one may be live");
}
