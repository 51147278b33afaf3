//! Arbitrary triggers, and ends that made runs.

use muster_core::ids::RunId;
use muster_core::spec::trigger::{TriggerOn, TriggerSpec};
use muster_core::state::hooks::RunResult;
use muster_core::state::run::TriggerOrigin;
use muster_core::time::Timestamp;
use proptest::collection::btree_map;
use proptest::prelude::*;

use crate::generate::{name, number, text};

pub(crate) fn spec() -> impl Strategy<Value = TriggerSpec> {
    let on = prop::sample::select(TriggerOn::ALL.map(|(_, on)| on).to_vec());
    (name(), name(), on, any::<bool>(), btree_map(name(), text(), 0..3)).prop_map(
        |(name, after, on, is_suspended, params)| TriggerSpec {
            name,
            after,
            on,
            is_suspended,
            params,
        },
    )
}

pub(crate) fn origin() -> impl Strategy<Value = TriggerOrigin> {
    let result = prop::sample::select(RunResult::ALL.to_vec());
    (name(), name(), number(), number(), result, number()).prop_map(
        |(trigger, workflow, run, number, result, at)| TriggerOrigin {
            trigger,
            workflow,
            run: RunId(run),
            number,
            result,
            fire_time: Timestamp(at),
        },
    )
}
