//! One group of ready tasks of one namespace with equal requests, and how it finds the best worker for one more.

use std::collections::btree_map;
use std::sync::Arc;

use muster_core::ids::Name;
use muster_core::spec::Request;
use muster_core::state::queue::{ReadyGroup, ReadyKey};

use crate::class::{Class, Classes};
use crate::ranking::Ranking;
use crate::slot::{SlotIndex, Slots};

/// A worker that one task prefers or shuns, and by how many points. A task has at most one for each worker.
pub(crate) type Leaning = (SlotIndex, f64);

/// See the module documentation.
pub(crate) struct Group<'a> {
    pub(crate) namespace: &'a Name,
    pub(crate) request: &'a Arc<Request>,
    /// Tasks that are ready.
    pub(crate) tasks: usize,
    /// Tasks all of whose ready indices this pass placed.
    pub(crate) done: usize,
    waiting: btree_map::Iter<'a, ReadyKey, u32>,
    /// How many indices of the latest task may be placed.
    pub(crate) placeable: u32,
    /// How many of those this pass has placed.
    pub(crate) placed: u32,
    /// The index of the latest task from which on this pass has yet to look at it.
    pub(crate) next_index: u32,
    class: Option<usize>,
    /// The workers with room for this request. Made when the best worker of the class turns out to have none; until
    /// then the group uses the ranking it shares with the other groups of its class.
    own: Option<Ranking>,
}

impl<'a> Group<'a> {
    pub(crate) fn new(
        namespace: &'a Name,
        request: &'a Arc<Request>,
        ready: &'a ReadyGroup,
    ) -> Self {
        Group {
            namespace,
            request,
            tasks: ready.len(),
            done: 0,
            waiting: ready.iter(),
            placeable: 0,
            placed: 0,
            next_index: 0,
            class: None,
            own: None,
        }
    }

    /// The next task in the order of service. After the last one the group's own ranking is dropped.
    pub(crate) fn next_task(&mut self) -> Option<ReadyKey> {
        let next = self.waiting.next().map(|(key, count)| {
            (self.placeable, self.placed, self.next_index) = (*count, 0, 0);
            *key
        });
        if next.is_none() {
            self.close();
        }
        next
    }

    /// Frees what only placing needs.
    pub(crate) fn close(&mut self) {
        self.own = None;
    }

    /// The group's class, found when it is first asked for.
    pub(crate) fn class<'b>(
        &mut self,
        slots: &Slots<'_>,
        classes: &'b mut Classes<'a>,
    ) -> &'b mut Class {
        let position = *self.class.get_or_insert_with(|| classes.of(slots, self.request));
        classes.at_mut(position)
    }

    /// Scores the workers of `leanings` with their points, until [`Group::unlean`].
    pub(crate) fn lean(&mut self, slots: &mut Slots<'_>, class: &mut Class, leanings: &[Leaning]) {
        self.rescore(slots, class, leanings.iter().copied());
    }

    /// Scores the workers of `leanings` as for everybody.
    pub(crate) fn unlean(
        &mut self,
        slots: &mut Slots<'_>,
        class: &mut Class,
        leanings: &[Leaning],
    ) {
        self.rescore(slots, class, leanings.iter().map(|(slot, _)| (*slot, 0.0)));
    }

    fn rescore(
        &mut self,
        slots: &mut Slots<'_>,
        class: &mut Class,
        leanings: impl Iterator<Item = Leaning>,
    ) {
        if !class.may_have_room(&self.request.resources) {
            return;
        }
        let shared = class.ranking(slots);
        for (slot, extra) in leanings {
            if let Some(place) = shared.find(slot) {
                shared.set(place, Some(slots.score(slot, extra)));
            }
            if let Some(own) = &mut self.own
                && let Some(place) = own.find(slot)
            {
                let has_room = slots.at(slot).has_room(&self.request.resources);
                own.set(place, has_room.then(|| slots.score(slot, extra)));
            }
        }
    }

    /// The best worker for a task with these leanings, which must have been applied; `None` if no worker has room.
    ///
    /// A score can be out of date once the worker was used for another task. Under `spread` it is then too high, never
    /// too low; under `binPack` scores do not change in a pass. So the best by score is the best if its score is
    /// current.
    pub(crate) fn best(
        &mut self,
        slots: &mut Slots<'_>,
        class: &mut Class,
        leanings: &[Leaning],
    ) -> Option<SlotIndex> {
        let part = &self.request.resources;
        if !class.may_have_room(part) {
            return None;
        }
        let extra_of = |slot: SlotIndex| {
            leanings.iter().find(|(of, _)| *of == slot).map_or(0.0, |(_, extra)| *extra)
        };
        if self.own.is_none() {
            let shared = class.ranking(slots);
            loop {
                let best = shared.best()?;
                let slot = slots.at(best.slot);
                if slot.generation != best.generation {
                    shared.set(best.place, Some(slots.score(best.slot, extra_of(best.slot))));
                } else if slot.has_room(part) {
                    return Some(best.slot);
                } else {
                    break;
                }
            }
        }
        let own = self.own.get_or_insert_with(|| {
            let with_room = |slot: &SlotIndex| slots.at(*slot).has_room(part);
            let members = class.eligible.iter().copied().filter(with_room).collect();
            Ranking::new(members, |slot| Some(slots.score(slot, extra_of(slot))))
        });
        loop {
            let best = own.best()?;
            let slot = slots.at(best.slot);
            if slot.generation == best.generation {
                return Some(best.slot);
            }
            let score = || slots.score(best.slot, extra_of(best.slot));
            own.set(best.place, slot.has_room(part).then(score));
        }
    }
}
