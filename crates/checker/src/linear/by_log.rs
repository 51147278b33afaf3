//! The check that knows the log; see [the module above](super).

use std::collections::{BTreeMap, BTreeSet};

use muster_core::ids::{LogIndex, RunId, Text};
use muster_core::reply::Reply;
use muster_core::state::run::RunStatus;

use super::Operation;
use crate::coverage::{Coverage, Rare};
use crate::history::{Answer, Call, Nanos};
use crate::ledger::{Ledger, RequestRecord, RunRecord};
use crate::verdict::{At, Invariant, Verdict};

/// The log indexes that an answer fits: both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fit {
    first: u64,
    last: u64,
}

const ANY: Fit = Fit { first: 0, last: u64::MAX };

impl Fit {
    fn from(first: LogIndex) -> Self {
        Fit { first: first.0, ..ANY }
    }

    fn before(end: LogIndex) -> Self {
        Fit { last: end.0.saturating_sub(1), ..ANY }
    }

    fn and(self, other: Fit) -> Fit {
        Fit { first: self.first.max(other.first), last: self.last.min(other.last) }
    }
}

/// Judges all calls by the log. The cost is that of sorting them, and of the runs that reads list.
pub fn check<'a>(operations: &'a [Operation], ledger: &'a Ledger) -> Verdict {
    let shared = shared_requests(operations);
    let mut judge = ByLog { ledger, shared, verdict: Verdict::default(), read: 0, seen: 0 };
    judge.check_refused(operations);
    judge.check_unasked(operations);
    let effects = judge.effects(operations);
    let mut moments: Vec<(usize, usize, bool)> = Vec::new();
    for (at, operation) in operations.iter().enumerate() {
        moments.push((operation.invoked, at, false));
        moments.extend(operation.returned.map(|returned| (returned, at, true)));
    }
    moments.sort_unstable();
    let mut floors = vec![0; operations.len()];
    for (_, at, is_return) in moments {
        let operation = &operations[at];
        if is_return {
            judge.returned(operation, floors[at]);
        } else {
            floors[at] = judge.read;
            judge.invoked(operation, effects.get(&at));
        }
    }
    judge.verdict
}

/// Request ids that several calls carried.
fn shared_requests(operations: &[Operation]) -> BTreeSet<&Text> {
    let mut once = BTreeSet::new();
    operations.iter().filter_map(Operation::request).filter(|it| !once.insert(*it)).collect()
}

/// The run that a call cancelled, for all its caller knows.
fn may_have_cancelled(operation: &Operation) -> Option<RunId> {
    match (&operation.what, &operation.answer) {
        (_, Some(Answer::Cancelling { is_cancelling: false } | Answer::NoRun {})) => None,
        (Call::Cancel { run, .. }, _) => Some(*run),
        _ => None,
    }
}

struct ByLog<'a> {
    ledger: &'a Ledger,
    shared: BTreeSet<&'a Text>,
    verdict: Verdict,
    /// No linearizable call that is invoked from here on may stand behind this entry.
    read: u64,
    /// The latest entry that any answer so far has shown.
    seen: u64,
}

impl ByLog<'_> {
    /// Where the log has the effect of a call, by the call that was invoked first of all that could have had it.
    fn effects(&self, operations: &[Operation]) -> BTreeMap<usize, Vec<LogIndex>> {
        let mut first_of_request: BTreeMap<&Text, usize> = BTreeMap::new();
        let mut first_cancel: BTreeMap<RunId, usize> = BTreeMap::new();
        for (at, operation) in operations.iter().enumerate().filter(|(_, it)| !it.is_refused()) {
            if let Some(request) = operation.request() {
                first_of_request.entry(request).or_insert(at);
            }
            if let Some(run) = may_have_cancelled(operation) {
                first_cancel.entry(run).or_insert(at);
            }
        }
        let mut effects: BTreeMap<usize, Vec<LogIndex>> = BTreeMap::new();
        for (request, at) in first_of_request {
            let index = self.ledger.requests.get(request).map(|record| record.index);
            effects.entry(at).or_default().extend(index);
        }
        for (run, at) in first_cancel {
            let index = self.ledger.runs.get(&run).and_then(|record| record.cancelled);
            effects.entry(at).or_default().extend(index);
        }
        effects
    }

    /// What was refused for certain must not be in the log.
    fn check_refused(&mut self, operations: &[Operation]) {
        let mut refused: BTreeMap<&Text, &Operation> = BTreeMap::new();
        for operation in operations.iter().filter(|it| it.is_refused()) {
            refused.extend(operation.request().map(|request| (request, operation)));
        }
        for operation in operations.iter().filter(|it| !it.is_refused()) {
            if let Some(request) = operation.request() {
                refused.remove(request);
            }
        }
        for (request, operation) in refused {
            if self.ledger.requests.contains_key(request) {
                self.found(operation, "was refused, and is in the log");
            }
        }
    }

    /// What is in the log was asked for by somebody.
    fn check_unasked(&mut self, operations: &[Operation]) {
        let mut asked: BTreeSet<&Text> = BTreeSet::new();
        let mut cancelled: BTreeSet<RunId> = BTreeSet::new();
        let mut is_some_submitted = false;
        for operation in operations.iter().filter(|it| !it.is_refused()) {
            asked.extend(operation.request());
            cancelled.extend(may_have_cancelled(operation));
            let is_submission = matches!(operation.what, Call::Submit { .. });
            is_some_submitted |= is_submission && operation.request().is_none();
        }
        let whole = self.ledger.begins_after;
        let runs = self.ledger.runs.values().filter(|run| run.accepted > whole);
        for record in runs.filter(|_| !operations.is_empty()) {
            let is_asked = match &record.request {
                Some(request) => asked.contains(request),
                // Of a schedule, a trigger, or a task.
                None if record.origin.is_some()
                    || record.trigger.is_some()
                    || record.parent.is_some() =>
                {
                    true
                }
                None => is_some_submitted,
            };
            if !is_asked {
                let what = format!("run {} was accepted, and nobody asked for it", record.run);
                self.verdict.found(Invariant::I14, At::Index(record.accepted), what);
            }
            if let Some(index) = record.cancelled.filter(|_| !cancelled.contains(&record.run)) {
                let what = format!("run {} was cancelled, and nobody asked for it", record.run);
                self.verdict.found(Invariant::I14, At::Index(index), what);
            }
        }
    }

    /// A call takes effect after it was invoked: behind all that was known by then.
    fn invoked(&mut self, operation: &Operation, effects: Option<&Vec<LogIndex>>) {
        for effect in effects.into_iter().flatten() {
            if effect.0 <= self.seen {
                let seen = self.seen;
                let what =
                    format!("took effect at {effect}, and entry {seen} was known before it began");
                self.found(operation, &what);
            }
        }
    }

    fn returned(&mut self, operation: &Operation, floor: u64) {
        let Some(answer) = &operation.answer else { return };
        let fit = match self.fit(operation, answer) {
            Ok(fit) => fit,
            Err(what) => return self.found(operation, &what),
        };
        count(&mut self.verdict.coverage, operation);
        let (first, what) = if operation.is_stale() {
            let asked = match operation.what {
                Call::Get { min_index, .. } | Call::List { min_index, .. } => min_index,
                _ => None,
            };
            (asked.map_or(0, |index| index.0), "asked to know entry")
        } else {
            (floor, "began after an answer that knew entry")
        };
        let at = fit.first.max(first);
        if at > fit.last {
            let problem = if fit.first > fit.last {
                "fits no moment of the log".to_owned()
            } else {
                format!("fits entries up to {}, and {what} {first}", fit.last)
            };
            return self.found(operation, &problem);
        }
        self.seen = self.seen.max(fit.first);
        if !operation.is_stale() {
            self.read = self.read.max(at);
            self.seen = self.seen.max(at);
        }
    }

    /// The log indexes at which the answer is right, or why there are none.
    fn fit(&mut self, operation: &Operation, answer: &Answer) -> Result<Fit, String> {
        match (&operation.what, answer) {
            (_, Answer::Refused { .. } | Answer::Unknown { .. }) => Ok(ANY),
            (Call::Get { run, .. }, Answer::Run { status }) => self.fit_status(*run, *status),
            (Call::Get { run, .. } | Call::Cancel { run, .. }, Answer::NoRun {}) => {
                Ok(self.fit_absent(*run))
            }
            (Call::List { workflow, .. }, Answer::Runs { runs, is_whole }) => {
                self.fit_list(workflow.as_ref(), runs, *is_whole)
            }
            (Call::Submit { .. }, Answer::Submitted { run, .. }) => {
                self.after_effect(operation, self.record(*run)?.accepted)
            }
            (Call::Cancel { run, .. }, Answer::Cancelling { is_cancelling: true }) => {
                let record = self.record(*run)?;
                let cancelled = record.cancelled.ok_or("is not in the log")?;
                let is_shared = operation.request().is_some_and(|it| self.shared.contains(it));
                let until = record.ended.as_ref().filter(|_| !is_shared);
                let last = until.map_or(u64::MAX, |ended| ended.index.0.saturating_sub(1));
                // A run without a live attempt ends in the very entry that cancels it.
                let until = Fit { last: last.max(cancelled.0), ..ANY };
                Ok(self.after_effect(operation, cancelled)?.and(until))
            }
            (Call::Cancel { run, .. }, Answer::Cancelling { is_cancelling: false }) => {
                let ended = self.record(*run)?.ended.as_ref();
                Ok(Fit::from(ended.ok_or("was told of an end that is not in the log")?.index))
            }
            (Call::Apply { .. }, Answer::Applied { version }) => {
                let Some(record) = self.request(operation)? else { return Ok(ANY) };
                match record.reply {
                    Reply::WorkflowApplied { version: logged, .. } if logged == *version => {
                        self.after_effect(operation, record.index)
                    }
                    _ => Err(format!("was told version {version}, the log has {:?}", record.reply)),
                }
            }
            (Call::Retry { request, of, .. }, Answer::Submitted { run, .. }) => {
                let record = self.record(*run)?;
                let is_other = record.request.is_some() && record.request != *request;
                if record.retries != Some(*of) || is_other {
                    return Err(format!("was told of run {run}, which the log has as {record:?}"));
                }
                self.after_effect(operation, record.accepted)
            }
            (Call::Change { .. } | Call::Retry { .. }, Answer::Done {}) => {
                match self.request(operation)? {
                    Some(record) => self.after_effect(operation, record.index),
                    None => Ok(ANY),
                }
            }
            _ => Err(format!("was answered {answer:?}")),
        }
    }

    /// What the log has of an operation with a request id.
    fn request(&self, operation: &Operation) -> Result<Option<&RequestRecord>, String> {
        let found = |id| self.ledger.requests.get(id).ok_or("is not in the log".to_owned());
        operation.request().map(found).transpose()
    }

    /// An answer to a write knows at least the write. A write that was answered from its request id may stand anywhere
    /// behind it, so this is all that can be said.
    fn after_effect(&self, operation: &Operation, effect: LogIndex) -> Result<Fit, String> {
        match operation.index {
            Some(index) if index < effect => {
                Err(format!("took effect at {effect}, and its answer knows only {index}"))
            }
            _ => Ok(Fit::from(effect)),
        }
    }

    fn record(&self, run: RunId) -> Result<&RunRecord, String> {
        self.ledger
            .runs
            .get(&run)
            .ok_or_else(|| format!("was told of run {run}, which is not in the log"))
    }

    fn fit_status(&self, run: RunId, status: RunStatus) -> Result<Fit, String> {
        let record = self.record(run)?;
        let ended = record.ended.as_ref();
        if matches!(status, RunStatus::Running | RunStatus::Paused | RunStatus::Queued) {
            let until = ended.map_or(ANY, |ended| Fit::before(ended.index));
            return Ok(Fit::from(record.accepted).and(until));
        }
        match ended.filter(|ended| ended.status == status) {
            Some(ended) => Ok(Fit::from(ended.index)),
            None => {
                let status = status.word();
                Err(format!("was told that run {run} is {status}; the log has {ended:?}"))
            }
        }
    }

    fn fit_absent(&self, run: RunId) -> Fit {
        match self.ledger.runs.get(&run) {
            Some(record) if !self.may_be_pruned(record) => Fit::before(record.accepted),
            _ => ANY,
        }
    }

    fn may_be_pruned(&self, record: &RunRecord) -> bool {
        record.ended.as_ref().is_some_and(|ended| ended.index < self.ledger.pruned_before)
    }

    /// A list is right as a whole: at one moment, for all runs on it and all that are not.
    fn fit_list(
        &self,
        workflow: Option<&Text>,
        runs: &[(RunId, RunStatus)],
        is_whole: bool,
    ) -> Result<Fit, String> {
        let mut fit = ANY;
        for (run, status) in runs {
            fit = fit.and(self.fit_status(*run, *status)?);
        }
        let lowest = if is_whole { Some(RunId(0)) } else { runs.iter().map(|(run, _)| *run).min() };
        let Some(lowest) = lowest else { return Ok(fit) };
        let listed: BTreeMap<RunId, RunStatus> = runs.iter().copied().collect();
        // Ids grow along the log, so the first one that is missing says the most.
        let missing = self.ledger.runs.range(lowest..).map(|(_, record)| record).find(|record| {
            let is_asked = workflow.is_none_or(|workflow| *workflow == record.workflow);
            is_asked && !listed.contains_key(&record.run) && !self.may_be_pruned(record)
        });
        Ok(missing.map_or(fit, |record| fit.and(Fit::before(record.accepted))))
    }

    fn found(&mut self, operation: &Operation, what: &str) {
        let at = operation.returned_at.unwrap_or(Nanos::MAX);
        let at = if at == Nanos::MAX { At::End } else { At::Time(at) };
        let Operation { call, what: asked, answer, .. } = operation;
        let what = format!("call {call} {what}: {asked:?} -> {answer:?}");
        self.verdict.found(Invariant::I14, at, what);
    }
}

fn count(coverage: &mut Coverage, operation: &Operation) {
    if matches!(operation.what, Call::Get { .. } | Call::List { .. }) {
        coverage.count(if operation.is_stale() { Rare::StaleReadJudged } else { Rare::ReadJudged });
    }
}
