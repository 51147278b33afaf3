//! Quotas, which some seeds have on top of all else: somebody changes again and again what the namespace may have.

use std::time::Duration;

use muster_core::spec::namespace::{NamespaceSpec, Quota};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::{Action, Dice, QUIET, Step};

/// One in so many seeds has quotas, and which one; the others mean what they meant before there were any.
const SEEDS: (u64, u64) = (8, 3);

/// Adds somebody who changes quotas, if this seed has such a one. What else the seed means stays as it was.
pub(super) fn add(seed: u64, lasts: Duration, clients: &mut Vec<Vec<Step>>) {
    if seed % SEEDS.0 != SEEDS.1 {
        return;
    }
    let mut dice = Dice(SmallRng::seed_from_u64(seed.rotate_left(40)));
    let mut steps = Vec::new();
    let mut passed = Duration::ZERO;
    while passed < QUIET + lasts {
        let pause = dice.millis(50, 1_500);
        passed += pause;
        steps.push(Step { pause, action: namespace(&mut dice) });
    }
    clients.push(steps);
}

fn namespace(dice: &mut Dice) -> Action {
    let mut some = |percent, least: u32, most: u32| {
        let count = dice.0.random_range(least..=most);
        dice.chance(percent).then_some(count)
    };
    let (runs, tasks, halves) = (some(50, 1, 12), some(70, 1, 5), some(40, 1, 5));
    let cpu_millis = halves.map(|halves| u64::from(halves) * 500);
    let weight = dice.0.random_range(1..5);
    let quota = Quota { runs, tasks, cpu_millis, ..Quota::default() };
    Action::Namespace(Box::new(NamespaceSpec { weight, quota, ..super::namespace() }))
}
