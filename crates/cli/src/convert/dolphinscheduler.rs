//! Exports of DolphinScheduler (<https://dolphinscheduler.apache.org>) as workflow files.
//!
//! ```text
//!  JSON ──► export, legacy ──► workflow ──► one YAML document a workflow
//!                                 │ └─ task ──► script ──► shell, python
//!                                 └──────────► findings: what has no exact equivalent
//! ```
//!
//! The rule behind all of it: a new file never does silently what the old one did not. What has no equivalent is told,
//! on stderr and in the file; a task whose meaning would be another fails with a message until somebody writes it.

mod export;
mod finding;
mod json;
mod legacy;
mod outputs;
mod python;
mod scope;
mod script;
mod shell;
mod task;
mod text;
mod times;
mod workflow;

use muster_core::spec::{self, error::SpecErrors};

pub(crate) use self::finding::{Finding, Kind};
use super::names::{Unique, sanitize};

/// Why an export cannot be converted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConvertError {
    /// Not JSON.
    #[error("line {line}, column {column}: {message}")]
    Malformed { line: usize, column: usize, message: String },
    /// JSON, but not of the shape of an export.
    #[error("{path}: {message}")]
    Shape { path: String, message: String },
    /// The workflow breaks a rule, most likely a limit.
    #[error("{path}: the workflow {name:?} makes no valid workflow here:\n{errors}")]
    Invalid { path: String, name: String, errors: SpecErrors },
}

/// A workflow in its new form.
#[derive(Clone, Debug)]
pub(crate) struct Converted {
    pub(crate) name: String,
    /// What it was called.
    pub(crate) original: String,
    /// How many tasks the export has of it.
    pub(crate) tasks: usize,
    /// A workflow file, well-formed.
    pub(crate) text: String,
}

/// All workflows of an export in their new form, and what of them has no exact equivalent.
pub(crate) fn convert(text: &str) -> Result<(Vec<Converted>, Vec<Finding>), ConvertError> {
    let value = json::parse(text)?;
    let definitions = export::read(&value)?;
    let mut unique = Unique::default();
    let (mut all, mut findings) = (Vec::new(), Vec::new());
    for definition in &definitions {
        let name = unique.name(sanitize(&definition.name, "workflow"));
        let (text, found) = workflow::write(definition, name.clone())?;
        if let Err(errors) = spec::parse_with(&text, &muster_calendar::check) {
            let path = definition.path.clone();
            return Err(ConvertError::Invalid { path, name: definition.name.clone(), errors });
        }
        findings.extend(found);
        let original = definition.name.clone();
        all.push(Converted { name, original, tasks: definition.tasks.len(), text });
    }
    Ok((all, findings))
}

#[cfg(test)]
mod tests;
