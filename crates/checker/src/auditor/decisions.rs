//! Decisions about undecided tasks, gone through: each counts once, for the wait that it was made for. What an
//! expression comes to is the leader's judgement, and is not judged here.

use muster_core::command::{DecideTasks, Decision, Verdict};
use muster_core::spec::TaskSpec;
use muster_core::state::task::{FailureReason, TaskState, Tries};

use super::attempts::refusals;
use super::rules;
use super::step::{Claim, Step};
use crate::coverage::Rare;
use crate::verdict::Invariant;

impl Step<'_> {
    pub(super) fn decide_tasks(&mut self, command: &DecideTasks, claim: &Claim) {
        let refusals = refusals(claim, command.decisions.len());
        for (decision, refusal) in command.decisions.iter().zip(refusals) {
            let is_due = self.is_due(decision);
            let at = format!("run {} task {}", decision.run, decision.task);
            match (refusal, is_due) {
                (None, true) => self.decide(decision),
                (Some(_), false) => self.count(Rare::StaleDecision),
                (None, false) => {
                    self.found(Invariant::I7, format!("{at}: it was decided out of turn"));
                    self.doubt(decision.run);
                }
                (Some(refusal), true) => {
                    let what =
                        format!("{at}: the decision that it waits for was refused: {refusal}");
                    self.found(Invariant::I7, what);
                }
            }
        }
    }

    /// Whether all of the task waits for this very decision.
    fn is_due(&mut self, decision: &Decision) -> bool {
        let Some(work) = self.live_run(decision.run) else { return false };
        let Some(task) = work.task(decision.task) else { return false };
        let waits = task.cells.iter().all(|(_, state)| {
            matches!(state, TaskState::Undecided { since, .. } if *since == decision.since)
        });
        // Nothing new begins while its run is paused.
        let is_held = work.paused.is_some() && matches!(decision.verdict, Verdict::StartRun { .. });
        let spec = work.spec(decision.task).filter(|_| waits && !is_held);
        spec.is_some_and(|spec| fits(&decision.verdict, spec))
    }

    fn decide(&mut self, decision: &Decision) {
        let now = self.now;
        if let Verdict::StartRun { params } = &decision.verdict {
            return self.start_child(decision, params);
        }
        let Some(work) = self.live_run(decision.run) else { return };
        let (Some(task), Some(spec)) = (work.task(decision.task), work.spec(decision.task)) else {
            return;
        };
        let mut range = task.cells.indices();
        let (to, rare) = match &decision.verdict {
            Verdict::Start => (rules::started(spec, task.attempts, now), Rare::DecidedToStart),
            Verdict::FanOut { items } => {
                let ready = rules::started(spec, task.attempts, now);
                let (since, tries) = (decision.since, Tries::default());
                work.size(decision.task, items, TaskState::Undecided { since, tries });
                range = work.task(decision.task).map_or(range, |task| task.cells.indices());
                match items.is_empty() {
                    // Nothing is to be done, and that is done.
                    true => {
                        let tries = Tries::default();
                        (TaskState::Succeeded { tries, last: None }, Rare::NoItems)
                    }
                    false => (ready, Rare::SizedLate),
                }
            }
            Verdict::StartRun { .. } => return,
            Verdict::Skip => (TaskState::Skipped { by_failure: false }, Rare::DecidedToSkip),
            Verdict::Fail { .. } => {
                let tries = task.cells.at(range.first).map(|(_, state)| state.tries());
                let (tries, reason) = (tries.unwrap_or_default(), FailureReason::Undecidable);
                (TaskState::Failed { tries, reason, last: None }, Rare::Undecidable)
            }
        };
        self.count(rare);
        self.change(decision.run, decision.task, range, to);
    }
}

/// Whether a verdict is one for such a task: a size for those that wait for one, a run for those that start one, and
/// neither for any other.
fn fits(verdict: &Verdict, spec: &TaskSpec) -> bool {
    match verdict {
        Verdict::Start => !rules::is_sized_late(spec) && !rules::is_parent(spec),
        Verdict::StartRun { .. } => rules::is_parent(spec),
        Verdict::FanOut { items } => rules::is_sized_late(spec) && rules::are_bounded(items),
        Verdict::Skip | Verdict::Fail { .. } => true,
    }
}
