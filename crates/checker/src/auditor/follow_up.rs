//! What one command, or one moment, brings about beyond the run that it happens in.

use muster_core::ids::{RunId, TaskIndex};
use muster_core::state::task::{StopReason, TaskEnd};

use super::step::Step;

impl Step<'_> {
    /// What one command, or one moment, brings about in other runs than its own, and by `failFast`: first what ended is
    /// told, then what must stop, then what failed, then the workflows that follow others.
    pub(super) fn follow_up(&mut self) {
        let mut tasks = 0;
        loop {
            self.begin_waiting();
            if let Some(child) = self.untold_child() {
                self.tell_parent(child);
            } else if let Some(child) = self.stopped_child() {
                self.stop_child(child);
            } else if let Some((id, task)) = self.failed.pop_first() {
                self.fail_fast(id, task);
            } else if let Some(id) = self.unfollowed.pop_first() {
                self.follow_end(id, &mut tasks);
            } else {
                return;
            }
        }
    }

    /// What failed cancels the rest of its array task or of its run, if these say so.
    fn fail_fast(&mut self, id: RunId, task: TaskIndex) {
        let now = self.now;
        let stopped = self.live_run(id).map(|work| work.failed_fast(task, now));
        for (range, to) in stopped.unwrap_or_default() {
            self.change(id, task, range, to);
        }
        if let Some(work) = self.live_run(id)
            && work.version.spec.fail_fast
            && work.result.is_none()
            && work.end_of(task.0 as usize) == Some(TaskEnd::Failed)
        {
            work.stop(StopReason::FailFast, now);
            self.mark_dirty(id);
        }
    }
}
