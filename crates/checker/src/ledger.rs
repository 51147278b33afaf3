//! What the log says happened: every accepted run, attempt, worker and request. Written by the auditor, entry by entry;
//! claims of clients and workers are judged by it.

use std::collections::BTreeMap;

use muster_core::ids::{Fence, LogIndex, RunId, TaskIndex, Text, WorkerId};
use muster_core::reply::Reply;
use muster_core::snapshot::Snapshot;
use muster_core::state::cells::IndexRange;
use muster_core::state::run::{FireOrigin, Run, RunStatus};
use muster_core::state::task::TaskEnd;
use muster_core::state::worker::WorkerStatus;
use muster_core::time::Millis;

use crate::fires::Decision;
use crate::history::{Ending, Nanos};
use crate::mix::spec_digest;

/// A run that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunRecord {
    /// Its number in the cluster.
    pub run: RunId,
    /// Its workflow.
    pub workflow: Text,
    /// Its number within the workflow.
    pub number: u64,
    /// [`crate::spec_digest()`] of its workflow version.
    pub spec: u64,
    /// The request that made it, if it had an id.
    pub request: Option<Text>,
    /// The entry that accepted it.
    pub accepted: LogIndex,
    /// The entry that carried out the first cancel by a user, if there was one.
    pub cancelled: Option<LogIndex>,
    /// How it ended, once it did.
    pub ended: Option<EndedRun>,
    /// The fire time it was made for, if a schedule made it.
    pub origin: Option<FireOrigin>,
    /// The run of another workflow whose end made it, if one did.
    pub trigger: Option<RunId>,
    /// The run whose failed parts it runs again, if it is a retry.
    pub retries: Option<RunId>,
    /// The run of the task that it was started for, if there is one.
    pub parent: Option<RunId>,
    /// The entry that first cancelled a task of it by itself, if there was one.
    pub task_cancelled: Option<LogIndex>,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedRun {
    /// The entry that ended it.
    pub index: LogIndex,
    /// Its status.
    pub status: RunStatus,
    /// How each task ended.
    pub tasks: Vec<Option<TaskEnd>>,
}

/// Attempts that were placed together: indices of one task under one fence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Which run.
    pub run: RunId,
    /// Which task.
    pub task: TaskIndex,
    /// Which indices.
    pub range: IndexRange,
    /// Their fence: the index of the entry that placed them.
    pub fence: Fence,
    /// Where.
    pub worker: WorkerId,
    /// How they ended, by range, as the log has it.
    pub ends: Vec<(IndexRange, LogIndex, Cause)>,
}

/// What ended an attempt in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// An accepted report.
    Reported(Ending),
    /// Its worker was declared lost.
    WorkerLost,
    /// Its worker stayed silent after a cancel.
    Forced,
}

/// A worker that was taken in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerRecord {
    /// The name it gave itself.
    pub name: Text,
    /// Its incarnation.
    pub incarnation: u64,
    /// The entries that lengthened its lease, its registration first, and to what.
    pub leases: BTreeMap<LogIndex, Millis>,
    /// The entry that took it in.
    pub registered: LogIndex,
    /// The entry that declared it lost.
    pub lost: Option<LogIndex>,
    /// The term of that entry, where the feeder knows it.
    pub lost_in_term: Option<u64>,
}

/// A request id that was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestRecord {
    /// The digest of its body, as masters compute it.
    pub digest: u64,
    /// The entry that carried it out.
    pub index: LogIndex,
    /// What was answered.
    pub reply: Reply,
}

/// See the module documentation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Accepted runs. Ended ones stay.
    pub runs: BTreeMap<RunId, RunRecord>,
    /// Placed attempts.
    pub attempts: BTreeMap<(RunId, TaskIndex, Fence), Vec<Placed>>,
    /// Workers. Lost ones stay.
    pub workers: BTreeMap<WorkerId, WorkerRecord>,
    /// Answered requests; forgotten ones stay. The latest answer counts.
    pub requests: BTreeMap<Text, RequestRecord>,
    /// Decisions about schedules, in the order of the log.
    pub decisions: Vec<Decision>,
    /// When an entry was first shown to be applied, where the feeder knows it.
    pub applied_at: BTreeMap<LogIndex, Nanos>,
    /// `State::digest` at some indexes.
    pub digests: BTreeMap<LogIndex, u64>,
    /// Ended runs that ended before this entry may have been forgotten.
    pub pruned_before: LogIndex,
    /// The entries that pruned the history, each with the entry before which runs must have ended to be forgotten.
    pub prunings: BTreeMap<LogIndex, LogIndex>,
    /// The entry before the first one that was shown: 0 if the ledger is whole.
    pub begins_after: LogIndex,
    /// The last entry that was shown.
    pub last: LogIndex,
}

impl Ledger {
    /// Takes in what a state shows of the log before it.
    pub(crate) fn fill(&mut self, state: &Snapshot, index: LogIndex) {
        for worker in state.workers.iter() {
            let lost = matches!(worker.status, WorkerStatus::Lost { .. }).then_some(index);
            let record = self.workers.entry(worker.id).or_insert_with(|| WorkerRecord {
                name: worker.name.clone(),
                incarnation: worker.incarnation,
                leases: BTreeMap::new(),
                registered: index,
                lost: None,
                lost_in_term: None,
            });
            record.lost = record.lost.or(lost);
            if record.leases.values().all(|lease| *lease < worker.lease) {
                record.leases.insert(index, worker.lease);
            }
        }
        for it in state.requests.iter() {
            let record = RequestRecord { digest: it.digest, index, reply: it.reply.clone() };
            self.requests.entry(it.id.clone()).or_insert(record);
        }
        for run in state.runs.iter() {
            self.fill_run(run, index);
        }
    }

    fn fill_run(&mut self, run: &Run, index: LogIndex) {
        self.runs.entry(run.id).or_insert_with(|| RunRecord {
            run: run.id,
            workflow: run.version.workflow.text(),
            number: run.number,
            spec: spec_digest(&run.version.spec),
            request: None,
            accepted: index,
            cancelled: run.stop.map(|_| index),
            origin: run.origin.clone(),
            trigger: run.trigger.as_ref().map(|trigger| trigger.run),
            retries: run.retry.as_ref().map(|retry| retry.run),
            parent: run.parent.as_ref().map(|parent| parent.run),
            // An older entry may have done it, as far as can be told.
            task_cancelled: Some(index),
            ended: None,
        });
        for (at, task) in run.tasks.iter().enumerate() {
            for (range, state) in task.cells.iter() {
                let Some(attempt) = state.attempt() else { continue };
                let (task, fence) = (TaskIndex(at as u32), attempt.fence);
                let known = self.attempts.entry((run.id, task, fence)).or_default();
                let is_new = known.iter().all(|it| it.range.intersect(range).is_none());
                if is_new {
                    let worker = attempt.worker;
                    known.push(Placed {
                        run: run.id,
                        task,
                        range,
                        fence,
                        worker,
                        ends: Vec::new(),
                    });
                }
            }
        }
    }
}
