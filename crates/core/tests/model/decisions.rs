//! The model's rules for what a leader decides, and decisions to draw.

use std::sync::Arc;

use muster_core::command::{Decision, Verdict};
use muster_core::ids::{LogIndex, RunId, TaskIndex};
use muster_core::limits;
use muster_core::reply::ItemRefusal;
use muster_core::state::task::{FailureReason, Tries};

use super::naive::{Cell, End, Model, indices_of, is_sized_late};
use super::rules::fresh;

impl Model {
    pub(super) fn decide(&mut self, decision: &Decision) -> Result<(), ItemRefusal> {
        let (run_id, task) = (decision.run.0, decision.task.0);
        let run = self.runs.get(&run_id).ok_or(ItemRefusal::RunNotLive)?;
        if run.task(task).is_none() {
            return Err(ItemRefusal::NoSuchTask);
        }
        let cells = run.cells.iter().filter(|((of, _), _)| *of == task);
        let cells: Vec<(u32, Cell)> = cells.map(|((_, index), cell)| (*index, *cell)).collect();
        let its = |(_, cell): &(u32, Cell)| match cell {
            Cell::Undecided { since, tries } if *since == decision.since.0 => Some(*tries),
            _ => None,
        };
        let all: Option<Vec<Tries>> = cells.iter().map(its).collect();
        let Some(tried) = all.and_then(|all| all.first().copied()) else {
            return Err(ItemRefusal::NotUndecided);
        };
        let attempts = run.attempts.get(&task).copied().unwrap_or_default();
        let tries = Tries { attempts, ..Tries::default() };
        let ready = Cell::Ready { tries, since: self.now, avoid: None };
        let spec = &run.spec.tasks[task as usize];
        let cell = match &decision.verdict {
            Verdict::Start if is_sized_late(spec) || run.is_parent(task) => {
                return Err(ItemRefusal::WrongVerdict);
            }
            Verdict::Start => fresh(run, task, self.now),
            Verdict::FanOut { items } => {
                let items: Vec<String> = items.iter().map(str::to_owned).collect();
                if !is_sized_late(spec) || items.len() > limits::ITEMS_MAX {
                    return Err(ItemRefusal::WrongVerdict);
                }
                return self.give_items(run_id, task, items, ready);
            }
            Verdict::StartRun { .. } if !run.is_parent(task) => {
                return Err(ItemRefusal::WrongVerdict);
            }
            Verdict::StartRun { .. } if run.is_paused => return Err(ItemRefusal::RunPaused),
            Verdict::StartRun { .. } => {
                self.start_child(run_id, task, tried);
                return Ok(());
            }
            Verdict::Skip => Cell::Ended(End::Skipped { by_failure: false }),
            Verdict::Fail { .. } => Cell::Ended(End::Failed(FailureReason::Undecidable)),
        };
        // All indices are decided at once: none of them may end the task or the run alone.
        let it = self.runs.get_mut(&run_id).expect("it was looked at above");
        it.cells.extend(cells.into_iter().map(|(index, _)| ((task, index), cell)));
        if let Some(End::Failed(_)) = cell.ended() {
            self.failed.insert((run_id, task));
        }
        if cell.ended().is_some() {
            self.settle(run_id);
            self.end_if_over(run_id);
        }
        Ok(())
    }

    /// A task that is undecided goes through items: it has as many indices as there are.
    fn give_items(
        &mut self,
        run_id: u64,
        task: u32,
        items: Vec<String>,
        ready: Cell,
    ) -> Result<(), ItemRefusal> {
        let it = self.runs.get_mut(&run_id).expect("the caller saw it");
        it.cells.retain(|(of, _), _| *of != task);
        let cell = if items.is_empty() { Cell::Ended(End::Succeeded) } else { ready };
        let indices = indices_of(&it.spec.tasks[task as usize], Some(items.len()));
        it.cells.extend(indices.map(|index| ((task, index), cell)));
        it.items.insert(task, items);
        if cell.ended().is_some() {
            self.settle(run_id);
            self.end_if_over(run_id);
        }
        Ok(())
    }
}

/// A verdict on an undecided task, or on any task, and now and then for another wait than its own.
pub(super) fn drawn(model: &Model, (at, how): (u16, u8)) -> Decision {
    let undecided = model.runs.iter().flat_map(|(run, it)| {
        it.cells.iter().filter_map(|((task, _), cell)| match cell {
            Cell::Undecided { since, .. } => Some((*run, *task, *since)),
            _ => None,
        })
    });
    let undecided: Vec<_> = undecided.collect();
    let any = (u64::from(at % 5), u32::from(at % 7), u64::from(how));
    let found = undecided.get(usize::from(at) % undecided.len().max(1)).copied();
    let (run, task, since) = found.filter(|_| how < 240).unwrap_or(any);
    let spec = model.runs.get(&run).and_then(|it| it.task(task));
    let is_parent = model.runs.get(&run).is_some_and(|run| run.is_parent(task));
    let is_sized_late = spec.is_some_and(is_sized_late);
    // Now and then one that does not fit.
    let (wants_run, wants_items) = match how % 32 {
        1 => (false, !is_sized_late),
        9 => (!is_parent, false),
        _ => (is_parent, is_sized_late),
    };
    let items = || (0..u32::from(at) % 7).map(|item| format!("{at}/{item}"));
    let verdict = match how % 8 {
        0..6 if wants_run => Verdict::StartRun { params: Arc::default() },
        0..6 if wants_items => Verdict::FanOut { items: items().collect() },
        0..4 => Verdict::Start,
        4..6 => Verdict::Skip,
        6 if wants_items => Verdict::Skip,
        _ => Verdict::Fail { message: "if: no".into() },
    };
    let since = LogIndex(since.saturating_sub(u64::from(how % 16 == 15)));
    Decision { run: RunId(run), task: TaskIndex(task), since, verdict }
}
