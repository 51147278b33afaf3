//! Judges the log itself: every committed entry, with the state after it, once a replica.

use std::collections::BTreeMap;

use muster_core::apply::Applied;
use muster_core::command::Entry;
use muster_core::ids::LogIndex;
use muster_core::state::State;

use crate::history::Nanos;
use crate::ledger::Ledger;
use crate::verdict::{At, Invariant, Verdict};

/// One entry, as one replica has applied it.
#[derive(Clone, Copy, Debug)]
pub struct Applying<'a> {
    /// Which master.
    pub replica: u64,
    /// Which life of its process; a restart begins another one.
    pub incarnation: u64,
    /// Its place in the log.
    pub index: LogIndex,
    /// The term in which it was proposed, where the feeder knows it.
    pub term: Option<u64>,
    /// The harness's clock, where the feeder has one.
    pub at: Option<Nanos>,
    /// The entry.
    pub entry: &'a Entry,
    /// The state after it.
    pub after: &'a State,
    /// What apply returned.
    pub applied: &'a Applied,
}

/// See the module documentation.
#[derive(Debug, Default)]
pub struct Auditor {
    verdict: Verdict,
    ledger: Ledger,
    /// The last entry that each life of a replica showed.
    shown: BTreeMap<(u64, u64), LogIndex>,
}

impl Auditor {
    /// Tells that a replica applied an entry. Each replica shows its entries in the order of its log.
    pub fn observe(&mut self, applying: &Applying<'_>) {
        let key = (applying.replica, applying.incarnation);
        let last = self.shown.insert(key, applying.index);
        if last.is_some_and(|last| last >= applying.index) {
            let what = format!("master {} applied it again", applying.replica);
            self.verdict.found(Invariant::I18, At::Index(applying.index), what);
        }
        self.ledger.last = self.ledger.last.max(applying.index);
    }

    /// Tells that a replica's state comes from a snapshot, its own after a restart or a peer's; `index` is the last
    /// entry that the snapshot knows.
    pub fn restored(&mut self, replica: u64, incarnation: u64, index: LogIndex, state: &State) {
        let _ = (replica, incarnation, index, state);
    }

    /// What was found so far.
    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// What the log says happened so far.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Checks the last state as a whole, and ends the audit.
    pub fn finish(self) -> (Verdict, Ledger) {
        (self.verdict, self.ledger)
    }
}
