//! Judges the log itself: every committed entry, with the state after it, once a replica.
//!
//! The first replica to show an entry is audited in depth: the entry is gone through command by command, by rules that
//! are written here and not taken from the core, and what comes out is compared with the state. Every other replica,
//! and every later life of the same one, is compared by fingerprint. What changed is found by comparing addresses, so
//! an entry costs what it touches.

mod attempts;
mod book;
mod children;
mod compare;
mod decisions;
mod follow_up;
mod groups;
mod hooks;
mod load;
mod operate;
mod print;
mod quotas;
mod retry;
mod rules;
mod runs;
mod schedules;
mod shape;
mod step;
mod trail;
mod triggers;
mod versions;
mod work;
mod workers;

use std::collections::BTreeMap;

use muster_core::apply::Applied;
use muster_core::check;
use muster_core::command::Entry;
use muster_core::ids::LogIndex;
use muster_core::snapshot::Snapshot;
use muster_core::state::State;
use muster_core::time::Timestamp;

use crate::coverage::Rare;
use crate::history::Nanos;
use crate::ledger::Ledger;
use crate::verdict::{At, Invariant, Verdict};

use book::Book;
use print::{StatePrint, applied_print, entry_print};
use step::Step;

/// Entries between two looks at the whole state.
const WHOLE_EVERY: u64 = 128;

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

/// What is known of an entry that was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    entry: u64,
    applied: u64,
    state: u64,
    deadline: Option<Timestamp>,
    term: Option<u64>,
}

/// One life of a replica.
#[derive(Debug, Default)]
struct Replica {
    incarnation: u64,
    /// The last entry it showed, and the state after it.
    index: LogIndex,
    state: Snapshot,
    print: StatePrint,
    /// It differed from the others: from there on it proves nothing.
    is_astray: bool,
}

/// See the module documentation.
#[derive(Debug, Default)]
pub struct Auditor {
    verdict: Verdict,
    ledger: Ledger,
    book: Book,
    replicas: BTreeMap<u64, Replica>,
    marks: BTreeMap<LogIndex, Mark>,
    /// Whether entries are missing between the first and the last one shown.
    has_gaps: bool,
    /// Whether nothing can be missing: see [`Auditor::of_whole_log`].
    is_shown_all: bool,
    audited: u64,
}

impl Auditor {
    /// One that is shown every entry from the first one on, before any replica can be restored to a state that knows
    /// it. What nobody showed did not happen: a snapshot of it is a violation, not news.
    pub fn of_whole_log() -> Self {
        Auditor { is_shown_all: true, ..Auditor::default() }
    }

    /// Tells that a replica applied an entry. Each life of a replica shows its entries in the order of its log, from
    /// the first one on or from what [`Auditor::restored`] said.
    pub fn observe(&mut self, applying: &Applying<'_>) {
        let Applying { replica: id, incarnation, index, after, .. } = *applying;
        let mut replica = self.replicas.remove(&id).unwrap_or_default();
        if replica.incarnation != incarnation {
            replica = Replica { incarnation, ..Replica::default() };
        }
        self.check_order(id, &replica, index);
        let before = std::mem::replace(&mut replica.state, after.snapshot());
        let before_index = std::mem::replace(&mut replica.index, index);
        let mark = Mark {
            entry: entry_print(applying.entry),
            applied: applied_print(applying.applied),
            state: replica.print.update(&replica.state),
            deadline: after.next_deadline(),
            term: applying.term,
        };
        match self.marks.get(&index).copied() {
            Some(known) => {
                self.verdict.coverage.count(Rare::IndexCompared);
                if !replica.is_astray {
                    replica.is_astray = !self.compare(id, index, &known, &mark);
                }
            }
            None if replica.is_astray => {}
            None if index < self.ledger.last => self.found_late(id, index),
            None => {
                self.check_term(index, mark.term);
                let is_next = self.is_state_of(before_index, self.ledger.last);
                self.marks.insert(index, mark);
                self.ledger.last = index;
                if let Some(at) = applying.at {
                    self.ledger.applied_at.insert(index, at);
                }
                if is_next {
                    self.audit(applying, &before);
                } else {
                    self.has_gaps = true;
                    self.ledger.fill(&replica.state, index);
                    self.adopt(&replica.state);
                }
                self.look_at_whole(index, after);
            }
        }
        self.replicas.insert(id, replica);
    }

    /// Tells that a replica's state comes from a snapshot: its own after a restart, or a peer's. `index` is the last
    /// entry that the snapshot knows.
    pub fn restored(&mut self, replica: u64, incarnation: u64, index: LogIndex, state: &State) {
        let snapshot = state.snapshot();
        let mut print = StatePrint::default();
        let fingerprint = print.update(&snapshot);
        let known = self.marks.range(..=index).next_back().map(|(_, mark)| mark);
        let same = (fingerprint, state.next_deadline());
        let is_first = self.marks.is_empty() && self.ledger.last == LogIndex(0);
        let differs = match known {
            Some(known) => (known.state, known.deadline) != same,
            None => {
                self.is_shown_all
                    && fingerprint != StatePrint::default().update(&Snapshot::default())
            }
        };
        let mut is_astray = false;
        let may_be_news = !self.is_shown_all && (is_first || index > self.ledger.last);
        if may_be_news && (is_first || differs) {
            // Nobody showed the entries up to here: the state is taken as it is.
            self.has_gaps |= differs;
            if is_first {
                self.ledger.begins_after = index;
            }
            self.ledger.last = index;
            self.ledger.fill(&snapshot, index);
            self.adopt(&snapshot);
        } else if differs {
            is_astray = true;
            let what =
                format!("master {replica} was restored to another state than the others had");
            self.verdict.found(Invariant::I1, At::Index(index), what);
        } else {
            self.verdict.coverage.count(Rare::SnapshotRestored);
        }
        let life = Replica { incarnation, index, state: snapshot, print, is_astray };
        self.replicas.insert(replica, life);
        self.check_whole(index, state);
    }

    /// Checks a state as a whole by its own invariants. Done every now and then anyway.
    pub fn check_whole(&mut self, index: LogIndex, state: &State) {
        self.whole(index, state.check());
    }

    fn whole(&mut self, index: LogIndex, checked: Result<(), check::Violation>) {
        let Err(violation) = checked else { return };
        let named = Invariant::ALL.iter().find(|it| it.code() == violation.invariant);
        let what = format!("the state as a whole: {}", violation.what);
        self.verdict.found(named.copied().unwrap_or(Invariant::I16), At::Index(index), what);
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
    pub fn finish(mut self) -> (Verdict, Ledger) {
        let last = self.ledger.last;
        let at_end = self.replicas.values().find(|it| it.index == last && !it.is_astray);
        if let Some(state) = at_end.map(|replica| replica.state.clone()) {
            self.ledger.digests.insert(last, state.digest());
            self.check_recount(last, &state);
            self.whole(last, State::restore(state).and_then(|state| state.check()));
        }
        (self.verdict, self.ledger)
    }

    /// A replica's log only grows, and leaves nothing out (I18).
    fn check_order(&mut self, id: u64, replica: &Replica, index: LogIndex) {
        if index <= replica.index {
            let what = format!("master {id} applied it after {}", replica.index);
            self.verdict.found(Invariant::I18, At::Index(index), what);
            return;
        }
        let between = LogIndex(replica.index.0 + 1)..index;
        if let Some((skipped, _)) = self.marks.range(between).next().filter(|_| !replica.is_astray)
        {
            let what = format!("master {id} left out entry {skipped}");
            self.verdict.found(Invariant::I18, At::Index(index), what);
        }
    }

    /// Compares what two replicas show at one index. Returns whether it is the same.
    fn compare(&mut self, id: u64, index: LogIndex, known: &Mark, mark: &Mark) -> bool {
        let differs = [
            (known.entry != mark.entry, Invariant::I18, "another entry"),
            (
                known.term.is_some() && mark.term.is_some() && known.term != mark.term,
                Invariant::I18,
                "another term",
            ),
            (known.state != mark.state, Invariant::I1, "another state"),
            (known.applied != mark.applied, Invariant::I1, "other answers"),
            (known.deadline != mark.deadline, Invariant::I1, "another next deadline"),
        ];
        let first = differs.into_iter().find(|(differs, ..)| *differs);
        if let Some((_, invariant, what)) = first {
            let what = format!("master {id} has {what} than the others");
            self.verdict.found(invariant, At::Index(index), what);
        }
        first.is_none()
    }

    /// An entry turned up below one that was shown before, where nobody had one.
    fn found_late(&mut self, id: u64, index: LogIndex) {
        if index > self.ledger.begins_after && !self.has_gaps {
            let what = format!("master {id} applied an entry where the others have none");
            self.verdict.found(Invariant::I18, At::Index(index), what);
        }
    }

    /// Terms never go back along the log (I13).
    fn check_term(&mut self, index: LogIndex, term: Option<u64>) {
        let before = self.marks.iter().next_back().and_then(|(_, mark)| mark.term);
        if let (Some(before), Some(term)) = (before, term)
            && term < before
        {
            let what = format!("an entry of term {term} follows one of term {before}");
            self.verdict.found(Invariant::I13, At::Index(index), what);
        }
    }

    /// Whether the state after `index` is the one after `last`: no entry lies between them.
    fn is_state_of(&self, index: LogIndex, last: LogIndex) -> bool {
        index >= last || self.marks.range(LogIndex(index.0 + 1)..=last).next().is_none()
    }

    fn audit(&mut self, applying: &Applying<'_>, before: &Snapshot) {
        let Applying { entry, after, applied, .. } = *applying;
        let found = self.verdict.count();
        let parts = (&mut self.book, &mut self.ledger, &mut self.verdict);
        let mut step = Step::new(parts, before, applying);
        step.walk(entry, applied);
        step.compare();
        if step.verdict.count() == found {
            step.compare_deadline();
            step.compare_namespaces();
        }
        if self.verdict.count() > found {
            // From here on the state is taken as it is: one fault is named once.
            self.adopt(&after.snapshot());
        }
    }

    /// Goes on from a state as it is.
    fn adopt(&mut self, state: &Snapshot) {
        self.book = Book::adopt(state);
    }

    /// Now and then, what is worked out step by step is compared with the whole.
    fn look_at_whole(&mut self, index: LogIndex, after: &State) {
        self.audited += 1;
        if !self.audited.is_multiple_of(WHOLE_EVERY) {
            return;
        }
        self.check_whole(index, after);
        let snapshot = after.snapshot();
        self.ledger.digests.insert(index, snapshot.digest());
        self.check_recount(index, &snapshot);
        self.book.shapes.keep(|version| snapshot.versions.get(version).is_some());
    }

    /// What workers hold, recounted over all runs, must be what was kept up step by step.
    fn check_recount(&mut self, index: LogIndex, state: &Snapshot) {
        let fresh = Book::adopt(state);
        if fresh.takings != self.book.takings {
            let what = "what namespaces have differs from a recount over all runs";
            self.verdict.found(Invariant::I16, At::Index(index), what);
        }
        if fresh.holdings != self.book.holdings {
            let what = "what workers hold differs from a recount over all runs";
            self.verdict.found(Invariant::I16, At::Index(index), what);
        }
    }
}

#[cfg(test)]
mod tests {
    use muster_core::ids::{RunId, TaskIndex, WorkerId};
    use muster_core::spec::Resources;

    use super::*;

    #[test]
    fn what_the_state_says_of_itself_keeps_its_name() {
        for name in ["I2", "I6", "I7", "I10", "I11", "I12", "I15", "I16"] {
            let mut auditor = Auditor::default();
            let violation = check::Violation { invariant: name, what: String::new() };
            auditor.whole(LogIndex(1), Err(violation));
            let found = auditor.verdict.violations[0].invariant.code();
            assert_eq!(found, name);
        }
    }

    #[test]
    fn a_deadline_that_is_missed_is_found() {
        let mut auditor = Auditor::default();
        auditor.book.set_due(RunId(1), Some(Timestamp(1_000)));
        let entry = Entry { at: Timestamp(0), commands: Vec::new() };
        let (after, applied) = (State::default(), Applied::default());
        let (replica, incarnation, index, term, at) = (1, 0, LogIndex(1), None, None);
        let (entry, after, applied) = (&entry, &after, &applied);
        let shown = Applying { replica, incarnation, index, term, at, entry, after, applied };
        auditor.observe(&shown);
        assert!(auditor.verdict.names(Invariant::I16), "{}", auditor.verdict);
    }

    #[test]
    fn replicas_with_different_deadlines_are_found() {
        let mark = Mark { entry: 0, applied: 0, state: 0, deadline: None, term: None };
        let late = Mark { deadline: Some(Timestamp(1)), ..mark };
        let mut auditor = Auditor::default();
        assert!(auditor.compare(2, LogIndex(1), &mark, &mark));
        assert!(!auditor.compare(2, LogIndex(1), &mark, &late));
        assert!(auditor.verdict.names(Invariant::I1));
    }

    #[test]
    fn what_was_kept_up_wrongly_is_found_in_the_end() {
        let mut auditor = Auditor::default();
        let task = (RunId(1), TaskIndex(0));
        auditor.check_recount(LogIndex(1), &Snapshot::default());
        assert!(auditor.verdict.is_clean());
        let holdings = &mut auditor.book.holdings;
        holdings.take(WorkerId(1), task, &Resources::default(), 1);
        auditor.check_recount(LogIndex(1), &Snapshot::default());
        assert!(auditor.verdict.names(Invariant::I16));
    }
}
