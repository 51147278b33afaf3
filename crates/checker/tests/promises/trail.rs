//! Who asked for what: I19.

use muster_checker::Invariant::*;
use muster_core::command::{Asked, Command, PauseRun};
use muster_core::ids::RunId;
use muster_core::state::State;
use muster_core::state::trail::Asker;

use crate::log::*;
use crate::{edited, expect};

fn by(who: &str, command: Command) -> Command {
    let by = Asker { who: who.into(), from: "10.0.0.7".into() };
    Command::Asked(Asked { by, command: Box::new(command) })
}

fn pause(is_paused: bool) -> Command {
    Command::PauseRun(PauseRun { request: key("p1", 3), run: RunId(1), is_paused })
}

/// A run that Ann asked for, and that has begun.
fn asked() -> Log {
    let mut log = Log::default();
    log.go(register("alpha", 7, 1));
    log.go(by("ann", submit("r1", &workflow(&["a"]))));
    log
}

#[test]
fn i19_an_honest_trail() {
    let mut log = asked();
    log.go(by("bob", pause(true)));
    log.go(by("bob", pause(true)));
    log.go(cancel("c1", 1));
    expect(log, &[]);
}

#[test]
fn i19_an_action_of_somebody_else_and_one_that_nobody_asked_for() {
    let mut log = asked();
    log.claim(&[by("ann", pause(true))], &[by("bob", pause(true))]);
    expect(log, &[I19]);
    let mut log = asked();
    log.claim(&[pause(true)], &[by("bob", pause(true))]);
    expect(log, &[I19]);
}

#[test]
fn i19_an_action_that_is_missing() {
    let mut log = asked();
    log.claim(&[by("bob", pause(true))], &[pause(true)]);
    expect(log, &[I19]);
}

#[test]
fn i19_a_run_of_somebody_else() {
    let mut log = Log::default();
    let submission = submit("r1", &workflow(&["a"]));
    let (entry, state, applied) = log.prepare(by("ann", submission));
    let other = Asker { who: "eve".into(), from: "10.0.0.7".into() };
    let state: State = edited(&state, |run| run.asked_by = Some(other));
    log.show(1, &entry, &state, &applied);
    expect(log, &[I19]);
}
