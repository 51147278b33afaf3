//! What clients, workers and masters saw, judged by what the log says.

mod attempts;
mod calls;
mod liveness;
mod masters;
mod reports;
mod workers;

use crate::coverage::Rare;
use crate::history::{Answer, History, Nanos, Observed};
use crate::ledger::Ledger;
use crate::linear::{by_log, one_run, operations};
use crate::verdict::Verdict;

/// What may be expected of the cluster that was watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectations {
    /// How many masters must agree at the end; 0 if nobody looked.
    pub masters: usize,
    /// The longest lease that a master grants.
    pub lease: Nanos,
    /// How long a leader waits beyond the lease before it gives a worker up.
    pub margin: Nanos,
    /// For so long at most a leader that was deposed goes on confirming leases.
    pub quorum_age: Nanos,
    /// Whether every begin, end and report of an attempt is in the history. A real process that is killed records
    /// nothing any more; a simulated one can.
    pub sees_all_attempts: bool,
    /// Present if the cluster was given time to recover after the faults.
    pub liveness: Option<Bounds>,
}

/// How long recovery may take, counted from when the faults stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Until there is a leader (L1).
    pub leader: Nanos,
    /// Until every run that was accepted by then has ended (L3); a run accepted later counts from its acceptance.
    pub runs: Nanos,
    /// Until a run submitted after the faults has ended, counted from its submission (L4).
    pub service: Nanos,
    /// Until a placed attempt begins or ends, counted from its placement (L5).
    pub owner: Nanos,
}

/// One judgement under way.
struct Judge<'a> {
    history: &'a History,
    ledger: &'a Ledger,
    expected: &'a Expectations,
    verdict: Verdict,
}

/// Judges a history by the ledger of the log. The history must be in order; see [`History::sort`].
pub fn judge(history: &History, ledger: &Ledger, expected: &Expectations) -> Verdict {
    let operations = operations(history);
    let mut judge = Judge { history, ledger, expected, verdict: Verdict::default() };
    judge.count();
    judge.check_calls(&operations);
    judge.check_attempts();
    judge.check_reports();
    judge.check_workers();
    judge.check_masters();
    judge.check_liveness(&operations);
    let may_be_pruned = ledger.pruned_before.0 > 0;
    judge.verdict.merge(by_log::check(&operations, ledger));
    // No call made these by itself, or more than calls about the run as a whole says how they end: calls alone say
    // too little about them.
    let others = ledger.runs.values().filter(|run| {
        let is_made = run.origin.is_some() || run.trigger.is_some() || run.parent.is_some();
        is_made || run.retries.is_some() || run.task_cancelled.is_some()
    });
    let others = others.map(|run| run.run).collect();
    judge.verdict.merge(one_run::check(&operations, &others, may_be_pruned));
    judge.verdict
}

impl Judge<'_> {
    /// Counts the rare events that observers report.
    fn count(&mut self) {
        for observation in self.history.iter() {
            let rare = match &observation.what {
                Observed::Returned { answer: Answer::Unknown { .. }, .. } => Rare::OutcomeUnknown,
                Observed::LeaseLapsed { .. } => Rare::LeaseLapsed,
                Observed::WorkerLeft { .. } => Rare::WorkerLeft,
                Observed::AttemptEnded { how: crate::history::Ending::Lost, .. } => {
                    Rare::AttemptKilled
                }
                Observed::ReportAnswered { is_accepted: false, .. } => Rare::ReportAnsweredStale,
                Observed::Reconciled { .. } => Rare::Reconciled,
                Observed::ProposalRefused { .. } => Rare::DeposedRefused,
                Observed::SnapshotInstalled { .. } => Rare::SnapshotInstalled,
                Observed::MasterStarted { restarts, .. } if *restarts > 0 => Rare::MasterRestarted,
                Observed::Fault { .. } => Rare::Fault,
                _ => continue,
            };
            self.verdict.coverage.count(rare);
        }
    }
}
