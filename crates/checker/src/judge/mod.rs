//! What clients, workers and masters saw, judged by what the log says.

use crate::history::{History, Nanos};
use crate::ledger::Ledger;
use crate::verdict::Verdict;

/// What may be expected of the cluster that was watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectations {
    /// How many masters must agree at the end.
    pub masters: usize,
    /// The lease of workers.
    pub lease: Nanos,
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
    /// Until every run that was accepted by then has ended (L3).
    pub runs: Nanos,
    /// Until a run submitted after the faults has ended, counted from its submission (L4).
    pub service: Nanos,
    /// Until a placed attempt begins, ends or is lost, counted from its placement (L5).
    pub owner: Nanos,
}

/// Judges a history by the ledger of the log. The ledger must be that of the whole log.
pub fn judge(history: &History, ledger: &Ledger, expected: &Expectations) -> Verdict {
    let _ = (history, ledger, expected);
    Verdict::default()
}
