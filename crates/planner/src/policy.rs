//! The tunables of the planner. Apply never reads them, so masters may disagree about them.

use muster_core::limits::ITEMS_PER_COMMAND_MAX;
use muster_core::time::Millis;

/// What to do with capacity that several workers have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Strategy {
    /// Keep all workers equally full: short waits, and the loss of a worker costs little.
    #[default]
    Spread,
    /// Fill the fullest worker first, as it was before the pass, so that others stay empty and can be switched off.
    BinPack,
}

/// How much each consideration counts. A worker's score is a sum of points; the highest score wins, and between equal
/// ones the worker with fewer attempts (spread only), then the one that registered first.
///
/// Each weight is what the consideration amounts to at its extreme. Use `0.0..=10_000.0`; a negative weight or one
/// that is not a number counts as zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weights {
    /// Reserved share of the worker's scarcest resource: `spread` subtracts what it would be with one core more taken,
    /// `binPack` adds what it was before the pass.
    pub fill: f64,
    /// Subtracted for a cpu that is busy all the time.
    pub cpu: f64,
    /// Subtracted for memory that is all in use.
    pub memory: f64,
    /// Subtracted for a run queue of two threads a core.
    pub run_queue: f64,
    /// Subtracted for a network in full use.
    pub network: f64,
    /// Subtracted from a worker that is silent for longer than [`Policy::silence_max`].
    pub silence: f64,
    /// Added for a worker that ran all upstream tasks; in proportion if it ran some of them.
    pub locality: f64,
    /// Subtracted from the worker on which the attempt before failed or was lost.
    pub avoid: f64,
}

impl Default for Weights {
    /// `avoid` and `silence` outweigh all the others together: such a worker is used only if no other has room.
    fn default() -> Self {
        Weights {
            fill: 100.0,
            cpu: 30.0,
            memory: 20.0,
            run_queue: 30.0,
            network: 10.0,
            silence: 1000.0,
            locality: 25.0,
            avoid: 1000.0,
        }
    }
}

/// See the module documentation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// Spread or fill.
    pub strategy: Strategy,
    /// How much each consideration counts.
    pub weights: Weights,
    /// A connected worker that is silent for longer than this is used only reluctantly: it may be about to be lost.
    /// More than one heartbeat interval, less than a lease.
    pub silence_max: Millis,
    /// Most placements in one plan, `1..=`[`ITEMS_PER_COMMAND_MAX`]. Indices that one worker gets of an array task are
    /// one.
    pub placements_max: usize,
    /// Most attempts in one plan, at least 1: every index counts. Bounds the time of a pass and the burst of
    /// dispatches.
    pub attempts_max: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            strategy: Strategy::default(),
            weights: Weights::default(),
            silence_max: Millis::from_secs(2),
            placements_max: 4096,
            attempts_max: 65_536,
        }
    }
}

impl Policy {
    /// The policy with every value moved into its range.
    pub(crate) fn in_range(&self) -> Policy {
        // `f64::max` gives the other value for one that is not a number.
        let at_least_zero = |weight: f64| weight.max(0.0);
        let weights = Weights {
            fill: at_least_zero(self.weights.fill),
            cpu: at_least_zero(self.weights.cpu),
            memory: at_least_zero(self.weights.memory),
            run_queue: at_least_zero(self.weights.run_queue),
            network: at_least_zero(self.weights.network),
            silence: at_least_zero(self.weights.silence),
            locality: at_least_zero(self.weights.locality),
            avoid: at_least_zero(self.weights.avoid),
        };
        Policy {
            weights,
            placements_max: self.placements_max.clamp(1, ITEMS_PER_COMMAND_MAX),
            attempts_max: self.attempts_max.max(1),
            ..*self
        }
    }
}
