//! A run as it should be, while the commands of one entry go by.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use muster_core::ids::{LogIndex, RunId, TaskIndex};
use muster_core::retry::{TakenEnd, TakenOver};
use muster_core::spec::{Items, TaskSpec};
use muster_core::state::cells::{Cells, IndexRange};
use muster_core::state::hooks::RunResult;
use muster_core::state::run::{
    FireOrigin, Params, ParentTask, RetryOrigin, Run, RunStatus, TriggerOrigin,
};
use muster_core::state::task::{Awaited, ChildRun, Outputs, StopReason, TaskEnd, TaskState};
use muster_core::state::trail::Asker;
use muster_core::state::workflow::WorkflowVersion;
use muster_core::time::Timestamp;

use super::rules::{self, Fate};
use super::shape::Shape;

/// One task of a [`Work`].
#[derive(Debug)]
pub(super) struct WorkTask {
    pub(super) cells: Cells,
    /// The highest number of an attempt of it.
    pub(super) attempts: u32,
    pub(super) outputs: Option<Arc<Outputs>>,
    /// What it goes through, if that was decided.
    pub(super) items: Option<Items>,
    /// The latest run that was started for it.
    pub(super) child: Option<Arc<ChildRun>>,
    /// Some accepted item of this entry named it.
    pub(super) is_touched: bool,
    /// Some refused item of this entry named it.
    pub(super) is_refused: bool,
}

/// See the module documentation.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) id: RunId,
    pub(super) number: u64,
    pub(super) version: Arc<WorkflowVersion>,
    shape: Arc<Shape>,
    /// Of the entry.
    index: LogIndex,
    pub(super) tasks: Vec<WorkTask>,
    pub(super) params: Arc<Params>,
    pub(super) submitted_at: Timestamp,
    pub(super) begun_at: Option<Timestamp>,
    pub(super) origin: Option<FireOrigin>,
    pub(super) backfill: Option<FireOrigin>,
    pub(super) retry: Option<RetryOrigin>,
    pub(super) trigger: Option<TriggerOrigin>,
    /// The task that it was started for, and whether that was told of its end.
    pub(super) parent: Option<ParentTask>,
    pub(super) is_told: bool,
    /// Runs that must stop since their tasks of this run do, and were not told yet.
    pub(super) stopped: BTreeSet<RunId>,
    /// Who asked for it.
    pub(super) asked_by: Option<Asker>,
    pub(super) priority: i32,
    pub(super) paused: Option<Timestamp>,
    pub(super) stop: Option<(Timestamp, StopReason)>,
    /// How often a person cancelled it, if it has hooks.
    pub(super) cancels: u8,
    /// What its tasks came to, if it has hooks and these have begun.
    pub(super) result: Option<RunResult>,
    pub(super) ended: Option<RunStatus>,
    /// A command was carried out that should not have been: what it makes of the run cannot be told.
    pub(super) is_doubtful: bool,
}

impl Work {
    /// The run as it was before the entry at `index`.
    pub(super) fn of(run: &Run, shape: Arc<Shape>, index: LogIndex) -> Self {
        let task = |task: &muster_core::state::task::Task| WorkTask {
            cells: task.cells.clone(),
            attempts: task.attempts,
            outputs: task.outputs.clone(),
            items: task.items.clone(),
            child: task.child.clone(),
            is_touched: false,
            is_refused: false,
        };
        Work {
            id: run.id,
            number: run.number,
            version: run.version.clone(),
            shape,
            index,
            tasks: run.tasks.iter().map(task).collect(),
            params: run.params.clone(),
            submitted_at: run.submitted_at,
            begun_at: run.begun_at,
            origin: run.origin.clone(),
            backfill: run.backfill.clone(),
            retry: run.retry.clone(),
            trigger: run.trigger.clone(),
            parent: run.parent.clone(),
            is_told: false,
            stopped: BTreeSet::new(),
            asked_by: run.asked_by.clone(),
            priority: run.priority,
            paused: run.paused,
            stop: run.stop,
            cancels: run.cancels,
            result: run.result,
            ended: None,
            is_doubtful: false,
        }
    }

    /// A run that was made and has not begun, for what it was made for.
    pub(super) fn new(run: &Run, shape: Arc<Shape>, index: LogIndex, now: Timestamp) -> Self {
        let version = run.version.clone();
        let task = |spec: &TaskSpec| WorkTask {
            cells: Cells::new(rules::indices(spec, None), TaskState::Blocked),
            attempts: 0,
            outputs: None,
            items: None,
            child: None,
            is_touched: true,
            is_refused: false,
        };
        Work {
            id: run.id,
            number: run.number,
            tasks: version.spec.tasks.iter().map(task).collect(),
            params: run.params.clone(),
            version,
            shape,
            index,
            submitted_at: now,
            begun_at: None,
            origin: run.origin.clone(),
            backfill: run.backfill.clone(),
            retry: None,
            trigger: None,
            parent: None,
            is_told: false,
            stopped: BTreeSet::new(),
            asked_by: None,
            priority: run.priority,
            paused: None,
            stop: None,
            cancels: 0,
            result: None,
            ended: None,
            is_doubtful: false,
        }
    }

    /// Tasks have ends from the start that another run came to. Says what is wrong with that.
    pub(super) fn take_over(&mut self, taken: &[TakenOver]) -> Option<&'static str> {
        for it in taken {
            let Some(task) = self.tasks.get_mut(it.task.0 as usize) else {
                return Some("takes over a task that it has not");
            };
            if let Some(items) = &it.items {
                let Some(spec) = self.version.spec.tasks.get(it.task.0 as usize) else { continue };
                if !rules::is_sized_late(spec) || !rules::are_bounded(items) {
                    return Some("takes over items of a task that goes through none, or too many");
                }
                task.cells = Cells::new(rules::indices(spec, Some(items)), TaskState::Blocked);
                task.items = Some(items.clone());
            }
            let is_skipped = |end: &TakenEnd| matches!(end, TakenEnd::Skipped { .. });
            let is_hook = self.version.spec.tasks[it.task.0 as usize].hook.is_some();
            if is_hook && !it.ends.iter().all(|(_, end)| is_skipped(end)) {
                return Some("takes over what a hook came to");
            }
            it.ends.iter().for_each(|(range, end)| task.cells.set(*range, end.state()));
            task.outputs.clone_from(&it.outputs);
        }
        let is_open = |task: &usize| self.end_of(*task).is_none();
        let has_run = |state: &TaskState| {
            matches!(state, TaskState::Succeeded { .. } | TaskState::Failed { .. })
        };
        let has_run = |task: &WorkTask| task.cells.iter().any(|(_, state)| has_run(state));
        let too_early = |(at, task): (usize, &WorkTask)| {
            has_run(task) && self.shape.upstream(at).iter().any(is_open)
        };
        let is_early = self.tasks.iter().enumerate().any(too_early);
        is_early.then_some("takes over what ran, and what that needed is to run")
    }

    /// The run begins, with the tasks that need nothing, or nothing that has not ended.
    pub(super) fn begin(&mut self, now: Timestamp) {
        self.begun_at = Some(now);
        self.judge(now);
    }

    /// Judges every index that is blocked, by all that the task needs.
    fn judge(&mut self, now: Timestamp) {
        let tasks = (0..self.tasks.len()).filter(|task| !self.is_hook(*task));
        let mut order: Vec<usize> = tasks.collect();
        order.sort_by_key(|task| self.shape.position(*task));
        for task in order {
            if self.begun_at.is_none() {
                break;
            }
            let needs_nothing = self.shape.upstream(task).is_empty();
            let ends = self.upstream_ends(TaskIndex(task as u32));
            let spec = &self.version.spec.tasks[task];
            let is_asked = rules::is_asked(spec);
            let it = &mut self.tasks[task];
            let is_whole = it.cells.iter().all(|(_, state)| *state == TaskState::Blocked);
            let fresh = match is_asked && is_whole {
                true => rules::asked(spec, it.attempts, self.index),
                false => rules::started(spec, it.attempts, now),
            };
            let to = match rules::fate(spec, &ends) {
                _ if needs_nothing => fresh,
                Fate::Waits => continue,
                Fate::Starts | Fate::Undecided => fresh,
                Fate::Skipped { by_failure } => TaskState::Skipped { by_failure },
            };
            let cells = it.cells.iter().filter(|(_, state)| **state == TaskState::Blocked);
            let blocked: Vec<IndexRange> = cells.map(|(range, _)| range).collect();
            for range in blocked {
                it.cells.set(range, to);
                it.is_touched = true;
            }
        }
        self.end_if_over(now);
    }

    /// Puts indices into states by which nobody's attempt is concerned, and judges all that is blocked then.
    pub(super) fn reopen(
        &mut self,
        changes: BTreeMap<usize, Vec<(IndexRange, TaskState)>>,
        now: Timestamp,
    ) {
        for (task, cells) in changes {
            let it = &mut self.tasks[task];
            (it.outputs, it.child) = (None, None);
            it.is_touched = true;
            cells.into_iter().for_each(|(range, to)| it.cells.set(range, to));
            // Of what begins anew as a whole the items are asked for anew.
            let is_whole = it.cells.iter().all(|(_, state)| *state == TaskState::Blocked);
            if is_whole && it.items.take().is_some() {
                it.cells = Cells::One(TaskState::Blocked);
            }
        }
        self.judge(now);
    }

    /// A task that waits for its size gets it.
    pub(super) fn size(&mut self, task: TaskIndex, items: &Items, now_it_is: TaskState) {
        let at = task.0 as usize;
        let (Some(spec), Some(it)) = (self.version.spec.tasks.get(at), self.tasks.get_mut(at))
        else {
            return;
        };
        it.cells = Cells::new(rules::indices(spec, Some(items)), now_it_is);
        it.items = Some(items.clone());
        it.is_touched = true;
    }

    /// All tasks that need one of `tasks`, directly or by others.
    pub(super) fn downstream_of(&self, tasks: impl Iterator<Item = usize>) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        let mut next: Vec<usize> = tasks.collect();
        while let Some(task) = next.pop() {
            let further = self.shape.downstream(task).iter().filter(|it| found.insert(**it));
            next.extend(further.copied().collect::<Vec<_>>());
        }
        found
    }

    pub(super) fn spec(&self, task: TaskIndex) -> Option<&TaskSpec> {
        self.version.spec.tasks.get(task.0 as usize)
    }

    pub(super) fn task(&self, task: TaskIndex) -> Option<&WorkTask> {
        self.tasks.get(task.0 as usize)
    }

    /// The states within a range, cut to it; `None` if the run has no such task or indices.
    pub(super) fn within(
        &self,
        task: TaskIndex,
        range: IndexRange,
    ) -> Option<Vec<(IndexRange, TaskState)>> {
        let cells = &self.task(task)?.cells;
        let is_inside =
            range.first <= range.last && cells.indices().intersect(range) == Some(range);
        is_inside.then(|| cells.within(range).map(|(range, state)| (range, *state)).collect())
    }

    /// How the task at this position ended; `None` while it has not, or if there is none.
    pub(super) fn end_of(&self, task: usize) -> Option<TaskEnd> {
        let (task, spec) = (self.tasks.get(task)?, self.version.spec.tasks.get(task)?);
        rules::end_of(spec, &task.cells)
    }

    /// The indices of a task that go on while `failFast` says that they must not, as they become then.
    pub(super) fn failed_fast(
        &self,
        task: TaskIndex,
        now: Timestamp,
    ) -> Vec<(IndexRange, TaskState)> {
        let (Some(it), Some(spec)) = (self.task(task), self.spec(task)) else { return Vec::new() };
        if !spec.fail_fast || !rules::has_too_many_failures(spec, &it.cells) {
            return Vec::new();
        }
        let stopped = |state| rules::stopped(spec, state, StopReason::FailFast, now);
        let cells = it.cells.iter().map(|(range, state)| (range, *state, stopped(state)));
        cells.filter(|(_, is, to)| is != to).map(|(range, _, to)| (range, to)).collect()
    }

    /// How the tasks that `task` needs have ended.
    pub(super) fn upstream_ends(&self, task: TaskIndex) -> Vec<Option<TaskEnd>> {
        let upstream = self.shape.upstream(task.0 as usize).iter();
        upstream.map(|at| self.end_of(*at)).collect()
    }

    /// Puts indices of a task into a state, with all that follows for the tasks after it and for the run.
    pub(super) fn set(
        &mut self,
        task: TaskIndex,
        range: IndexRange,
        to: TaskState,
        now: Timestamp,
    ) {
        let was_open = self.end_of(task.0 as usize).is_none();
        let Some(it) = self.tasks.get_mut(task.0 as usize) else { return };
        if let (Some(child), false) =
            (stopped_child(&to), it.cells.at(range.first) == Some((range, &to)))
        {
            self.stopped.insert(child);
        }
        it.cells.set(range, to);
        it.is_touched = true;
        if was_open && self.end_of(task.0 as usize).is_some() {
            self.settle(task.0 as usize, now);
        }
    }

    /// Follows the end of a task down the DAG, each task after all that it needs, until nothing changes.
    fn settle(&mut self, ended: usize, now: Timestamp) {
        let mut open: BTreeSet<(usize, usize)> = BTreeSet::new();
        let shape = self.shape.clone();
        let tell = |open: &mut BTreeSet<_>, task| {
            open.extend(shape.downstream(task).iter().map(|it| (shape.position(*it), *it)));
        };
        tell(&mut open, ended);
        while let Some((_, task)) = open.pop_first() {
            let index = TaskIndex(task as u32);
            let ends = self.upstream_ends(index);
            let Some(spec) = self.version.spec.tasks.get(task) else { continue };
            let Some(it) = self.tasks.get_mut(task) else { continue };
            let is_blocked = it.cells.iter().all(|(_, state)| *state == TaskState::Blocked);
            if !is_blocked || self.stop.is_some() || self.begun_at.is_none() {
                continue;
            }
            let to = match rules::fate(spec, &ends) {
                Fate::Waits => continue,
                Fate::Starts if !rules::is_asked(spec) => rules::started(spec, it.attempts, now),
                Fate::Starts | Fate::Undecided => rules::asked(spec, it.attempts, self.index),
                Fate::Skipped { by_failure } => TaskState::Skipped { by_failure },
            };
            it.cells.set(it.cells.indices(), to);
            it.is_touched = true;
            if to.status().is_terminal() {
                tell(&mut open, task);
            }
        }
        self.end_if_over(now);
    }

    /// Tells the run to stop. The first reason stays.
    pub(super) fn stop(&mut self, reason: StopReason, now: Timestamp) {
        if self.result.is_some() && self.paused.is_some() {
            self.resume(now);
        }
        if self.stop.is_some() || self.result.is_some() {
            return;
        }
        self.stop = Some((now, reason));
        // What has begun is followed by its hooks, which nobody could resume.
        let is_followed = self.has_hooks() && self.begun_at.is_some();
        self.paused = self.paused.filter(|_| !is_followed);
        let version = self.version.clone();
        for (task, spec) in self.tasks.iter_mut().zip(&version.spec.tasks) {
            if is_followed && spec.hook.is_some() {
                continue;
            }
            let cells: Vec<_> = task.cells.iter().map(|(range, state)| (range, *state)).collect();
            for (range, state) in cells {
                let to = rules::stopped(spec, &state, reason, now);
                if to != state {
                    task.cells.set(range, to);
                    task.is_touched = true;
                    self.stopped.extend(stopped_child(&to));
                }
            }
        }
        self.end_if_over(now);
    }

    /// The first moment at which time alone changes the run, and what it is about: `None` for the run's own timeout,
    /// otherwise the task and the first index of the range.
    pub(super) fn first_due(&self) -> Option<(Timestamp, Option<(TaskIndex, u32)>)> {
        if self.ended.is_some() {
            return None;
        }
        // It bounds the tasks, and not the hooks that follow.
        let counts = self.stop.is_none() && self.result.is_none();
        let timeout = self.version.spec.timeout.filter(|_| counts);
        let own = timeout.zip(self.begun_at).map(|(span, at)| (at + span, None));
        let tasks = self.tasks.iter().zip(&self.version.spec.tasks).enumerate();
        let cells = tasks.flat_map(|(at, (task, spec))| {
            let task_index = TaskIndex(at as u32);
            // While the run is paused nobody waits for a worker.
            let counts = |state: &TaskState| {
                self.paused.is_none() || !matches!(state, TaskState::Ready { .. })
            };
            let cells = task.cells.iter().filter(move |(_, state)| counts(state));
            cells.filter_map(move |(range, state)| {
                Some((rules::due(spec, state)?, Some((task_index, range.first))))
            })
        });
        own.into_iter().chain(cells).min()
    }
}

/// The run that a task waits for, if that must stop.
fn stopped_child(state: &TaskState) -> Option<RunId> {
    match state {
        TaskState::Awaiting { what: Awaited::Run { run, stop: Some(_), .. }, .. } => Some(*run),
        _ => None,
    }
}

/// The shapes of workflow versions, by serial number.
#[derive(Debug, Default)]
pub(super) struct Shapes(BTreeMap<u64, Arc<Shape>>);

impl Shapes {
    pub(super) fn of(&mut self, version: &WorkflowVersion) -> Arc<Shape> {
        let shape = self.0.entry(version.id);
        shape.or_insert_with(|| Arc::new(Shape::of(&version.spec))).clone()
    }

    /// Forgets those that are no longer needed.
    pub(super) fn keep(&mut self, is_needed: impl Fn(u64) -> bool) {
        self.0.retain(|version, _| is_needed(*version));
    }
}
