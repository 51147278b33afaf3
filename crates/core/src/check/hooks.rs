//! Hooks have their turn exactly once all other tasks of their run have ended.

use super::{Violation, violated};
use crate::state::run::{CANCELS_MAX, Run};
use crate::state::task::TaskStatus;

pub(super) fn check(run: &Run) -> Result<(), Violation> {
    let counts = run.has_hooks() || run.cancels == 0 && run.result.is_none();
    if !counts || run.cancels > CANCELS_MAX {
        return violated("I16", format!("run {} was cancelled {} times", run.id, run.cancels));
    }
    if run.has_hooks() && run.result.is_some() != (run.begun_at.is_some() && run.open_tasks() == 0)
    {
        let (result, open) = (run.result, run.open_tasks());
        return violated("I7", format!("run {} came to {result:?}, {open} tasks are open", run.id));
    }
    if run.result.is_some_and(|result| result != run.result_of_tasks()) {
        return violated("I7", format!("run {} forgot what its tasks came to", run.id));
    }
    for (index, hook) in run.hooks() {
        let status = run.task(index).map(|task| task.status());
        let is_begun = status.is_some_and(|it| it != TaskStatus::Blocked && !it.is_terminal());
        let is_its_turn = run.result.is_some_and(|result| result.begins(hook));
        let is_forgotten = run.result.is_some() && status == Some(TaskStatus::Blocked);
        if is_forgotten || is_begun && !is_its_turn {
            return violated("I7", format!("hook {}/{index} is {status:?} out of turn", run.id));
        }
    }
    Ok(())
}
