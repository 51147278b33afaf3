//! Arbitrary triggers, ends that made runs, and what is decided about schedules.

use muster_core::command::{Command, FireSchedule, SuspendSchedule};
use muster_core::ids::RunId;
use muster_core::spec::trigger::{TriggerOn, TriggerSpec};
use muster_core::state::hooks::RunResult;
use muster_core::state::run::TriggerOrigin;
use muster_core::state::workflow::NextFire;
use muster_core::time::Timestamp;
use proptest::collection::{btree_map, vec};
use proptest::option::of;
use proptest::prelude::*;

use crate::generate::{key, name, number, text};

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

pub(crate) fn command() -> impl Strategy<Value = Command> {
    let at = || number().prop_map(Timestamp);
    let next = prop_oneof![
        Just(NextFire::Unknown),
        (at(), at()).prop_map(|(fire_time, due_at)| NextFire::At { fire_time, due_at }),
        Just(NextFire::Never),
    ];
    let what = (number(), number(), name(), at(), at());
    let fire =
        (what, vec(at(), 0..3), number(), next).prop_map(|(what, fire_times, missed, next)| {
            let (workflow, version, schedule, after, until) = what;
            FireSchedule { workflow, version, schedule, after, until, fire_times, missed, next }
        });
    let suspend = (key(), name(), name(), of(name()), any::<bool>()).prop_map(
        |(request, namespace, workflow, schedule, is_suspended)| SuspendSchedule {
            request,
            namespace,
            workflow,
            schedule,
            is_suspended,
        },
    );
    prop_oneof![fire.prop_map(Command::FireSchedule), suspend.prop_map(Command::SuspendSchedule),]
}
