//! One entry, gone through command by command beside what the core made of it.
//!
//! The replies are taken as claims: what they say was carried out is judged on the spot, carried out here by the
//! checker's own rules, and in the end the runs that come out are compared with those in the state.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use muster_core::apply::Applied;
use muster_core::command::{Command, Entry, RequestKey, RunSource, SubmitRun};
use muster_core::event::Event;
use muster_core::ids::{LogIndex, Name, RunId, TaskIndex, Text, WorkerId};
use muster_core::limits;
use muster_core::reply::{Rejection, Reply};
use muster_core::snapshot::Snapshot;
use muster_core::state::State;
use muster_core::state::cells::IndexRange;
use muster_core::state::run::{Run, TriggerOrigin};
use muster_core::state::task::{Awaited, StopReason, TaskEnd, TaskState, TaskStatus};
use muster_core::state::trail::Asker;
use muster_core::state::worker::WorkerStatus;
use muster_core::time::Timestamp;

use super::Applying;
use super::book::{Answered, Book};
use super::rules;
use super::trail::Owed;
use super::work::Work;
use crate::coverage::Rare;
use crate::ledger::{Cause, Ledger, RequestRecord};
use crate::verdict::{At, Invariant, Verdict};

/// What apply answered to one command.
pub(super) type Claim = Result<Reply, Rejection>;

/// See the module documentation.
pub(super) struct Step<'a> {
    pub(super) book: &'a mut Book,
    pub(super) ledger: &'a mut Ledger,
    pub(super) verdict: &'a mut Verdict,
    pub(super) index: LogIndex,
    pub(super) term: Option<u64>,
    pub(super) now: Timestamp,
    pub(super) before: &'a Snapshot,
    pub(super) after: &'a State,
    /// Runs that left the state, by the events.
    pub(super) left: BTreeMap<RunId, Arc<Run>>,
    /// Runs that the entry concerns, as they should be.
    pub(super) work: BTreeMap<RunId, Work>,
    /// Tasks that failed, or of which something did, and about which `failFast` has not been asked yet.
    pub(super) failed: BTreeSet<(RunId, TaskIndex)>,
    /// Runs that ended, and whose end nothing has followed yet.
    pub(super) unfollowed: BTreeSet<RunId>,
    /// The end that the run follows which is made next.
    pub(super) cause: Option<TriggerOrigin>,
    /// Indices placed in this entry.
    pub(super) placed: Vec<(RunId, TaskIndex, IndexRange)>,
    pub(super) touched_requests: BTreeSet<Text>,
    pub(super) touched_workers: BTreeSet<WorkerId>,
    pub(super) touched_workflows: BTreeSet<(Name, Name)>,
    pub(super) touched_namespaces: BTreeSet<Name>,
    /// Runs whose deadlines must be worked out again.
    pub(super) dirty: BTreeSet<RunId>,
    /// The number of the next run in the cluster.
    pub(super) next_run: u64,
    /// Who asked for the command that is gone through, if that is known.
    pub(super) asker: Option<Asker>,
    /// Whether that command was carried out.
    pub(super) is_carried_out: bool,
    /// Actions that must be in the trail.
    pub(super) owed: Vec<Owed>,
}

impl<'a> Step<'a> {
    pub(super) fn new(
        (book, ledger, verdict): (&'a mut Book, &'a mut Ledger, &'a mut Verdict),
        before: &'a Snapshot,
        applying: &Applying<'a>,
    ) -> Self {
        let Applying { index, term, entry, after, applied, .. } = *applying;
        let mut left = BTreeMap::new();
        for event in &applied.events {
            if let Event::RunEnded { run } = event
                && left.insert(run.id, run.clone()).is_some()
            {
                verdict.found(
                    Invariant::I6,
                    At::Index(index),
                    format!("run {} ended twice", run.id),
                );
            }
        }
        Step {
            now: entry.at.max(book.now),
            book,
            ledger,
            verdict,
            index,
            term,
            before,
            after,
            left,
            work: BTreeMap::new(),
            failed: BTreeSet::new(),
            unfollowed: BTreeSet::new(),
            cause: None,
            placed: Vec::new(),
            touched_requests: BTreeSet::new(),
            touched_workers: BTreeSet::new(),
            touched_workflows: BTreeSet::new(),
            touched_namespaces: BTreeSet::new(),
            dirty: BTreeSet::new(),
            next_run: before.meta.next_run,
            asker: None,
            is_carried_out: false,
            owed: Vec::new(),
        }
    }

    /// Goes through the entry.
    pub(super) fn walk(&mut self, entry: &Entry, applied: &Applied) {
        self.count_entry(entry);
        self.book.now = self.now;
        self.book.expire_requests(self.now);
        if applied.replies.len() != entry.commands.len() {
            let (got, wanted) = (applied.replies.len(), entry.commands.len());
            self.found(Invariant::I17, format!("{got} answers to {wanted} commands"));
        }
        for (command, claim) in entry.commands.iter().zip(&applied.replies) {
            self.advance();
            self.follow_up();
            self.carry_out(command, claim);
            self.follow_up();
        }
        self.refresh_dues();
    }

    fn count_entry(&mut self, entry: &Entry) {
        self.count(Rare::EntryAudited);
        if entry.commands.len() > 1 {
            self.count(Rare::EntryShared);
        }
        if entry.at < self.book.now {
            self.count(Rare::ClockBack);
        }
    }

    pub(super) fn carry_out(&mut self, command: &Command, claim: &Claim) {
        match command {
            Command::Tick => {}
            Command::ApplyWorkflow(it) => {
                if let Some(reply) = self.once(it.request.as_ref(), claim) {
                    self.apply_workflow(it, reply);
                } else if let Err(Rejection::TriggerCycle { .. }) = claim {
                    self.circle_refused(&it.namespace, &it.spec);
                } else if let Err(Rejection::NoSuchGroup { group, .. }) = claim {
                    self.refused_for_group(&it.namespace, &it.spec, group);
                }
            }
            Command::ApplyNamespace(it) => {
                if let Some(reply) = self.once(it.request.as_ref(), claim) {
                    self.apply_namespace(it, reply);
                }
            }
            Command::SubmitRun(it) => self.submission(it, claim),
            Command::CancelRun(it) => {
                if self.once(it.request.as_ref(), claim).is_some() {
                    self.cancel_run(it);
                } else if let Err(Rejection::NoSuchRun { .. }) = claim {
                    self.cancel_refused(it);
                }
            }
            Command::PauseRun(it) => self.if_done(&it.request, claim, |step| step.pause_run(it)),
            Command::PrioritizeRun(it) => {
                self.if_done(&it.request, claim, |step| step.prioritize_run(it))
            }
            Command::FireSchedule(it) => self.fire_schedule(it, claim),
            Command::SuspendSchedule(it) => {
                self.if_done(&it.request, claim, |step| step.suspend_schedule(it))
            }
            Command::ReleaseTask(it) => {
                self.if_done(&it.request, claim, |step| step.release_task(it))
            }
            Command::EndTask(it) => {
                if self.once(it.request.as_ref(), claim).is_some() {
                    self.end_task(it);
                } else if let Err(Rejection::NotAwaiting { .. }) = claim {
                    self.approval_refused(it);
                }
            }
            Command::RetryRun(it) => {
                if let Some(reply) = self.once(it.request.as_ref(), claim) {
                    self.retry_run(it, reply);
                } else if let Err(Rejection::QuotaReached { .. }) = claim {
                    self.refused_for_quota(&it.namespace);
                }
            }
            Command::ReopenTasks(it) => {
                self.if_done(&it.request, claim, |step| step.reopen_tasks(it))
            }
            Command::DrainWorker(it) => {
                self.if_done(&it.request, claim, |step| step.drain_worker(it))
            }
            Command::RegisterWorker(it) => self.register_worker(it, claim),
            Command::LoseWorker(it) => self.lose_worker(it, claim),
            Command::DecideTasks(it) => self.decide_tasks(it, claim),
            Command::PlaceAttempts(it) => self.place_attempts(it, claim),
            Command::StartAttempts(it) => self.start_attempts(it, claim),
            Command::FinishAttempts(it) => self.finish_attempts(it, claim),
            Command::PruneHistory(it) => {
                let ended_before = it.ended_before.min(self.index);
                self.ledger.pruned_before = self.ledger.pruned_before.max(ended_before);
                self.ledger.prunings.insert(self.index, self.ledger.pruned_before);
                self.count(Rare::HistoryPruned);
            }
            Command::UpgradeCluster(_) => {}
            Command::Asked(it) => self.asked(it, claim),
        }
    }

    fn submission(&mut self, command: &SubmitRun, claim: &Claim) {
        if let Some(reply) = self.once(command.request.as_ref(), claim) {
            self.submit_run(command, reply);
        } else if let Err(Rejection::RunForbidden { .. }) = claim {
            self.submission_forbidden(command);
        } else if let Err(Rejection::QuotaReached { .. }) = claim {
            self.refused_for_quota(&command.namespace);
        } else if let Err(Rejection::NoSuchGroup { group, .. }) = claim {
            match &command.source {
                RunSource::Apply(spec) | RunSource::OneOff(spec) => {
                    self.refused_for_group(&command.namespace, spec, group);
                }
                // Its version was there before.
                RunSource::Workflow { workflow, .. } => {
                    let what = format!("a run of `{workflow}` was refused for group `{group}`");
                    self.found(Invariant::I17, what);
                }
            }
        }
    }

    /// Goes on if the command was carried out, and not answered by its request id or rejected.
    fn if_done(
        &mut self,
        request: &Option<RequestKey>,
        claim: &Claim,
        go_on: impl FnOnce(&mut Self),
    ) {
        if self.once(request.as_ref(), claim).is_some() {
            go_on(self);
        }
    }

    /// Judges an answer by the request id. Returns what was answered if the command was carried out.
    fn once<'c>(&mut self, request: Option<&RequestKey>, claim: &'c Claim) -> Option<&'c Reply> {
        let reply = self.first(request, claim);
        self.is_carried_out = reply.is_some();
        reply
    }

    fn first<'c>(&mut self, request: Option<&RequestKey>, claim: &'c Claim) -> Option<&'c Reply> {
        let Some(key) = request else { return claim.as_ref().ok() };
        self.touched_requests.insert(key.id.clone());
        let id = &key.id;
        if id.len() > limits::REQUEST_ID_BYTES_MAX {
            if claim.is_ok() {
                self.found(Invariant::I17, format!("a request id of {} bytes was taken", id.len()));
            }
            return None;
        }
        let known = self.book.answered(id).cloned();
        match (known, claim) {
            (None, Err(Rejection::RequestIdReused { .. })) => {
                self.found(Invariant::I3, format!("request id `{id}` was refused, and never used"));
                None
            }
            (None, Err(_)) => None,
            (None, Ok(reply)) => {
                let digest = key.digest;
                let answered = Answered { digest, reply: reply.clone() };
                self.book.remember(id.clone(), answered, self.now);
                let record = RequestRecord { digest, index: self.index, reply: reply.clone() };
                self.ledger.requests.insert(id.clone(), record);
                Some(reply)
            }
            (Some(known), Ok(reply)) if known.digest == key.digest && known.reply == *reply => {
                self.count(Rare::DuplicateAnswered);
                None
            }
            (Some(known), Ok(reply)) => {
                let is_same = known.digest == key.digest;
                let body = if is_same { "the same body" } else { "another body" };
                let first = known.reply;
                let what = format!("request id `{id}` with {body}: first {first:?}, now {reply:?}");
                self.found(Invariant::I3, what);
                Some(reply)
            }
            (Some(known), Err(rejection)) => {
                let is_reused = matches!(rejection, Rejection::RequestIdReused { .. });
                if is_reused && known.digest != key.digest {
                    self.count(Rare::RequestIdReused);
                } else {
                    let what = format!("request id `{id}`, answered before, was told: {rejection}");
                    self.found(Invariant::I3, what);
                }
                None
            }
        }
    }

    /// What time alone causes before a command.
    fn advance(&mut self) {
        self.refresh_dues();
        while let Some(run) = self.book.first_due(self.now) {
            self.advance_run(run);
            self.dirty.insert(run);
            self.begin_waiting();
            self.refresh_dues();
        }
        let is_over = |status: &WorkerStatus| match status {
            WorkerStatus::Lost { at } => *at + limits::LOST_WORKER_RETENTION <= self.now,
            WorkerStatus::Active | WorkerStatus::Draining => false,
        };
        let gone = self.book.workers.iter().filter(|(_, it)| is_over(&it.status));
        let gone: Vec<WorkerId> = gone.map(|(id, _)| *id).collect();
        for worker in gone {
            self.book.workers.remove(&worker);
            self.touched_workers.insert(worker);
        }
    }

    fn advance_run(&mut self, run_id: RunId) {
        let (now, index) = (self.now, self.index);
        let Some(work) = self.run(run_id) else { return };
        match work.first_due() {
            None => {}
            Some((_, None)) => {
                work.stop(StopReason::RunTimedOut, now);
                self.count(Rare::RunTimedOut);
            }
            Some((_, Some((task, first)))) => {
                let found = work.task(task).and_then(|it| it.cells.at(first));
                let Some((range, state)) = found.map(|(range, state)| (range, *state)) else {
                    return;
                };
                let Some(spec) = work.spec(task) else { return };
                let to = rules::overdue(spec, &state, index, now);
                self.count_overdue(&state, &to);
                if to == TaskState::Cancelled {
                    self.record_end(run_id, task, range, &state, Cause::Forced);
                }
                self.change(run_id, task, range, to);
            }
        }
    }

    fn count_overdue(&mut self, from: &TaskState, to: &TaskState) {
        match (from, to) {
            (TaskState::Ready { .. }, TaskState::Failed { .. }) => self.count(Rare::QueueTimedOut),
            (TaskState::Awaiting { what: Awaited::Person, .. }, _) => {
                self.count(Rare::ApprovalTimedOut);
            }
            (_, TaskState::Running { .. }) => self.count(Rare::AttemptTimedOut),
            (_, TaskState::Cancelled) => self.count(Rare::StopForced),
            _ => {}
        }
    }

    /// Puts indices of a task into a state, and keeps up what workers hold and namespaces take.
    pub(super) fn change(
        &mut self,
        run_id: RunId,
        task: TaskIndex,
        range: IndexRange,
        to: TaskState,
    ) {
        let now = self.now;
        self.dirty.insert(run_id);
        let Some(work) = self.work.get_mut(&run_id) else { return };
        let Some(pieces) = work.within(task, range) else { return };
        let Some(request) = work.spec(task).map(|spec| spec.request.clone()) else { return };
        let namespace = work.version.namespace.clone();
        work.set(task, range, to, now);
        let key = (run_id, task);
        let end = work.end_of(task.0 as usize);
        if to.status() == TaskStatus::Failed || end == Some(TaskEnd::Failed) {
            self.failed.insert(key);
        }
        for (piece, old) in pieces {
            if let Some(attempt) = old.attempt() {
                self.book.holdings.give_back(
                    attempt.worker,
                    key,
                    &request.resources,
                    piece.count(),
                );
                self.book.takings.give_back(&namespace, &request, piece.count());
                self.touched_workers.insert(attempt.worker);
            }
            if let Some(attempt) = to.attempt() {
                self.book.holdings.take(attempt.worker, key, &request.resources, piece.count());
                self.book.takings.take(&namespace, &request, piece.count());
                self.touched_workers.insert(attempt.worker);
            }
        }
        self.touched_namespaces.insert(namespace);
    }

    /// The run as it should be at this point, if it is live or ended in this entry.
    pub(super) fn run(&mut self, id: RunId) -> Option<&mut Work> {
        if !self.work.contains_key(&id) {
            let run = self.before.runs.get(id.0)?;
            let shape = self.book.shapes.of(&run.version);
            self.work.insert(id, Work::of(run, shape, self.index));
        }
        self.work.get_mut(&id)
    }

    /// The run, unless it has ended by now.
    pub(super) fn live_run(&mut self, id: RunId) -> Option<&mut Work> {
        self.run(id).filter(|work| work.ended.is_none())
    }

    pub(super) fn mark_dirty(&mut self, run: RunId) {
        self.dirty.insert(run);
    }

    fn refresh_dues(&mut self) {
        for run in std::mem::take(&mut self.dirty) {
            if let Some(work) = self.work.get(&run) {
                let due = work.first_due().map(|(at, _)| at);
                self.book.set_due(run, due);
            }
        }
    }

    /// Writes down what ended attempts that the log placed.
    pub(super) fn record_end(
        &mut self,
        run: RunId,
        task: TaskIndex,
        range: IndexRange,
        state: &TaskState,
        cause: Cause,
    ) {
        let Some(attempt) = state.attempt() else { return };
        let placed = self.ledger.attempts.get_mut(&(run, task, attempt.fence));
        for placed in placed.into_iter().flatten() {
            if let Some(part) = placed.range.intersect(range) {
                placed.ends.push((part, self.index, cause));
            }
        }
    }

    pub(super) fn found(&mut self, invariant: Invariant, what: impl Into<String>) {
        self.verdict.found(invariant, At::Index(self.index), what);
    }

    pub(super) fn count(&mut self, rare: Rare) {
        self.verdict.coverage.count(rare);
    }
}

/// `run 3 task 1[0-4]`, for messages.
pub(super) fn place(run: RunId, task: TaskIndex, range: IndexRange) -> String {
    format!("run {run} task {task}[{}-{}]", range.first, range.last)
}
