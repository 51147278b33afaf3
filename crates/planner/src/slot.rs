//! The workers as one pass sees them: what is left of each, and how good a place each is.

use muster_core::ids::WorkerId;
use muster_core::mutant::{self, Mutant};
use muster_core::spec::Resources;
use muster_core::state::worker::{Worker, WorkerStatus};
use muster_core::state::{Holding, State};

use crate::ATTEMPTS_PER_WORKER_MAX;
use crate::policy::{Policy, Strategy};
use crate::view::{LiveView, WorkerView};

/// Whether a worker takes anything new at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    Available,
    Draining,
    NotConnected,
}

/// What `spread` takes a further task for.
const NOMINAL_CPU_MILLIS: u64 = 1000;

/// Position of a worker in [`Slots`].
pub(crate) type SlotIndex = u32;

/// One worker.
pub(crate) struct Slot<'a> {
    pub(crate) worker: &'a Worker,
    pub(crate) presence: Presence,
    /// What is left, this pass's placements taken off.
    pub(crate) free: Resources,
    /// How many attempts it has, this pass's included; counted only when somebody wants to know.
    attempts: Option<u32>,
    holding: Option<&'a Holding>,
    /// What the live load takes off its score.
    burden: f64,
    /// Reserved share before the pass; only `binPack` wants to know.
    fill_before: f64,
    cpu_scale: Scale,
    memory_scale: Scale,
    /// Counts the placements, so that a score made before one is known to be out of date.
    pub(crate) generation: u16,
}

/// How good a place a worker is right now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Score {
    /// More is better.
    pub(crate) points: f64,
    /// Decides between equal points: fewer is better.
    pub(crate) attempts: u32,
    /// The slot's generation when the score was made.
    pub(crate) generation: u16,
}

/// All registered workers that are not lost, by id.
pub(crate) struct Slots<'a> {
    list: Vec<Slot<'a>>,
    policy: Policy,
}

impl<'a> Slots<'a> {
    pub(crate) fn new(state: &'a State, view: &LiveView, policy: &Policy) -> Self {
        let policy = policy.in_range();
        let mut list = Vec::with_capacity(state.workers().len());
        let mut views = view.workers.iter().peekable();
        for worker in state.workers().iter() {
            while views.next_if(|(id, _)| **id < worker.id).is_some() {}
            let seen = views.next_if(|(id, _)| **id == worker.id).map(|(_, view)| *view);
            if matches!(worker.status, WorkerStatus::Lost { .. }) {
                continue;
            }
            let holding = state.held_by(worker.id);
            list.push(Slot::new(worker, holding, seen.unwrap_or_default(), &policy));
        }
        Slots { list, policy }
    }

    pub(crate) fn policy(&self) -> &Policy {
        &self.policy
    }

    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn at(&self, slot: SlotIndex) -> &Slot<'a> {
        &self.list[slot as usize]
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (SlotIndex, &Slot<'a>)> {
        (0..).zip(&self.list)
    }

    /// The position of a worker; `None` if it is lost or was never registered.
    pub(crate) fn find(&self, worker: WorkerId) -> Option<SlotIndex> {
        let found = self.list.binary_search_by_key(&worker, |slot| slot.worker.id);
        found.ok().map(|position| position as SlotIndex)
    }

    /// Counts the attempts of a worker, if nobody did yet.
    pub(crate) fn count_attempts(&mut self, slot: SlotIndex) {
        let slot = &mut self.list[slot as usize];
        slot.attempts = Some(slot.attempts());
    }

    /// How good a place the worker is, `extra` points added. Whether a request finds room there is another question.
    pub(crate) fn score(&self, index: SlotIndex, extra: f64) -> Score {
        let slot = self.at(index);
        let fill = self.policy.weights.fill;
        let (strategy_points, attempts) = match self.policy.strategy {
            Strategy::Spread => (-fill * slot.fill(true), slot.attempts()),
            // Fixed for the pass: whatever the task, the same worker is filled up next.
            Strategy::BinPack => (fill * slot.fill_before, 0),
        };
        let points = strategy_points - slot.burden + extra;
        Score { points, attempts, generation: slot.generation }
    }

    /// Books `count` attempts that take `part` each.
    pub(crate) fn take(&mut self, index: SlotIndex, part: &Resources, count: u32) {
        let slot = &mut self.list[index as usize];
        slot.free.sub(part, count);
        slot.attempts = Some(slot.attempts().saturating_add(count));
        // A pass books at most `ATTEMPTS_PER_WORKER_MAX` times on one worker: no generation comes twice.
        slot.generation = slot.generation.wrapping_add(1);
    }
}

impl<'a> Slot<'a> {
    fn new(
        worker: &'a Worker,
        holding: Option<&'a Holding>,
        view: WorkerView,
        policy: &Policy,
    ) -> Self {
        let presence = match worker.status {
            WorkerStatus::Active if view.is_connected => Presence::Available,
            WorkerStatus::Active => Presence::NotConnected,
            WorkerStatus::Draining | WorkerStatus::Lost { .. } => Presence::Draining,
        };
        let free = match holding {
            Some(_) if mutant::is_on(Mutant::CapacityUnchecked) => worker.capacity.clone(),
            Some(holding) => worker.capacity.minus(&holding.used),
            None => worker.capacity.clone(),
        };
        let mut slot = Slot {
            worker,
            presence,
            free,
            attempts: None,
            holding,
            burden: burden(&view, policy),
            fill_before: 0.0,
            cpu_scale: Scale::of(worker.capacity.cpu_millis),
            memory_scale: Scale::of(worker.capacity.memory_bytes),
            generation: 0,
        };
        if policy.strategy == Strategy::BinPack {
            slot.fill_before = slot.fill(false);
        }
        slot
    }

    /// How many live attempts the worker has, this pass's included.
    pub(crate) fn attempts(&self) -> u32 {
        self.attempts.unwrap_or_else(|| {
            self.holding.map_or(0, |holding| {
                holding.tasks.values().fold(0, |sum: u32, count| sum.saturating_add(*count))
            })
        })
    }

    /// Whether one more attempt that takes `part` finds room.
    pub(crate) fn has_room(&self, part: &Resources) -> bool {
        holds(&self.free, part) && !self.is_crowded()
    }

    /// Whether it has as many attempts as a worker may get.
    pub(crate) fn is_crowded(&self) -> bool {
        self.attempts() >= ATTEMPTS_PER_WORKER_MAX
    }

    /// How many more attempts that take `part` each find room.
    pub(crate) fn fits(&self, part: &Resources) -> u32 {
        self.free.fits(part).min(ATTEMPTS_PER_WORKER_MAX.saturating_sub(self.attempts()))
    }

    /// The taken share of the scarcest resource, `0.0..=1.0`. Attempts count as a share of [`ATTEMPTS_PER_WORKER_MAX`].
    ///
    /// With `one_more`, the cpu counts as if one core more were taken, so that an empty small worker is not as good as
    /// an empty large one. What the task at hand takes does not enter: then workers would rank differently for each
    /// request.
    fn fill(&self, one_more: bool) -> f64 {
        let core = if one_more { NOMINAL_CPU_MILLIS } else { 0 };
        let cpu = self.cpu_scale.taken(self.free.cpu_millis.saturating_sub(core));
        let memory = self.memory_scale.taken(self.free.memory_bytes);
        let attempts = f64::from(self.attempts()) * (1.0 / f64::from(ATTEMPTS_PER_WORKER_MAX));
        let mut fill = cpu.max(memory).max(attempts);
        for (name, capacity) in &self.worker.capacity.custom {
            let left = self.free.custom.get(name).copied().unwrap_or(0);
            fill = fill.max(Scale::of(*capacity).taken(left));
        }
        fill
    }
}

/// Turns what is left of a quantity into the share that is taken, without dividing.
#[derive(Clone, Copy)]
struct Scale {
    all: f64,
    inverse: f64,
}

impl Scale {
    fn of(capacity: u64) -> Scale {
        // Of nothing, no share can be taken.
        if capacity == 0 {
            Scale { all: 0.0, inverse: 0.0 }
        } else {
            Scale { all: 1.0, inverse: 1.0 / capacity as f64 }
        }
    }

    fn taken(self, left: u64) -> f64 {
        self.all - left as f64 * self.inverse
    }
}

/// Whether `part` fits into `have` at least once. The same as `have.fits(part) > 0`, without dividing.
pub(crate) fn holds(have: &Resources, part: &Resources) -> bool {
    part.cpu_millis <= have.cpu_millis
        && part.memory_bytes <= have.memory_bytes
        && part
            .custom
            .iter()
            .all(|(name, need)| *need <= have.custom.get(name).copied().unwrap_or(0))
}

/// What the live load takes off a worker's score.
fn burden(view: &WorkerView, policy: &Policy) -> f64 {
    let (load, weights) = (&view.load, &policy.weights);
    let silence = if view.heartbeat_age > policy.silence_max { weights.silence } else { 0.0 };
    weights.cpu * load.cpu()
        + weights.memory * load.memory()
        + weights.run_queue * load.run_queue()
        + weights.network * load.network()
        + silence
}
