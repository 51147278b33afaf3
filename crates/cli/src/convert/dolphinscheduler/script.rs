//! A script with the parameters of DolphinScheduler as one that reads variables.
//!
//! DolphinScheduler writes the values of parameters into the text of a script before it runs. Here a script never
//! changes: values come in variables, so that no value can become code. What was written into quotes, comments and
//! documents is found by [`super::shell`] and [`super::python`]; this is what both have in common.

use std::collections::{BTreeMap, BTreeSet};

use super::export::Property;
use super::scope::{Piece, Scope, Value};
use super::{python, shell};

/// What a script became.
#[derive(Debug, Default)]
pub(super) struct Script {
    pub(super) text: String,
    /// Variables, with references.
    pub(super) env: BTreeMap<String, String>,
    /// Keys that it writes to `$MUSTER_OUTPUT`.
    pub(super) outputs: Vec<String>,
    /// Tasks whose outputs it reads.
    pub(super) needs: BTreeSet<String>,
    /// Why it does not do what the original does.
    pub(super) problems: BTreeSet<String>,
    /// Names in `${}` that are nothing in the export.
    pub(super) unknown: BTreeSet<String>,
}

/// The languages of scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Language {
    Shell,
    Python,
}

/// Names that a shell, Python or the system would take for its own.
const RESERVED: [&str; 22] = [
    "PATH",
    "HOME",
    "LANG",
    "TZ",
    "TMPDIR",
    "IFS",
    "PWD",
    "OLDPWD",
    "UID",
    "EUID",
    "PPID",
    "GROUPS",
    "SHELL",
    "SHELLOPTS",
    "BASHOPTS",
    "RANDOM",
    "SECONDS",
    "HOSTNAME",
    "USER",
    "PS4",
    "ENV",
    "LINENO",
];
/// The variable with the time of the run, which time expressions start from.
const BASE: &str = "ds_time";

/// Converts a script.
pub(super) fn convert(
    language: Language,
    script: &str,
    scope: &Scope,
    outs: &[Property],
    zone: Option<&str>,
) -> Script {
    let script = script.replace("\r\n", "\n");
    let mut binder = Binder { language, script: &script, scope, ..Binder::new(scope) };
    let (text, outputs) = match language {
        Language::Shell => shell::rewrite(&script, outs, &mut binder),
        Language::Python => (python::rewrite(&script, outs, &mut binder), Vec::new()),
    };
    let mut converted = Script { outputs, ..binder.done };
    let mut lines = binder.lines;
    if lines.iter().any(|line| line.contains(BASE)) {
        lines.insert(
            0,
            match language {
                Language::Shell => shell::time_of_run(BASE, zone),
                Language::Python => python::time_of_run(BASE, zone),
            },
        );
    }
    converted.text = match language {
        Language::Shell => shell::with_prologue(&text, &lines),
        Language::Python => python::with_prologue(&text, &lines, &mut converted.problems),
    };
    for name in std::mem::take(&mut converted.unknown) {
        if !RESERVED.contains(&name.as_str()) && !has_word(&script, &name) {
            converted.unknown.insert(name);
        }
    }
    converted
}

/// Gives parameters their variables.
pub(super) struct Binder<'s> {
    language: Language,
    script: &'s str,
    pub(super) scope: &'s Scope,
    bound: BTreeMap<String, Bound>,
    /// What the script begins with.
    pub(super) lines: Vec<String>,
    pub(super) done: Script,
}

/// Where a value is found.
#[derive(Clone, Debug)]
pub(super) enum Bound {
    /// In the environment.
    Environment(String),
    /// In a variable of the script.
    Variable(String),
}

impl<'s> Binder<'s> {
    fn new(scope: &'s Scope) -> Self {
        Binder {
            language: Language::Shell,
            script: "",
            scope,
            bound: BTreeMap::new(),
            lines: Vec::new(),
            done: Script::default(),
        }
    }

    pub(super) fn problem(&mut self, problem: impl Into<String>) {
        self.done.problems.insert(problem.into());
    }

    /// Where the value of `name` is found; the same for the same name.
    pub(super) fn bind(&mut self, name: &str, value: &Value) -> Bound {
        if let Some(bound) = self.bound.get(name) {
            return bound.clone();
        }
        let variable = self.variable(name);
        let tasks: Vec<String> = value.tasks().into_iter().map(str::to_owned).collect();
        self.done.needs.extend(tasks);
        let bound = match self.reference(value) {
            Some(reference) => {
                self.done.env.insert(variable.clone(), reference);
                Bound::Environment(variable)
            }
            None => self.compute(variable, value),
        };
        self.bound.insert(name.to_owned(), bound.clone());
        bound
    }

    /// The value as the text of a variable, if that is enough.
    fn reference(&mut self, value: &Value) -> Option<String> {
        let mut text = String::new();
        for piece in &value.pieces {
            match piece {
                Piece::Text(literal) => text.push_str(literal),
                Piece::Param { name, otherwise: None } => {
                    text.push_str(&format!("${{{{ params.{name} }}}}"));
                }
                Piece::Output { task, key } => {
                    text.push_str(&format!("${{{{ needs.{task}.outputs.{key} }}}}"));
                }
                Piece::Param { otherwise: Some(_), .. } | Piece::Time(_) => return None,
            }
        }
        if value.known().contains("${{") {
            self.problem("a parameter holds `${{`, which is the mark of a reference in Muster");
        }
        Some(text)
    }

    /// Works the value out at the beginning of the script.
    fn compute(&mut self, variable: String, value: &Value) -> Bound {
        if let [Piece::Param { name, otherwise: Some(otherwise) }] = &value.pieces[..] {
            let expression = self.expression(otherwise);
            self.done.env.insert(variable.clone(), format!("${{{{ params.{name} }}}}"));
            self.lines.push(match self.language {
                Language::Shell => format!("[ -n \"${variable}\" ] || {variable}={expression}"),
                Language::Python => {
                    format!("{variable} = os.environ[\"{variable}\"] or {expression}")
                }
            });
        } else {
            let expression = self.expression(value);
            self.lines.push(match self.language {
                Language::Shell => format!("{variable}={expression}"),
                Language::Python => format!("{variable} = {expression}"),
            });
        }
        Bound::Variable(variable)
    }

    fn expression(&mut self, value: &Value) -> String {
        let mut parts = Vec::new();
        for piece in &value.pieces {
            let part = match (piece, self.language) {
                (Piece::Text(text), Language::Shell) => shell::in_double_quotes(text),
                (Piece::Text(text), Language::Python) => python::literal(text),
                (Piece::Time(time), Language::Shell) => time.shell(BASE),
                (Piece::Time(time), Language::Python) => time.python(BASE),
                (Piece::Param { .. } | Piece::Output { .. }, language) => {
                    let name = match piece {
                        Piece::Param { name, .. } => name.clone(),
                        Piece::Output { key, .. } => key.clone(),
                        Piece::Text(_) | Piece::Time(_) => String::new(),
                    };
                    let alone = Value { pieces: vec![piece.clone()] };
                    let bound = self.bind(&format!("{name} "), &alone);
                    match language {
                        Language::Shell => bound.in_shell(),
                        Language::Python => bound.in_python(),
                    }
                }
            };
            parts.push(part);
        }
        match self.language {
            Language::Shell => format!("\"{}\"", parts.concat()),
            Language::Python => parts.join(" + "),
        }
    }

    /// A variable that nothing else in the script is called, like the parameter if that is possible.
    fn variable(&self, name: &str) -> String {
        let is_free = |name: &str| {
            let known = |it: &Bound| matches!(it, Bound::Environment(it) | Bound::Variable(it) if it == name);
            !self.bound.values().any(known) && !has_word(self.script, name)
        };
        let is_plain = is_identifier(name)
            && !RESERVED.contains(&name)
            && !["MUSTER_", "BASH", "LD_", "PYTHON", "ds_"].iter().any(|it| name.starts_with(it));
        if is_plain && is_free(name) {
            return name.to_owned();
        }
        let letters = name.trim().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' });
        let base = format!("ds_{}", letters.collect::<String>());
        let mut candidate = base.clone();
        let mut number = 2;
        while !is_free(&candidate) || candidate == BASE {
            candidate = format!("{base}_{number}");
            number += 1;
        }
        candidate
    }
}

impl Bound {
    pub(super) fn in_shell(&self) -> String {
        let (Bound::Environment(name) | Bound::Variable(name)) = self;
        format!("${{{name}}}")
    }

    pub(super) fn in_python(&self) -> String {
        match self {
            Bound::Environment(name) => format!("os.environ[\"{name}\"]"),
            Bound::Variable(name) => name.clone(),
        }
    }
}

pub(super) fn is_identifier(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Whether the script says `name` other than in `${name}`.
fn has_word(script: &str, name: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    script.match_indices(name).any(|(at, _)| {
        let (before, after) = (&script[..at], &script[at + name.len()..]);
        let is_whole = !before.ends_with(is_part) && !after.starts_with(is_part);
        is_whole && !(before.ends_with("${") && after.starts_with('}'))
    })
}

#[cfg(test)]
mod tests;
