//! Arbitrary namespaces, and what is absent of one.

use muster_core::command::{ApplyNamespace, Command};
use muster_core::spec::namespace::{GroupSpec, NamespaceSpec, Quota};
use muster_proto::convert::namespace_from_proto;
use muster_proto::v1;
use proptest::collection::btree_map;
use proptest::option::of;
use proptest::prelude::*;

use crate::generate::{key, name, number, small};

pub(crate) fn apply_namespace() -> impl Strategy<Value = Command> {
    let quota = (of(small()), of(small()), of(number()), of(number())).prop_map(
        |(runs, tasks, cpu_millis, memory_bytes)| Quota { runs, tasks, cpu_millis, memory_bytes },
    );
    let groups = btree_map(name(), small().prop_map(|limit| GroupSpec { limit }), 0..3);
    (key(), name(), small(), quota, groups).prop_map(|(request, name, weight, quota, groups)| {
        let spec = NamespaceSpec { name, weight, quota, groups };
        Command::ApplyNamespace(ApplyNamespace { request, spec })
    })
}

#[test]
fn a_group_has_a_limit_and_a_namespace_of_before_has_no_groups() {
    let group = |limit| v1::ConcurrencyGroup { name: "db".to_owned(), limit };
    let namespace = |concurrency| v1::NamespaceSpec {
        name: "team".to_owned(),
        weight: None,
        quota: None,
        concurrency,
    };
    let read = |concurrency| namespace_from_proto(namespace(concurrency));
    assert_eq!(read(Vec::new()).expect("it is plain").groups.len(), 0);
    let limit = read(vec![group(Some(0))]).expect("0 is a limit").groups.into_values().next();
    assert_eq!(limit, Some(GroupSpec { limit: 0 }));
    let error = read(vec![group(Some(1)), group(None)]).expect_err("there is no limit");
    assert!(error.to_string().contains("concurrency[1].limit"), "{error}");
}
