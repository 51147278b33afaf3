//! Hooks: tasks that begin once all others of their run have ended, by how that went.

use crate::ids::Name;

/// What makes a task a hook, and says after which runs it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// After tasks that succeeded.
    OnSuccess,
    /// After tasks of which one failed, or that ran out of time.
    OnFailure,
    /// After whatever the tasks came to, a cancel included.
    OnExit,
}

impl Hook {
    /// All of them, in the order in which they stand behind the other tasks.
    pub const ALL: [Hook; 3] = [Hook::OnSuccess, Hook::OnFailure, Hook::OnExit];

    /// Its field in a file.
    pub fn field(self) -> &'static str {
        match self {
            Hook::OnSuccess => "onSuccess",
            Hook::OnFailure => "onFailure",
            Hook::OnExit => "onExit",
        }
    }

    /// The id of its task.
    pub fn id(self) -> Name {
        let id = match self {
            Hook::OnSuccess => "on-success",
            Hook::OnFailure => "on-failure",
            Hook::OnExit => "on-exit",
        };
        Name::parse(id).expect("it is a well-formed name")
    }
}
