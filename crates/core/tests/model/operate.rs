//! The model's rules for what people do to runs.

use std::collections::BTreeSet;

use muster_core::command::{EndTask, ReopenTasks, RetryRun, WantedEnd};
use muster_core::ids::{Name, RunId, TaskIndex};
use muster_core::limits;
use muster_core::reply::{Rejection, Reply};
use muster_core::retry::{TakenEnd, TakenOver};
use muster_core::spec::{Items, WorkflowSpec};
use muster_core::state::cells::IndexRange;
use muster_core::state::task::{FailureReason, StopReason};

use super::naive::{Answered, Cell, Cells, End, Lists, Model, Run, indices_of, is_sized_late};

impl Run {
    /// What is ready waits for a worker from here on.
    pub(super) fn resume(&mut self, now: u64) {
        self.is_paused = false;
        for cell in self.cells.values_mut() {
            if let Cell::Ready { since, .. } = cell {
                *since = now;
            }
        }
    }
}

impl Model {
    /// A live run that goes on.
    pub(super) fn changeable(&mut self, id: RunId) -> Result<&mut Run, Rejection> {
        let run = self.runs.get_mut(&id.0).ok_or(Rejection::NoSuchRun { run: id })?;
        if run.stop.is_some() { Err(Rejection::RunStopping { run: id }) } else { Ok(run) }
    }

    pub(super) fn pause(&mut self, id: RunId, is_paused: bool) -> Answered {
        let now = self.now;
        let run = self.changeable(id)?;
        if run.is_paused && !is_paused {
            run.resume(now);
        }
        run.is_paused = is_paused;
        Ok(Reply::Done)
    }

    pub(super) fn end_task(&mut self, command: &EndTask) -> Answered {
        let (id, task, now) = (command.run.0, command.task.0, self.now);
        let run = self.changeable(command.run)?;
        let name = task_of(run, command.run, command.task)?;
        let has_ended = run.end_of(task).is_some();
        if let WantedEnd::Approved | WantedEnd::Rejected = command.end {
            let Some(Cell::Awaiting { .. }) = run.cells.get(&(task, 0)) else {
                return Err(Rejection::NotAwaiting { task: name });
            };
            let end = match command.end {
                WantedEnd::Approved => End::Succeeded,
                _ => End::Failed(FailureReason::NotApproved),
            };
            self.set(id, task, 0, Cell::Ended(end));
            return Ok(Reply::Done);
        }
        let wanted = match command.end {
            WantedEnd::Succeeded => End::Succeeded,
            WantedEnd::Skipped => End::Skipped { by_failure: false },
            WantedEnd::Cancelled => End::Cancelled,
            WantedEnd::Approved | WantedEnd::Rejected => unreachable!("answered above"),
        };
        let keeps = |cell: &Cell| match cell.ended() {
            Some(_) if wanted == End::Cancelled => true,
            Some(end) => end == End::Succeeded || end == wanted,
            None => false,
        };
        let all = run.cells.iter().filter(|((of, _), _)| *of == task);
        let changed: Vec<(u32, Cell)> =
            all.filter(|(_, cell)| !keeps(cell)).map(|((_, at), cell)| (*at, *cell)).collect();
        let is_stop = wanted == End::Cancelled;
        if changed.is_empty() || is_stop && has_ended {
            return Err(Rejection::TaskEnded { task: name });
        }
        if !is_stop && changed.iter().any(|(_, cell)| cell.is_live()) {
            return Err(Rejection::TaskLive { task: name });
        }
        if has_ended {
            let downstream = downstream_of(run, BTreeSet::from([task]));
            self.take_back(id, |key| downstream.contains(&key.0))?;
            let run = self.runs.get_mut(&id).expect("it is live");
            for (index, _) in changed {
                run.cells.insert((task, index), Cell::Ended(wanted));
                self.reopened.insert((id, task, index));
            }
            self.settle(id);
            self.end_if_over(id);
            return Ok(Reply::Done);
        }
        let grace = run.spec.tasks[task as usize].grace_period.0 + limits::CANCEL_PATIENCE.0;
        for (index, cell) in changed {
            // Of an array task that goes on some indices may have ended.
            if cell.ended().is_some() {
                self.reopened.insert((id, task, index));
            }
            let cell = match cell {
                Cell::Live(live) if live.stop.is_some_and(|(_, force_at)| force_at.is_some()) => {
                    cell
                }
                Cell::Live(mut live) => {
                    live.stop = Some((StopReason::Cancelled, Some(now + grace)));
                    Cell::Live(live)
                }
                Cell::Child(mut child) => {
                    self.stopped.extend(child.stop(StopReason::Cancelled));
                    Cell::Child(child)
                }
                _ => Cell::Ended(wanted),
            };
            self.set(id, task, index, cell);
        }
        Ok(Reply::Done)
    }

    pub(super) fn reopen_tasks(&mut self, command: &ReopenTasks) -> Answered {
        let run = self.changeable(command.run)?;
        if let Some(from) = command.from {
            task_of(run, command.run, from)?;
        }
        let is_seed = |((task, _), cell): &(&(u32, u32), &Cell)| match command.from {
            Some(from) => *task == from.0,
            // Of a task that ended well, none runs again.
            None => {
                let end = run.end_of(*task);
                let is_well = matches!(end, Some(End::Succeeded | End::Skipped { .. }));
                matches!(cell.ended(), Some(End::Failed(_) | End::Cancelled)) && !is_well
            }
        };
        let seeds: BTreeSet<(u32, u32)> =
            run.cells.iter().filter(is_seed).map(|(key, _)| *key).collect();
        if seeds.is_empty() {
            return Err(Rejection::NothingFailed);
        }
        let downstream = downstream_of(run, seeds.iter().map(|(task, _)| *task).collect());
        self.take_back(command.run.0, |key| downstream.contains(&key.0) || seeds.contains(key))?;
        self.settle(command.run.0);
        self.end_if_over(command.run.0);
        Ok(Reply::Done)
    }

    pub(super) fn retry_run(&mut self, it: &RetryRun) -> Answered {
        if it.spec.tasks.is_empty() {
            return Err(Rejection::InvalidSpec { message: String::new() });
        }
        let workflow = self.workflows.get(&it.spec.name).ok_or_else(|| {
            let (namespace, name) = (it.namespace.clone(), it.spec.name.to_string());
            Rejection::NoSuchWorkflow { namespace, name }
        })?;
        let bad = Rejection::BadRetry { problem: "" };
        let is_known = it.of.run.0 <= self.runs_ever
            && it.of.number <= workflow.runs
            && it.version_number <= workflow.versions;
        if !is_known || !it.taken_over.is_sorted_by(|one, next| one.task < next.task) {
            return Err(bad);
        }
        let (mut ended, mut lists) = (Cells::new(), Lists::new());
        for taken in &it.taken_over {
            let Some(spec) = it.spec.tasks.get(taken.task.0 as usize) else { return Err(bad) };
            if taken.items.is_some() && !is_sized_late(spec) {
                return Err(bad);
            }
            let is_skipped = |end: &TakenEnd| matches!(end, TakenEnd::Skipped { .. });
            if spec.hook.is_some() && !taken.ends.iter().all(|(_, end)| is_skipped(end)) {
                return Err(bad);
            }
            let items = taken.items.iter().map(|it| it.iter().map(str::to_owned).collect());
            lists.extend(items.map(|items| (taken.task.0, items)));
            let indices = indices_of(spec, taken.items.as_ref().map(|it| it.len()));
            let mut next = 0;
            for (range, end) in &taken.ends {
                let is_inside = indices.start <= range.first && range.last < indices.end;
                if !is_inside || range.first > range.last || range.first < next {
                    return Err(bad);
                }
                next = range.last + 1;
                let end = match end {
                    TakenEnd::Succeeded => End::Succeeded,
                    TakenEnd::Skipped { by_failure } => End::Skipped { by_failure: *by_failure },
                    TakenEnd::Failed { reason } => End::Failed(*reason),
                };
                let keys = (range.first..=range.last).map(|index| (taken.task.0, index));
                ended.extend(keys.map(|key| (key, Cell::Ended(end))));
            }
            if taken.ends.is_empty() {
                return Err(bad);
            }
        }
        check_taken(&it.spec, &ended, &lists)?;
        self.check_runs(&it.namespace)?;
        Ok(self.start_run((*it.spec).clone(), it.priority, ended, lists))
    }

    /// Blocks what is meant, unless some of it is live.
    fn take_back(
        &mut self,
        id: u64,
        is_meant: impl Fn(&(u32, u32)) -> bool,
    ) -> Result<(), Rejection> {
        let run = self.runs.get_mut(&id).expect("it is live");
        if run.result.is_some() {
            return Err(Rejection::HooksBegun { run: RunId(id) });
        }
        let is_live = |(key, cell): &(&(u32, u32), &Cell)| is_meant(key) && cell.is_live();
        if let Some(((task, _), _)) = run.cells.iter().find(is_live) {
            let task = run.spec.tasks[*task as usize].id.clone();
            return Err(Rejection::TaskLive { task });
        }
        for ((task, index), cell) in run.cells.iter_mut().filter(|(key, _)| is_meant(key)) {
            *cell = Cell::Blocked;
            self.reopened.insert((id, *task, *index));
        }
        // Where nothing is left of a list, another one is asked for.
        for task in 0..run.spec.tasks.len() as u32 {
            let mut cells = run.cells.iter().filter(|((of, _), _)| *of == task);
            let is_whole = cells.all(|(_, cell)| *cell == Cell::Blocked);
            if is_whole && run.items.remove(&task).is_some() {
                run.cells.retain(|(of, _), _| *of != task);
                run.cells.insert((task, 0), Cell::Blocked);
            }
        }
        Ok(())
    }
}

fn task_of(run: &Run, id: RunId, task: TaskIndex) -> Result<Name, Rejection> {
    let found = run.task(task.0).map(|spec| spec.id.clone());
    found.ok_or(Rejection::NoSuchTask { run: id, task })
}

/// All tasks that need one of `tasks`, looked for until none is found.
fn downstream_of(run: &Run, tasks: BTreeSet<u32>) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    loop {
        let before = found.len();
        for task in 0..run.spec.tasks.len() as u32 {
            let needs = run.upstream(task);
            if needs.iter().any(|need| tasks.contains(need) || found.contains(need)) {
                found.insert(task);
            }
        }
        if found.len() == before {
            return found;
        }
    }
}

/// What a retry of a run takes over: what ended well and is not downstream of what did not. `spoilt` makes something
/// wrong of it.
pub(crate) fn taken_over(run: &Run, from: Option<u32>, spoilt: Option<u8>) -> Vec<TakenOver> {
    // Hooks follow every run anew.
    let is_well = |task: &u32| {
        matches!(run.end_of(*task), Some(End::Succeeded | End::Skipped { .. }))
            && Some(*task) != from
    };
    let tasks = || 0..run.spec.tasks.len() as u32;
    let again = downstream_of(run, tasks().filter(|task| !is_well(task)).collect());
    let mut taken: Vec<TakenOver> = Vec::new();
    for ((task, index), cell) in &run.cells {
        let end = match cell.ended() {
            Some(End::Succeeded) => TakenEnd::Succeeded,
            Some(End::Skipped { by_failure }) if is_well(task) => TakenEnd::Skipped { by_failure },
            Some(End::Failed(reason)) if is_well(task) => TakenEnd::Failed { reason },
            _ => continue,
        };
        let is_hook = run.hook(*task).is_some() && spoilt != Some(8);
        if again.contains(task) && spoilt != Some(1) || Some(*task) == from || is_hook {
            continue;
        }
        let single = (IndexRange::single(*index), end);
        match taken.last_mut() {
            Some(last) if last.task.0 == *task => match last.ends.last_mut() {
                Some((range, same)) if range.last + 1 == *index && *same == end => {
                    range.last = *index;
                }
                _ => last.ends.push(single),
            },
            _ => {
                let items = run.items.get(task).map(|items| items.iter().collect());
                let (task, ends) = (TaskIndex(*task), vec![single]);
                taken.push(TakenOver { task, ends, outputs: None, items });
            }
        }
    }
    match (spoilt, taken.first_mut()) {
        (Some(2), _) => taken.reverse(),
        // Into the next range, or out of the task.
        (Some(3), Some(first)) => {
            let next = first.ends.get(1).map(|(range, _)| range.first);
            let size = run.items.get(&first.task.0).map(Vec::len);
            let beyond = indices_of(&run.spec.tasks[first.task.0 as usize], size).end;
            first.ends[0].0.last = next.unwrap_or(beyond);
        }
        (Some(4), Some(first)) => first.ends.clear(),
        (Some(5), Some(first)) => first.task.0 += 90,
        (Some(6), Some(first)) if first.items.is_none() => first.items = Some(Items::none()),
        (Some(_) | None, _) => {}
    }
    taken
}

/// Whether what is taken over can have come to be so: what has run comes after all that it needs; something is left.
fn check_taken(spec: &WorkflowSpec, ended: &Cells, lists: &Lists) -> Result<(), Rejection> {
    let bad = Rejection::BadRetry { problem: "" };
    let is_whole = |task: u32| {
        let mut indices = indices_of(&spec.tasks[task as usize], lists.get(&task).map(Vec::len));
        indices.all(|index| ended.contains_key(&(task, index)))
    };
    for task in 0..spec.tasks.len() as u32 {
        let ends: Vec<&Cell> =
            ended.iter().filter(|((of, _), _)| *of == task).map(|(_, cell)| cell).collect();
        let is_failed = |cell: &&&Cell| matches!(cell.ended(), Some(End::Failed(_)));
        let failed = ends.iter().filter(is_failed).count();
        let max_failures = spec.tasks[task as usize].max_failures as usize;
        if failed > 0 && (failed > max_failures || !is_whole(task)) {
            return Err(bad);
        }
    }
    let position =
        |name: &Name| spec.tasks.iter().position(|task| task.id == *name).unwrap() as u32;
    for ((task, _), cell) in ended {
        let needs = &spec.tasks[*task as usize].needs;
        let is_early = !needs.iter().all(|name| is_whole(position(name)));
        let has_run = matches!(cell.ended(), Some(End::Succeeded | End::Failed(_)));
        if has_run && is_early {
            return Err(bad);
        }
    }
    if (0..spec.tasks.len() as u32).all(is_whole) {
        return Err(Rejection::NothingFailed);
    }
    Ok(())
}
