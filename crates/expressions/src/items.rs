//! What a list comes to that a task goes through, and what an item has under a key.
//!
//! A list is a text: a JSON array, or lines. An item that is a JSON text stands for itself, anything else for its JSON,
//! without spaces and otherwise as it was written: no number is ever read as one, so none of its digits can be lost.

use std::collections::BTreeMap;

use muster_core::command::Verdict;
use muster_core::ids::Text;
use muster_core::spec::template::{self, Reference, is_same_name};
use muster_core::spec::{Items, TaskSpec};
use muster_core::state::task::Task;
use serde_json::value::RawValue;

use crate::evaluate::{shorten, why_missing};
use crate::scope::Scope;

/// What becomes of a task that goes through the list that `found` stands for.
pub(crate) fn verdict(scope: &Scope, spec: &TaskSpec, found: &Reference) -> Verdict {
    let items = list(scope, found).and_then(|text| items_of(&text));
    let whole = items.and_then(|items| match lacking(&items, spec) {
        Some(problem) => Err(problem),
        None => Ok(items),
    });
    match whole {
        Ok(items) => Verdict::FanOut { items },
        Err(why) => Verdict::Fail { message: format!("foreach: `{found}`: {why}").into() },
    }
}

/// The text that holds the list.
fn list(scope: &Scope, found: &Reference) -> Result<Text, String> {
    match found {
        Reference::Param(name) => {
            let mut params = scope.run.params.iter();
            let value = params.find(|(it, _)| is_same_name(name, it.as_str()));
            value.map(|(_, value)| value.clone()).ok_or_else(|| "it has no value".to_owned())
        }
        Reference::Output { task, key } => {
            let upstream = scope.upstream(task).and_then(|it| scope.run.task(it));
            let upstream = upstream.ok_or_else(|| "it has no value".to_owned())?;
            output(upstream, key)
                .ok_or_else(|| format!("it has no value, for the task {}", why_missing(upstream)))
        }
        _ => Err("it is no list to go through".to_owned()),
    }
}

fn output(task: &Task, key: &str) -> Option<Text> {
    let (_, value) = task.outputs.as_ref()?.iter().find(|(it, _)| is_same_name(key, it))?;
    Some(value.clone())
}

/// The items of a list: those of a JSON array if it begins like one, else its lines but for empty ones.
fn items_of(text: &str) -> Result<Items, String> {
    let items: Items =
        if is_array(text) { json_items(text)? } else { template::lines(text).collect() };
    items.check().map_err(|error| error.to_string())?;
    Ok(items)
}

fn is_array(text: &str) -> bool {
    text.trim_start().starts_with('[')
}

/// The items of a JSON array, or else of JSON values one after the other. Whether a task may go through so many is
/// asked elsewhere, see [`Items::check`].
///
/// # Errors
/// If it is not JSON; for people.
pub fn json_items(text: &str) -> Result<Items, String> {
    if is_array(text) {
        let array: Vec<&RawValue> = serde_json::from_str(text)
            .map_err(|error| format!("it begins with `[` and is not a JSON array: {error}"))?;
        return array.into_iter().map(text_of).collect();
    }
    let values = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
    let values =
        values.map(|value| text_of(value.map_err(|error| format!("it is not JSON: {error}"))?));
    values.collect()
}

/// A JSON value as the text that it stands for.
fn text_of(value: &RawValue) -> Result<String, String> {
    let raw = value.get().trim();
    if raw.starts_with('"') {
        return serde_json::from_str(raw).map_err(|error| format!("`{}`: {error}", shorten(raw)));
    }
    let (mut text, mut is_text, mut is_escaped) = (String::with_capacity(raw.len()), false, false);
    for letter in raw.chars() {
        if !is_text && letter.is_ascii_whitespace() {
            continue;
        }
        text.push(letter);
        is_text ^= letter == '"' && !is_escaped;
        is_escaped = is_text && letter == '\\' && !is_escaped;
    }
    Ok(text)
}

/// What an item has under a key.
///
/// # Errors
/// If it is no JSON object, or has no such key; for people, to be put behind the name of the item.
pub fn field(item: &str, key: &str) -> Result<String, String> {
    let not_an_object = || format!("is not a JSON object, so it has no `{key}`");
    if !item.trim_start().starts_with('{') {
        return Err(not_an_object());
    }
    let object: BTreeMap<String, &RawValue> =
        serde_json::from_str(item).map_err(|_| not_an_object())?;
    text_of(object.get(key).ok_or_else(|| format!("has no `{key}`"))?)
}

/// What a text of JSON holds at a path of keys; a key of a list is a position from 0. Without keys: the text itself.
///
/// # Errors
/// If it is not JSON, or lacks a key; for people.
pub fn at(text: &str, keys: &[Text]) -> Result<String, String> {
    let Some(first) = keys.first() else { return Ok(text.to_owned()) };
    let mut value: &RawValue =
        serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"))?;
    let mut above: Option<&Text> = None;
    for key in keys {
        let found = member(value, key);
        value = found.ok_or_else(|| match above {
            Some(above) => format!("`{above}` has no `{key}`"),
            None => format!("there is no `{first}`"),
        })?;
        above = Some(key);
    }
    text_of(value)
}

fn member<'t>(value: &'t RawValue, key: &str) -> Option<&'t RawValue> {
    match value.get().trim_start().as_bytes().first() {
        Some(b'{') => {
            let object: BTreeMap<String, &RawValue> = serde_json::from_str(value.get()).ok()?;
            object.get(key).copied()
        }
        Some(b'[') => {
            let list: Vec<&RawValue> = serde_json::from_str(value.get()).ok()?;
            list.get(key.parse::<usize>().ok()?).copied()
        }
        _ => None,
    }
}

/// The first item that lacks a key which the variables of the task read.
pub(crate) fn lacking(items: &Items, spec: &TaskSpec) -> Option<String> {
    let keys = spec.item_keys();
    keys.iter().find_map(|key| lacking_key(items, key))
}

/// The first item that lacks this key.
pub(crate) fn lacking_key(items: &Items, key: &str) -> Option<String> {
    let mut items = items.iter().enumerate();
    items.find_map(|(position, item)| {
        let problem = field(item, key).and_then(|value| match value.contains('\0') {
            true => Err(format!("has a zero byte in `{key}`, which no program can be given")),
            false => Ok(value),
        });
        problem.err().map(|why| format!("item {position}, `{}`, {why}", shorten(item)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Result<Vec<String>, String> {
        items_of(text).map(|items| items.iter().map(str::to_owned).collect())
    }

    #[test]
    fn arrays_and_lines_are_lists() {
        for (text, items) in [
            ("", &[][..]),
            ("\n  \n", &[]),
            ("[]", &[]),
            (" [ ] ", &[]),
            ("a b", &["a b"]),
            ("a\r\n\n b \nc", &["a", " b ", "c"]),
            (r#"["a", "", "x\ny", "\u00e9"]"#, &["a", "", "x\ny", "é"]),
            (
                "[1, 1.10, -0, 1e400, 123456789012345678901]",
                &["1", "1.10", "-0", "1e400", "123456789012345678901"],
            ),
            ("[true, null]", &["true", "null"]),
            (
                r#"[{"a": [1, 2], "b c": "d \" { e"}, [ ]]"#,
                &[r#"{"a":[1,2],"b c":"d \" { e"}"#, "[]"],
            ),
            (r#"{"a": 1}"#, &[r#"{"a": 1}"#]),
            ("{\"n\":1}\n{\"n\":2}", &["{\"n\":1}", "{\"n\":2}"]),
        ] {
            assert_eq!(
                found(text).as_deref(),
                Ok(&items.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>()[..]),
                "{text}"
            );
        }
    }

    #[test]
    fn what_begins_like_an_array_must_be_one() {
        for text in ["[", "[1,]", "[1] x", "[a]", "['a']", "[\"\x01\"]"] {
            let why = found(text).unwrap_err();
            assert!(why.starts_with("it begins with `[` and is not a JSON array"), "{why}");
        }
        assert_eq!(
            found(r#"["a", "\u0000"]"#).unwrap_err(),
            "item 1 has a zero byte, which no program can be given"
        );
    }

    #[test]
    fn fields_of_items() {
        let item = r#"{"name": "a b", "size": 1.0, "tags": ["x", 2], "a-b": null, "A": true}"#;
        for (key, value) in [
            ("name", "a b"),
            ("size", "1.0"),
            ("tags", "[\"x\",2]"),
            ("a-b", "null"),
            ("A", "true"),
        ] {
            assert_eq!(field(item, key).as_deref(), Ok(value));
        }
        assert_eq!(field(item, "a").unwrap_err(), "has no `a`");
        for item in ["", "x", "[1]", "{", "{\"a\"", "\"{}\""] {
            assert_eq!(field(item, "a").unwrap_err(), "is not a JSON object, so it has no `a`");
        }
    }
}
