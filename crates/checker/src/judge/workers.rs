//! Leases as workers see them, against what the log says about who is lost (I12).

use std::collections::{BTreeMap, BTreeSet};

use muster_core::ids::{LogIndex, Text};
use muster_core::time::Millis;

use super::{Expectations, Judge};
use crate::history::{Nanos, Observed};
use crate::ledger::WorkerRecord;
use crate::verdict::{At, Invariant};

/// One life of a worker: its name and incarnation.
type Life = (Text, u64);

/// Workers' clocks and masters' may be off by one part in this many, each.
const DRIFT_PARTS: u64 = 100;
const NANOS_PER_MILLI: u64 = 1_000_000;

/// What workers and masters said about themselves.
#[derive(Default)]
struct Said {
    /// When a lease was confirmed, and until when it then held.
    leases: BTreeMap<Life, Vec<(Nanos, Nanos)>>,
    /// Workers that ended by themselves, and when.
    left: BTreeMap<Life, Nanos>,
    /// When a term's leader began to lead.
    leads: BTreeMap<u64, Nanos>,
}

impl Judge<'_> {
    pub(super) fn check_workers(&mut self) {
        let said = self.said();
        let mut names: BTreeSet<Life> = BTreeSet::new();
        for (id, record) in &self.ledger.workers {
            let life = (record.name.clone(), record.incarnation);
            names.insert(life.clone());
            let Some(lost) = record.lost else { continue };
            let Some(at) = self.ledger.applied_at.get(&lost).copied() else { continue };
            if said.left.get(&life).is_some_and(|left| *left <= at) {
                continue;
            }
            let leases = said.leases.get(&life).into_iter().flatten();
            let until =
                leases.filter(|(confirmed, _)| *confirmed <= at).map(|(_, until)| *until).max();
            if let Some(until) = until.filter(|until| at < *until + self.least_wait()) {
                let what = format!(
                    "worker {id} ({}) was lost at {at}, its lease held until {until}",
                    life.0
                );
                self.verdict.found(Invariant::I12, At::Index(lost), what);
            }
            let leads = record.lost_in_term.and_then(|term| said.leads.get(&term));
            self.check_patience(record, lost, at, leads);
        }
        self.check_counted();
        self.check_registered(&names);
    }

    fn said(&self) -> Said {
        let mut said = Said::default();
        for observation in self.history.iter() {
            let at = observation.at;
            match &observation.what {
                Observed::LeaseConfirmed { worker, incarnation, until, .. } => {
                    let life = (worker.clone(), *incarnation);
                    said.leases.entry(life).or_default().push((at, *until));
                }
                Observed::WorkerLeft { worker, incarnation } => {
                    said.left.entry((worker.clone(), *incarnation)).or_insert(at);
                }
                Observed::Leads { term, .. } => {
                    said.leads.entry(*term).or_insert(at);
                }
                _ => {}
            }
        }
        said
    }

    /// A lease counts from when it was asked for: when the answer comes, some of it is over.
    fn check_counted(&mut self) {
        for observation in self.history.iter() {
            let Observed::LeaseConfirmed { worker, left, .. } = &observation.what else { continue };
            if *left >= self.expected.lease {
                let what =
                    format!("{worker} was answered, and its lease had {left} left, all of it");
                self.verdict.found(Invariant::I12, At::Time(observation.at), what);
            }
        }
    }

    /// For so long after the end of a lease its worker is not given up. The one who confirmed it may have been deposed
    /// for a while; the margin covers that, and what clocks are off.
    fn least_wait(&self) -> Nanos {
        let Expectations { lease, margin, quorum_age, .. } = *self.expected;
        let drift = 2 * lease.0 / DRIFT_PARTS;
        Nanos(margin.0.saturating_sub(quorum_age.0 + drift))
    }

    /// A new leader waits the whole lease that a worker may have, and the margin, before it gives it up.
    fn check_patience(
        &mut self,
        record: &WorkerRecord,
        lost: LogIndex,
        at: Nanos,
        leads: Option<&Nanos>,
    ) {
        let Some(leads) = leads else { return };
        // What this leader granted itself it counts from then on, and what it wanted to grant may not have been told.
        // Whom it took in itself has no other lease.
        let before =
            |index: &LogIndex| self.ledger.applied_at.get(index).is_some_and(|at| at <= leads);
        let granted = record.leases.iter().filter(|(index, _)| before(index));
        let longest = granted.map(|(_, lease)| *lease).max();
        let lease = longest.or(record.leases.values().next().copied()).unwrap_or_default();
        // A registration that says nothing of a lease is of a time when all masters granted the same.
        let lease = match lease {
            Millis(0) => self.expected.lease,
            Millis(lease) => Nanos(lease * NANOS_PER_MILLI),
        };
        let at_least = *leads + Nanos(lease.0 - lease.0 / DRIFT_PARTS) + self.expected.margin;
        if at < at_least {
            let what = format!(
                "{} was lost {} after its leader began to lead",
                record.name,
                at.since(*leads)
            );
            self.verdict.found(Invariant::I12, At::Index(lost), what);
        }
    }

    /// A worker that was told that it is taken in is in the log.
    fn check_registered(&mut self, names: &BTreeSet<Life>) {
        for observation in self.history.iter() {
            let Observed::WorkerRegistered { worker, incarnation, id } = &observation.what else {
                continue;
            };
            let at = At::Time(observation.at);
            let record = self.ledger.workers.get(id);
            let is_it =
                record.is_some_and(|it| (&it.name, it.incarnation) == (worker, *incarnation));
            if !is_it && self.ledger.begins_after.0 == 0 {
                let is_known = names.contains(&(worker.clone(), *incarnation));
                let what = format!(
                    "{worker} was told it is worker {id} (known: {is_known}), the log has {record:?}"
                );
                self.verdict.found(Invariant::I12, at, what);
            }
        }
    }
}
