//! What could not be converted as it was.

use std::fmt;

use serde_json::{Value, json};

/// One thing that has no exact equivalent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// The workflow, as it is called in the new file.
    pub(crate) workflow: String,
    /// The task, as it is called in the new file; `None` for the workflow itself.
    pub(crate) task: Option<String>,
    /// Where it stands in the export.
    pub(crate) path: String,
    pub(crate) kind: Kind,
    /// What it was, and what became of it.
    pub(crate) what: String,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// The task fails until somebody writes what it does.
    Unwritten,
    /// It is not in the new file.
    LeftOut,
    /// It is in the new file, and does not mean quite the same.
    Changed,
}

impl Kind {
    pub(crate) const ALL: [Kind; 3] = [Kind::Unwritten, Kind::LeftOut, Kind::Changed];

    /// The word of the report in JSON.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Kind::Unwritten => "unwritten",
            Kind::LeftOut => "leftOut",
            Kind::Changed => "changed",
        }
    }

    /// The word for people.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Kind::Unwritten => "fails until it is written",
            Kind::LeftOut => "left out",
            Kind::Changed => "changed",
        }
    }
}

impl Finding {
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "workflow": self.workflow,
            "task": self.task,
            "path": self.path,
            "kind": self.kind.word(),
            "what": self.what,
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.workflow)?;
        if let Some(task) = &self.task {
            write!(f, "/{task}")?;
        }
        write!(f, ": {}: {}", self.kind.words(), self.what)
    }
}
