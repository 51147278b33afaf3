//! Workers report starts. A start that was reported before changes nothing.

use super::Step;
use crate::command::{Start, StartAttempts};
use crate::reply::{ItemRefusal, Reply};
use crate::state::task::TaskState;

impl Step<'_> {
    pub(super) fn start_attempts(&mut self, command: &StartAttempts) -> Reply {
        let mut refused = Vec::new();
        for (position, start) in command.starts.iter().enumerate() {
            if let Err(refusal) = self.start(start) {
                refused.push((position as u32, refusal));
            }
        }
        Reply::Items { refused }
    }

    fn start(&mut self, start: &Start) -> Result<(), ItemRefusal> {
        for (range, state) in self.live_cells(&start.attempt)? {
            if let TaskState::Placed { tries, attempt } = state {
                let started_at = (self.now - start.age).max(attempt.placed_at);
                self.change(
                    start.attempt.run,
                    start.attempt.task,
                    range,
                    TaskState::Running { tries, attempt, started_at },
                );
            }
        }
        Ok(())
    }
}
