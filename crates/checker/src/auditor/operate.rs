//! Commands by which people change runs that are live, gone through.

use std::collections::BTreeMap;

use muster_core::command::{EndTask, PauseRun, PrioritizeRun, ReopenTasks, WantedEnd};
use muster_core::ids::{RunId, TaskIndex};
use muster_core::limits;
use muster_core::state::cells::IndexRange;
use muster_core::state::task::{
    Awaited, FailureReason, StopReason, TaskEnd, TaskState, TaskStatus, Tries,
};

use super::rules;
use super::step::Step;
use super::work::Work;
use crate::coverage::Rare;
use crate::verdict::Invariant;

impl Step<'_> {
    /// The run that a command changed, if it could be changed.
    fn changed_run(&mut self, id: RunId, what: &str) -> Option<&mut Work> {
        let is_live = self.live_run(id).is_some_and(|work| work.stop.is_none());
        if !is_live {
            self.found(Invariant::I6, format!("run {id} has ended or must stop, and was {what}"));
            return None;
        }
        self.mark_dirty(id);
        self.live_run(id)
    }

    pub(super) fn pause_run(&mut self, command: &PauseRun) {
        let (id, now) = (command.run, self.now);
        let Some(work) = self.changed_run(id, "paused or resumed") else { return };
        if work.paused.is_some() == command.is_paused {
            return;
        }
        if command.is_paused {
            work.paused = Some(now);
            self.count(Rare::RunPaused);
        } else {
            work.resume(now);
        }
    }

    pub(super) fn prioritize_run(&mut self, command: &PrioritizeRun) {
        let bounds = -limits::PRIORITY_MAX..=limits::PRIORITY_MAX;
        let priority = command.priority.clamp(*bounds.start(), *bounds.end());
        if let Some(work) = self.changed_run(command.run, "given another priority") {
            work.priority = priority;
        }
    }

    pub(super) fn end_task(&mut self, command: &EndTask) {
        let (id, index, now, entry) = (command.run, command.task, self.now, self.index);
        let Some(work) = self.changed_run(id, "had a task ended") else { return };
        let (Some(task), Some(spec)) = (work.task(index), work.spec(index)) else {
            self.found(Invariant::I17, format!("run {id} has no task {index}, which was ended"));
            return self.doubt(id);
        };
        if let WantedEnd::Approved | WantedEnd::Rejected = command.end {
            return self.answer_approval(command);
        }
        let has_ended = rules::end_of(spec, &task.cells).is_some();
        let wanted = |state: &TaskState| match (command.end, state) {
            (WantedEnd::Cancelled, _) => rules::stopped(spec, state, StopReason::Cancelled, now),
            (_, TaskState::Succeeded { .. }) => *state,
            (WantedEnd::Succeeded, _) => {
                rules::plain(spec, TaskState::Succeeded { tries: state.tries(), last: None })
            }
            (WantedEnd::Skipped | WantedEnd::Approved | WantedEnd::Rejected, _) => {
                TaskState::Skipped { by_failure: false }
            }
        };
        let cells = task.cells.iter().map(|(range, state)| (range, *state, wanted(state)));
        let cells: Vec<_> = cells.filter(|(_, is, to)| is != to).collect();
        let is_stop = command.end == WantedEnd::Cancelled;
        if is_stop && has_ended || !is_stop && cells.is_empty() {
            self.found(Invariant::I6, format!("run {id} task {index} has ended, and was ended"));
            return self.doubt(id);
        }
        if !is_stop && cells.iter().any(|(_, is, _)| rules::is_live(is)) {
            self.found(Invariant::I4, format!("run {id} task {index} was ended while it is live"));
            return self.doubt(id);
        }
        self.count(Rare::TaskEnded);
        if is_stop && let Some(record) = self.ledger.runs.get_mut(&id) {
            record.task_cancelled.get_or_insert(entry);
        }
        if has_ended {
            let ends = cells.into_iter().map(|(range, _, to)| (range, to)).collect();
            self.take_back(
                id,
                BTreeMap::from([(index.0 as usize, Vec::new())]),
                Some((index, ends)),
            );
        } else {
            cells.into_iter().for_each(|(range, _, to)| self.change(id, index, range, to));
        }
    }

    /// An approval that waits for a person ends as the person says, and no other task does.
    fn answer_approval(&mut self, command: &EndTask) {
        let (id, index) = (command.run, command.task);
        if !self.awaits(command) {
            self.found(Invariant::I7, format!("run {id} task {index} had no approval to give"));
            return self.doubt(id);
        }
        let tries = Tries::default();
        let (to, rare) = if command.end == WantedEnd::Approved {
            (TaskState::Succeeded { tries, last: None }, Rare::ApprovalGiven)
        } else {
            let reason = FailureReason::NotApproved;
            (TaskState::Failed { tries, reason, last: None }, Rare::ApprovalRefused)
        };
        self.count(rare);
        self.change(id, index, IndexRange::single(0), to);
    }

    /// Whether all of the task that a command names waits for a person.
    fn awaits(&mut self, command: &EndTask) -> bool {
        let task = self.live_run(command.run).and_then(|work| work.task(command.task));
        let is_awaiting =
            |state: &TaskState| matches!(state, TaskState::Awaiting { what: Awaited::Person, .. });
        task.is_some_and(|task| task.cells.iter().all(|(_, state)| is_awaiting(state)))
    }

    /// A person's answer was refused because nothing waits for it.
    pub(super) fn approval_refused(&mut self, command: &EndTask) {
        let (id, index) = (command.run, command.task);
        let is_certain = self.live_run(id).is_some_and(|work| !work.is_doubtful);
        if is_certain && self.awaits(command) {
            let what =
                format!("run {id} task {index} waits for a person, whose answer was refused");
            self.found(Invariant::I7, what);
        }
    }

    pub(super) fn reopen_tasks(&mut self, command: &ReopenTasks) {
        let id = command.run;
        let Some(work) = self.changed_run(id, "had tasks reopened") else { return };
        let is_meant = |at: usize, state: &TaskState| match command.from {
            Some(from) => from.0 as usize == at,
            None => matches!(state.status(), TaskStatus::Failed | TaskStatus::Cancelled),
        };
        let mut seeds: BTreeMap<usize, Vec<IndexRange>> = BTreeMap::new();
        for (at, task) in work.tasks.iter().enumerate() {
            // What failed of a task that ended well is not run again.
            let end = work.end_of(at);
            let is_well = matches!(end, Some(TaskEnd::Succeeded | TaskEnd::Skipped { .. }));
            if command.from.is_none() && is_well {
                continue;
            }
            for (range, _) in task.cells.iter().filter(|(_, state)| is_meant(at, state)) {
                seeds.entry(at).or_default().push(range);
            }
        }
        if seeds.is_empty() {
            self.found(Invariant::I6, format!("of run {id} nothing failed, and it was reopened"));
            return self.doubt(id);
        }
        self.take_back(id, seeds, None);
    }

    /// The indices of `seeds`, and all of every task downstream of them, are blocked anew; `ends` is put in place of
    /// what its task came to.
    fn take_back(
        &mut self,
        id: RunId,
        seeds: BTreeMap<usize, Vec<IndexRange>>,
        ends: Option<(TaskIndex, Vec<(IndexRange, TaskState)>)>,
    ) {
        let now = self.now;
        let Some(work) = self.live_run(id) else { return };
        if work.result.is_some() {
            self.found(Invariant::I6, format!("of run {id} tasks were reopened after hooks began"));
            return self.doubt(id);
        }
        let mut ranges = seeds;
        for task in work.downstream_of(ranges.keys().copied().collect::<Vec<_>>().into_iter()) {
            ranges.insert(task, vec![work.tasks[task].cells.indices()]);
        }
        let is_live = |(task, ranges): (&usize, &Vec<IndexRange>)| {
            let cells = &work.tasks[*task].cells;
            let mut within = ranges.iter().flat_map(|range| cells.within(*range));
            within.any(|(_, state)| rules::is_live(state))
        };
        if ranges.iter().any(is_live) {
            self.found(Invariant::I4, format!("of run {id} live tasks were reopened"));
            return self.doubt(id);
        }
        let blocked = |ranges: Vec<IndexRange>| {
            ranges.into_iter().map(|range| (range, TaskState::Blocked)).collect()
        };
        let mut changes: BTreeMap<usize, Vec<(IndexRange, TaskState)>> =
            ranges.into_iter().map(|(task, ranges)| (task, blocked(ranges))).collect();
        changes.extend(ends.map(|(task, cells)| (task.0 as usize, cells)));
        work.reopen(changes, now);
        self.mark_dirty(id);
        self.count(Rare::TasksReopened);
    }
}
