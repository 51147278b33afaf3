//! Masters as they see themselves: one leader a term (I18), and the same state in the end (I1, L2).

use std::collections::BTreeMap;

use muster_core::ids::LogIndex;

use super::Judge;
use crate::coverage::Rare;
use crate::history::Observed;
use crate::verdict::{At, Invariant};

impl Judge<'_> {
    pub(super) fn check_masters(&mut self) {
        self.check_elections();
        self.check_agreement();
    }

    fn check_elections(&mut self) {
        let mut leaders: BTreeMap<u64, u64> = BTreeMap::new();
        for observation in self.history.iter() {
            let Observed::Leads { master, term } = observation.what else { continue };
            let leader = *leaders.entry(term).or_insert(master);
            if leader != master {
                let what = format!("masters {leader} and {master} both lead in term {term}");
                self.verdict.found(Invariant::I18, At::Time(observation.at), what);
            }
        }
        self.verdict.coverage.add(Rare::LeaderChanged, leaders.len().saturating_sub(1) as u64);
    }

    fn check_agreement(&mut self) {
        let mut last: BTreeMap<u64, (LogIndex, u64)> = BTreeMap::new();
        for observation in self.history.iter() {
            if let Observed::MasterFinal { master, index, digest } = observation.what {
                last.insert(master, (index, digest));
            }
        }
        let mut digests: BTreeMap<LogIndex, u64> = BTreeMap::new();
        for (master, (index, digest)) in &last {
            let others = *digests.entry(*index).or_insert(*digest);
            // Entries that are not ours have indexes too: up to the next of ours the state is the same.
            let known = self.ledger.digests.get(index).copied().unwrap_or(*digest);
            if others != *digest || known != *digest {
                let what = format!("master {master} has another state than the others");
                self.verdict.found(Invariant::I1, At::Index(*index), what);
            }
        }
        if self.expected.liveness.is_none() || self.expected.masters == 0 {
            return;
        }
        if digests.len() > 1 {
            let what = format!("masters stand at different entries: {last:?}");
            self.verdict.found(Invariant::L2, At::End, what);
        }
        if last.len() < self.expected.masters {
            let (seen, wanted) = (last.len(), self.expected.masters);
            let what = format!("{seen} masters of {wanted} were there in the end");
            self.verdict.found(Invariant::L2, At::End, what);
        }
    }
}
