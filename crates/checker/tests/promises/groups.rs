//! Concurrency groups: nothing begins beyond their limits, nothing is refused for them that had room (I11), and no
//! workflow names one that there is not (I17).

use muster_checker::Invariant::{I11, I17};
use muster_checker::Rare;
use muster_core::command::{ApplyNamespace, Command};
use muster_core::ids::LogIndex;
use muster_core::spec::WorkflowSpec;
use muster_core::spec::namespace::{GroupSpec, NamespaceSpec};

use super::expect;
use super::log::{Log, finish, name, place, register, submit, succeeded, workflow};

fn groups(groups: &[(&str, u32)]) -> Command {
    let groups = groups.iter().map(|(group, limit)| (name(group), GroupSpec { limit: *limit }));
    let spec = NamespaceSpec { groups: groups.collect(), ..NamespaceSpec::new(name("default")) };
    Command::ApplyNamespace(ApplyNamespace { request: None, spec })
}

/// Three tasks, of which two are in `db` and one of those in `licence` too.
fn three() -> WorkflowSpec {
    let mut spec = workflow(&["a", "b", "c"]);
    spec.tasks[0].request.groups = [name("db")].into();
    spec.tasks[1].request.groups = [name("db"), name("licence")].into();
    spec
}

/// A worker and a run of three tasks, beside groups.
fn beside(command: Command) -> Log {
    let mut log = Log::default();
    log.go(register("alpha", 7, 9));
    log.go(command);
    log.go(submit("r1", &three()));
    log
}

/// Gives the namespace other groups behind the auditor's back.
fn secretly(log: &mut Log, command: Command) {
    let entry = log.entry(&[command]);
    let applied = log.state.apply(LogIndex(log.index), &entry);
    assert!(applied.replies.iter().all(Result::is_ok));
}

#[test]
fn honest_groups_are_found_right_and_counted() {
    let mut log = beside(groups(&[("db", 1), ("licence", 9)]));
    log.go(place(1, 0, 1));
    log.go(place(1, 1, 1));
    log.go(place(1, 2, 1));
    log.go(finish(1, 0, 4, succeeded()));
    log.go(groups(&[("db", 1), ("licence", 0)]));
    log.go(place(1, 1, 1));
    log.go(groups(&[("db", 1)]));
    log.go(place(1, 1, 1));
    // What is known already is no new version, and goes on waiting.
    log.go(submit("r2", &three()));
    log.go(submit("r3", &WorkflowSpec { priority: 1, ..three() }));
    log.go(groups(&[("db", 1), ("licence", 1)]));
    log.go(place(1, 1, 1));
    let (verdict, _) = log.finish();
    assert!(verdict.is_clean(), "{verdict}");
    let count = |rare| verdict.coverage.of(rare);
    assert_eq!((count(Rare::GroupFull), count(Rare::GroupUnknown)), (2, 1), "{verdict}");
    assert_eq!((count(Rare::AttemptPlaced), count(Rare::PlacementRefused)), (3, 3), "{verdict}");
}

#[test]
fn i11_a_placement_more_than_a_group_lets_be_live() {
    let mut log = beside(groups(&[("db", 1), ("licence", 1)]));
    log.go(place(1, 0, 1));
    secretly(&mut log, groups(&[("db", 2), ("licence", 1)]));
    log.go(place(1, 1, 1));
    expect(log, &[I11]);
}

#[test]
fn i11_a_placement_in_a_group_that_is_gone() {
    let mut log = beside(groups(&[("db", 1), ("licence", 1)]));
    log.go(groups(&[("db", 1)]));
    secretly(&mut log, groups(&[("db", 1), ("licence", 1)]));
    log.go(place(1, 1, 1));
    expect(log, &[I11]);
}

#[test]
fn i11_a_placement_that_is_refused_and_had_room() {
    let mut log = beside(groups(&[("db", 2), ("licence", 1)]));
    log.go(place(1, 0, 1));
    secretly(&mut log, groups(&[("db", 1), ("licence", 1)]));
    log.go(place(1, 1, 1));
    expect(log, &[I11]);
}

#[test]
fn i17_a_workflow_that_names_a_group_that_there_is_not() {
    let mut log = Log::default();
    log.go(groups(&[("db", 1)]));
    secretly(&mut log, groups(&[("db", 1), ("licence", 1)]));
    log.go(submit("r1", &three()));
    expect(log, &[I17]);
}

#[test]
fn i17_a_workflow_that_is_refused_for_a_group_that_there_is() {
    let mut log = Log::default();
    log.go(groups(&[("db", 1), ("licence", 1)]));
    secretly(&mut log, groups(&[("db", 1)]));
    log.go(submit("r1", &three()));
    expect(log, &[I17]);
}
