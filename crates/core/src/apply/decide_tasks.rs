//! Decisions about undecided tasks are carried out. Each was worked out from an older state, so each is checked again
//! here: it counts once, for the very wait that it was made for.

use super::Step;
use super::finish_attempts::cut;
use crate::command::{DecideTasks, Decision, Verdict};
use crate::mutant::{self, Mutant};
use crate::reply::{ItemRefusal, Reply};
use crate::spec::{Items, TaskSpec};
use crate::state::task::{FailureReason, TaskState, Tries};

impl Step<'_> {
    pub(super) fn decide_tasks(&mut self, command: &DecideTasks) -> Reply {
        let mut refused = Vec::new();
        for (position, decision) in command.decisions.iter().enumerate() {
            if let Err(refusal) = self.decide(decision) {
                refused.push((position as u32, refusal));
            }
        }
        Reply::Items { refused }
    }

    fn decide(&mut self, decision: &Decision) -> Result<(), ItemRefusal> {
        let Decision { run: run_id, task: index, since, ref verdict } = *decision;
        let run = self.state.runs.get_mut(run_id.0).ok_or(ItemRefusal::RunNotLive)?;
        let spec = run.spec(index);
        let is_sized_late = spec.is_some_and(TaskSpec::is_sized_late);
        let is_sub_workflow = spec.is_some_and(TaskSpec::is_sub_workflow);
        let is_paused = run.paused.is_some();
        let task = run.tasks.get_mut(index.0 as usize).ok_or(ItemRefusal::NoSuchTask)?;
        let mut range = task.cells.indices();
        let state = task.cells.at(range.first).map(|(_, state)| *state);
        let its = match state {
            Some(TaskState::Undecided { since: its, tries }) if its == since => Some(tries),
            _ => None,
        };
        if its.is_none() && !mutant::is_on(Mutant::DecisionUnchecked) {
            return Err(ItemRefusal::NotUndecided);
        }
        let ready = TaskState::Ready { tries: task.fresh_tries(), since: self.now, avoid: None };
        let to = match verdict {
            Verdict::Start if is_sized_late || is_sub_workflow => {
                return Err(ItemRefusal::WrongVerdict);
            }
            Verdict::Start => self.started(run_id, index),
            Verdict::FanOut { items } => {
                if its.is_none() || !is_sized_late || items.check().is_err() {
                    return Err(ItemRefusal::WrongVerdict);
                }
                // It is undecided, and no index of the state knows the indices of such a task.
                let tries = Tries::default();
                task.resize(Some(kept(items)), TaskState::Undecided { since, tries });
                range = task.cells.indices();
                // As after a loop over nothing, everything is done.
                let done = TaskState::Succeeded { tries, last: None };
                if items.is_empty() { done } else { ready }
            }
            Verdict::StartRun { params } => {
                let Some(tries) = its.filter(|_| is_sub_workflow) else {
                    return Err(ItemRefusal::WrongVerdict);
                };
                if is_paused {
                    return Err(ItemRefusal::RunPaused);
                }
                self.start_child(run_id, index, tries, params)
            }
            Verdict::Skip => TaskState::Skipped { by_failure: false },
            Verdict::Fail { message } => {
                task.message = Some(cut(message));
                let tries = its.unwrap_or_default();
                TaskState::Failed { tries, reason: FailureReason::Undecidable, last: None }
            }
        };
        self.change(run_id, index, range, to);
        Ok(())
    }
}

/// The items that a task is given.
fn kept(items: &Items) -> Items {
    if mutant::is_on(Mutant::ItemForgotten) {
        return items.iter().take(items.len().saturating_sub(1)).collect();
    }
    items.clone()
}
