//! What an entry made of the state, compared with what it should have.

use std::collections::BTreeSet;
use std::sync::Arc;

use muster_core::ids::{RunId, TaskIndex};
use muster_core::limits;
use muster_core::state::cells::{Cells, IndexRange};
use muster_core::state::run::{Run, RunEnded, RunStatus};
use muster_core::state::task::{Attempt, Awaited, Stop, Task, TaskState, TaskStatus};
use muster_core::time::Millis;

use super::load::Load;
use super::rules;
use super::shape::Shape;
use super::step::{Step, place};
use super::work::{Work, WorkTask};
use crate::coverage::Rare;
use crate::ledger::EndedRun;
use crate::verdict::Invariant;

impl Step<'_> {
    /// Compares everything that changed or should have.
    pub(super) fn compare(&mut self) {
        if self.after.now() != self.now {
            let (is, wanted) = (self.after.now().0, self.now.0);
            self.found(Invariant::I17, format!("the log's time is {is}, should be {wanted}"));
        }
        for run in self.concerned_runs() {
            self.compare_run(run);
        }
        self.compare_workers();
        self.compare_workflows();
        self.compare_requests();
        self.compare_trail();
        self.check_sizes();
    }

    /// Runs that changed in the state, or should have.
    fn concerned_runs(&self) -> BTreeSet<RunId> {
        let mut concerned: BTreeSet<RunId> = self.work.keys().copied().collect();
        concerned.extend(self.left.keys());
        let (before, after) = (&self.before.runs, self.after.runs());
        for (number, block) in after.blocks() {
            let old = before.block(number);
            if old.is_some_and(|old| Arc::ptr_eq(old, block)) {
                continue;
            }
            let is_same = |run: &Arc<Run>| {
                before.get(run.id.0).is_some_and(|before| Arc::ptr_eq(before, run))
            };
            concerned.extend(block.iter().filter(|run| !is_same(run)).map(|run| run.id));
        }
        for (number, block) in before.blocks() {
            if !after.block(number).is_some_and(|new| Arc::ptr_eq(new, block)) {
                let gone = block.iter().filter(|run| after.get(run.id.0).is_none());
                concerned.extend(gone.map(|run| run.id));
            }
        }
        concerned
    }

    fn compare_run(&mut self, id: RunId) {
        let live = self.after.run(id).cloned();
        let left = self.left.get(&id).cloned();
        if live.is_some() && left.is_some() {
            self.found(Invariant::I6, format!("run {id} ended and is still in the state"));
        }
        let is_expected = self.run(id).is_some();
        let Some(actual) = left.as_ref().or(live.as_ref()) else {
            if is_expected {
                self.found(Invariant::I2, format!("run {id} is gone, and never ended"));
                self.book.forget_run(id);
            }
            return;
        };
        if !is_expected {
            let has_ended = self.ledger.runs.get(&id).is_some_and(|it| it.ended.is_some());
            let (invariant, what) = if has_ended {
                (Invariant::I6, "has ended before, and is back")
            } else if actual.trigger.is_some() {
                (Invariant::I8, "follows an end that nothing should follow")
            } else {
                (Invariant::I3, "was never submitted")
            };
            self.found(invariant, format!("run {id} {what}"));
        } else if let Some(work) = self.work.remove(&id).filter(|work| !work.is_doubtful) {
            let before = self.verdict.count();
            self.count_hooks(&work);
            self.compare_identity(&work, actual);
            self.compare_tasks(&work, actual);
            let is_same = self.verdict.count() == before;
            let wanted =
                work.ended.map(|status| RunEnded { at: self.now, index: self.index, status });
            let wrong = wrong_end(wanted, actual.ended, left.is_some());
            if let Some(what) = wrong.filter(|_| is_same) {
                self.found(Invariant::I6, format!("run {id} {what}"));
            }
        }
        let shape = self.book.shapes.of(&actual.version);
        for (invariant, what) in recount(actual, &shape) {
            self.found(invariant, format!("run {id} {what}"));
        }
        match left {
            Some(run) => self.close(&run),
            None => self.book.watch(actual),
        }
    }

    /// What a run is never changes.
    fn compare_identity(&mut self, work: &Work, run: &Run) {
        let is_same = run.version.id == work.version.id && run.submitted_at == work.submitted_at;
        let is_like_before = self
            .before
            .runs
            .get(run.id.0)
            .is_none_or(|before| before.number == run.number && before.params == run.params)
            && run.priority == work.priority;
        if !is_same || !is_like_before {
            self.found(Invariant::I2, format!("run {} became another run", run.id));
        }
        self.compare_beginning(work, run);
        let wanted = (work.stop, work.paused, work.cancels);
        let is = (run.stop, run.paused, run.cancels);
        if is != wanted {
            let what = format!("run {} should stop or be paused {wanted:?}, is {is:?}", run.id);
            self.found(Invariant::I15, what);
        }
        self.compare_result(work, run);
    }

    fn compare_tasks(&mut self, work: &Work, run: &Run) {
        if !has_form(work, run) {
            let what = format!("run {} has other tasks, indices or items than it should", run.id);
            return self.found(Invariant::I2, what);
        }
        let before = self.before.runs.get(run.id.0).cloned();
        for (at, (wanted, actual)) in work.tasks.iter().zip(&run.tasks).enumerate() {
            let task = TaskIndex(at as u32);
            let before = before.as_ref().and_then(|run| run.task(task));
            if wanted.cells != actual.cells {
                self.compare_cells(work, task, before, wanted, actual);
            }
            if wanted.attempts != actual.attempts {
                let (is, wanted) = (actual.attempts, wanted.attempts);
                let what = format!("run {} task {task} counts {is} attempts, not {wanted}", run.id);
                self.found(Invariant::I16, what);
            }
            if wanted.child != actual.child {
                let (is, wanted) = (&actual.child, &wanted.child);
                let what = format!("run {} task {task} had {is:?} started, not {wanted:?}", run.id);
                self.found(Invariant::I20, what);
            }
            if wanted.outputs != actual.outputs {
                let what = format!("run {} task {task} has other outputs than reported", run.id);
                self.found(Invariant::I2, what);
            }
            let said = before.and_then(|task| task.message.as_ref());
            if !wanted.is_touched && actual.message.as_ref() != said {
                let what = format!("run {} task {task} says another thing, unasked", run.id);
                self.found(Invariant::I5, what);
            }
        }
    }

    fn compare_cells(
        &mut self,
        work: &Work,
        task: TaskIndex,
        before: Option<&Task>,
        wanted: &WorkTask,
        actual: &Task,
    ) {
        for (range, is) in actual.cells.iter() {
            for (range, should) in wanted.cells.within(range) {
                if is == should || self.is_jittered(work, task, is, should) {
                    continue;
                }
                let was = before.and_then(|task| was(&task.cells, range));
                let stops = work.must_stop(task);
                let invariant = name_difference(was.as_ref(), should, is, wanted, stops);
                let at = place(work.id, task, range);
                self.found(invariant, format!("{at} is {is:?}, should be {should:?}, was {was:?}"));
            }
        }
    }

    /// Whether two states differ only by the jitter of a wait that began in this entry.
    fn is_jittered(
        &self,
        work: &Work,
        task: TaskIndex,
        is: &TaskState,
        should: &TaskState,
    ) -> bool {
        let TaskState::Backoff { tries, until, avoid } = *should else { return false };
        let Some(backoff) = work.spec(task).map(|spec| &spec.retry.backoff) else { return false };
        let (first, last) = rules::jittered(backoff, rules::wait(backoff, tries.failures));
        let is_new = until == self.now + rules::wait(backoff, tries.failures);
        let bounds = self.now + first..=self.now + last;
        match *is {
            TaskState::Backoff { until, .. } => {
                is_new
                    && bounds.contains(&until)
                    && *is == TaskState::Backoff { tries, until, avoid }
            }
            TaskState::Undecided { since, tries: counted } => {
                let is_its = since == self.index && counted == tries;
                is_new && first == Millis(0) && is_its
            }
            TaskState::Ready { .. } => {
                let ready = TaskState::Ready { tries, since: self.now, avoid };
                is_new && first == Millis(0) && *is == ready
            }
            _ => false,
        }
    }

    /// Writes down a run that left the state.
    fn close(&mut self, run: &Run) {
        self.book.forget_run(run.id);
        self.count(match run.status() {
            RunStatus::Succeeded | RunStatus::Running | RunStatus::Paused | RunStatus::Queued => {
                Rare::RunSucceeded
            }
            RunStatus::Failed => Rare::RunFailed,
            RunStatus::Cancelled => Rare::RunCancelled,
        });
        let tasks = rules::ends_of(run);
        let by_failure = TaskState::Skipped { by_failure: true };
        if run.tasks.iter().any(|task| task.cells.iter().any(|(_, state)| *state == by_failure)) {
            self.count(Rare::SkippedByFailure);
        }
        if let Some(record) = self.ledger.runs.get_mut(&run.id) {
            record.ended.get_or_insert(EndedRun { index: self.index, status: run.status(), tasks });
        }
    }

    fn compare_workers(&mut self) {
        let (before, after) = (&self.before.workers, self.after.workers());
        let is_same = |id: u64| match (before.get(id), after.get(id)) {
            (Some(before), Some(after)) => Arc::ptr_eq(before, after),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        let all = before.iter().chain(after.iter()).map(|worker| worker.id);
        let changed: Vec<_> = all.filter(|id| !is_same(id.0)).collect();
        self.touched_workers.extend(changed);
        for id in std::mem::take(&mut self.touched_workers) {
            let wanted = self.book.workers.get(&id).cloned();
            let actual = self.after.worker(id);
            if actual.map(Arc::as_ref) != wanted.as_deref() {
                let what = format!("worker {id} is {actual:?}, should be {wanted:?}");
                self.found(Invariant::I12, what);
            }
            let load = self.book.holdings.of(id).map(|it| it.load.clone()).unwrap_or_default();
            let counted = self.after.held_by(id).map(|it| it.used.clone());
            let is_counted = match &counted {
                Some(counted) => load.is(counted),
                None => load == Load::default(),
            };
            if !is_counted {
                let what = format!("worker {id} has given {load:?}, {counted:?} is counted");
                self.found(Invariant::I16, what);
            }
        }
    }

    fn compare_requests(&mut self) {
        for id in std::mem::take(&mut self.touched_requests) {
            let wanted = self.book.answered(&id).cloned();
            let actual = self.after.requests().get(&id);
            let is_same = match (&wanted, actual) {
                (Some(wanted), Some(actual)) => {
                    (wanted.digest, &wanted.reply) == (actual.digest, &actual.reply)
                }
                (None, None) => true,
                (Some(_), None) | (None, Some(_)) => false,
            };
            if !is_same {
                let what = format!("request id `{id}` is kept as {actual:?}, should be {wanted:?}");
                self.found(Invariant::I3, what);
            }
        }
        let (kept, wanted) = (self.after.requests().answered().len(), self.book.requests_len());
        if kept != wanted {
            self.found(Invariant::I3, format!("{kept} request ids are kept, should be {wanted}"));
        }
    }

    /// The leader wakes up when time alone does something: not earlier, and above all not later.
    pub(super) fn compare_deadline(&mut self) {
        let (wanted, is) = (self.book.next_deadline(), self.after.next_deadline());
        if wanted != is {
            let what = format!("the next deadline is {is:?}, should be {wanted:?}");
            self.found(Invariant::I16, what);
        }
    }

    /// Everything that callers can fill has a bound.
    fn check_sizes(&mut self) {
        let after = self.after;
        let sizes = [
            ("runs", after.runs().len(), limits::RUNS_MAX),
            ("workflows", after.workflows().len(), limits::WORKFLOWS_MAX),
            ("workers", after.workers().len(), limits::WORKERS_MAX),
            ("namespaces", after.namespaces().count(), limits::NAMESPACES_MAX),
            ("request ids", after.requests().answered().len(), limits::REQUEST_IDS_MAX),
        ];
        for (what, count, max) in sizes {
            if count > max {
                self.found(Invariant::I17, format!("{count} {what}, at most {max} are allowed"));
            }
        }
    }
}

/// Whether a run has the tasks and indices that it should.
fn has_form(work: &Work, run: &Run) -> bool {
    run.tasks.len() == work.tasks.len()
        && run.tasks.iter().zip(&work.tasks).all(|(is, should)| {
            is.cells.indices() == should.cells.indices() && is.items == should.items
        })
}

/// What is wrong with how a run ended, or did not; its tasks are as they should be.
fn wrong_end(
    wanted: Option<RunEnded>,
    ended: Option<RunEnded>,
    has_left: bool,
) -> Option<&'static str> {
    match (wanted, has_left) {
        (Some(_), false) => Some("did not end, and all its tasks did"),
        (None, true) => Some("ended before its tasks did"),
        (Some(_), true) if ended != wanted => Some("ended with another status, time or index"),
        (Some(_), true) | (None, false) => None,
    }
}

/// Counts anew what a run counts, and measures what it keeps.
fn recount(run: &Run, shape: &Shape) -> Vec<(Invariant, String)> {
    let mut found = Vec::new();
    let ends = rules::ends_of(run);
    let is_open = |at: usize| ends.get(at).is_some_and(Option::is_none);
    let open = (0..run.tasks.len()).filter(|at| is_open(*at)).count();
    if open != run.open as usize {
        found.push((Invariant::I16, format!("counts {} open tasks, there are {open}", run.open)));
    }
    for (at, task) in run.tasks.iter().enumerate() {
        let waiting = shape.upstream(at).iter().filter(|it| is_open(**it)).count();
        if waiting != task.waiting as usize {
            let counted = task.waiting;
            found
                .push((Invariant::I16, format!("task {at} waits for {waiting}, counts {counted}")));
        }
        let outputs = task.outputs.iter().flat_map(|outputs| outputs.iter());
        let output_bytes: usize = outputs.map(|(key, value)| key.len() + value.len()).sum();
        let message_bytes = task.message.as_ref().map_or(0, |message| message.len());
        if output_bytes > limits::OUTPUT_BYTES_MAX || message_bytes > limits::REASON_BYTES_MAX {
            let what = format!("task {at} keeps {output_bytes} and {message_bytes} bytes");
            found.push((Invariant::I17, what));
        }
    }
    found
}

/// The state that all of `range` was in; `None` if it was in several.
fn was(cells: &Cells, range: IndexRange) -> Option<TaskState> {
    let (found, state) = cells.at(range.first)?;
    (found.last >= range.last).then_some(*state)
}

fn stop_of(state: &TaskState) -> Option<Stop> {
    state.attempt().and_then(|attempt| attempt.stop)
}

/// The promise that a wrong state breaks.
fn name_difference(
    was: Option<&TaskState>,
    should: &TaskState,
    is: &TaskState,
    task: &WorkTask,
    stops: bool,
) -> Invariant {
    let status = |state: &TaskState| state.status();
    if was.is_some_and(|was| status(was).is_terminal() && was != is) {
        return Invariant::I6;
    }
    if task.is_refused && !task.is_touched && was.is_some_and(|was| was == should) {
        return Invariant::I5;
    }
    let concerns_dag = |state: &TaskState| {
        matches!(status(state), TaskStatus::Blocked | TaskStatus::Undecided | TaskStatus::Skipped)
    };
    let attempt = |state: &TaskState| {
        state
            .attempt()
            .map(|Attempt { worker, fence, placed_at, .. }| (*worker, *fence, *placed_at))
    };
    match (attempt(should), attempt(is)) {
        (Some(one), Some(other)) if one != other => return Invariant::I4,
        (Some(_), Some(_)) if stop_of(should) != stop_of(is) => return Invariant::I15,
        (None, Some(_)) if stops => return Invariant::I15,
        (None, Some(_)) => return Invariant::I4,
        (Some(_), None) if !stops => return Invariant::I5,
        _ => {}
    }
    let awaited =
        |state: &TaskState| matches!(state, TaskState::Awaiting { what: Awaited::Run { .. }, .. });
    if !stops && (was.is_some_and(awaited) || awaited(should) || awaited(is)) {
        return Invariant::I20;
    }
    let was_asked = was.is_some_and(|was| status(was) == TaskStatus::Awaiting);
    if was_asked || concerns_dag(should) || concerns_dag(is) {
        return if stops { Invariant::I15 } else { Invariant::I7 };
    }
    if status(should) == TaskStatus::Cancelled || status(is) == TaskStatus::Cancelled {
        return Invariant::I15;
    }
    let waits = |state| matches!(status(state), TaskStatus::Backoff | TaskStatus::Held);
    let differs = should.tries() != is.tries() || is_retried(should) != is_retried(is);
    if waits(should) || waits(is) || differs {
        return Invariant::I10;
    }
    if status(should) == TaskStatus::Succeeded || status(is) == TaskStatus::Succeeded {
        return Invariant::I2;
    }
    Invariant::I16
}

/// Whether another attempt may follow.
fn is_retried(state: &TaskState) -> bool {
    matches!(state.status(), TaskStatus::Ready | TaskStatus::Backoff | TaskStatus::Held)
}

#[cfg(test)]
mod tests {
    use muster_core::ids::{LogIndex, Name};
    use muster_core::spec::{ExecutorSpec, TaskSpec, WorkflowSpec};
    use muster_core::state::workflow::WorkflowVersion;
    use muster_core::time::Timestamp;

    use super::*;

    fn run() -> Run {
        let name = |text: &str| Name::parse(text).expect("a name");
        let mut second = TaskSpec::new(name("b"), ExecutorSpec::Noop);
        second.needs = vec![name("a")];
        let spec = WorkflowSpec::new(
            name("w"),
            vec![TaskSpec::new(name("a"), ExecutorSpec::Noop), second],
        );
        let version = WorkflowVersion::compile(1, name("n"), 1, Timestamp(0), spec);
        let version = Arc::new(version.expect("it is a DAG"));
        Run::new(RunId(1), 1, version, Arc::default(), Timestamp(0))
    }

    fn found(edit: impl FnOnce(&mut Run)) -> Vec<Invariant> {
        let mut run = run();
        edit(&mut run);
        let shape = Shape::of(&run.version.spec);
        recount(&run, &shape).into_iter().map(|(invariant, _)| invariant).collect()
    }

    #[test]
    fn counters_that_are_wrong_and_texts_that_are_large_are_found() {
        assert_eq!(found(|_| {}), []);
        assert_eq!(found(|run| run.open = 1), [Invariant::I16]);
        assert_eq!(found(|run| run.tasks[1].waiting = 0), [Invariant::I16]);
        let long: muster_core::ids::Text = "x".repeat(limits::OUTPUT_BYTES_MAX).into();
        assert_eq!(found(|run| run.tasks[0].message = Some(long.clone())), [Invariant::I17]);
        let outputs = Arc::new([("k".into(), long)].into());
        assert_eq!(found(|run| run.tasks[0].outputs = Some(outputs)), [Invariant::I17]);
    }

    #[test]
    fn a_run_of_another_form_is_found() {
        let mut run = run();
        let work = Work::of(&run, Arc::new(Shape::of(&run.version.spec)), LogIndex(1));
        assert!(has_form(&work, &run));
        let array = muster_core::spec::ArraySpec { first: 0, last: 3 };
        run.tasks[1].cells = Cells::new(Some(array), TaskState::Blocked);
        assert!(!has_form(&work, &run));
        run.tasks.pop();
        assert!(!has_form(&work, &run));
    }

    #[test]
    fn ends_that_are_wrong_are_found() {
        let end = |index| {
            Some(RunEnded { at: Timestamp(1), index: LogIndex(index), status: RunStatus::Failed })
        };
        assert_eq!(wrong_end(end(1), end(1), true), None);
        assert_eq!(wrong_end(None, None, false), None);
        assert!(wrong_end(end(1), end(2), true).is_some());
        assert!(wrong_end(end(1), None, true).is_some());
        assert!(wrong_end(end(1), None, false).is_some());
        assert!(wrong_end(None, end(1), true).is_some());
    }
}
