//! Recorded workflows in WfFormat 1.5 (<https://wfcommons.org>) as workflows that can be run again.
//!
//! Each recorded task becomes a process that behaves like it from the outside: it fails with code 66 if a file that an
//! upstream task should have written is missing, sleeps as long as the recorded task ran, and writes the recorded
//! output files, each complete from the moment it exists. A run that ends well thereby proves that the order was kept.

mod names;
mod order;
mod trace;
mod yaml;

use muster_core::ids::{Name, NameError};
use muster_core::spec::{self, error::SpecErrors};

/// What to make of a trace.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Options {
    /// Recorded seconds are multiplied by this: 0.01 runs a hundred times as fast, 0 without any wait.
    pub(crate) time_scale: f64,
    /// An absolute folder that all workers share; every run makes a folder of its own in it. `/tmp/muster-<name>` if
    /// absent.
    pub(crate) workdir: Option<String>,
    /// The workflow's name; that of the trace if absent.
    pub(crate) name: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Options { time_scale: 1.0, workdir: None, name: None }
    }
}

/// Why a trace cannot be converted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConvertError {
    /// Not JSON, or not of the shape of WfFormat.
    #[error("line {line}, column {column}: {message}")]
    Malformed { line: usize, column: usize, message: String },
    /// Another version of the format.
    #[error(
        "the trace is in WfFormat {found}; only 1.5 is supported (the wfcommons tools can convert it)"
    )]
    Version { found: String },
    /// No version at all.
    #[error("the file has no `schemaVersion`, so it is not a WfFormat trace")]
    NoVersion,
    /// Two tasks have one id.
    #[error("the trace has two tasks with the id `{id}`")]
    DuplicateTask { id: String },
    /// A parent or child that is not in the trace.
    #[error("task `{task}` names `{other}` as its {relation}, but the trace has no such task")]
    UnknownTask { task: String, other: String, relation: &'static str },
    /// The declared parents wait for each other.
    #[error("the declared parents form a cycle through {}", tasks.join(", "))]
    Cycle { tasks: Vec<String> },
    /// A time that no process can sleep.
    #[error(
        "task `{task}` would sleep {seconds} seconds; from 0 to 31622400 (366 days) are possible"
    )]
    Runtime { task: String, seconds: f64 },
    /// A factor that is no factor.
    #[error("the time scale {found} is not a number from 0 up")]
    TimeScale { found: f64 },
    /// A folder that would be another for every task.
    #[error("the working folder `{found}` is not absolute; begin it with `/`")]
    Workdir { found: String },
    /// A name that no workflow can have.
    #[error("the workflow cannot be called that: {0}")]
    Name(NameError),
    /// The workflow breaks a rule, most likely a limit.
    #[error("the trace makes no valid workflow:\n{0}")]
    Invalid(SpecErrors),
}

/// Turns a trace into the text of a workflow file, which is well-formed.
pub(crate) fn convert(json: &str, options: &Options) -> Result<String, ConvertError> {
    if !options.time_scale.is_finite() || options.time_scale < 0.0 {
        return Err(ConvertError::TimeScale { found: options.time_scale });
    }
    let trace = trace::read(json)?;
    let name = match &options.name {
        Some(name) => Name::parse(name).map_err(ConvertError::Name)?.to_string(),
        None => names::workflow(&trace.name),
    };
    let workdir = options.workdir.clone().unwrap_or_else(|| format!("/tmp/muster-{name}"));
    if !workdir.starts_with('/') {
        return Err(ConvertError::Workdir { found: workdir });
    }
    let plan = order::order(&trace)?;
    let text = yaml::write(&trace, &plan, &name, &workdir, options.time_scale)?;
    match spec::parse(&text) {
        Ok(_) => Ok(text),
        Err(errors) => Err(ConvertError::Invalid(errors)),
    }
}

#[cfg(test)]
mod tests;
