//! Apply at the limits: the bounds hold, a command refused for one leaves no trace, and the largest inputs are carried
//! out without recursion and in reasonable time.

use std::sync::Arc;

use muster_core::command::{
    ApplyNamespace, ApplyWorkflow, AttemptRef, Command, Entry, Finish, FinishAttempts,
    FireSchedule, Outcome, PlaceAttempts, Placement, PruneHistory, RegisterWorker, RunSource,
    SubmitRun, UpgradeCluster,
};
use muster_core::event::Event;
use muster_core::ids::{Fence, LogIndex, Name, RunId, TaskIndex, WorkerId};
use muster_core::limits;
use muster_core::reply::{Rejection, Reply};
use muster_core::spec::namespace::NamespaceSpec;
use muster_core::spec::schedule::{ScheduleSpec, Timing};
use muster_core::spec::trigger::TriggerSpec;
use muster_core::spec::{
    ConcurrencyPolicy, Condition, ExecutorSpec, Resources, TaskSpec, WorkflowSpec,
};
use muster_core::state::State;
use muster_core::state::cells::IndexRange;
use muster_core::state::run::RunStatus;
use muster_core::state::task::TaskStatus;
use muster_core::state::workflow::NextFire;
use muster_core::time::{Millis, Timestamp};

/// A state and the index of its latest entry.
#[derive(Default)]
struct Log {
    state: State,
    index: u64,
    events: Vec<Event>,
}

impl Log {
    fn apply(&mut self, command: Command) -> Result<Reply, Rejection> {
        self.apply_at(Timestamp(1), command)
    }

    fn apply_at(&mut self, at: Timestamp, command: Command) -> Result<Reply, Rejection> {
        self.index += 1;
        let entry = Entry { at, commands: vec![command] };
        let mut applied = self.state.apply(LogIndex(self.index), &entry);
        self.events = applied.events;
        applied.replies.pop().expect("one answer a command")
    }

    fn register(&mut self, number: u64) -> Result<Reply, Rejection> {
        self.apply(Command::RegisterWorker(RegisterWorker {
            name: format!("w{number}").into(),
            incarnation: 1,
            labels: Default::default(),
            pool: None,
            lease: Millis(5_000),
            capacity: Resources { cpu_millis: 1000, ..Resources::ZERO },
        }))
    }

    fn submit(&mut self, source: RunSource) -> Result<Reply, Rejection> {
        self.apply(Command::SubmitRun(SubmitRun {
            request: None,
            namespace: name("default"),
            source,
            params: Arc::default(),
            priority: None,
            backfill: None,
        }))
    }
}

fn name(text: &str) -> Name {
    Name::parse(text).expect("the names here are well-formed")
}

fn task(id: &str, needs: &[String]) -> TaskSpec {
    let mut task = TaskSpec::new(name(id), ExecutorSpec::Noop);
    task.needs = needs.iter().map(|need| name(need)).collect();
    task
}

fn workflow(workflow: &str, tasks: Vec<TaskSpec>) -> Box<WorkflowSpec> {
    Box::new(WorkflowSpec::new(name(workflow), tasks))
}

#[test]
fn there_are_so_many_workers_and_no_more() {
    let mut log = Log::default();
    for number in 0..limits::WORKERS_MAX as u64 {
        log.register(number).expect("there is room");
    }
    let before = log.state.digest();
    let max = limits::WORKERS_MAX as u64;
    assert_eq!(log.register(max), Err(Rejection::LimitReached { what: "workers", max }));
    assert_eq!(log.state.digest(), before);
    assert_eq!(log.register(7), Ok(Reply::WorkerRegistered { worker: WorkerId(8) }));
}

#[test]
fn there_are_so_many_namespaces_and_no_more() {
    let mut log = Log::default();
    let apply = |number: usize, weight| {
        let spec = NamespaceSpec { weight, ..NamespaceSpec::new(name(&format!("n{number}"))) };
        Command::ApplyNamespace(ApplyNamespace { request: None, spec })
    };
    for number in 0..limits::NAMESPACES_MAX {
        log.apply(apply(number, 1)).expect("there is room");
    }
    let before = log.state.digest();
    let max = limits::NAMESPACES_MAX as u64;
    let full = Err(Rejection::LimitReached { what: "namespaces", max });
    assert_eq!(log.apply(apply(limits::NAMESPACES_MAX, 1)), full);
    assert_eq!(log.state.digest(), before);
    assert_eq!(log.apply(apply(7, 2)), Ok(Reply::NamespaceApplied { is_changed: true }));
    assert_ne!(log.state.digest(), before, "weights are in the digest");
    assert_eq!(log.state.namespace_names().count(), limits::NAMESPACES_MAX);
}

#[test]
fn there_are_so_many_workflows_and_a_refused_one_leaves_no_trace() {
    let mut log = Log::default();
    let spec = |number: usize| workflow(&format!("w{number}"), vec![task("t", &[])]);
    for number in 0..limits::WORKFLOWS_MAX {
        let command = muster_core::command::ApplyWorkflow {
            request: None,
            namespace: name("default"),
            spec: spec(number),
        };
        log.apply(Command::ApplyWorkflow(command)).expect("there is room");
    }
    let before = log.state.digest();
    let max = limits::WORKFLOWS_MAX as u64;
    let full = Err(Rejection::LimitReached { what: "workflows", max });
    assert_eq!(log.submit(RunSource::OneOff(spec(limits::WORKFLOWS_MAX))), full);
    assert_eq!(log.submit(RunSource::Apply(spec(limits::WORKFLOWS_MAX))), full);
    assert_eq!(log.state.digest(), before, "what is refused changes nothing");
    assert!(log.submit(RunSource::OneOff(spec(3))).is_ok(), "a known workflow may run");
}

/// Places task 0 of run 1 on worker 1, and lets it fail.
fn fail_first_task(log: &mut Log) {
    let (run, task, range) = (RunId(1), TaskIndex(0), IndexRange::single(0));
    let placements = vec![Placement { run, task, range, worker: WorkerId(1) }];
    let placed = log.apply(Command::PlaceAttempts(PlaceAttempts { placements }));
    assert_eq!(placed, Ok(Reply::Items { refused: vec![] }));
    let attempt = AttemptRef { run, task, range, fence: Fence(log.index) };
    let outcome = Outcome::Failed { exit_code: Some(1), message: None };
    let finishes = vec![Finish { attempt, outcome, duration: Millis(0) }];
    let finished = log.apply(Command::FinishAttempts(FinishAttempts { finishes }));
    assert_eq!(finished, Ok(Reply::Items { refused: vec![] }));
}

#[test]
fn a_failure_travels_down_the_longest_chain() {
    let id = |position: usize| format!("t{position}");
    let tasks = (0..limits::TASKS_MAX).map(|position| match position.checked_sub(1) {
        None => task(&id(0), &[]),
        Some(before) => task(&id(position), &[id(before)]),
    });
    let mut log = Log::default();
    log.register(1).expect("there is room");
    log.submit(RunSource::OneOff(workflow("chain", tasks.collect()))).expect("within the limits");
    fail_first_task(&mut log);
    let ended = log.events.iter().find_map(|event| match event {
        Event::RunEnded { run } => Some(run),
        _ => None,
    });
    let ended = ended.expect("the run ended in the same entry");
    assert_eq!(ended.status(), RunStatus::Failed);
    let skipped = ended.tasks.iter().filter(|task| task.status() == TaskStatus::Skipped).count();
    assert_eq!(skipped, limits::TASKS_MAX - 1);
    log.state.check().expect("nothing is left that does not belong");
}

#[test]
fn a_failure_travels_through_the_densest_layers() {
    // 1 + 400 + 400 tasks with 160,400 dependencies: every task of the last layer waits for all of the one before.
    const WIDTH: usize = 400;
    let mut tasks = vec![task("root", &[])];
    let middle: Vec<String> = (0..WIDTH).map(|position| format!("m{position}")).collect();
    tasks.extend(middle.iter().map(|id| task(id, &["root".to_owned()])));
    tasks.extend((0..WIDTH).map(|position| {
        let mut task = task(&format!("last{position}"), &middle);
        task.condition = Condition::Failure;
        task
    }));
    let mut log = Log::default();
    log.register(1).expect("there is room");
    log.submit(RunSource::OneOff(workflow("dense", tasks))).expect("within the limits");
    fail_first_task(&mut log);
    let run = log.state.run(RunId(1)).expect("the last layer runs on failure");
    assert_eq!(run.open as usize, WIDTH);
    assert_eq!(log.state.queue().len(), WIDTH);
    log.state.check().expect("every count is right");
}

#[test]
fn the_end_of_time_does_not_hang() {
    let mut log = Log::default();
    log.register(1).expect("there is room");
    let mut waiting = task("t", &[]);
    waiting.queue_timeout = Some(Millis(5));
    log.submit(RunSource::OneOff(workflow("w", vec![waiting]))).expect("within the limits");
    for stamp in [u64::MAX - 1, u64::MAX, 0] {
        let lose = muster_core::command::LoseWorker { worker: WorkerId(1) };
        let commands = vec![
            Command::LoseWorker(lose),
            Command::UpgradeCluster(UpgradeCluster { version: u32::MAX }),
            Command::Tick,
        ];
        log.index += 1;
        log.state.apply(LogIndex(log.index), &Entry { at: Timestamp(stamp), commands });
        log.state.check().expect("the state stays whole");
    }
    assert!(log.state.runs().is_empty(), "the queue timeout struck");
    assert_eq!(log.state.next_deadline(), None);
}

#[test]
fn what_has_not_ended_yet_is_not_pruned() {
    let mut log = Log::default();
    let prune = |ended_before| PruneHistory { ended_before: LogIndex(ended_before) };
    for (asked, expected) in [(1, 1), (u64::MAX, 2), (2, 2), (5, 4)] {
        log.apply(Command::PruneHistory(prune(asked))).expect("it is never refused");
        // A replica that applied this entry goes by the event, one that is restored after it by the state.
        let told = log.events.iter().map(|event| match event {
            Event::HistoryPruned { ended_before } => ended_before.0,
            other => panic!("{other:?}"),
        });
        assert_eq!(told.collect::<Vec<_>>(), [expected]);
        let restored = State::restore(log.state.snapshot()).expect("a snapshot can be restored");
        assert_eq!(restored.meta().pruned_before, LogIndex(expected));
        assert_eq!(log.state.meta(), restored.meta());
    }
}

#[test]
fn the_oldest_request_id_gives_way_when_there_are_too_many() {
    use muster_core::state::requests::{AnsweredRequest, Requests};
    let mut requests = Requests::default();
    let answered = |number: usize| AnsweredRequest {
        id: format!("r{number}").into(),
        digest: 0,
        at: Timestamp(0),
        reply: Reply::Done,
    };
    for number in 0..=limits::REQUEST_IDS_MAX {
        requests.insert(answered(number));
    }
    assert_eq!(requests.answered().len(), limits::REQUEST_IDS_MAX);
    assert!(requests.get("r0").is_none());
    assert!(requests.get("r1").is_some());
    let restored = Requests::restore(requests.answered().clone());
    assert_eq!(restored.get("r1"), requests.get("r1"));
}

/// In milliseconds.
const SECOND: u64 = 1_000;

/// Keeps a workflow of one schedule, which fires every second.
fn keep_ticking(log: &mut Log, tasks: usize, policy: ConcurrencyPolicy) {
    let tasks = (0..tasks).map(|number| task(&format!("t{number}"), &[])).collect();
    let mut spec = workflow("ticking", tasks);
    spec.schedules = vec![ScheduleSpec::new(name("tick"), Timing::Every(Millis(SECOND)))];
    spec.concurrency = policy;
    let (request, namespace) = (None, name("default"));
    let apply = ApplyWorkflow { request, namespace, spec };
    log.apply(Command::ApplyWorkflow(apply)).expect("within the limits");
}

/// Fires at the next `count` seconds.
fn tick(log: &mut Log, count: u64) -> Result<Reply, Rejection> {
    let found = log.state.workflows().iter().next().expect("there is one");
    let after = found.schedules[0].decided_until;
    let until = Timestamp(after.0 + count * SECOND);
    let fire = FireSchedule {
        workflow: found.id,
        version: found.latest.expect("it is not deleted"),
        schedule: name("tick"),
        after,
        until,
        fire_times: (1..=count).map(|seconds| Timestamp(after.0 + seconds * SECOND)).collect(),
        missed: 0,
        next: NextFire::At {
            fire_time: Timestamp(until.0 + SECOND),
            due_at: Timestamp(until.0 + SECOND),
        },
    };
    log.apply_at(until, Command::FireSchedule(fire))
}

#[test]
fn a_schedule_fires_beside_so_many_live_runs_and_no_more() {
    const AT_ONCE: u64 = limits::FIRES_PER_COMMAND_MAX as u64;
    let counts = |log: &Log| {
        let schedule = &log.state.workflows().iter().next().expect("there is one").schedules[0];
        (log.state.runs().len(), schedule.fired, schedule.passed_over)
    };
    let mut log = Log::default();
    keep_ticking(&mut log, 1, ConcurrencyPolicy::Allow);
    let room = limits::FIRED_RUNS_MAX as u64;
    for _ in 0..room / AT_ONCE {
        tick(&mut log, AT_ONCE).expect("it is due");
    }
    assert_eq!(counts(&log), (limits::FIRED_RUNS_MAX, room, 0));
    tick(&mut log, AT_ONCE).expect("it is due");
    assert_eq!(counts(&log), (limits::FIRED_RUNS_MAX, room, AT_ONCE));
    log.register(1).expect("there is room");
    fail_first_task(&mut log);
    tick(&mut log, 3).expect("it is due");
    assert_eq!(counts(&log), (limits::FIRED_RUNS_MAX, room + 1, AT_ONCE + 2));
    log.state.check().expect("every count is right");
}

#[test]
fn runs_that_are_replaced_at_once_never_fill_a_workflow() {
    let mut log = Log::default();
    keep_ticking(&mut log, 1, ConcurrencyPolicy::Replace);
    for _ in 0..=limits::FIRED_RUNS_MAX / limits::FIRES_PER_COMMAND_MAX {
        tick(&mut log, limits::FIRES_PER_COMMAND_MAX as u64).expect("it is due");
    }
    let workflow = log.state.workflows().iter().next().expect("there is one");
    assert_eq!(workflow.schedules[0].passed_over, 0);
    assert_eq!(log.state.runs().len(), 1);
    log.state.check().expect("every count is right");
}

fn follower(number: usize) -> Command {
    let trigger = TriggerSpec::new(name("t"), name("up"));
    let mut spec = workflow(&format!("w{number}"), vec![task("t", &[])]);
    spec.triggers.push(trigger);
    Command::ApplyWorkflow(ApplyWorkflow { request: None, namespace: name("default"), spec })
}

#[test]
fn so_many_workflows_follow_one_and_no_more() {
    let mut log = Log::default();
    for number in 0..limits::FOLLOWERS_MAX {
        log.apply(follower(number)).expect("there is room");
    }
    let versions = log.state.versions().len();
    let refused = log.apply(follower(limits::FOLLOWERS_MAX));
    assert!(matches!(refused, Err(Rejection::LimitReached { .. })), "{refused:?}");
    assert_eq!(log.state.versions().len(), versions, "a refused one leaves no trace");
    // One that follows already may have another version.
    let Command::ApplyWorkflow(mut again) = follower(0) else { unreachable!("it is one") };
    again.spec.priority = 1;
    log.apply(Command::ApplyWorkflow(again)).expect("it follows already");
    assert_eq!(log.state.check(), Ok(()));
}

#[test]
fn the_longest_chain_of_triggers_is_walked_and_its_circle_is_found() {
    const LENGTH: usize = 3_000;
    let mut log = Log::default();
    let after = |number: usize, upstream: usize| {
        let trigger = TriggerSpec::new(name("t"), name(&format!("w{upstream}")));
        let mut spec = workflow(&format!("w{number}"), vec![task("t", &[])]);
        spec.triggers.push(trigger);
        Command::ApplyWorkflow(ApplyWorkflow { request: None, namespace: name("default"), spec })
    };
    // The far end first, so that no walk is long before the last.
    for number in (1..LENGTH).rev() {
        log.apply(after(number, number - 1)).expect("there is no circle");
    }
    let refused = log.apply(after(0, LENGTH - 1));
    let Err(Rejection::TriggerCycle { way }) = refused else { panic!("{refused:?}") };
    assert!(way.starts_with("w0 after w2999 after w2998") && way.ends_with("… after w0"), "{way}");
}

#[test]
fn one_command_fires_so_many_tasks_and_no_more() {
    let mut log = Log::default();
    let times = 11;
    keep_ticking(&mut log, limits::FIRED_TASKS_MAX / times + 1, ConcurrencyPolicy::Allow);
    assert_eq!(tick(&mut log, times as u64), Err(Rejection::StaleFire));
    assert!(log.state.runs().is_empty());
    tick(&mut log, times as u64 - 1).expect("within the limit");
    assert_eq!(log.state.runs().len(), times - 1);
    log.state.check().expect("every count is right");
}
