//! Which ends of other workflows' runs make runs of a workflow.

use std::collections::BTreeMap;

use crate::ids::{Name, Text};

/// One trigger of a workflow: a workflow of the same namespace, and the ends of its runs that count.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TriggerSpec {
    /// Its name within the workflow. A trigger that keeps its name keeps what it counted when the workflow is applied
    /// again.
    pub name: Name,
    /// The workflow whose runs it follows. It need not exist.
    pub after: Name,
    /// The ends that make a run.
    pub on: TriggerOn,
    /// Whether it is switched off by the file.
    pub is_suspended: bool,
    /// Values for the parameters of its runs.
    pub params: BTreeMap<Name, Text>,
}

/// The ends of a run that a trigger follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TriggerOn {
    /// The run succeeded.
    #[default]
    Success,
    /// The run failed, or its timeout was over.
    Failure,
    /// The run ended, a cancelled one included.
    End,
}

impl TriggerSpec {
    /// A trigger with this name and workflow and every other field at its default.
    pub fn new(name: Name, after: Name) -> Self {
        TriggerSpec {
            name,
            after,
            on: TriggerOn::default(),
            is_suspended: false,
            params: BTreeMap::new(),
        }
    }
}

impl TriggerOn {
    /// All of them, with the words that people write.
    pub const ALL: [(&str, TriggerOn); 3] =
        [("success", TriggerOn::Success), ("failure", TriggerOn::Failure), ("end", TriggerOn::End)];

    /// The word that people write.
    pub fn word(self) -> &'static str {
        match self {
            TriggerOn::Success => "success",
            TriggerOn::Failure => "failure",
            TriggerOn::End => "end",
        }
    }

    /// Whether there is an end that both follow.
    pub fn overlaps(self, other: TriggerOn) -> bool {
        self == other || self == TriggerOn::End || other == TriggerOn::End
    }
}
