//! A planner for transcripts: first fit, in the order of the ready queue. The real one lives in another crate.

use muster_core::command::Placement;
use muster_core::ids::WorkerId;
use muster_core::spec::{Request, Resources};
use muster_core::state::State;
use muster_core::state::cells::IndexRange;
use muster_core::state::queue::ReadyKey;
use muster_core::state::task::TaskStatus;
use muster_core::state::worker::{Worker, WorkerStatus};

struct Offer<'a> {
    worker: &'a Worker,
    free: Resources,
}

pub(crate) fn first_fit(state: &State) -> Vec<Placement> {
    let mut offers: Vec<Offer<'_>> = Vec::new();
    for worker in state.workers().iter().filter(|it| it.status == WorkerStatus::Active) {
        let used = state.held_by(worker.id).map_or(Resources::ZERO, |held| held.used.clone());
        offers.push(Offer { worker, free: worker.capacity.minus(&used) });
    }
    let groups = state.queue().groups();
    let ready = groups
        .flat_map(|(request, group)| group.iter().map(move |(key, count)| (*key, *count, request)));
    let mut ready: Vec<(ReadyKey, u32, _)> = ready.collect();
    ready.sort_by_key(|(key, ..)| *key);
    let mut placements = Vec::new();
    for (key, mut left, request) in ready {
        let Some(task) = state.run(key.run).and_then(|run| run.task(key.task)) else { continue };
        for (range, found) in task.cells.iter() {
            if found.status() != TaskStatus::Ready || left == 0 {
                continue;
            }
            let range = IndexRange { last: range.last.min(range.first + (left - 1)), ..range };
            left -= range.count();
            for (part, worker) in spread(range, request, &mut offers) {
                placements.push(Placement { run: key.run, task: key.task, range: part, worker });
            }
        }
    }
    placements
}

/// Cuts a range into parts that fit, from its start.
fn spread(
    range: IndexRange,
    request: &Request,
    offers: &mut [Offer<'_>],
) -> Vec<(IndexRange, WorkerId)> {
    let mut parts = Vec::new();
    let mut rest = Some(range);
    for offer in offers.iter_mut().filter(|offer| offer.worker.matches(request)) {
        let Some(range) = rest else { break };
        let count = offer.free.fits(&request.resources).min(range.count());
        if count == 0 {
            continue;
        }
        let part = IndexRange { first: range.first, last: range.first + count - 1 };
        let mut taken = Resources::ZERO;
        taken.add(&request.resources, count);
        offer.free = offer.free.minus(&taken);
        parts.push((part, offer.worker.id));
        rest = (part.last < range.last).then(|| IndexRange { first: part.last + 1, ..range });
    }
    parts
}
