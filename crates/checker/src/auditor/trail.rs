//! Who asked for what: each thing that was asked for and carried out is in the trail once, or is said by the run that
//! it made.

use muster_core::command::{Asked, Command, WantedEnd};
use muster_core::ids::RunId;
use muster_core::limits;
use muster_core::state::trail::{Asker, Deed};

use super::step::{Claim, Step};
use crate::coverage::Rare;
use crate::verdict::Invariant;

/// An action that must be in the trail.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Owed {
    by: Asker,
    deed: Deed,
    run: Option<RunId>,
}

impl Step<'_> {
    pub(super) fn asked(&mut self, asked: &Asked, claim: &Claim) {
        let cut = |text: &str| text[..text.floor_char_boundary(limits::ASKER_BYTES_MAX)].into();
        self.asker = Some(Asker { who: cut(&asked.by.who), from: cut(&asked.by.from) });
        self.is_carried_out = false;
        self.carry_out(&asked.command, claim);
        if self.is_carried_out
            && let Some((deed, run)) = deed_of(&asked.command)
        {
            self.owe(deed, run);
        }
        self.asker = None;
    }

    /// Takes note of an action that must be in the trail, if somebody asked for it.
    pub(super) fn owe(&mut self, deed: Deed, run: Option<RunId>) {
        let Some(by) = self.asker.clone() else { return };
        self.count(Rare::ActionAudited);
        self.owed.push(Owed { by, deed, run });
    }

    pub(super) fn compare_trail(&mut self) {
        let (next, trail) = (self.before.meta.next_action, self.after.trail().actions());
        let new = trail.iter_below(u64::MAX).take_while(|(number, _)| *number >= next);
        let mut added: Vec<Owed> = Vec::new();
        for (_, action) in new {
            added.push(Owed { by: action.by.clone(), deed: action.deed, run: action.run });
            if action.at != self.now {
                let what = format!("an action of {} was added at {}", action.at.0, self.now.0);
                return self.found(Invariant::I19, what);
            }
        }
        added.reverse();
        let owed = std::mem::take(&mut self.owed);
        // A single entry may have more than the trail holds.
        let kept = &owed[owed.len().saturating_sub(limits::ACTIONS_MAX)..];
        if added != kept {
            let what = format!("the trail got {added:?}, should have got {kept:?}");
            self.found(Invariant::I19, what);
        }
        if trail.len() > limits::ACTIONS_MAX {
            self.found(Invariant::I17, format!("{} actions are kept", trail.len()));
        }
    }
}

/// What a command is called in the trail, and the run that it is about. None for those that make a run or a version.
fn deed_of(command: &Command) -> Option<(Deed, Option<RunId>)> {
    Some(match command {
        Command::CancelRun(it) => (Deed::Cancel, Some(it.run)),
        Command::PauseRun(it) if it.is_paused => (Deed::Pause, Some(it.run)),
        Command::PauseRun(it) => (Deed::Resume, Some(it.run)),
        Command::PrioritizeRun(it) => (Deed::Prioritize, Some(it.run)),
        Command::ReleaseTask(it) => (Deed::Release, Some(it.run)),
        Command::ReopenTasks(it) => (Deed::Rerun, Some(it.run)),
        Command::EndTask(it) => {
            let deed = match it.end {
                WantedEnd::Succeeded => Deed::Succeed,
                WantedEnd::Skipped => Deed::Skip,
                WantedEnd::Cancelled => Deed::CancelTask,
                WantedEnd::Approved => Deed::Approve,
                WantedEnd::Rejected => Deed::Reject,
            };
            (deed, Some(it.run))
        }
        Command::SuspendSchedule(it) if it.is_suspended => (Deed::Suspend, None),
        Command::SuspendSchedule(_) => (Deed::Resume, None),
        Command::DrainWorker(it) if it.is_draining => (Deed::Drain, None),
        Command::DrainWorker(_) => (Deed::Undrain, None),
        _ => return None,
    })
}
