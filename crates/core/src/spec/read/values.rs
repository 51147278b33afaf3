//! Single values, lists and maps of text, with errors that say what belongs there.

use std::collections::BTreeMap;
use std::fmt::Display;

use super::super::error::quoted;
use super::super::path::Path;
use super::super::report::{NO_HELP, Report};
use super::super::yaml::{Node, Value};
use super::super::{duration, quantity, suggest};
use crate::ids::{Name, Text};
use crate::time::Millis;

/// What a value turned out to be, for messages.
pub(super) fn kind(node: &Node<'_>) -> &'static str {
    match &node.value {
        Value::Scalar { .. } if node.is_null() => "nothing",
        Value::Scalar { .. } => "a single value",
        Value::List(_) => "a list",
        Value::Map(_) => "a map",
    }
}

/// Any single value as the text that was written.
pub(super) fn text<'n>(
    node: &'n Node<'_>,
    path: Path<'_>,
    report: &mut Report<'_>,
) -> Option<&'n str> {
    match node.scalar() {
        Some(text) if !node.is_null() => Some(text),
        Some(_) => {
            report.error_at(
                node.position,
                path,
                "a text is missing here",
                "write `\"\"` for an empty text".to_owned(),
            );
            None
        }
        None => {
            let message = format!("a text belongs here, not {}", kind(node));
            report.error_at(node.position, path, message, NO_HELP);
            None
        }
    }
}

/// What `read` makes of a single value, with its error and the value in the message.
pub(super) fn parsed<T, E: Display>(
    node: &Node<'_>,
    path: Path<'_>,
    report: &mut Report<'_>,
    read: impl Fn(&str) -> Result<T, E>,
) -> Option<T> {
    let text = text(node, path, report)?;
    match read(text) {
        Ok(value) => Some(value),
        Err(error) => {
            report.error_at(node.position, path, format!("{}: {error}", quoted(text)), NO_HELP);
            None
        }
    }
}

/// A name of a workflow, a task or a parameter.
pub(super) fn name(node: &Node<'_>, path: Path<'_>, report: &mut Report<'_>) -> Option<Name> {
    let text = text(node, path, report)?;
    match Name::parse(text) {
        Ok(name) => Some(name),
        Err(error) => {
            report.error_at(node.position, path, error.to_string(), name_help(text));
            None
        }
    }
}

/// The nearest well-formed name, if one is easy to find.
pub(super) fn name_help(text: &str) -> Option<String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
    let lower = text.to_lowercase();
    let cleaned: String = lower.chars().map(|c| if allowed(c) { c } else { '-' }).collect();
    let cleaned =
        cleaned.trim_start_matches(|c: char| !c.is_ascii_lowercase()).trim_end_matches('-');
    Name::parse(cleaned)
        .ok()
        .filter(|name| name.as_str().len() <= 40)
        .map(|name| format!("`{name}` would do"))
}

/// A span of time.
pub(super) fn span(node: &Node<'_>, path: Path<'_>, report: &mut Report<'_>) -> Option<Millis> {
    parsed(node, path, report, duration::parse)
}

/// A whole number within the bounds of its type.
pub(super) fn integer<T: std::str::FromStr>(
    node: &Node<'_>,
    path: Path<'_>,
    report: &mut Report<'_>,
) -> Option<T> {
    parsed(node, path, report, |text| {
        let digits = text.strip_prefix('-').unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err("this is not a whole number");
        }
        text.parse().map_err(|_| "this number is out of range")
    })
}

/// A decimal such as `1.5`, in thousandths.
pub(super) fn thousandths(node: &Node<'_>, path: Path<'_>, report: &mut Report<'_>) -> Option<u32> {
    parsed(node, path, report, |text| match quantity::scaled(text, 1000) {
        Ok(amount) => u32::try_from(amount).map_err(|_| "this number is out of range"),
        Err(quantity::DecimalError::TooLarge) => Err("this number is out of range"),
        Err(quantity::DecimalError::TooFine) => Err("at most three digits after the point count"),
        Err(quantity::DecimalError::Malformed) => Err("this is not a number such as `2` or `0.25`"),
    })
}

/// Reads `true` or `false`; what is neither counts as `false`.
pub(super) fn truth(node: &Node<'_>, path: Path<'_>, report: &mut Report<'_>) -> bool {
    const WORDS: [(&str, bool); 2] = [("true", true), ("false", false)];
    one_of(node, path, report, &WORDS).unwrap_or(false)
}

/// One of a few words.
pub(super) fn one_of<T: Copy>(
    node: &Node<'_>,
    path: Path<'_>,
    report: &mut Report<'_>,
    words: &[(&str, T)],
) -> Option<T> {
    let text = text(node, path, report)?;
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
        return Some(*value);
    }
    let known = words.iter().map(|(word, _)| format!("`{word}`")).collect::<Vec<_>>().join(", ");
    let message = format!("{} is not one of {known}", quoted(text));
    report.error_at(
        node.position,
        path,
        message,
        suggest::did_you_mean(text, words.iter().map(|(word, _)| *word)),
    );
    None
}

/// A list of texts, or a single text that stands for a list of one.
pub(super) fn texts(node: &Node<'_>, path: Path<'_>, report: &mut Report<'_>) -> Option<Vec<Text>> {
    match &node.value {
        Value::Scalar { .. } => Some(vec![text(node, path, report)?.into()]),
        Value::List(items) => {
            let mut all = Vec::with_capacity(items.len());
            for (at, item) in items.iter().enumerate() {
                all.extend(text(item, path.index(at), report).map(Text::from));
            }
            Some(all)
        }
        Value::Map(_) => {
            report.error_at(
                node.position,
                path,
                "a list of texts belongs here, not a map",
                NO_HELP,
            );
            None
        }
    }
}

/// A map of texts, put on top of what `map` holds.
pub(super) fn text_map(
    node: &Node<'_>,
    path: Path<'_>,
    report: &mut Report<'_>,
    map: &mut BTreeMap<Text, Text>,
) {
    for (key, value) in entries(node, path, report) {
        if let Some(value) = text(value, path.key(key), report) {
            map.insert(key.into(), value.into());
        }
    }
}

/// The entries of a map, each key once.
pub(super) fn entries<'n>(
    node: &'n Node<'n>,
    path: Path<'_>,
    report: &mut Report<'_>,
) -> Vec<(&'n str, &'n Node<'n>)> {
    let Value::Map(entries) = &node.value else {
        let message = format!("a map such as `{{key: value}}` belongs here, not {}", kind(node));
        report.error_at(node.position, path, message, NO_HELP);
        return Vec::new();
    };
    let mut seen = BTreeMap::new();
    let mut unique = Vec::with_capacity(entries.len());
    for entry in entries.iter() {
        let Some(key) = entry.key.scalar() else {
            report.error_at(
                entry.key.position,
                path,
                "a key of this map is a single text",
                NO_HELP,
            );
            continue;
        };
        if let Some(first) = seen.insert(key, entry.key.position.line) {
            let message = format!("{} is defined twice", quoted(key));
            let help = format!("the first is on line {first}; rename or remove one of them");
            report.error_at(entry.key.position, path.key(key), message, help);
            continue;
        }
        unique.push((key, &entry.value));
    }
    unique
}
