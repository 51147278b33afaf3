//! The planner without its data structures.

use std::collections::BTreeMap;

use muster_core::command::Placement;
use muster_core::ids::{Name, WorkerId};
use muster_core::spec::{Request, Resources};
use muster_core::state::cells::IndexRange;
use muster_core::state::queue::ReadyKey;
use muster_core::state::run::Run;
use muster_core::state::task::TaskState;
use muster_core::state::{State, Usage};

use super::groups;
use crate::party::{Share, Whole};
use crate::slot::{Presence, SlotIndex, Slots};
use crate::{LiveView, Policy, Strategy};

/// What [`crate::plan`] must place.
pub(super) fn placements(state: &State, view: &LiveView, policy: &Policy) -> Vec<Placement> {
    let slots = Slots::new(state, view, policy);
    let mut deal = Deal { state, whole: Whole::of(&slots), slots, policy, placements: Vec::new() };
    let mut waiting: BTreeMap<&Name, Vec<Waiting<'_>>> = BTreeMap::new();
    for (namespace, key, placeable, request) in ready_tasks(state) {
        let run = state.run(key.run).expect("ready tasks are of live runs");
        let ranges = ready_ranges(run, key, placeable);
        waiting.entry(namespace).or_default().push(Waiting { run, key, request, ranges });
    }
    loop {
        waiting.retain(|_, tasks| !tasks.is_empty());
        let ranks = waiting
            .iter()
            .map(|(of, tasks)| (deal.counts(of, &tasks[0].request.resources), tasks[0].key, *of));
        let mut ranks: Vec<_> = ranks.collect();
        ranks.sort();
        let Some((share, _, namespace)) = ranks.first().copied() else { break };
        let tasks = waiting.get_mut(namespace).expect("it is one of those");
        let first = &mut tasks[0];
        let part = &first.request.resources;
        let next = ranks.get(1).map(|(share, ..)| *share);
        let weight = state.weight_of(namespace);
        let turn = next.map_or(u32::MAX, |next| deal.whole.turn(share, next, weight, part));
        let usage = deal.usage(namespace);
        let quota = state.quota_of(namespace).map_or(u32::MAX, |quota| quota.room(&usage, part));
        let room = quota.min(state.group_room(namespace, &usage, first.request));
        let dealt = if room == 0 { Dealt::NoRoom } else { deal.place(first, turn.min(room)) };
        match dealt {
            Dealt::All => {}
            Dealt::NoRoom => {
                let request = first.request;
                tasks.retain(|task| task.request != request);
                continue;
            }
            Dealt::Cut => break,
        }
        if first.ranges.is_empty() {
            tasks.remove(0);
        }
    }
    deal.placements
}

/// A task with its ready ranges that are not placed yet.
struct Waiting<'a> {
    run: &'a Run,
    key: ReadyKey,
    request: &'a Request,
    ranges: Vec<(IndexRange, Option<WorkerId>)>,
}

enum Dealt {
    /// All that could be in this turn.
    All,
    /// As far as there was room.
    NoRoom,
    /// As far as the policy lets a plan go.
    Cut,
}

struct Deal<'a> {
    state: &'a State,
    whole: Whole,
    slots: Slots<'a>,
    policy: &'a Policy,
    placements: Vec<Placement>,
}

impl Deal<'_> {
    /// What of a namespace's share counts beside others.
    fn counts(&self, namespace: &Name, wanted: &Resources) -> Share {
        let share = self.whole.share(&self.usage(namespace), wanted);
        share.weighed(self.state.weight_of(namespace))
    }

    /// What a namespace has, counted anew.
    fn usage(&self, namespace: &Name) -> Usage {
        let mut usage = self.state.used_by(namespace).cloned().unwrap_or_default();
        for placement in &self.placements {
            let run = self.state.run(placement.run).expect("placements are of live runs");
            if run.version.namespace == *namespace {
                let request = run.version.request(placement.task).expect("the task exists");
                usage.take(request, placement.range.count());
            }
        }
        usage
    }

    fn place(&mut self, task: &mut Waiting<'_>, mut turn: u32) -> Dealt {
        while turn > 0 && !task.ranges.is_empty() {
            let (range, avoid) = task.ranges.remove(0);
            let count = range.count().min(turn);
            let now = IndexRange { last: range.first + (count - 1), ..range };
            if now.last < range.last {
                task.ranges.insert(0, (IndexRange { first: now.last + 1, ..range }, avoid));
            }
            turn -= count;
            match self.place_range(task, now, avoid) {
                Dealt::All => {}
                other => return other,
            }
        }
        Dealt::All
    }

    fn place_range(
        &mut self,
        task: &Waiting<'_>,
        range: IndexRange,
        avoid: Option<WorkerId>,
    ) -> Dealt {
        let Waiting { run, key, request, .. } = *task;
        let placed: u32 = self.placements.iter().map(|it| it.range.count()).sum();
        let mut attempts_left = self.policy.attempts_max - placed;
        let mut shares: Vec<(SlotIndex, u32)> = Vec::new();
        let mut left = range.count();
        let mut dealt = Dealt::All;
        while left > 0 {
            let extra = |slot| extra(&self.slots, run, key, avoid, slot);
            let Some(slot) = best(&self.slots, request, extra) else {
                dealt = Dealt::NoRoom;
                break;
            };
            let known = shares.iter().position(|(of, _)| *of == slot);
            let is_full = shares.len() + self.placements.len() >= self.policy.placements_max;
            if attempts_left == 0 || (known.is_none() && is_full) {
                dealt = Dealt::Cut;
                break;
            }
            let count = match self.policy.strategy {
                Strategy::Spread => 1,
                Strategy::BinPack => self.slots.at(slot).fits(&request.resources).min(left),
            };
            let count = count.min(attempts_left);
            self.slots.take(slot, &request.resources, count);
            match known {
                Some(position) => shares[position].1 += count,
                None => shares.push((slot, count)),
            }
            left -= count;
            attempts_left -= count;
        }
        let mut first = range.first;
        for (slot, count) in shares {
            self.placements.push(Placement {
                run: key.run,
                task: key.task,
                range: IndexRange { first, last: first + count - 1 },
                worker: self.slots.at(slot).worker.id,
            });
            first += count;
        }
        dealt
    }
}

/// How many ready ranges avoid a worker, and how many ready tasks have a local one.
pub(super) fn leanings_in_queue(state: &State) -> (usize, usize) {
    let (mut avoiding, mut local) = (0, 0);
    for (_, key, placeable, _) in ready_tasks(state) {
        let run = state.run(key.run).expect("ready tasks are of live runs");
        avoiding +=
            ready_ranges(run, key, placeable).iter().filter(|(_, avoid)| avoid.is_some()).count();
        local += usize::from(!ran_upstream(run, key).is_empty());
    }
    (avoiding, local)
}

fn ready_tasks(state: &State) -> Vec<(&Name, ReadyKey, u32, &Request)> {
    let mut ready: Vec<(&Name, ReadyKey, u32, &Request)> = Vec::new();
    for (namespace, request, group) in groups(state) {
        ready.extend(group.iter().map(|(key, count)| (namespace, *key, *count, &**request)));
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
