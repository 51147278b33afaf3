//! The replicated state: what every master holds, and the indexes derived from it.
//!
//! Only [`State::apply`] changes it. The replicated part (`runs`, `versions`, `workflows`, `workers`, `requests`,
//! `trail`, `namespaces`, the counters) is copy-on-write and is what a snapshot holds; the derived part (`queue`,
//! `deadlines`, `held`, `usage`, names) is rebuilt from it on restore, and [`State::check`] recounts it.

pub mod block_map;
pub mod cells;
mod deadlines;
mod derived;
mod fires;
pub mod hooks;
pub mod namespace;
pub mod queue;
pub mod requests;
pub mod run;
pub mod task;
pub mod trail;
mod transition;
mod triggers;
pub mod worker;
pub mod workflow;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::ids::{LogIndex, Name, RunId, TaskIndex, Text, WorkerId};
use crate::mutant::{self, Mutant};
use crate::time::Timestamp;

use block_map::BlockMap;
use deadlines::Deadlines;
pub use fires::{Fires, ScheduleKey};
use namespace::Namespace;
use queue::ReadyQueue;
use requests::Requests;
use run::Run;
use trail::Trail;
use worker::{Worker, WorkerStatus};
use workflow::{Workflow, WorkflowVersion};

pub(crate) use deadlines::Due;
pub use derived::{Holding, Usage};
pub(crate) use transition::Changed;
pub use triggers::Triggers;

/// The counters and scalars of the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Meta {
    /// The log's time: the largest stamp applied so far.
    pub now: Timestamp,
    /// What the cluster may use; raised by [`crate::command::UpgradeCluster`].
    pub cluster_version: u32,
    /// The id of the next run.
    pub next_run: u64,
    /// The id of the next workflow.
    pub next_workflow: u64,
    /// The id of the next workflow version.
    pub next_version: u64,
    /// The id of the next worker.
    pub next_worker: u64,
    /// The number of the next action of the audit trail.
    pub next_action: u64,
    /// The id of the next namespace.
    pub next_namespace: u64,
    /// Runs that ended before this log index are forgotten. The history lives outside the state; whoever takes the
    /// state from a snapshot forgets them too.
    pub pruned_before: LogIndex,
}

impl Default for Meta {
    /// Ids start at 1, so that 0 never names anything.
    fn default() -> Self {
        Meta {
            now: Timestamp(0),
            cluster_version: 1,
            next_run: 1,
            next_workflow: 1,
            next_version: 1,
            next_worker: 1,
            next_action: 1,
            next_namespace: 1,
            pruned_before: LogIndex(0),
        }
    }
}

/// See the module documentation.
#[derive(Clone, Debug, Default)]
pub struct State {
    pub(crate) meta: Meta,
    pub(crate) runs: BlockMap<Run>,
    pub(crate) versions: BlockMap<WorkflowVersion>,
    pub(crate) workflows: BlockMap<Workflow>,
    pub(crate) workers: BlockMap<Worker>,
    pub(crate) requests: Requests,
    pub(crate) trail: Trail,
    pub(crate) namespaces: BlockMap<Namespace>,

    // Derived.
    pub(crate) namespace_by_name: BTreeMap<Name, u64>,
    pub(crate) workflow_by_name: BTreeMap<Name, BTreeMap<Name, u64>>,
    pub(crate) run_by_number: BTreeMap<(u64, u64), RunId>,
    /// How many of these each workflow has, where it has any.
    pub(crate) live_by_workflow: BTreeMap<u64, u64>,
    pub(crate) workers_by_name: BTreeMap<Text, BTreeSet<WorkerId>>,
    /// How many live runs use a version.
    pub(crate) version_uses: BTreeMap<u64, u32>,
    pub(crate) held: BTreeMap<WorkerId, Holding>,
    /// What the namespaces with live runs have.
    pub(crate) usage: BTreeMap<Name, Usage>,
    pub(crate) queue: ReadyQueue,
    pub(crate) deadlines: Deadlines,
    pub(crate) fires: Fires,
    pub(crate) triggers: Triggers,
    /// Tasks about which the leader has to decide.
    pub(crate) undecided: BTreeSet<TaskKey>,
    /// Runs that wait for earlier ones, by workflow.
    pub(crate) queued_runs: BTreeMap<u64, BTreeSet<RunId>>,
}

impl State {
    /// The log's time.
    pub fn now(&self) -> Timestamp {
        self.meta.now
    }

    /// The counters and scalars.
    pub fn meta(&self) -> Meta {
        self.meta
    }

    /// When time alone would change something. The leader proposes a tick then.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.next()
    }

    /// The live run with this id.
    pub fn run(&self, id: RunId) -> Option<&Arc<Run>> {
        self.runs.get(id.0)
    }

    /// The live run with this number within its workflow.
    pub fn run_by_number(&self, namespace: &str, workflow: &str, number: u64) -> Option<&Arc<Run>> {
        let workflow = self.workflow(namespace, workflow)?;
        self.run(*self.run_by_number.get(&(workflow.id, number))?)
    }

    /// How many runs of a workflow are live.
    pub fn live_runs_of(&self, workflow: u64) -> u64 {
        self.live_by_workflow.get(&workflow).copied().unwrap_or(0)
    }

    /// The live runs of a workflow, by number.
    pub fn live_runs(&self, workflow: u64) -> impl Iterator<Item = &Arc<Run>> {
        let ids = self.run_by_number.range((workflow, 0)..=(workflow, u64::MAX));
        ids.filter_map(|(_, id)| self.run(*id))
    }

    /// Makes a live run known by its number.
    pub(crate) fn enlist_run(&mut self, workflow: u64, number: u64, run: RunId) {
        if self.run_by_number.insert((workflow, number), run).is_none() {
            *self.live_by_workflow.entry(workflow).or_default() += 1;
        }
    }

    /// The reverse, of a run that ended.
    pub(crate) fn strike_run(&mut self, workflow: u64, number: u64) {
        if self.run_by_number.remove(&(workflow, number)).is_none() {
            return;
        }
        let Some(live) = self.live_by_workflow.get_mut(&workflow) else { return };
        *live -= 1;
        if *live == 0 {
            self.live_by_workflow.remove(&workflow);
        }
    }

    /// Takes a run out of those that wait.
    pub(crate) fn forget_queued(&mut self, workflow: u64, run: RunId) {
        let Some(queued) = self.queued_runs.get_mut(&workflow) else { return };
        queued.remove(&run);
        if queued.is_empty() {
            self.queued_runs.remove(&workflow);
        }
    }

    /// What was asked for lately, and by whom.
    pub fn trail(&self) -> &Trail {
        &self.trail
    }

    /// When schedules fire next.
    pub fn fires(&self) -> &Fires {
        &self.fires
    }

    /// All live runs.
    pub fn runs(&self) -> &BlockMap<Run> {
        &self.runs
    }

    /// The workflow with this name.
    pub fn workflow(&self, namespace: &str, name: &str) -> Option<&Arc<Workflow>> {
        self.workflows.get(*self.workflow_by_name.get(namespace)?.get(name)?)
    }

    /// All workflows.
    pub fn workflows(&self) -> &BlockMap<Workflow> {
        &self.workflows
    }

    /// The workflow version with this serial number.
    pub fn version(&self, id: u64) -> Option<&Arc<WorkflowVersion>> {
        self.versions.get(id)
    }

    /// All workflow versions that are the latest of their workflow, or that a live run uses.
    pub fn versions(&self) -> &BlockMap<WorkflowVersion> {
        &self.versions
    }

    /// The worker with this id.
    pub fn worker(&self, id: WorkerId) -> Option<&Arc<Worker>> {
        self.workers.get(id.0)
    }

    /// The latest worker of this name.
    pub fn worker_by_name(&self, name: &str) -> Option<&Arc<Worker>> {
        self.worker(*self.workers_by_name.get(name)?.last()?)
    }

    /// The worker of this name and incarnation, unless it is lost.
    pub(crate) fn live_worker(&self, name: &str, incarnation: u64) -> Option<&Arc<Worker>> {
        let namesakes = self.workers_by_name.get(name)?;
        namesakes.iter().filter_map(|id| self.worker(*id)).find(|worker| {
            let is_it = worker.incarnation == incarnation;
            (is_it || mutant::is_on(Mutant::IncarnationUnchecked))
                && !matches!(worker.status, WorkerStatus::Lost { .. })
        })
    }

    /// All workers, lost ones of the last hour included.
    pub fn workers(&self) -> &BlockMap<Worker> {
        &self.workers
    }

    /// The ready tasks.
    pub fn queue(&self) -> &ReadyQueue {
        &self.queue
    }

    /// The tasks that wait for [`crate::command::DecideTasks`], older runs first.
    pub fn undecided(&self) -> impl Iterator<Item = (RunId, TaskIndex)> {
        self.undecided.iter().copied()
    }

    /// The answered requests.
    pub fn requests(&self) -> &Requests {
        &self.requests
    }

    /// What a worker has taken, and by which tasks.
    pub fn held_by(&self, worker: WorkerId) -> Option<&Holding> {
        self.held.get(&worker)
    }

    /// What a namespace has; `None` if no run of it is live.
    pub fn used_by(&self, namespace: &Name) -> Option<&Usage> {
        self.usage.get(namespace)
    }

    /// The live attempts of a worker, as the state has them.
    pub fn attempts_of(&self, worker: WorkerId) -> Vec<crate::command::AttemptRef> {
        let Some(holding) = self.held.get(&worker) else { return Vec::new() };
        let mut attempts = Vec::new();
        for (run_id, task) in holding.tasks.keys() {
            let Some(cells) =
                self.run(*run_id).and_then(|run| run.task(*task)).map(|task| &task.cells)
            else {
                continue;
            };
            for (range, state) in cells.iter() {
                if let Some(attempt) = state.attempt().filter(|attempt| attempt.worker == worker) {
                    attempts.push(crate::command::AttemptRef {
                        run: *run_id,
                        task: *task,
                        range,
                        fence: attempt.fence,
                    });
                }
            }
        }
        attempts
    }
}

/// Identifies a task in the state.
pub type TaskKey = (RunId, TaskIndex);
