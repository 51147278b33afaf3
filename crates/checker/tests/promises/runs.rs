//! What is accepted, answered and ended: I2, I3, I6, I15.

use std::sync::Arc;

use muster_checker::Invariant::*;
use muster_core::command::{ApplyWorkflow, Command, DrainWorker, Outcome, RunSource};
use muster_core::event::Event;
use muster_core::ids::{LogIndex, RunId, WorkerId};
use muster_core::reply::{Rejection, Reply};
use muster_core::spec::{ArraySpec, WorkflowSpec};
use muster_core::state::State;
use muster_core::state::cells::{Cells, IndexRange};
use muster_core::state::task::{StopReason, TaskState};

use crate::log::*;
use crate::{edited, expect, expect_among, named, ready};

fn apply(spec: &WorkflowSpec) -> Command {
    Command::ApplyWorkflow(ApplyWorkflow {
        request: None,
        namespace: name("default"),
        spec: Box::new(spec.clone()),
    })
}

#[test]
fn i2_a_run_that_vanishes() {
    let mut log = begun(&workflow(&["a"]));
    let mut snapshot = log.state.snapshot();
    snapshot.runs.remove(1);
    log.turn_into(State::restore(snapshot).expect("it is whole"));
    expect_among(log, I2);
}

#[test]
fn i2_an_accepted_run_that_is_nowhere() {
    let mut log = Log::default();
    let reply = Reply::RunSubmitted { run: RunId(1), workflow: name("etl"), number: 1 };
    log.answer(submit("r1", &workflow(&["a"])), Ok(reply));
    expect_among(log, I2);
}

#[test]
fn i2_an_accepted_run_that_is_another_one() {
    let mut log = Log::default();
    log.claim(&[submit("r1", &workflow(&["a"]))], &[submit("r1", &workflow(&["a", "b"]))]);
    expect_among(log, I2);
    let mut log = Log::default();
    let mut urgent = submit("r1", &workflow(&["a"]));
    if let Command::SubmitRun(it) = &mut urgent {
        it.priority = Some(9);
    }
    log.claim(&[submit("r1", &workflow(&["a"]))], &[urgent]);
    expect_among(log, I2);
}

#[test]
fn i2_a_run_of_another_spec() {
    let once = |spec: &WorkflowSpec| {
        let mut command = without_request(submit("", spec));
        if let Command::SubmitRun(it) = &mut command {
            it.source = RunSource::OneOff(Box::new(spec.clone()));
        }
        command
    };
    let mut log = Log::default();
    log.claim(&[once(&workflow(&["a"]))], &[once(&workflow(&["b"]))]);
    expect(log, &[I2]);
}

#[test]
fn i2_a_run_that_becomes_another_one() {
    let mut log = begun(&workflow(&["a"]));
    let state = edited(&log.state, |run| run.priority = 9);
    log.turn_into(state);
    expect(log, &[I2]);
}

#[test]
fn i2_a_workflow_version_that_is_not_kept() {
    let mut log = Log::default();
    log.claim(&[apply(&workflow(&["a"]))], &[apply(&workflow(&["b"]))]);
    expect(log, &[I2]);
    let mut log = Log::default();
    log.go(apply(&workflow(&["a"])));
    log.answer(apply(&workflow(&["a"])), Ok(Reply::WorkflowApplied { version: 2, is_new: true }));
    expect(log, &[I2]);
}

#[test]
fn i2_a_current_result_that_is_refused() {
    let mut log = begun(&workflow(&["a"]));
    log.claim(&[finish(1, 0, 4, succeeded())], &[finish(1, 0, 3, succeeded())]);
    expect(log, &[I2]);
}

#[test]
fn i2_outputs_that_are_not_those_reported() {
    let with = |text: &str| Outcome::Succeeded {
        outputs: Some(Arc::new([("k".into(), text.into())].into())),
    };
    let mut log = begun(&workflow(&["a"]));
    log.claim(&[finish(1, 0, 4, with("x"))], &[finish(1, 0, 4, with("y"))]);
    expect(log, &[I2]);
}

#[test]
fn i3_a_request_id_that_gives_two_runs() {
    let spec = workflow(&["a"]);
    let mut log = begun(&spec);
    log.claim(&[submit("r1", &spec)], &[without_request(submit("r1", &spec))]);
    expect(log, &[I3]);
}

#[test]
fn i3_a_request_id_that_is_refused_or_accepted_wrongly() {
    let spec = workflow(&["a"]);
    let reused = || Err(Rejection::RequestIdReused { id: "r".to_owned() });
    let told = |request: &str, digest: u64, reply: Result<Reply, Rejection>| {
        let mut log = begun(&spec);
        let mut command = submit(request, &spec);
        if let Command::SubmitRun(it) = &mut command {
            it.request = key(request, digest);
        }
        log.answer(command, reply);
        named(&log.finish().0)
    };
    let first = Reply::RunSubmitted { run: RunId(1), workflow: name("etl"), number: 1 };
    assert_eq!(told("r1", 1, Ok(first.clone())), []);
    assert_eq!(told("r1", 2, reused()), []);
    assert_eq!(told("new", 1, reused()), [I3], "never used");
    assert_eq!(told("r1", 1, reused()), [I3], "used with this very body");
    assert_eq!(told("r1", 2, Ok(first.clone())), [I3], "another body");
    assert_eq!(told("r1", 1, Err(Rejection::NotHeld)), [I3], "the same answer, always");
    assert_eq!(told("new", 1, Ok(first)), [I3], "another request's run");
}

#[test]
fn i3_a_request_id_that_is_not_kept_or_kept_wrongly() {
    let spec = workflow(&["a"]);
    let mut log = Log::default();
    log.claim(&[submit("r1", &spec)], &[without_request(submit("r1", &spec))]);
    expect(log, &[I3]);
    let mut log = Log::default();
    let mut other = submit("r1", &spec);
    if let Command::SubmitRun(it) = &mut other {
        it.request = key("r1", 99);
    }
    log.claim(&[submit("r1", &spec)], &[other]);
    expect(log, &[I3]);
}

#[test]
fn i3_a_request_id_that_nobody_sent() {
    let drain = |request| {
        Command::DrainWorker(DrainWorker { request, worker: WorkerId(1), is_draining: true })
    };
    let mut log = begun(&workflow(&["a"]));
    log.claim(&[drain(None)], &[drain(key("d1", 1))]);
    expect(log, &[I3]);
}

#[test]
fn i3_a_submission_that_is_told_of_anothers_run() {
    let mut log = begun(&workflow(&["a"]));
    let first = Reply::RunSubmitted { run: RunId(1), workflow: name("etl"), number: 1 };
    log.answer(without_request(submit("", &workflow(&["a"]))), Ok(first));
    expect(log, &[I3]);
}

#[test]
fn i3_a_run_that_nobody_submitted() {
    let mut log = Log::default();
    let submitted = without_request(submit("r1", &workflow(&["a"])));
    log.claim(&[Command::Tick], &[submitted]);
    expect(log, &[I3]);
}

#[test]
fn i6_an_end_that_is_taken_back() {
    let mut log = begun(&workflow(&["a", "b"]));
    log.go(finish(1, 0, 4, succeeded()));
    let state = edited(&log.state, |run| {
        run.tasks[0].cells = Cells::One(ready(run));
        run.open += 1;
    });
    log.turn_into(state);
    expect(log, &[I6]);
}

#[test]
fn i6_an_ended_run_that_is_back() {
    let mut log = begun(&workflow(&["a"]));
    let live = log.state.clone();
    log.go(finish(1, 0, 4, succeeded()));
    assert!(log.auditor.ledger().runs[&RunId(1)].ended.is_some());
    log.turn_into(live);
    expect_among(log, I6);
}

#[test]
fn i6_a_placement_in_a_run_that_ended() {
    let mut log = begun(&workflow(&["a"]));
    log.go(finish(1, 0, 4, succeeded()));
    log.go(submit("r2", &workflow(&["a"])));
    log.claim(&[place(1, 0, 1)], &[place(2, 0, 1)]);
    expect_among(log, I6);
}

#[test]
fn i6_a_run_that_ends_twice_or_too_early_or_stays() {
    let mut log = begun(&workflow(&["a"]));
    let (entry, state, mut applied) = log.prepare(finish(1, 0, 4, succeeded()));
    let ended = applied.events.last().cloned();
    applied.events.extend(ended);
    log.show(1, &entry, &state, &applied);
    expect(log, &[I6]);

    // It ends as it should, and is in the state all the same.
    let mut log = begun(&workflow(&["a"]));
    let before = log.state.snapshot();
    let (entry, state, applied) = log.prepare(finish(1, 0, 4, succeeded()));
    let mut snapshot = state.snapshot();
    snapshot.runs = before.runs;
    let state = State::restore(snapshot).expect("it is whole");
    log.show(1, &entry, &state, &applied);
    expect_among(log, I6);

    // It leaves as it is, before its task has ended.
    let mut log = begun(&workflow(&["a"]));
    let (entry, state, mut applied) = log.prepare(Command::Tick);
    let run = state.run(RunId(1)).expect("it is live").clone();
    applied.events.push(Event::RunEnded { run });
    let mut snapshot = state.snapshot();
    snapshot.runs.remove(1);
    let state = State::restore(snapshot).expect("it is whole");
    log.show(1, &entry, &state, &applied);
    expect_among(log, I6);
}

#[test]
fn i15_a_cancel_that_is_forgotten_refused_or_of_nothing() {
    let mut log = begun(&workflow(&["a", "b"]));
    log.answer(cancel("c1", 1), Ok(Reply::Done));
    expect_among(log, I15);
    let mut log = begun(&workflow(&["a"]));
    log.answer(cancel("c1", 1), Err(Rejection::NoSuchRun { run: RunId(1) }));
    expect(log, &[I15]);
    let mut log = begun(&workflow(&["a"]));
    log.answer(cancel("c1", 9), Ok(Reply::Done));
    expect_among(log, I15);
}

#[test]
fn i15_a_placement_after_the_cancel() {
    let mut log = begun(&workflow(&["a", "b"]));
    log.go(submit("r2", &workflow(&["a"])));
    log.go(cancel("c1", 1));
    log.claim(&[place(1, 1, 2)], &[place(2, 0, 2)]);
    let (verdict, _) = log.finish();
    assert!(verdict.names(I15), "{verdict}");
}

#[test]
fn i15_an_attempt_that_is_not_told_to_stop() {
    let mut log = begun(&workflow(&["a", "b"]));
    let before = log.state.snapshot();
    let (entry, state, applied) = log.prepare(cancel("c1", 1));
    let mut snapshot = state.snapshot();
    snapshot.runs = before.runs;
    let state = State::restore(snapshot).expect("it is whole");
    log.show(1, &entry, &state, &applied);
    expect(log, &[I15]);
}

#[test]
fn i15_a_run_that_forgets_that_it_must_stop() {
    let mut log = begun(&workflow(&["a", "b"]));
    let (entry, state, applied) = log.prepare(cancel("c1", 1));
    let state = edited(&state, |run| run.stop = None);
    log.show(1, &entry, &state, &applied);
    expect(log, &[I15]);
}

#[test]
fn i15_a_silent_attempt_that_is_not_ended() {
    let mut spec = workflow(&["a"]);
    spec.tasks[0].grace_period = muster_core::time::Millis(0);
    let mut log = begun(&spec);
    log.go(cancel("c1", 1));
    let before = log.state.snapshot();
    log.index += 1000;
    let (entry, state, mut applied) = log.prepare(Command::Tick);
    assert!(state.run(RunId(1)).is_none(), "it ends by force");
    applied.events.clear();
    let mut snapshot = state.snapshot();
    snapshot.runs = before.runs;
    let state = State::restore(snapshot).expect("it is whole");
    log.show(1, &entry, &state, &applied);
    let (verdict, ledger) = log.finish();
    assert_eq!(named(&verdict), [I15, I16], "{verdict}");
    assert_eq!(ledger.runs[&RunId(1)].cancelled, Some(LogIndex(5)));
}

#[test]
fn i15_a_failure_that_is_told_to_the_run_as_a_cancel() {
    let mut spec = workflow(&["a", "b"]);
    spec.fail_fast = true;
    let mut log = begun(&spec);
    log.go(place(1, 1, 2));
    let (entry, state, applied) = log.prepare(finish(1, 0, 4, failed()));
    let cancelled = |(at, _)| (at, StopReason::Cancelled);
    let state = edited(&state, |run| run.stop = run.stop.map(cancelled));
    log.show(1, &entry, &state, &applied);
    expect(log, &[I15]);
}

#[test]
fn i15_an_array_task_that_is_cancelled_by_fewer_failures_than_may_be() {
    let mut spec = workflow(&["a", "b"]);
    spec.tasks[0].array = Some(ArraySpec { first: 0, last: 2 });
    (spec.tasks[0].fail_fast, spec.tasks[0].max_failures) = (true, 1);
    let mut log = begun(&spec);
    let (entry, state, applied) = log.prepare(finish(1, 0, 4, failed()));
    let other = IndexRange::single(1);
    let state = edited(&state, |run| run.tasks[0].cells.set(other, TaskState::Cancelled));
    log.show(1, &entry, &state, &applied);
    expect_among(log, I15);
}
