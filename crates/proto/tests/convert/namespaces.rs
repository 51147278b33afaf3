//! Arbitrary namespaces.

use muster_core::command::{ApplyNamespace, Command};
use muster_core::spec::namespace::{NamespaceSpec, Quota};
use proptest::option::of;
use proptest::prelude::*;

use crate::generate::{key, name, number, small};

pub(crate) fn apply_namespace() -> impl Strategy<Value = Command> {
    let what = (key(), name(), small(), of(small()), of(small()), of(number()), of(number()));
    what.prop_map(|(request, name, weight, runs, tasks, cpu_millis, memory_bytes)| {
        let quota = Quota { runs, tasks, cpu_millis, memory_bytes };
        let spec = NamespaceSpec { name, weight, quota };
        Command::ApplyNamespace(ApplyNamespace { request, spec })
    })
}
