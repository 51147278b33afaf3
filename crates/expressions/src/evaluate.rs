//! Evaluation: within bounds, and with an answer whatever happens.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use minijinja::machinery::ast::Expr;
use minijinja::value::{Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, machinery};
use muster_core::command::Verdict;
use muster_core::ids::TaskIndex;
use muster_core::spec::{Condition, FanOut};
use muster_core::state::run::Run;
use muster_core::state::task::{Task, TaskEnd};

use crate::items;
use crate::kind::{all_parts, chain};
use crate::scope::{self, Moment, Scope};

/// What an evaluation may use: a step costs one, and so do 64 bytes of a text that is made or looked at. A few
/// milliseconds at most.
pub const FUEL: u64 = 20_000;

/// Most opening brackets in an expression.
const BRACKETS_MAX: usize = 32;

/// What becomes of an undecided task of a run. `None` if the run has no such task, or nothing of it is to be decided.
/// Of a sub-workflow that is to start only that: its parameters hold references, and no expressions.
pub fn decide(run: &Arc<Run>, task: TaskIndex, moment: &Arc<Moment>) -> Option<Verdict> {
    let spec = run.spec(task)?;
    if !spec.needs_decision() {
        return None;
    }
    let scope = Scope { run: run.clone(), task, moment: moment.clone() };
    let verdict = match &spec.condition {
        Condition::Expression(text) => judged(text, &scope),
        Condition::Success | Condition::Failure | Condition::Always | Condition::Cancelled => {
            Verdict::Start
        }
    };
    // Whether it runs at all comes first: a list that nobody goes through need not be one.
    Some(match (verdict, &spec.fan_out) {
        (Verdict::Start, Some(FanOut::Reference(found))) => items::verdict(&scope, spec, found),
        (verdict, _) => verdict,
    })
}

/// What a condition comes to.
fn judged(text: &str, scope: &Scope) -> Verdict {
    let failed =
        |why: String| Verdict::Fail { message: format!("if: `{}`: {why}", shorten(text)).into() };
    match value_of(text, scope) {
        Ok(value) => match value.kind() {
            ValueKind::Bool if value.is_true() => Verdict::Start,
            ValueKind::Bool => Verdict::Skip,
            other => failed(format!("it came to {}, not true or false", words(other))),
        },
        Err(why) => failed(why),
    }
}

/// What an expression comes to, or why it does not.
fn value_of(text: &str, scope: &Scope) -> Result<Value, String> {
    if has_too_many_brackets(text) {
        return Err(format!("it has more than {BRACKETS_MAX} brackets"));
    }
    // The library is not ours: should it panic over what a user wrote, then the task fails, and not the leader.
    let evaluated = catch_unwind(AssertUnwindSafe(|| {
        let environment = environment();
        let expression = environment.compile_expression(text)?;
        expression.eval(scope::root(scope.clone()))
    }));
    match evaluated {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(why(&error, text, scope)),
        Err(_) => Err("it cannot be evaluated".to_owned()),
    }
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    environment.add_filter("fromjson", from_json);
    environment
}

/// The tree of an expression, or what is wrong with its syntax.
pub(crate) fn parse(text: &str) -> Result<Expr<'_>, String> {
    if has_too_many_brackets(text) {
        return Err(format!("`{}` has more than {BRACKETS_MAX} brackets", shorten(text)));
    }
    machinery::parse_expr(text)
        .map_err(|error| format!("`{}` is not an expression: {}", shorten(text), detail(&error)))
}

/// The library goes down into brackets by calling itself, and its own bound is too far for a stack of 2 MiB. However
/// they stand, brackets are nested no deeper than there are of them.
fn has_too_many_brackets(text: &str) -> bool {
    text.bytes().filter(|byte| matches!(byte, b'(' | b'[' | b'{')).count() > BRACKETS_MAX
}

fn detail(error: &Error) -> String {
    error.detail().map_or_else(|| error.kind().to_string(), str::to_owned)
}

/// Why an evaluation failed, in words for who wrote the expression.
fn why(error: &Error, text: &str, scope: &Scope) -> String {
    match error.kind() {
        ErrorKind::OutOfFuel => {
            "it takes too long, or makes texts that are too large; let a task work it out"
                .to_owned()
        }
        ErrorKind::UndefinedError => missing(text, scope),
        _ if detail(error).contains("undefined") => missing(text, scope),
        _ => detail(error),
    }
}

/// Which name of an expression has no value.
fn missing(text: &str, scope: &Scope) -> String {
    let expr = machinery::parse_expr(text).ok();
    let missing = expr.iter().flat_map(all_parts).find_map(|part| missing_output(part, scope));
    match missing {
        Some((name, ended)) => format!(
            "`{}` has no value, for the task {ended}; `| default('…')` gives it one",
            shorten(&name)
        ),
        None => "a name in it has no value".to_owned(),
    }
}

/// The output that a name stands for and that was not written, and how the task ended that should have.
fn missing_output(expr: &Expr<'_>, scope: &Scope) -> Option<(String, &'static str)> {
    let chain = chain(expr)?;
    let ["needs", task, "outputs", key] = chain[..] else { return None };
    let task = scope.run.task(scope.upstream(task)?)?;
    (!has_output(task, key)).then(|| (chain.join("."), why_missing(task)))
}

/// What a task did that wrote no outputs.
pub(crate) fn why_missing(task: &Task) -> &'static str {
    match task.end() {
        None => "has not ended",
        Some(TaskEnd::Succeeded) => "did not write it",
        Some(TaskEnd::Failed) => "failed",
        Some(TaskEnd::Skipped { .. }) => "was skipped",
        Some(TaskEnd::Cancelled) => "was cancelled",
    }
}

fn has_output(task: &Task, key: &str) -> bool {
    let mut outputs = task.outputs.iter().flat_map(|outputs| outputs.keys());
    outputs.any(|it| muster_core::spec::template::is_same_name(key, it))
}

fn words(kind: ValueKind) -> &'static str {
    match kind {
        ValueKind::Undefined => "nothing",
        ValueKind::None => "none",
        ValueKind::Bool => "true or false",
        ValueKind::Number => "a number",
        ValueKind::String => "a text",
        ValueKind::Seq | ValueKind::Iterable => "a list",
        ValueKind::Map => "a map",
        _ => "something else",
    }
}

/// `| fromjson`: the value that a text of JSON holds.
fn from_json(text: &str) -> Result<Value, Error> {
    let parsed: serde_json::Value = serde_json::from_str(text).map_err(|error| {
        Error::new(ErrorKind::InvalidOperation, format!("`fromjson`: not JSON: {error}"))
    })?;
    Ok(of_json(parsed))
}

fn of_json(json: serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::from(()),
        serde_json::Value::Bool(it) => Value::from(it),
        serde_json::Value::Number(it) => match (it.as_i64(), it.as_u64()) {
            (Some(it), _) => Value::from(it),
            (None, Some(it)) => Value::from(it),
            (None, None) => Value::from(it.as_f64().unwrap_or(f64::NAN)),
        },
        serde_json::Value::String(it) => Value::from(it),
        serde_json::Value::Array(it) => {
            Value::from(it.into_iter().map(of_json).collect::<Vec<_>>())
        }
        serde_json::Value::Object(it) => {
            let pairs = it.into_iter().map(|(key, value)| (key, of_json(value)));
            Value::from(pairs.collect::<BTreeMap<_, _>>())
        }
    }
}

/// A piece of what a user wrote, fit for a message.
pub(crate) fn shorten(text: &str) -> String {
    const SHOWN: usize = 100;
    let mut letters = text.chars();
    let mut shown: String = letters.by_ref().take(SHOWN).flat_map(char::escape_debug).collect();
    // Quotes need no escape here.
    shown = shown.replace("\\'", "'").replace("\\\"", "\"");
    if letters.next().is_some() {
        shown.push('…');
    }
    shown
}
