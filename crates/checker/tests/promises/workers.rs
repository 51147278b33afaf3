//! Workers, what they have, and their lives: I11, I12.

use muster_checker::Invariant::*;
use muster_core::command::{Command, DrainWorker, RegisterWorker};
use muster_core::ids::WorkerId;
use muster_core::reply::Reply;
use muster_core::state::State;

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
