//! Why a task is where it is, and which worker could take it: the answer behind `muster explain`.

mod hooks;
mod limits;
mod sub_workflow;
mod text;

pub use hooks::HookTurn;
pub use limits::{FullGroup, FullGroups, OverQuota};
use limits::{full_groups, may_be_live, over_quota};
pub use sub_workflow::SubWorkflow;

use std::collections::BTreeMap;
use std::sync::Arc;

use muster_core::ids::{Name, RunId, TaskIndex, Text, WorkerId};
use muster_core::spec::{ApprovalSpec, Condition, DependencyRule, FanOut, Request, TaskSpec};
use muster_core::state::State;
use muster_core::state::cells::{Cells, IndexRange, Tally};
use muster_core::state::run::{ParentTask, Run, RunStatus};
use muster_core::state::task::{StopReason, Task, TaskState, TaskStatus};
use muster_core::time::Timestamp;

use crate::class::Class;
use crate::obstacle::{self, Obstacle};
use crate::party::{Share, Whole};
use crate::policy::Policy;
use crate::slot::Slots;
use crate::summary::Summary;
use crate::view::LiveView;

/// Ranges of an array task that an explanation tells apart.
const PARTS_MAX: usize = 16;
/// Upstream tasks that an explanation of a skipped task names.
pub const UPSTREAM_MAX: usize = 5;
/// Namespaces that an explanation names.
const NAMESPACES_MAX: usize = 4;

/// Everything there is to say about one task of a run. Its `Display` is for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The run.
    pub run: RunId,
    /// The task.
    pub task: TaskIndex,
    /// Its full name, `etl/42/extract`.
    pub name: String,
    /// Whether it is an array task that has its indices.
    pub is_array: bool,
    /// Present for a task whose size is known only at run time, as long as it has no indices.
    pub sized_late: Option<SizedLate>,
    /// The log's time: what spans are counted from.
    pub at: Timestamp,
    /// The task as a whole.
    pub status: TaskStatus,
    /// How many indices are in each status.
    pub tally: Tally,
    /// The live runs of the workflow that its run waits for, before it begins.
    pub waits_for: Vec<String>,
    /// Since when the run is paused. Nothing of it is placed then.
    pub run_paused: Option<Timestamp>,
    /// Since when the run must stop, and why. Nothing of such a run is placed any more.
    pub run_stop: Option<(Timestamp, StopReason)>,
    /// How the run ended, if it has.
    pub run_ended: Option<RunStatus>,
    /// The first ranges that have not ended; the first ranges at all if the whole task has ended. At most 16.
    pub parts: Vec<Part>,
    /// How many such ranges are not listed.
    pub parts_left_out: usize,
    /// Retries after a failure that the task's policy allows.
    pub retry_limit: u32,
    /// What it waits for, if any index is blocked.
    pub blocked: Option<Blocked>,
    /// What it follows, if it is a hook.
    pub hook: Option<HookTurn>,
    /// What kept it from starting, if it was skipped.
    pub skipped: Option<Skipped>,
    /// What a person is asked, if it is an approval.
    pub approval: Option<ApprovalSpec>,
    /// Which workflow it runs, if it is a sub-workflow.
    pub sub_workflow: Option<SubWorkflow>,
    /// The task that its run was started for.
    pub parent: Option<String>,
    /// What the attempt said that let the task fail; the first of an array's. Of an approval the reason that was given.
    pub message: Option<Text>,
    /// Present if `maxParallel` keeps ready indices from being placed.
    pub parallel: Option<Parallel>,
    /// Present if indices of an array task failed of which its spec says what follows.
    pub failures: Option<Failures>,
    /// Present if the quota of the namespace keeps ready indices from being placed.
    pub quota: Option<OverQuota>,
    /// Present if concurrency groups of the task keep ready indices from being placed.
    pub groups: Option<FullGroups>,
    /// What the workers say to it, if any index is ready and may be placed.
    pub workers: Option<WorkerReport>,
    /// Who comes first: namespaces with ready tasks that have less of the cluster, if it is ready and may be placed.
    pub ahead: Option<Ahead>,
    /// The names of the workers in `parts`.
    pub worker_names: BTreeMap<WorkerId, Text>,
}

/// Indices in the same state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which.
    pub range: IndexRange,
    /// Their state.
    pub state: TaskState,
    /// When time alone ends its wait, for a worker or for a person.
    pub waits_until: Option<Timestamp>,
}

/// What a blocked task waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// What must hold over the upstream ends.
    pub rule: DependencyRule,
    /// Its `if:`.
    pub condition: Condition,
    /// The upstream tasks that have not ended.
    pub upstream: Vec<UpstreamTask>,
}

/// What a task goes through that has no indices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SizedLate {
    /// The reference to the list.
    pub list: String,
    /// Whether it is known what is in it: nothing.
    pub is_known: bool,
}

/// What `maxParallel` says to the ready indices of an array task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parallel {
    /// Most indices that may be live at once.
    pub max: u32,
    /// Indices that are.
    pub live: u32,
    /// Ready indices that have to wait until others end.
    pub waiting: u32,
}

/// Namespaces that come before a task's own, since they have less, each by its weight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ahead {
    /// Its own.
    pub own: Contender,
    /// Those that have less for their weight; who has least first. At most 4.
    pub less: Vec<Contender>,
    /// How many more there are.
    pub left_out: usize,
}

/// A namespace beside others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contender {
    /// Its name.
    pub namespace: Name,
    /// What it has of the cluster, of the resource of which it has most, in percent.
    pub share: u32,
    /// Its weight.
    pub weight: u32,
}

impl Contender {
    fn of(state: &State, namespace: &Name, share: Share) -> Self {
        let (namespace, weight) = (namespace.clone(), state.weight_of(namespace));
        Contender { namespace, share: share.percent(), weight }
    }
}

/// Indices that failed, and what the task says to that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failures {
    /// How many.
    pub failed: u32,
    /// How many may.
    pub max: u32,
    /// Whether the others are cancelled if these are more.
    pub is_fast: bool,
}

/// Why a task was skipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// What had to hold over the upstream ends.
    pub rule: DependencyRule,
    /// Its `if:`.
    pub condition: Condition,
    /// Upstream tasks whose ends did not fit, at most [`UPSTREAM_MAX`].
    pub upstream: Vec<UpstreamTask>,
    /// How many more there are.
    pub upstream_left_out: usize,
}

/// A task that another one waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamTask {
    /// Which.
    pub task: TaskIndex,
    /// Its name within the workflow.
    pub name: Text,
    /// Its status as a whole.
    pub status: TaskStatus,
}

/// What every worker says to a ready task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerReport {
    /// What the task asks for.
    pub request: Arc<Request>,
    /// The answers, counted.
    pub summary: Summary,
    /// Every worker that is not lost, in the order of registration.
    pub workers: Vec<WorkerVerdict>,
}

/// What one worker says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerVerdict {
    /// Which.
    pub worker: WorkerId,
    /// Its name.
    pub name: Text,
    /// Every condition that is not met. If none is hard ([`Obstacle::is_hard`]), the worker can take the task.
    pub obstacles: Vec<Obstacle>,
}

impl Explanation {
    /// Whether the task is ready and only a change of the cluster, of a quota or of a concurrency group can get it
    /// placed (exit code 6 of `muster explain`).
    pub fn is_stuck(&self) -> bool {
        self.workers.as_ref().is_some_and(|report| report.summary.is_stuck())
            || self.quota.as_ref().is_some_and(OverQuota::is_lasting)
            || self.groups.as_ref().is_some_and(FullGroups::is_lasting)
    }

    /// Fills in the names of the workers that are still known.
    pub fn name_workers(&mut self, state: &State) {
        let named = self.parts.iter().filter_map(|part| worker_of(&part.state));
        self.worker_names =
            named.filter_map(|id| Some((id, state.worker(id)?.name.clone()))).collect();
    }
}

/// Explains a task of a live run, as things stand before the next pass. `None` if the run is not live or has no such
/// task. Costs a look at every worker.
pub fn explain(state: &State, view: &LiveView, run: RunId, task: TaskIndex) -> Option<Explanation> {
    let run = state.run(run)?;
    let (progress, spec) = (run.task(task)?, run.spec(task)?);
    let tally = progress.cells.tally();
    let is_blocked = tally.of(TaskStatus::Blocked) > 0 && run.begun_at.is_some();
    let is_next = progress.placeable(spec.max_parallel) > 0 && run.paused.is_none();
    let request = run.version.request(task)?;
    let quota = over_quota(state, &run.version.namespace, request).filter(|_| is_next);
    let groups = is_next.then(|| full_groups(state, &run.version.namespace, request)).flatten();
    let may_be_placed = is_next && quota.is_none() && groups.is_none();
    let mut explanation = Explanation {
        at: state.now(),
        waits_for: if run.begun_at.is_none() { before(state, run) } else { Vec::new() },
        blocked: (is_blocked && spec.hook.is_none()).then(|| Blocked {
            rule: spec.rule,
            condition: spec.condition.clone(),
            upstream: open_upstream(run, task),
        }),
        parallel: parallel(spec, progress),
        quota,
        groups,
        workers: may_be_placed.then(|| report(state, view, request, progress)),
        ahead: may_be_placed.then(|| ahead(state, view, &run.version.namespace, request)).flatten(),
        ..explain_progress(run, task)?
    };
    explanation.name_workers(state);
    if let Some(of) = &mut explanation.sub_workflow {
        of.look_up(state);
    }
    Some(explanation)
}

/// Explains a task by its run alone: all there is to say once the run has ended. `None` if it has no such task. The
/// workers have no names yet, see [`Explanation::name_workers`].
pub fn explain_progress(run: &Run, task: TaskIndex) -> Option<Explanation> {
    let (progress, spec) = (run.task(task)?, run.spec(task)?);
    let (parts, parts_left_out) = parts(run, task, progress);
    let status = progress.status();
    Some(Explanation {
        run: run.id,
        task,
        name: format!("{}/{}", run.label(), spec.id),
        is_array: matches!(progress.cells, Cells::Many(_)),
        sized_late: sized_late(progress, spec),
        at: run.ended.map_or(run.submitted_at, |ended| ended.at),
        status,
        tally: progress.cells.tally(),
        waits_for: Vec::new(),
        run_paused: run.paused,
        run_stop: run.stop,
        run_ended: run.ended.map(|ended| ended.status),
        parts,
        parts_left_out,
        retry_limit: spec.retry.limit,
        blocked: None,
        hook: spec.hook.map(|hook| HookTurn::of(run, hook)),
        skipped: (status == TaskStatus::Skipped && spec.hook.is_none())
            .then(|| skipped(run, task, spec)),
        approval: spec.executor.approval().cloned(),
        sub_workflow: SubWorkflow::of(progress, spec),
        parent: run.parent.as_ref().map(ParentTask::label),
        message: progress.message.clone().filter(|_| says(status, spec)),
        parallel: None,
        quota: None,
        groups: None,
        failures: failures(spec, progress),
        workers: None,
        ahead: None,
        worker_names: BTreeMap::new(),
    })
}

/// Whether what is kept as the message of a task is about how it stands.
fn says(status: TaskStatus, spec: &TaskSpec) -> bool {
    let has_ended_well = matches!(status, TaskStatus::Succeeded | TaskStatus::Cancelled);
    status == TaskStatus::Failed || spec.is_approval() || spec.is_sub_workflow() && !has_ended_well
}

fn sized_late(progress: &Task, spec: &TaskSpec) -> Option<SizedLate> {
    let Some(FanOut::Reference(found)) = &spec.fan_out else { return None };
    let size = progress.size(spec);
    let waits = size.is_none() && !progress.status().is_terminal();
    (waits || size == Some(0)).then(|| SizedLate { list: found.to_string(), is_known: !waits })
}

fn skipped(run: &Run, task: TaskIndex, spec: &TaskSpec) -> Skipped {
    // With the default condition those that succeeded are not the reason.
    let is_reason = |status: TaskStatus| {
        let is_success = status == TaskStatus::Succeeded && spec.condition == Condition::Success;
        status.is_terminal() && !is_success
    };
    let mut ended = upstream(run, task, is_reason);
    let upstream_left_out = ended.len().saturating_sub(UPSTREAM_MAX);
    ended.truncate(UPSTREAM_MAX);
    Skipped {
        rule: spec.rule,
        condition: spec.condition.clone(),
        upstream: ended,
        upstream_left_out,
    }
}

/// Whether, and how many, ready indices wait because of `maxParallel`.
fn parallel(spec: &TaskSpec, progress: &Task) -> Option<Parallel> {
    let max = spec.max_parallel?;
    let ready = progress.cells.tally().of(TaskStatus::Ready);
    let waiting = ready - progress.placeable(spec.max_parallel);
    (waiting > 0).then_some(Parallel { max, live: progress.live(), waiting })
}

fn failures(spec: &TaskSpec, progress: &Task) -> Option<Failures> {
    let failed = progress.cells.tally().of(TaskStatus::Failed);
    let (max, is_fast) = (spec.max_failures, spec.fail_fast);
    (failed > 0 && (max > 0 || is_fast)).then_some(Failures { failed, max, is_fast })
}

/// The live runs of the workflow that come before a run that waits.
fn before(state: &State, run: &Run) -> Vec<String> {
    let (namespace, name) = (run.version.namespace.as_str(), run.version.workflow.as_str());
    let Some(workflow) = state.workflow(namespace, name) else { return Vec::new() };
    let live = state.live_runs(workflow.id);
    let before = live.filter(|it| it.begun_at.is_some() || it.number < run.number);
    before.map(|run| run.label()).collect()
}

fn parts(run: &Run, task: TaskIndex, progress: &Task) -> (Vec<Part>, usize) {
    let has_ended = progress.cells.tally().open() == 0;
    let spans = run.spans(task);
    let mut parts = Vec::new();
    let mut left_out = 0;
    for (range, state) in progress.cells.iter() {
        if state.status().is_terminal() && !has_ended {
            continue;
        }
        if parts.len() == PARTS_MAX {
            left_out += 1;
            continue;
        }
        let waits = matches!(state.status(), TaskStatus::Ready | TaskStatus::Awaiting);
        let waits_until = state.deadline(&spans).filter(|_| waits);
        parts.push(Part { range, state: *state, waits_until });
    }
    (parts, left_out)
}

fn open_upstream(run: &Run, task: TaskIndex) -> Vec<UpstreamTask> {
    upstream(run, task, |status| !status.is_terminal())
}

fn upstream(
    run: &Run,
    task: TaskIndex,
    is_meant: impl Fn(TaskStatus) -> bool,
) -> Vec<UpstreamTask> {
    let upstream = run.version.graph.upstream(task).iter().filter_map(|index| {
        let (task, spec) = (run.task(*index)?, run.spec(*index)?);
        let status = task.status();
        is_meant(status).then(|| UpstreamTask { task: *index, name: spec.id.text(), status })
    });
    upstream.collect()
}

fn report(state: &State, view: &LiveView, request: &Arc<Request>, progress: &Task) -> WorkerReport {
    // The policy only orders workers, and here none is chosen.
    let slots = Slots::new(state, view, &Policy::default());
    let class = Class::new(&slots, request);
    let just_failed_on = |worker: WorkerId| {
        progress.cells.iter().any(|(_, state)| {
            matches!(state, TaskState::Ready { avoid: Some(avoid), .. } if *avoid == worker)
        })
    };
    let workers = slots.iter().map(|(_, slot)| {
        let mut obstacles: Vec<_> = obstacle::obstacles(slot, request).collect();
        if just_failed_on(slot.worker.id) {
            obstacles.push(Obstacle::JustFailedHere);
        }
        WorkerVerdict { worker: slot.worker.id, name: slot.worker.name.clone(), obstacles }
    });
    WorkerReport {
        request: request.clone(),
        summary: Summary::new(&slots, &class, request),
        workers: workers.collect(),
    }
}

/// The namespaces with ready tasks that have less of what the request asks for than this one.
fn ahead(state: &State, view: &LiveView, namespace: &Name, request: &Request) -> Option<Ahead> {
    let wanted = &request.resources;
    let whole = Whole::of(&Slots::new(state, view, &Policy::default()));
    let own = whole.share_of(state, namespace, wanted);
    let weighed = own.weighed(state.weight_of(namespace));
    let others = state.queue().namespaces().filter_map(|(other, mut groups)| {
        let share = whole.share_of(state, other, wanted);
        let counts = share.weighed(state.weight_of(other));
        // Nobody waits for one whose quota or groups are full.
        let may_place =
            counts < weighed && groups.any(|(request, _)| may_be_live(state, other, request));
        may_place.then_some((counts, other, share))
    });
    let mut less: Vec<(Share, &Name, Share)> = others.collect();
    less.sort();
    let named = less.iter().take(NAMESPACES_MAX);
    let named: Vec<_> = named.map(|(_, name, share)| Contender::of(state, name, *share)).collect();
    let left_out = less.len() - named.len();
    let own = Contender::of(state, namespace, own);
    (!named.is_empty()).then_some(Ahead { own, less: named, left_out })
}

/// The worker a state tells of.
fn worker_of(state: &TaskState) -> Option<WorkerId> {
    match state {
        TaskState::Placed { attempt, .. } | TaskState::Running { attempt, .. } => {
            Some(attempt.worker)
        }
        TaskState::Succeeded { last, .. } | TaskState::Failed { last, .. } => {
            last.map(|last| last.worker)
        }
        TaskState::Backoff { avoid, .. } | TaskState::Ready { avoid, .. } => *avoid,
        TaskState::Blocked
        | TaskState::Undecided { .. }
        | TaskState::Held { .. }
        | TaskState::Awaiting { .. }
        | TaskState::Skipped { .. }
        | TaskState::Cancelled => None,
    }
}
