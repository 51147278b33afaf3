//! Triggers: each end makes the runs that follow it, once, and nothing follows what did not end (I8).

use muster_checker::Invariant::I8;
use muster_checker::Rare;
use muster_core::command::{ApplyWorkflow, Command, SuspendSchedule};
use muster_core::ids::{LogIndex, RunId};
use muster_core::reply::Rejection;
use muster_core::spec::trigger::{TriggerOn, TriggerSpec};
use muster_core::spec::{ConcurrencyPolicy, WorkflowSpec};
use muster_core::state::State;

use super::log::{Log, failed, finish, name, place, register, submit, succeeded, workflow};
use super::{expect, expect_among};

/// `name` follows `after`.
fn follower(workflow_name: &str, after: &str) -> WorkflowSpec {
    let trigger = TriggerSpec::new(name("t"), name(after));
    let spec = workflow(&["a"]);
    WorkflowSpec { name: name(workflow_name), triggers: vec![trigger], ..spec }
}

fn apply(spec: &WorkflowSpec) -> Command {
    let (namespace, spec) = (name("default"), Box::new(spec.clone()));
    Command::ApplyWorkflow(ApplyWorkflow { request: None, namespace, spec })
}

fn suspend(workflow: &str, is_suspended: bool) -> Command {
    let (namespace, workflow) = (name("default"), name(workflow));
    let (request, schedule) = (None, None);
    Command::SuspendSchedule(SuspendSchedule {
        request,
        namespace,
        workflow,
        schedule,
        is_suspended,
    })
}

/// A run of `etl` that has an attempt under fence 4, and `report`, which follows it.
fn followed(report: &WorkflowSpec) -> Log {
    let mut log = Log::default();
    log.go(register("alpha", 7, 9));
    log.go(apply(report));
    log.go(submit("r1", &workflow(&["a"])));
    log.go(place(1, 0, 1));
    log
}

/// Changes the state behind the auditor's back.
fn secretly(log: &mut Log, command: Command) {
    let entry = log.entry(&[command]);
    let applied = log.state.apply(LogIndex(log.index), &entry);
    assert!(applied.replies.iter().all(Result::is_ok), "{applied:?}");
}

#[test]
fn honest_triggers_are_found_right_and_counted() {
    let forbid = ConcurrencyPolicy::Forbid;
    let mut log = followed(&WorkflowSpec { concurrency: forbid, ..follower("report", "etl") });
    log.go(finish(1, 0, 4, succeeded()));
    log.go(submit("r2", &workflow(&["a"])));
    log.go(place(3, 0, 1));
    log.go(finish(3, 0, 7, succeeded()));
    log.go(submit("r3", &workflow(&["a"])));
    log.go(place(4, 0, 1));
    log.go(finish(4, 0, 10, failed()));
    log.go(apply(&follower("etl", "report")));
    let (verdict, _) = log.finish();
    assert!(verdict.is_clean(), "{verdict}");
    let count = |rare| verdict.coverage.of(rare);
    assert_eq!((count(Rare::TriggerFired), count(Rare::TriggerPassedOver)), (1, 1), "{verdict}");
    assert_eq!(count(Rare::TriggerCycleRefused), 1, "{verdict}");
}

#[test]
fn i8_an_end_that_nothing_follows() {
    let mut log = followed(&follower("report", "etl"));
    secretly(&mut log, suspend("report", true));
    log.go(finish(1, 0, 4, succeeded()));
    expect(log, &[I8]);
}

#[test]
fn i8_a_run_that_follows_an_end_unasked() {
    let mut log = followed(&follower("report", "etl"));
    log.go(suspend("report", true));
    secretly(&mut log, suspend("report", false));
    log.go(finish(1, 0, 4, succeeded()));
    expect_among(log, I8);
}

#[test]
fn i8_a_run_that_follows_another_end_than_its_trigger_says() {
    let failure =
        TriggerSpec { on: TriggerOn::Failure, ..TriggerSpec::new(name("t"), name("etl")) };
    let on_failure = WorkflowSpec { triggers: vec![failure], ..follower("report", "etl") };
    let mut log = followed(&on_failure);
    secretly(&mut log, apply(&follower("report", "etl")));
    log.go(finish(1, 0, 4, succeeded()));
    expect_among(log, I8);
}

#[test]
fn i8_a_run_that_says_it_followed_another() {
    let mut log = followed(&follower("report", "etl"));
    log.go(submit("r2", &workflow(&["a"])));
    let (entry, state, applied) = log.prepare(finish(1, 0, 4, succeeded()));
    let mut snapshot = state.snapshot();
    let run = snapshot.runs.get_mut(3).expect("it follows run 1");
    let cause = run.trigger.as_mut().expect("it follows run 1");
    assert_eq!(cause.run, RunId(1));
    cause.number += 1;
    let state = State::restore(snapshot).expect("it is whole");
    log.show(1, &entry, &state, &applied);
    expect(log, &[I8]);
}

#[test]
fn i8_a_run_that_forgets_what_it_followed() {
    let mut log = followed(&follower("report", "etl"));
    log.go(finish(1, 0, 4, succeeded()));
    let mut snapshot = log.state.snapshot();
    snapshot.runs.get_mut(2).expect("it follows run 1").trigger = None;
    let state = State::restore(snapshot).expect("it is whole");
    log.turn_into(state);
    expect(log, &[I8]);
}

#[test]
fn i8_a_count_that_is_wrong() {
    let mut log = followed(&follower("report", "etl"));
    let (entry, state, applied) = log.prepare(finish(1, 0, 4, succeeded()));
    let mut snapshot = state.snapshot();
    let report = snapshot.workflows.get_mut(1).expect("it was applied first");
    report.triggers[0].fired += 1;
    let state = State::restore(snapshot).expect("it is whole");
    log.show(1, &entry, &state, &applied);
    expect(log, &[I8]);
}

#[test]
fn i8_a_circle_that_is_let_in_and_one_that_is_none() {
    let mut log = followed(&follower("report", "etl"));
    secretly(&mut log, apply(&workflow_named("report")));
    log.go(apply(&follower("etl", "report")));
    expect_among(log, I8);
    let mut log = followed(&follower("report", "etl"));
    let way = "x after x".to_owned();
    log.answer(apply(&follower("other", "report")), Err(Rejection::TriggerCycle { way }));
    expect(log, &[I8]);
}

fn workflow_named(workflow_name: &str) -> WorkflowSpec {
    WorkflowSpec { name: name(workflow_name), ..workflow(&["a", "b"]) }
}
