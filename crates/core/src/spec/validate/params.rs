//! Parameters: their names, their defaults, and which values they allow.

use std::collections::{BTreeMap, BTreeSet};

use super::super::error::quoted;
use super::super::path::Path;
use super::super::report::Report;
use super::super::{ParamSpec, WorkflowSpec};
use super::names::{self, Words};
use crate::ids::Name;
use crate::limits;

/// Checks the declarations. Values for those that come back cannot be judged.
pub(super) fn params<'s>(spec: &'s WorkflowSpec, report: &mut Report<'_>) -> BTreeSet<&'s Name> {
    let mut unsound = BTreeSet::new();
    let path = Path::Root.key("params");
    names::entries(spec.params.len(), "parameters", path, report);
    names::collisions(spec.params.keys().map(Name::as_str), path, Words::PARAMS, report);
    let mut bytes = 0;
    for (name, param) in &spec.params {
        let path = path.key(name.as_str());
        bytes += name.as_str().len();
        let values = param.default.iter().chain(&param.minimum).chain(&param.maximum);
        bytes += values.chain(&param.allowed).map(|value| value.len()).sum::<usize>();
        if let Some(description) = &param.description {
            names::length(description, path.key("description"), report);
        }
        if !one(param, path, report) {
            unsound.insert(name);
        }
    }
    if bytes > limits::PARAM_BYTES_MAX {
        let message = format!(
            "names, defaults and allowed values take {bytes} bytes; at most {} are possible",
            limits::PARAM_BYTES_MAX
        );
        report.error_with_help(path, message, "pass large values by file or URL");
    }
    unsound
}

/// Says whether it can be judged what may be given for the parameter.
fn one(param: &ParamSpec, path: Path<'_>, report: &mut Report<'_>) -> bool {
    let is_sound = bounds(param, path, report) && allowed(param, path, report);
    if let Some(default) = &param.default {
        let at = path.key("default");
        names::argument(default, at, report);
        if is_sound && let Err(error) = param.check(default) {
            report.error(at, error.to_string());
        }
    }
    is_sound
}

/// The smallest and the largest value. Says whether they make sense.
fn bounds(param: &ParamSpec, path: Path<'_>, report: &mut Report<'_>) -> bool {
    let mut is_sound = true;
    for (field, bound) in [("minimum", &param.minimum), ("maximum", &param.maximum)] {
        let Some(bound) = bound else { continue };
        let at = path.key(field);
        if !param.kind.has_order() {
            let kind = param.kind.word();
            let message = format!("`{field}` goes not with a parameter of the type `{kind}`");
            report.error_with_help(at, message, "only `integer`, `number` and `date` have bounds");
            is_sound = false;
        } else if let Err(error) = param.kind.read(bound) {
            report.error(at, error.to_string());
            is_sound = false;
        }
    }
    if let (Some(first), Some(last)) = (&param.minimum, &param.maximum)
        && let (Ok(least), Ok(most)) = (param.kind.read(first), param.kind.read(last))
        && is_sound
        && least > most
    {
        let message = format!("no value lies between {} and {}", quoted(first), quoted(last));
        report.error_with_help(path.key("maximum"), message, "exchange `minimum` and `maximum`");
        is_sound = false;
    }
    is_sound
}

/// The allowed values. Says whether they make sense.
fn allowed(param: &ParamSpec, path: Path<'_>, report: &mut Report<'_>) -> bool {
    let path = path.key("enum");
    names::entries(param.allowed.len(), "allowed values", path, report);
    if param.allowed.len() > limits::MAP_ENTRIES_MAX {
        return false;
    }
    let mut is_sound = true;
    let mut seen = BTreeMap::new();
    for (position, value) in param.allowed.iter().enumerate() {
        let at = path.index(position);
        names::argument(value, at, report);
        if let Err(error) = param.check_range(value) {
            report.error(at, error.to_string());
            is_sound = false;
        }
        let Ok(meant) = param.kind.read(value) else { continue };
        if let Some(first) = seen.insert(meant, value) {
            let message = match first == value {
                true => format!("{} is listed twice", quoted(value)),
                false => format!("{} is the same as {}", quoted(value), quoted(first)),
            };
            report.error_with_help(at, message, "remove one of them");
        }
    }
    is_sound
}
