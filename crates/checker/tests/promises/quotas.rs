//! Quotas of namespaces: nothing begins beyond them, and nothing is refused for them that had room (I11).

use muster_checker::Invariant::{I2, I11};
use muster_checker::Rare;
use muster_core::command::{ApplyNamespace, Command};
use muster_core::ids::LogIndex;
use muster_core::spec::WorkflowSpec;
use muster_core::spec::namespace::{NamespaceSpec, Quota};

use super::expect;
use super::log::{Log, cancel, finish, name, place, register, submit, succeeded, workflow};

fn quota(runs: Option<u32>, tasks: Option<u32>, cpu_millis: Option<u64>) -> Command {
    let quota = Quota { runs, tasks, cpu_millis, memory_bytes: None };
    let spec = NamespaceSpec { quota, ..NamespaceSpec::new(name("default")) };
    Command::ApplyNamespace(ApplyNamespace { request: None, spec })
}

fn two() -> WorkflowSpec {
    workflow(&["a", "b"])
}

/// A worker and a run of two tasks, under a quota.
fn under(command: Command) -> Log {
    let mut log = Log::default();
    log.go(register("alpha", 7, 9));
    log.go(command);
    log.go(submit("r1", &two()));
    log
}

/// Gives the namespace another quota behind the auditor's back.
fn secretly(log: &mut Log, command: Command) {
    let entry = log.entry(&[command]);
    let applied = log.state.apply(LogIndex(log.index), &entry);
    assert!(applied.replies.iter().all(Result::is_ok));
}

#[test]
fn honest_quotas_are_found_right_and_counted() {
    let mut log = under(quota(Some(1), Some(1), None));
    log.go(submit("r2", &two()));
    log.go(place(1, 0, 1));
    log.go(place(1, 1, 1));
    log.go(quota(Some(0), Some(0), None));
    log.go(finish(1, 0, 5, succeeded()));
    log.go(place(1, 1, 1));
    log.go(cancel("c1", 1));
    log.go(submit("r2", &two()));
    log.go(quota(None, None, None));
    log.go(submit("r2", &two()));
    let (verdict, _) = log.finish();
    assert!(verdict.is_clean(), "{verdict}");
    let count = |rare| verdict.coverage.of(rare);
    assert_eq!(count(Rare::NamespaceApplied), 3, "{verdict}");
    assert_eq!((count(Rare::RunOverQuota), count(Rare::QuotaFull)), (2, 1), "{verdict}");
    assert_eq!((count(Rare::AttemptPlaced), count(Rare::PlacementRefused)), (1, 2), "{verdict}");
}

#[test]
fn i11_a_run_more_than_the_quota_lets_be_live() {
    let mut log = under(quota(Some(1), None, None));
    secretly(&mut log, quota(Some(2), None, None));
    log.go(submit("r2", &two()));
    expect(log, &[I11]);
}

#[test]
fn i11_a_run_that_is_refused_and_had_room() {
    let mut log = under(quota(Some(2), None, None));
    secretly(&mut log, quota(Some(1), None, None));
    log.go(submit("r2", &two()));
    expect(log, &[I11]);
}

#[test]
fn i11_a_placement_more_than_the_quota_of_tasks() {
    let mut log = under(quota(None, Some(1), None));
    log.go(place(1, 0, 1));
    secretly(&mut log, quota(None, None, None));
    log.go(place(1, 1, 1));
    expect(log, &[I11]);
}

#[test]
fn i11_a_placement_more_than_the_quota_of_cpu() {
    let mut log = under(quota(None, None, Some(1999)));
    log.go(place(1, 0, 1));
    secretly(&mut log, quota(None, None, None));
    log.go(place(1, 1, 1));
    expect(log, &[I11]);
}

#[test]
fn i11_a_placement_that_is_refused_and_had_room() {
    let mut log = under(quota(None, Some(2), None));
    log.go(place(1, 0, 1));
    secretly(&mut log, quota(None, Some(1), None));
    log.go(place(1, 1, 1));
    expect(log, &[I11]);
}

#[test]
fn i2_a_quota_that_changes_unasked() {
    let mut log = under(quota(None, Some(9), None));
    secretly(&mut log, quota(None, Some(8), None));
    log.go(place(1, 0, 1));
    expect(log, &[I2]);
}
