//! Ends of attempts, from the worker that came to them to the log: what is reported is what happened (I4), what is
//! accepted was reported (I4), and what was reported is neither forgotten by its worker nor, once accepted, by the
//! masters (I2).

use std::collections::{BTreeMap, BTreeSet};

use muster_core::ids::{Fence, RunId, TaskIndex, Text};
use muster_core::state::cells::IndexRange;

use super::Judge;
use crate::coverage::Rare;
use crate::history::{Ending, Nanos, Observed};
use crate::ledger::Cause;
use crate::verdict::{At, Invariant};

/// Attempts of one task under one fence.
type Key = (RunId, TaskIndex, Fence);

/// A report, or the answer to one.
#[derive(Clone, Debug)]
struct Report {
    worker: Text,
    range: IndexRange,
    how: Ending,
    at: Nanos,
}

/// What workers and their executors said.
#[derive(Default)]
struct Said {
    reports: BTreeMap<Key, Vec<Report>>,
    accepted: Vec<(Key, Report)>,
    /// How each index ended, and under which life of its worker it began.
    ends: BTreeMap<(Key, u32), Ending>,
    began: BTreeMap<(Key, u32), u64>,
    /// Kept and not answered yet, with the first moment of a report.
    owed: BTreeMap<(Text, Key, IndexRange), Nanos>,
    /// Processes that are gone.
    gone: BTreeSet<(Text, u64)>,
    /// Answers to what a life came to that was gone by then.
    late: u64,
}

impl Judge<'_> {
    pub(super) fn check_reports(&mut self) {
        let said = self.said_in_reports();
        self.verdict.coverage.add(Rare::JournalDelivered, said.late);
        if self.expected.sees_all_attempts {
            self.check_truth(&said);
            self.check_accepted(&said);
        }
        if self.expected.sees_all_attempts && self.expected.liveness.is_some() {
            self.check_owed(&said);
        }
        self.check_answered(&said);
    }

    fn said_in_reports(&self) -> Said {
        let mut said = Said::default();
        for observation in self.history.iter() {
            said.take_in(&observation.what, observation.at);
        }
        said
    }

    /// What is reported of an attempt is how it ended, whoever reports it and however often.
    fn check_truth(&mut self, said: &Said) {
        for (key, report) in
            said.reports.iter().flat_map(|(key, all)| all.iter().map(move |it| (key, it)))
        {
            let indices = report.range.first..=report.range.last;
            let mut ends =
                indices.filter_map(|index| Some((index, said.ends.get(&(*key, index))?)));
            if let Some((index, how)) = ends.find(|(_, how)| **how != report.how) {
                let (run, task, fence) = key;
                let what = format!(
                    "{run}/{task}/{index} fence {fence} ended as {how:?}, and {} reported it as {:?}",
                    report.worker, report.how
                );
                self.verdict.found(Invariant::I4, At::Time(report.at), what);
            }
        }
    }

    /// What was accepted was reported, by then.
    fn check_accepted(&mut self, said: &Said) {
        for (key, placed) in &self.ledger.attempts {
            let its = said.reports.get(key).map_or(&[][..], Vec::as_slice);
            for (range, end, cause) in placed.iter().flat_map(|placed| &placed.ends) {
                let Cause::Reported(ending) = cause else { continue };
                let applied = self.ledger.applied_at.get(end).copied().unwrap_or(Nanos::MAX);
                let said_so = its.iter().filter(|it| it.how == *ending && it.at <= applied);
                if !covers(said_so.map(|it| it.range), *range) {
                    let (run, task, fence) = key;
                    let what = format!(
                        "{run}/{task}[{}-{}] fence {fence} was accepted as {ending:?}, and nobody had said so",
                        range.first, range.last
                    );
                    self.verdict.found(Invariant::I4, At::Index(*end), what);
                }
            }
        }
    }

    /// A worker that was told that its report counts forgets it: it must be in the log, all of it and as it was told.
    fn check_answered(&mut self, said: &Said) {
        for (key, answered) in &said.accepted {
            let (run, task, fence) = key;
            let placed = self.ledger.attempts.get(key).into_iter().flatten();
            let ends = placed.flat_map(|placed| &placed.ends);
            let same = ends.filter(|(_, _, cause)| *cause == Cause::Reported(answered.how));
            let is_there = covers(same.map(|(range, ..)| *range), answered.range);
            if !is_there && fence.0 > self.ledger.begins_after.0 {
                let what = format!(
                    "the report of {run}/{task}[{}-{}] fence {fence} as {:?} was accepted, and is not in the log",
                    answered.range.first, answered.range.last, answered.how
                );
                self.verdict.found(Invariant::I2, At::Time(answered.at), what);
            }
        }
    }

    /// A worker that has an outcome on its disk reports it until it is answered, be it after a restart.
    fn check_owed(&mut self, said: &Said) {
        for ((worker, (run, task, fence), range), at) in &said.owed {
            let what = format!(
                "{worker} kept the end of {run}/{task}[{}-{}] fence {fence}, and forgot it before it was answered",
                range.first, range.last
            );
            self.verdict.found(Invariant::I2, At::Time(*at), what);
        }
    }
}

impl Said {
    fn take_in(&mut self, what: &Observed, at: Nanos) {
        match what {
            Observed::AttemptBegan { incarnation, run, task, index, fence, .. } => {
                self.began.insert(((*run, *task, *fence), *index), *incarnation);
            }
            Observed::AttemptEnded { run, task, index, fence, how } => {
                self.ends.insert(((*run, *task, *fence), *index), *how);
            }
            Observed::Reported { worker, run, task, first, last, fence, how, is_kept, .. } => {
                let (key, range) =
                    ((*run, *task, *fence), IndexRange { first: *first, last: *last });
                let (worker, how) = (worker.clone(), *how);
                if *is_kept {
                    self.owed.entry((worker.clone(), key, range)).or_insert(at);
                }
                let report = Report { worker, range, how, at };
                self.reports.entry(key).or_default().push(report);
            }
            Observed::ReportAnswered {
                worker,
                run,
                task,
                first,
                last,
                fence,
                how,
                is_accepted,
                ..
            } => {
                let (key, range) =
                    ((*run, *task, *fence), IndexRange { first: *first, last: *last });
                let (worker, how) = (worker.clone(), *how);
                self.owed.remove(&(worker.clone(), key, range));
                let began = self.began.get(&(key, range.first));
                let is_late =
                    began.is_some_and(|began| self.gone.contains(&(worker.clone(), *began)));
                self.late += u64::from(is_late);
                if *is_accepted {
                    self.accepted.push((key, Report { worker, range, how, at }));
                }
            }
            Observed::JournalLost { worker } => {
                self.owed.retain(|(owner, ..), _| owner != worker);
            }
            Observed::WorkerStopped { worker, incarnation }
            | Observed::WorkerLeft { worker, incarnation } => {
                self.gone.insert((worker.clone(), *incarnation));
            }
            _ => {}
        }
    }
}

/// Whether each index of `range` lies in one of `parts`.
fn covers(parts: impl Iterator<Item = IndexRange>, range: IndexRange) -> bool {
    let mut parts: Vec<IndexRange> = parts.filter_map(|part| part.intersect(range)).collect();
    parts.sort_unstable_by_key(|part| part.first);
    // The first index that nothing covers so far; beyond the last possible index everything is covered.
    let mut next = u64::from(range.first);
    for part in parts {
        if u64::from(part.first) > next {
            return false;
        }
        next = next.max(u64::from(part.last) + 1);
    }
    next > u64::from(range.last)
}
