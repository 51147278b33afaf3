//! One run of a workflow version.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::cells::Cells;
use super::hooks::RunResult;
use super::task::{Outputs, StopReason, Task, TaskSpans, TaskState};
use super::trail::Asker;
use super::workflow::WorkflowVersion;
use crate::ids::{LogIndex, Name, RunId, TaskIndex, Text};
use crate::limits;
use crate::spec::TaskSpec;
use crate::spec::template::{self, Reference, TemplateError};
use crate::time::Timestamp;

/// How often a person can cancel a run with hooks: once its tasks, and once its hooks.
pub const CANCELS_MAX: u8 = 2;

/// Values of a run's parameters.
pub type Params = BTreeMap<Name, Text>;

/// A run. Live runs are in the state; the moment a run ends it leaves for the history, as it is then.
///
/// - `open` is the number of tasks that have not ended.
/// - Every `waiting` of a task is the number of its upstream tasks that have not ended.
/// - `result` is set exactly if the run has begun, has hooks, and no other task of it is open.
/// - A run with `ended` set has `open == 0`, and is not in the state.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its number in the cluster.
    pub id: RunId,
    /// Its number within its workflow, as people say it: `etl/42`.
    pub number: u64,
    /// What it runs.
    pub version: Arc<WorkflowVersion>,
    /// Its parameters, defaults filled in.
    pub params: Arc<Params>,
    /// Larger first.
    pub priority: i32,
    /// When it was accepted.
    pub submitted_at: Timestamp,
    /// When it began; `None` while it waits for earlier runs of the workflow.
    pub begun_at: Option<Timestamp>,
    /// The fire time it was made for, if a schedule made it.
    pub origin: Option<FireOrigin>,
    /// The run that it retries, if it was made for that.
    pub retry: Option<RetryOrigin>,
    /// Present if somebody asked for it to be made for a fire time, after the fact: several runs may be for one.
    pub backfill: Option<FireOrigin>,
    /// The end of another workflow's run that made it.
    pub trigger: Option<TriggerOrigin>,
    /// The task that it was started for, if there is one. That waits for it.
    pub parent: Option<ParentTask>,
    /// Who asked for it; `None` if a schedule, a trigger or a task made it, or whoever asked did not say.
    pub asked_by: Option<Asker>,
    /// Present while it is paused: since when. Nothing of it is placed then.
    pub paused: Option<Timestamp>,
    /// Present once it must stop: since when, and why.
    pub stop: Option<(Timestamp, StopReason)>,
    /// How often a person cancelled it, up to [`CANCELS_MAX`]; counted only of a run with hooks, which a second cancel
    /// stops.
    pub cancels: u8,
    /// Present in a run with hooks once their turn has come: what its other tasks came to.
    pub result: Option<RunResult>,
    /// Its tasks, by [`TaskIndex`]; hooks stand last.
    pub tasks: Vec<Task>,
    /// Tasks that have not ended.
    pub open: u32,
    /// Present once it ended.
    pub ended: Option<RunEnded>,
}

/// The fire time that a run was made for. A schedule makes no two runs for one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FireOrigin {
    /// The schedule that fired.
    pub schedule: Name,
    /// When it was meant to.
    pub fire_time: Timestamp,
}

/// The run that another one retries. Both are of one workflow.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RetryOrigin {
    /// Its number in the cluster.
    pub run: RunId,
    /// Its number within the workflow.
    pub number: u64,
    /// What it was made for: see [`Run::fire_time`].
    pub fire_time: Timestamp,
    /// The schedule that it was made for.
    pub schedule: Option<Name>,
    /// The end that it followed.
    pub trigger: Option<TriggerOrigin>,
}

/// The end of another workflow's run that a run was made for. A workflow has no two runs for one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TriggerOrigin {
    /// The trigger that fired.
    pub trigger: Name,
    /// The workflow of the run that ended.
    pub workflow: Name,
    /// The number of that run in the cluster.
    pub run: RunId,
    /// Its number within its workflow.
    pub number: u64,
    /// How it ended.
    pub result: RunResult,
    /// What it was about: see [`Run::fire_time`].
    pub fire_time: Timestamp,
}

/// The task that a run was started for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ParentTask {
    /// The run of the task.
    pub run: RunId,
    /// The workflow of that run.
    pub workflow: Name,
    /// The number of that run within its workflow.
    pub number: u64,
    /// Where the task stands in that run.
    pub task: TaskIndex,
    /// The name of the task.
    pub name: Name,
    /// How many runs are above: 1 if that run has no parent, and at most
    /// [`SUB_WORKFLOW_DEPTH_MAX`](crate::limits::SUB_WORKFLOW_DEPTH_MAX).
    pub depth: u32,
    /// What that run was made for: see [`Run::fire_time`].
    pub fire_time: Timestamp,
    /// The schedule that that run was made for.
    pub schedule: Option<Name>,
}

impl ParentTask {
    /// `etl/42/load`.
    pub fn label(&self) -> String {
        format!("{}/{}/{}", self.workflow, self.number, self.name)
    }
}

/// How and when a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RunEnded {
    /// The log's time.
    pub at: Timestamp,
    /// The log index of the entry that ended it.
    pub index: LogIndex,
    /// How.
    pub status: RunStatus,
}

/// The state of a run as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RunStatus {
    /// It waits for earlier runs of the workflow.
    Queued,
    /// Some task has not ended.
    Running,
    /// It began, and a user lets nothing more of it be placed for now.
    Paused,
    /// Every task ended and none failed, hooks included.
    Succeeded,
    /// Some task or hook failed, or the run's timeout was over (then its stop reason says so).
    Failed,
    /// A user cancelled it, or a task of it while none failed.
    Cancelled,
}

impl RunStatus {
    /// The word people see.
    pub fn word(self) -> &'static str {
        match self {
            RunStatus::Queued => "queued",
            RunStatus::Running => "running",
            RunStatus::Paused => "paused",
            RunStatus::Succeeded => "succeeded",
            RunStatus::Failed => "failed",
            RunStatus::Cancelled => "cancelled",
        }
    }
}

impl Run {
    /// A new run that has not begun: all its tasks are blocked.
    pub fn new(
        id: RunId,
        number: u64,
        version: Arc<WorkflowVersion>,
        params: Arc<Params>,
        at: Timestamp,
    ) -> Self {
        let tasks = version.spec.tasks.iter().enumerate().map(|(position, spec)| {
            let waiting = version.graph.upstream(TaskIndex(position as u32)).len() as u32;
            Task {
                cells: Cells::new(spec.array_indices(), TaskState::Blocked),
                items: None,
                max_failures: spec.max_failures,
                waiting,
                attempts: 0,
                outputs: None,
                message: None,
                child: None,
            }
        });
        let tasks: Vec<Task> = tasks.collect();
        let open = tasks.len() as u32;
        let priority = version.spec.priority;
        Run {
            id,
            number,
            params,
            priority,
            submitted_at: at,
            begun_at: None,
            origin: None,
            retry: None,
            backfill: None,
            trigger: None,
            parent: None,
            asked_by: None,
            paused: None,
            stop: None,
            cancels: 0,
            result: None,
            tasks,
            open,
            ended: None,
            version,
        }
    }

    /// The run's status.
    pub fn status(&self) -> RunStatus {
        match (self.ended, self.begun_at, self.paused) {
            (Some(ended), ..) => ended.status,
            (None, Some(_), None) => RunStatus::Running,
            (None, Some(_), Some(_)) => RunStatus::Paused,
            (None, None, _) => RunStatus::Queued,
        }
    }

    /// The time that the run is about: the fire time it was made for, by its schedule or after the fact, else when it
    /// was submitted; of a retry, the time that the run is about that it retries; of a run that follows another one's
    /// end, or that a task started, what that one, or the task's run, is about.
    pub fn fire_time(&self) -> Timestamp {
        let own = self.origin.as_ref().or(self.backfill.as_ref()).map(|origin| origin.fire_time);
        let own = own.or_else(|| self.retry.as_ref().map(|retry| retry.fire_time));
        let own = own.or_else(|| self.trigger.as_ref().map(|trigger| trigger.fire_time));
        own.or_else(|| self.parent.as_ref().map(|parent| parent.fire_time))
            .unwrap_or(self.submitted_at)
    }

    /// The schedule that the run was made for, or the run that it retries, or that a task of it started.
    pub fn schedule(&self) -> Option<&Name> {
        let own = self.origin.as_ref().or(self.backfill.as_ref()).map(|origin| &origin.schedule);
        let own = own.or_else(|| self.retry.as_ref().and_then(|retry| retry.schedule.as_ref()));
        own.or_else(|| self.parent.as_ref().and_then(|parent| parent.schedule.as_ref()))
    }

    /// The end that the run was made for, or the run that it retries.
    pub fn followed(&self) -> Option<&TriggerOrigin> {
        let retried = || self.retry.as_ref().and_then(|retry| retry.trigger.as_ref());
        self.trigger.as_ref().or_else(retried)
    }

    /// How it ended, as those are told that follow it; `None` while it is live.
    pub fn ended_as(&self) -> Option<RunResult> {
        let is_late = matches!(self.stop, Some((_, StopReason::RunTimedOut)));
        match self.ended?.status {
            RunStatus::Succeeded => Some(RunResult::Succeeded),
            RunStatus::Failed if is_late => Some(RunResult::TimedOut),
            RunStatus::Failed => Some(RunResult::Failed),
            RunStatus::Cancelled => Some(RunResult::Cancelled),
            RunStatus::Queued | RunStatus::Running | RunStatus::Paused => None,
        }
    }

    /// Whether its end can make runs of other workflows: not if it never began, was replaced by a later run, was
    /// started for a task, is one of a backfill or a one-off.
    pub fn may_be_followed(&self) -> bool {
        let is_replaced = matches!(self.stop, Some((_, StopReason::Replaced)));
        let has_begun = self.begun_at.is_some() && self.version.number > 0;
        has_begun && !is_replaced && self.parent.is_none() && self.backfill.is_none()
    }

    /// Counts anew which tasks have not ended, and how many each one waits for.
    pub(crate) fn recount(&mut self) {
        let is_open: Vec<bool> = self.tasks.iter().map(|task| task.end().is_none()).collect();
        self.open = is_open.iter().filter(|is_open| **is_open).count() as u32;
        for (position, task) in self.tasks.iter_mut().enumerate() {
            let upstream = self.version.graph.upstream(TaskIndex(position as u32)).iter();
            task.waiting = upstream.filter(|it| is_open[it.0 as usize]).count() as u32;
        }
    }

    /// The task at `index`.
    pub fn task(&self, index: TaskIndex) -> Option<&Task> {
        self.tasks.get(index.0 as usize)
    }

    /// What the user wrote about the task at `index`.
    pub fn spec(&self, index: TaskIndex) -> Option<&TaskSpec> {
        self.version.spec.tasks.get(index.0 as usize)
    }

    /// Whether so many indices of the task at `index` failed that `failFast` cancels its others.
    pub fn fails_fast(&self, index: TaskIndex) -> bool {
        let is_fast = self.spec(index).is_some_and(|spec| spec.fail_fast);
        is_fast && self.task(index).is_some_and(Task::has_too_many_failures)
    }

    /// The spans that make deadlines for the task at `index`. Nobody waits for a worker while the run is paused.
    pub fn spans(&self, index: TaskIndex) -> TaskSpans {
        self.spec(index).map_or_else(TaskSpans::default, |spec| TaskSpans {
            timeout: spec.timeout,
            queue_timeout: spec.queue_timeout.filter(|_| self.paused.is_none()),
        })
    }

    /// The priority of the task at `index`.
    pub fn task_priority(&self, index: TaskIndex) -> i32 {
        self.spec(index).and_then(|spec| spec.priority).unwrap_or(self.priority)
    }

    /// When the run's own timeout is over, as long as it can strike.
    pub fn deadline(&self) -> Option<Timestamp> {
        self.tasks_deadline().filter(|_| self.stop.is_none() && self.result.is_none())
    }

    /// When the run's own timeout is over. It bounds what its tasks take, and not its hooks.
    pub(crate) fn tasks_deadline(&self) -> Option<Timestamp> {
        self.version.spec.timeout.zip(self.begun_at).map(|(span, at)| at + span)
    }

    /// What it gives to the task that it was started for, of the keys that are wanted; `None` if that is too large. A
    /// value that refers to what no task wrote is left out. Final once the run has ended.
    pub fn outputs(&self, is_wanted: impl Fn(&Text) -> bool) -> Option<Outputs> {
        let spec = &self.version.spec;
        let mut outputs = Outputs::new();
        if spec.outputs.is_empty() {
            return Some(outputs);
        }
        let ids = spec.tasks.iter().map(|task| template::in_expressions(task.id.as_str()));
        let tasks: BTreeMap<String, &Task> = ids.zip(&self.tasks).collect();
        let value = |reference: &Reference| match reference {
            Reference::Param(name) => {
                let mut params = self.params.iter();
                let found = params.find(|(it, _)| template::is_same_name(name, it.as_str()));
                found.map(|(_, value)| value.clone())
            }
            Reference::TaskOutput { task, key } => {
                let written = tasks.get(&template::in_expressions(task))?.outputs.as_ref()?;
                let found = written.iter().find(|(it, _)| template::is_same_name(key, it));
                found.map(|(_, value)| value.clone())
            }
            _ => None,
        };
        let mut bytes = 0;
        for (key, text) in spec.outputs.iter().filter(|(key, _)| is_wanted(key)) {
            let text = match template::render(text, &value) {
                Ok(text) => text,
                Err(TemplateError::TooLong) => return None,
                Err(_) => continue,
            };
            bytes += key.len() + text.len();
            if bytes > limits::OUTPUT_BYTES_MAX {
                return None;
            }
            outputs.insert(key.clone(), text.into());
        }
        Some(outputs)
    }

    /// `etl/42`.
    pub fn label(&self) -> String {
        format!("{}/{}", self.version.workflow, self.number)
    }
}
