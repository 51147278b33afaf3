//! Approvals, which some seeds have on top of all else: in their workflows, and answered or not by who submits them.

use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::{Action, Dice, Step};
use crate::workflow::{APPROVAL, with_approval};

/// One in so many seeds has approvals, and which one; the others mean what they meant before there were any.
const SEEDS: (u64, u64) = (8, 6);

/// Adds approvals to what clients do, if this seed has them. What else the seed means stays as it was.
pub(super) fn add(seed: u64, clients: &mut [Vec<Step>]) {
    if seed % SEEDS.0 != SEEDS.1 {
        return;
    }
    let mut dice = Dice(SmallRng::seed_from_u64(seed.rotate_left(8)));
    for steps in clients {
        let old = std::mem::take(steps);
        for mut step in old {
            let (Action::Submit(workflow) | Action::Apply(workflow)) = &mut step.action else {
                steps.push(step);
                continue;
            };
            let is_scheduled = workflow.text.contains("schedule:");
            if !is_scheduled && dice.chance(50) {
                *workflow = with_approval(&mut dice.0, workflow);
            }
            let is_asked = workflow.text.contains("approval:");
            let is_submitted = matches!(step.action, Action::Submit(_));
            steps.push(step);
            if is_asked && is_submitted && dice.chance(80) {
                steps.extend(answers(&mut dice));
            }
        }
    }
}

/// What a person says to the approval of the latest run; some say it twice, or change their mind.
fn answers(dice: &mut Dice) -> Vec<Step> {
    let count = if dice.chance(30) { 2 } else { 1 };
    let answer = |_| {
        let pause = if dice.chance(40) { Duration::ZERO } else { dice.millis(0, 700) };
        Step { pause, action: Action::Answer(0, APPROVAL, dice.chance(60)) }
    };
    (0..count).map(answer).collect()
}
