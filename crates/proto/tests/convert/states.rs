//! Random states, made by applying random commands that fit the state they meet.

use std::collections::BTreeMap;
use std::sync::Arc;

use muster_core::command::{
    ApplyNamespace, ApplyWorkflow, Asked, AttemptRef, CancelRun, Command, DecideTasks, Decision,
    DrainWorker, EndTask, Entry, Finish, FinishAttempts, FireSchedule, LoseWorker, Outcome,
    PauseRun, PlaceAttempts, Placement, PrioritizeRun, PruneHistory, RegisterWorker, ReleaseTask,
    ReopenTasks, RequestKey, RetryRun, RunSource, Start, StartAttempts, SubmitRun, SuspendSchedule,
    Verdict, WantedEnd,
};
use muster_core::event::Event;
use muster_core::ids::{LogIndex, Name, RunId, TaskIndex, Text, WorkerId};
use muster_core::retry::{Scope, taken_over};
use muster_core::spec::namespace::{GroupSpec, NamespaceSpec, Quota};
use muster_core::spec::schedule::{Dialect, ScheduleSpec, Timing};
use muster_core::spec::template::Reference;
use muster_core::spec::trigger::{TriggerOn, TriggerSpec};
use muster_core::spec::{
    ApprovalSpec, ArraySpec, ConcurrencyPolicy, Condition, DependencyRule, ExecutorSpec, FanOut,
    Hook, OnLost, OnTimeout, ParamSpec, Resources, RetryPolicy, SubWorkflowSpec, TaskSpec,
    WorkflowSpec,
};
use muster_core::state::State;
use muster_core::state::run::{FireOrigin, RetryOrigin, Run};
use muster_core::state::task::{TaskState, TaskStatus};
use muster_core::state::trail::Asker;
use muster_core::state::workflow::NextFire;
use muster_core::time::{Millis, Timestamp};
use proptest::collection::vec;
use proptest::prelude::*;

/// A state, and the runs that ended on the way to it.
#[derive(Debug, Default)]
pub(crate) struct World {
    pub(crate) state: State,
    pub(crate) ended: Vec<Arc<Run>>,
    index: u64,
}

/// What happens next: the kind of command, and numbers that its details are drawn from.
type Step = (u8, u8, u8);

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    vec(any::<Step>(), 1..80)
}

pub(crate) fn world() -> impl Strategy<Value = World> {
    steps().prop_map(|steps| {
        let mut world = World::default();
        // Mostly a namespace with a concurrency group comes first, so that tasks can name it.
        if !steps.len().is_multiple_of(4) {
            world.step((0, 0, steps.len() as u8));
        }
        steps.into_iter().for_each(|step| world.step(step));
        world
    })
}

pub(crate) fn name(text: &str) -> Name {
    Name::parse(text).expect("names in tests are well-formed")
}

/// Element `draw` of a list, as if the list had no end.
fn pick<T: Clone>(list: &[T], draw: u8) -> Option<T> {
    list.get(usize::from(draw) % list.len().max(1)).cloned()
}

/// One of many workflows: up to six tasks, single and array, with every rule and every follow-up of a loss.
fn spec(a: u8, b: u8) -> WorkflowSpec {
    let tasks = (0..=a % 6).map(|number| {
        let mut task = TaskSpec::new(name(&format!("t{number}")), ExecutorSpec::Noop);
        let draw = b.wrapping_mul(number + 3);
        let needs = (0..number).filter(|upstream| (draw >> (upstream % 8)) & 1 == 1);
        task.needs = needs.map(|upstream| name(&format!("t{upstream}"))).collect();
        if !task.needs.is_empty() {
            task.rule = match draw % 3 {
                0 => DependencyRule::AllSucceeded,
                1 => DependencyRule::AllDone,
                _ => DependencyRule::AnySucceeded,
            };
        }
        if draw % 5 == 2 && task.rule != DependencyRule::AnySucceeded {
            task.condition = Condition::Expression("params.region == 'eu'".into());
        }
        if draw % 6 == 3 {
            let timeout = draw.is_multiple_of(5).then_some(Millis::from_secs(4));
            let on_timeout = if timeout.is_some() { OnTimeout::Approve } else { OnTimeout::Fail };
            let approval = ApprovalSpec { message: Some("Well?".into()), on_timeout };
            let TaskSpec { id, needs, rule, condition, .. } = task;
            let plain = TaskSpec::new(id, ExecutorSpec::Approval(approval));
            return TaskSpec { needs, rule, condition, timeout, ..plain };
        }
        if draw % 7 == 4 {
            let name = name(["etl", "train", "nobody"][usize::from(draw) % 3]);
            let of = SubWorkflowSpec { name, params: BTreeMap::new() };
            let TaskSpec { id, needs, rule, condition, .. } = task;
            let plain = TaskSpec::new(id, ExecutorSpec::Workflow(of));
            let retry = RetryPolicy { limit: u32::from(draw % 3), ..RetryPolicy::default() };
            let timeout = draw.is_multiple_of(5).then_some(Millis::from_secs(4));
            return TaskSpec { needs, rule, condition, retry, timeout, ..plain };
        }
        if draw % 4 == 1 {
            task.array = Some(ArraySpec { first: draw.into(), last: u32::from(draw) + 9 });
            task.max_parallel = draw.is_multiple_of(3).then_some(4);
            task.max_failures = u32::from(draw % 2);
            task.fail_fast = draw.is_multiple_of(5);
        } else if draw % 8 == 3 {
            task.fan_out = Some(FanOut::Reference(Reference::Param("region".into())));
        }
        task.on_lost = [OnLost::Rerun, OnLost::Fail, OnLost::Hold][usize::from(draw) % 3];
        task.retry.limit = u32::from(draw % 3);
        task.timeout = (draw.is_multiple_of(5)).then_some(Millis::from_secs(4));
        task.queue_timeout = (draw.is_multiple_of(7)).then_some(Millis::from_secs(20));
        task.request.resources.custom = BTreeMap::from([("gpu".into(), u64::from(draw % 2))]);
        task.request.resources.custom.retain(|_, amount| *amount > 0);
        task.request.groups.extend((draw % 8 == 2).then(|| name("db")));
        task
    });
    let hooks = Hook::ALL.into_iter().filter(|_| b.is_multiple_of(3));
    let hooks = hooks.map(|hook| {
        let plain = TaskSpec::new(hook.id(), ExecutorSpec::Noop);
        TaskSpec { hook: Some(hook), ..plain }
    });
    let tasks = tasks.chain(hooks);
    let param = ParamSpec { default: Some("eu".into()), ..ParamSpec::default() };
    WorkflowSpec {
        labels: BTreeMap::from([("team".into(), "data".into())]),
        timeout: (b.is_multiple_of(11)).then_some(Millis::from_secs(60)),
        priority: i32::from(b) - 128,
        params: BTreeMap::from([(name("region"), param)]),
        schedules: (0..b % 3).map(|number| schedule(number, a)).collect(),
        triggers: triggers(a, b),
        concurrency: POLICIES[usize::from(a / 6) % POLICIES.len()],
        ..WorkflowSpec::new(name(["etl", "train"][usize::from(a) % 2]), tasks.collect())
    }
}

/// `train` follows `etl` in some ways.
fn triggers(a: u8, b: u8) -> Vec<TriggerSpec> {
    let on = TriggerOn::ALL[usize::from(b) % 3].1;
    let trigger = TriggerSpec { on, ..TriggerSpec::new(name("t"), name("etl")) };
    (!a.is_multiple_of(2) && !b.is_multiple_of(4)).then_some(trigger).into_iter().collect()
}

const POLICIES: [ConcurrencyPolicy; 4] = [
    ConcurrencyPolicy::Allow,
    ConcurrencyPolicy::Forbid,
    ConcurrencyPolicy::Replace,
    ConcurrencyPolicy::Queue,
];

fn schedule(number: u8, a: u8) -> ScheduleSpec {
    let timing = match number {
        0 => Timing::Every(Millis::from_secs(u64::from(a % 3) + 1)),
        _ => Timing::Cron { line: "@daily".into(), dialect: Dialect::Posix },
    };
    ScheduleSpec { jitter: Millis(9), ..ScheduleSpec::new(name(&format!("s{number}")), timing) }
}

impl World {
    fn apply(&mut self, after_ms: u64, command: Command) {
        self.index += 1;
        let at = self.state.now() + Millis(after_ms);
        let at = at.max(Timestamp(1_700_000_000_000));
        let command = match self.index % 3 {
            0 => {
                let by = Asker { who: format!("u{}", self.index).into(), from: "10.0.0.7".into() };
                Command::Asked(Asked { by, command: Box::new(command) })
            }
            _ => command,
        };
        let entry = Entry { at, commands: vec![command] };
        let applied = self.state.apply(LogIndex(self.index), &entry);
        for event in applied.events {
            if let Event::RunEnded { run } = event {
                self.ended.push(run);
            }
        }
    }

    pub(crate) fn step(&mut self, (kind, a, b): Step) {
        let after_ms = u64::from(b) * 7;
        if let Some(command) = self.command(kind, a, b) {
            self.apply(after_ms, command);
        }
    }

    fn command(&self, kind: u8, a: u8, b: u8) -> Option<Command> {
        Some(match kind % 16 {
            0 if a.is_multiple_of(8) => apply_namespace(a, b),
            0 => Command::ApplyWorkflow(ApplyWorkflow {
                request: request(a, b),
                namespace: name("default"),
                spec: Box::new(spec(a, b)),
            }),
            1..=3 => submit(kind, a, b),
            4..=5 => register(a, b),
            6..=8 => self.place(a, b)?,
            9 => self.start(b)?,
            10..=12 => self.finish(a, b)?,
            13 => self.worker_command(a, b)?,
            14 if b.is_multiple_of(2) => self.decide(a)?,
            14 => self.run_command(a, b)?,
            15 if a % 4 == 1 => self.operating_command(a, b)?,
            15 if a.is_multiple_of(2) => self.schedule_command(a, b)?,
            _ if a < 64 => Command::PruneHistory(PruneHistory { ended_before: LogIndex(b.into()) }),
            _ => Command::Tick,
        })
    }

    /// Gives ready tasks to one worker, as many as `a` says.
    fn place(&self, a: u8, b: u8) -> Option<Command> {
        let workers: Vec<WorkerId> = self.state.workers().iter().map(|it| it.id).collect();
        let worker = pick(&workers, b)?;
        let mut placements = Vec::new();
        for run in self.state.runs().iter() {
            for (position, task) in run.tasks.iter().enumerate() {
                for (mut range, state) in task.cells.iter() {
                    if state.status() == TaskStatus::Ready {
                        range.last = range.last.min(range.first + u32::from(b % 4));
                        let task = TaskIndex(position as u32);
                        placements.push(Placement { run: run.id, task, range, worker });
                    }
                }
            }
        }
        placements.truncate(usize::from(a % 8) + 1);
        Some(Command::PlaceAttempts(PlaceAttempts { placements }))
    }

    fn live(&self) -> Vec<AttemptRef> {
        let workers = self.state.workers().iter();
        workers.flat_map(|worker| self.state.attempts_of(worker.id)).collect()
    }

    fn start(&self, b: u8) -> Option<Command> {
        let start = Start { attempt: pick(&self.live(), b)?, age: Millis(b.into()) };
        Some(Command::StartAttempts(StartAttempts { starts: vec![start] }))
    }

    fn finish(&self, a: u8, b: u8) -> Option<Command> {
        let outputs = || Some(Arc::new(BTreeMap::from([("rows".into(), Text::from("12"))])));
        let outcome = match a % 8 {
            0..=2 => Outcome::Succeeded { outputs: None },
            3 => Outcome::Succeeded { outputs: outputs() },
            4 => {
                Outcome::Failed { exit_code: Some(i32::from(b) - 100), message: Some("no".into()) }
            }
            5 => Outcome::Failed { exit_code: None, message: None },
            6 => Outcome::TimedOut,
            _ => Outcome::Lost,
        };
        let attempt = pick(&self.live(), b)?;
        let finish = Finish { attempt, outcome, duration: Millis(a.into()) };
        Some(Command::FinishAttempts(FinishAttempts { finishes: vec![finish] }))
    }

    fn worker_command(&self, a: u8, b: u8) -> Option<Command> {
        let workers: Vec<WorkerId> = self.state.workers().iter().map(|it| it.id).collect();
        let worker = pick(&workers, b)?;
        Some(if a.is_multiple_of(3) {
            Command::LoseWorker(LoseWorker { worker })
        } else {
            let request = request(a, b);
            Command::DrainWorker(DrainWorker { request, worker, is_draining: a % 3 == 1 })
        })
    }

    fn decide(&self, a: u8) -> Option<Command> {
        let open: Vec<(RunId, TaskIndex)> = self.state.undecided().collect();
        let (run, task) = pick(&open, a)?;
        let cells = &self.state.run(run)?.task(task)?.cells;
        let (_, state) = cells.at(cells.indices().first)?;
        let TaskState::Undecided { since, .. } = *state else { return None };
        let spec = self.state.run(run)?.spec(task)?;
        let is_sized_late = spec.is_sized_late();
        let items = || (0..a % 5).map(|item| item.to_string()).collect();
        let verdict = match a % 4 {
            0 => Verdict::Skip,
            1 => Verdict::Fail { message: "if: no".into() },
            _ if is_sized_late => Verdict::FanOut { items: items() },
            _ if spec.is_sub_workflow() => Verdict::StartRun { params: Arc::default() },
            _ => Verdict::Start,
        };
        let decisions = vec![Decision { run, task, since, verdict }];
        Some(Command::DecideTasks(DecideTasks { decisions }))
    }

    fn run_command(&self, a: u8, b: u8) -> Option<Command> {
        let runs: Vec<Arc<Run>> = self.state.runs().iter().cloned().collect();
        let run = pick(&runs, b)?;
        let is_held = |task: usize| run.tasks[task].cells.tally().of(TaskStatus::Held) > 0;
        Some(match (0..run.tasks.len()).find(|task| is_held(*task)) {
            Some(task) => Command::ReleaseTask(ReleaseTask {
                request: request(a, b),
                run: run.id,
                task: TaskIndex(task as u32),
                rerun: a.is_multiple_of(2),
            }),
            None => Command::CancelRun(CancelRun { request: request(a, b), run: run.id }),
        })
    }
}

impl World {
    /// Retries a run that ended.
    fn retry(&self, b: u8) -> Option<Command> {
        let run = pick(&self.ended, b)?;
        Some(Command::RetryRun(Box::new(RetryRun {
            request: None,
            namespace: run.version.namespace.clone(),
            of: RetryOrigin {
                run: run.id,
                number: run.number,
                fire_time: run.fire_time(),
                schedule: run.schedule().cloned(),
                trigger: run.followed().cloned(),
            },
            version: run.version.id,
            version_number: run.version.number,
            spec: Box::new(run.version.spec.clone()),
            params: run.params.clone(),
            priority: run.priority,
            taken_over: taken_over(&run, Scope::Failed).ok()?,
        })))
    }

    fn operating_command(&self, a: u8, b: u8) -> Option<Command> {
        let runs: Vec<Arc<Run>> = self.state.runs().iter().cloned().collect();
        let (request, run) = (request(a, b), pick(&runs, b)?.id);
        let task = TaskIndex(u32::from(b / 8 % 6));
        const ENDS: [WantedEnd; 5] = [
            WantedEnd::Succeeded,
            WantedEnd::Skipped,
            WantedEnd::Cancelled,
            WantedEnd::Approved,
            WantedEnd::Rejected,
        ];
        let (end, reason) = (ENDS[usize::from(b) % 5], Some("so".into()));
        Some(match a / 4 % 8 {
            4 => Command::ReopenTasks(ReopenTasks { request, run, from: None }),
            5 => Command::ReopenTasks(ReopenTasks { request, run, from: Some(task) }),
            7 if a > 127 => self.retry(b)?,
            6 | 7 => Command::EndTask(EndTask { request, run, task, end, reason }),
            0 => Command::PrioritizeRun(PrioritizeRun { request, run, priority: i32::from(b) }),
            1 | 2 => Command::PauseRun(PauseRun { request, run, is_paused: true }),
            _ => Command::PauseRun(PauseRun { request, run, is_paused: false }),
        })
    }

    fn schedule_command(&self, a: u8, b: u8) -> Option<Command> {
        let workflows: Vec<_> = self.state.workflows().iter().cloned().collect();
        let workflow = pick(&workflows, a / 2)?;
        let schedule = pick(&workflow.schedules, b)?;
        if b.is_multiple_of(5) {
            return Some(Command::SuspendSchedule(SuspendSchedule {
                request: request(a, b),
                namespace: workflow.namespace.clone(),
                workflow: workflow.name.clone(),
                schedule: (b.is_multiple_of(2)).then_some(schedule.name),
                is_suspended: a < 128,
            }));
        }
        let (after, until) = (schedule.decided_until, self.state.now());
        let fire_time = until + Millis(u64::from(b) + 1);
        let next = match b % 7 {
            0 => NextFire::Never,
            _ => NextFire::At { fire_time, due_at: fire_time + Millis(u64::from(a % 9)) },
        };
        let fire_times = if until > after { vec![until] } else { Vec::new() };
        let missed = if until > after { u64::from(b % 4) } else { 0 };
        Some(Command::FireSchedule(FireSchedule {
            workflow: workflow.id,
            version: workflow.latest?,
            schedule: schedule.name,
            after,
            until,
            fire_times,
            missed,
            next,
        }))
    }
}

/// A key, sometimes one that was used before.
fn request(a: u8, b: u8) -> Option<RequestKey> {
    let digest = u64::from(a) << 40 | u64::from(b);
    (!a.is_multiple_of(4)).then(|| RequestKey { id: format!("request-{}", b % 64).into(), digest })
}

fn submit(kind: u8, a: u8, b: u8) -> Command {
    let about = spec(a, b).schedules.first().map(|it| it.name.clone());
    let about = about.filter(|_| a.is_multiple_of(3));
    let source = match kind % 16 {
        1 => RunSource::Workflow { workflow: spec(a, b).name, version: None },
        2 => RunSource::Apply(Box::new(spec(a, b))),
        _ => RunSource::OneOff(Box::new(spec(a, b))),
    };
    let params = BTreeMap::from([(name("region"), "us".into())]);
    Command::SubmitRun(SubmitRun {
        request: request(a, b),
        namespace: name(["default", "other"][usize::from(b) % 2]),
        source,
        params: Arc::new(if a.is_multiple_of(2) { params } else { BTreeMap::new() }),
        priority: (b.is_multiple_of(3)).then_some(i32::from(a)),
        backfill: about.map(|schedule| FireOrigin { schedule, fire_time: Timestamp(a.into()) }),
    })
}

fn apply_namespace(a: u8, b: u8) -> Command {
    let tasks = (b.is_multiple_of(2)).then_some(u32::from(b));
    let quota = Quota { tasks, memory_bytes: Some(1 << 40), ..Quota::default() };
    let name = name(["default", "other", "third"][usize::from(a / 8) % 3]);
    let groups = [(self::name("db"), GroupSpec { limit: u32::from(b % 4) })].into();
    let spec = NamespaceSpec { name, weight: u32::from(b % 5) + 1, quota, groups };
    Command::ApplyNamespace(ApplyNamespace { request: request(a, b), spec })
}

fn register(a: u8, b: u8) -> Command {
    Command::RegisterWorker(RegisterWorker {
        name: format!("worker-{}", a % 5).into(),
        incarnation: b.into(),
        labels: BTreeMap::from([("zone".into(), "a".into())]),
        pool: (a % 5 == 4).then(|| "gpu".into()),
        lease: Millis(u64::from(a) * 100),
        capacity: Resources {
            cpu_millis: 16_000,
            memory_bytes: 1 << 30,
            custom: BTreeMap::from([("gpu".into(), u64::from(b % 5) + 1)]),
        },
    })
}

#[test]
fn random_states_are_not_poor() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut seen = [0usize; TaskStatus::COUNT];
    let (mut ended, mut requests, mut arrays) = (0, 0, 0);
    let (mut actions, mut namespaces, mut grouped) = (0, 0, 0);
    for _ in 0..300 {
        let world = world().new_tree(&mut runner).expect("the strategy never refuses").current();
        world.state.check().expect("apply keeps the invariants");
        ended += world.ended.len();
        namespaces += world.state.namespaces().count();
        requests += world.state.requests().answered().len();
        actions += world.state.trail().actions().len();
        let used = world.state.namespace_names().filter_map(|it| world.state.used_by(it));
        grouped += used.filter(|usage| !usage.groups.is_empty()).count();
        for task in world.state.runs().iter().flat_map(|run| &run.tasks) {
            for (_, state) in task.cells.iter() {
                seen[state.status() as usize] += 1;
            }
            arrays += usize::from(task.cells.iter().count() > 1);
        }
    }
    assert!(seen.iter().all(|count| *count > 0), "some status was never reached: {seen:?}");
    assert!(ended > 100 && requests > 100 && arrays > 20, "{ended} {requests} {arrays}");
    assert!(actions > 100 && namespaces > 50, "{actions} {namespaces}");
    assert!(grouped > 3, "{grouped}");
}
