//! Random workflows with schedules, triggers and concurrency policies: the auditor judges every entry by rules of its
//! own, a replica restored before the entry agrees, and what must happen did happen.

use std::sync::Arc;

use muster_checker::{Applying, Auditor, Coverage, Rare};
use muster_core::command::{
    ApplyWorkflow, CancelRun, Command, Entry, Finish, FinishAttempts, FireSchedule, Outcome,
    PlaceAttempts, Placement, RegisterWorker, RunSource, SubmitRun, SuspendSchedule,
};
use muster_core::ids::{LogIndex, Name, RunId, TaskIndex, WorkerId};
use muster_core::spec::schedule::{Dialect, ScheduleSpec, Timing};
use muster_core::spec::trigger::{TriggerOn, TriggerSpec};
use muster_core::spec::{ConcurrencyPolicy, ExecutorSpec, Resources, TaskSpec, WorkflowSpec};
use muster_core::state::State;
use muster_core::state::cells::IndexRange;
use muster_core::state::run::FireOrigin;
use muster_core::state::workflow::NextFire;
use muster_core::time::{Millis, Timestamp};
use proptest::prelude::*;

const WORKFLOWS: u8 = 3;
const SCHEDULES: u8 = 2;
const POLICIES: [ConcurrencyPolicy; 4] = [
    ConcurrencyPolicy::Allow,
    ConcurrencyPolicy::Forbid,
    ConcurrencyPolicy::Replace,
    ConcurrencyPolicy::Queue,
];
/// What a sweep must show, or it shows nothing.
const WANTED: [Rare; 10] = [
    Rare::RunQueued,
    Rare::RunReplaced,
    Rare::RunForbidden,
    Rare::ScheduleFired,
    Rare::FireMissed,
    Rare::FirePassedOver,
    Rare::StaleFire,
    Rare::TriggerFired,
    Rare::TriggerPassedOver,
    Rare::TriggerCycleRefused,
];

#[derive(Clone, Debug)]
enum Op {
    Apply { workflow: u8, policy: u8, lines: (u8, u8), after: After, off: bool, has_timeout: bool },
    Submit { workflow: u8, one_off: bool, about: Option<(u8, i8)> },
    Fire { workflow: u8, schedule: u8, times: Vec<u8>, missed: u8, slip: u8 },
    Suspend { workflow: u8, schedule: Option<u8>, on: bool },
    Cancel { run: u8 },
    Place,
    Finish { run: u8, ok: bool },
    Wait { millis: u16 },
}

/// What a workflow follows: another one, and which ends.
type After = Option<(u8, u8)>;

fn op() -> impl Strategy<Value = Op> {
    let workflow = || 0..WORKFLOWS;
    prop_oneof![
        2 => (
            (workflow(), 0..4u8, (0..3u8, 0..3u8)),
            prop::option::of((workflow(), 0..3u8)),
            (prop::bool::weighted(0.1), any::<bool>()),
        )
            .prop_map(|((workflow, policy, lines), after, (off, has_timeout))| {
                Op::Apply { workflow, policy, lines, after, off, has_timeout }
            }),
        3 => (
            workflow(),
            prop::bool::weighted(0.1),
            prop::option::weighted(0.3, (0..SCHEDULES, -20..3i8)),
        )
            .prop_map(|(workflow, one_off, about)| Op::Submit { workflow, one_off, about }),
        8 => (workflow(), 0..SCHEDULES, prop::collection::vec(0..40u8, 0..4), 0..3u8, 0..12u8)
            .prop_map(|(workflow, schedule, times, missed, slip)| {
                Op::Fire { workflow, schedule, times, missed, slip }
            }),
        // One more than there are schedules stands for the trigger.
        1 => (workflow(), prop::option::of(0..=SCHEDULES), any::<bool>())
            .prop_map(|(workflow, schedule, on)| Op::Suspend { workflow, schedule, on }),
        1 => any::<u8>().prop_map(|run| Op::Cancel { run }),
        3 => Just(Op::Place),
        4 => (any::<u8>(), any::<bool>()).prop_map(|(run, ok)| Op::Finish { run, ok }),
        4 => (0..60u16).prop_map(|millis| Op::Wait { millis }),
    ]
}

fn name(letter: char, number: u8) -> Name {
    Name::parse(&format!("{letter}{number}")).expect("a name")
}

struct World {
    state: State,
    auditor: Auditor,
    index: u64,
    now: Timestamp,
}

impl World {
    fn new() -> Self {
        let mut world = World {
            state: State::default(),
            auditor: Auditor::of_whole_log(),
            index: 0,
            now: Timestamp(1000),
        };
        world.apply(vec![Command::RegisterWorker(RegisterWorker {
            name: "w".into(),
            incarnation: 1,
            labels: Default::default(),
            pool: None,
            capacity: Resources { cpu_millis: 3000, ..Resources::ZERO },
            lease: Millis(5000),
        })]);
        world
    }

    fn apply(&mut self, commands: Vec<Command>) {
        self.index += 1;
        let (index, entry) = (LogIndex(self.index), Entry { at: self.now, commands });
        let mut restored = State::restore(self.state.snapshot()).expect("it can be restored");
        let applied = self.state.apply(index, &entry);
        let also = restored.apply(index, &entry);
        assert_eq!(applied.replies, also.replies, "{entry:?}");
        assert_eq!(self.state.digest(), restored.digest(), "{entry:?}");
        if let Err(violation) = self.state.check() {
            panic!("{violation} after {entry:?}");
        }
        self.auditor.observe(&Applying {
            replica: 1,
            incarnation: 0,
            index,
            term: None,
            at: None,
            entry: &entry,
            after: &self.state,
            applied: &applied,
        });
        let verdict = self.auditor.verdict();
        assert!(verdict.violations.is_empty(), "{verdict} after {entry:?}: {:?}", applied.replies);
    }

    fn command(&self, op: &Op) -> Option<Command> {
        let namespace = name('n', 0);
        match op {
            Op::Apply { workflow, policy, lines, after, off, has_timeout } => {
                let mut spec = spec(*workflow, *policy, *lines, *off, *has_timeout);
                if let Some((after, on)) = after {
                    let on = TriggerOn::ALL[usize::from(*on)].1;
                    let plain = TriggerSpec::new(name('s', SCHEDULES), name('w', *after));
                    spec.triggers.push(TriggerSpec { on, is_suspended: *off, ..plain });
                }
                let spec = Box::new(spec);
                Some(Command::ApplyWorkflow(ApplyWorkflow { request: None, namespace, spec }))
            }
            Op::Submit { workflow, one_off, about } => {
                let source = match one_off {
                    true => RunSource::OneOff(Box::new(spec(*workflow, 3, (0, 0), false, false))),
                    false => RunSource::Workflow { workflow: name('w', *workflow), version: None },
                };
                let (params, priority) = (Arc::default(), None);
                Some(Command::SubmitRun(SubmitRun {
                    request: None,
                    namespace,
                    source,
                    params,
                    priority,
                    backfill: about.map(|(schedule, seconds)| self.about(schedule, seconds)),
                }))
            }
            Op::Fire { workflow, schedule, times, missed, slip } => {
                self.fire(*workflow, *schedule, times, *missed, *slip)
            }
            Op::Suspend { workflow, schedule, on } => {
                Some(Command::SuspendSchedule(SuspendSchedule {
                    request: None,
                    namespace,
                    workflow: name('w', *workflow),
                    schedule: schedule.map(|schedule| name('s', schedule)),
                    is_suspended: !on,
                }))
            }
            Op::Cancel { run } => {
                let run = self.some_run(*run)?;
                Some(Command::CancelRun(CancelRun { request: None, run }))
            }
            Op::Place => Some(Command::PlaceAttempts(PlaceAttempts { placements: self.ready() })),
            Op::Finish { run, ok } => {
                let attempts = self.state.attempts_of(WorkerId(1));
                let attempt = *attempts.get(usize::from(*run) % attempts.len().max(1))?;
                let failed = Outcome::Failed { exit_code: Some(1), message: None };
                let outcome = if *ok { Outcome::Succeeded { outputs: None } } else { failed };
                let finish = Finish { attempt, outcome, duration: Millis(1) };
                Some(Command::FinishAttempts(FinishAttempts { finishes: vec![finish] }))
            }
            Op::Wait { .. } => Some(Command::Tick),
        }
    }

    /// A fire time that is so far away, ahead if positive.
    fn about(&self, schedule: u8, seconds: i8) -> FireOrigin {
        let away = i64::from(seconds) * 1000;
        let fire_time = Timestamp(self.now.0.saturating_add_signed(away));
        FireOrigin { schedule: name('s', schedule), fire_time }
    }

    fn some_run(&self, number: u8) -> Option<RunId> {
        let count = self.state.runs().len();
        self.state.runs().iter().nth(usize::from(number) % count.max(1)).map(|run| run.id)
    }

    fn ready(&self) -> Vec<Placement> {
        let placement = |run: RunId, task: TaskIndex| Placement {
            run,
            task,
            range: IndexRange { first: 0, last: 0 },
            worker: WorkerId(1),
        };
        let groups = self.state.queue().groups();
        groups.flat_map(|(_, group)| group.keys().map(|key| placement(key.run, key.task))).collect()
    }

    /// A decision as a leader would make it, but for one `slip` in two.
    fn fire(
        &self,
        workflow: u8,
        schedule: u8,
        times: &[u8],
        missed: u8,
        slip: u8,
    ) -> Option<Command> {
        let workflow = self.state.workflow("n0", name('w', workflow).as_str())?;
        let state = workflow.schedules.iter().find(|it| it.name == name('s', schedule))?;
        let after = state.decided_until;
        let mut fire_times: Vec<Timestamp> =
            times.iter().map(|it| after + Millis(u64::from(*it) + 1)).collect();
        fire_times.sort();
        fire_times.dedup();
        fire_times.retain(|at| slip == 1 || *at <= self.now);
        let until = if slip == 2 { self.now + Millis(1) } else { self.now };
        let fire_time = until + Millis(u64::from(slip) + 1);
        let mut fire = FireSchedule {
            workflow: workflow.id,
            version: workflow.latest?,
            schedule: state.name.clone(),
            after: if slip == 3 { after + Millis(1) } else { after },
            until,
            fire_times,
            missed: missed.into(),
            next: NextFire::At { fire_time, due_at: fire_time },
        };
        match slip {
            4 => fire.version += 1,
            5 => fire.fire_times.reverse(),
            6 => fire.next = NextFire::Unknown,
            7 => fire.next = NextFire::Never,
            _ => {}
        }
        Some(Command::FireSchedule(fire))
    }
}

fn spec(workflow: u8, policy: u8, lines: (u8, u8), off: bool, has_timeout: bool) -> WorkflowSpec {
    let tasks =
        ["a", "b"].map(|id| TaskSpec::new(Name::parse(id).expect("a name"), ExecutorSpec::Noop));
    let mut spec = WorkflowSpec::new(name('w', workflow), tasks.to_vec());
    spec.tasks[1].needs = vec![spec.tasks[0].id.clone()];
    spec.concurrency = POLICIES[usize::from(policy)];
    spec.timeout = has_timeout.then_some(Millis(100));
    for (position, line) in (0..).zip([lines.0, lines.1]) {
        // A line of 0 is a schedule that is not there.
        if line > 0 {
            let timing = Timing::Cron { line: line.to_string().into(), dialect: Dialect::Posix };
            let mut schedule = ScheduleSpec::new(name('s', position), timing);
            schedule.is_suspended = off;
            spec.schedules.push(schedule);
        }
    }
    spec
}

/// Runs `cases` sequences, and returns what they showed.
fn sweep(cases: u32) -> Coverage {
    let coverage = std::cell::RefCell::new(Coverage::default());
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let sequences = prop::collection::vec(prop::collection::vec(op(), 1..3), 10..80);
    let tried = proptest::test_runner::TestRunner::new(config).run(&sequences, |entries| {
        let mut world = World::new();
        for ops in &entries {
            for op in ops {
                if let Op::Wait { millis } = op {
                    world.now = world.now + Millis((*millis).into());
                }
            }
            let commands = ops.iter().filter_map(|op| world.command(op)).collect();
            world.apply(commands);
        }
        let (verdict, _) = world.auditor.finish();
        assert!(verdict.violations.is_empty(), "{verdict}");
        coverage.borrow_mut().merge(&verdict.coverage);
        Ok(())
    });
    if let Err(failure) = tried {
        panic!("{failure}");
    }
    coverage.into_inner()
}

#[test]
fn schedules_and_policies_keep_the_promises() {
    let never = sweep(300).never(&WANTED);
    assert!(never.is_empty(), "never seen: {never:?}");
}
