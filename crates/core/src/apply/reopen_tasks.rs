//! What tasks came to is taken back: they begin a new round, and everything downstream of them is judged afresh.
//! Attempts that ended stay ended, and the fences of those that follow are larger (I4).

use std::collections::BTreeMap;

use super::Step;
use super::end_task::task_of;
use crate::command::ReopenTasks;
use crate::event::Event;
use crate::ids::{RunId, TaskIndex};
use crate::reply::{Rejection, Reply};
use crate::retry::downstream_of;
use crate::spec::TaskSpec;
use crate::state::cells::IndexRange;
use crate::state::run::Run;
use crate::state::task::{Task, TaskEnd, TaskState, TaskStatus};

/// New states of indices, by task.
pub(super) type Changes = BTreeMap<TaskIndex, Vec<(IndexRange, TaskState)>>;

impl Step<'_> {
    pub(super) fn reopen_tasks(&mut self, command: &ReopenTasks) -> Result<Reply, Rejection> {
        let run = self.changeable(command.run)?;
        let seeds = match command.from {
            Some(index) => {
                let (task, _) = task_of(run, index)?;
                BTreeMap::from([(index, vec![task.cells.indices()])])
            }
            None => failed(run),
        };
        if seeds.is_empty() {
            return Err(Rejection::NothingFailed);
        }
        let changes = self.taken_back(run, seeds)?;
        self.reopen(command.run, changes);
        Ok(Reply::Done)
    }

    /// The indices of `seeds`, and all of every task downstream of them, as blocked; refused if one of them is live.
    pub(super) fn taken_back(
        &self,
        run: &Run,
        seeds: BTreeMap<TaskIndex, Vec<IndexRange>>,
    ) -> Result<Changes, Rejection> {
        if run.result.is_some() {
            return Err(Rejection::HooksBegun { run: run.id });
        }
        let mut wanted = seeds;
        for task in downstream_of(&run.version.graph, &wanted.keys().copied().collect()) {
            let (found, _) = task_of(run, task)?;
            wanted.insert(task, vec![found.cells.indices()]);
        }
        let mut changes = Changes::new();
        for (index, ranges) in wanted {
            let (task, name) = task_of(run, index)?;
            let is_live =
                |range: &IndexRange| task.cells.within(*range).any(|(_, state)| state.is_live());
            if ranges.iter().any(is_live) {
                return Err(Rejection::TaskLive { task: name.clone() });
            }
            let blocked = ranges.into_iter().map(|range| (range, TaskState::Blocked));
            changes.insert(index, blocked.collect());
        }
        Ok(changes)
    }

    /// Puts indices into states, none of which is live, whatever they were; then judges all that is blocked.
    pub(super) fn reopen(&mut self, id: RunId, changes: Changes) {
        for (index, cells) in changes {
            for (range, to) in cells {
                self.state.change(id, index, range, to);
                let status = to.status();
                self.events.push(Event::TaskChanged { run: id, task: index, range, status });
            }
            let Some(run) = self.state.runs.get_mut(id.0) else { return };
            let is_sized_late = run.spec(index).is_some_and(TaskSpec::is_sized_late);
            if let Some(task) = run.tasks.get_mut(index.0 as usize) {
                (task.outputs, task.message, task.child) = (None, None, None);
                // What it needs may come to other items this time. Where some of its indices keep their ends, the
                // others keep their items.
                let is_whole = task.cells.iter().all(|(_, state)| *state == TaskState::Blocked);
                if is_sized_late && is_whole {
                    task.resize(None, TaskState::Blocked);
                }
            }
        }
        if let Some(run) = self.state.runs.get_mut(id.0) {
            run.recount();
        }
        self.judge_blocked(id);
    }
}

/// The indices that failed or were cancelled, of tasks that did not end well.
fn failed(run: &Run) -> BTreeMap<TaskIndex, Vec<IndexRange>> {
    let of_task = |(position, task): (usize, &Task)| {
        let is_failed = |state: &TaskState| {
            matches!(state.status(), TaskStatus::Failed | TaskStatus::Cancelled)
        };
        let failed = task.cells.iter().filter(|(_, state)| is_failed(state));
        let ranges: Vec<IndexRange> = failed.map(|(range, _)| range).collect();
        let is_well = matches!(task.end(), Some(TaskEnd::Succeeded | TaskEnd::Skipped { .. }));
        (!ranges.is_empty() && !is_well).then_some((TaskIndex(position as u32), ranges))
    };
    run.tasks.iter().enumerate().filter_map(of_task).collect()
}
