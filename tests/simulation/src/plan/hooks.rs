//! Hooks, which some seeds have on top of all else: in their workflows, whose runs are cancelled once or twice.

use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::{Action, Dice, Step};
use crate::workflow::with_hooks;

/// One in so many seeds has hooks, and which one; the others mean what they meant before there were any.
const SEEDS: (u64, u64) = (8, 2);

/// Adds hooks to what clients do, if this seed has them. What else the seed means stays as it was.
pub(super) fn add(seed: u64, clients: &mut [Vec<Step>]) {
    if seed % SEEDS.0 != SEEDS.1 {
        return;
    }
    let mut dice = Dice(SmallRng::seed_from_u64(seed.rotate_left(24)));
    for steps in clients {
        let old = std::mem::take(steps);
        for mut step in old {
            if let Action::Submit(workflow) | Action::Apply(workflow) = &mut step.action
                && dice.chance(70)
            {
                *workflow = with_hooks(&mut dice.0, workflow);
            }
            let may_cancel = matches!(step.action, Action::Submit(_)) && dice.chance(25);
            let is_cancel = matches!(step.action, Action::Cancel(_));
            steps.push(step);
            if may_cancel {
                steps.push(Step { pause: dice.millis(0, 900), action: Action::Cancel(0) });
            }
            if (may_cancel || is_cancel) && dice.chance(50) {
                steps.push(Step { pause: dice.millis(0, 400), action: Action::Cancel(0) });
            }
        }
    }
}
