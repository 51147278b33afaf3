//! Tasks whose size comes late: they get it once, and all of it: I2, I4, I7.

use muster_checker::Invariant::*;
use muster_core::command::{Command, DecideTasks, Decision, Verdict};
use muster_core::ids::{LogIndex, RunId, TaskIndex};
use muster_core::reply::{ItemRefusal, Reply};
use muster_core::spec::template::Reference;
use muster_core::spec::{FanOut, ParamSpec, WorkflowSpec};
use muster_core::state::cells::{Cells, IndexRange};
use muster_core::state::run::Run;

use crate::log::*;
use crate::{edited, expect, expect_among, ready};

/// `a` goes through a list, `b` does not.
fn sized_late() -> WorkflowSpec {
    let mut spec = workflow(&["a", "b"]);
    let list = ParamSpec { default: Some("".into()), ..ParamSpec::default() };
    spec.params.insert(name("list"), list);
    spec.tasks[0].fan_out = Some(FanOut::Reference(Reference::Param("list".into())));
    spec
}

/// A run of it, undecided since the second entry.
fn undecided() -> Log {
    let mut log = Log::default();
    log.go(register("w1", 1, 4));
    log.go(submit("r1", &sized_late()));
    log
}

fn decide(task: u32, since: u64, items: &[&str]) -> Command {
    let verdict = Verdict::FanOut { items: items.iter().collect() };
    let (run, task, since) = (RunId(1), TaskIndex(task), LogIndex(since));
    Command::DecideTasks(DecideTasks { decisions: vec![Decision { run, task, since, verdict }] })
}

#[test]
fn a_task_that_gets_its_size_breaks_nothing() {
    let mut log = undecided();
    log.go(decide(0, 2, &["x", "y"]));
    log.go(decide(0, 2, &["x"]));
    log.go(decide(1, 2, &["x"]));
    log.go(place(1, 0, 1));
    expect(log, &[]);
    let mut log = undecided();
    log.go(decide(0, 2, &[]));
    expect(log, &[]);
}

#[test]
fn i2_an_item_that_is_lost() {
    let mut log = undecided();
    log.claim(&[decide(0, 2, &["x", "y", "z"])], &[decide(0, 2, &["x", "y"])]);
    expect(log, &[I2]);
}

#[test]
fn i2_an_item_that_becomes_another() {
    let mut log = undecided();
    log.claim(&[decide(0, 2, &["x", "y"])], &[decide(0, 2, &["x", "z"])]);
    expect_among(log, I2);
}

#[test]
fn i2_a_task_that_gets_another_size_unasked() {
    let mut log = undecided();
    log.go(decide(0, 2, &["x", "y"]));
    let grown = |run: &mut Run| {
        let ready = ready(run);
        let range = |last| IndexRange { first: 0, last };
        run.tasks[0].cells = Cells::from_ranges([(range(2), ready)]).expect("it has no gap");
        run.tasks[0].items = Some(["x", "y", "z"].into_iter().collect());
    };
    let state = edited(&log.state, grown);
    log.turn_into(state);
    expect_among(log, I2);
}

#[test]
fn i7_a_size_for_a_task_that_waits_for_none() {
    let mut log = undecided();
    log.answer(decide(1, 2, &["x"]), Ok(Reply::Items { refused: Vec::new() }));
    expect_among(log, I7);
}

#[test]
fn i7_a_size_that_is_not_taken() {
    let mut log = undecided();
    let refused = vec![(0, ItemRefusal::WrongVerdict)];
    log.answer(decide(0, 2, &["x"]), Ok(Reply::Items { refused }));
    expect_among(log, I7);
}

#[test]
fn i4_an_outcome_of_an_index_that_there_is_not() {
    let mut log = undecided();
    log.go(decide(0, 2, &["x"]));
    log.go(place(1, 0, 1));
    let mut beyond = finish(1, 0, 4, succeeded());
    if let Command::FinishAttempts(it) = &mut beyond {
        it.finishes[0].attempt.range = IndexRange::single(1);
    }
    log.answer(beyond, Ok(Reply::Items { refused: Vec::new() }));
    let (verdict, _) = log.finish();
    assert!(!verdict.is_clean(), "{verdict}");
}
