//! Logs and replicas of them: I1, I13, I16, I17, I18, and an honest one.

use muster_checker::Invariant::*;
use muster_checker::{Applying, Auditor, Rare};
use muster_core::command::{ApplyWorkflow, Command, Entry};
use muster_core::ids::{LogIndex, RunId, WorkerId};
use muster_core::limits;
use muster_core::reply::Reply;
use muster_core::state::State;
use muster_core::time::Timestamp;

use crate::log::*;
use crate::{edited, expect, expect_among, named};

#[test]
fn an_honest_log_is_clean() {
    let spec = workflow(&["a", "b: a"]);
    let mut log = begun(&spec);
    log.go(finish(1, 0, 4, succeeded()));
    log.go(place(1, 1, 1));
    log.go(lose(1));
    log.go(finish(1, 1, 6, succeeded()));
    log.go(place(1, 1, 2));
    log.go(submit("r1", &spec));
    log.go(finish(1, 1, 9, succeeded()));
    log.go(cancel("c1", 1));
    let (verdict, ledger) = log.finish();
    assert!(verdict.is_clean(), "{verdict}");
    let seen = [
        Rare::AttemptLost,
        Rare::StaleRefused,
        Rare::DuplicateAnswered,
        Rare::CancelTooLate,
        Rare::AttemptMoved,
        Rare::RunSucceeded,
    ];
    assert_eq!(verdict.coverage.never(&seen), [""; 0], "{verdict}");
    assert_eq!(ledger.runs[&RunId(1)].ended.as_ref().map(|it| it.index), Some(LogIndex(11)));
    assert_eq!(ledger.workers[&WorkerId(1)].lost, Some(LogIndex(7)));
}

#[test]
fn i1_a_replica_that_differs() {
    let mut log = begun(&workflow(&["a"]));
    let before = log.state.clone();
    log.go(finish(1, 0, 4, failed()));
    log.auditor.restored(2, 0, LogIndex(4), &before);
    assert!(log.auditor.verdict().is_clean(), "{}", log.auditor.verdict());
    let (entry, mut state) = (log.entry(&[finish(1, 0, 4, failed())]), before);
    let applied = state.apply(LogIndex(5), &log.entry(&[finish(1, 0, 4, succeeded())]));
    log.show(2, &entry, &state, &applied);
    expect(log, &[I1]);
}

#[test]
fn i1_other_answers() {
    let mut log = begun(&workflow(&["a"]));
    let mut other = log.state.clone();
    log.go(finish(1, 0, 4, failed()));
    log.auditor.restored(2, 0, LogIndex(4), &other);
    let entry = log.entry(&[finish(1, 0, 4, failed())]);
    let mut applied = other.apply(LogIndex(5), &entry);
    applied.replies[0] = Ok(Reply::Done);
    log.show(2, &entry, &other, &applied);
    expect(log, &[I1]);
}

#[test]
fn i1_another_snapshot() {
    let mut log = begun(&workflow(&["a"]));
    let honest = log.state.clone();
    log.auditor.restored(2, 1, LogIndex(4), &honest);
    assert_eq!(log.auditor.verdict().coverage.of(Rare::SnapshotRestored), 1);
    log.auditor.restored(2, 2, LogIndex(4), &State::default());
    expect(log, &[I1]);
}

#[test]
fn i13_an_older_term_after_a_newer_one() {
    let mut log = begun(&workflow(&["a"]));
    for term in [3, 3, 4, 3] {
        log.term = Some(term);
        log.go(Command::Tick);
    }
    expect(log, &[I13]);
}

#[test]
fn i16_a_run_that_is_numbered_wrongly() {
    let mut log = Log::default();
    let (entry, state, mut applied) = log.prepare(without_request(submit("", &workflow(&["a"]))));
    applied.replies =
        vec![Ok(Reply::RunSubmitted { run: RunId(1), workflow: name("etl"), number: 2 })];
    log.show(1, &entry, &state, &applied);
    expect(log, &[I16]);
}

#[test]
fn i17_answers_and_time_that_do_not_fit() {
    let mut log = begun(&workflow(&["a"]));
    let (_, state, applied) = log.prepare(Command::Tick);
    let entry = log.entry(&[Command::Tick, Command::Tick]);
    log.show(1, &entry, &state, &applied);
    expect(log, &[I17]);

    let mut log = begun(&workflow(&["a"]));
    let (mut entry, state, applied) = log.prepare(Command::Tick);
    entry.at.0 += 77;
    log.show(1, &entry, &state, &applied);
    expect(log, &[I17]);

    let apply = Command::ApplyWorkflow(ApplyWorkflow {
        request: None,
        namespace: name("default"),
        spec: Box::new(workflow(&["a"])),
    });
    for command in [submit("r2", &workflow(&["a"])), register("gamma", 9, 1), apply] {
        let mut log = begun(&workflow(&["a"]));
        log.answer(without_request(command), Ok(Reply::Done));
        expect(log, &[I17]);
    }
}

#[test]
fn i17_what_has_no_bound() {
    let mut log = begun(&workflow(&["a"]));
    let long = "x".repeat(limits::REQUEST_ID_BYTES_MAX + 1);
    log.claim(&[cancel(&long, 1)], &[cancel("short", 1)]);
    expect_among(log, I17);

    let mut log = begun(&workflow(&["a"]));
    let long = "x".repeat(limits::REASON_BYTES_MAX + 1);
    let state = edited(&log.state, |run| run.tasks[0].message = Some(long.into()));
    log.turn_into(state);
    expect(log, &[I5, I17]);

    let mut log = begun(&workflow(&["a"]));
    let mut snapshot = log.state.snapshot();
    let worker = log.state.worker(WorkerId(1)).expect("it is there").clone();
    snapshot.meta.next_worker += limits::WORKERS_MAX as u64;
    for number in 3..snapshot.meta.next_worker {
        let mut worker = worker.as_ref().clone();
        worker.id = WorkerId(number);
        snapshot.workers.insert(number, worker.into());
    }
    log.turn_into(State::restore(snapshot).expect("it is whole"));
    // One for each worker that came from nowhere, and one for their number.
    assert_eq!(log.auditor.verdict().count(), limits::WORKERS_MAX as u64 + 1);
    expect(log, &[I12, I17]);
}

#[test]
fn i18_another_entry() {
    let mut log = begun(&workflow(&["a"]));
    let mut other = State::default();
    log.index = 1;
    let entry = log.entry(&[Command::Tick]);
    let applied = other.apply(LogIndex(1), &entry);
    log.show(2, &entry, &other, &applied);
    expect(log, &[I18]);
}

#[test]
fn i18_an_entry_twice_or_left_out() {
    let mut log = begun(&workflow(&["a"]));
    let (entry, state, applied) = log.prepare(lose(2));
    log.show(1, &entry, &state, &applied);
    log.show(1, &entry, &state, &applied);
    expect(log, &[I18]);

    // A second master shows entry 5 as it is, and never showed the four before it.
    let mut log = begun(&workflow(&["a"]));
    let (entry, state, applied) = log.prepare(lose(2));
    log.show(1, &entry, &state, &applied);
    log.show(2, &entry, &state, &applied);
    expect(log, &[I18]);
}

#[test]
fn i18_an_entry_where_the_others_have_none_or_another_term() {
    let show = |second: u64, term| {
        let mut log = Log { term: Some(3), ..Log::default() };
        log.go(Command::Tick);
        log.index = 5;
        log.go(Command::Tick);
        let mut state = State::default();
        for (index, term) in [(1, term), (second, 3)] {
            (log.index, log.term) = (index, Some(term));
            let entry = log.entry(&[Command::Tick]);
            let applied = state.apply(LogIndex(index), &entry);
            log.show(2, &entry, &state, &applied);
        }
        named(&log.finish().0)
    };
    assert_eq!(show(6, 3), []);
    assert_eq!(show(4, 3), [I18]);
    assert_eq!(show(6, 2), [I18]);
}

#[test]
fn a_log_that_begins_with_a_snapshot_is_audited_from_there() {
    let spec = workflow(&["a", "b: a"]);
    let begun = begun(&spec);
    let mut log = Log { state: begun.state.clone(), index: 4, ..Log::default() };
    log.auditor.restored(1, 0, LogIndex(4), &begun.state);
    log.go(finish(1, 0, 4, succeeded()));
    log.go(submit("r1", &spec));
    log.go(place(1, 1, 1));
    assert!(log.auditor.verdict().is_clean(), "{}", log.auditor.verdict());
    assert_eq!(log.auditor.ledger().begins_after, LogIndex(4));
    log.claim(&[finish(1, 1, 4, succeeded())], &[finish(1, 1, 7, succeeded())]);
    expect(log, &[I4]);
}

#[test]
fn a_snapshot_of_what_nobody_showed_is_taken_as_it_is() {
    let spec = workflow(&["a", "b: a"]);
    let mut log = begun(&spec);
    let mut hidden = begun(&spec);
    hidden.go(finish(1, 0, 4, succeeded()));
    hidden.go(place(1, 1, 2));
    log.auditor.restored(2, 0, LogIndex(6), &hidden.state);
    (log.state, log.index) = (hidden.state, 6);
    assert!(log.auditor.verdict().is_clean(), "{}", log.auditor.verdict());
    // Entry 5 turns up later, where a log without gaps could not have one.
    let (mut late, entry) = (begun(&spec).state, log.entry(&[finish(1, 0, 4, succeeded())]));
    log.index = 5;
    let applied = late.apply(LogIndex(5), &entry);
    log.show(1, &entry, &late, &applied);
    log.index = 7;
    let entry = log.entry(&[finish(1, 1, 6, failed())]);
    let (mut state, real) = (log.state.clone(), log.entry(&[finish(1, 1, 6, succeeded())]));
    let applied = state.apply(LogIndex(7), &real);
    log.show(2, &entry, &state, &applied);
    let (verdict, _) = log.finish();
    assert!(!verdict.is_clean() && !verdict.names(I18), "audited from there: {verdict}");
}

#[test]
fn i1_a_snapshot_of_what_did_not_happen() {
    let spec = workflow(&["a"]);
    let whole = || Log { auditor: Auditor::of_whole_log(), ..Log::default() };
    let mut log = whole();
    log.go(submit("r1", &spec));
    let (_, other, _) = log.prepare(submit("r2", &spec));
    // Beyond everything that was shown, where another auditor takes it for news.
    log.auditor.restored(2, 0, LogIndex(7), &other);
    assert_eq!(named(log.auditor.verdict()), [I1]);
    // And what turns up late is still found.
    let mut log = whole();
    log.index = 1;
    log.go(Command::Tick);
    log.auditor.restored(2, 0, LogIndex(7), &other);
    let mut late = State::default();
    log.index = 1;
    let entry = log.entry(&[Command::Tick]);
    let applied = late.apply(LogIndex(1), &entry);
    log.show(3, &entry, &late, &applied);
    expect(log, &[I1, I18]);
    // From nothing there is nothing to be restored.
    let mut log = whole();
    log.auditor.restored(1, 0, LogIndex(0), &State::default());
    assert!(log.auditor.verdict().is_clean(), "{}", log.auditor.verdict());
    log.auditor.restored(1, 0, LogIndex(3), &other);
    expect(log, &[I1]);
}

#[test]
fn a_restart_that_applies_its_log_again_is_compared() {
    let spec = workflow(&["a"]);
    let commands = [register("alpha", 7, 1), register("beta", 8, 1), submit("r1", &spec)];
    let mut auditor = Auditor::default();
    for incarnation in 0..2 {
        let mut after = State::default();
        for (index, command) in (1..).zip(&commands) {
            let entry = &Entry { at: Timestamp(index * STEP), commands: vec![command.clone()] };
            let index = LogIndex(index);
            let applied = &after.apply(index, entry);
            let (replica, term, at, after) = (1, None, None, &after);
            let show = Applying { replica, incarnation, index, term, at, entry, after, applied };
            auditor.observe(&show);
        }
    }
    let (verdict, _) = auditor.finish();
    assert!(verdict.is_clean(), "{verdict}");
    assert_eq!(verdict.coverage.of(Rare::IndexCompared), 3);
    assert_eq!(verdict.coverage.of(Rare::EntryAudited), 3);
}
