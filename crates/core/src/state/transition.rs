//! The one place where a task's state changes: keeps every derived index in step.

use super::State;
use super::cells::IndexRange;
use super::deadlines::Due;
use super::queue::ReadyKey;
use super::task::{TaskState, TaskStatus};
use crate::ids::{RunId, TaskIndex};
use crate::mutant::{self, Mutant};

/// What a change did to the task as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Changed {
    /// The task is still open.
    Open,
    /// Its last open index ended.
    Ended,
    /// There is no such run, task or index; nothing changed.
    Nothing,
}

impl State {
    /// Notes that a task has an attempt of this number.
    pub(crate) fn count_attempt(&mut self, run: RunId, task: TaskIndex, number: u32) {
        let tasks = self.runs.get_mut(run.0).map(|run| &mut run.tasks);
        if let Some(task) = tasks.and_then(|tasks| tasks.get_mut(task.0 as usize)) {
            task.attempts = task.attempts.max(number);
        }
    }

    /// Puts `range` of a task into state `to`.
    pub(crate) fn change(
        &mut self,
        run_id: RunId,
        index: TaskIndex,
        range: IndexRange,
        to: TaskState,
    ) -> Changed {
        let Some(run) = self.runs.get_mut(run_id.0) else { return Changed::Nothing };
        let spans = run.spans(index);
        let version = run.version.clone();
        let key = ReadyKey::of(run, index);
        let is_paused = run.paused.is_some();
        let max_parallel = run.spec(index).and_then(|spec| spec.max_parallel);
        let Some(request) = version.request(index) else { return Changed::Nothing };
        let Some(task) = run.tasks.get_mut(index.0 as usize) else { return Changed::Nothing };

        let (single, several);
        let pieces: &[(IndexRange, TaskState)] = match task.cells.at(range.first) {
            Some((cell, state)) if range.last <= cell.last => {
                single = [(range, *state)];
                &single
            }
            _ => {
                let within = task.cells.within(range);
                several = within.map(|(piece, state)| (piece, *state)).collect::<Vec<_>>();
                &several
            }
        };
        let was_open = task.cells.tally().open() > 0;
        task.cells.set(range, to);
        let tally = task.cells.tally();
        let placeable = if is_paused { 0 } else { task.placeable(max_parallel) };
        let merged = task.cells.at(range.first).map(|(cell, _)| (cell.first, cell.last));
        let right_remnant = range.last.checked_add(1).and_then(|next| {
            let (cell, state) = task.cells.at(next)?;
            (cell.first == next).then_some((next, *state))
        });

        let counts = |state: &TaskState| {
            let is_live = max_parallel.is_some() && state.attempt().is_some();
            state.status() == TaskStatus::Ready || is_live
        };
        let mut touches_queue = counts(&to);
        for (piece, old) in pieces {
            touches_queue |= counts(old);
            if let Some(at) = old.deadline(&spans) {
                self.deadlines.remove(at, Due::Cell(run_id, index, piece.first));
            }
            let (task, namespace, count) = ((run_id, index), &version.namespace, piece.count());
            if let Some(attempt) = old.attempt() {
                self.give_back(namespace, attempt.worker, task, request, count);
            }
            if let Some(attempt) = to.attempt() {
                self.take(namespace, attempt.worker, task, request, count);
            }
        }
        if let (Some(at), Some((first, last))) = (to.deadline(&spans), merged) {
            // A cell is watched at its first index alone: with a neighbour on the left that is watched already, and a
            // neighbour on the right need not be watched any more.
            if first == range.first {
                self.deadlines.insert(at, Due::Cell(run_id, index, first));
            }
            if last > range.last {
                self.deadlines.remove(at, Due::Cell(run_id, index, range.last + 1));
            }
        }
        if let Some((first, state)) = right_remnant
            && let Some(at) = state.deadline(&spans)
        {
            self.deadlines.insert(at, Due::Cell(run_id, index, first));
        }
        if to.status() == TaskStatus::Undecided {
            self.undecided.insert((run_id, index));
        } else if pieces.iter().any(|(_, old)| old.status() == TaskStatus::Undecided) {
            self.undecided.remove(&(run_id, index));
        }
        let was_waiting = pieces.iter().any(|(_, old)| old.status() == TaskStatus::Backoff);
        if touches_queue && !(was_waiting && mutant::is_on(Mutant::QueueForgets)) {
            self.queue.set(&version.namespace, request, key, placeable);
        }
        if was_open && tally.open() == 0 { Changed::Ended } else { Changed::Open }
    }
}
