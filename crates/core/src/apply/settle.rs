//! What follows from the end of a task: its downstream tasks start or are skipped, and the last end ends the run.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Step;
use crate::event::Event;
use crate::ids::{RunId, TaskIndex};
use crate::mutant::{self, Mutant};
use crate::spec::{Condition, DependencyRule, TaskSpec};
use crate::state::run::{Run, RunEnded};
use crate::state::task::{Awaited, Task, TaskEnd, TaskState, Tries};
use crate::state::workflow::WorkflowVersion;
use crate::state::{Changed, Due};

/// What the upstream ends say about a blocked task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Wait,
    Start,
    Skip { by_failure: bool },
}

/// How upstream tasks of one task ended, as far as it was not told before.
#[derive(Clone, Copy, Debug, Default)]
struct News {
    ended: u32,
    any_succeeded: bool,
    any_did_not: bool,
    any_failure: bool,
}

impl News {
    /// All that there is to tell a task of a run.
    fn all(run: &Run, task: TaskIndex) -> News {
        let mut news = News::default();
        let upstream = run.version.graph.upstream(task).iter();
        upstream.filter_map(|it| run.task(*it).and_then(Task::end)).for_each(|end| news.add(end));
        news
    }

    fn add(&mut self, end: TaskEnd) {
        self.ended += 1;
        match end {
            TaskEnd::Succeeded => self.any_succeeded = true,
            TaskEnd::Failed | TaskEnd::Skipped { .. } | TaskEnd::Cancelled => {
                self.any_did_not = true;
                self.any_failure |= is_failure(end);
            }
        }
    }
}

impl Step<'_> {
    /// Follows the end of `first_ended` through the run. Tasks are judged each after all its upstream tasks, so that
    /// what ends at once is seen at once, and the verdicts do not hang on the order in the file.
    pub(super) fn settle(&mut self, run_id: RunId, first_ended: TaskIndex) {
        let Some(run) = self.state.run(run_id) else { return };
        let version = run.version.clone();
        let mut told: BTreeMap<u32, News> = BTreeMap::new();
        let mut ended = Some(first_ended);
        loop {
            if let Some(task) = ended.take() {
                self.tell_downstream(run_id, task, &version, &mut told);
            }
            let Some((position, news)) = told.pop_first() else { break };
            let task = version.graph.order()[position as usize];
            ended = self.settle_task(run_id, task, news).then_some(task);
        }
        self.follow_ends(run_id);
    }

    /// Collects what the end of `task` means for those that need it, by their position in the graph's order.
    fn tell_downstream(
        &mut self,
        run_id: RunId,
        task: TaskIndex,
        version: &WorkflowVersion,
        told: &mut BTreeMap<u32, News>,
    ) {
        let Some(run) = self.state.runs.get_mut(run_id.0) else { return };
        let Some(end) = run.task(task).and_then(Task::end) else { return };
        run.open = run.open.saturating_sub(1);
        for downstream in version.graph.downstream(task) {
            told.entry(version.position(*downstream)).or_default().add(end);
        }
    }

    /// Tells a task that upstream tasks ended. Returns whether the task ended by it.
    fn settle_task(&mut self, run_id: RunId, index: TaskIndex, news: News) -> bool {
        let Some(run) = self.state.runs.get_mut(run_id.0) else { return false };
        let is_still = run.stop.is_some() || run.begun_at.is_none();
        let Some(task) = run.tasks.get_mut(index.0 as usize) else { return false };
        task.waiting = task.waiting.saturating_sub(news.ended);
        let range = task.cells.indices();
        let is_blocked = matches!(task.cells.at(range.first), Some((_, TaskState::Blocked)));
        // What is blocked in a run that stops is cancelled by the stop itself; in one that waits it is judged when that
        // begins.
        if !is_blocked || is_still {
            return false;
        }
        let to = match verdict(run, index, news) {
            Verdict::Wait => return false,
            Verdict::Start => self.fresh(run_id, index),
            Verdict::Skip { by_failure } => TaskState::Skipped { by_failure },
        };
        self.state.change(run_id, index, range, to);
        self.events.push(Event::TaskChanged {
            run: run_id,
            task: index,
            range,
            status: to.status(),
        });
        to.status().is_terminal()
    }

    /// What a task is as soon as it may start: as [`Step::started`] says, unless there is something to evaluate first.
    /// Indices that begin anew beside others do not ask again: the condition held for the task.
    pub(super) fn fresh(&self, run_id: RunId, index: TaskIndex) -> TaskState {
        let run = self.state.run(run_id);
        let found = run.and_then(|run| run.task(index).zip(run.spec(index)));
        let is_whole = |task: &Task| task.cells.iter().all(|(_, it)| *it == TaskState::Blocked);
        if let Some((task, spec)) = found
            && spec.needs_decision()
            && is_whole(task)
        {
            let tries = if spec.is_sub_workflow() { task.fresh_tries() } else { Tries::default() };
            return TaskState::Undecided { since: self.index, tries };
        }
        self.started(run_id, index)
    }

    /// What a task is once nothing is left to decide: ready, or an approval that waits for a person.
    pub(super) fn started(&self, run: RunId, index: TaskIndex) -> TaskState {
        let run = self.state.run(run);
        if run.and_then(|run| run.spec(index)).is_some_and(TaskSpec::is_approval) {
            if mutant::is_on(Mutant::ApprovalHasty) {
                return TaskState::Succeeded { tries: Tries::default(), last: None };
            }
            return TaskState::Awaiting { since: self.now, what: Awaited::Person };
        }
        let task = run.and_then(|run| run.task(index));
        let tries = task.map_or_else(Tries::default, Task::fresh_tries);
        TaskState::Ready { tries, since: self.now, avoid: None }
    }

    /// Judges every index that is blocked by how all its upstream tasks stand, whatever they were told before. The last
    /// end ends the run.
    pub(super) fn judge_blocked(&mut self, run_id: RunId) {
        let Some(version) = self.state.run(run_id).map(|run| run.version.clone()) else { return };
        for index in version.graph.order() {
            self.judge_task(run_id, *index, &version);
        }
        self.follow_ends(run_id);
    }

    fn judge_task(&mut self, run_id: RunId, index: TaskIndex, version: &WorkflowVersion) {
        let begun = self.state.run(run_id).filter(|run| run.begun_at.is_some());
        let begun = begun.filter(|run| run.hook(index).is_none());
        let Some((run, task)) = begun.and_then(|run| Some((run, run.task(index)?))) else { return };
        let blocked = task.cells.iter().filter(|(_, state)| matches!(state, TaskState::Blocked));
        let blocked: Vec<_> = blocked.map(|(range, _)| range).collect();
        let to = match verdict(run, index, News::all(run, index)) {
            _ if version.graph.upstream(index).is_empty() => self.fresh(run_id, index),
            Verdict::Wait => return,
            Verdict::Start => self.fresh(run_id, index),
            Verdict::Skip { by_failure } => TaskState::Skipped { by_failure },
        };
        let mut told = BTreeMap::new();
        for range in blocked {
            let changed = self.state.change(run_id, index, range, to);
            let status = to.status();
            self.events.push(Event::TaskChanged { run: run_id, task: index, range, status });
            if changed == Changed::Ended {
                self.tell_downstream(run_id, index, version, &mut told);
            }
        }
        let Some(run) = self.state.runs.get_mut(run_id.0) else { return };
        for (position, news) in told {
            let downstream = version.graph.order()[position as usize];
            let task = &mut run.tasks[downstream.0 as usize];
            task.waiting = task.waiting.saturating_sub(news.ended);
        }
    }

    /// Takes a run whose tasks all ended out of the state.
    pub(super) fn end_run(&mut self, run_id: RunId) {
        let ended_index = self.index;
        let Some(run) = self.state.runs.get_mut(run_id.0) else { return };
        let status = run.final_status();
        run.ended = Some(RunEnded { at: self.now, index: ended_index, status });
        let Some(run) = self.state.runs.remove(run_id.0) else { return };
        if let Some(at) = run.tasks_deadline() {
            self.state.deadlines.remove(at, Due::Run(run_id));
        }
        let workflow = self.state.workflow_id(&run.version);
        if let Some(workflow) = workflow {
            self.state.strike_run(workflow, run.number);
            self.state.forget_queued(workflow, run_id);
        }
        self.state.uncount_run(&run.version.namespace);
        self.release_version(&run);
        self.note_end(&run);
        if run.parent.is_some() {
            self.ended_children.insert(run_id, run.clone());
        }
        self.events.push(Event::RunEnded { run });
        if let Some(workflow) = workflow {
            self.begin_next(workflow);
        }
    }

    /// Drops a run's version when no other run uses it and it is not the latest.
    fn release_version(&mut self, run: &Arc<Run>) {
        let version = run.version.id;
        let Some(uses) = self.state.version_uses.get_mut(&version) else { return };
        *uses = uses.saturating_sub(1);
        if *uses == 0 {
            self.state.version_uses.remove(&version);
            self.drop_version_if_unused(version);
        }
    }

    /// Drops a version that no live run uses and that is not the latest of its workflow.
    pub(super) fn drop_version_if_unused(&mut self, version: u64) {
        if self.state.version_uses.contains_key(&version) {
            return;
        }
        let Some(kept) = self.state.versions.get(version) else { return };
        let workflow = self.state.workflow_id(kept).and_then(|id| self.state.workflows.get(id));
        if !workflow.is_some_and(|workflow| workflow.keeps(version)) {
            self.state.versions.remove(version);
        }
    }
}

/// Whether a blocked task may start by how all its upstream tasks stand.
pub(crate) fn starts(run: &Run, index: TaskIndex) -> bool {
    run.version.graph.upstream(index).is_empty()
        || verdict(run, index, News::all(run, index)) == Verdict::Start
}

/// Judges a blocked task after more of its upstream tasks ended. Looks at all of them only once, when the last ended.
fn verdict(run: &Run, index: TaskIndex, news: News) -> Verdict {
    let (Some(task), Some(spec)) = (run.task(index), run.spec(index)) else { return Verdict::Wait };
    let all_ended = task.waiting == 0;
    let some_upstream = |wanted: fn(TaskEnd) -> bool| {
        let upstream = run.version.graph.upstream(index).iter();
        upstream.filter_map(|upstream| run.task(*upstream).and_then(Task::end)).any(wanted)
    };
    let some_failure = || some_upstream(is_failure);
    match (&spec.condition, spec.rule) {
        (Condition::Success | Condition::Expression(_), DependencyRule::AllSucceeded)
            if news.any_did_not =>
        {
            Verdict::Skip { by_failure: news.any_failure }
        }
        (Condition::Success, DependencyRule::AnySucceeded) if news.any_succeeded => Verdict::Start,
        _ if mutant::is_on(Mutant::DependencyIgnored) => Verdict::Start,
        _ if !all_ended => Verdict::Wait,
        (Condition::Success, DependencyRule::AnySucceeded) => {
            Verdict::Skip { by_failure: some_failure() }
        }
        (Condition::Failure, _) if some_failure() => Verdict::Start,
        (Condition::Cancelled, _) if some_upstream(|end| end == TaskEnd::Cancelled) => {
            Verdict::Start
        }
        (Condition::Failure | Condition::Cancelled, _) => Verdict::Skip { by_failure: false },
        (Condition::Success, DependencyRule::AllSucceeded | DependencyRule::AllDone)
        | (Condition::Always | Condition::Expression(_), _) => Verdict::Start,
    }
}

/// Whether an upstream end goes back to a failure.
fn is_failure(end: TaskEnd) -> bool {
    match end {
        TaskEnd::Failed => true,
        TaskEnd::Skipped { by_failure } => by_failure,
        TaskEnd::Succeeded | TaskEnd::Cancelled => false,
    }
}
