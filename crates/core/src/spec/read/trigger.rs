//! Which other workflows a workflow follows.

use super::super::path::Path;
use super::super::report::Report;
use super::super::yaml::{Node, Value};
use super::fields::{Fields, Schema};
use super::values::{entries, name, one_of, text, truth};
use crate::ids::{Name, Text};
use crate::limits;
use crate::spec::trigger::{TriggerOn, TriggerSpec};

const TRIGGER: Schema = Schema {
    what: "a trigger",
    fields: &["after", "on", "name", "suspend", "params", "description"],
    later: &["namespace", "when"],
};

/// Reads a list of triggers, or a single one.
pub(super) fn triggers(
    node: &Node<'_>,
    path: Path<'_>,
    report: &mut Report<'_>,
) -> Vec<TriggerSpec> {
    let single = std::slice::from_ref(node);
    let items = match &node.value {
        Value::List(items) => &items[..],
        Value::Scalar { .. } | Value::Map(_) => single,
    };
    if items.len() > limits::TRIGGERS_MAX {
        let (count, max) = (items.len(), limits::TRIGGERS_MAX);
        report.error(path, format!("{count} triggers are too many; at most {max} are possible"));
        return Vec::new();
    }
    let read = |(at, item)| trigger(at, item, path.index(at), report);
    items.iter().enumerate().map(read).collect()
}

/// What cannot be read is left at a stand-in, so that those after it keep their places; the report is not clean then.
fn trigger(at: usize, node: &Node<'_>, path: Path<'_>, report: &mut Report<'_>) -> TriggerSpec {
    let own = Name::parse(&format!("trigger-{}", at + 1)).expect("it is a name");
    // Another one each, so that nothing is said of two that follow the same workflow.
    let mut spec = TriggerSpec::new(own.clone(), own);
    let Some(fields) = Fields::open(node, path, &TRIGGER, report) else { return spec };
    match fields.get("after") {
        Some(node) => spec.after = name(node, path.key("after"), report).unwrap_or(spec.after),
        None if fields.has("after") => report.error(path.key("after"), "`after` is empty"),
        None if fields.has_unknown() => {}
        None => {
            let help = "add `after:` with the name of a workflow of the same namespace";
            report.error_with_help(path, "the trigger follows no workflow", help);
        }
    }
    if let Some(node) = fields.get("on") {
        spec.on = one_of(node, path.key("on"), report, &TriggerOn::ALL).unwrap_or_default();
    }
    if let Some(node) = fields.get("name") {
        spec.name = name(node, path.key("name"), report).unwrap_or(spec.name);
    }
    if let Some(node) = fields.get("description") {
        text(node, path.key("description"), report);
    }
    if let Some(node) = fields.get("suspend") {
        spec.is_suspended = truth(node, path.key("suspend"), report);
    }
    if let Some(node) = fields.get("params") {
        let at = path.key("params");
        for (key, value) in entries(node, at, report) {
            let value = text(value, at.key(key), report);
            let key = super::workflow::key_name(key, at, report);
            spec.params.extend(key.zip(value.map(Text::from)));
        }
    }
    spec
}
