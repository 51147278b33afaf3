//! Why bytes or a message are not a value of the core.

use muster_core::ids::NameError;

/// Why bytes or a message are not a value of the core.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes are not a message of the expected type.
    #[error("not a well-formed message: {0}")]
    Malformed(#[from] prost::DecodeError),
    /// A command is of a kind that a newer version of Muster made. Whoever applies the log must stop: to skip it
    /// would let the replicas differ.
    #[error("a command is of a kind that this version does not know; upgrade this master")]
    UnknownCommand,
    /// The bytes were written in a format that a newer version of Muster made.
    #[error(
        "written in format {format}, and this version reads {known} at most; upgrade this master"
    )]
    UnknownFormat {
        /// Their format.
        format: u32,
        /// The newest format that can be read.
        known: u32,
    },
    /// A field has no meaning.
    #[error("`{path}` {problem}")]
    Field {
        /// Where, from the message that was converted: `tasks[3].retry.backoff`.
        path: String,
        /// What is wrong with it.
        problem: Problem,
    },
}

/// What is wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// It is needed, and absent.
    #[error("is missing")]
    Missing,
    /// It is an enum, and the number stands for nothing known.
    #[error("has the unknown value {0}")]
    UnknownValue(i32),
    /// It is a name, and malformed.
    #[error("is not a name: {0}")]
    Name(#[from] NameError),
    /// It is a workflow, and makes no sense.
    #[error("is not a workflow: {0}")]
    Workflow(String),
    /// It breaks a rule of its message.
    #[error("{0}")]
    Invalid(&'static str),
}

impl DecodeError {
    /// `problem` with the field `path`.
    pub fn field(path: impl Into<String>, problem: Problem) -> Self {
        DecodeError::Field { path: path.into(), problem }
    }

    /// The field `path` is needed, and absent.
    pub fn missing(path: &str) -> Self {
        Self::field(path, Problem::Missing)
    }

    /// The field `path` breaks a rule.
    pub fn invalid(path: &str, rule: &'static str) -> Self {
        Self::field(path, Problem::Invalid(rule))
    }

    /// The same error, seen from the message whose field `outer` it happened in.
    pub(super) fn below(self, outer: &str) -> Self {
        match self {
            DecodeError::Field { path, problem } => {
                let dot = if path.is_empty() || path.starts_with('[') { "" } else { "." };
                DecodeError::Field { path: format!("{outer}{dot}{path}"), problem }
            }
            other @ (DecodeError::Malformed(_)
            | DecodeError::UnknownCommand
            | DecodeError::UnknownFormat { .. }) => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_grows_from_the_inside_out() {
        let error = DecodeError::missing("limit").below("retry").below("[3]").below("tasks");
        assert_eq!(error.to_string(), "`tasks[3].retry.limit` is missing");
    }
}
