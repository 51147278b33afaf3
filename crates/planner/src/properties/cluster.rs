//! Random states, made by random commands, and random views of them.

use std::sync::Arc;

use muster_core::command::{
    ApplyNamespace, AttemptRef, Command, DrainWorker, Entry, Finish, FinishAttempts, LoseWorker,
    Outcome, RegisterWorker, RunSource, SubmitRun,
};
use muster_core::ids::{LogIndex, Name, TaskIndex, Text, WorkerId};
use muster_core::reply::{Rejection, Reply};
use muster_core::spec::namespace::{GroupSpec, NamespaceSpec, Quota};
use muster_core::spec::{
    ArraySpec, Backoff, ExecutorSpec, Request, Resources, TaskSpec, WorkflowSpec,
};
use muster_core::state::State;
use muster_core::time::{Millis, Timestamp};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::{LiveView, Load, Policy, Strategy as Placing, Weights, WorkerView, plan};

/// Something that happens to a cluster.
#[derive(Clone, Debug)]
enum Step {
    Register(Request),
    Namespace(NamespaceSpec),
    Submit { namespace: &'static str, priority: i32, tasks: Vec<Shape> },
    Drain(Index),
    Lose(Index),
    Place(Policy),
    Finish(Vec<(Index, Outcome)>),
}

/// A task before it has a name.
#[derive(Clone, Debug)]
struct Shape {
    request: Request,
    array: Option<ArraySpec>,
    max_parallel: Option<u32>,
    needs: Vec<Index>,
    priority: Option<i32>,
}

/// Applies commands in one entry and checks the state.
pub(super) fn apply(state: &mut State, commands: Vec<Command>) -> Vec<Result<Reply, Rejection>> {
    // One entry a millisecond, so that the time tells the log index, and fences ascend.
    let index = LogIndex(state.now().0 + 1);
    let entry = Entry { at: Timestamp(state.now().0 + 1), commands };
    let replies = state.apply(index, &entry).replies;
    assert_eq!(state.check(), Ok(()));
    replies
}

fn text(text: &str) -> Text {
    text.into()
}

fn name(text: &str) -> Name {
    Name::parse(text).expect("the names made here are well-formed")
}

/// What a worker offers, if `scale` is larger, or a task asks.
fn any_request(scale: u64) -> impl Strategy<Value = Request> {
    let pool = prop_oneof![4 => Just(None), 1 => Just(Some(text("special")))];
    let zone = prop_oneof![3 => Just(None), 1 => Just(Some("north")), 1 => Just(Some("south"))];
    (pool, zone, 0..=4 * scale, 0..=4 * scale, 0..=scale).prop_map(
        |(pool, zone, cpu, memory, gpu)| {
            let mut request = Request { pool, ..Request::default() };
            request.selector.extend(zone.map(|zone| (text("zone"), text(zone))));
            let custom = (gpu > 1).then(|| (text("gpu"), gpu / 2)).into_iter().collect();
            request.resources =
                Resources { cpu_millis: cpu * 250, memory_bytes: memory << 20, custom };
            request
        },
    )
}

fn any_shape() -> impl Strategy<Value = Shape> {
    // Few different requests, so that groups have several tasks.
    let request = prop_oneof![
        3 => (0u64..3).prop_map(|cores| Request {
            resources: Resources { cpu_millis: cores * 500, ..Resources::ZERO },
            ..Request::default()
        }),
        2 => any_request(2),
    ];
    let array = prop::option::weighted(
        0.3,
        (0u32..5, 0u32..20).prop_map(|(first, more)| ArraySpec { first, last: first + more }),
    );
    let needs = prop::collection::vec(any::<Index>(), 0..3);
    let priority = prop::option::weighted(0.2, -1..=2);
    let max_parallel = prop::option::weighted(0.4, 1u32..8);
    let groups = prop::collection::btree_set(prop::sample::select(GROUPS.to_vec()), 0..=2);
    let groups = prop::option::weighted(0.4, groups);
    (request, groups, (array, max_parallel), needs, priority).prop_map(
        |(request, groups, (array, max_parallel), needs, priority)| Shape {
            request: Request {
                groups: groups.into_iter().flatten().map(name).collect(),
                ..request
            },
            array,
            max_parallel: max_parallel.filter(|_| array.is_some()),
            needs,
            priority,
        },
    )
}

const GROUPS: [&str; 2] = ["db", "licence"];
const NAMESPACES: [&str; 3] = ["a", "b", "c"];

fn any_namespace() -> impl Strategy<Value = NamespaceSpec> {
    let tasks = prop::option::weighted(0.4, 0u32..12);
    let cpu_millis = prop::option::weighted(0.2, (0u64..12).prop_map(|halves| halves * 500));
    let limits = (0u32..5, 0u32..5);
    (prop::sample::select(NAMESPACES.to_vec()), 1u32..5, tasks, cpu_millis, limits).prop_map(
        |(of, weight, tasks, cpu_millis, limits)| {
            let quota = Quota { tasks, cpu_millis, ..Quota::default() };
            let groups = GROUPS.into_iter().zip([limits.0, limits.1]);
            let groups = groups.map(|(group, limit)| (name(group), GroupSpec { limit }));
            NamespaceSpec { name: name(of), weight, quota, groups: groups.collect() }
        },
    )
}

fn any_step() -> impl Strategy<Value = Step> {
    let outcome = prop_oneof![
        3 => Just(Outcome::Succeeded { outputs: None }),
        2 => Just(Outcome::Failed { exit_code: Some(1), message: None }),
        1 => Just(Outcome::Lost),
    ];
    prop_oneof![
        4 => any_request(6).prop_map(Step::Register),
        2 => any_namespace().prop_map(Step::Namespace),
        4 => (prop::sample::select(NAMESPACES.to_vec()), -1..=1, prop::collection::vec(any_shape(), 1..6))
            .prop_map(|(namespace, priority, tasks)| Step::Submit { namespace, priority, tasks }),
        1 => any::<Index>().prop_map(Step::Drain),
        1 => any::<Index>().prop_map(Step::Lose),
        3 => any_policy().prop_map(Step::Place),
        4 => prop::collection::vec((any::<Index>(), outcome), 1..6).prop_map(Step::Finish),
    ]
}

pub(super) fn any_policy() -> impl Strategy<Value = Policy> {
    let strategy = prop_oneof![Just(Placing::Spread), Just(Placing::BinPack)];
    let weight = prop_oneof![Just(0.0), Just(25.0), Just(100.0), Just(1000.0)];
    let weights = prop::array::uniform8(weight).prop_map(|of| Weights {
        fill: of[0],
        cpu: of[1],
        memory: of[2],
        run_queue: of[3],
        network: of[4],
        silence: of[5],
        locality: of[6],
        avoid: of[7],
    });
    let placements_max = prop_oneof![2 => Just(4096usize), 1 => 1usize..8];
    let attempts_max = prop_oneof![2 => Just(65_536u32), 1 => 1u32..20];
    (strategy, weights, placements_max, attempts_max).prop_map(
        |(strategy, weights, placements_max, attempts_max)| Policy {
            strategy,
            weights,
            placements_max,
            attempts_max,
            ..Policy::default()
        },
    )
}

fn any_view() -> impl Strategy<Value = WorkerView> {
    let connected = prop::bool::weighted(0.85);
    (connected, 0u64..4, 0u64..5, 0u64..5, 0u32..4, 0u64..5).prop_map(
        |(is_connected, age, cpu, memory, queue, network)| WorkerView {
            is_connected,
            heartbeat_age: Millis::from_secs(age),
            load: Load {
                cpu_busy_millis: cpu,
                cpu_total_millis: 4,
                memory_used_bytes: memory,
                memory_total_bytes: 4,
                run_queue_millis: queue * 900,
                network_bytes_per_s: network,
                network_capacity_bytes_per_s: 4,
            },
        },
    )
}

/// A state that random commands led to, and a view of some of its workers (and of some that never were).
pub(super) fn any_cluster() -> impl Strategy<Value = (State, LiveView)> {
    let steps = prop::collection::vec(any_step(), 1..24);
    let views = prop::collection::vec(prop::option::weighted(0.95, any_view()), 16);
    (steps, views).prop_map(|(steps, views)| {
        let mut state = State::default();
        // So that all groups are there before tasks name them.
        for namespace in NAMESPACES.map(name) {
            let groups = GROUPS.map(|group| (name(group), GroupSpec { limit: 4 })).into();
            let spec = NamespaceSpec { groups, ..NamespaceSpec::new(namespace) };
            carry_out(&mut state, Step::Namespace(spec));
        }
        for step in steps {
            carry_out(&mut state, step);
        }
        let views = (0..).map(WorkerId).zip(views);
        let view = LiveView { workers: views.filter_map(|(id, view)| Some((id, view?))).collect() };
        (state, view)
    })
}

fn carry_out(state: &mut State, step: Step) {
    let workers: Vec<WorkerId> = state.workers().iter().map(|worker| worker.id).collect();
    match step {
        Step::Register(offer) => {
            let name = format!("w{}", workers.len());
            apply(
                state,
                vec![Command::RegisterWorker(RegisterWorker {
                    name: name.as_str().into(),
                    incarnation: 1,
                    labels: offer.selector,
                    pool: offer.pool,
                    lease: Millis(5_000),
                    capacity: offer.resources,
                })],
            );
        }
        Step::Namespace(spec) => {
            let command = ApplyNamespace { request: None, spec };
            apply(state, vec![Command::ApplyNamespace(command)]);
        }
        Step::Submit { namespace, priority, tasks } => {
            apply(state, vec![submit(namespace, priority, tasks)]);
        }
        Step::Drain(index) if !workers.is_empty() => {
            let worker = *index.get(&workers);
            let drain = DrainWorker { request: None, worker, is_draining: true };
            apply(state, vec![Command::DrainWorker(drain)]);
        }
        Step::Lose(index) if !workers.is_empty() => {
            let worker = *index.get(&workers);
            apply(state, vec![Command::LoseWorker(LoseWorker { worker })]);
        }
        Step::Drain(_) | Step::Lose(_) => {}
        Step::Place(policy) => {
            let connected = WorkerView { is_connected: true, ..WorkerView::default() };
            let view =
                LiveView { workers: workers.into_iter().map(|id| (id, connected)).collect() };
            let command = plan(state, &view, state.now(), &policy).command();
            apply(state, command.into_iter().collect());
        }
        Step::Finish(picks) => {
            for (index, outcome) in picks {
                let live: Vec<AttemptRef> =
                    workers.iter().flat_map(|worker| state.attempts_of(*worker)).collect();
                if live.is_empty() {
                    return;
                }
                let attempt = *index.get(&live);
                let finish = Finish { attempt, outcome, duration: Millis(0) };
                let finishes = FinishAttempts { finishes: vec![finish] };
                apply(state, vec![Command::FinishAttempts(finishes)]);
            }
        }
    }
}

fn submit(namespace: &str, priority: i32, shapes: Vec<Shape>) -> Command {
    let mut tasks = Vec::new();
    for (position, shape) in shapes.into_iter().enumerate() {
        let mut task = TaskSpec::new(name(&format!("t{position}")), ExecutorSpec::Noop);
        task.request = shape.request;
        task.array = shape.array;
        task.max_parallel = shape.max_parallel;
        task.priority = shape.priority;
        task.retry.limit = 3;
        task.retry.backoff = Backoff { initial: Millis(0), ..Backoff::default() };
        if position > 0 {
            let needs = shape.needs.iter().map(|index| TaskIndex(index.index(position) as u32));
            let needs: std::collections::BTreeSet<TaskIndex> = needs.collect();
            task.needs = needs.into_iter().map(|need| name(&format!("t{need}"))).collect();
        }
        tasks.push(task);
    }
    Command::SubmitRun(SubmitRun {
        request: None,
        namespace: name(namespace),
        source: RunSource::OneOff(Box::new(WorkflowSpec {
            priority,
            ..WorkflowSpec::new(name("random"), tasks)
        })),
        params: Arc::default(),
        priority: None,
        backfill: None,
    })
}
