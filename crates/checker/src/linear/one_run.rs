//! One run as its callers see it, and the calls of a history taken apart by runs: a history is linearizable only if the
//! calls about each run are.

use std::collections::{BTreeMap, BTreeSet};

use muster_core::ids::{RunId, Text};
use muster_core::state::run::RunStatus;

use super::Operation;
use super::by_search::{Found, Interval, Model, search};
use crate::history::{Answer, Call};
use crate::verdict::{At, Invariant, Verdict};

/// Steps that the search may take over one run.
const STEPS_MAX: usize = 100_000;
/// What is counted when a search is given up after that.
pub const GIVEN_UP: &str = "search given up";

/// A call about one run, and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunCall {
    /// It was submitted, with this body.
    Submitted {
        /// Digest of the body.
        body: u64,
    },
    /// Its request id was used with another body than this one.
    Reused {
        /// Digest of the body.
        body: u64,
    },
    /// Its cancel was accepted.
    Cancelled {
        /// Whether other calls had the same request id: then it may be the answer to one of them.
        is_shared: bool,
    },
    /// Its cancel came too late.
    CancelTooLate,
    /// It was seen.
    Seen {
        /// With this status.
        status: RunStatus,
    },
    /// It was not there.
    Missing,
}

/// Where one run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RunState {
    /// Nobody has submitted it.
    Absent,
    /// It has not ended.
    Live {
        /// The body it was submitted with.
        body: u64,
        /// Whether it was cancelled.
        is_cancelled: bool,
    },
    /// It has ended, in a way that somebody may have seen.
    Ended {
        /// The body it was submitted with.
        body: u64,
        /// Whether it was cancelled before.
        is_cancelled: bool,
        /// How, once somebody saw it.
        status: Option<RunStatus>,
    },
}

/// The rules of one run. It may end at any time, without a call.
#[derive(Clone, Copy, Debug, Default)]
pub struct OneRun {
    /// Whether ended runs may be forgotten.
    pub may_be_pruned: bool,
    /// Whether the run was there before the history began.
    pub is_older: bool,
}

impl Model for OneRun {
    type State = RunState;
    type Call = RunCall;

    fn begin(&self) -> RunState {
        if self.is_older {
            RunState::Live { body: 0, is_cancelled: false }
        } else {
            RunState::Absent
        }
    }

    fn step(&self, state: &RunState, call: &RunCall) -> Vec<RunState> {
        let ended = match *state {
            RunState::Live { body, is_cancelled } => {
                Some(RunState::Ended { body, is_cancelled, status: None })
            }
            RunState::Absent | RunState::Ended { .. } => None,
        };
        [Some(*state), ended]
            .into_iter()
            .flatten()
            .filter_map(|state| self.at(state, call))
            .collect()
    }
}

impl OneRun {
    /// The state after a call, without anything that happens by itself.
    fn at(&self, state: RunState, call: &RunCall) -> Option<RunState> {
        use RunState::{Absent, Ended, Live};
        match (*call, state) {
            (RunCall::Submitted { body }, Absent) => Some(Live { body, is_cancelled: false }),
            (RunCall::Submitted { body }, Live { body: first, .. } | Ended { body: first, .. }) => {
                (body == first).then_some(state)
            }
            (RunCall::Reused { body }, Live { body: first, .. } | Ended { body: first, .. }) => {
                (body != first).then_some(state)
            }
            (RunCall::Cancelled { .. }, Live { body, .. }) => {
                Some(Live { body, is_cancelled: true })
            }
            (RunCall::Cancelled { is_shared }, Ended { is_cancelled, .. }) => {
                (is_shared && is_cancelled).then_some(state)
            }
            (RunCall::CancelTooLate, Ended { .. }) => Some(state),
            (
                RunCall::Seen {
                    status: RunStatus::Queued | RunStatus::Running | RunStatus::Paused,
                },
                Live { .. },
            ) => Some(state),
            (
                RunCall::Seen {
                    status: RunStatus::Queued | RunStatus::Running | RunStatus::Paused,
                },
                Ended { .. },
            ) => None,
            (RunCall::Seen { status }, Ended { body, is_cancelled, status: seen }) => {
                let fits_cancel = match status {
                    RunStatus::Succeeded
                    | RunStatus::Running
                    | RunStatus::Paused
                    | RunStatus::Queued => !is_cancelled,
                    RunStatus::Cancelled => is_cancelled,
                    RunStatus::Failed => true,
                };
                let is_same = seen.is_none_or(|seen| seen == status);
                (fits_cancel && is_same).then_some(Ended {
                    body,
                    is_cancelled,
                    status: Some(status),
                })
            }
            (RunCall::Missing, Absent) => Some(state),
            (RunCall::Missing, Ended { .. }) => self.may_be_pruned.then_some(state),
            (RunCall::Missing, Live { .. })
            | (RunCall::CancelTooLate | RunCall::Seen { .. }, Live { .. })
            | (
                RunCall::Reused { .. }
                | RunCall::Cancelled { .. }
                | RunCall::CancelTooLate
                | RunCall::Seen { .. },
                Absent,
            ) => None,
        }
    }
}

/// The calls about one run.
#[derive(Clone, Debug, Default)]
pub struct Part {
    calls: Vec<Interval<RunCall>>,
    is_submitted: bool,
    /// The name of its workflow, if a submission says it.
    workflow: Option<Text>,
}

/// Takes calls apart by runs. Reads that may be stale promise no order and are left out.
pub fn parts(operations: &[Operation]) -> BTreeMap<RunId, Part> {
    let mut parts: BTreeMap<RunId, Part> = BTreeMap::new();
    let (runs, uses) = requests(operations);
    // Submissions of which nobody knows what became of them may have made any run that nobody else did.
    let mut strays: Vec<Interval<RunCall>> = Vec::new();
    for operation in operations.iter().filter(|it| !it.is_stale()) {
        let is_shared = operation.request().is_some_and(|request| uses[request] > 1);
        let interval =
            |call| Interval { invoked: operation.invoked, returned: operation.returned, call };
        match (&operation.what, &operation.answer) {
            (Call::Submit { body, request, workflow, .. }, answer) => {
                let call = match answer {
                    Some(Answer::Refused { code }) if code.as_ref() == "ALREADY_EXISTS" => {
                        RunCall::Reused { body: *body }
                    }
                    Some(Answer::Refused { .. }) => continue,
                    _ => RunCall::Submitted { body: *body },
                };
                let told = match answer {
                    Some(Answer::Submitted { run, .. }) => Some(*run),
                    _ => request.as_ref().and_then(|request| runs.get(request).copied()),
                };
                match told {
                    Some(run) => {
                        let part = parts.entry(run).or_default();
                        part.is_submitted |= matches!(call, RunCall::Submitted { .. });
                        part.workflow.get_or_insert_with(|| workflow.clone());
                        part.calls.push(interval(call));
                    }
                    None if operation.returned.is_none() => strays.push(interval(call)),
                    None => {}
                }
            }
            (Call::Cancel { run, .. }, answer) => {
                let call = match answer {
                    None | Some(Answer::Cancelling { is_cancelling: true }) => {
                        RunCall::Cancelled { is_shared }
                    }
                    Some(Answer::Cancelling { is_cancelling: false }) => RunCall::CancelTooLate,
                    Some(Answer::NoRun {}) => RunCall::Missing,
                    Some(_) => continue,
                };
                parts.entry(*run).or_default().calls.push(interval(call));
            }
            (Call::Get { run, .. }, Some(Answer::Run { status })) => {
                let call = RunCall::Seen { status: *status };
                parts.entry(*run).or_default().calls.push(interval(call));
            }
            (Call::Get { run, .. }, Some(Answer::NoRun {})) => {
                parts.entry(*run).or_default().calls.push(interval(RunCall::Missing));
            }
            _ => {}
        }
    }
    add_lists(operations, &mut parts);
    for part in parts.values_mut().filter(|part| !part.is_submitted) {
        part.calls.extend(strays.iter().cloned());
        part.is_submitted = !strays.is_empty();
    }
    parts
}

/// The run that each request id was told, and how many calls carried the id.
fn requests(operations: &[Operation]) -> (BTreeMap<&Text, RunId>, BTreeMap<&Text, usize>) {
    let (mut runs, mut uses) = (BTreeMap::new(), BTreeMap::new());
    for operation in operations {
        let Some(request) = operation.request() else { continue };
        *uses.entry(request).or_default() += 1;
        if let Some(Answer::Submitted { run, .. }) = operation.answer {
            runs.entry(request).or_insert(run);
        }
    }
    (runs, uses)
}

/// A list says something about each run on it, and, if it is whole, about each that is not.
fn add_lists(operations: &[Operation], parts: &mut BTreeMap<RunId, Part>) {
    let lists = operations.iter().filter(|it| !it.is_stale()).filter_map(|operation| {
        match (&operation.what, &operation.answer) {
            (Call::List { workflow, .. }, Some(Answer::Runs { runs, is_whole })) => {
                Some((operation, workflow, runs, *is_whole))
            }
            _ => None,
        }
    });
    let lists: Vec<_> = lists.collect();
    let interval = |operation: &Operation, call| Interval {
        invoked: operation.invoked,
        returned: operation.returned,
        call,
    };
    for (operation, _, runs, _) in &lists {
        for (run, status) in *runs {
            let call = RunCall::Seen { status: *status };
            parts.entry(*run).or_default().calls.push(interval(operation, call));
        }
    }
    for (operation, workflow, runs, _) in lists.iter().filter(|(.., is_whole)| *is_whole) {
        let listed: BTreeSet<RunId> = runs.iter().map(|(run, _)| *run).collect();
        let is_missing = |(run, part): &(&RunId, &mut Part)| {
            let is_asked = workflow.is_none() || part.workflow == **workflow;
            is_asked && !listed.contains(*run)
        };
        for (_, part) in parts.iter_mut().filter(is_missing) {
            part.calls.push(interval(operation, RunCall::Missing));
        }
    }
}

/// Judges all calls, run by run, but for the runs in `others`.
pub fn check(operations: &[Operation], others: &BTreeSet<RunId>, may_be_pruned: bool) -> Verdict {
    let mut verdict = Verdict::default();
    for (run, part) in parts(operations).into_iter().filter(|(run, _)| !others.contains(run)) {
        let model = OneRun { may_be_pruned, is_older: !part.is_submitted };
        match search(&model, &part.calls, STEPS_MAX) {
            Found::Order => {}
            Found::GaveUp => verdict.coverage.count_own(GIVEN_UP, 1),
            Found::None { explained } => {
                let what = format!(
                    "no order of its {} calls explains more than {explained} answers about run {run}: {:?}",
                    part.calls.len(),
                    part.calls
                );
                verdict.found(Invariant::I14, At::End, what);
            }
        }
    }
    verdict
}
