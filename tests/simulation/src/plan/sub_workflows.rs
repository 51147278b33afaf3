//! Sub-workflows, which some seeds have on top of all else: tasks that start runs of what clients apply.

use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::{Action, Dice, Step};
use crate::workflow::{draw_child, with_sub_workflow};

/// Two in so many seeds have sub-workflows, and which ones; the others mean what they meant before there were any. The
/// second kind has triggers too.
const SEEDS: (u64, [u64; 2]) = (16, [12, 7]);

/// Adds sub-workflows to what clients do, if this seed has them. What else the seed means stays as it was.
pub(super) fn add(seed: u64, clients: &mut [Vec<Step>]) {
    if !SEEDS.1.contains(&(seed % SEEDS.0)) {
        return;
    }
    let mut dice = Dice(SmallRng::seed_from_u64(seed.rotate_left(56)));
    for steps in clients {
        let old = std::mem::take(steps);
        let child = draw_child(&mut dice.0);
        steps.push(Step { pause: Duration::ZERO, action: Action::Apply(child) });
        for mut step in old {
            // Of what is submitted alone, so that runs do not start more and more of them.
            if let Action::Submit(workflow) = &mut step.action
                && dice.chance(70)
            {
                *workflow = with_sub_workflow(&mut dice.0, workflow);
            }
            let is_submitted = matches!(step.action, Action::Submit(_));
            steps.push(step);
            if is_submitted && dice.chance(20) {
                steps.push(Step { pause: dice.millis(0, 900), action: Action::Cancel(0) });
            }
        }
    }
}
