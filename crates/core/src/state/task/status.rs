//! The states of a task in one word each: what people see, and what indexes and lists go by.

/// A [`super::TaskState`] without what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TaskStatus {
    /// See [`super::TaskState::Blocked`].
    Blocked,
    /// See [`super::TaskState::Undecided`].
    Undecided,
    /// See [`super::TaskState::Ready`].
    Ready,
    /// See [`super::TaskState::Placed`].
    Placed,
    /// See [`super::TaskState::Running`].
    Running,
    /// See [`super::TaskState::Backoff`].
    Backoff,
    /// See [`super::TaskState::Held`].
    Held,
    /// See [`super::TaskState::Awaiting`].
    Awaiting,
    /// See [`super::TaskState::Succeeded`].
    Succeeded,
    /// See [`super::TaskState::Failed`].
    Failed,
    /// See [`super::TaskState::Skipped`].
    Skipped,
    /// See [`super::TaskState::Cancelled`].
    Cancelled,
}

impl TaskStatus {
    /// How many there are.
    pub const COUNT: usize = 12;
    /// All of them.
    pub const ALL: [TaskStatus; Self::COUNT] = [
        TaskStatus::Blocked,
        TaskStatus::Undecided,
        TaskStatus::Ready,
        TaskStatus::Placed,
        TaskStatus::Running,
        TaskStatus::Backoff,
        TaskStatus::Held,
        TaskStatus::Awaiting,
        TaskStatus::Succeeded,
        TaskStatus::Failed,
        TaskStatus::Skipped,
        TaskStatus::Cancelled,
    ];

    /// Whether it is final (I6).
    pub fn is_terminal(self) -> bool {
        match self {
            TaskStatus::Succeeded
            | TaskStatus::Failed
            | TaskStatus::Skipped
            | TaskStatus::Cancelled => true,
            TaskStatus::Blocked
            | TaskStatus::Undecided
            | TaskStatus::Ready
            | TaskStatus::Placed
            | TaskStatus::Running
            | TaskStatus::Backoff
            | TaskStatus::Held
            | TaskStatus::Awaiting => false,
        }
    }

    /// The word people see.
    pub fn word(self) -> &'static str {
        match self {
            TaskStatus::Blocked => "blocked",
            TaskStatus::Undecided => "undecided",
            TaskStatus::Ready => "ready",
            TaskStatus::Placed => "placed",
            TaskStatus::Running => "running",
            TaskStatus::Backoff => "backoff",
            TaskStatus::Held => "held",
            TaskStatus::Awaiting => "awaiting",
            TaskStatus::Succeeded => "succeeded",
            TaskStatus::Failed => "failed",
            TaskStatus::Skipped => "skipped",
            TaskStatus::Cancelled => "cancelled",
        }
    }
}
