//! What a retry of a run takes over from it, and what runs again.
//!
//! Taken over is what ended well: a task that succeeded or was skipped, unless it runs again or is downstream of
//! something that does. Of an array task that runs again because some indices failed, the others are taken over. Hooks
//! belong to a run, so none is taken over: they run again, or are skipped where one task runs alone.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::apply::starts;
use crate::graph::Graph;
use crate::ids::TaskIndex;
use crate::limits;
use crate::reply::Rejection;
use crate::spec::Items;
use crate::state::cells::IndexRange;
use crate::state::run::Run;
use crate::state::task::{FailureReason, Outputs, Task, TaskEnd, TaskState, TaskStatus};

/// What a retry runs again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everything.
    All,
    /// What did not end well.
    Failed,
    /// A task, with all that is downstream of it, and what did not end well.
    From(TaskIndex),
    /// A task and nothing else. What succeeded is taken over, unless it is downstream; the rest is skipped.
    Only(TaskIndex),
}

/// What a run takes over of one task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenOver {
    /// Which.
    pub task: TaskIndex,
    /// The ends of its indices, ascending; those that are not named run.
    pub ends: Vec<(IndexRange, TakenEnd)>,
    /// Its outputs.
    pub outputs: Option<Arc<Outputs>>,
    /// Of a task that was sized late: its items, so that its indices mean the same again.
    pub items: Option<Items>,
}

/// An end that is taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TakenEnd {
    /// It succeeded.
    Succeeded,
    /// It never ran.
    Skipped {
        /// Whether that goes back to a failure.
        by_failure: bool,
    },
    /// It failed, and its array task ended well all the same.
    Failed {
        /// Why.
        reason: FailureReason,
    },
}

impl TakenEnd {
    /// The end as the state has it.
    pub fn state(self) -> TaskState {
        match self {
            TakenEnd::Succeeded => TaskState::Succeeded { tries: Default::default(), last: None },
            TakenEnd::Skipped { by_failure } => TaskState::Skipped { by_failure },
            TakenEnd::Failed { reason } => {
                TaskState::Failed { tries: Default::default(), reason, last: None }
            }
        }
    }

    fn of(state: &TaskState) -> Option<TakenEnd> {
        match *state {
            TaskState::Succeeded { .. } => Some(TakenEnd::Succeeded),
            TaskState::Skipped { by_failure } => Some(TakenEnd::Skipped { by_failure }),
            TaskState::Failed { reason, .. } => Some(TakenEnd::Failed { reason }),
            TaskState::Blocked
            | TaskState::Undecided { .. }
            | TaskState::Ready { .. }
            | TaskState::Placed { .. }
            | TaskState::Running { .. }
            | TaskState::Backoff { .. }
            | TaskState::Held { .. }
            | TaskState::Awaiting { .. }
            | TaskState::Cancelled => None,
        }
    }
}

/// What a retry of `run` takes over. The run may be live: what is open there runs in the retry too.
///
/// # Errors
/// If there is nothing to run again, or the one task that is to run alone could not start.
pub fn taken_over(run: &Run, scope: Scope) -> Result<Vec<TakenOver>, Rejection> {
    let seeds: BTreeSet<TaskIndex> = match scope {
        Scope::All => return Ok(Vec::new()),
        Scope::Failed => unwell(run).collect(),
        Scope::From(task) => unwell(run).chain([task]).collect(),
        Scope::Only(task) => return alone(run, task),
    };
    if seeds.is_empty() {
        return Err(Rejection::NothingFailed);
    }
    let downstream = downstream_of(&run.version.graph, &seeds);
    let from = match scope {
        Scope::From(task) => Some(task),
        Scope::All | Scope::Failed | Scope::Only(_) => None,
    };
    let kept = tasks(run).filter(|(index, _)| {
        !downstream.contains(index) && from != Some(*index) && run.hook(*index).is_none()
    });
    let kept = kept.filter_map(|(index, task)| {
        let is_whole = !seeds.contains(&index);
        let mut ends = ends_of(task);
        // Beside indices that run again only those count that did run.
        ends.retain(|(_, end)| is_whole || *end == TakenEnd::Succeeded);
        let (outputs, items) = (task.outputs.clone(), task.items.clone());
        (!ends.is_empty()).then_some(TakenOver { task: index, ends, outputs, items })
    });
    Ok(kept.collect())
}

/// What is taken over where one task runs and nothing else.
fn alone(run: &Run, only: TaskIndex) -> Result<Vec<TakenOver>, Rejection> {
    if run.hook(only).is_some() {
        return Err(Rejection::BadRetry {
            problem: "a hook follows the tasks of its run and never runs alone; retry from it",
        });
    }
    let downstream = downstream_of(&run.version.graph, &BTreeSet::from([only]));
    let others = tasks(run).filter(|(index, _)| *index != only);
    let others = others.map(|(index, task)| {
        let end = match task.end() {
            _ if run.hook(index).is_some() => TakenEnd::Skipped { by_failure: false },
            Some(TaskEnd::Succeeded) if !downstream.contains(&index) => {
                return TakenOver {
                    task: index,
                    ends: ends_of(task),
                    outputs: task.outputs.clone(),
                    items: task.items.clone(),
                };
            }
            Some(TaskEnd::Failed) => TakenEnd::Skipped { by_failure: true },
            Some(TaskEnd::Skipped { by_failure }) => TakenEnd::Skipped { by_failure },
            Some(TaskEnd::Succeeded | TaskEnd::Cancelled) | None => {
                TakenEnd::Skipped { by_failure: false }
            }
        };
        // What is skipped as a whole never has a size.
        let indices = run.spec(index).map_or(task.cells.indices(), |spec| spec.indices().into());
        TakenOver { task: index, ends: vec![(indices, end)], outputs: None, items: None }
    });
    let taken: Vec<TakenOver> = others.collect();
    let (version, params) = (run.version.clone(), run.params.clone());
    let mut probe = Run::new(run.id, run.number, version, params, run.submitted_at);
    probe.take_over(&taken);
    if !starts(&probe, only) {
        return Err(Rejection::BadRetry {
            problem: "the task would not start by what the tasks before it came to; retry from one of them",
        });
    }
    Ok(taken)
}

/// The ends of those indices that have one to take over.
fn ends_of(task: &Task) -> Vec<(IndexRange, TakenEnd)> {
    let cells = task.cells.iter();
    cells.filter_map(|(range, state)| Some((range, TakenEnd::of(state)?))).collect()
}

fn tasks(run: &Run) -> impl Iterator<Item = (TaskIndex, &Task)> {
    run.tasks.iter().enumerate().map(|(position, task)| (TaskIndex(position as u32), task))
}

/// The tasks that did not end well, or have not ended.
fn unwell(run: &Run) -> impl Iterator<Item = TaskIndex> {
    let is_well =
        |task: &Task| matches!(task.end(), Some(TaskEnd::Succeeded | TaskEnd::Skipped { .. }));
    tasks(run).filter(move |(_, task)| !is_well(task)).map(|(index, _)| index)
}

/// All tasks that need one of `tasks`, directly or by others.
pub(crate) fn downstream_of(graph: &Graph, tasks: &BTreeSet<TaskIndex>) -> BTreeSet<TaskIndex> {
    let mut found = BTreeSet::new();
    let mut next: Vec<TaskIndex> = tasks.iter().copied().collect();
    while let Some(task) = next.pop() {
        for downstream in graph.downstream(task) {
            if found.insert(*downstream) {
                next.push(*downstream);
            }
        }
    }
    found
}

impl Run {
    /// Gives tasks of a run that has not begun the ends that it takes over.
    pub(crate) fn take_over(&mut self, taken: &[TakenOver]) {
        for it in taken {
            let Some(task) = self.tasks.get_mut(it.task.0 as usize) else { continue };
            if it.items.is_some() {
                task.resize(it.items.clone(), TaskState::Blocked);
            }
            for (range, end) in &it.ends {
                task.cells.set(*range, end.state());
            }
            task.outputs.clone_from(&it.outputs);
        }
        self.recount();
    }
}

/// Whether tasks of a fresh run can take over these ends: what ran has all its upstream tasks taken over (I7).
pub(crate) fn check(fresh: &Run, taken: &[TakenOver]) -> Result<(), Rejection> {
    let bad = |problem| Err(Rejection::BadRetry { problem });
    if !taken.is_sorted_by(|one, next| one.task < next.task) {
        return bad("tasks are not in order");
    }
    for it in taken {
        let found = fresh.task(it.task).zip(fresh.spec(it.task));
        let Some((task, spec)) = found else { return bad("there is no such task") };
        let is_skipped = |end: &TakenEnd| matches!(end, TakenEnd::Skipped { .. });
        if spec.hook.is_some() && !it.ends.iter().all(|(_, end)| is_skipped(end)) {
            return bad("a hook is taken over, and is not skipped");
        }
        let are_its = it.items.as_ref().is_none_or(|it| spec.is_sized_late() && it.check().is_ok());
        if !are_its {
            return bad("items are too many, or of a task that goes through none");
        }
        let sized = it.items.as_ref().and_then(Items::indices);
        let indices = sized.unwrap_or(task.cells.indices());
        let is_inside = |range: IndexRange| {
            range.first <= range.last && indices.intersect(range) == Some(range)
        };
        let are_inside = it.ends.iter().all(|(range, _)| is_inside(*range));
        let are_in_order = it.ends.is_sorted_by(|one, next| one.0.last < next.0.first);
        if it.ends.is_empty() || !are_inside || !are_in_order {
            return bad("indices are not in order, or not of their task");
        }
        let succeeded = [(IndexRange::single(0), TakenEnd::Succeeded)];
        let may_have_outputs = !spec.is_array() && it.ends == succeeded;
        let bytes =
            it.outputs.iter().flat_map(|it| it.iter()).map(|(key, it)| key.len() + it.len());
        let bytes: usize = bytes.sum();
        if it.outputs.is_some() && !may_have_outputs || bytes > limits::OUTPUT_BYTES_MAX {
            return bad("outputs are too large, or of a task that has none");
        }
    }
    let mut after = fresh.clone();
    after.take_over(taken);
    let is_open = |task: &TaskIndex| after.task(*task).is_some_and(|task| task.end().is_none());
    for (index, task) in tasks(&after) {
        let is_well = matches!(task.end(), Some(TaskEnd::Succeeded | TaskEnd::Skipped { .. }));
        if task.cells.tally().of(TaskStatus::Failed) > 0 && !is_well {
            return bad("an index failed, and its task did not end well");
        }
        let of = |status| task.cells.tally().of(status);
        let has_run = of(TaskStatus::Succeeded) + of(TaskStatus::Failed) > 0;
        if has_run && after.version.graph.upstream(index).iter().any(is_open) {
            return bad("a task has run, and one that it needs is to run");
        }
    }
    if after.open == 0 { Err(Rejection::NothingFailed) } else { Ok(()) }
}
