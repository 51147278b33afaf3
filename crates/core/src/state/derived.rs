//! Rebuilding the derived indexes from the replicated part of the state.

use std::collections::BTreeMap;

use super::deadlines::Due;
use super::queue::ReadyKey;
use super::run::Run;
use super::task::TaskStatus;
use super::worker::WorkerStatus;
use super::{State, TaskKey};
use crate::ids::{Name, RunId, TaskIndex, WorkerId};
use crate::limits;
use crate::mutant::{self, Mutant};
use crate::spec::{Request, Resources};

/// What one worker has taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    /// The sum of the requests of its live attempts.
    pub used: Resources,
    /// Its tasks, with the number of live attempts of each.
    pub tasks: BTreeMap<TaskKey, u32>,
}

impl Default for Holding {
    fn default() -> Self {
        Holding { used: Resources::ZERO, tasks: BTreeMap::new() }
    }
}

/// What one namespace has: its live runs, and what their live attempts take on all workers together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The sum of their requests.
    pub used: Resources,
    /// How many live attempts there are.
    pub attempts: u32,
    /// How many live runs there are, those that have not begun included; never 0 in the state.
    pub runs: u32,
    /// How many of the live attempts are of each concurrency group, where there are any.
    pub groups: BTreeMap<Name, u32>,
}

impl Usage {
    /// Adds `count` live attempts that ask for `request`.
    pub fn take(&mut self, request: &Request, count: u32) {
        self.used.add(&request.resources, count);
        self.attempts = self.attempts.saturating_add(count);
        for group in &request.groups {
            let live = self.groups.entry(group.clone()).or_default();
            *live = live.saturating_add(count);
        }
    }

    /// Takes away `count` live attempts that asked for `request`.
    fn give_back(&mut self, request: &Request, count: u32) {
        self.used.sub(&request.resources, count);
        self.attempts = self.attempts.saturating_sub(count);
        for group in &request.groups {
            let Some(live) = self.groups.get_mut(group) else { continue };
            *live = live.saturating_sub(count);
            if *live == 0 {
                self.groups.remove(group);
            }
        }
    }
}

impl Default for Usage {
    fn default() -> Self {
        Usage { used: Resources::ZERO, attempts: 0, runs: 0, groups: BTreeMap::new() }
    }
}

impl State {
    /// Rebuilds every derived index. The replicated part must be complete.
    pub(crate) fn derive(&mut self) {
        self.namespace_by_name.clear();
        self.workflow_by_name.clear();
        self.run_by_number.clear();
        self.live_by_workflow.clear();
        self.workers_by_name.clear();
        self.version_uses.clear();
        self.held.clear();
        self.usage.clear();
        self.queue = Default::default();
        self.deadlines = Default::default();
        self.fires = Default::default();
        self.queued_runs.clear();
        self.undecided.clear();
        let namespaces = self.namespaces.iter().map(|it| (it.spec.name.clone(), it.id));
        self.namespace_by_name.extend(namespaces);
        for workflow in self.workflows.iter() {
            self.workflow_by_name
                .entry(workflow.namespace.clone())
                .or_default()
                .insert(workflow.name.clone(), workflow.id);
        }
        self.derive_fires();
        self.derive_triggers();
        self.derive_workers();
        let run_ids: Vec<RunId> = self.runs.iter().map(|run| run.id).collect();
        for run in run_ids {
            self.derive_run(run);
        }
    }

    fn derive_workers(&mut self) {
        for worker in self.workers.iter() {
            match worker.status {
                WorkerStatus::Active | WorkerStatus::Draining => {
                    self.held.insert(worker.id, Holding::default());
                }
                WorkerStatus::Lost { at } => {
                    self.deadlines
                        .insert(at + limits::LOST_WORKER_RETENTION, Due::Worker(worker.id));
                }
            }
            self.workers_by_name.entry(worker.name.clone()).or_default().insert(worker.id);
        }
    }

    fn derive_run(&mut self, id: RunId) {
        let Some(run) = self.runs.get(id.0).cloned() else { return };
        if let Some(workflow) = self.workflow_id(&run.version) {
            self.enlist_run(workflow, run.number, id);
            if run.begun_at.is_none() {
                self.queued_runs.entry(workflow).or_default().insert(id);
            }
        }
        *self.version_uses.entry(run.version.id).or_default() += 1;
        self.count_run(&run.version.namespace);
        if let Some(at) = run.deadline() {
            self.deadlines.insert(at, Due::Run(id));
        }
        for (position, task) in run.tasks.iter().enumerate() {
            let index = TaskIndex(position as u32);
            let Some(request) = run.version.request(index) else { continue };
            let spans = run.spans(index);
            for (range, state) in task.cells.iter() {
                if let Some(at) = state.deadline(&spans) {
                    self.deadlines.insert(at, Due::Cell(id, index, range.first));
                }
                if let Some(attempt) = state.attempt() {
                    let (task, count) = ((id, index), range.count());
                    self.take(&run.version.namespace, attempt.worker, task, request, count);
                }
            }
            if task.cells.tally().of(TaskStatus::Undecided) > 0 {
                self.undecided.insert((id, index));
            }
        }
        self.set_queued(&run, run.paused.is_none());
    }

    /// Puts the ready tasks of a run into the queue, or takes them out, by the priority that the run has.
    pub(crate) fn set_queued(&mut self, run: &Run, is_queued: bool) {
        for (position, task) in run.tasks.iter().enumerate() {
            let index = TaskIndex(position as u32);
            let Some(request) = run.version.request(index) else { continue };
            let max_parallel = run.spec(index).and_then(|spec| spec.max_parallel);
            let count = if is_queued { task.placeable(max_parallel) } else { 0 };
            self.queue.set(&run.version.namespace, request, ReadyKey::of(run, index), count);
        }
    }

    /// The serial number of the workflow a version belongs to.
    pub(crate) fn workflow_id(&self, version: &super::workflow::WorkflowVersion) -> Option<u64> {
        self.workflow_by_name.get(&version.namespace)?.get(&version.workflow).copied()
    }

    fn usage_of(&mut self, namespace: &Name) -> &mut Usage {
        if !self.usage.contains_key(namespace) {
            self.usage.insert(namespace.clone(), Usage::default());
        }
        self.usage.get_mut(namespace).expect("it was put there if it was not")
    }

    /// Counts a run that is live from now on.
    pub(crate) fn count_run(&mut self, namespace: &Name) {
        let usage = self.usage_of(namespace);
        usage.runs = usage.runs.saturating_add(1);
    }

    /// Forgets a run that is live no longer.
    pub(crate) fn uncount_run(&mut self, namespace: &Name) {
        let Some(usage) = self.usage.get_mut(namespace) else { return };
        usage.runs = usage.runs.saturating_sub(1);
        if usage.runs == 0 {
            self.usage.remove(namespace);
        }
    }

    /// Books `count` attempts of a task on a worker and a namespace.
    pub(crate) fn take(
        &mut self,
        namespace: &Name,
        worker: WorkerId,
        task: TaskKey,
        request: &Request,
        count: u32,
    ) {
        let holding = self.held.entry(worker).or_default();
        holding.used.add(&request.resources, count);
        *holding.tasks.entry(task).or_default() += count;
        self.usage_of(namespace).take(request, count);
    }

    /// Gives back what `count` attempts of a task took on a worker and of a namespace.
    pub(crate) fn give_back(
        &mut self,
        namespace: &Name,
        worker: WorkerId,
        task: TaskKey,
        request: &Request,
        count: u32,
    ) {
        if let Some(usage) = self.usage.get_mut(namespace) {
            usage.give_back(request, count);
        }
        let Some(holding) = self.held.get_mut(&worker) else { return };
        let count = if mutant::is_on(Mutant::CountDrifts) { 1 } else { count };
        holding.used.sub(&request.resources, count);
        if let Some(held) = holding.tasks.get_mut(&task) {
            *held = held.saturating_sub(count);
            if *held == 0 {
                holding.tasks.remove(&task);
            }
        }
    }
}
