//! Sub-workflows: a task comes to what its run comes to, and stops with it (I20, I15).

use muster_checker::Invariant::{I15, I20};
use muster_checker::Rare;
use muster_core::command::{
    ApplyWorkflow, CancelRun, Command, DecideTasks, Decision, EndTask, Verdict, WantedEnd,
};
use muster_core::ids::{LogIndex, RunId, TaskIndex};
use muster_core::spec::{ExecutorSpec, SubWorkflowSpec, WorkflowSpec};
use muster_core::state::run::Params;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::log::{Log, name, submit, workflow};
use super::{expect, expect_among};

/// The run of `sub`, and the one that is started for it.
const PARENT: RunId = RunId(1);
const CHILD: RunId = RunId(2);

/// `sub`, which runs `child`, and `other`, which waits for a worker.
fn parent() -> WorkflowSpec {
    let mut spec = workflow(&["sub", "other"]);
    let (name, params) = (name("child"), BTreeMap::new());
    spec.tasks[0].executor = ExecutorSpec::Workflow(SubWorkflowSpec { name, params });
    spec.tasks[0].retry = Default::default();
    spec
}

fn decide(verdict: Verdict) -> Command {
    let (run, task, since) = (PARENT, TaskIndex(0), LogIndex(2));
    let decisions = vec![Decision { run, task, since, verdict }];
    Command::DecideTasks(DecideTasks { decisions })
}

fn start() -> Command {
    decide(Verdict::StartRun { params: Arc::new(Params::new()) })
}

fn end(run: RunId, task: u32, end: WantedEnd) -> Command {
    Command::EndTask(EndTask { request: None, run, task: TaskIndex(task), end, reason: None })
}

fn cancel(run: RunId) -> Command {
    Command::CancelRun(CancelRun { request: None, run })
}

/// A log in which `sub` waits for the leader's decision.
fn undecided() -> Log {
    let mut log = Log::default();
    let spec = WorkflowSpec { name: name("child"), ..workflow(&["a"]) };
    let (namespace, spec) = (name("default"), Box::new(spec));
    log.go(Command::ApplyWorkflow(ApplyWorkflow { request: None, namespace, spec }));
    log.go(submit("r1", &parent()));
    log
}

fn waiting() -> Log {
    let mut log = undecided();
    log.go(start());
    log
}

#[test]
fn honest_runs_of_tasks_are_found_right_and_counted() {
    let mut log = waiting();
    log.go(end(CHILD, 0, WantedEnd::Succeeded));
    let (verdict, _) = log.finish();
    let counts = [Rare::ChildStarted, Rare::ChildSucceeded].map(|it| verdict.coverage.of(it));
    assert!(verdict.is_clean() && counts == [1, 1], "{verdict}");
    let mut log = waiting();
    log.go(cancel(CHILD));
    let (verdict, _) = log.finish();
    assert!(verdict.is_clean() && verdict.coverage.of(Rare::ChildFailed) == 1, "{verdict}");
    let mut log = waiting();
    log.go(cancel(PARENT));
    let (verdict, _) = log.finish();
    assert!(verdict.is_clean() && verdict.coverage.of(Rare::ChildStopped) == 1, "{verdict}");
}

#[test]
fn i20_a_run_that_may_start_and_does_not() {
    let mut log = undecided();
    log.claim(&[start()], &[decide(Verdict::Fail { message: "no".into() })]);
    expect_among(log, I20);
}

#[test]
fn i20_a_task_that_comes_to_something_else_than_its_run() {
    let mut log = waiting();
    log.claim(&[end(CHILD, 0, WantedEnd::Succeeded)], &[cancel(CHILD)]);
    expect_among(log, I20);
}

#[test]
fn i15_a_run_that_goes_on_while_its_task_must_stop() {
    let mut log = waiting();
    log.claim(&[cancel(PARENT)], &[Command::Tick]);
    expect(log, &[I15]);
}
