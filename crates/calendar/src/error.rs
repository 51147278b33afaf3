//! What is wrong with a schedule.

use crate::cron::CronError;

/// What is wrong with a schedule, and in which field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct ScheduleError {
    /// The field, as it is written in a workflow file: `timeZone`, `exclude[2]`.
    pub field: String,
    /// What is wrong, and what to write instead.
    pub problem: String,
}

impl ScheduleError {
    pub(crate) fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }
}

impl From<CronError> for ScheduleError {
    fn from(error: CronError) -> Self {
        Self::new("cron", error.to_string())
    }
}
