//! Every rule of the checker, tripped by a log or a history that breaks it, and named rightly.

mod approvals;
mod attempts;
mod fan_out;
mod groups;
mod interleavings;
mod log;
mod quotas;
mod replicas;
mod runs;
mod seen;
mod sub_workflows;
mod trail;
mod triggers;
mod workers;

use std::collections::BTreeSet;

use muster_checker::{Invariant, Verdict};
use muster_core::snapshot::Snapshot;
use muster_core::state::State;
use muster_core::state::run::Run;
use muster_core::state::task::{TaskState, Tries};

use log::Log;

/// The promises that a verdict names.
fn named(verdict: &Verdict) -> Vec<Invariant> {
    let names: BTreeSet<Invariant> = verdict.violations.iter().map(|it| it.invariant).collect();
    names.into_iter().collect()
}

/// The audit must name exactly these.
#[track_caller]
fn expect(log: Log, wanted: &[Invariant]) {
    let (verdict, _) = log.finish();
    assert_eq!(named(&verdict), wanted, "{verdict}");
}

/// The audit must name this one, whatever else follows from the fault.
#[track_caller]
fn expect_among(log: Log, wanted: Invariant) {
    let (verdict, _) = log.finish();
    assert!(verdict.names(wanted), "{verdict}");
}

/// A state with run 1 changed.
fn edited(state: &State, edit: impl FnOnce(&mut Run)) -> State {
    let mut snapshot: Snapshot = state.snapshot();
    edit(snapshot.runs.get_mut(1).expect("run 1 is live"));
    State::restore(snapshot).expect("the edit keeps the state whole")
}

fn ready(run: &Run) -> TaskState {
    TaskState::Ready { tries: Tries::default(), since: run.submitted_at, avoid: None }
}
