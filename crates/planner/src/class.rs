//! Workers by pool and selector: what all requests with the same two have in common.

use std::collections::BTreeMap;

use muster_core::ids::Text;
use muster_core::spec::{Request, Resources};

use crate::obstacle::{self, ObstacleKind};
use crate::ranking::Ranking;
use crate::slot::{SlotIndex, Slots, holds};

/// Pool and selector of a request.
type ClassKey<'a> = (&'a Option<Text>, &'a BTreeMap<Text, Text>);

/// The workers seen from one pool and selector.
pub(crate) struct Class {
    /// Those that match and take something new, ascending.
    pub(crate) eligible: Vec<SlotIndex>,
    /// Those that match but drain or are not connected, ascending.
    pub(crate) away: Vec<SlotIndex>,
    /// The others and `away`, by what keeps them off.
    pub(crate) tallies: BTreeMap<ObstacleKind, u32>,
    /// The most cpu and memory any eligible worker had left when the class was made. It only shrinks in a pass, so what
    /// exceeds it fits nowhere.
    most: Resources,
    /// The eligible workers by score; made for the first request that may find room.
    ranking: Option<Ranking>,
}

impl Class {
    pub(crate) fn new(slots: &Slots<'_>, request: &Request) -> Class {
        let mut class = Class {
            eligible: Vec::new(),
            away: Vec::new(),
            tallies: BTreeMap::new(),
            most: Resources::ZERO,
            ranking: None,
        };
        for (index, slot) in slots.iter() {
            let kept_off = if slot.worker.matches(request) {
                obstacle::absence(slot).inspect(|_| class.away.push(index))
            } else {
                obstacle::mismatches(slot, request).next()
            };
            match kept_off {
                Some(kept_off) => *class.tallies.entry(kept_off.kind()).or_default() += 1,
                None => {
                    class.eligible.push(index);
                    let most = &mut class.most;
                    most.cpu_millis = most.cpu_millis.max(slot.free.cpu_millis);
                    most.memory_bytes = most.memory_bytes.max(slot.free.memory_bytes);
                }
            }
        }
        class
    }

    /// Whether some eligible worker might have had room when the class was made. A `false` is certain.
    pub(crate) fn may_have_room(&self, part: &Resources) -> bool {
        part.cpu_millis <= self.most.cpu_millis && part.memory_bytes <= self.most.memory_bytes
    }

    /// The eligible workers by score, whatever room they have. A score may be out of date.
    pub(crate) fn ranking(&mut self, slots: &mut Slots<'_>) -> &mut Ranking {
        self.ranking.get_or_insert_with(|| {
            for slot in &self.eligible {
                slots.count_attempts(*slot);
            }
            Ranking::new(self.eligible.clone(), |slot| Some(slots.score(slot, 0.0)))
        })
    }

    /// Whether one of `of` could hold `part` if it had nothing else to do.
    pub(crate) fn some_could_hold(slots: &Slots<'_>, of: &[SlotIndex], part: &Resources) -> bool {
        of.iter().any(|index| holds(&slots.at(*index).worker.capacity, part))
    }
}

/// The classes that were asked for in one pass.
#[derive(Default)]
pub(crate) struct Classes<'a> {
    by_key: BTreeMap<ClassKey<'a>, usize>,
    list: Vec<Class>,
}

impl<'a> Classes<'a> {
    /// The position of the request's class, which is made if it is the first of its pool and selector.
    pub(crate) fn of(&mut self, slots: &Slots<'_>, request: &'a Request) -> usize {
        let key = (&request.pool, &request.selector);
        *self.by_key.entry(key).or_insert_with(|| {
            self.list.push(Class::new(slots, request));
            self.list.len() - 1
        })
    }

    pub(crate) fn at_mut(&mut self, position: usize) -> &mut Class {
        &mut self.list[position]
    }
}
