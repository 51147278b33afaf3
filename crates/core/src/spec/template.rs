//! `${{ … }}` in env values, in what approvals ask, in parameters of sub-workflows and in outputs of workflows: plain
//! references to parameters, to what tasks wrote, and to the run itself.
//!
//! There are no expressions: a reference is replaced by the text it stands for and nothing is computed, so the result
//! is the same on every replica. Names may be written with `_` where they have `-` (see [`is_same_name`]).

use crate::ids::Text;
use crate::limits;

const OPEN: &str = "${{";
const CLOSE: &str = "}}";

/// What a `${{ … }}` stands for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reference {
    /// `params.NAME`: a parameter of the run.
    Param(Text),
    /// `needs.TASK.outputs.KEY`: what an upstream task wrote. Names as the user wrote them, perhaps with `_` for `-`.
    Output {
        /// The upstream task.
        task: Text,
        /// The output's key.
        key: Text,
    },
    /// `tasks.TASK.outputs.KEY`: what a task wrote, as the outputs of a workflow read it. Names as above.
    TaskOutput {
        /// The task.
        task: Text,
        /// The output's key.
        key: Text,
    },
    /// `run.id`: the run, cluster-wide.
    RunId,
    /// `run.number`: the run within its workflow.
    RunNumber,
    /// `run.result`: what the tasks of the run came to; of hooks alone.
    RunResult,
    /// `run.workflow`: the workflow's name.
    RunWorkflow,
    /// `run.namespace`: the namespace's name.
    RunNamespace,
    /// `run.schedule`: the schedule that made the run; empty if none did.
    RunSchedule,
    /// `run.fireTime`: the fire time that the run was made for, or else when it was submitted, in UTC.
    RunFireTime,
    /// `run.fireDate`: the day of that in the zone of the schedule.
    RunFireDate,
    /// `task.id`: the task's own name.
    TaskId,
    /// `array.index`: the index within an array task.
    ArrayIndex,
    /// `matrix.AXIS`: the value of an axis at the index. The name as the user wrote it, perhaps with `_` for `-`.
    Axis(Text),
    /// `item`: the item of a `foreach` at the index.
    Item,
    /// `item.KEY`: what an item that is a JSON object has under a key, which is written letter by letter.
    ItemField(Text),
}

/// Stands for the index in texts of array tasks that are resolved but for it. No text a user gives can contain it.
pub const ARRAY_INDEX_MARK: char = '\0';

/// A piece of a text with references.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part<R = Reference> {
    /// Stands for itself; never empty.
    Literal(Text),
    /// Stands for something else.
    Reference(R),
}

/// Why a text with references cannot be read or filled in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A `${{` is never closed.
    #[error("`${{{{` is not closed: write `}}}}` behind the reference")]
    Unclosed,
    /// Something other than a reference stands inside.
    #[error(
        "`{found}` is not a reference: write params.NAME, needs.TASK.outputs.KEY, run.id, run.number, run.workflow, \
         run.namespace, run.result, run.schedule, run.fireTime, run.fireDate, task.id, array.index, matrix.AXIS, \
         item or item.KEY, and in outputs of a workflow tasks.TASK.outputs.KEY; expressions and filters are not \
         supported yet"
    )]
    NotAReference {
        /// What stands there, shortened.
        found: String,
    },
    /// Something other than a reference to a call stands inside; of webhooks alone.
    #[error("`{found}` is no part of a call: write body, body.KEY or header.NAME")]
    NotOfACall {
        /// What stands there, shortened.
        found: String,
    },
    /// A reference stands for nothing.
    #[error("`{found}` has no value")]
    NoValue {
        /// The reference.
        found: String,
    },
    /// The text would become longer than [`limits::TEXT_BYTES_MAX`].
    #[error(
        "the text with its references filled in is longer than {} bytes",
        limits::TEXT_BYTES_MAX
    )]
    TooLong,
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Reference::Param(name) => write!(f, "params.{name}"),
            Reference::Output { task, key } => write!(f, "needs.{task}.outputs.{key}"),
            Reference::TaskOutput { task, key } => write!(f, "tasks.{task}.outputs.{key}"),
            Reference::RunId => f.write_str("run.id"),
            Reference::RunNumber => f.write_str("run.number"),
            Reference::RunResult => f.write_str("run.result"),
            Reference::RunWorkflow => f.write_str("run.workflow"),
            Reference::RunNamespace => f.write_str("run.namespace"),
            Reference::RunSchedule => f.write_str("run.schedule"),
            Reference::RunFireTime => f.write_str("run.fireTime"),
            Reference::RunFireDate => f.write_str("run.fireDate"),
            Reference::TaskId => f.write_str("task.id"),
            Reference::ArrayIndex => f.write_str("array.index"),
            Reference::Axis(name) => write!(f, "matrix.{name}"),
            Reference::Item => f.write_str("item"),
            Reference::ItemField(key) => write!(f, "item.{key}"),
        }
    }
}

/// Whether `text` holds the mark that opens a reference.
pub fn has_reference(text: &str) -> bool {
    text.contains(OPEN)
}

/// Whether `written` in a reference means `name`: letter by letter, with `_` and `-` taken as equal.
pub fn is_same_name(written: &str, name: &str) -> bool {
    written.len() == name.len()
        && written.bytes().map(underscored).eq(name.bytes().map(underscored))
}

/// `name` as expressions see it, with `_` for `-`. Two names are the same to [`is_same_name`] if this is equal.
pub(crate) fn in_expressions(name: &str) -> String {
    name.replace('-', "_")
}

fn underscored(byte: u8) -> u8 {
    if byte == b'-' { b'_' } else { byte }
}

/// The lines of a text, without those that are empty or hold nothing but spaces.
pub fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.trim().is_empty())
}

/// Takes a text apart into literals and references.
pub fn parse(text: &str) -> Result<Vec<Part>, TemplateError> {
    parts(text, reference)
}

/// As [`parse`], where something else than a [`Reference`] stands inside, which `read` reads.
pub(super) fn parts<R>(
    text: &str,
    read: impl Fn(&str) -> Result<R, TemplateError>,
) -> Result<Vec<Part<R>>, TemplateError> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find(OPEN) {
        if start > 0 {
            parts.push(Part::Literal(rest[..start].into()));
        }
        let inside = &rest[start + OPEN.len()..];
        let end = inside.find(CLOSE).ok_or(TemplateError::Unclosed)?;
        parts.push(Part::Reference(read(inside[..end].trim())?));
        rest = &inside[end + CLOSE.len()..];
    }
    if !rest.is_empty() {
        parts.push(Part::Literal(rest.into()));
    }
    Ok(parts)
}

/// `text` with every reference replaced by what `value` gives for it.
pub fn render(
    text: &str,
    value: &dyn Fn(&Reference) -> Option<Text>,
) -> Result<String, TemplateError> {
    if !has_reference(text) {
        return Ok(text.to_owned());
    }
    let mut rendered = String::new();
    for part in parse(text)? {
        match part {
            Part::Literal(literal) => rendered.push_str(&literal),
            Part::Reference(reference) => match value(&reference) {
                Some(found) => rendered.push_str(&found),
                None => return Err(TemplateError::NoValue { found: reference.to_string() }),
            },
        }
        if rendered.len() > limits::TEXT_BYTES_MAX {
            return Err(TemplateError::TooLong);
        }
    }
    Ok(rendered)
}

fn reference(text: &str) -> Result<Reference, TemplateError> {
    let refuse = || TemplateError::NotAReference { found: shorten(text) };
    let is_name = |part: &str| {
        let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        !part.is_empty() && part.len() <= limits::NAME_BYTES_MAX && part.bytes().all(is_allowed)
    };
    let mut parts = text.split('.');
    let words: Vec<&str> = parts.by_ref().take(4).collect();
    if parts.next().is_some() || !words.iter().all(|word| is_name(word)) {
        return Err(refuse());
    }
    match words[..] {
        ["params", name] => Ok(Reference::Param(name.into())),
        ["needs", task, "outputs", key] => {
            Ok(Reference::Output { task: task.into(), key: key.into() })
        }
        ["tasks", task, "outputs", key] => {
            Ok(Reference::TaskOutput { task: task.into(), key: key.into() })
        }
        ["run", "id"] => Ok(Reference::RunId),
        ["run", "number"] => Ok(Reference::RunNumber),
        ["run", "result"] => Ok(Reference::RunResult),
        ["run", "workflow"] => Ok(Reference::RunWorkflow),
        ["run", "namespace"] => Ok(Reference::RunNamespace),
        ["run", "schedule"] => Ok(Reference::RunSchedule),
        ["run", "fireTime"] => Ok(Reference::RunFireTime),
        ["run", "fireDate"] => Ok(Reference::RunFireDate),
        ["task", "id"] => Ok(Reference::TaskId),
        ["array", "index"] => Ok(Reference::ArrayIndex),
        ["matrix", axis] => Ok(Reference::Axis(axis.into())),
        ["item"] => Ok(Reference::Item),
        ["item", key] => Ok(Reference::ItemField(key.into())),
        _ => Err(refuse()),
    }
}

pub(super) fn shorten(text: &str) -> String {
    text.chars().take(60).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_texts_apart() {
        assert_eq!(
            parse("plain $HOME ${X} {{y}}").unwrap(),
            [Part::Literal("plain $HOME ${X} {{y}}".into())]
        );
        assert_eq!(parse("").unwrap(), []);
        let parts = parse("a-${{params.day}}${{ needs.get-it.outputs.rows }}!").unwrap();
        assert_eq!(
            parts,
            [
                Part::Literal("a-".into()),
                Part::Reference(Reference::Param("day".into())),
                Part::Reference(Reference::Output { task: "get-it".into(), key: "rows".into() }),
                Part::Literal("!".into()),
            ]
        );
    }

    #[test]
    fn every_reference_prints_as_it_is_written() {
        for text in [
            "params.a_b",
            "needs.t.outputs.k",
            "tasks.t.outputs.k",
            "run.id",
            "run.number",
            "run.result",
            "run.workflow",
            "run.namespace",
            "run.schedule",
            "run.fireTime",
            "run.fireDate",
            "task.id",
            "array.index",
            "matrix.a_b",
            "item",
            "item.Some_Key",
        ] {
            let parts = parse(&format!("${{{{ {text} }}}}")).unwrap();
            let [Part::Reference(reference)] = &parts[..] else {
                panic!("{text} is one reference")
            };
            assert_eq!(reference.to_string(), text);
        }
    }

    #[test]
    fn refuses_expressions_and_halves() {
        assert_eq!(parse("${{ params.x"), Err(TemplateError::Unclosed));
        for text in [
            "",
            "params",
            "params.a | upper",
            "params.a.b",
            "secrets.X",
            "needs.t.outputs.k.x",
            "1 + 1",
            "run.",
        ] {
            let error = parse(&format!("${{{{ {text} }}}}")).unwrap_err();
            assert!(matches!(error, TemplateError::NotAReference { .. }), "{text}");
        }
    }

    #[test]
    fn fills_in() {
        let value = |reference: &Reference| match reference {
            Reference::Param(name) if is_same_name(name, "the-day") => {
                Some("monday ${{ run.id }}".into())
            }
            Reference::RunNumber => Some("42".into()),
            _ => None,
        };
        // What a reference stands for is not read again.
        assert_eq!(
            render("${{ params.the_day }}/${{ run.number }}", &value).unwrap(),
            "monday ${{ run.id }}/42"
        );
        assert_eq!(
            render("${{ run.id }}", &value),
            Err(TemplateError::NoValue { found: "run.id".into() })
        );
    }

    #[test]
    fn a_text_cannot_grow_without_bound() {
        let big: Text = "x".repeat(64 << 10).into();
        let text = "${{ params.a }}".repeat(1000);
        assert_eq!(render(&text, &|_| Some(big.clone())), Err(TemplateError::TooLong));
    }
}
