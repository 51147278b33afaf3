//! Placements are carried out. Each was computed from an older state, so each is checked again here.

use super::Step;
use crate::command::{PlaceAttempts, Placement};
use crate::event::Event;
use crate::ids::Fence;
use crate::mutant::{self, Mutant};
use crate::reply::{ItemRefusal, Reply};
use crate::state::cells::IndexRange;
use crate::state::task::{Attempt, TaskState, Tries};
use crate::state::worker::WorkerStatus;

impl Step<'_> {
    pub(super) fn place_attempts(&mut self, command: &PlaceAttempts) -> Reply {
        let mut refused = Vec::new();
        for (position, placement) in command.placements.iter().enumerate() {
            if let Err(refusal) = self.place(placement) {
                refused.push((position as u32, refusal));
            }
        }
        Reply::Items { refused }
    }

    fn place(&mut self, placement: &Placement) -> Result<(), ItemRefusal> {
        let ready = self.check_placement(placement)?;
        let (run, task, worker) = (placement.run, placement.task, placement.worker);
        let is_reused = mutant::is_on(Mutant::FenceReused);
        let fence = Fence(if is_reused { run.0 } else { self.index.0 });
        for (range, tries) in ready {
            let attempt = Attempt { worker, fence, placed_at: self.now, stop: None };
            let tries = Tries { attempts: tries.attempts.saturating_add(1), ..tries };
            self.change(run, task, range, TaskState::Placed { tries, attempt });
            self.state.count_attempt(run, task, tries.attempts);
            self.events.push(Event::AttemptPlaced { run, task, range, worker, fence });
        }
        Ok(())
    }

    /// The ready ranges of a placement that may be carried out as a whole.
    fn check_placement(
        &self,
        placement: &Placement,
    ) -> Result<Vec<(IndexRange, Tries)>, ItemRefusal> {
        let run = self.state.run(placement.run).ok_or(ItemRefusal::RunNotLive)?;
        let task = run.task(placement.task).ok_or(ItemRefusal::NoSuchTask)?;
        let request = run.version.request(placement.task).ok_or(ItemRefusal::NoSuchTask)?;
        if placement.range.first > placement.range.last
            || task.cells.indices().intersect(placement.range) != Some(placement.range)
        {
            return Err(ItemRefusal::NoSuchTask);
        }
        if run.paused.is_some() {
            return Err(ItemRefusal::RunPaused);
        }
        if self.ended_at_once.contains(&(placement.run, placement.task)) {
            return Err(ItemRefusal::NotReady);
        }
        let mut ready = Vec::new();
        for (range, state) in task.cells.within(placement.range) {
            match state {
                TaskState::Ready { tries, .. } => ready.push((range, *tries)),
                _ => return Err(ItemRefusal::NotReady),
            }
        }
        let max_parallel = run.spec(placement.task).and_then(|spec| spec.max_parallel);
        if placement.range.count() > task.parallel_room(max_parallel) {
            return Err(ItemRefusal::TooParallel);
        }
        let worker = self.state.worker(placement.worker).ok_or(ItemRefusal::WorkerNotActive)?;
        if worker.status != WorkerStatus::Active {
            return Err(ItemRefusal::WorkerNotActive);
        }
        if !worker.matches(request) {
            return Err(ItemRefusal::WorkerMismatch);
        }
        let free = match self.state.held_by(placement.worker) {
            Some(_) if mutant::is_on(Mutant::CapacityUnchecked) => worker.capacity.clone(),
            Some(holding) => worker.capacity.minus(&holding.used),
            None => worker.capacity.clone(),
        };
        if free.fits(&request.resources) < placement.range.count() {
            return Err(ItemRefusal::NoCapacity);
        }
        let (of_quota, of_groups) = self.state.limited_room(&run.version.namespace, request);
        if of_quota < placement.range.count() {
            return Err(ItemRefusal::QuotaReached);
        }
        if of_groups < placement.range.count() {
            return Err(ItemRefusal::GroupFull);
        }
        Ok(ready)
    }
}
