//! Placeholders in scripts for Python: `"${day}"`, a literal that is nothing else, becomes a variable.

use std::collections::BTreeSet;

use super::export::Property;
use super::scope::{self, Piece, Value};
use super::script::{Binder, is_identifier};

/// The variable `base` with the time of the run on the wall clock of the zone.
pub(super) fn time_of_run(base: &str, zone: Option<&str>) -> String {
    let zone = zone.map(|zone| format!("zoneinfo.ZoneInfo(\"{zone}\")")).unwrap_or_default();
    format!(
        "{base} = datetime.datetime.fromisoformat(os.environ[\"MUSTER_FIRE_TIME\"]\
         .replace(\"Z\", \"+00:00\")).astimezone({zone})"
    )
}

/// A text as a literal.
pub(super) fn literal(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

pub(super) fn with_prologue(
    text: &str,
    lines: &[String],
    problems: &mut BTreeSet<String>,
) -> String {
    let is_needed = !lines.is_empty() || text.contains("os.environ[");
    if !is_needed {
        return text.to_owned();
    }
    if text.contains("from __future__") {
        problems.insert("nothing may stand before `from __future__`".to_owned());
    }
    let is_said = |module: &&&str| lines.iter().any(|line| line.contains(&format!("{module}.")));
    let modules: Vec<&str> =
        ["datetime", "zoneinfo"].iter().filter(is_said).copied().chain(["os"]).collect();
    let mut all = vec![format!("import {}", modules.join(", "))];
    all.extend(lines.iter().cloned());
    format!("{}\n{text}", all.join("\n"))
}

/// The script with variables for placeholders.
pub(super) fn rewrite(script: &str, outs: &[Property], binder: &mut Binder<'_>) -> String {
    if !outs.is_empty() && script.contains("setValue(") {
        binder.problem("it prints its outputs: append `key=value` lines to the file in `MUSTER_OUTPUT` instead");
    }
    let mut out = String::new();
    let mut rest = script;
    while let Some(at) = rest.find("${").into_iter().chain(rest.find("$[")).min() {
        let is_time = rest[at..].starts_with("$[");
        let Some(length) = rest[at..].find(if is_time { ']' } else { '}' }) else { break };
        let inside = &rest[at + 2..at + length];
        let found = if is_time {
            Some(scope::time(inside).map(|time| Value { pieces: vec![Piece::Time(time)] }))
        } else {
            binder.scope.find(inside)
        };
        let (before, after) = (&rest[..at], &rest[at + length + 1..]);
        let is_comment = before.rsplit('\n').next().unwrap_or(before).trim_start().starts_with('#');
        match found {
            Some(Ok(value)) if !is_comment => match whole_literal(&out, before, after) {
                Some(()) => {
                    let bound = binder.bind(inside, &value).in_python();
                    out.push_str(&before[..before.len() - 1]);
                    out.push_str(&bound);
                    rest = &after[1..];
                    continue;
                }
                None => binder.problem(format!(
                    "`{}` is a part of the program, not a text of its own",
                    &rest[at..at + length + 1]
                )),
            },
            Some(Err(problem)) if !is_comment => binder.problem(problem),
            None if !is_time && !is_comment && is_identifier(inside) => {
                binder.done.unknown.insert(inside.to_owned());
            }
            Some(_) | None => {}
        }
        out.push_str(&rest[..at + length + 1]);
        rest = after;
    }
    out.push_str(rest);
    out.trim_end_matches('\n').to_owned()
}

/// Whether a placeholder between these is all that a literal without prefix holds.
fn whole_literal(done: &str, before: &str, after: &str) -> Option<()> {
    let quote = before.chars().next_back().filter(|c| *c == '"' || *c == '\'')?;
    let ahead = &before[..before.len() - 1];
    let previous = ahead.chars().next_back().or_else(|| done.chars().next_back());
    let is_alone = previous.is_none_or(|c| !c.is_alphanumeric() && !"_\\'\"".contains(c));
    let after = after.strip_prefix(quote)?;
    (is_alone && !after.starts_with(quote)).then_some(())
}
