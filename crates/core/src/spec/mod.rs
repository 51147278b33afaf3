//! What users write: a workflow, its tasks, and the rules between them, already checked.
//!
//! [`parse()`] turns a workflow file into a [`WorkflowSpec`] and points at line and column where it cannot;
//! [`validate()`] checks a spec from any source (a file, the API, the log), so that a [`WorkflowSpec`] in the state is
//! always well-formed.

pub mod column;
pub mod duration;
pub mod error;
mod expression;
pub mod fan_out;
mod hook;
pub mod namespace;
pub mod param;
mod parse;
mod path;
pub mod quantity;
mod read;
mod report;
pub mod schedule;
mod size;
mod suggest;
pub mod template;
pub mod trigger;
pub mod validate;
pub mod webhook;
mod yaml;

use std::collections::{BTreeMap, BTreeSet};

pub use self::error::{ERRORS_MAX, Position, SpecError, SpecErrors};
pub use self::fan_out::{Axis, FanOut, Items, ItemsError};
pub use self::hook::Hook;
pub use self::param::{ParamSpec, ParamType};
pub use self::parse::{
    ExpressionCheck, ExpressionProblem, Manifest, ScheduleCheck, parse, parse_manifest, parse_with,
    validate_with,
};
use self::schedule::ScheduleSpec;
pub use self::suggest::did_you_mean;
use self::trigger::TriggerSpec;
pub use self::validate::{BACKOFF_FACTOR_MILLIS_MAX, LABEL_VALUE_BYTES_MAX, validate};
use self::webhook::WebhookSpec;
use crate::ids::{Name, Text};
use crate::limits;
use crate::time::Millis;

/// A named DAG of tasks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WorkflowSpec {
    /// The workflow's name within its namespace.
    pub name: Name,
    /// Free facts for people and selectors.
    pub labels: BTreeMap<Text, Text>,
    /// From submission to the end of the run; the run fails when it is over.
    pub timeout: Option<Millis>,
    /// Priority of the workflow's tasks unless a task or the submission says otherwise. Larger first.
    pub priority: i32,
    /// Declared parameters.
    pub params: BTreeMap<Name, ParamSpec>,
    /// When it runs by itself.
    pub schedules: Vec<ScheduleSpec>,
    /// How programs outside of the cluster start it.
    pub webhooks: Vec<WebhookSpec>,
    /// Which other workflows' runs it follows.
    pub triggers: Vec<TriggerSpec>,
    /// What happens to a run that is to begin while an earlier one is live.
    pub concurrency: ConcurrencyPolicy,
    /// Whether the first task that fails cancels what is left of a run.
    pub fail_fast: bool,
    /// What a run gives to the task that it was started for, by key; values hold references to parameters and to what
    /// tasks wrote (see [`template`]).
    pub outputs: BTreeMap<Text, Text>,
    /// The tasks, in file order, and behind them the hooks. A [`crate::ids::TaskIndex`] is a position in this list.
    pub tasks: Vec<TaskSpec>,
}

/// What happens to a run that is to begin while an earlier one of the workflow is live. Decided in the entry that would
/// begin it, for runs of schedules, of triggers and of people alike; `submit`, whose runs are of no version, is not
/// asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConcurrencyPolicy {
    /// It begins.
    #[default]
    Allow,
    /// There is no run: a submission is rejected, and a fire time or another run's end is passed over.
    Forbid,
    /// The earlier ones are told to stop, and it begins once they ended.
    Replace,
    /// It waits until the earlier ones ended; the oldest goes first.
    Queue,
}

/// One vertex of a workflow.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TaskSpec {
    /// The task's name within its workflow.
    pub id: Name,
    /// Present for a task that begins once all others have ended.
    pub hook: Option<Hook>,
    /// Upstream tasks.
    pub needs: Vec<Name>,
    /// What must hold over the upstream ends.
    pub rule: DependencyRule,
    /// When the task runs at all, once the upstream tasks ended.
    pub condition: Condition,
    /// How it is carried out.
    pub executor: ExecutorSpec,
    /// Environment; values may hold `${{ … }}` references (see [`template`]).
    pub env: BTreeMap<Text, Text>,
    /// Keys that the task promises to write to `$MUSTER_OUTPUT`; of a sub-workflow those that it takes of its run.
    pub outputs: Vec<Text>,
    /// Present for an array task whose indices are written as a range.
    pub array: Option<ArraySpec>,
    /// Present for an array task that goes through values; not beside [`TaskSpec::array`].
    pub fan_out: Option<FanOut>,
    /// Most indices of an array task that have a live attempt at once; at least 1. All, if absent.
    pub max_parallel: Option<u32>,
    /// Most indices of an array task that may fail while the task counts as if they had succeeded.
    pub max_failures: u32,
    /// Whether an array task of which more indices failed than [`TaskSpec::max_failures`] cancels the others.
    pub fail_fast: bool,
    /// What a worker must have to take it.
    pub request: Request,
    /// Attempts after a failure or a timeout.
    pub retry: RetryPolicy,
    /// What follows when an attempt is lost.
    pub on_lost: OnLost,
    /// Losses after which the task fails: a task that kills its workers ends.
    pub max_lost: u32,
    /// Bound on one attempt, from its start; of an approval, on waiting for a person; of a sub-workflow, on one run.
    pub timeout: Option<Millis>,
    /// Bound on waiting for a worker, from the moment the task becomes ready.
    pub queue_timeout: Option<Millis>,
    /// Between the request to stop (TERM) and the end by force (KILL).
    pub grace_period: Millis,
    /// Overrides the run's priority.
    pub priority: Option<i32>,
}

/// What must hold over the ends of the upstream tasks before a task may start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DependencyRule {
    /// Every upstream task succeeded. The first that did not skips the task.
    #[default]
    AllSucceeded,
    /// Every upstream task ended, however.
    AllDone,
    /// At least one upstream task succeeded; the task starts with the first that does.
    AnySucceeded,
}

/// The `if:` of a task.
///
/// - [`Condition::Failure`], [`Condition::Cancelled`] and [`Condition::Always`] go only with
///   [`DependencyRule::AllSucceeded`], whose verdict they replace, and wait until every upstream task ended.
/// - An expression is asked once the rule lets the task start, which must see all upstream ends: the rule is not
///   [`DependencyRule::AnySucceeded`].
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Condition {
    /// `success()`: the dependency rule decides.
    #[default]
    Success,
    /// `failure()`: some upstream task failed, or was skipped because one before it failed.
    Failure,
    /// `always()`: whatever the upstream ends.
    Always,
    /// `cancelled()`: some upstream task was cancelled.
    Cancelled,
    /// Anything else. The core does not read it: a leader evaluates it, and [`crate::command::DecideTasks`] says what
    /// came out.
    Expression(Text),
}

/// How a task is carried out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ExecutorSpec {
    /// An operating-system process.
    Process(ProcessSpec),
    /// Returns success at once without starting anything. Measures Muster itself, and serves as a joint in a DAG.
    Noop,
    /// No worker does: a person says whether the task succeeds.
    Approval(ApprovalSpec),
    /// No worker does: a run of another workflow is started, and the task comes to what that comes to.
    Workflow(SubWorkflowSpec),
}

/// A task that waits for a run of another workflow, which is started for it. Nothing that is about workers may be said
/// of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SubWorkflowSpec {
    /// The workflow, of the same namespace. Its latest version is run.
    pub name: Name,
    /// Values for its parameters; may hold `${{ … }}` references (see [`template`]).
    pub params: BTreeMap<Name, Text>,
}

/// A task that waits for a person. It has no attempts, so nothing that is about attempts or workers may be said of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ApprovalSpec {
    /// What the person is to judge, in words; may hold `${{ … }}` references (see [`template`]).
    pub message: Option<Text>,
    /// What follows when nobody answered within [`TaskSpec::timeout`].
    pub on_timeout: OnTimeout,
}

/// What follows when nobody answered an approval in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OnTimeout {
    /// It fails.
    #[default]
    Fail,
    /// It counts as approved.
    Approve,
}

impl ExecutorSpec {
    /// What there is to approve, if that is what it is.
    pub fn approval(&self) -> Option<&ApprovalSpec> {
        match self {
            ExecutorSpec::Approval(approval) => Some(approval),
            ExecutorSpec::Process(_) | ExecutorSpec::Noop | ExecutorSpec::Workflow(_) => None,
        }
    }

    /// Which workflow is run, if that is what it is.
    pub fn sub_workflow(&self) -> Option<&SubWorkflowSpec> {
        match self {
            ExecutorSpec::Workflow(it) => Some(it),
            ExecutorSpec::Process(_) | ExecutorSpec::Noop | ExecutorSpec::Approval(_) => None,
        }
    }
}

/// A process to start.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ProcessSpec {
    /// What to start.
    pub command: ProcessCommand,
    /// Where to start it; the attempt's own empty folder if absent.
    pub working_dir: Option<Text>,
}

/// A program and its arguments, or a script.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ProcessCommand {
    /// Program and arguments, handed to the operating system as they are.
    Argv(Vec<Text>),
    /// A script, written to a file and given to `shell` as its last argument.
    Script {
        /// The text.
        text: Text,
        /// Interpreter and options; `["bash", "-euo", "pipefail"]` unless the user says otherwise.
        shell: Vec<Text>,
    },
}

/// The indices of an array task, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ArraySpec {
    /// First index.
    pub first: u32,
    /// Last index, not below `first`.
    pub last: u32,
}

impl ArraySpec {
    /// How many indices there are.
    pub fn count(self) -> u32 {
        self.last - self.first + 1
    }
}

/// What a task asks of a worker. Tasks with equal requests are planned together.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Request {
    /// The worker must carry this `pool` label; none means any worker without a pool.
    pub pool: Option<Text>,
    /// Labels the worker must carry, with these values.
    pub selector: BTreeMap<Text, Text>,
    /// Quantities taken from the worker while the attempt lives.
    pub resources: Resources,
    /// Concurrency groups of the namespace in each of which an attempt takes a place while it lives; at most
    /// [`limits::TASK_GROUPS_MAX`].
    pub groups: BTreeSet<Name>,
}

/// Quantities: what a worker offers, or what a task takes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Resources {
    /// Thousandths of a core.
    pub cpu_millis: u64,
    /// Bytes.
    pub memory_bytes: u64,
    /// Anything else that is counted, by name (`gpu`, `licence`).
    pub custom: BTreeMap<Text, u64>,
}

impl Resources {
    /// Nothing of anything.
    pub const ZERO: Resources =
        Resources { cpu_millis: 0, memory_bytes: 0, custom: BTreeMap::new() };
}

impl Default for Resources {
    /// What a task takes unless it says otherwise: one core.
    fn default() -> Self {
        Resources { cpu_millis: 1000, memory_bytes: 0, custom: BTreeMap::new() }
    }
}

/// How often and when a failed attempt is followed by another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RetryPolicy {
    /// Attempts beyond the first. Losses are counted apart and never spend it.
    pub limit: u32,
    /// The wait between attempts.
    pub backoff: Backoff,
    /// Retry when the attempt failed.
    pub on_failure: bool,
    /// Retry when the attempt ran out of time.
    pub on_timeout: bool,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        RetryPolicy { limit: 0, backoff: Backoff::default(), on_failure: true, on_timeout: true }
    }
}

/// An exponentially growing wait. Factors are thousandths, since the core has no floats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Backoff {
    /// The wait before the second attempt.
    pub initial: Millis,
    /// Each further wait is this many thousandths of the one before; at least 1000.
    pub factor_millis: u32,
    /// No wait is longer.
    pub cap: Millis,
    /// A wait is shortened or stretched by up to this many thousandths; at most 1000. The amount follows from the
    /// attempt's identity, so that all replicas agree on it.
    pub jitter_millis: u32,
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff {
            initial: Millis::from_secs(1),
            factor_millis: 2000,
            cap: Millis::from_secs(300),
            jitter_millis: 200,
        }
    }
}

/// What follows when an attempt is lost with its worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OnLost {
    /// Run it again elsewhere.
    #[default]
    Rerun,
    /// The task fails: for work that must not be done twice.
    Fail,
    /// The task waits for a person.
    Hold,
}

impl WorkflowSpec {
    /// A workflow with this name and these tasks and every other field at its default.
    pub fn new(name: Name, tasks: Vec<TaskSpec>) -> Self {
        WorkflowSpec {
            name,
            labels: BTreeMap::new(),
            timeout: None,
            priority: 0,
            params: BTreeMap::new(),
            schedules: Vec::new(),
            webhooks: Vec::new(),
            triggers: Vec::new(),
            concurrency: ConcurrencyPolicy::default(),
            fail_fast: false,
            outputs: BTreeMap::new(),
            tasks,
        }
    }
}

impl TaskSpec {
    /// A task with this name and executor and every other field at its default.
    pub fn new(id: Name, executor: ExecutorSpec) -> Self {
        TaskSpec {
            id,
            hook: None,
            needs: Vec::new(),
            rule: DependencyRule::default(),
            condition: Condition::default(),
            executor,
            env: BTreeMap::new(),
            outputs: Vec::new(),
            array: None,
            fan_out: None,
            max_parallel: None,
            max_failures: 0,
            fail_fast: false,
            request: Request::default(),
            retry: RetryPolicy::default(),
            on_lost: OnLost::default(),
            max_lost: limits::LOST_LIMIT_DEFAULT,
            timeout: None,
            queue_timeout: None,
            grace_period: limits::GRACE_PERIOD_DEFAULT,
            priority: None,
        }
    }

    /// Whether a leader must evaluate something before the task starts.
    pub fn needs_decision(&self) -> bool {
        matches!(self.condition, Condition::Expression(_))
            || self.is_sized_late()
            || self.is_sub_workflow()
    }

    /// Whether a run of another workflow is started for it, and no worker has part in it.
    pub fn is_sub_workflow(&self) -> bool {
        self.executor.sub_workflow().is_some()
    }

    /// Whether a person decides about it, and no worker has part in it.
    pub fn is_approval(&self) -> bool {
        self.executor.approval().is_some()
    }

    /// Whether it is an array task, be its size known or not.
    pub fn is_array(&self) -> bool {
        self.array.is_some() || self.fan_out.is_some()
    }

    /// Whether it is an array task whose size is known only at run time.
    pub fn is_sized_late(&self) -> bool {
        matches!(self.fan_out, Some(FanOut::Reference(_)))
    }

    /// The indices of an array task; `None` for a single task, and for one that is sized late.
    pub fn array_indices(&self) -> Option<ArraySpec> {
        self.array.or_else(|| {
            let count = self.fan_out.as_ref()?.count()?;
            let count = u32::try_from(count).unwrap_or(u32::MAX).max(1);
            Some(ArraySpec { first: 0, last: count - 1 })
        })
    }

    /// The indices of the task: an array's own, or the single index 0, which also stands for a task that is sized late
    /// until it has its size.
    pub fn indices(&self) -> ArraySpec {
        self.array_indices().unwrap_or(ArraySpec { first: 0, last: 0 })
    }
}
