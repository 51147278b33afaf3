//! Fair shares: what each namespace with ready tasks has of the cluster, and whose turn it is.
//!
//! A namespace's share is the largest part that its live attempts take of any one resource of all workers together
//! (dominant resource fairness: Ghodsi et al., NSDI 2011). Resources other than cpu and memory count among tasks that
//! ask for them: who holds the only licence must not wait for everybody else with tasks that need none. Who has least
//! comes next, until it has as much as the next one. So shares are of what runs, not of what was started lately: a
//! namespace with ten tasks does not wait behind ten thousand of another, and a namespace alone may take everything.
//!
//! A namespace of weight 3 counts as having a third of what it has. One whose quota is full is out of the pass: nobody
//! waits for it. So are tasks of a concurrency group that is full.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use muster_core::ids::Name;
use muster_core::spec::namespace::Quota;
use muster_core::spec::{Request, Resources};
use muster_core::state::queue::ReadyKey;
use muster_core::state::{State, Usage};

use crate::ATTEMPTS_PER_WORKER_MAX;
use crate::group::Group;
use crate::plan::Limit;
use crate::slot::Slots;

/// In one turn a namespace gets so much of the cluster more than the next one has, if that is more than one attempt:
/// to go by single attempts would cut array tasks into single indices.
pub(crate) const TURN: f64 = 1.0 / 256.0;

/// Part of the cluster: 0 is nothing, 1 all of some resource.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Share(pub(crate) f64);

impl Share {
    /// What of it counts where namespaces of different weights are compared.
    pub(crate) fn weighed(self, weight: u32) -> Share {
        Share(self.0 / f64::from(weight))
    }

    pub(crate) fn percent(self) -> u32 {
        (self.0 * 100.0).round() as u32
    }
}

impl Eq for Share {}

impl PartialOrd for Share {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Share {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// All that the workers have, which shares are of.
pub(crate) struct Whole {
    capacity: Resources,
    attempts: f64,
}

impl Whole {
    pub(crate) fn of(slots: &Slots<'_>) -> Self {
        let mut capacity = Resources::ZERO;
        slots.iter().for_each(|(_, slot)| capacity.add(&slot.worker.capacity, 1));
        let attempts = slots.len() as f64 * f64::from(ATTEMPTS_PER_WORKER_MAX);
        Whole { capacity, attempts: attempts.max(1.0) }
    }

    /// The share of so much in so many attempts, as far as tasks compete for it that ask for `wanted`: cpu, memory, the
    /// number of attempts, and whatever else is in `wanted`.
    pub(crate) fn share(&self, usage: &Usage, wanted: &Resources) -> Share {
        let of = |part: u64, whole: u64| match part {
            0 => 0.0,
            part => part as f64 / whole.max(1) as f64,
        };
        let custom = wanted.custom.keys().map(|name| {
            let amount = |resources: &Resources| resources.custom.get(name).copied().unwrap_or(0);
            of(amount(&usage.used), amount(&self.capacity))
        });
        let plain = [
            of(usage.used.cpu_millis, self.capacity.cpu_millis),
            of(usage.used.memory_bytes, self.capacity.memory_bytes),
            f64::from(usage.attempts) / self.attempts,
        ];
        Share(plain.into_iter().chain(custom).fold(0.0, f64::max))
    }

    /// The share of what the live attempts of a namespace take, as far as tasks compete for it that ask for `wanted`.
    pub(crate) fn share_of(&self, state: &State, namespace: &Name, wanted: &Resources) -> Share {
        state.used_by(namespace).map_or(Share(0.0), |usage| self.share(usage, wanted))
    }

    /// How many attempts that take `part` a namespace of this weight, of which `share` counts, may place before it is
    /// the turn of one of which `next` counts.
    pub(crate) fn turn(&self, share: Share, next: Share, weight: u32, part: &Resources) -> u32 {
        let one = self.share(&Usage { used: part.clone(), attempts: 1, ..Usage::default() }, part);
        let attempts = ((next.0 - share.0) * f64::from(weight) + TURN) / one.0;
        // What is beyond the range of an integer becomes the nearest.
        (attempts as u32).max(1)
    }
}

/// A namespace with ready tasks.
pub(crate) struct Party<'a> {
    pub(crate) groups: Vec<Group<'a>>,
    /// The first task of each group. Smallest key first; no key is in two groups.
    pub(crate) heads: BinaryHeap<Reverse<(ReadyKey, usize)>>,
    state: &'a State,
    namespace: &'a Name,
    /// What its attempts take, this pass's included.
    usage: Usage,
    pub(crate) weight: u32,
    quota: Option<&'a Quota>,
}

impl<'a> Party<'a> {
    pub(crate) fn new(state: &'a State, namespace: &'a Name, mut groups: Vec<Group<'a>>) -> Self {
        let heads = groups.iter_mut().enumerate();
        let heads = heads.filter_map(|(at, group)| Some(Reverse((group.next_task()?, at))));
        let heads = heads.collect();
        let usage = state.used_by(namespace).cloned().unwrap_or_default();
        let (weight, quota) = (state.weight_of(namespace), state.quota_of(namespace));
        Party { groups, heads, state, namespace, usage, weight, quota }
    }

    /// Less is served first; of equal ones who has the earlier task. What it has counts by its weight, as far as its
    /// first task competes for it. `None` if nothing of it is left.
    pub(crate) fn rank(&self, whole: &Whole) -> Option<(Share, ReadyKey)> {
        let Reverse((key, position)) = self.heads.peek()?;
        let wanted = &self.groups[*position].request.resources;
        Some((whole.share(&self.usage, wanted).weighed(self.weight), *key))
    }

    /// How many more attempts with this request may be live, and what does not let more.
    pub(crate) fn room(&self, request: &Request) -> (u32, Limit) {
        let quota = self.quota.map_or(u32::MAX, |it| it.room(&self.usage, &request.resources));
        let groups = self.state.group_room(self.namespace, &self.usage, request);
        if quota <= groups { (quota, Limit::Quota) } else { (groups, Limit::Group) }
    }

    /// Notes that it has placed so many attempts.
    pub(crate) fn took(&mut self, request: &Request, attempts: u32) {
        if attempts > 0 {
            self.usage.take(request, attempts);
        }
    }
}
