//! A document that says what a namespace may have.

use std::collections::BTreeMap;

use super::super::path::Path;
use super::super::quantity;
use super::super::report::{NO_HELP, Report};
use super::super::yaml::Node;
use super::fields::{Fields, Schema};
use super::values::{entries, integer, name, name_help, parsed, text};
use super::workflow::{expect, required};
use crate::ids::Name;
use crate::spec::namespace::{GroupSpec, NamespaceError, NamespaceSpec, Quota};

const NAMESPACE: Schema = Schema {
    what: "a namespace",
    fields: &["apiVersion", "kind", "name", "description", "weight", "quota", "concurrency"],
    later: &["labels", "annotations"],
};

const QUOTA: Schema =
    Schema { what: "a quota", fields: &["runs", "tasks", "cpu", "memory"], later: &[] };

/// Reads the namespace in `root`. What comes back is meaningful only while `report` is clean.
pub(in super::super) fn namespace(
    root: &Node<'_>,
    report: &mut Report<'_>,
) -> Option<NamespaceSpec> {
    let top = Path::Root;
    let fields = Fields::open(root, top, &NAMESPACE, report)?;
    expect(&fields, "apiVersion", "v1", root, report);
    let name = required(&fields, "name", "its name", (root, "namespace"), report)
        .and_then(|node| name(node, top.key("name"), report));
    if let Some(node) = fields.get("description") {
        text(node, top.key("description"), report);
    }
    let weight = fields.get("weight").map(|node| integer(node, top.key("weight"), report));
    let quota = fields.get("quota").map(|node| quota(node, top.key("quota"), report));
    let groups = fields.get("concurrency").map(|it| groups(it, top.key("concurrency"), report));
    let mut spec = NamespaceSpec::new(name?);
    spec.weight = weight.unwrap_or(Some(spec.weight))?;
    spec.quota = quota.unwrap_or_default();
    spec.groups = groups.unwrap_or_default();
    if let Err(error) = spec.check() {
        let at = top.key("quota");
        match error {
            NamespaceError::Weight { .. } => {
                let help = "to keep a namespace small write a quota; `quota: {tasks: 0}` stops it";
                report.error_with_help(top.key("weight"), error.to_string(), help);
            }
            NamespaceError::Amount { what } => {
                report.error_with_help(at.key(what), error.to_string(), NO_HELP);
            }
            NamespaceError::Groups { .. } => {
                report.error_with_help(top.key("concurrency"), error.to_string(), NO_HELP);
            }
        }
    }
    Some(spec)
}

fn quota(node: &Node<'_>, path: Path<'_>, report: &mut Report<'_>) -> Quota {
    let mut quota = Quota::default();
    let Some(fields) = Fields::open(node, path, &QUOTA, report) else { return quota };
    let mut count = |field| fields.get(field).and_then(|it| integer(it, path.key(field), report));
    (quota.runs, quota.tasks) = (count("runs"), count("tasks"));
    let cpu = fields.get("cpu");
    quota.cpu_millis = cpu.and_then(|it| parsed(it, path.key("cpu"), report, quantity::parse_cpu));
    let memory = fields.get("memory");
    quota.memory_bytes =
        memory.and_then(|it| parsed(it, path.key("memory"), report, quantity::parse_memory));
    quota
}

/// The groups by name, each with its limit.
fn groups(node: &Node<'_>, path: Path<'_>, report: &mut Report<'_>) -> BTreeMap<Name, GroupSpec> {
    let mut groups = BTreeMap::new();
    for (key, value) in entries(node, path, report) {
        let name = Name::parse(key);
        if let Err(error) = &name {
            report.key_error(path.key(key), error.to_string(), name_help(key));
        }
        let limit = integer(value, path.key(key), report);
        if let (Ok(name), Some(limit)) = (name, limit) {
            groups.insert(name, GroupSpec { limit });
        }
    }
    groups
}
