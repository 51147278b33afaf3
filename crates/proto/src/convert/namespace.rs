//! Namespaces: as users write them, and as they are kept.

use muster_core::command::ApplyNamespace;
use muster_core::ids::Name;
use muster_core::spec::namespace::{GroupSpec, NamespaceSpec, Quota};
use muster_core::state::namespace::Namespace;
use muster_core::time::Timestamp;

use super::error::DecodeError;
use super::log::{key_from_proto, key_to_proto};
use super::read::{Within, name, required};
use crate::internal::v1 as stored;
use crate::v1;

/// A namespace as a message.
pub fn namespace_to_proto(spec: &NamespaceSpec) -> v1::NamespaceSpec {
    let Quota { runs, tasks, cpu_millis, memory_bytes } = spec.quota;
    v1::NamespaceSpec {
        name: spec.name.to_string(),
        weight: Some(spec.weight),
        quota: Some(v1::Quota { runs, tasks, cpu_millis, memory_bytes }),
        concurrency: spec.groups.iter().map(group_to_proto).collect(),
    }
}

fn group_to_proto((name, group): (&Name, &GroupSpec)) -> v1::ConcurrencyGroup {
    v1::ConcurrencyGroup { name: name.to_string(), limit: Some(group.limit) }
}

fn group_from_proto(group: v1::ConcurrencyGroup) -> Result<(Name, GroupSpec), DecodeError> {
    let limit = required("limit", group.limit)?;
    Ok((name("name", &group.name)?, GroupSpec { limit }))
}

/// A namespace from a message. What is absent is at its default.
pub fn namespace_from_proto(spec: v1::NamespaceSpec) -> Result<NamespaceSpec, DecodeError> {
    let usual = NamespaceSpec::new(name("name", &spec.name)?);
    let v1::Quota { runs, tasks, cpu_millis, memory_bytes } = spec.quota.unwrap_or_default();
    let groups = spec.concurrency.into_iter().enumerate();
    let groups =
        groups.map(|(at, group)| group_from_proto(group).within_element("concurrency", at));
    Ok(NamespaceSpec {
        weight: spec.weight.unwrap_or(usual.weight),
        quota: Quota { runs, tasks, cpu_millis, memory_bytes },
        groups: groups.collect::<Result<_, DecodeError>>()?,
        ..usual
    })
}

pub(super) fn apply_to_proto(it: &ApplyNamespace) -> stored::ApplyNamespace {
    stored::ApplyNamespace {
        request: key_to_proto(it.request.as_ref()),
        spec: Some(namespace_to_proto(&it.spec)),
    }
}

pub(super) fn apply_from_proto(it: stored::ApplyNamespace) -> Result<ApplyNamespace, DecodeError> {
    Ok(ApplyNamespace {
        request: it.request.map(key_from_proto),
        spec: namespace_from_proto(required("spec", it.spec)?).within("spec")?,
    })
}

pub(super) fn stored_to_proto(namespace: &Namespace) -> stored::StoredNamespace {
    stored::StoredNamespace {
        id: namespace.id,
        spec: Some(namespace_to_proto(&namespace.spec)),
        applied_at_ms: namespace.applied_at.0,
    }
}

pub(super) fn stored_from_proto(it: stored::StoredNamespace) -> Result<Namespace, DecodeError> {
    Ok(Namespace {
        id: it.id,
        spec: namespace_from_proto(required("spec", it.spec)?).within("spec")?,
        applied_at: Timestamp(it.applied_at_ms),
    })
}
