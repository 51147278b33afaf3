//! Concurrency groups, which some seeds have on top of all else: many tasks name them, and somebody changes again and
//! again what they let be live.

use std::time::Duration;

use muster_core::ids::Name;
use muster_core::spec::namespace::{GroupSpec, NamespaceSpec, Quota};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::{Action, Dice, QUIET, Step};
use crate::workflow::{GROUPS, with_groups};

/// One in so many seeds has groups, and which one; the others mean what they meant before there were any.
const SEEDS: (u64, u64) = (8, 7);
/// So much of a group is never live at once.
const UNREACHED: u32 = 1_000;

/// Adds groups to what clients do, and somebody who changes them, if this seed has them. What else the seed means stays
/// as it was.
pub(super) fn add(seed: u64, lasts: Duration, clients: &mut Vec<Vec<Step>>) {
    if seed % SEEDS.0 != SEEDS.1 {
        return;
    }
    let mut dice = Dice(SmallRng::seed_from_u64(seed.rotate_left(16)));
    for step in clients.iter_mut().flatten() {
        if let Action::Submit(workflow) | Action::Apply(workflow) = &mut step.action
            && dice.chance(70)
        {
            *workflow = with_groups(&mut dice.0, workflow);
        }
    }
    // Before most workflows name them.
    let mut steps = vec![Step { pause: Duration::ZERO, action: changed(&mut dice, 0) }];
    let mut passed = Duration::ZERO;
    while passed < QUIET + lasts {
        let pause = dice.millis(50, 1_500);
        passed += pause;
        steps.push(Step { pause, action: changed(&mut dice, 10) });
    }
    clients.push(steps);
}

/// The namespace with other limits, and with the given chance in percent without one of the groups.
fn changed(dice: &mut Dice, without: u32) -> Action {
    let mut namespace = super::namespace();
    for group in GROUPS {
        let limit = dice.0.random_range(0..5);
        namespace.groups.insert(name(group), GroupSpec { limit });
    }
    if dice.chance(without) {
        namespace.groups.remove(&name(GROUPS[dice.below(GROUPS.len())]));
    }
    Action::Namespace(Box::new(namespace))
}

/// The namespace without a quota; if it has groups, all of them, and with limits that keep nobody waiting.
pub(crate) fn freed(namespace: &NamespaceSpec) -> NamespaceSpec {
    let mut freed = NamespaceSpec { weight: 1, quota: Quota::default(), ..namespace.clone() };
    if !freed.groups.is_empty() {
        freed.groups = GROUPS.map(|it| (name(it), GroupSpec { limit: UNREACHED })).into();
    }
    freed
}

fn name(text: &str) -> Name {
    Name::parse(text).expect("it is a name")
}
