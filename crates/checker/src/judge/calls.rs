//! What clients were told must be in the log, and stay there (I2, I3).

use std::collections::BTreeMap;

use muster_core::ids::{RunId, Text};

use super::Judge;
use crate::history::{Answer, Call, Nanos, Observed};
use crate::ledger::RunRecord;
use crate::linear::Operation;
use crate::verdict::{At, Invariant};

/// What the calls with one request id came to.
#[derive(Default)]
struct Requested {
    /// The runs that they were told, each with the body that was told of it first.
    told: BTreeMap<RunId, u64>,
    /// All bodies that the id was used with.
    bodies: Vec<u64>,
}

impl Judge<'_> {
    pub(super) fn check_calls(&mut self, operations: &[Operation]) {
        for operation in operations {
            self.check_submitted(operation);
        }
        self.check_request_ids(operations);
        self.check_final_runs();
    }

    /// An accepted submission is in the log, as it was asked for (I2).
    fn check_submitted(&mut self, operation: &Operation) {
        let Call::Submit { request, spec, workflow, .. } = &operation.what else { return };
        let Some(Answer::Submitted { run, number }) = operation.answer else { return };
        let at = at(operation);
        let Some(record) = self.ledger.runs.get(&run) else {
            // What ended before the ledger begins is not in it; the masters say at the end whether they know it.
            if self.ledger.begins_after.0 == 0 {
                let what = format!("run {run} was accepted, and is not in the log");
                self.verdict.found(Invariant::I2, at, what);
            }
            return;
        };
        let is_other = spec.is_some_and(|spec| spec != record.spec)
            || record.number != number
            || (!workflow.is_empty() && *workflow != record.workflow)
            || (record.request.is_some() && record.request != *request);
        if is_other {
            let what =
                format!("run {run} was accepted as {:?}, the log has {record:?}", operation.what);
            self.verdict.found(Invariant::I2, at, what);
        }
    }

    /// One request id, one run, and no other body (I3).
    fn check_request_ids(&mut self, operations: &[Operation]) {
        let mut requested: BTreeMap<&Text, Requested> = BTreeMap::new();
        let mut request_of: BTreeMap<RunId, Option<&Text>> = BTreeMap::new();
        for operation in operations {
            let Call::Submit { request, body, .. } = &operation.what else { continue };
            let told = match operation.answer {
                Some(Answer::Submitted { run, .. }) => Some(run),
                _ => None,
            };
            let is_another = told.is_some_and(|run| {
                let first = *request_of.entry(run).or_insert(request.as_ref());
                first != request.as_ref()
            });
            if is_another {
                let what = format!("{told:?} was told to calls with different request ids");
                self.verdict.found(Invariant::I3, at(operation), what);
            }
            let Some(request) = request else { continue };
            let its = requested.entry(request).or_default();
            if !its.bodies.contains(body) {
                its.bodies.push(*body);
            }
            let Some(run) = told else { continue };
            let is_first = its.told.is_empty();
            if !is_first && !its.told.contains_key(&run) {
                let what = format!("request id `{request}` was told {:?} and run {run}", its.told);
                self.verdict.found(Invariant::I3, at(operation), what);
            }
            if *its.told.entry(run).or_insert(*body) != *body {
                let what = format!("request id `{request}` was accepted with several bodies");
                self.verdict.found(Invariant::I3, at(operation), what);
            }
        }
        for operation in operations {
            let Some(request) = operation.request() else { continue };
            let is_reused = matches!(&operation.answer,
                Some(Answer::Refused { code }) if code.as_ref() == "ALREADY_EXISTS");
            let bodies = requested.get(request).map_or(0, |its| its.bodies.len());
            if is_reused && matches!(operation.what, Call::Submit { .. }) && bodies < 2 {
                let what = format!("request id `{request}` was refused, and had one body only");
                self.verdict.found(Invariant::I3, at(operation), what);
            }
        }
    }

    /// Whether the log says that the history knows this run no more.
    fn is_pruned(&self, record: &RunRecord) -> bool {
        record.ended.as_ref().is_some_and(|ended| ended.index < self.ledger.pruned_before)
    }

    /// At the end every master shows every run as the log has it, and none that the log has pruned.
    fn check_final_runs(&mut self) {
        for observation in self.history.iter() {
            let at = At::Time(observation.at);
            match observation.what {
                Observed::RunAbsent { master, run } => {
                    let record = self.ledger.runs.get(&run);
                    if !record.is_some_and(|record| self.is_pruned(record)) {
                        let what =
                            format!("run {run} was accepted, and master {master} has lost it");
                        self.verdict.found(Invariant::I2, at, what);
                    }
                }
                Observed::HistoryShown { master, applied, run } => {
                    let before = self.ledger.prunings.range(..=applied).next_back();
                    let record = self.ledger.runs.get(&run).and_then(|it| it.ended.as_ref());
                    let was_pruned =
                        before.zip(record).filter(|((_, before), it)| it.index < **before);
                    if let Some(((pruning, _), _)) = was_pruned {
                        let what = format!(
                            "master {master} had applied {applied}, and shows run {run}, which was pruned at {pruning}"
                        );
                        self.verdict.found(Invariant::I1, at, what);
                    }
                }
                Observed::RunFinal { master, run, status } => {
                    let Some(record) = self.ledger.runs.get(&run) else { continue };
                    let ended = record.ended.as_ref().map(|ended| ended.status);
                    let (shown, is_live) = (status.word(), status.word() == "running");
                    if self.is_pruned(record) {
                        let what = format!("master {master} shows run {run}, which was pruned");
                        self.verdict.found(Invariant::I1, at, what);
                    }
                    if ended.is_some_and(|ended| ended != status) || (ended.is_none() && !is_live) {
                        let what = format!(
                            "master {master} shows run {run} as {shown}, the log has {ended:?}"
                        );
                        self.verdict.found(Invariant::I6, at, what);
                    }
                }
                _ => {}
            }
        }
    }
}

/// When an operation returned.
pub(super) fn at(operation: &Operation) -> At {
    match operation.returned_at {
        Some(Nanos(at)) => At::Time(Nanos(at)),
        None => At::End,
    }
}
