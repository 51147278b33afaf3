//! One planning pass: whose turn it is, in which order its tasks are served, and where they go.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::sync::Arc;

use muster_core::command::Placement;
use muster_core::ids::{RunId, WorkerId};
use muster_core::spec::Request;
use muster_core::state::State;
use muster_core::state::cells::IndexRange;
use muster_core::state::queue::ReadyKey;
use muster_core::state::run::Run;
use muster_core::state::task::TaskState;

use crate::class::Classes;
use crate::group::{Group, Leaning};
use crate::party::{Party, Share, Whole};
use crate::plan::{Limit, Unplaced};
use crate::policy::{Policy, Strategy};
use crate::slot::{SlotIndex, Slots};
use crate::summary::Summary;
use crate::view::LiveView;

/// At most this many upstream tasks are looked at for locality.
const LOCALITY_LOOKS_MAX: usize = 32;
/// At most this many unplaced groups get a summary in one pass: each costs a look at every worker.
const SUMMARIES_MAX: usize = 64;

/// How far the placing of one task got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// All ready indices that may be live have a worker.
    Done,
    /// No worker has room for the next.
    NoRoom,
    /// The quota of the namespace, or a concurrency group, lets no further one be live.
    Limited(Limit),
    /// It is another namespace's turn.
    Turn,
    /// The bounds of the pass are reached.
    Cut,
}

/// How many indices one worker gets of one range.
struct Dealt {
    slot: SlotIndex,
    count: u32,
}

/// See the module documentation.
pub(crate) struct Pass<'a> {
    state: &'a State,
    slots: Slots<'a>,
    classes: Classes<'a>,
    placements: Vec<Placement>,
    attempts_left: u32,
    unplaced: Vec<Unplaced>,
    /// Requests for which no worker has room any more.
    without_room: BTreeSet<&'a Arc<Request>>,
    /// The latest run that was looked up: neighbours in the order of service mostly share it.
    run: Option<(RunId, &'a Arc<Run>)>,
    shares: Vec<Dealt>,
    /// By worker: where in `shares` it is, or beyond its end.
    share_of: Vec<u32>,
}

impl<'a> Pass<'a> {
    pub(crate) fn new(state: &'a State, view: &LiveView, policy: &Policy) -> Self {
        let slots = Slots::new(state, view, policy);
        Pass {
            state,
            attempts_left: slots.policy().attempts_max,
            share_of: vec![u32::MAX; slots.len()],
            slots,
            classes: Classes::default(),
            placements: Vec::new(),
            unplaced: Vec::new(),
            without_room: BTreeSet::new(),
            run: None,
            shares: Vec::new(),
        }
    }

    /// Runs the pass: placements, what found no worker, and whether a bound cut the pass short.
    pub(crate) fn run(mut self) -> (Vec<Placement>, Vec<Unplaced>, bool) {
        let whole = Whole::of(&self.slots);
        let namespaces = self.state.queue().namespaces().map(|(namespace, groups)| {
            let groups = groups.map(|(request, ready)| Group::new(namespace, request, ready));
            Party::new(self.state, namespace, groups.collect())
        });
        let mut parties: Vec<Party<'a>> = namespaces.collect();
        let ranks = parties.iter().enumerate();
        let mut order: BinaryHeap<_> =
            ranks.filter_map(|(at, party)| Some(Reverse((party.rank(&whole)?, at)))).collect();
        let mut is_cut = false;
        while let Some(Reverse(((share, _), at))) = order.pop() {
            let next = order.peek().map(|Reverse(((next, _), _))| (share, *next));
            is_cut = !self.serve(&mut parties[at], &whole, next);
            if is_cut {
                break;
            }
            order.extend(parties[at].rank(&whole).map(|rank| Reverse((rank, at))));
        }
        (self.placements, self.unplaced, is_cut)
    }

    /// One turn of a namespace: its first task, as far as it is its turn. `shares` are its own and that of the next
    /// one, if there is any. Returns false if the pass is over.
    fn serve(
        &mut self,
        party: &mut Party<'a>,
        whole: &Whole,
        shares: Option<(Share, Share)>,
    ) -> bool {
        let Some(Reverse((key, position))) = party.heads.pop() else { return true };
        let request: &'a Arc<Request> = party.groups[position].request;
        let part = &request.resources;
        let ((room, limit), weight) = (party.room(request), party.weight);
        let turn = shares.map_or(u32::MAX, |(own, next)| whole.turn(own, next, weight, part));
        let group = &mut party.groups[position];
        let before = self.attempts_left;
        // In a pass workers only fill up: what had no room for one has none for an equal one of another namespace.
        let progress = match self.without_room.contains(request) {
            _ if room == 0 => Progress::Limited(limit),
            true => Progress::NoRoom,
            false => self.place_task(group, key, turn.min(room)),
        };
        let head = match progress {
            Progress::Done => {
                group.done += 1;
                group.next_task()
            }
            Progress::NoRoom => {
                self.without_room.insert(request);
                self.give_up(group, key, None);
                None
            }
            // Others with equal requests may go on: the quotas and groups of their namespaces are their own.
            Progress::Limited(limit) => {
                self.give_up(group, key, Some(limit));
                None
            }
            Progress::Turn | Progress::Cut => Some(key),
        };
        party.heads.extend(head.map(|key| Reverse((key, position))));
        party.took(request, before - self.attempts_left);
        progress != Progress::Cut
    }

    /// Drops a group for the rest of the pass: what its first task lacks, all its tasks lack.
    fn give_up(&mut self, group: &mut Group<'a>, first: ReadyKey, limit: Option<Limit>) {
        let summary = (limit.is_none() && self.unplaced.len() < SUMMARIES_MAX).then(|| {
            let class = group.class(&self.slots, &mut self.classes);
            Summary::new(&self.slots, class, group.request)
        });
        group.close();
        self.unplaced.push(Unplaced {
            namespace: group.namespace.clone(),
            request: group.request.clone(),
            tasks: group.tasks - group.done,
            first,
            limit,
            summary,
        });
    }

    /// Places at most `turn` further indices of a task.
    fn place_task(&mut self, group: &mut Group<'a>, key: ReadyKey, turn: u32) -> Progress {
        let Some(run) = self.find_run(key.run) else { return Progress::Done };
        let Some(task) = run.task(key.task) else { return Progress::Done };
        let mut leanings = self.localities(run, key);
        let locals = leanings.len();
        let rest = IndexRange { first: group.next_index, last: u32::MAX };
        let ready = task.cells.within(rest).filter_map(|(range, state)| match state {
            TaskState::Ready { avoid, .. } => Some((range, *avoid)),
            _ => None,
        });
        let wanted = group.placeable - group.placed;
        let mut left = wanted.min(turn);
        for (range, avoid) in ready {
            if left == 0 {
                break;
            }
            let range = IndexRange { last: range.last.min(range.first + (left - 1)), ..range };
            left -= range.count();
            group.placed += range.count();
            group.next_index = range.last.saturating_add(1);
            leanings.truncate(locals);
            if let Some(slot) = avoid.and_then(|worker| self.slots.find(worker)) {
                leanings.push((slot, -self.slots.policy().weights.avoid));
            }
            let progress = self.place_range(group, key, range, &merge(&leanings));
            if progress != Progress::Done {
                return progress;
            }
        }
        if wanted > turn { Progress::Turn } else { Progress::Done }
    }

    fn find_run(&mut self, id: RunId) -> Option<&'a Run> {
        if self.run.is_none_or(|(known, _)| known != id) {
            self.run = self.state.run(id).map(|run| (id, run));
        }
        self.run.map(|(_, run)| &**run)
    }

    /// The workers that ran upstream tasks, with the points they get for it.
    fn localities(&self, run: &Run, key: ReadyKey) -> Vec<Leaning> {
        let upstream = run.version.graph.upstream(key.task);
        let looks = upstream.len().min(LOCALITY_LOOKS_MAX);
        let bonus = self.slots.policy().weights.locality;
        if looks == 0 || bonus == 0.0 {
            return Vec::new();
        }
        let ran_on = upstream[..looks].iter().filter_map(|task| ran_on(run.task(*task)?));
        ran_on.filter_map(|worker| Some((self.slots.find(worker)?, bonus / looks as f64))).collect()
    }

    /// Gives the indices of a ready range to workers; each gets neighbouring ones.
    fn place_range(
        &mut self,
        group: &mut Group<'a>,
        key: ReadyKey,
        range: IndexRange,
        leanings: &[Leaning],
    ) -> Progress {
        let class = group.class(&self.slots, &mut self.classes);
        group.lean(&mut self.slots, class, leanings);
        let progress = self.deal(group, range.count(), leanings);
        let class = group.class(&self.slots, &mut self.classes);
        group.unlean(&mut self.slots, class, leanings);
        self.cut_range(key, range);
        progress
    }

    /// Deals `left` indices out into `shares`, each to the worker that is best then.
    fn deal(&mut self, group: &mut Group<'a>, mut left: u32, leanings: &[Leaning]) -> Progress {
        let part = &group.request.resources;
        while left > 0 {
            let class = group.class(&self.slots, &mut self.classes);
            let Some(slot) = group.best(&mut self.slots, class, leanings) else {
                return Progress::NoRoom;
            };
            if self.attempts_left == 0 || !self.may_share(slot) {
                return Progress::Cut;
            }
            let count = match self.slots.policy().strategy {
                Strategy::Spread => 1,
                Strategy::BinPack => self.slots.at(slot).fits(part).min(left),
            };
            let count = count.min(self.attempts_left);
            self.slots.take(slot, part, count);
            self.add_share(slot, count);
            self.attempts_left -= count;
            left -= count;
        }
        Progress::Done
    }

    /// Whether the worker may get a part of the current range: it has one, or one more placement is allowed.
    fn may_share(&self, slot: SlotIndex) -> bool {
        self.shares.len() + self.placements.len() < self.slots.policy().placements_max
            || (self.share_of[slot as usize] as usize) < self.shares.len()
    }

    fn add_share(&mut self, slot: SlotIndex, count: u32) {
        let position = &mut self.share_of[slot as usize];
        match self.shares.get_mut(*position as usize) {
            Some(share) => share.count += count,
            None => {
                *position = self.shares.len() as u32;
                self.shares.push(Dealt { slot, count });
            }
        }
    }

    /// Makes placements of the shares: neighbouring indices to each worker, in the order in which workers came up.
    fn cut_range(&mut self, key: ReadyKey, range: IndexRange) {
        let mut first = range.first;
        for share in self.shares.drain(..) {
            self.share_of[share.slot as usize] = u32::MAX;
            self.placements.push(Placement {
                run: key.run,
                task: key.task,
                range: IndexRange { first, last: first + (share.count - 1) },
                worker: self.slots.at(share.slot).worker.id,
            });
            first = first.saturating_add(share.count);
        }
    }
}

/// The worker that ran a task which has ended.
fn ran_on(task: &muster_core::state::task::Task) -> Option<WorkerId> {
    let (_, state) = task.cells.at(task.cells.indices().first)?;
    match state {
        TaskState::Succeeded { last, .. } | TaskState::Failed { last, .. } => {
            last.map(|last| last.worker)
        }
        TaskState::Blocked
        | TaskState::Undecided { .. }
        | TaskState::Ready { .. }
        | TaskState::Placed { .. }
        | TaskState::Running { .. }
        | TaskState::Backoff { .. }
        | TaskState::Held { .. }
        | TaskState::Awaiting { .. }
        | TaskState::Skipped { .. }
        | TaskState::Cancelled => None,
    }
}

/// Adds up the leanings of each worker.
fn merge(leanings: &[Leaning]) -> Vec<Leaning> {
    let mut merged: Vec<Leaning> = Vec::with_capacity(leanings.len());
    for (slot, points) in leanings {
        match merged.iter_mut().find(|(known, _)| known == slot) {
            Some((_, sum)) => *sum += points,
            None => merged.push((*slot, *points)),
        }
    }
    merged
}
