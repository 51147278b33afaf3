//! Attempts as those who carry them out see them: the promise itself, and that nothing begins that the log did not
//! place (P1, I4, I12, I13).

use std::collections::BTreeMap;

use muster_core::ids::{Fence, RunId, TaskIndex, Text};
use muster_core::state::cells::IndexRange;

use super::Judge;
use crate::history::{Nanos, Observed};
use crate::ledger::{Cause, Placed};
use crate::verdict::{At, Invariant};

/// One index of one task of one run.
type Place = (RunId, TaskIndex, u32);

/// One attempt, from its beginning to its end, as far as anybody saw them.
#[derive(Clone, Debug)]
struct Life {
    fence: Fence,
    worker: Text,
    incarnation: u64,
    began: Nanos,
    /// When it was last seen alive.
    seen: Nanos,
    ended: Option<Nanos>,
}

#[derive(Default)]
struct Lives {
    of: BTreeMap<Place, Vec<Life>>,
}

impl Judge<'_> {
    pub(super) fn check_attempts(&mut self) {
        let lives = self.lives();
        for (place, lives) in &lives.of {
            self.check_alone(*place, lives);
            for life in lives {
                self.check_placed(*place, life);
            }
        }
    }

    fn lives(&mut self) -> Lives {
        let mut lives = Lives::default();
        for observation in self.history.iter() {
            let at = observation.at;
            match &observation.what {
                Observed::AttemptBegan { worker, incarnation, run, task, index, fence } => {
                    let life = Life {
                        fence: *fence,
                        worker: worker.clone(),
                        incarnation: *incarnation,
                        began: at,
                        seen: at,
                        ended: None,
                    };
                    lives.of.entry((*run, *task, *index)).or_default().push(life);
                }
                Observed::AttemptSeen { run, task, index, fence } => {
                    if let Some(life) = lives.open((*run, *task, *index), *fence) {
                        life.seen = at;
                    }
                }
                Observed::AttemptEnded { run, task, index, fence, .. } => {
                    if let Some(life) = lives.open((*run, *task, *index), *fence) {
                        life.ended = Some(at);
                    }
                }
                Observed::AttemptConflict { run, task, index, fence } => {
                    let what =
                        format!("{run}/{task}/{index}: fence {fence} found another attempt alive");
                    self.verdict.found(Invariant::P1, At::Time(at), what);
                }
                _ => {}
            }
        }
        lives
    }

    /// One attempt at a time, each with a newer fence than those before it.
    fn check_alone(&mut self, (run, task, index): Place, lives: &[Life]) {
        let mut latest: Option<(&Life, Nanos)> = None;
        let mut newest = Fence(0);
        for life in lives {
            let name = format!("{run}/{task}/{index}");
            let at = At::Time(life.began);
            if let Some((other, end)) = latest.filter(|(_, end)| life.began < *end) {
                let what = format!(
                    "{name}: fence {} on {} began while fence {} was alive on {} until {end}",
                    life.fence, life.worker, other.fence, other.worker
                );
                self.verdict.found(Invariant::P1, at, what);
            }
            if life.fence == newest {
                let what = format!("{name}: fence {newest} was carried out twice");
                self.verdict.found(Invariant::I4, at, what);
            } else if life.fence < newest {
                let what = format!("{name}: fence {} began after fence {newest}", life.fence);
                self.verdict.found(Invariant::I4, at, what);
            }
            newest = newest.max(life.fence);
            let end = self.end_of(life);
            if latest.is_none_or(|(_, latest)| latest < end) {
                latest = Some((life, end));
            }
        }
    }

    /// Until when the attempt was alive for certain.
    fn end_of(&self, life: &Life) -> Nanos {
        let unseen = if self.expected.sees_all_attempts { Nanos::MAX } else { life.seen };
        life.ended.unwrap_or(unseen)
    }

    /// What began was placed before, there, under that fence, and was not over in the log.
    fn check_placed(&mut self, (run, task, index): Place, life: &Life) {
        let name = format!("{run}/{task}/{index} fence {} on {}", life.fence, life.worker);
        let at = At::Time(life.began);
        if life.fence.0 <= self.ledger.begins_after.0 {
            return;
        }
        let key = (run, task, life.fence);
        let placed = self.ledger.attempts.get(&key).into_iter().flatten();
        let Some(placed) = placed.into_iter().find(|it| holds(it.range, index)) else {
            let what = format!("{name} began, and the log never placed it");
            return self.verdict.found(Invariant::I13, at, what);
        };
        let worker = self.ledger.workers.get(&placed.worker);
        if worker.is_some_and(|it| (&it.name, it.incarnation) != (&life.worker, life.incarnation)) {
            let what = format!("{name} began, and the log placed it on {worker:?}");
            self.verdict.found(Invariant::I12, at, what);
        }
        let committed = self.ledger.applied_at.get(&muster_core::ids::LogIndex(life.fence.0));
        if committed.is_some_and(|committed| life.began < *committed) {
            let what = format!("{name} began before its placement was applied anywhere");
            self.verdict.found(Invariant::I13, at, what);
        }
        for (invariant, what) in self.ends_before(placed, index, life.began) {
            self.verdict.found(invariant, at, format!("{name} began after {what}"));
        }
    }

    /// What had ended the attempt in the log before `began`, so that another might follow.
    fn ends_before(
        &self,
        placed: &Placed,
        index: u32,
        began: Nanos,
    ) -> Vec<(Invariant, &'static str)> {
        let ends = placed.ends.iter().filter(|(range, ..)| holds(*range, index));
        let before = ends.filter(|(_, end, _)| {
            self.ledger.applied_at.get(end).is_some_and(|applied| *applied < began)
        });
        let named = before.filter_map(|(_, _, cause)| match cause {
            Cause::WorkerLost => Some((Invariant::I12, "its worker was lost")),
            Cause::Reported(_) => Some((Invariant::I4, "its end was accepted")),
            // Nothing follows a cancelled attempt, so one that begins late harms nobody.
            Cause::Forced => None,
        });
        named.collect()
    }
}

impl Lives {
    /// The latest attempt with this fence that has not ended.
    fn open(&mut self, place: Place, fence: Fence) -> Option<&mut Life> {
        let lives = self.of.get_mut(&place)?;
        lives.iter_mut().rev().find(|life| life.fence == fence && life.ended.is_none())
    }
}

fn holds(range: IndexRange, index: u32) -> bool {
    range.intersect(IndexRange::single(index)).is_some()
}
