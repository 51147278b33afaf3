//! A second implementation of the state machine, written for plainness alone: one map entry a task index, no ranges, no
//! derived index, every rule a scan. Where it and the core disagree, one of them is wrong.

use std::collections::{BTreeMap, BTreeSet};

use muster_core::command::{Command, Entry, RequestKey, SubmitRun};
use muster_core::ids::{Name, RunId, TaskIndex};
use muster_core::limits;
use muster_core::reply::{ItemRefusal, Rejection, Reply};
use muster_core::spec::namespace::NamespaceSpec;
use muster_core::spec::{FanOut, Request, TaskSpec, WorkflowSpec};
use muster_core::state::cells::IndexRange;
use muster_core::state::hooks::RunResult;
use muster_core::state::run::RunStatus;
use muster_core::state::task::{Awaited, FailureReason, StopReason, TaskState, Tries};

use super::workers::Worker;

/// What becomes of one task index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cell {
    Blocked,
    Undecided { since: u64, tries: Tries },
    Ready { tries: Tries, since: u64, avoid: Option<u64> },
    Live(Live),
    Backoff { tries: Tries, until: u64, avoid: Option<u64> },
    Held { tries: Tries },
    Awaiting { since: u64 },
    Child(Child),
    Ended(End),
}

/// A run that a task started and waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Child {
    pub(crate) run: u64,
    pub(crate) tries: Tries,
    pub(crate) since: u64,
    pub(crate) stop: Option<StopReason>,
}

/// A live attempt of one index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Live {
    pub(crate) tries: Tries,
    pub(crate) worker: u64,
    pub(crate) fence: u64,
    pub(crate) placed_at: u64,
    pub(crate) started: Option<u64>,
    pub(crate) stop: Option<(StopReason, Option<u64>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Succeeded,
    Failed(FailureReason),
    Skipped { by_failure: bool },
    Cancelled,
}

impl Cell {
    /// The core's state of an index, in the model's words.
    pub(crate) fn of(state: &TaskState) -> Cell {
        match *state {
            TaskState::Blocked => Cell::Blocked,
            TaskState::Undecided { since, tries } => Cell::Undecided { since: since.0, tries },
            TaskState::Ready { tries, since, avoid } => {
                Cell::Ready { tries, since: since.0, avoid: avoid.map(|it| it.0) }
            }
            TaskState::Placed { tries, attempt } => Cell::live(tries, attempt, None),
            TaskState::Running { tries, attempt, started_at } => {
                Cell::live(tries, attempt, Some(started_at.0))
            }
            TaskState::Backoff { tries, until, avoid } => {
                Cell::Backoff { tries, until: until.0, avoid: avoid.map(|it| it.0) }
            }
            TaskState::Held { tries } => Cell::Held { tries },
            TaskState::Awaiting { since, what: Awaited::Person } => {
                Cell::Awaiting { since: since.0 }
            }
            TaskState::Awaiting { since, what: Awaited::Run { run, tries, stop } } => {
                Cell::Child(Child { run: run.0, tries, since: since.0, stop })
            }
            TaskState::Succeeded { .. } => Cell::Ended(End::Succeeded),
            TaskState::Failed { reason, .. } => Cell::Ended(End::Failed(reason)),
            TaskState::Skipped { by_failure } => Cell::Ended(End::Skipped { by_failure }),
            TaskState::Cancelled => Cell::Ended(End::Cancelled),
        }
    }

    fn live(tries: Tries, it: muster_core::state::task::Attempt, started: Option<u64>) -> Cell {
        Cell::Live(Live {
            tries,
            worker: it.worker.0,
            fence: it.fence.0,
            placed_at: it.placed_at.0,
            started,
            stop: it.stop.map(|stop| (stop.reason, stop.force_at.map(|at| at.0))),
        })
    }

    /// Whether something of it goes on elsewhere.
    pub(crate) fn is_live(&self) -> bool {
        matches!(self, Cell::Live(_) | Cell::Child(_))
    }

    pub(crate) fn ended(&self) -> Option<End> {
        match self {
            Cell::Ended(end) => Some(*end),
            _ => None,
        }
    }
}

pub(crate) type Cells = BTreeMap<(u32, u32), Cell>;

#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// Its number within its workflow.
    pub(crate) number: u64,
    pub(crate) spec: WorkflowSpec,
    /// The run and the task that it was started for, and how many runs are above it.
    pub(crate) parent: Option<(u64, u32, u32)>,
    pub(crate) priority: i32,
    pub(crate) submitted: u64,
    pub(crate) is_paused: bool,
    pub(crate) stop: Option<StopReason>,
    /// A person cancelled it, and its hooks; only of a run with hooks.
    pub(crate) is_cancelled: bool,
    pub(crate) is_cancelled_twice: bool,
    /// What its tasks came to, once they have ended and hooks are open.
    pub(crate) result: Option<RunResult>,
    /// The highest number of an attempt, by task.
    pub(crate) attempts: BTreeMap<u32, u32>,
    pub(crate) cells: Cells,
    /// What tasks go through that were not sized by their spec. Those that are not here have the one index 0.
    pub(crate) items: Lists,
}

/// Items, by task.
pub(crate) type Lists = BTreeMap<u32, Vec<String>>;

/// Whether the size of a task is known only at run time.
pub(crate) fn is_sized_late(spec: &TaskSpec) -> bool {
    matches!(spec.fan_out, Some(FanOut::Reference(_)))
}

/// The indices of a task that goes through so many items; a task that goes through none has one all the same.
pub(crate) fn indices_of(spec: &TaskSpec, items: Option<usize>) -> std::ops::Range<u32> {
    let count = |count: usize| 0..count.max(1) as u32;
    match (&spec.array, &spec.fan_out) {
        (Some(array), _) => array.first..array.last + 1,
        (None, Some(FanOut::Items(items))) => count(items.len()),
        (None, Some(FanOut::Matrix(_))) => unreachable!("not drawn"),
        (None, Some(FanOut::Reference(_)) | None) => count(items.unwrap_or_default()),
    }
}

impl Run {
    pub(crate) fn task(&self, task: u32) -> Option<&TaskSpec> {
        self.spec.tasks.get(task as usize)
    }

    /// All cells of a range, if the task has them all.
    pub(crate) fn range(&self, task: u32, range: IndexRange) -> Option<Vec<(u32, Cell)>> {
        let indices = indices_of(self.task(task)?, self.items.get(&task).map(Vec::len));
        if range.first > range.last || range.first < indices.start || range.last >= indices.end {
            return None;
        }
        Some((range.first..=range.last).map(|it| (it, self.cells[&(task, it)])).collect())
    }

    /// How many indices of a task have a live attempt.
    pub(crate) fn live(&self, task: u32) -> usize {
        let live =
            |((of, _), cell): &(&(u32, u32), &Cell)| *of == task && matches!(cell, Cell::Live(_));
        self.cells.iter().filter(live).count()
    }

    /// Whether more indices of a task failed than may.
    pub(crate) fn has_too_many_failures(&self, task: u32) -> bool {
        let is_failed = |((of, _), cell): &(&(u32, u32), &Cell)| {
            *of == task && matches!(cell.ended(), Some(End::Failed(_)))
        };
        let failed = self.cells.iter().filter(is_failed).count();
        failed > self.spec.tasks[task as usize].max_failures as usize
    }

    /// How a task ended as a whole.
    pub(crate) fn end_of(&self, task: u32) -> Option<End> {
        let ends: Option<Vec<End>> = self
            .cells
            .iter()
            .filter(|((of, _), _)| *of == task)
            .map(|(_, cell)| cell.ended())
            .collect();
        let ends = ends?;
        let find = |wanted: fn(&End) -> bool| ends.iter().copied().find(wanted);
        let may_fail = !self.has_too_many_failures(task);
        find(|end| matches!(end, End::Failed(_)))
            .filter(|_| !may_fail)
            .or(find(|end| matches!(end, End::Cancelled)))
            .or(find(|end| matches!(end, End::Skipped { .. })))
            .or(Some(End::Succeeded))
    }

    pub(crate) fn upstream(&self, task: u32) -> Vec<u32> {
        let needs = &self.spec.tasks[task as usize].needs;
        let of_name =
            |name: &Name| self.spec.tasks.iter().position(|it| it.id == *name).unwrap() as u32;
        needs.iter().map(of_name).collect()
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Workflow {
    pub(super) versions: u32,
    /// By number: those that are kept, the last of them the latest.
    pub(super) kept: BTreeMap<u32, WorkflowSpec>,
    pub(super) runs: u64,
}

#[derive(Clone, Debug)]
struct Answer {
    digest: u64,
    at: u64,
    reply: Reply,
}

/// A run that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) run: u64,
    pub(crate) status: RunStatus,
    pub(crate) cells: Cells,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) now: u64,
    pub(super) index: u64,
    pub(crate) runs: BTreeMap<u64, Run>,
    pub(crate) workers: BTreeMap<u64, Worker>,
    /// Runs that ended, with their ids.
    pub(crate) history: Vec<(u64, Run)>,
    pub(super) workflows: BTreeMap<Name, Workflow>,
    /// The only namespace there is; `None` until it is applied.
    pub(super) namespace: Option<NamespaceSpec>,
    answers: BTreeMap<String, Answer>,
    pub(super) runs_ever: u64,
    pub(super) workers_ever: u64,
    pub(crate) ended: Vec<Ended>,
    /// What was taken back in the current entry: run, task and index.
    pub(crate) reopened: BTreeSet<(u64, u32, u32)>,
    /// Tasks of which an attempt was placed and ended in the current entry.
    pub(super) ended_at_once: BTreeSet<(u64, u32)>,
    /// Tasks of which an index failed since `failFast` was last asked.
    pub(super) failed: BTreeSet<(u64, u32)>,
    /// Runs that ended, and of which the tasks that they were started for do not know.
    pub(super) untold: BTreeMap<u64, (u64, u32, RunStatus)>,
    /// Runs that must stop with the tasks that they were started for.
    pub(super) stopped: BTreeSet<u64>,
}

pub(crate) type Answered = Result<Reply, Rejection>;

impl Model {
    pub(crate) fn apply(&mut self, index: u64, entry: &Entry) -> Vec<Answered> {
        self.index = index;
        self.now = self.now.max(entry.at.0);
        self.ended_at_once.clear();
        self.reopened.clear();
        self.ended.clear();
        let (now, day) = (self.now, limits::REQUEST_ID_RETENTION.0);
        self.answers.retain(|_, answer| now - answer.at <= day);
        let mut answers = Vec::new();
        for command in &entry.commands {
            self.advance();
            self.follow_up();
            answers.push(self.answer(command));
            self.follow_up();
        }
        answers
    }

    fn answer(&mut self, command: &Command) -> Answered {
        if let Command::Asked(it) = command {
            // The auditor judges the trail.
            return self.answer(&it.command);
        }
        let request = match command {
            Command::ApplyWorkflow(it) => &it.request,
            Command::ApplyNamespace(it) => &it.request,
            Command::SubmitRun(it) => &it.request,
            Command::CancelRun(it) => &it.request,
            Command::PauseRun(it) => &it.request,
            Command::PrioritizeRun(it) => &it.request,
            Command::ReleaseTask(it) => &it.request,
            Command::EndTask(it) => &it.request,
            Command::ReopenTasks(it) => &it.request,
            Command::RetryRun(it) => &it.request,
            Command::DrainWorker(it) => &it.request,
            _ => &None,
        };
        let Some(RequestKey { id, digest }) = request else { return self.carry_out(command) };
        if let Some(known) = self.answers.get(&**id) {
            return if known.digest == *digest {
                Ok(known.reply.clone())
            } else {
                Err(Rejection::RequestIdReused { id: id.to_string() })
            };
        }
        let reply = self.carry_out(command)?;
        let answer = Answer { digest: *digest, at: self.now, reply: reply.clone() };
        self.answers.insert(id.to_string(), answer);
        Ok(reply)
    }

    fn carry_out(&mut self, command: &Command) -> Answered {
        match command {
            Command::Tick | Command::PruneHistory(_) | Command::UpgradeCluster(_) => {
                Ok(Reply::Done)
            }
            Command::ApplyWorkflow(it) => self.apply_workflow(&it.spec),
            Command::ApplyNamespace(it) => self.apply_namespace(&it.spec),
            Command::SubmitRun(it) => self.submit(it),
            Command::CancelRun(it) => self.cancel(it.run),
            Command::PauseRun(it) => self.pause(it.run, it.is_paused),
            Command::PrioritizeRun(it) => {
                self.changeable(it.run)?.priority = it.priority;
                Ok(Reply::Done)
            }
            // Not drawn here: `tests/schedules.rs` does.
            Command::FireSchedule(_) | Command::SuspendSchedule(_) => unreachable!("not drawn"),
            Command::Asked(_) => unreachable!("taken out of it before"),
            Command::ReleaseTask(it) => self.release(it.run.0, it.task.0, it.rerun),
            Command::EndTask(it) => self.end_task(it),
            Command::ReopenTasks(it) => self.reopen_tasks(it),
            Command::RetryRun(it) => self.retry_run(it),
            Command::RegisterWorker(it) => Ok(self.register(it)),
            Command::DrainWorker(it) => {
                let missing = Rejection::NoSuchWorker { worker: it.worker };
                let worker = self.workers.get_mut(&it.worker.0).filter(|it| it.lost_at.is_none());
                worker.ok_or(missing)?.is_draining = it.is_draining;
                Ok(Reply::Done)
            }
            Command::LoseWorker(it) => self.lose(it.worker),
            Command::DecideTasks(it) => Ok(items(&it.decisions, |decision| self.decide(decision))),
            Command::PlaceAttempts(it) => {
                Ok(items(&it.placements, |placement| self.place(placement)))
            }
            Command::StartAttempts(it) => Ok(items(&it.starts, |start| self.start(start))),
            Command::FinishAttempts(it) => Ok(items(&it.finishes, |finish| self.finish(finish))),
        }
    }

    fn apply_workflow(&mut self, spec: &WorkflowSpec) -> Answered {
        if spec.tasks.is_empty() {
            return Err(Rejection::InvalidSpec { message: String::new() });
        }
        let known = self.workflows.get(&spec.name).and_then(|it| it.kept.last_key_value());
        if known.map(|it| it.1) != Some(spec) {
            self.check_groups(spec)?;
        }
        let workflow = self.workflows.entry(spec.name.clone()).or_default();
        let is_new = workflow.kept.last_key_value().map(|it| it.1) != Some(spec);
        workflow.versions += u32::from(is_new);
        workflow.kept.insert(workflow.versions, spec.clone());
        let oldest = workflow.versions.saturating_sub(limits::EARLIER_VERSIONS_MAX as u32);
        workflow.kept.retain(|number, _| *number >= oldest);
        Ok(Reply::WorkflowApplied { version: workflow.versions, is_new })
    }

    fn submit(&mut self, submit: &SubmitRun) -> Answered {
        use muster_core::command::RunSource;
        let spec = match &submit.source {
            RunSource::Workflow { workflow, version } => {
                let known = self.workflows.get(workflow);
                let spec =
                    known.and_then(|it| it.kept.get(&version.unwrap_or(it.versions)).cloned());
                spec.ok_or_else(|| Rejection::NoSuchWorkflow {
                    namespace: submit.namespace.clone(),
                    name: workflow.to_string(),
                })?
            }
            RunSource::Apply(spec) => {
                self.check_runs(&submit.namespace)?;
                self.apply_workflow(spec)?;
                (**spec).clone()
            }
            RunSource::OneOff(spec) if spec.tasks.is_empty() => {
                self.check_runs(&submit.namespace)?;
                return Err(Rejection::InvalidSpec { message: String::new() });
            }
            RunSource::OneOff(spec) => (**spec).clone(),
        };
        self.check_runs(&submit.namespace)?;
        if let RunSource::OneOff(spec) = &submit.source {
            self.check_groups(spec)?;
        }
        let priority = submit.priority.unwrap_or(spec.priority);
        Ok(self.start_run(spec, priority, Cells::new(), Lists::new()))
    }

    /// Starts a run of which some indices have ended already.
    pub(super) fn start_run(
        &mut self,
        spec: WorkflowSpec,
        priority: i32,
        ended: Cells,
        items: Lists,
    ) -> Reply {
        let workflow = self.workflows.entry(spec.name.clone()).or_default();
        workflow.runs += 1;
        let number = workflow.runs;
        self.runs_ever += 1;
        let id = self.runs_ever;
        let mut cells = Cells::new();
        for (task, it) in spec.tasks.iter().enumerate() {
            let size = items.get(&(task as u32)).map(Vec::len);
            let keys = indices_of(it, size).map(|index| (task as u32, index));
            cells.extend(keys.map(|key| (key, Cell::Blocked)));
        }
        cells.extend(ended);
        let name = spec.name.clone();
        let run = Run {
            number,
            spec,
            parent: None,
            priority,
            submitted: self.now,
            is_paused: false,
            stop: None,
            is_cancelled: false,
            is_cancelled_twice: false,
            result: None,
            attempts: BTreeMap::new(),
            cells,
            items,
        };
        self.runs.insert(id, run);
        self.settle(id);
        self.end_if_over(id);
        Reply::RunSubmitted { run: RunId(id), workflow: name, number }
    }

    /// Every ready index that may be placed, as the queue counts them: request, priority, run, task, indices.
    pub(crate) fn ready(&self) -> BTreeMap<(Request, i64, RunId, TaskIndex), u32> {
        let mut ready = BTreeMap::new();
        for (id, run) in self.runs.iter().filter(|(_, run)| !run.is_paused) {
            for ((task, _), cell) in &run.cells {
                if matches!(cell, Cell::Ready { .. }) {
                    let spec = &run.spec.tasks[*task as usize];
                    let priority = i64::from(spec.priority.unwrap_or(run.priority));
                    let turn = run.submitted as i64 - priority * 60_000;
                    let key = (spec.request.clone(), turn, RunId(*id), TaskIndex(*task));
                    let count: &mut u32 = ready.entry(key).or_default();
                    let max = spec.max_parallel.unwrap_or(u32::MAX) as usize;
                    *count += u32::from(*count as usize + run.live(*task) < max);
                }
            }
        }
        ready.retain(|_, count| *count > 0);
        ready
    }
}

fn items<T>(items: &[T], mut each: impl FnMut(&T) -> Result<(), ItemRefusal>) -> Reply {
    let refused = items.iter().enumerate();
    let refused =
        refused.filter_map(|(at, item)| each(item).err().map(|refusal| (at as u32, refusal)));
    Reply::Items { refused: refused.collect() }
}
