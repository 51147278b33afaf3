//! Workers, what they have, and their lives: I11, I12.

use muster_checker::Invariant::*;
use muster_core::command::{Command, DrainWorker, PlaceAttempts, Placement, RegisterWorker};
use muster_core::ids::{RunId, TaskIndex, WorkerId};
use muster_core::reply::{ItemRefusal, Reply};
use muster_core::spec::ArraySpec;
use muster_core::state::State;
use muster_core::state::cells::IndexRange;

use crate::log::*;
use crate::{expect, expect_among, named};

fn drain(worker: u64) -> Command {
    let worker = WorkerId(worker);
    Command::DrainWorker(DrainWorker { request: None, worker, is_draining: true })
}

#[test]
fn i11_more_than_a_worker_has_or_takes() {
    let first = |log: Log| named(&log.finish().0)[0];
    let mut log = begun(&workflow(&["a", "b"]));
    log.claim(&[place(1, 1, 1)], &[place(1, 1, 2)]);
    assert_eq!(first(log), I11, "it is full");

    let mut log = begun(&workflow(&["a", "b"]));
    log.go(register("gamma", 9, 1));
    log.go(drain(3));
    log.claim(&[place(1, 1, 3)], &[place(1, 1, 2)]);
    assert_eq!(first(log), I11, "it drains");

    let mut log = begun(&workflow(&["a", "b"]));
    let mut pooled = register("gamma", 9, 1);
    if let Command::RegisterWorker(RegisterWorker { pool, .. }) = &mut pooled {
        *pool = Some("gpu".into());
    }
    log.go(pooled);
    log.claim(&[place(1, 1, 3)], &[place(1, 1, 2)]);
    assert_eq!(first(log), I11, "it is of another pool");

    let mut spec = workflow(&["a", "b"]);
    spec.tasks[1].request.selector.insert("zone".into(), "x".into());
    let mut log = begun(&spec);
    let mut zoned = register("gamma", 9, 1);
    if let Command::RegisterWorker(RegisterWorker { labels, .. }) = &mut zoned {
        labels.insert("zone".into(), "x".into());
    }
    log.go(zoned);
    log.claim(&[place(1, 1, 2)], &[place(1, 1, 3)]);
    assert_eq!(first(log), I11, "it lacks a label");
}

#[test]
fn i12_a_placement_on_a_worker_that_is_gone() {
    let mut log = begun(&workflow(&["a", "b"]));
    log.go(lose(1));
    log.claim(&[place(1, 1, 1)], &[place(1, 1, 2)]);
    expect_among(log, I12);
}

#[test]
fn i12_what_is_told_to_a_worker_that_is_gone() {
    let mut log = begun(&workflow(&["a"]));
    log.go(lose(1));
    log.answer(lose(1), Ok(Reply::Done));
    expect(log, &[I12]);
    let mut log = begun(&workflow(&["a"]));
    log.go(lose(1));
    log.answer(drain(1), Ok(Reply::Done));
    expect(log, &[I12]);
}

#[test]
fn i12_lives_that_are_mixed_up() {
    let mut log = begun(&workflow(&["a"]));
    log.claim(&[register("alpha", 7, 1)], &[register("alpha", 9, 1)]);
    expect(log, &[I12]);
    let mut log = begun(&workflow(&["a"]));
    log.claim(&[register("alpha", 9, 1)], &[register("alpha", 7, 1)]);
    expect(log, &[I12]);
}

#[test]
fn i12_a_worker_that_is_told_that_it_is_another() {
    let mut log = begun(&workflow(&["a"]));
    log.answer(register("alpha", 7, 1), Ok(Reply::WorkerRegistered { worker: WorkerId(2) }));
    expect(log, &[I12]);
    let mut log = begun(&workflow(&["a"]));
    log.answer(register("alpha", 7, 1), Ok(Reply::WorkerRegistered { worker: WorkerId(1) }));
    expect(log, &[]);
}

#[test]
fn i12_a_worker_that_changes_by_itself() {
    let mut log = begun(&workflow(&["a"]));
    log.claim(&[Command::Tick], &[lose(2)]);
    expect(log, &[I12]);
    let mut log = begun(&workflow(&["a"]));
    log.claim(&[register("gamma", 9, 1)], &[register("gamma", 9, 2)]);
    expect(log, &[I12]);
    let mut log = begun(&workflow(&["a"]));
    let mut snapshot = log.state.snapshot();
    snapshot.workers.remove(2);
    log.turn_into(State::restore(snapshot).expect("it is whole"));
    expect(log, &[I12]);
}

/// An array task of which one index runs under fence 4, and so many may at once.
fn begun_array(max_parallel: u32) -> Log {
    let mut spec = workflow(&["a"]);
    spec.tasks[0].array = Some(ArraySpec { first: 0, last: 3 });
    spec.tasks[0].max_parallel = Some(max_parallel);
    begun(&spec)
}

fn place_index(index: u32, worker: u64) -> Command {
    let (run, task, worker) = (RunId(1), TaskIndex(0), WorkerId(worker));
    let placement = Placement { run, task, range: IndexRange::single(index), worker };
    Command::PlaceAttempts(PlaceAttempts { placements: vec![placement] })
}

#[test]
fn i11_more_indices_are_live_than_the_task_says() {
    let mut log = begun_array(1);
    let (entry, state, mut applied) = log.prepare(place_index(1, 2));
    assert_ne!(applied.replies, [Ok(Reply::Items { refused: vec![] })], "the core refuses it");
    applied.replies = vec![Ok(Reply::Items { refused: vec![] })];
    log.show(1, &entry, &state, &applied);
    expect_among(log, I11);
}

#[test]
fn i11_an_index_is_kept_waiting_though_more_may_be_live() {
    let mut log = begun_array(2);
    let refused = vec![(0, ItemRefusal::TooParallel)];
    log.answer(place_index(1, 2), Ok(Reply::Items { refused: refused.clone() }));
    expect(log, &[I11]);
    let mut log = begun_array(1);
    log.answer(place_index(1, 2), Ok(Reply::Items { refused }));
    expect(log, &[]);
}
