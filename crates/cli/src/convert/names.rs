//! Names of other systems as names that Muster takes.

use std::collections::{BTreeMap, BTreeSet};

/// Longest name that is kept; some room is left for a number behind it.
const NAME_BYTES_MAX: usize = 100;

/// Gives out names, each once.
#[derive(Default)]
pub(super) struct Unique {
    taken: BTreeSet<String>,
    next: BTreeMap<String, u32>,
}

impl Unique {
    /// `wanted`, or `wanted` with the first free number behind it. `key` is equal for names that count as one.
    pub(super) fn take(&mut self, wanted: String, key: impl Fn(&str) -> String) -> String {
        if self.taken.insert(key(&wanted)) {
            return wanted;
        }
        let number = self.next.entry(wanted.clone()).or_insert(2);
        loop {
            let name = format!("{wanted}-{number}");
            *number += 1;
            if self.taken.insert(key(&name)) {
                return name;
            }
        }
    }

    /// Like [`Unique::take`], for names that differ also where `-` is read as `_`.
    pub(super) fn name(&mut self, wanted: String) -> String {
        self.take(wanted, |name| name.replace('-', "_"))
    }
}

/// A name of lower-case letters, digits, `_` and `-` that begins with a letter.
pub(super) fn sanitize(text: &str, otherwise: &str) -> String {
    let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
    let mut name: String = text
        .chars()
        .map(|c| c.to_ascii_lowercase())
        .map(|c| if is_allowed(c) { c } else { '-' })
        .collect();
    name.truncate(NAME_BYTES_MAX);
    let name = name.trim_matches('-');
    if name.starts_with(|c: char| c.is_ascii_lowercase()) {
        name.to_owned()
    } else if name.is_empty() {
        otherwise.to_owned()
    } else {
        format!("{otherwise}-{name}")
    }
}

/// A name as YAML, in quotes where other readers would take it for something else than text.
pub(super) fn word(name: &str) -> &str {
    match name {
        "null" => "\"null\"",
        "true" => "\"true\"",
        "false" => "\"false\"",
        "yes" => "\"yes\"",
        "no" => "\"no\"",
        "on" => "\"on\"",
        "off" => "\"off\"",
        "y" => "\"y\"",
        "n" => "\"n\"",
        name => name,
    }
}
