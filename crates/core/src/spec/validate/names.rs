//! Texts, keys and maps of texts.

use std::collections::{BTreeMap, BTreeSet};

use super::super::column::axis_variable;
use super::super::error::quoted;
use super::super::path::Path;
use super::super::report::Report;
use super::super::template::{self, Part, Reference};
use super::LABEL_VALUE_BYTES_MAX;
use crate::ids::Text;
use crate::limits;

/// Prefix of the variables that a worker sets in every attempt.
const RESERVED_PREFIX: &str = "MUSTER_";

/// What a list of names holds, for messages.
pub(super) struct Words {
    one: &'static str,
}

impl Words {
    pub(super) const TASKS: Words = Words { one: "task" };
    pub(super) const PARAMS: Words = Words { one: "parameter" };
    pub(super) const AXES: Words = Words { one: "axis" };
    pub(super) const OUTPUTS: Words = Words { one: "output" };
}

/// Two names that expressions cannot tell apart.
pub(super) fn collisions<'n>(
    names: impl Iterator<Item = &'n str>,
    path: Path<'_>,
    words: Words,
    report: &mut Report<'_>,
) {
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    for name in names {
        match seen.get(template::in_expressions(name).as_str()) {
            // A name that stands twice is a different error, reported elsewhere.
            Some(other) if *other == name => {}
            Some(other) => {
                let message =
                    format!("{} and {} read the same in `${{{{ }}}}`", quoted(name), quoted(other));
                let help = format!("`-` is read as `_` there; rename one {}", words.one);
                report.key_error(path.key(name), message, help);
            }
            None => {
                seen.insert(template::in_expressions(name), name);
            }
        }
    }
}

/// A map with more entries than there may be.
pub(super) fn entries(count: usize, what: &str, path: Path<'_>, report: &mut Report<'_>) {
    if count > limits::MAP_ENTRIES_MAX {
        report.error(
            path,
            format!(
                "{count} {what} are too many; at most {} are possible",
                limits::MAP_ENTRIES_MAX
            ),
        );
    }
}

/// A text that is too long.
pub(super) fn length(text: &str, path: Path<'_>, report: &mut Report<'_>) {
    if text.len() > limits::TEXT_BYTES_MAX {
        let message = format!(
            "this text has {} bytes; at most {} are possible",
            text.len(),
            limits::TEXT_BYTES_MAX
        );
        report.error_with_help(path, message, "keep it in a file that the task reads");
    }
}

/// A text that is handed to the operating system.
pub(super) fn system(text: &str, path: Path<'_>, report: &mut Report<'_>) {
    length(text, path, report);
    if text.contains('\0') {
        report.error(path, "this text has a zero byte, which no program can be given; remove it");
    }
}

/// A text for the operating system in which `${{ }}` is not filled in.
pub(super) fn argument(text: &str, path: Path<'_>, report: &mut Report<'_>) {
    system(text, path, report);
    if template::has_reference(text) {
        let message = "`${{ }}` is filled in only in the values of `env`";
        report.error_with_help(path, message, instead(text));
    }
}

/// What to do in place of a reference in a text that holds none.
fn instead(text: &str) -> String {
    let parts = template::parse(text).unwrap_or_default();
    let set = parts.iter().find_map(|part| match part {
        Part::Reference(Reference::Item) => Some("MUSTER_ITEM".to_owned()),
        Part::Reference(Reference::Axis(name)) => Some(axis_variable(name)),
        Part::Reference(Reference::ArrayIndex) => Some("MUSTER_ARRAY_INDEX".to_owned()),
        Part::Reference(_) | Part::Literal(_) => None,
    });
    match set {
        Some(variable) => format!("read the variable `${variable}`, which is set for the task"),
        None => "put it in a variable (`env: {NAME: \"${{ … }}\"}`) and read that variable here"
            .to_owned(),
    }
}

/// The variables of a task; their values are checked by [`super::references`].
pub(super) fn env(env: &BTreeMap<Text, Text>, path: Path<'_>, report: &mut Report<'_>) {
    entries(env.len(), "variables", path, report);
    for (key, value) in env {
        let at = path.key(key);
        let is_first = |c: char| c.is_ascii_alphabetic() || c == '_';
        let is_well_formed = key.starts_with(is_first)
            && key.len() <= limits::NAME_BYTES_MAX
            && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !is_well_formed {
            let help = format!(
                "use a letter or `_`, then letters, digits or `_`, at most {} in all",
                limits::NAME_BYTES_MAX
            );
            report.key_error(at, format!("{} is not the name of a variable", quoted(key)), help);
        } else if key.starts_with(RESERVED_PREFIX) {
            let message = format!("{} is set by Muster itself", quoted(key));
            report.key_error(at, message, "choose a name that does not begin with `MUSTER_`");
        }
        system(value, at, report);
    }
}

/// Labels or a selector.
pub(super) fn labels(labels: &BTreeMap<Text, Text>, path: Path<'_>, report: &mut Report<'_>) {
    entries(labels.len(), "labels", path, report);
    for (key, value) in labels {
        let at = path.key(key);
        fact(key, "label", at, report);
        label_value(value, at, report);
    }
}

/// The value of a label, a selector or a pool.
pub(super) fn label_value(value: &str, path: Path<'_>, report: &mut Report<'_>) {
    if value.len() > LABEL_VALUE_BYTES_MAX {
        let message =
            format!("this has {} bytes; at most {LABEL_VALUE_BYTES_MAX} are possible", value.len());
        report.error(path, message);
    } else if value.chars().any(char::is_control) {
        report.error(path, "a label holds neither line breaks nor other control characters");
    } else if template::has_reference(value) {
        report.error(path, "`${{ }}` is filled in only in the values of `env`");
    }
}

/// The name of a label or of a resource.
pub(super) fn fact(name: &str, what: &str, path: Path<'_>, report: &mut Report<'_>) {
    let is_well_formed = name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.len() <= limits::NAME_BYTES_MAX
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-./".contains(c));
    if !is_well_formed {
        let help = format!(
            "use a letter or digit, then letters, digits, `_`, `-`, `.` or `/`, at most {} in all",
            limits::NAME_BYTES_MAX
        );
        report.key_error(path, format!("{} is not the name of a {what}", quoted(name)), help);
    }
}

/// The keys that a task promises to write.
pub(super) fn outputs(outputs: &[Text], path: Path<'_>, report: &mut Report<'_>) {
    entries(outputs.len(), "outputs", path, report);
    let mut seen = BTreeSet::new();
    for (at, key) in outputs.iter().enumerate() {
        output(key, path.index(at), report);
        if !seen.insert(key) {
            report.error(path.index(at), format!("{} is listed twice", quoted(key)));
        }
    }
    collisions(outputs.iter().map(|key| &**key), path, Words::OUTPUTS, report);
}

/// The key of one output.
pub(super) fn output(key: &str, path: Path<'_>, report: &mut Report<'_>) {
    let is_well_formed = key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && key.len() <= limits::NAME_BYTES_MAX
        && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if !is_well_formed {
        let help = format!(
            "use a letter or `_`, then letters, digits, `_` or `-`, at most {} in all",
            limits::NAME_BYTES_MAX
        );
        report.error_with_help(path, format!("{} is not the key of an output", quoted(key)), help);
    }
}
