//! Triggers, which some seeds have on top of all else: workflows that follow those which clients and schedules run, and
//! each other.

use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::{Action, Dice, QUIET, Step};
use crate::workflow::draw_following;

/// One in so many seeds has triggers, and which one; the others mean what they meant before there were any.
const SEEDS: (u64, u64) = (8, 7);
/// Workflows that nobody submits. Each may follow the other: what makes a circle is refused.
const FOLLOWERS: [&str; 2] = ["zeta", "eta"];
/// What they follow besides.
const FOLLOWED: [&str; 5] = ["alpha", "beta", "gamma", "delta", "epsilon"];

/// Adds somebody who looks after triggers, if this seed has such a one. What else the seed means stays as it was.
pub(super) fn add(seed: u64, lasts: Duration, clients: &mut Vec<Vec<Step>>) {
    if seed % SEEDS.0 != SEEDS.1 {
        return;
    }
    let mut dice = Dice(SmallRng::seed_from_u64(seed.rotate_left(56)));
    let mut steps = Vec::new();
    let mut passed = Duration::ZERO;
    while passed < QUIET + lasts {
        let at = dice.below(FOLLOWERS.len());
        // Both are there from the beginning.
        let action = match steps.len() {
            0 | 1 => apply(&mut dice, steps.len()),
            _ => match dice.below(100) {
                0..60 => apply(&mut dice, at),
                60..75 => Action::Suspend(FOLLOWERS[at], true),
                _ => Action::Suspend(FOLLOWERS[at], false),
            },
        };
        let pause = dice.millis(50, 1_500);
        passed += pause;
        steps.push(Step { pause, action });
    }
    clients.push(steps);
}

fn apply(dice: &mut Dice, at: usize) -> Action {
    let mut after: Vec<&str> = FOLLOWED.into_iter().filter(|_| dice.chance(60)).collect();
    if dice.chance(50) {
        after.push(FOLLOWERS[1 - at]);
    }
    Action::Apply(draw_following(&mut dice.0, FOLLOWERS[at], &after))
}
