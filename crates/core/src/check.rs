//! Every invariant of the state, by name. Run after each apply in tests, and on request in the field.

mod hooks;
mod numbers;
mod schedules;
mod waiting;

use std::fmt;

use crate::ids::TaskIndex;
use crate::spec::{Items, TaskSpec};
use crate::state::State;
use crate::state::cells::Cells;
use crate::state::run::{CANCELS_MAX, Run};
use crate::state::task::{Task, TaskEnd, TaskState, TaskStatus};
use crate::state::worker::WorkerStatus;

/// A broken invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Its number in `docs/guarantees.md`.
    pub invariant: &'static str,
    /// What was found.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.what)
    }
}

fn violated<T>(invariant: &'static str, what: String) -> Result<T, Violation> {
    Err(Violation { invariant, what })
}

impl State {
    /// Checks every invariant that one state alone can show. Costs a walk over the whole state, and the memory of its
    /// derived indexes once more.
    pub fn check(&self) -> Result<(), Violation> {
        self.check_replicated()?;
        self.check_derived()
    }

    /// Checks everything but the derived indexes against a recount.
    pub(crate) fn check_replicated(&self) -> Result<(), Violation> {
        self.check_numbers()?;
        for run in self.runs.iter() {
            self.check_run(run)?;
        }
        self.check_capacity()?;
        self.check_versions()?;
        self.check_schedules()
    }

    fn check_run(&self, run: &Run) -> Result<(), Violation> {
        let specs = &run.version.spec.tasks;
        let is_whole = run.tasks.len() == specs.len()
            && run.tasks.iter().zip(specs).all(|(task, spec)| has_form(task, spec));
        if !is_whole {
            return violated("I2", format!("run {} has other tasks than its version", run.id));
        }
        let open = run.tasks.iter().filter(|task| task.end().is_none()).count();
        if open != run.open as usize {
            return violated(
                "I16",
                format!("run {} counts {} open tasks, there are {open}", run.id, run.open),
            );
        }
        if run.open == 0 || run.ended.is_some() {
            return violated("I6", format!("run {} has ended and is still in the state", run.id));
        }
        hooks::check(run)?;
        self.check_parent(run)?;
        for (position, task) in run.tasks.iter().enumerate() {
            self.check_task(run, TaskIndex(position as u32), task)?;
            self.check_child(run, TaskIndex(position as u32), task)?;
        }
        Ok(())
    }

    fn check_task(&self, run: &Run, index: TaskIndex, task: &Task) -> Result<(), Violation> {
        let name = || format!("{}/{}", run.id, index);
        if !task.cells.is_well_formed() {
            return violated("I16", format!("task {} has gaps or unmerged ranges", name()));
        }
        if task.cells.tally() != task.cells.recount() {
            return violated("I16", format!("task {} has a wrong tally", name()));
        }
        let upstream = run.version.graph.upstream(index);
        let waiting = upstream
            .iter()
            .filter(|it| run.task(**it).is_some_and(|task| task.end().is_none()))
            .count();
        if waiting != task.waiting as usize {
            return violated(
                "I16",
                format!("task {} waits for {waiting}, counts {}", name(), task.waiting),
            );
        }
        let is_over = run.version.spec.fail_fast && task.end() == Some(TaskEnd::Failed);
        if is_over && run.stop.is_none() && run.result.is_none() {
            return violated("I15", format!("{} failed, and its run goes on", name()));
        }
        let max_failures = run.spec(index).map(|spec| spec.max_failures);
        if max_failures != Some(task.max_failures) {
            return violated("I16", format!("task {} forgot its `maxFailures`", name()));
        }
        let max_parallel = run.spec(index).and_then(|spec| spec.max_parallel);
        if max_parallel.is_some_and(|max| task.live() > max) {
            return violated("I11", format!("{} indices of {} are live", task.live(), name()));
        }
        let must_stop = match run.hook(index) {
            None => run.stop.is_some(),
            Some(_) => run.cancels == CANCELS_MAX || run.begun_at.is_none() && run.stop.is_some(),
        };
        for (_, state) in task.cells.iter() {
            let waits = match state {
                TaskState::Awaiting { what, .. } => what.stop().is_none(),
                other => other.attempt().is_none() && !other.status().is_terminal(),
            };
            if must_stop && waits {
                return violated("I15", format!("task {} waits in a run that must stop", name()));
            }
            let is_stopped = state.attempt().is_none_or(|it| it.stop.is_some());
            if run.fails_fast(index) && (waits || !is_stopped) {
                return violated("I15", format!("{} goes on in spite of `failFast`", name()));
            }
            if let Some(attempt) = state.attempt() {
                let worker = self.worker(attempt.worker);
                if worker.is_none_or(|worker| matches!(worker.status, WorkerStatus::Lost { .. })) {
                    return violated(
                        "I12",
                        format!("task {} runs on {}, which is gone", name(), attempt.worker),
                    );
                }
                if must_stop && attempt.stop.is_none() {
                    return violated(
                        "I15",
                        format!("an attempt of {} was not told to stop", name()),
                    );
                }
            }
            waiting::check(run, index, state)?;
            self.check_retries(run, index, state)?;
        }
        self.check_order(run, index, task)
    }

    fn check_retries(
        &self,
        run: &Run,
        index: TaskIndex,
        state: &TaskState,
    ) -> Result<(), Violation> {
        let Some(spec) = run.spec(index) else { return Ok(()) };
        let tries = state.tries();
        if run.task(index).is_some_and(|task| tries.attempts > task.attempts) {
            return violated(
                "I16",
                format!("task {}/{} has more attempts than it counts", run.id, index),
            );
        }
        if u32::from(tries.failures) > spec.retry.limit + 1
            || u32::from(tries.losses) > spec.max_lost.max(1)
        {
            return violated(
                "I10",
                format!("task {}/{} was tried too often: {tries:?}", run.id, index),
            );
        }
        Ok(())
    }

    /// A task that left `Blocked` for work had its upstream tasks end first, unless its rule lets it start early (I7).
    fn check_order(&self, run: &Run, index: TaskIndex, task: &Task) -> Result<(), Violation> {
        use crate::spec::DependencyRule;
        let Some(spec) = run.spec(index) else { return Ok(()) };
        // A person may say that a task succeeded before its turn comes. Array tasks do not tell that apart.
        let is_started = task.cells.iter().any(|(_, state)| match state {
            TaskState::Succeeded { last, .. } => last.is_some(),
            TaskState::Blocked | TaskState::Skipped { .. } | TaskState::Cancelled => false,
            TaskState::Undecided { .. }
            | TaskState::Ready { .. }
            | TaskState::Placed { .. }
            | TaskState::Running { .. }
            | TaskState::Backoff { .. }
            | TaskState::Held { .. }
            | TaskState::Awaiting { .. }
            | TaskState::Failed { .. } => true,
        });
        let is_undecided = task.cells.tally().of(TaskStatus::Undecided);
        if is_undecided > 0 && (!spec.needs_decision() || is_undecided < spec.indices().count()) {
            return violated(
                "I7",
                format!("task {}/{} has nothing to be decided, or not as a whole", run.id, index),
            );
        }
        if is_started && task.waiting > 0 && spec.rule != DependencyRule::AnySucceeded {
            return violated(
                "I7",
                format!("task {}/{} started before its upstream tasks ended", run.id, index),
            );
        }
        Ok(())
    }

    fn check_capacity(&self) -> Result<(), Violation> {
        for worker in self.workers.iter() {
            let Some(holding) = self.held.get(&worker.id) else { continue };
            let (used, has) = (&holding.used, &worker.capacity);
            let custom_fits = used
                .custom
                .iter()
                .all(|(name, amount)| has.custom.get(name).is_some_and(|has| amount <= has));
            if used.cpu_millis > has.cpu_millis
                || used.memory_bytes > has.memory_bytes
                || !custom_fits
            {
                return violated(
                    "I11",
                    format!("worker {} has given more than it has: {used:?}", worker.id),
                );
            }
        }
        Ok(())
    }

    fn check_versions(&self) -> Result<(), Violation> {
        for run in self.runs.iter() {
            if self.versions.get(run.version.id).is_none() {
                return violated("I2", format!("run {} uses a version that is gone", run.id));
            }
        }
        for version in self.versions.iter() {
            let workflow = self.workflow_id(version).and_then(|id| self.workflows.get(id));
            let is_kept = workflow.is_some_and(|it| it.keeps(version.id));
            if !is_kept && !self.version_uses.contains_key(&version.id) {
                return violated("I16", format!("version {} is kept for nobody", version.id));
            }
        }
        Ok(())
    }

    /// Compares the derived indexes with ones built afresh (I16).
    fn check_derived(&self) -> Result<(), Violation> {
        let fresh = State::derived_from(self.snapshot());
        if fresh.queue != self.queue {
            return violated("I16", "the ready queue differs from the task states".to_owned());
        }
        if fresh.deadlines != self.deadlines {
            return violated("I16", "the deadlines differ from the task states".to_owned());
        }
        if fresh.held != self.held {
            return violated("I16", "what workers hold differs from the task states".to_owned());
        }
        if fresh.usage != self.usage {
            return violated("I16", "what namespaces use differs from the task states".to_owned());
        }
        if fresh.undecided != self.undecided {
            return violated("I16", "the undecided tasks differ from the task states".to_owned());
        }
        if fresh.triggers != self.triggers {
            return violated("I16", "who follows whom differs from the workflows".to_owned());
        }
        if fresh.fires != self.fires || fresh.queued_runs != self.queued_runs {
            return violated("I16", "what fires or waits differs from the workflows".to_owned());
        }
        if fresh.version_uses != self.version_uses
            || fresh.run_by_number != self.run_by_number
            || fresh.live_by_workflow != self.live_by_workflow
        {
            return violated("I16", "the run indexes differ from the runs".to_owned());
        }
        if fresh.workflow_by_name != self.workflow_by_name
            || fresh.namespace_by_name != self.namespace_by_name
            || fresh.workers_by_name != self.workers_by_name
        {
            return violated("I16", "the name indexes differ from the objects".to_owned());
        }
        Ok(())
    }
}

/// Whether a task has the indices that its spec and its items say. Without a size it waits for one, or has ended.
fn has_form(task: &Task, spec: &TaskSpec) -> bool {
    let is_many = matches!(task.cells, Cells::Many(_));
    if !spec.is_sized_late() {
        return task.items.is_none()
            && task.cells.indices() == spec.indices().into()
            && is_many == spec.is_array();
    }
    let is_bounded = task.items.as_ref().is_none_or(|items| items.check().is_ok());
    is_bounded
        && match task.items.as_ref().and_then(Items::indices) {
            Some(indices) => is_many && task.cells.indices() == indices,
            None => {
                let may_wait = task.items.is_none();
                let status = task.status();
                let waits = matches!(status, TaskStatus::Blocked | TaskStatus::Undecided);
                !is_many && (status.is_terminal() || waits && may_wait)
            }
        }
}
