//! Approvals: each ends by the word of a person who names it, or by its timeout, and by nothing else (I7).

use muster_checker::Invariant::I7;
use muster_checker::Rare;
use muster_core::command::{Command, EndTask, WantedEnd};
use muster_core::ids::{RunId, TaskIndex};
use muster_core::reply::{Rejection, Reply};
use muster_core::spec::{ApprovalSpec, ExecutorSpec, OnTimeout, WorkflowSpec};
use muster_core::state::cells::Cells;
use muster_core::state::task::{Awaited, FailureReason, TaskState, Tries};
use muster_core::time::{Millis, Timestamp};

use super::log::{Log, STEP, name, submit, workflow};
use super::{edited, expect};

/// `ask`, which waits for a person, and `other`, which waits for a worker.
fn asking(timeout: Option<u64>, on_timeout: OnTimeout) -> WorkflowSpec {
    let mut spec = workflow(&["ask", "other"]);
    spec.tasks[0].executor = ExecutorSpec::Approval(ApprovalSpec { message: None, on_timeout });
    spec.tasks[0].retry = Default::default();
    spec.tasks[0].timeout = timeout.map(Millis);
    spec
}

fn asked() -> Log {
    let mut log = Log::default();
    log.go(submit("r1", &asking(None, OnTimeout::Fail)));
    log
}

fn answer(task: u32, end: WantedEnd) -> Command {
    let (run, task, reason) = (RunId(1), TaskIndex(task), Some("because".into()));
    Command::EndTask(EndTask { request: None, run, task, end, reason })
}

#[test]
fn honest_answers_are_found_right_and_counted() {
    let mut log = asked();
    log.go(answer(1, WantedEnd::Approved));
    log.go(answer(0, WantedEnd::Rejected));
    log.go(answer(0, WantedEnd::Approved));
    let (verdict, _) = log.finish();
    assert!(verdict.is_clean() && verdict.coverage.of(Rare::ApprovalRefused) == 1, "{verdict}");
    let mut log = asked();
    log.go(answer(0, WantedEnd::Approved));
    let (verdict, _) = log.finish();
    assert!(verdict.is_clean() && verdict.coverage.of(Rare::ApprovalGiven) == 1, "{verdict}");
    for on_timeout in [OnTimeout::Fail, OnTimeout::Approve] {
        let mut log = Log::default();
        log.go(submit("r1", &asking(Some(2 * STEP), on_timeout)));
        for _ in 0..3 {
            log.go(Command::Tick);
        }
        let (verdict, _) = log.finish();
        let count = verdict.coverage.of(Rare::ApprovalTimedOut);
        assert!(verdict.is_clean() && count == 1, "{verdict}");
    }
}

#[test]
fn i7_another_answer_than_was_given() {
    let mut log = asked();
    log.claim(&[answer(0, WantedEnd::Rejected)], &[answer(0, WantedEnd::Approved)]);
    expect(log, &[I7]);
    let mut log = asked();
    log.claim(&[answer(0, WantedEnd::Approved)], &[answer(0, WantedEnd::Rejected)]);
    expect(log, &[I7]);
}

#[test]
fn i7_an_answer_to_what_waits_for_none() {
    let mut log = asked();
    log.answer(answer(1, WantedEnd::Approved), Ok(Reply::Done));
    expect(log, &[I7]);
}

#[test]
fn i7_an_answer_that_is_waited_for_and_refused() {
    let mut log = asked();
    let refused = Err(Rejection::NotAwaiting { task: name("ask") });
    log.answer(answer(0, WantedEnd::Approved), refused);
    expect(log, &[I7]);
}

#[test]
fn i7_an_approval_that_ends_by_itself() {
    let tries = Tries::default();
    let failed = TaskState::Failed { tries, reason: FailureReason::TimedOut, last: None };
    for end in [TaskState::Succeeded { tries, last: None }, failed] {
        let mut log = asked();
        let state = edited(&log.state, |run| {
            run.tasks[0].cells = Cells::One(end);
            run.open = 1;
        });
        log.turn_into(state);
        expect(log, &[I7]);
    }
}

#[test]
fn i7_a_wait_that_is_put_off() {
    let mut log = Log::default();
    log.go(submit("r1", &asking(Some(60_000), OnTimeout::Fail)));
    let put_off = TaskState::Awaiting { since: Timestamp(50 * STEP), what: Awaited::Person };
    let late = edited(&log.state, |run| run.tasks[0].cells = Cells::One(put_off));
    log.turn_into(late);
    expect(log, &[I7]);
}

#[test]
fn i7_an_approval_that_is_asked_for_no_longer() {
    let mut log = asked();
    let state = edited(&log.state, |run| run.tasks[0].cells = Cells::One(TaskState::Blocked));
    log.turn_into(state);
    expect(log, &[I7]);
}
