//! What is placed, carried out and reported: I4, I5, I7, I10.

use muster_checker::Invariant::*;
use muster_checker::Rare;
use muster_core::command::{
    AttemptRef, Command, Outcome, PlaceAttempts, ReleaseTask, Start, StartAttempts,
};
use muster_core::ids::{Fence, LogIndex, RunId, TaskIndex};
use muster_core::reply::{ItemRefusal, Reply};
use muster_core::spec::{DependencyRule, OnLost};
use muster_core::state::State;
use muster_core::state::cells::{Cells, IndexRange};
use muster_core::state::task::{TaskState, Tries};
use muster_core::time::Millis;

use crate::log::*;
use crate::{edited, expect, expect_among, named, ready};

fn start(fence: u64) -> Command {
    let attempt = AttemptRef {
        run: RunId(1),
        task: TaskIndex(0),
        range: IndexRange::single(0),
        fence: Fence(fence),
    };
    Command::StartAttempts(StartAttempts { starts: vec![Start { attempt, age: Millis(0) }] })
}

fn items(refused: &[(u32, ItemRefusal)]) -> Reply {
    Reply::Items { refused: refused.to_vec() }
}

#[test]
fn i4_a_stale_fence_that_is_accepted() {
    let mut log = begun(&workflow(&["a"]));
    log.go(lose(1));
    log.go(place(1, 0, 2));
    log.claim(&[finish(1, 0, 4, succeeded())], &[finish(1, 0, 6, succeeded())]);
    expect(log, &[I4]);
    let mut log = begun(&workflow(&["a"]));
    log.claim(&[start(3)], &[start(4)]);
    expect(log, &[I4]);
}

#[test]
fn i4_a_current_start_that_is_refused() {
    let mut log = begun(&workflow(&["a"]));
    log.claim(&[start(4)], &[start(3)]);
    expect(log, &[I4]);
}

#[test]
fn i4_a_live_task_that_is_placed_again() {
    let mut log = begun(&workflow(&["a", "b"]));
    log.claim(&[place(1, 0, 2)], &[place(1, 1, 2)]);
    expect_among(log, I4);
}

#[test]
fn i4_one_fence_for_two_attempts() {
    // The core refuses the second placement of one entry; here it is claimed that it did not.
    let commands = [lose(1), place(1, 0, 2), finish(1, 0, 5, Outcome::Lost), place(1, 0, 2)];
    let mut log = begun(&workflow(&["a"]));
    let (entry, state, mut applied) = log.prepare_all(&commands);
    applied.replies[3] = Ok(items(&[]));
    log.show(1, &entry, &state, &applied);
    expect(log, &[I4]);
    let mut log = begun(&workflow(&["a"]));
    log.claim(&commands, &commands);
    expect(log, &[]);
}

#[test]
fn i4_an_attempt_on_another_worker_than_it_was_placed() {
    let mut log = begun(&workflow(&["a", "b"]));
    log.go(register("gamma", 9, 1));
    log.claim(&[place(1, 1, 2)], &[place(1, 1, 3)]);
    expect(log, &[I4, I16]);
}

#[test]
fn i5_a_refused_report_that_changes_something() {
    let mut log = begun(&workflow(&["a", "b"]));
    let stale = finish(1, 0, 3, failed());
    let (_, state, mut applied) = log.prepare_all(&[stale.clone(), finish(1, 0, 4, failed())]);
    applied.replies.truncate(1);
    let entry = log.entry(&[stale]);
    log.show(1, &entry, &state, &applied);
    expect_among(log, I5);
}

#[test]
fn i5_a_refused_report_that_leaves_its_message() {
    let mut log = begun(&workflow(&["a", "b"]));
    let state = edited(&log.state, |run| run.tasks[0].message = Some("too late".into()));
    log.turn_into(state);
    expect(log, &[I5]);
}

#[test]
fn i5_a_change_without_a_cause() {
    let mut log = begun(&workflow(&["a", "b"]));
    let state = edited(&log.state, |run| run.tasks[0].cells = Cells::One(ready(run)));
    log.turn_into(state);
    expect(log, &[I5]);
}

#[test]
fn i5_a_release_of_what_is_not_held() {
    let mut log = begun(&workflow(&["a"]));
    let (run, task) = (RunId(1), TaskIndex(0));
    let release = ReleaseTask { request: None, run, task, rerun: true };
    log.answer(Command::ReleaseTask(release), Ok(Reply::Done));
    expect(log, &[I5]);
}

#[test]
fn i7_a_task_that_is_ready_too_early() {
    let mut spec = workflow(&["a", "b: a"]);
    // A rule with which the state's own check lets it pass.
    spec.tasks[1].rule = DependencyRule::AnySucceeded;
    let mut log = begun(&spec);
    let state = edited(&log.state, |run| run.tasks[1].cells = Cells::One(ready(run)));
    log.turn_into(state);
    assert_eq!(named(log.auditor.verdict()), [I7]);
    // Taken as it is from there on, it is named again once it is placed.
    log.go(place(1, 1, 2));
    assert_eq!(log.auditor.verdict().count(), 2, "{}", log.auditor.verdict());
    expect(log, &[I7]);
}

#[test]
fn i7_a_blocked_task_that_is_placed() {
    let mut log = begun(&workflow(&["a", "b: a", "c"]));
    log.claim(&[place(1, 1, 2)], &[place(1, 2, 2)]);
    expect_among(log, I7);
}

#[test]
fn i7_what_is_skipped_or_starts_against_its_rule() {
    let spec = workflow(&["a", "b: a", "c"]);
    let (entry, state, applied) = begun(&spec).prepare(finish(1, 0, 4, failed()));
    let skipped = TaskState::Skipped { by_failure: false };
    let wrong = [
        edited(&state, |run| run.tasks[1].cells = Cells::One(skipped)),
        edited(&state, |run| run.tasks[1].cells = Cells::One(TaskState::Cancelled)),
        edited(&state, |run| {
            run.tasks[1].cells = Cells::One(ready(run));
            run.open += 1;
        }),
        edited(&state, |run| {
            run.tasks[1].cells = Cells::One(TaskState::Blocked);
            run.open += 1;
        }),
    ];
    for state in wrong {
        let mut log = begun(&spec);
        log.index = 5;
        log.show(1, &entry, &state, &applied);
        expect(log, &[I7]);
    }
    let mut log = begun(&spec);
    log.index = 5;
    log.show(1, &entry, &state, &applied);
    expect(log, &[]);
}

#[test]
fn i10_tries_that_are_not_counted() {
    let mut spec = workflow(&["a"]);
    spec.tasks[0].retry.limit = 2;
    let (entry, state, applied) = begun(&spec).prepare(lose(1));
    for (attempts, failures, losses) in [(1, 0, 2), (1, 1, 0), (0, 0, 0)] {
        let state = edited(&state, |run| {
            let Cells::One(TaskState::Ready { tries, .. }) = &mut run.tasks[0].cells else {
                panic!("it is ready")
            };
            *tries = Tries { attempts, failures, losses };
        });
        let mut log = begun(&spec);
        log.index = 5;
        log.show(1, &entry, &state, &applied);
        expect(log, &[I10]);
    }
}

#[test]
fn i10_an_attempt_more_than_the_policy_allows() {
    let mut lenient = workflow(&["a"]);
    lenient.tasks[0].retry.limit = 1;
    lenient.tasks[0].retry.backoff.initial = Millis(0);
    let (entry, state, applied) = begun(&lenient).prepare(finish(1, 0, 4, failed()));
    // The policy that was submitted allows no second attempt.
    let mut log = begun(&workflow(&["a"]));
    let version = log.state.run(RunId(1)).expect("it is live").version.clone();
    let mut snapshot = state.snapshot();
    snapshot.versions.insert(version.id, version.clone());
    snapshot.runs.get_mut(1).expect("it is live").version = version;
    let state = State::restore(snapshot).expect("it is whole");
    log.index = 5;
    log.show(1, &entry, &state, &applied);
    assert_eq!(named(log.auditor.verdict()), [I10], "{}", log.auditor.verdict());
    log.state = state;
    log.go(place(1, 0, 1));
    assert_eq!(log.auditor.verdict().count(), 2, "it was placed: {}", log.auditor.verdict());
    expect(log, &[I10]);
}

#[test]
fn i10_a_wait_that_is_not_kept() {
    let mut spec = workflow(&["a"]);
    spec.tasks[0].retry.limit = 3;
    spec.tasks[0].retry.backoff.jitter_millis = 500;
    let (entry, state, applied) = begun(&spec).prepare(finish(1, 0, 4, failed()));
    let waits = |change: i64| {
        let state = edited(&state, |run| {
            let Cells::One(TaskState::Backoff { until, .. }) = &mut run.tasks[0].cells else {
                panic!("it waits")
            };
            // One second from entry 5 on, and up to half of it more or less.
            until.0 = (5 * STEP + 1000).saturating_add_signed(change);
        });
        let mut log = begun(&spec);
        log.index = 5;
        log.show(1, &entry, &state, &applied);
        named(&log.finish().0)
    };
    assert_eq!((waits(0), waits(-500), waits(500)), (vec![], vec![], vec![]));
    assert_eq!((waits(-501), waits(501)), (vec![I10], vec![I10]));
}

#[test]
fn i10_a_held_task_that_is_placed() {
    let mut spec = workflow(&["a"]);
    spec.tasks[0].on_lost = OnLost::Hold;
    let mut log = begun(&spec);
    log.go(lose(1));
    let verdict = log.auditor.verdict();
    assert!(verdict.is_clean() && verdict.coverage.of(Rare::Held) == 1, "{verdict}");
    let nothing = Command::PlaceAttempts(PlaceAttempts { placements: Vec::new() });
    log.claim(&[place(1, 0, 2)], &[nothing]);
    expect(log, &[I10]);
}

#[test]
fn i17_a_placement_of_what_there_is_not() {
    let mut log = begun(&workflow(&["a"]));
    log.answer(place(1, 7, 2), Ok(items(&[])));
    expect(log, &[I17]);
    let mut log = begun(&workflow(&["a"]));
    log.answer(place(1, 7, 2), Ok(items(&[(0, ItemRefusal::NoSuchTask)])));
    let (verdict, ledger) = log.finish();
    assert!(verdict.is_clean() && ledger.last == LogIndex(5), "{verdict}");
}
