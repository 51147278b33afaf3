//! How a run ended, in a few lines, and the exit code that says so.

use muster_client::v1;

use super::board::why;
use crate::exit::Exit;
use crate::names::label;
use crate::output::{child, run_word};
use crate::units::{between, short};

/// Failed tasks that are named, at most.
const FAILED_MAX: usize = 10;

/// `etl/42 failed in 3.1s: 4 tasks, ✓2 ✗1 ⊘1`, then each failed task with its reason and where to read more.
pub(crate) fn summarize(run: &v1::Run, tasks: &[v1::Task]) -> String {
    let tally = run.tally.unwrap_or_default();
    let mut text = format!(
        "{} {} in {}: {} {}{}, ✓{} ✗{}",
        label(run),
        run_word(run.status()),
        short(between(run.submitted_at_ms, run.ended_at_ms)),
        run.tasks,
        if run.tasks == 1 { "task" } else { "tasks" },
        indices(run, &tally),
        tally.succeeded,
        tally.failed,
    );
    let skipped = tally.skipped + tally.cancelled;
    if skipped > 0 {
        text.push_str(&format!(" ⊘{skipped}"));
    }
    if run.status() == v1::RunStatus::Failed && !run.stop_reason.is_empty() {
        text.push_str(&format!(" ({})", run.stop_reason));
    }
    let failed: Vec<&v1::Task> =
        tasks.iter().filter(|task| task.status() == v1::TaskStatus::Failed).collect();
    for task in failed.iter().take(FAILED_MAX) {
        text.push_str(&format!("\n  ✗ {}: {}", task.id, why(task)));
        // What never began has nothing to read.
        if let Some(it) = &task.child {
            text.push_str(&format!("\n    muster describe run {}", child(it)));
        } else if task.attempts > 0 {
            text.push_str(&format!("\n    muster logs {}/{}", label(run), log_name(task)));
        }
    }
    if failed.len() > FAILED_MAX {
        let more = failed.len() - FAILED_MAX;
        text.push_str(&format!("\n  and {more} more: muster get tasks {}", label(run)));
    }
    text
}

/// What is counted, if that is more than the tasks: an array task counts once for each index.
fn indices(run: &v1::Run, tally: &v1::Tally) -> String {
    let counted = super::count(tally);
    if counted == u64::from(run.tasks) {
        return String::new();
    }
    format!(" ({counted} counting indices)")
}

/// The task as `muster logs` takes it: of an array the index that the message names.
fn log_name(task: &v1::Task) -> String {
    if task.array_count.is_none() {
        return task.id.clone();
    }
    let named = task.message.strip_prefix("index ").and_then(|rest| rest.split(':').next());
    let index = named.and_then(|index| index.parse::<u32>().ok()).unwrap_or(task.array_first);
    format!("{}[{index}]", task.id)
}

/// The exit code of a run that has ended; with `propagate` that of its first failed task, if it has one.
pub(crate) fn exit_of(run: &v1::Run, tasks: &[v1::Task], propagate: bool) -> Exit {
    let exit = Exit::of_run(run);
    if !propagate || exit != Exit::RunFailed {
        return exit;
    }
    let failed = tasks.iter().filter(|task| task.status() == v1::TaskStatus::Failed);
    failed.filter_map(|task| task.exit_code).find_map(task_exit).unwrap_or(exit)
}

/// A process that was killed by signal 9 ends, for a shell, with 137.
fn task_exit(code: i32) -> Option<Exit> {
    let code = if code < 0 { code.checked_neg()?.checked_add(128)? } else { code };
    u8::try_from(code).ok().filter(|code| *code > 0).map(Exit::Task)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(status: v1::RunStatus) -> v1::Run {
        v1::Run {
            workflow: "etl".into(),
            number: 42,
            status: status.into(),
            submitted_at_ms: 1000,
            ended_at_ms: 4100,
            tasks: 4,
            tally: Some(v1::Tally { succeeded: 2, failed: 1, skipped: 1, ..Default::default() }),
            ..Default::default()
        }
    }

    #[test]
    fn indices_are_told_from_tasks() {
        let mut run = run(v1::RunStatus::Succeeded);
        run.tasks = 2;
        run.tally = Some(v1::Tally { succeeded: 101, ..Default::default() });
        let text = summarize(&run, &[]);
        assert_eq!(text, "etl/42 succeeded in 3.1s: 2 tasks (101 counting indices), ✓101 ✗0");
    }

    fn failed(id: &str, exit_code: Option<i32>) -> v1::Task {
        v1::Task {
            id: id.into(),
            status: v1::TaskStatus::Failed.into(),
            message: "exit code 7".into(),
            attempts: 1,
            exit_code,
            ..Default::default()
        }
    }

    #[test]
    fn says_what_failed_and_where_to_read_on() {
        let text = summarize(&run(v1::RunStatus::Failed), &[failed("load", Some(7))]);
        assert_eq!(
            text,
            "etl/42 failed in 3.1s: 4 tasks, ✓2 ✗1 ⊘1\n  ✗ load: exit code 7\n    muster logs etl/42/load"
        );
        let array = v1::Task {
            is_array: true,
            array_count: Some(10),
            message: "index 3: exit code 1".into(),
            ..failed("many", None)
        };
        let text = summarize(&run(v1::RunStatus::Failed), &[array]);
        assert!(text.ends_with("muster logs etl/42/many[3]"), "{text}");
        let text = summarize(&run(v1::RunStatus::Failed), &vec![failed("a", None); 12]);
        assert!(text.ends_with("and 2 more: muster get tasks etl/42"), "{text}");
    }

    #[test]
    fn what_no_worker_had_has_no_log() {
        let rejected = v1::Task { attempts: 0, message: "rejected".into(), ..failed("ask", None) };
        let text = summarize(&run(v1::RunStatus::Failed), &[rejected]);
        assert!(text.ends_with("\n  ✗ ask: rejected"), "{text}");
    }

    #[test]
    fn a_tasks_own_code_can_be_passed_on() {
        let tasks = [failed("a", None), failed("b", Some(7)), failed("c", Some(8))];
        assert_eq!(exit_of(&run(v1::RunStatus::Failed), &tasks, true), Exit::Task(7));
        assert_eq!(exit_of(&run(v1::RunStatus::Failed), &tasks, false), Exit::RunFailed);
        assert_eq!(exit_of(&run(v1::RunStatus::Cancelled), &tasks, true), Exit::RunStopped);
        assert_eq!(
            exit_of(&run(v1::RunStatus::Failed), &[failed("k", Some(-9))], true),
            Exit::Task(137)
        );
        assert_eq!(
            exit_of(&run(v1::RunStatus::Failed), &[failed("k", Some(0))], true),
            Exit::RunFailed
        );
        assert_eq!(exit_of(&run(v1::RunStatus::Failed), &[], true), Exit::RunFailed);
    }
}
