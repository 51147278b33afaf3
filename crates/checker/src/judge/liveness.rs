//! What must become of everything once nothing is broken on purpose any more (L1, L3–L5; L2 is with the masters).

use std::collections::BTreeSet;

use muster_core::ids::{Fence, LogIndex, RunId, TaskIndex};

use super::{Bounds, Judge};
use crate::history::{Answer, Call, Nanos, Observed};
use crate::linear::Operation;
use crate::verdict::{At, Invariant};

impl Judge<'_> {
    pub(super) fn check_liveness(&mut self, operations: &[Operation]) {
        let Some(bounds) = self.expected.liveness else { return };
        let stops = self.history.iter().rev().find(|it| it.what == Observed::FaultsStopped {});
        let stopped = stops.map_or(Nanos(0), |it| it.at);
        let end = self.history.iter().map(|it| it.at).max().unwrap_or_default();
        self.check_leader(stopped, &bounds);
        self.check_runs_end(stopped, &bounds);
        self.check_service(operations, stopped, &bounds);
        self.check_owners(stopped, end, &bounds);
    }

    /// Somebody leads soon after the faults, or goes on leading.
    fn check_leader(&mut self, stopped: Nanos, bounds: &Bounds) {
        let by = stopped + bounds.leader;
        // The newest term counts: whoever led in an older one may not have noticed.
        let mut newest = 0;
        let mut leader = None;
        let mut there_is = false;
        for observation in self.history.iter().take_while(|it| it.at <= by) {
            let had = leader.is_some();
            match observation.what {
                Observed::Leads { master, term } if term >= newest => {
                    newest = term;
                    leader = Some(master);
                }
                Observed::StepsDown { term, .. } if term == newest => leader = None,
                Observed::MasterStopped { master } if leader == Some(master) => leader = None,
                _ => continue,
            }
            // Whoever led until after the faults was a leader then.
            there_is |= observation.at > stopped && (had || leader.is_some());
        }
        if !there_is && leader.is_none() {
            let what = format!("nobody led from {stopped} to {by}");
            self.verdict.found(Invariant::L1, At::Time(by), what);
        }
    }

    /// Every run ends, and every cancel does.
    fn check_runs_end(&mut self, stopped: Nanos, bounds: &Bounds) {
        let applied_at = |index: LogIndex| self.ledger.applied_at.get(&index).copied();
        let mut found = Vec::new();
        for record in self.ledger.runs.values() {
            let run = record.run;
            let Some(ended) = &record.ended else {
                let (invariant, why) = match record.cancelled {
                    Some(_) => (Invariant::I15, "was cancelled, and never ended"),
                    None => (Invariant::L3, "never ended"),
                };
                found.push((invariant, At::End, format!("run {run} {why}")));
                continue;
            };
            let from = stopped.max(applied_at(record.accepted).unwrap_or_default());
            if let Some(at) = applied_at(ended.index).filter(|at| *at > from + bounds.runs) {
                found.push((Invariant::L3, At::Time(at), format!("run {run} ended only then")));
            }
        }
        for (invariant, at, what) in found {
            self.verdict.found(invariant, at, what);
        }
    }

    /// A run that was submitted after the faults ends soon.
    fn check_service(&mut self, operations: &[Operation], stopped: Nanos, bounds: &Bounds) {
        let fresh = operations.iter().filter(|it| it.invoked_at >= stopped);
        let mut accepted =
            fresh.filter_map(|operation| match (&operation.what, &operation.answer) {
                (Call::Submit { .. }, Some(Answer::Submitted { run, .. })) => {
                    Some((operation.invoked_at, *run))
                }
                _ => None,
            });
        let is_served = accepted.any(|(at, run)| {
            let ended = self.ledger.runs.get(&run).and_then(|record| record.ended.as_ref());
            ended.is_some_and(|ended| {
                let ended_at = self.ledger.applied_at.get(&ended.index);
                ended_at.is_none_or(|ended_at| *ended_at <= at + bounds.service)
            })
        });
        if !is_served {
            let what = "no run that was submitted after the faults was accepted and ended in time";
            self.verdict.found(Invariant::L4, At::End, what);
        }
    }

    /// What was placed begins, or ends, or somebody notices that it does not.
    fn check_owners(&mut self, stopped: Nanos, end: Nanos, bounds: &Bounds) {
        if !self.expected.sees_all_attempts {
            return;
        }
        let mut began: BTreeSet<(RunId, TaskIndex, u32, Fence)> = BTreeSet::new();
        for observation in self.history.iter() {
            if let Observed::AttemptBegan { run, task, index, fence, .. } = observation.what {
                began.insert((run, task, index, fence));
            }
        }
        for placed in self.ledger.attempts.values().flatten() {
            let (run, task, fence) = (placed.run, placed.task, placed.fence);
            let Some(at) = self.ledger.applied_at.get(&LogIndex(fence.0)) else { continue };
            if (*at).max(stopped) + bounds.owner >= end {
                continue;
            }
            let is_over = |index: u32| {
                let mut ends = placed.ends.iter();
                ends.any(|(range, ..)| range.first <= index && index <= range.last)
            };
            let mut indices = placed.range.first..=placed.range.last;
            let silent =
                indices.find(|it| !is_over(*it) && !began.contains(&(run, task, *it, fence)));
            if let Some(index) = silent {
                let what = format!(
                    "{run}/{task}/{index} was placed under fence {fence}, and nobody took it up"
                );
                self.verdict.found(Invariant::L5, At::Time(*at), what);
            }
        }
    }
}
