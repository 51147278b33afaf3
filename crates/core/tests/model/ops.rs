//! Random operations, and the commands they become on a given state. An operation holds only small numbers that pick
//! among what there is, so that a failing sequence stays meaningful while proptest shrinks it.

use std::sync::Arc;

use muster_core::command::{
    ApplyWorkflow, AttemptRef, CancelRun, Command, DecideTasks, DrainWorker, EndTask, Finish,
    FinishAttempts, LoseWorker, Outcome, PauseRun, PlaceAttempts, Placement, PrioritizeRun,
    RegisterWorker, ReleaseTask, ReopenTasks, RequestKey, RetryRun, RunSource, Start,
    StartAttempts, SubmitRun, WantedEnd,
};
use muster_core::ids::{Fence, Name, RunId, TaskIndex, WorkerId};
use muster_core::spec::namespace::NamespaceSpec;
use muster_core::spec::{Resources, WorkflowSpec};
use muster_core::state::cells::IndexRange;
use muster_core::state::run::RetryOrigin;
use muster_core::time::{Millis, Timestamp};
use proptest::prelude::*;

use super::decisions;
use super::naive::{Cell, Model};
use super::operate;
use super::specs;

/// One operation. See [`Op::command`].
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Register { name: u8, incarnation: u8, cpu: u8, gpu: u8, is_pooled: bool, zone: bool },
    Apply { spec: WorkflowSpec, request: Option<(u8, u8)> },
    Namespace { spec: NamespaceSpec, request: Option<(u8, u8)> },
    Submit { spec: WorkflowSpec, how: u8, request: Option<(u8, u8)>, priority: Option<i32> },
    Cancel { run: u8, request: Option<(u8, u8)> },
    Pause { run: u8, is_paused: bool, request: Option<(u8, u8)> },
    Prioritize { run: u8, priority: i32 },
    End { run: u8, task: u8, end: WantedEnd, request: Option<(u8, u8)> },
    Answer { pick: u8, is_given: bool, request: Option<(u8, u8)> },
    Retry { run: u8, how: u8, spoilt: Option<u8>, request: Option<(u8, u8)> },
    Reopen { run: u8, from: Option<u8>, request: Option<(u8, u8)> },
    Release { pick: u8, rerun: bool },
    Decide { picks: Vec<(u16, u8)> },
    Drain { worker: u8, is_draining: bool, request: Option<(u8, u8)> },
    Lose { worker: u8 },
    Place { picks: Vec<(u16, u8, u8)> },
    PlaceGarbage { numbers: [u32; 4] },
    Start { picks: Vec<(u16, u8)>, age: u16 },
    Finish { picks: Vec<(u16, u8, u8)> },
    FinishGarbage { numbers: [u32; 5] },
    Tick,
}

/// An operation, how far the clock moves before it, and whether it shares its entry with the next one.
#[derive(Clone, Debug)]
pub(crate) struct Timed {
    pub(crate) op: Op,
    pub(crate) clock: Clock,
    pub(crate) is_joined: bool,
    /// Whether one of the replicas is replaced by one restored from a snapshot, after the entry.
    pub(crate) is_restored: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Clock {
    By(u32),
    Back(u32),
    NextDeadline,
}

pub(crate) fn sequence() -> impl Strategy<Value = Vec<Timed>> {
    let clock = prop_oneof![
        6 => (0..400u32).prop_map(Clock::By),
        3 => Just(Clock::NextDeadline),
        2 => (0..30_000u32).prop_map(Clock::By),
        1 => (0..100_000_000u32).prop_map(Clock::By),
        1 => (0..50_000u32).prop_map(Clock::Back),
    ];
    let timed = (op(), clock, prop::bool::weighted(0.2), prop::bool::weighted(0.1));
    let timed = timed.prop_map(|(op, clock, is_joined, is_restored)| Timed {
        op,
        clock,
        is_joined,
        is_restored,
    });
    let workers = prop::collection::vec(register(), 0..4).prop_map(|ops| {
        let start = |op| Timed { op, clock: Clock::By(1), is_joined: false, is_restored: false };
        ops.into_iter().map(start).collect::<Vec<_>>()
    });
    (workers, prop::collection::vec(timed, 1..80)).prop_map(|(mut first, rest)| {
        first.extend(rest);
        first
    })
}

fn register() -> impl Strategy<Value = Op> {
    (0..3u8, 0..3u8, 0..6u8, 0..3u8, prop::bool::weighted(0.2), any::<bool>()).prop_map(
        |(name, incarnation, cpu, gpu, is_pooled, zone)| Op::Register {
            name,
            incarnation,
            cpu,
            gpu,
            is_pooled,
            zone,
        },
    )
}

fn op() -> impl Strategy<Value = Op> {
    let request = || prop::option::weighted(0.4, (0..4u8, 0..2u8));
    let priority = prop::option::weighted(0.2, -3..4i32);
    let place = prop::collection::vec(any::<(u16, u8, u8)>(), 1..8);
    let finish = prop::collection::vec(any::<(u16, u8, u8)>(), 1..6);
    let start = prop::collection::vec(any::<(u16, u8)>(), 1..6);
    let end = prop_oneof![
        Just(WantedEnd::Succeeded),
        Just(WantedEnd::Skipped),
        Just(WantedEnd::Cancelled),
        Just(WantedEnd::Approved),
        Just(WantedEnd::Rejected),
    ];
    prop_oneof![
        2 => register(),
        1 => (specs::workflow(), request()).prop_map(|(spec, request)| Op::Apply { spec, request }),
        2 => (super::quota::any(), request())
            .prop_map(|(spec, request)| Op::Namespace { spec, request }),
        4 => (specs::workflow(), any::<u8>(), request(), priority)
            .prop_map(|(spec, how, request, priority)| Op::Submit { spec, how, request, priority }),
        2 => (any::<u8>(), request()).prop_map(|(run, request)| Op::Cancel { run, request }),
        2 => (any::<u8>(), any::<bool>(), request())
            .prop_map(|(run, is_paused, request)| Op::Pause { run, is_paused, request }),
        1 => (any::<u8>(), -3..4i32).prop_map(|(run, priority)| Op::Prioritize { run, priority }),
        2 => (any::<u8>(), 0..8u8, end, request())
            .prop_map(|(run, task, end, request)| Op::End { run, task, end, request }),
        2 => (any::<u8>(), any::<bool>(), request())
            .prop_map(|(pick, is_given, request)| Op::Answer { pick, is_given, request }),
        2 => (any::<u8>(), any::<u8>(), prop::option::weighted(0.3, 1..9u8), request())
            .prop_map(|(run, how, spoilt, request)| Op::Retry { run, how, spoilt, request }),
        2 => (any::<u8>(), prop::option::of(0..8u8), request())
            .prop_map(|(run, from, request)| Op::Reopen { run, from, request }),
        4 => (any::<u8>(), any::<bool>()).prop_map(|(pick, rerun)| Op::Release { pick, rerun }),
        5 => prop::collection::vec(any::<(u16, u8)>(), 1..5)
            .prop_map(|picks| Op::Decide { picks }),
        1 => (0..6u8, any::<bool>(), request()).prop_map(|(worker, is_draining, request)| {
            Op::Drain { worker, is_draining, request }
        }),
        2 => (0..8u8).prop_map(|worker| Op::Lose { worker }),
        10 => place.prop_map(|picks| Op::Place { picks }),
        1 => any::<[u32; 4]>().prop_map(|numbers| Op::PlaceGarbage { numbers }),
        4 => (start, any::<u16>()).prop_map(|(picks, age)| Op::Start { picks, age }),
        10 => finish.prop_map(|picks| Op::Finish { picks }),
        1 => any::<[u32; 5]>().prop_map(|numbers| Op::FinishGarbage { numbers }),
        2 => Just(Op::Tick),
    ]
}

fn request_key(request: Option<(u8, u8)>) -> Option<RequestKey> {
    request.map(|(id, digest)| RequestKey { id: format!("r{id}").into(), digest: digest.into() })
}

pub(crate) fn namespace() -> Name {
    specs::name_of("n", 0)
}

impl Op {
    /// The command, on the state that `model` is in, in the entry with log index `index`.
    pub(crate) fn command(&self, model: &Model, index: u64) -> Command {
        match self {
            Op::Tick => Command::Tick,
            Op::Register { .. } => self.registration(),
            Op::Apply { spec, request } => Command::ApplyWorkflow(ApplyWorkflow {
                request: request_key(*request),
                namespace: namespace(),
                spec: Box::new(spec.clone()),
            }),
            Op::Namespace { spec, request } => super::quota::command(request_key(*request), spec),
            Op::Submit { spec, how, request, priority } => Command::SubmitRun(SubmitRun {
                request: request_key(*request),
                namespace: namespace(),
                source: source(spec, *how),
                params: Arc::default(),
                priority: *priority,
                backfill: None,
            }),
            Op::Cancel { .. }
            | Op::Pause { .. }
            | Op::Prioritize { .. }
            | Op::End { .. }
            | Op::Answer { .. }
            | Op::Reopen { .. }
            | Op::Retry { .. } => self.operation(model),
            Op::Release { pick, rerun } => release(model, *pick, *rerun),
            Op::Decide { picks } => Command::DecideTasks(DecideTasks {
                decisions: picks.iter().map(|pick| decisions::drawn(model, *pick)).collect(),
            }),
            Op::Drain { worker, is_draining, request } => Command::DrainWorker(DrainWorker {
                request: request_key(*request),
                worker: WorkerId(u64::from(*worker)),
                is_draining: *is_draining,
            }),
            Op::Lose { worker } => {
                Command::LoseWorker(LoseWorker { worker: WorkerId(u64::from(*worker)) })
            }
            Op::Place { .. }
            | Op::PlaceGarbage { .. }
            | Op::Start { .. }
            | Op::Finish { .. }
            | Op::FinishGarbage { .. } => self.work(model, index),
        }
    }

    /// What people do with runs that are there.
    fn operation(&self, model: &Model) -> Command {
        match self {
            Op::Cancel { run, request } => Command::CancelRun(CancelRun {
                request: request_key(*request),
                run: RunId(pick(model.runs.keys(), *run).unwrap_or_default()),
            }),
            Op::Pause { run, is_paused, request } => Command::PauseRun(PauseRun {
                request: request_key(*request),
                run: RunId(pick(model.runs.keys(), *run).unwrap_or_default()),
                is_paused: *is_paused,
            }),
            Op::Prioritize { run, priority } => Command::PrioritizeRun(PrioritizeRun {
                request: None,
                run: RunId(pick(model.runs.keys(), *run).unwrap_or_default()),
                priority: *priority,
            }),
            Op::End { run, task, end, request } => Command::EndTask(EndTask {
                request: request_key(*request),
                run: RunId(pick(model.runs.keys(), *run).unwrap_or_default()),
                task: TaskIndex(u32::from(*task)),
                end: *end,
                reason: None,
            }),
            Op::Answer { pick, is_given, request } => {
                answer(model, *pick, *is_given, request_key(*request))
            }
            Op::Reopen { run, from, request } => Command::ReopenTasks(ReopenTasks {
                request: request_key(*request),
                run: RunId(pick(model.runs.keys(), *run).unwrap_or_default()),
                from: from.map(|task| TaskIndex(u32::from(task))),
            }),
            Op::Retry { run, how, spoilt, request } => {
                let Some((id, found)) =
                    model.history.get(usize::from(*run) % model.history.len().max(1))
                else {
                    return Command::Tick;
                };
                let from = how.is_multiple_of(3).then(|| u32::from(how / 3) % 8);
                let (far, late) = (*spoilt == Some(6), u32::from(*spoilt == Some(7)) * 99);
                Command::RetryRun(Box::new(RetryRun {
                    request: request_key(*request),
                    namespace: namespace(),
                    of: RetryOrigin {
                        run: RunId(id + u64::from(far) * 999),
                        number: found.number,
                        fire_time: Timestamp(u64::from(*how)),
                        schedule: None,
                        trigger: None,
                    },
                    version: u64::from(how % 16),
                    version_number: u32::from(how % 2) * late,
                    spec: Box::new(found.spec.clone()),
                    params: Arc::default(),
                    priority: i32::from(how % 4),
                    taken_over: operate::taken_over(found, from, *spoilt),
                }))
            }
            _ => unreachable!("only called for an operation on runs"),
        }
    }

    /// What becomes of attempts.
    fn work(&self, model: &Model, index: u64) -> Command {
        match self {
            Op::Place { picks } => {
                let placements = picks.iter().filter_map(|pick| placement(model, *pick)).collect();
                Command::PlaceAttempts(PlaceAttempts { placements })
            }
            Op::PlaceGarbage { numbers: [run, task, first, last] } => {
                let (run, task, range) = garbage(*run, *task, *first, *last);
                let worker = WorkerId(u64::from(last % 7));
                let placements = vec![Placement { run, task, range, worker }];
                Command::PlaceAttempts(PlaceAttempts { placements })
            }
            Op::Start { picks, age } => {
                let live = live(model, index);
                let start = |(at, cut): &(u16, u8)| {
                    let attempt = reference(&live, *at, *cut)?;
                    Some(Start { attempt, age: Millis(u64::from(*age) / 8) })
                };
                Command::StartAttempts(StartAttempts {
                    starts: picks.iter().filter_map(start).collect(),
                })
            }
            Op::Finish { picks } => {
                let live = live(model, index);
                let finish = |(at, cut, how): &(u16, u8, u8)| {
                    let attempt = reference(&live, *at, *cut)?;
                    Some(Finish { attempt, outcome: outcome(*how), duration: Millis(7) })
                };
                Command::FinishAttempts(FinishAttempts {
                    finishes: picks.iter().filter_map(finish).collect(),
                })
            }
            Op::FinishGarbage { numbers: [run, task, first, last, fence] } => {
                let (run, task, range) = garbage(*run, *task, *first, *last);
                let number = index.saturating_sub(u64::from(fence % 12));
                let attempt = AttemptRef { run, task, range, fence: Fence(number) };
                let (outcome, duration) = (outcome(*fence as u8), Millis(u64::MAX));
                let finishes = vec![Finish { attempt, outcome, duration }];
                Command::FinishAttempts(FinishAttempts { finishes })
            }
            _ => unreachable!("only called for what is about attempts"),
        }
    }

    fn registration(&self) -> Command {
        let Op::Register { name, incarnation, cpu, gpu, is_pooled, zone } = self else {
            unreachable!("only called for a registration")
        };
        let mut capacity = Resources { cpu_millis: u64::from(*cpu) * 1000, ..Resources::ZERO };
        if *gpu > 0 {
            capacity.custom.insert("gpu".into(), u64::from(*gpu));
        }
        Command::RegisterWorker(RegisterWorker {
            name: format!("worker{name}").into(),
            incarnation: u64::from(*incarnation),
            labels: zone.then(|| ("zone".into(), "a".into())).into_iter().collect(),
            pool: is_pooled.then(|| "p".into()),
            lease: Millis(1_000 * (1 + u64::from(cpu % 3))),
            capacity,
        })
    }
}

fn garbage(run: u32, task: u32, first: u32, last: u32) -> (RunId, TaskIndex, IndexRange) {
    let task = if task.is_multiple_of(3) { task } else { task % 9 };
    let range = IndexRange { first: small(first), last: small(last) };
    (RunId(u64::from(run % 9)), TaskIndex(task), range)
}

/// Garbage that is often near what is real.
fn small(number: u32) -> u32 {
    match number % 8 {
        0 => number,
        1 => u32::MAX - number % 3,
        _ => number % 11,
    }
}

fn pick<'a, T: Copy + 'a>(from: impl Iterator<Item = &'a T>, at: u8) -> Option<T> {
    let all: Vec<T> = from.copied().collect();
    all.get(usize::from(at) % all.len().max(1)).copied()
}

fn source(spec: &WorkflowSpec, how: u8) -> RunSource {
    match how % 8 {
        0..4 => RunSource::Apply(Box::new(spec.clone())),
        4..6 => RunSource::OneOff(Box::new(spec.clone())),
        6 => RunSource::Workflow { workflow: spec.name.clone(), version: None },
        _ => RunSource::Workflow {
            workflow: spec.name.clone(),
            version: Some(u32::from(how) / 8 % 4),
        },
    }
}

/// A person's answer to one of the approvals that wait.
fn answer(model: &Model, at: u8, is_given: bool, request: Option<RequestKey>) -> Command {
    let waiting = model.runs.iter().flat_map(|(run, it)| {
        let cells = it.cells.iter().filter(|(_, cell)| matches!(cell, Cell::Awaiting { .. }));
        cells.map(|((task, _), _)| (RunId(*run), TaskIndex(*task)))
    });
    let waiting: Vec<_> = waiting.collect();
    let Some((run, task)) = pick(waiting.iter(), at) else { return Command::Tick };
    let end = if is_given { WantedEnd::Approved } else { WantedEnd::Rejected };
    Command::EndTask(EndTask { request, run, task, end, reason: Some("because".into()) })
}

fn release(model: &Model, at: u8, rerun: bool) -> Command {
    let held = model.runs.iter().flat_map(|(run, it)| {
        let held = it.cells.iter().filter(|(_, cell)| matches!(cell, Cell::Held { .. }));
        held.map(|((task, _), _)| (RunId(*run), TaskIndex(*task)))
    });
    let held: Vec<_> = held.collect();
    let any = (RunId(u64::from(at % 5)), TaskIndex(u32::from(at % 7)));
    let (run, task) = pick(held.iter(), at).unwrap_or(any);
    Command::ReleaseTask(ReleaseTask { request: None, run, task, rerun })
}

/// A ready index and some of its neighbours, on some worker. Neighbours need not be ready, and the worker need not fit.
fn placement(model: &Model, (at, more, worker): (u16, u8, u8)) -> Option<Placement> {
    let ready: Vec<(u64, u32, u32)> = model
        .runs
        .iter()
        .flat_map(|(run, it)| {
            let ready = it.cells.iter().filter(|(_, cell)| matches!(cell, Cell::Ready { .. }));
            ready.map(|((task, index), _)| (*run, *task, *index))
        })
        .collect();
    let (run, task, first) = *ready.get(usize::from(at) % ready.len().max(1))?;
    let is_ready = |index: &u32| ready.contains(&(run, task, *index));
    let wanted = first + u32::from(more % 4);
    let last = if more >= 240 { wanted } else { (first..=wanted).take_while(is_ready).last()? };
    let worker = pick(model.workers.keys(), worker).unwrap_or(u64::from(worker));
    Some(Placement {
        run: RunId(run),
        task: TaskIndex(task),
        range: IndexRange { first, last },
        worker: WorkerId(worker),
    })
}

/// Live attempts as stretches of indices under one fence, and the task they belong to.
fn live(model: &Model, index: u64) -> Vec<AttemptRef> {
    let mut live: Vec<AttemptRef> = Vec::new();
    for (run, it) in &model.runs {
        for ((task, at), cell) in &it.cells {
            let (run, task) = (RunId(*run), TaskIndex(*task));
            let fence = match cell {
                Cell::Live(live) => Fence(live.fence),
                // A guess at what an earlier command of the same entry may have placed.
                Cell::Ready { .. } => Fence(index),
                _ => continue,
            };
            match live.last_mut() {
                Some(last)
                    if (last.run, last.task, last.fence, last.range.last + 1)
                        == (run, task, fence, *at) =>
                {
                    last.range.last = *at;
                }
                _ => live.push(AttemptRef { run, task, range: IndexRange::single(*at), fence }),
            }
        }
    }
    live
}

/// A live attempt, cut to some of its indices, or with a fence that is not its own.
fn reference(live: &[AttemptRef], at: u16, cut: u8) -> Option<AttemptRef> {
    let mut attempt = *live.get(usize::from(at) % live.len().max(1))?;
    let range = &mut attempt.range;
    match cut % 8 {
        0..3 => {}
        3..6 => {
            range.first += u32::from(cut / 8) % range.count();
            range.last -= u32::from(cut / 64) % range.count();
        }
        6 => range.last = range.first,
        _ if cut % 16 == 7 => attempt.fence.0 = attempt.fence.0.saturating_sub(1),
        _ => range.last += 1,
    }
    Some(attempt)
}

fn outcome(how: u8) -> Outcome {
    match how % 16 {
        0..8 => Outcome::Succeeded { outputs: None },
        8 => Outcome::Succeeded {
            outputs: Some(Arc::new([("k".into(), "v".repeat(70_000).into())].into())),
        },
        9..12 => Outcome::Failed { exit_code: Some(i32::from(how % 3)), message: None },
        12 => Outcome::Failed { exit_code: None, message: Some("no such program".into()) },
        13 => Outcome::TimedOut,
        14 => Outcome::Cancelled,
        _ => Outcome::Lost,
    }
}
