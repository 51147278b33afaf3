//! What an array task goes through: `matrix` and `foreach`.

use super::super::path::Path;
use super::super::report::{NO_HELP, Report};
use super::super::yaml::{Node, Value};
use super::super::{ParamType, template};
use super::fields::{Fields, Schema};
use super::values::{self, entries, kind, text, texts};
use crate::ids::Name;
use crate::spec::{Axis, FanOut, Items};

const FOREACH: Schema = Schema { what: "a `foreach`", fields: &["lines"], later: &[] };

/// What GitHub has beside the axes of a matrix.
const CORRECTIONS: [&str; 2] = ["include", "exclude"];

/// Reads what the task at `path` goes through, if anything.
pub(super) fn fan_out(
    fields: &Fields<'_>,
    path: Path<'_>,
    report: &mut Report<'_>,
) -> Option<FanOut> {
    let given = ["matrix", "foreach"].map(|field| fields.get(field));
    match given {
        [Some(_), Some(_)] => {
            let message = "a task has either `matrix` or `foreach`, not both";
            let help = "for pairs of items and values write the pairs as items: `foreach: [{a: 1, b: x}, …]`";
            report.error_with_help(path.key("foreach"), message, help);
            None
        }
        [Some(node), None] => matrix(node, path.key("matrix"), report),
        [None, Some(node)] => foreach(node, path.key("foreach"), report),
        [None, None] => None,
    }
}

fn matrix(node: &Node<'_>, path: Path<'_>, report: &mut Report<'_>) -> Option<FanOut> {
    let mut axes = Vec::new();
    let entries = entries(node, path, report);
    let is_written = !entries.is_empty();
    for (key, value) in entries {
        let at = path.key(key);
        if CORRECTIONS.contains(&key) {
            let message = format!("`{key}` is not supported: a matrix is the product of its axes");
            let help = "write the combinations out: `foreach: [{os: linux, cpu: arm}, …]`, read as `${{ item.os }}`";
            report.key_error(at, message, help);
            continue;
        }
        let name = match Name::parse(key) {
            Ok(name) => name,
            Err(error) => {
                let help = values::name_help(key)
                    .unwrap_or_else(|| "write for example `shard: [0, 1, 2]`".to_owned());
                report.key_error(at, error.to_string(), help);
                continue;
            }
        };
        if value.scalar().is_some_and(template::has_reference) {
            let message = "an axis is a list of values that the file has";
            let help = "to go through a list that a task or a parameter gives write `foreach` in place of `matrix`";
            report.error_at(value.position, at, message, help.to_owned());
            continue;
        }
        if let Some(values) = texts(value, at, report) {
            axes.push(Axis { name, values });
        }
    }
    // What could not be read was said above.
    (!axes.is_empty() || !is_written).then_some(FanOut::Matrix(axes))
}

fn foreach(node: &Node<'_>, path: Path<'_>, report: &mut Report<'_>) -> Option<FanOut> {
    match &node.value {
        Value::List(nodes) => {
            let mut items = Vec::with_capacity(nodes.len());
            for (at, node) in nodes.iter().enumerate() {
                items.extend(item(node, path.index(at), report));
            }
            Some(FanOut::Items(Items::from_iter(items)))
        }
        Value::Map(_) => {
            let fields = Fields::open(node, path, &FOREACH, report)?;
            let Some(lines) = fields.get("lines") else {
                let help = "write `foreach: {lines: …}`, or a list: `foreach: [a, b, c]`";
                report.error_with_help(path, "the `lines` to go through are missing", help);
                return None;
            };
            let lines = text(lines, path.key("lines"), report)?;
            Some(FanOut::Items(Items::from_iter(template::lines(lines))))
        }
        Value::Scalar { .. } => {
            let written = text(node, path, report)?;
            let found = FanOut::reference(written);
            if found.is_none() {
                let help = "write `[a, b, c]`, `{lines: …}`, \"${{ needs.TASK.outputs.KEY }}\" or \
                            \"${{ params.NAME }}\"";
                let message = format!("a list belongs here, or one reference, not {}", kind(node));
                report.error_at(node.position, path, message, help.to_owned());
            }
            found
        }
    }
}

/// An item as text: a single value as it is written, anything else as JSON.
fn item(node: &Node<'_>, path: Path<'_>, report: &mut Report<'_>) -> Option<String> {
    if node.scalar().is_some() {
        return text(node, path, report).map(str::to_owned);
    }
    let mut json = String::new();
    match write_json(node, &mut json) {
        Ok(()) => Some(json),
        Err(what) => {
            report.error_at(node.position, path, what, NO_HELP);
            None
        }
    }
}

/// Writes a value without needless spaces. What YAML takes for a number, a truth value or nothing is that in JSON too;
/// every other single value is a text.
fn write_json(node: &Node<'_>, json: &mut String) -> Result<(), &'static str> {
    match &node.value {
        Value::Scalar { text, is_plain } => {
            let is_word = matches!(&**text, "true" | "false");
            if node.is_null() {
                json.push_str("null");
            } else if *is_plain && (is_word || ParamType::Number.read(text).is_ok()) {
                json.push_str(text);
            } else {
                write_text(text, json);
            }
        }
        Value::List(items) => {
            json.push('[');
            for (at, item) in items.iter().enumerate() {
                json.push_str(if at > 0 { "," } else { "" });
                write_json(item, json)?;
            }
            json.push(']');
        }
        Value::Map(entries) => {
            json.push('{');
            for (at, entry) in entries.iter().enumerate() {
                let key = entry.key.scalar().ok_or("a key in an item is a single text")?;
                if entries[..at].iter().any(|before| before.key.scalar() == Some(key)) {
                    return Err("a key stands twice in this item");
                }
                json.push_str(if at > 0 { "," } else { "" });
                write_text(key, json);
                json.push(':');
                write_json(&entry.value, json)?;
            }
            json.push('}');
        }
    }
    Ok(())
}

fn write_text(text: &str, json: &mut String) {
    json.push('"');
    for letter in text.chars() {
        match letter {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            control if (control as u32) < 0x20 => {
                json.push_str(&format!("\\u{:04x}", control as u32));
            }
            other => json.push(other),
        }
    }
    json.push('"');
}
