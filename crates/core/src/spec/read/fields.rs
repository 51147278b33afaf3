//! The fields of a map: each known, each once.

use std::collections::BTreeMap;

use super::super::error::quoted;
use super::super::path::Path;
use super::super::report::{FIELD_ALIASES, NO_HELP, Report};
use super::super::suggest;
use super::super::yaml::{Entry, Node, Value};

/// What other schedulers call a field, and what it is called here.
const FOREIGN: [(&str, &str); 51] = [
    ("schedules", "schedule"),
    ("webhook", "webhooks"),
    ("tz", "timeZone"),
    ("misfire", "catchup"),
    ("interval", "every"),
    ("startingDeadlineSeconds", "startingDeadline"),
    ("retries", "retry"),
    ("dependsOn", "needs"),
    ("depends_on", "needs"),
    ("dependencies", "needs"),
    ("requires", "needs"),
    ("upstream", "needs"),
    ("script", "run"),
    ("bash", "run"),
    ("cmd", "command"),
    ("exec", "command"),
    ("entrypoint", "command"),
    ("environment", "env"),
    ("envs", "env"),
    ("cwd", "workingDir"),
    ("dir", "workingDir"),
    ("working-directory", "workingDir"),
    ("when", "if"),
    ("condition", "if"),
    ("trigger_rule", "rule"),
    ("strategy", "matrix"),
    ("withItems", "foreach"),
    ("withParam", "foreach"),
    ("for_each", "foreach"),
    ("forEach", "foreach"),
    ("parameters", "params"),
    ("inputs", "params"),
    ("choices", "enum"),
    ("options", "enum"),
    ("min", "minimum"),
    ("max", "maximum"),
    ("approve", "approval"),
    ("gate", "approval"),
    ("manual", "approval"),
    ("suspend", "approval"),
    ("prompt", "message"),
    ("default", "onTimeout"),
    ("jobs", "tasks"),
    ("steps", "tasks"),
    ("stages", "tasks"),
    ("finally", "onExit"),
    ("always", "onExit"),
    ("exit", "onExit"),
    ("success", "onSuccess"),
    ("failure", "onFailure"),
    ("onError", "onFailure"),
];

/// What may stand in a map.
pub(super) struct Schema {
    /// What the map describes: `a task`.
    pub(super) what: &'static str,
    /// The fields.
    pub(super) fields: &'static [&'static str],
    /// Fields of a later version.
    pub(super) later: &'static [&'static str],
}

/// The fields of one map that passed its schema.
pub(super) struct Fields<'d> {
    found: BTreeMap<&'d str, &'d Entry<'d>>,
    has_unknown: bool,
}

impl<'d> Fields<'d> {
    /// Checks the keys of the map at `path`. Nothing comes back if there is no map.
    pub(super) fn open(
        node: &'d Node<'d>,
        path: Path<'_>,
        schema: &Schema,
        report: &mut Report<'_>,
    ) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            let message = format!("{} is written as a map of fields", schema.what);
            let known = schema.fields.iter().take(4).copied().collect::<Vec<_>>().join(", ");
            report.error_at(node.position, path, message, format!("its fields are {known}, …"));
            return None;
        };
        let mut found: BTreeMap<&str, &Entry<'_>> = BTreeMap::new();
        let mut has_unknown = false;
        for entry in entries.iter() {
            let Some(written) = entry.key.scalar() else {
                report.error_at(
                    entry.key.position,
                    path,
                    "the name of a field is a single word",
                    NO_HELP,
                );
                continue;
            };
            let name = FIELD_ALIASES
                .into_iter()
                .find(|(_, alias)| *alias == written)
                .map_or(written, |(name, _)| name);
            if !schema.fields.contains(&name) {
                has_unknown = true;
                unknown(entry.key.position, path, written, schema, report);
            } else if let Some(first) = found.get(name) {
                let message = format!("{} is given twice", quoted(written));
                let help =
                    format!("the first is on line {}; keep one of them", first.key.position.line);
                report.error_at(entry.key.position, path.key(written), message, help);
            } else {
                found.insert(name, entry);
            }
        }
        Some(Fields { found, has_unknown })
    }

    /// The value of a field, unless it is absent or empty.
    pub(super) fn get(&self, name: &str) -> Option<&'d Node<'d>> {
        self.found.get(name).map(|entry| &entry.value).filter(|node| !node.is_null())
    }

    /// The value of a field, empty or not, unless it is absent.
    pub(super) fn entry(&self, name: &str) -> Option<&'d Node<'d>> {
        self.found.get(name).map(|entry| &entry.value)
    }

    /// Whether something stands in the map that is no field of it.
    pub(super) fn has_unknown(&self) -> bool {
        self.has_unknown
    }

    /// Whether the field is written at all.
    pub(super) fn has(&self, name: &str) -> bool {
        self.found.contains_key(name)
    }
}

fn unknown(
    position: super::super::error::Position,
    path: Path<'_>,
    written: &str,
    schema: &Schema,
    report: &mut Report<'_>,
) {
    let path = path.key(written);
    if schema.later.contains(&written) {
        let message = format!("{} is not supported yet", quoted(written));
        report.error_at(
            position,
            path,
            message,
            "remove it; a later version of Muster will accept it".to_owned(),
        );
        return;
    }
    let help = if written == "<<" {
        Some("merging maps is not supported; use `defaults` for what tasks share".to_owned())
    } else if (schema.what, written) == ("an approval", "timeout") {
        Some("it stands beside `approval`, one level out".to_owned())
    } else if schema.what == "a workflow"
        && matches!(written, "finally" | "onSuccess" | "onFailure" | "onExit")
    {
        Some("hooks stand in a map: `hooks: {onExit: …, onFailure: …, onSuccess: …}`".to_owned())
    } else if let Some((_, ours)) =
        FOREIGN.into_iter().find(|(name, ours)| *name == written && schema.fields.contains(ours))
    {
        Some(format!("here it is called `{ours}`"))
    } else {
        suggest::did_you_mean(written, schema.fields.iter().copied())
            .or_else(|| Some(format!("the fields are {}", schema.fields.join(", "))))
    };
    report.error_at(
        position,
        path,
        format!("{} is not a field of {}", quoted(written), schema.what),
        help,
    );
}
