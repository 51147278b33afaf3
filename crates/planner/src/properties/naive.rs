//! The planner without its data structures.

use std::collections::BTreeSet;

use muster_core::command::Placement;
use muster_core::ids::WorkerId;
use muster_core::spec::Request;
use muster_core::state::State;
use muster_core::state::cells::IndexRange;
use muster_core::state::queue::ReadyKey;
use muster_core::state::run::Run;
use muster_core::state::task::TaskState;

use crate::slot::{Presence, SlotIndex, Slots};
use crate::{LiveView, Policy, Strategy};

/// What [`crate::plan`] must place.
pub(super) fn placements(state: &State, view: &LiveView, policy: &Policy) -> Vec<Placement> {
    let mut slots = Slots::new(state, view, policy);
    let mut placements: Vec<Placement> = Vec::new();
    let mut attempts_left = policy.attempts_max;
    let mut given_up: BTreeSet<&Request> = BTreeSet::new();
    for (key, placeable, request) in ready_tasks(state) {
        if given_up.contains(request) {
            continue;
        }
        let run = state.run(key.run).expect("ready tasks are of live runs");
        for (range, avoid) in ready_ranges(run, key, placeable) {
            let mut shares: Vec<(SlotIndex, u32)> = Vec::new();
            let mut left = range.count();
            let mut is_cut = false;
            while left > 0 {
                let extra = |slot| extra(&slots, run, key, avoid, slot);
                let Some(slot) = best(&slots, request, extra) else {
                    given_up.insert(request);
                    break;
                };
                let known = shares.iter().position(|(of, _)| *of == slot);
                let is_full = shares.len() + placements.len() >= policy.placements_max;
                if attempts_left == 0 || (known.is_none() && is_full) {
                    is_cut = true;
                    break;
                }
                let count = match policy.strategy {
                    Strategy::Spread => 1,
                    Strategy::BinPack => slots.at(slot).fits(&request.resources).min(left),
                };
                let count = count.min(attempts_left);
                slots.take(slot, &request.resources, count);
                match known {
                    Some(position) => shares[position].1 += count,
                    None => shares.push((slot, count)),
                }
                left -= count;
                attempts_left -= count;
            }
            let mut first = range.first;
            for (slot, count) in shares {
                placements.push(Placement {
                    run: key.run,
                    task: key.task,
                    range: IndexRange { first, last: first + count - 1 },
                    worker: slots.at(slot).worker.id,
                });
                first += count;
            }
            if is_cut {
                return placements;
            }
            if left > 0 {
                break;
            }
        }
    }
    placements
}

/// How many ready ranges avoid a worker, and how many ready tasks have a local one.
pub(super) fn leanings_in_queue(state: &State) -> (usize, usize) {
    let (mut avoiding, mut local) = (0, 0);
    for (key, placeable, _) in ready_tasks(state) {
        let run = state.run(key.run).expect("ready tasks are of live runs");
        avoiding +=
            ready_ranges(run, key, placeable).iter().filter(|(_, avoid)| avoid.is_some()).count();
        local += usize::from(!ran_upstream(run, key).is_empty());
    }
    (avoiding, local)
}

fn ready_tasks(state: &State) -> Vec<(ReadyKey, u32, &Request)> {
    let mut ready: Vec<(ReadyKey, u32, &Request)> = Vec::new();
    for (request, group) in state.queue().groups() {
        ready.extend(group.iter().map(|(key, count)| (*key, *count, &**request)));
    }
    ready.sort();
    ready
}

/// The first so many ready indices of a task, as ranges.
fn ready_ranges(run: &Run, key: ReadyKey, placeable: u32) -> Vec<(IndexRange, Option<WorkerId>)> {
    let cells = &run.task(key.task).expect("ready tasks exist").cells;
    let ready = cells.iter().filter_map(|(range, state)| match state {
        TaskState::Ready { avoid, .. } => Some((range, *avoid)),
        _ => None,
    });
    let mut left = placeable;
    let cut = ready.map(|(range, avoid)| {
        let count = range.count().min(left);
        left -= count;
        (range.first, count, avoid)
    });
    let some = cut.filter(|(_, count, _)| *count > 0);
    some.map(|(first, count, avoid)| (IndexRange { first, last: first + count - 1 }, avoid))
        .collect()
}

fn best(
    slots: &Slots<'_>,
    request: &Request,
    extra: impl Fn(SlotIndex) -> f64,
) -> Option<SlotIndex> {
    let mut best: Option<(f64, u32, SlotIndex)> = None;
    for (index, slot) in slots.iter() {
        let is_feasible = slot.presence == Presence::Available
            && slot.worker.matches(request)
            && slot.fits(&request.resources) > 0;
        if !is_feasible {
            continue;
        }
        let score = slots.score(index, extra(index));
        let is_better = best.is_none_or(|(points, attempts, _)| {
            score.points > points || (score.points == points && score.attempts < attempts)
        });
        if is_better {
            best = Some((score.points, score.attempts, index));
        }
    }
    best.map(|(_, _, index)| index)
}

/// The workers of upstream tasks, once for each, and how many upstream tasks there are.
fn ran_upstream(run: &Run, key: ReadyKey) -> Vec<(WorkerId, usize)> {
    let upstream = run.version.graph.upstream(key.task);
    let workers = upstream.iter().filter_map(|task| {
        let cells = &run.task(*task)?.cells;
        match cells.at(cells.indices().first)?.1 {
            TaskState::Succeeded { last, .. } | TaskState::Failed { last, .. } => {
                last.map(|last| (last.worker, upstream.len()))
            }
            _ => None,
        }
    });
    workers.collect()
}

fn extra(
    slots: &Slots<'_>,
    run: &Run,
    key: ReadyKey,
    avoid: Option<WorkerId>,
    slot: SlotIndex,
) -> f64 {
    let weights = slots.policy().weights;
    let worker = slots.at(slot).worker.id;
    let upstream = ran_upstream(run, key).into_iter().filter(|(ran, _)| *ran == worker);
    let mut extra: f64 = upstream.map(|(_, of)| weights.locality / of as f64).sum();
    if avoid == Some(worker) {
        extra -= weights.avoid;
    }
    // The sum of nothing is a negative zero.
    extra + 0.0
}
