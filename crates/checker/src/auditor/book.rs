//! What the auditor remembers from one entry to the next.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use muster_core::ids::{Fence, LogIndex, Name, RunId, TaskIndex, Text, WorkerId};
use muster_core::limits;
use muster_core::reply::Reply;
use muster_core::snapshot::Snapshot;
use muster_core::spec::namespace::NamespaceSpec;
use muster_core::spec::schedule::ScheduleSpec;
use muster_core::state::run::Run;
use muster_core::state::worker::{Worker, WorkerStatus};
use muster_core::state::workflow::Schedule;
use muster_core::time::Timestamp;

use super::load::{Holdings, Takings};
use super::triggers::Follows;
use super::work::{Shapes, Work};
use crate::mix::spec_digest;

/// A workflow as its applied versions and its runs made it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// The number of its latest version, and the digest of its spec; `None` while only `submit` used the name.
    pub(super) latest: Option<(u32, u64)>,
    /// The same of those before it that are kept, oldest first.
    pub(super) earlier: VecDeque<(u32, u64)>,
    /// How many runs it had.
    pub(super) runs: u64,
    /// Its live runs that have begun, and those that wait for them.
    pub(super) begun: BTreeSet<RunId>,
    pub(super) waiting: BTreeSet<RunId>,
    /// Its schedules, in the order of its latest version, each as it was written and how far it has come.
    pub(super) schedules: Vec<(ScheduleSpec, Schedule)>,
    /// Its triggers, and what they need.
    pub(super) follows: Follows,
    /// Every fire time that made a run, by schedule.
    pub(super) fired: BTreeSet<(Name, Timestamp)>,
}

/// A request that was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answered {
    pub(super) digest: u64,
    pub(super) reply: Reply,
}

/// See the module documentation.
#[derive(Debug, Default)]
pub(super) struct Book {
    pub(super) now: Timestamp,
    pub(super) shapes: Shapes,
    pub(super) holdings: Holdings,
    pub(super) takings: Takings,
    pub(super) namespaces: BTreeMap<Name, NamespaceSpec>,
    pub(super) workers: BTreeMap<WorkerId, Arc<Worker>>,
    pub(super) workflows: BTreeMap<(Name, Name), Known>,
    /// The latest fence of each task of a live run, and its worker.
    pub(super) fences: BTreeMap<(RunId, TaskIndex), (Fence, WorkerId)>,
    requests: BTreeMap<Text, Answered>,
    /// Oldest first.
    requests_by_age: VecDeque<(Timestamp, Text)>,
    dues: BTreeSet<(Timestamp, RunId)>,
    due_of: BTreeMap<RunId, Timestamp>,
}

impl Book {
    /// What a state that nothing is known about says of itself.
    pub(super) fn adopt(state: &Snapshot) -> Self {
        let mut book = Book { now: state.meta.now, ..Book::default() };
        book.workers = state.workers.iter().map(|worker| (worker.id, worker.clone())).collect();
        let namespaces = state.namespaces.iter().map(|it| (it.spec.name.clone(), it.spec.clone()));
        book.namespaces = namespaces.collect();
        for workflow in state.workflows.iter() {
            let latest = workflow.latest.and_then(|id| state.versions.get(id));
            let specs = latest.map(|version| version.spec.schedules.as_slice()).unwrap_or_default();
            let schedules = specs.iter().cloned().zip(workflow.schedules.iter().cloned()).collect();
            let mut follows = Follows::default();
            if let Some(version) = latest {
                follows = follows.carried_over(&version.spec);
                let states = follows.triggers.iter_mut().zip(&workflow.triggers);
                states.for_each(|((_, state), is)| state.clone_from(is));
            }
            let latest = latest.map(|version| (version.number, spec_digest(&version.spec)));
            let runs = workflow.runs;
            let earlier = workflow.earlier.iter().filter_map(|id| state.versions.get(*id));
            let earlier = earlier.map(|it| (it.number, spec_digest(&it.spec))).collect();
            let known = Known { latest, earlier, runs, schedules, follows, ..Known::default() };
            book.workflows.insert((workflow.namespace.clone(), workflow.name.clone()), known);
        }
        let answered: Vec<_> = state.requests.iter().cloned().collect();
        for it in answered {
            let remembered = Answered { digest: it.digest, reply: it.reply.clone() };
            book.remember(it.id.clone(), remembered, it.at);
        }
        for run in state.runs.iter() {
            book.watch(run);
            let key = (run.version.namespace.clone(), run.version.workflow.clone());
            let known = book.workflows.entry(key).or_default();
            match run.begun_at {
                Some(_) => known.begun.insert(run.id),
                None => known.waiting.insert(run.id),
            };
            known.fired.extend(run.origin.clone().map(|it| (it.schedule, it.fire_time)));
        }
        book.recount(state);
        book
    }

    /// How many runs of a namespace are live.
    pub(super) fn live_runs(&self, namespace: &Name) -> usize {
        // No name comes before this one.
        let first = (namespace.clone(), Name::parse("a").expect("it is a name"));
        let all = self.workflows.range(first..).take_while(|((of, _), _)| of == namespace);
        all.map(|(_, known)| known.begun.len() + known.waiting.len()).sum()
    }

    /// Sums up anew what workers hold and namespaces take.
    pub(super) fn recount(&mut self, state: &Snapshot) {
        self.holdings = Holdings::default();
        self.takings = Takings::default();
        for run in state.runs.iter() {
            for (at, (task, spec)) in run.tasks.iter().zip(&run.version.spec.tasks).enumerate() {
                let key = (run.id, TaskIndex(at as u32));
                for (range, state) in task.cells.iter() {
                    let Some(attempt) = state.attempt() else { continue };
                    let request = &spec.request;
                    self.holdings.take(attempt.worker, key, &request.resources, range.count());
                    self.takings.take(&run.version.namespace, request, range.count());
                    let fence = self.fences.entry(key).or_insert((attempt.fence, attempt.worker));
                    *fence = (*fence).max((attempt.fence, attempt.worker));
                }
            }
        }
    }

    /// Follows what became of a run: its deadlines, or that it is gone.
    pub(super) fn watch(&mut self, run: &Run) {
        let shape = self.shapes.of(&run.version);
        let due = Work::of(run, shape, LogIndex(0)).first_due().map(|(at, _)| at);
        self.set_due(run.id, due);
    }

    pub(super) fn forget_run(&mut self, run: RunId) {
        self.set_due(run, None);
        let tasks = (run, TaskIndex(0))..=(run, TaskIndex(u32::MAX));
        let keys: Vec<_> = self.fences.range(tasks).map(|(key, _)| *key).collect();
        for key in keys {
            self.fences.remove(&key);
        }
    }

    pub(super) fn set_due(&mut self, run: RunId, due: Option<Timestamp>) {
        let before = match due {
            Some(at) => self.due_of.insert(run, at),
            None => self.due_of.remove(&run),
        };
        if let Some(before) = before {
            self.dues.remove(&(before, run));
        }
        self.dues.extend(due.map(|at| (at, run)));
    }

    /// A run for which time alone does something.
    pub(super) fn first_due(&self, now: Timestamp) -> Option<RunId> {
        self.dues.first().filter(|(at, _)| *at <= now).map(|(_, run)| *run)
    }

    /// When time alone does something.
    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        let forgotten = self.workers.values().filter_map(|worker| match worker.status {
            WorkerStatus::Lost { at } => Some(at + limits::LOST_WORKER_RETENTION),
            WorkerStatus::Active | WorkerStatus::Draining => None,
        });
        self.dues.first().map(|(at, _)| *at).into_iter().chain(forgotten).min()
    }

    /// What was answered to a request id, unless that is forgotten.
    pub(super) fn answered(&self, id: &str) -> Option<&Answered> {
        self.requests.get(id)
    }

    pub(super) fn remember(&mut self, id: Text, answered: Answered, at: Timestamp) {
        if self.requests.len() >= limits::REQUEST_IDS_MAX {
            self.forget_oldest_request();
        }
        self.requests.insert(id.clone(), answered);
        self.requests_by_age.push_back((at, id));
    }

    /// How many request ids are remembered.
    pub(super) fn requests_len(&self) -> usize {
        self.requests.len()
    }

    /// Forgets what is older than the retention.
    pub(super) fn expire_requests(&mut self, now: Timestamp) {
        let is_old = |(at, _): &(Timestamp, Text)| now.since(*at) > limits::REQUEST_ID_RETENTION;
        while self.requests_by_age.front().is_some_and(is_old) {
            self.forget_oldest_request();
        }
    }

    fn forget_oldest_request(&mut self) {
        if let Some((_, id)) = self.requests_by_age.pop_front() {
            self.requests.remove(&id);
        }
    }
}
