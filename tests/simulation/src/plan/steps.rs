//! What clients do, one thing after the other.

use std::time::Duration;

use muster_client::RetryScope;
use muster_core::spec::namespace::NamespaceSpec;
use muster_proto::v1::TaskStatus;
use rand::Rng;

use super::{Dice, QUIET};
use crate::workflow::{self, Workflow};

/// Names of workflows that are applied and then run by name.
const APPLIED: [&str; 3] = ["alpha", "beta", "gamma"];
/// Workflows that run by themselves, and which of them clients submit too.
const SCHEDULED: [&str; 2] = ["delta", "epsilon"];
const SUBMITTED: usize = 0;

/// What a client does next, and how long it waits before.
#[derive(Clone, Debug)]
pub struct Step {
    /// The wait.
    pub pause: Duration,
    /// What it does.
    pub action: Action,
}

/// What clients do.
#[derive(Clone, Debug)]
pub enum Action {
    /// Makes a version of a workflow.
    Apply(Workflow),
    /// Submits a workflow that only this run uses.
    Submit(Workflow),
    /// Switches the schedules of a workflow off, or on again.
    Suspend(&'static str, bool),
    /// Submits one that was applied, by its name.
    SubmitApplied(&'static str),
    /// Repeats its last submission with the same request id: the answer must be the same run.
    Repeat,
    /// Uses the last request id for another workflow: it must be refused.
    Abuse(Workflow),
    /// Cancels one of its runs, the latest or an earlier one.
    Cancel(usize),
    /// Reads one of its runs.
    Read(usize),
    /// Reads one of its runs from whatever master, however old.
    ReadStale(usize),
    /// Lists the newest runs of all.
    List,
    /// Waits for the end of one of its runs, for at most this long.
    Wait(usize, Duration),
    /// Takes a worker out, or back in.
    Drain(usize, bool),
    /// Keeps what is ready of one of its runs from workers, or lets it go on.
    Pause(usize, bool),
    /// Gives one of its runs another priority.
    Prioritize(usize, i32),
    /// Gives a task of one of its runs an end.
    EndTask(usize, TaskStatus, u32),
    /// Answers the approval of this name in one of its runs.
    Answer(usize, &'static str, bool),
    /// Gives the namespace of all clients another weight, another quota and other concurrency groups.
    Namespace(Box<NamespaceSpec>),
    /// Runs again what one of its runs did not come to.
    Retry(usize, RetryScope),
}

impl Step {
    /// Where it brings a workflow, that one has tasks whose size comes late.
    pub(super) fn go_through_lists(&mut self) {
        if let Action::Submit(it) | Action::Apply(it) | Action::Abuse(it) = &mut self.action {
            *it = it.with_lists();
        }
    }
}

/// What a client of no special kind does.
pub(super) fn steps(dice: &mut Dice, workers: usize, lasts: Duration) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut passed = QUIET / 2;
    while passed < QUIET + lasts {
        let pause = if dice.chance(30) { Duration::ZERO } else { dice.millis(10, 900) };
        passed += pause.max(Duration::from_millis(100));
        steps.push(Step { pause, action: action(dice, workers) });
    }
    steps
}

fn action(dice: &mut Dice, workers: usize) -> Action {
    match dice.below(100) {
        0..36 => Action::Submit(workflow::draw(&mut dice.0, "once")),
        36..42 => {
            let name = APPLIED[dice.below(APPLIED.len())];
            Action::Apply(workflow::draw(&mut dice.0, name))
        }
        42..52 => Action::SubmitApplied(APPLIED[dice.below(APPLIED.len())]),
        52..60 => Action::Repeat,
        60..62 => Action::Abuse(workflow::draw(&mut dice.0, "once")),
        62..70 => Action::Cancel(dice.below(4)),
        70..84 => Action::Read(dice.below(6)),
        84..88 => Action::ReadStale(dice.below(6)),
        88..92 => Action::List,
        92..96 => Action::Wait(dice.below(3), dice.millis(100, 3_000)),
        _ => Action::Drain(dice.below(workers), dice.chance(50)),
    }
}

/// What somebody does who does not leave runs alone.
pub(super) fn operations(dice: &mut Dice, lasts: Duration) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut passed = Duration::ZERO;
    while passed < QUIET + lasts {
        let pause = dice.millis(0, 1_200);
        passed += pause;
        let workflow = match dice.chance(60) {
            true => workflow::draw_conditional(&mut dice.0, "operated"),
            false => workflow::draw(&mut dice.0, "operated"),
        };
        steps.push(Step { pause, action: Action::Submit(workflow) });
        for _ in 0..dice.below(5) {
            // Soon: what comes while a decision is under way is the rare part.
            let pause = if dice.chance(60) { dice.millis(0, 60) } else { dice.millis(60, 900) };
            passed += pause;
            steps.push(Step { pause, action: operation(dice) });
        }
    }
    steps
}

fn operation(dice: &mut Dice) -> Action {
    let back = if dice.chance(70) { 0 } else { dice.below(6) };
    let task = dice.below(workflow::TASKS_MAX as usize) as u32;
    match dice.below(100) {
        0..16 => Action::Pause(back, true),
        16..28 => Action::Pause(back, false),
        28..34 => Action::Prioritize(back, dice.0.random_range(-2..=2)),
        34..46 => Action::EndTask(back, TaskStatus::Skipped, task),
        46..58 => Action::EndTask(back, TaskStatus::Succeeded, task),
        58..70 => Action::EndTask(back, TaskStatus::Cancelled, task),
        70..80 => Action::Retry(back, RetryScope::Failed),
        80..87 => Action::Retry(back, RetryScope::From(workflow::task(task))),
        87..90 => Action::Retry(back, RetryScope::Only(workflow::task(task))),
        90..93 => Action::Retry(back, RetryScope::All),
        93..97 => Action::Cancel(back),
        _ => Action::Read(back),
    }
}

/// What somebody does who looks after schedules. Fire times end when faults do, so that everything can end.
pub(super) fn timetable(dice: &mut Dice, lasts: Duration, times: (u64, u64)) -> Vec<Step> {
    let apply = |dice: &mut Dice, at: usize| {
        let name = SCHEDULED[at];
        Action::Apply(workflow::draw_scheduled(&mut dice.0, name, times, at != SUBMITTED))
    };
    let mut steps: Vec<Step> =
        (0..SCHEDULED.len()).map(|at| Step { pause: QUIET / 4, action: apply(dice, at) }).collect();
    let mut passed = QUIET / 2;
    while passed < QUIET + lasts {
        let pause = dice.millis(100, 1_500);
        passed += pause;
        let at = dice.below(SCHEDULED.len());
        let action = match dice.below(100) {
            0..35 => apply(dice, at),
            35..65 => Action::SubmitApplied(SCHEDULED[SUBMITTED]),
            65..75 => Action::Suspend(SCHEDULED[at], true),
            75..90 => Action::Suspend(SCHEDULED[at], false),
            90..95 => Action::Read(dice.below(3)),
            _ => Action::List,
        };
        steps.push(Step { pause, action });
    }
    steps
}
