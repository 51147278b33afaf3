//! The rules of tasks, worked out from what users are told about them: what follows from upstream ends, from the end of
//! an attempt, and from time alone. Written apart from the core, which is what is judged by them.

use muster_core::command::Outcome;
use muster_core::ids::LogIndex;
use muster_core::limits;
use muster_core::spec::{
    ArraySpec, Backoff, Condition, DependencyRule, ExecutorSpec, FanOut, Items, OnLost, OnTimeout,
    TaskSpec,
};
use muster_core::state::cells::Cells;
use muster_core::state::run::Run;
use muster_core::state::task::{
    Attempt, Awaited, FailureReason, LastAttempt, Stop, StopReason, TaskEnd, TaskState, Tries,
};
use muster_core::time::{Millis, Timestamp};

/// How a task of this spec ended as a whole; `None` while any index has not.
pub(super) fn end_of(spec: &TaskSpec, cells: &Cells) -> Option<TaskEnd> {
    let (mut cancelled, mut skipped, mut by_failure) = (false, false, false);
    for (_, state) in cells.iter() {
        match state {
            TaskState::Succeeded { .. } | TaskState::Failed { .. } => {}
            TaskState::Cancelled => cancelled = true,
            TaskState::Skipped { by_failure: it } => {
                skipped = true;
                by_failure |= it;
            }
            TaskState::Blocked
            | TaskState::Undecided { .. }
            | TaskState::Ready { .. }
            | TaskState::Placed { .. }
            | TaskState::Running { .. }
            | TaskState::Backoff { .. }
            | TaskState::Held { .. }
            | TaskState::Awaiting { .. } => return None,
        }
    }
    Some(if has_too_many_failures(spec, cells) {
        TaskEnd::Failed
    } else if cancelled {
        TaskEnd::Cancelled
    } else if skipped {
        TaskEnd::Skipped { by_failure }
    } else {
        TaskEnd::Succeeded
    })
}

/// How each task of a run ended.
pub(super) fn ends_of(run: &Run) -> Vec<Option<TaskEnd>> {
    let tasks = run.tasks.iter().zip(&run.version.spec.tasks);
    tasks.map(|(task, spec)| end_of(spec, &task.cells)).collect()
}

/// Whether more indices failed than may.
pub(super) fn has_too_many_failures(spec: &TaskSpec, cells: &Cells) -> bool {
    let failed = cells.iter().filter(|(_, state)| matches!(state, TaskState::Failed { .. }));
    let failed: u64 = failed.map(|(range, _)| u64::from(range.count())).sum();
    failed > u64::from(spec.max_failures)
}

/// Whether a task has many indices, known or not.
pub(super) fn is_array(spec: &TaskSpec) -> bool {
    spec.array.is_some() || spec.fan_out.is_some()
}

/// Whether the leader has something to work out before the task starts.
pub(super) fn is_asked(spec: &TaskSpec) -> bool {
    matches!(spec.condition, Condition::Expression(_)) || is_sized_late(spec) || is_parent(spec)
}

/// Whether a run of another workflow is started for the task.
pub(super) fn is_parent(spec: &TaskSpec) -> bool {
    matches!(spec.executor, ExecutorSpec::Workflow(_))
}

/// What a task is while the leader works something out before it starts. One that starts runs counts them on.
pub(super) fn asked(spec: &TaskSpec, attempts: u32, index: LogIndex) -> TaskState {
    let attempts = if is_parent(spec) { attempts } else { 0 };
    TaskState::Undecided { since: index, tries: Tries { attempts, ..Tries::default() } }
}

/// Whether something of a task goes on elsewhere: an attempt on a worker, or a run.
pub(super) fn is_live(state: &TaskState) -> bool {
    state.attempt().is_some()
        || matches!(state, TaskState::Awaiting { what: Awaited::Run { .. }, .. })
}

/// Whether the number of its indices is known only once it starts.
pub(super) fn is_sized_late(spec: &TaskSpec) -> bool {
    matches!(spec.fan_out, Some(FanOut::Reference(_)))
}

/// The indices of a task: those that its spec names, or one for each value that it goes through; `None` for the single
/// index of a task that has no more, or whose items are not known or none.
pub(super) fn indices(spec: &TaskSpec, items: Option<&Items>) -> Option<ArraySpec> {
    let count = match (&spec.array, &spec.fan_out) {
        (Some(array), _) => return Some(*array),
        (None, Some(FanOut::Matrix(axes))) => {
            axes.iter().map(|axis| axis.values.len() as u32).product()
        }
        (None, Some(FanOut::Items(items))) => items.len() as u32,
        (None, Some(FanOut::Reference(_))) => items?.len() as u32,
        (None, None) => return None,
    };
    (count > 0).then(|| ArraySpec { first: 0, last: count - 1 })
}

/// Whether a task can go through these items.
pub(super) fn are_bounded(items: &Items) -> bool {
    let is_bounded = |item: &str| item.len() <= limits::ITEM_BYTES_MAX && !item.contains('\0');
    items.len() <= limits::ITEMS_MAX
        && items.bytes() <= limits::ITEMS_BYTES_MAX
        && items.iter().all(is_bounded)
}

/// What becomes of a task that waits for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Waits,
    /// Its condition is an expression, which the leader is to evaluate.
    Undecided,
    Starts,
    Skipped {
        by_failure: bool,
    },
}

/// The fate of a blocked task, by how the tasks it needs have ended; `None` for those that have not.
pub(super) fn fate(spec: &TaskSpec, upstream: &[Option<TaskEnd>]) -> Fate {
    let ends = || upstream.iter().flatten();
    let all_ended = upstream.iter().all(Option::is_some);
    let some_succeeded = ends().any(|end| *end == TaskEnd::Succeeded);
    let some_did_not = ends().any(|end| *end != TaskEnd::Succeeded);
    let by_failure =
        ends().any(|end| matches!(end, TaskEnd::Failed | TaskEnd::Skipped { by_failure: true }));
    let some_cancelled = ends().any(|end| *end == TaskEnd::Cancelled);
    let starts_if = |holds: bool, by_failure: bool| {
        if holds { Fate::Starts } else { Fate::Skipped { by_failure } }
    };
    match (&spec.condition, spec.rule) {
        (Condition::Always, _) | (Condition::Success, DependencyRule::AllDone) if all_ended => {
            Fate::Starts
        }
        (Condition::Failure, _) if all_ended => starts_if(by_failure, false),
        (Condition::Cancelled, _) if all_ended => starts_if(some_cancelled, false),
        (Condition::Success | Condition::Expression(_), DependencyRule::AllSucceeded)
            if some_did_not =>
        {
            Fate::Skipped { by_failure }
        }
        (Condition::Expression(_), _) if all_ended => Fate::Undecided,
        (Condition::Success, DependencyRule::AllSucceeded) if all_ended => Fate::Starts,
        (Condition::Success, DependencyRule::AnySucceeded) if some_succeeded => Fate::Starts,
        (Condition::Success, DependencyRule::AnySucceeded) if all_ended => {
            Fate::Skipped { by_failure }
        }
        (
            Condition::Always
            | Condition::Failure
            | Condition::Cancelled
            | Condition::Expression(_)
            | Condition::Success,
            DependencyRule::AllDone | DependencyRule::AllSucceeded | DependencyRule::AnySucceeded,
        ) => Fate::Waits,
    }
}

/// What a task is that may start: it waits for a worker, or for a person if that is what it is about. One for which a
/// run is started is asked about instead.
pub(super) fn started(spec: &TaskSpec, attempts: u32, now: Timestamp) -> TaskState {
    match &spec.executor {
        ExecutorSpec::Approval(_) => TaskState::Awaiting { since: now, what: Awaited::Person },
        ExecutorSpec::Process(_) | ExecutorSpec::Noop | ExecutorSpec::Workflow(_) => {
            let tries = Tries { attempts, ..Tries::default() };
            TaskState::Ready { tries, since: now, avoid: None }
        }
    }
}

/// A live attempt that ends.
pub(super) struct Ending<'a> {
    pub(super) spec: &'a TaskSpec,
    pub(super) state: TaskState,
    pub(super) attempt: Attempt,
    pub(super) outcome: &'a Outcome,
    pub(super) duration: Millis,
    pub(super) now: Timestamp,
}

impl Ending<'_> {
    /// What the end of the attempt makes of its task. The wait before another attempt is given without jitter.
    pub(super) fn next(&self) -> TaskState {
        let tries = self.state.tries();
        let stop = self.attempt.stop.map(|stop| stop.reason);
        if let Outcome::Succeeded { outputs } = self.outcome {
            let bytes: usize = outputs
                .iter()
                .flat_map(|it| it.iter())
                .map(|(key, value)| key.len() + value.len())
                .sum();
            return if bytes > limits::OUTPUT_BYTES_MAX {
                self.failed(tries, FailureReason::Rejected)
            } else {
                plain(self.spec, TaskState::Succeeded { tries, last: Some(self.last()) })
            };
        }
        match (stop, self.outcome) {
            (
                Some(
                    StopReason::Cancelled
                    | StopReason::Replaced
                    | StopReason::FailFast
                    | StopReason::RunTimedOut
                    | StopReason::ByParent,
                ),
                _,
            ) => TaskState::Cancelled,
            (Some(StopReason::AttemptTimedOut), _) | (None, Outcome::TimedOut) => {
                self.after_failure(tries, FailureReason::TimedOut, self.spec.retry.on_timeout)
            }
            (None, Outcome::Failed { exit_code, .. }) => {
                let reason = exit_code.map_or(FailureReason::Rejected, FailureReason::Exit);
                self.after_failure(tries, reason, self.spec.retry.on_failure)
            }
            (None, Outcome::Lost | Outcome::Cancelled | Outcome::Succeeded { .. }) => {
                self.after_loss(tries)
            }
        }
    }

    fn after_failure(&self, tries: Tries, reason: FailureReason, may_retry: bool) -> TaskState {
        let tries = Tries { failures: tries.failures.saturating_add(1), ..tries };
        if !may_retry || u32::from(tries.failures) > self.spec.retry.limit {
            return self.failed(tries, reason);
        }
        let avoid = Some(self.attempt.worker);
        match wait(&self.spec.retry.backoff, tries.failures) {
            Millis(0) => TaskState::Ready { tries, since: self.now, avoid },
            wait => TaskState::Backoff { tries, until: self.now + wait, avoid },
        }
    }

    fn after_loss(&self, tries: Tries) -> TaskState {
        let tries = Tries { losses: tries.losses.saturating_add(1), ..tries };
        let is_last = u32::from(tries.losses) >= self.spec.max_lost;
        match self.spec.on_lost {
            OnLost::Rerun if !is_last => {
                TaskState::Ready { tries, since: self.now, avoid: Some(self.attempt.worker) }
            }
            OnLost::Hold if !is_last => TaskState::Held { tries },
            OnLost::Rerun | OnLost::Hold | OnLost::Fail => self.failed(tries, FailureReason::Lost),
        }
    }

    fn failed(&self, tries: Tries, reason: FailureReason) -> TaskState {
        plain(self.spec, TaskState::Failed { tries, reason, last: Some(self.last()) })
    }

    fn last(&self) -> LastAttempt {
        let started_at = match self.state {
            TaskState::Running { started_at, .. } => started_at,
            _ => (self.now - self.duration).max(self.attempt.placed_at),
        };
        let Attempt { worker, fence, .. } = self.attempt;
        LastAttempt { worker, fence, started_at, ended_at: self.now }
    }
}

/// The form in which a task of this spec keeps an end: array tasks keep no history, so that equal ends merge.
pub(super) fn plain(spec: &TaskSpec, state: TaskState) -> TaskState {
    match state {
        TaskState::Succeeded { .. } if is_array(spec) => {
            TaskState::Succeeded { tries: Tries::default(), last: None }
        }
        TaskState::Failed { reason, .. } if is_array(spec) => {
            TaskState::Failed { tries: Tries::default(), reason, last: None }
        }
        other => other,
    }
}

/// The wait after the `failures`-th failure, without jitter.
pub(super) fn wait(backoff: &Backoff, failures: u16) -> Millis {
    let cap = u128::from(backoff.cap.0);
    let mut wait = u128::from(backoff.initial.0).min(cap);
    for _ in 1..failures {
        if wait == 0 || wait == cap {
            break;
        }
        wait = (wait * u128::from(backoff.factor_millis) / 1000).min(cap);
    }
    Millis(wait as u64)
}

/// The bounds between which jitter may put a wait.
pub(super) fn jittered(backoff: &Backoff, wait: Millis) -> (Millis, Millis) {
    let share = u128::from(backoff.jitter_millis.min(1000));
    let spread = (u128::from(wait.0) * share / 1000) as u64;
    (Millis(wait.0 - spread), Millis(wait.0.saturating_add(spread)))
}

/// When time alone changes a state.
pub(super) fn due(spec: &TaskSpec, state: &TaskState) -> Option<Timestamp> {
    let force_at = |attempt: &Attempt| attempt.stop.and_then(|stop| stop.force_at);
    match state {
        TaskState::Ready { since, .. } => spec.queue_timeout.map(|span| *since + span),
        TaskState::Backoff { until, .. } => Some(*until),
        TaskState::Awaiting { what: Awaited::Run { stop: Some(_), .. }, .. } => None,
        TaskState::Awaiting { since, .. } => spec.timeout.map(|span| *since + span),
        TaskState::Placed { attempt, .. } => force_at(attempt),
        TaskState::Running { attempt, started_at, .. } => match attempt.stop {
            None => spec.timeout.map(|span| *started_at + span),
            Some(_) => force_at(attempt),
        },
        TaskState::Blocked
        | TaskState::Undecided { .. }
        | TaskState::Held { .. }
        | TaskState::Succeeded { .. }
        | TaskState::Failed { .. }
        | TaskState::Skipped { .. }
        | TaskState::Cancelled => None,
    }
}

/// What time makes of a state that is due.
pub(super) fn overdue(
    spec: &TaskSpec,
    state: &TaskState,
    index: LogIndex,
    now: Timestamp,
) -> TaskState {
    match *state {
        TaskState::Ready { tries, .. } => {
            let reason = FailureReason::QueueTimedOut;
            plain(spec, TaskState::Failed { tries, reason, last: None })
        }
        TaskState::Backoff { tries, .. } if is_parent(spec) => {
            TaskState::Undecided { since: index, tries }
        }
        TaskState::Backoff { tries, avoid, .. } => TaskState::Ready { tries, since: now, avoid },
        TaskState::Awaiting { what: Awaited::Run { .. }, .. } => {
            stopped(spec, state, StopReason::AttemptTimedOut, now)
        }
        TaskState::Awaiting { what: Awaited::Person, .. } => {
            let tries = Tries::default();
            let is_given = spec.executor.approval().map(|it| it.on_timeout);
            match is_given == Some(OnTimeout::Approve) {
                true => TaskState::Succeeded { tries, last: None },
                false => TaskState::Failed { tries, reason: FailureReason::TimedOut, last: None },
            }
        }
        TaskState::Running { tries, attempt, started_at } if attempt.stop.is_none() => {
            let stop = Some(Stop { reason: StopReason::AttemptTimedOut, force_at: None });
            TaskState::Running { tries, attempt: Attempt { stop, ..attempt }, started_at }
        }
        TaskState::Placed { .. } | TaskState::Running { .. } => TaskState::Cancelled,
        TaskState::Blocked
        | TaskState::Undecided { .. }
        | TaskState::Held { .. }
        | TaskState::Succeeded { .. }
        | TaskState::Failed { .. }
        | TaskState::Skipped { .. }
        | TaskState::Cancelled => *state,
    }
}

/// What stopping a run makes of a state.
pub(super) fn stopped(
    spec: &TaskSpec,
    state: &TaskState,
    reason: StopReason,
    now: Timestamp,
) -> TaskState {
    let stop =
        Some(Stop { reason, force_at: Some(now + spec.grace_period + limits::CANCEL_PATIENCE) });
    match *state {
        // The first stop that is carried out by force stays.
        TaskState::Placed { attempt, .. } | TaskState::Running { attempt, .. }
            if attempt.stop.is_some_and(|stop| stop.force_at.is_some()) =>
        {
            *state
        }
        TaskState::Placed { tries, attempt } => {
            TaskState::Placed { tries, attempt: Attempt { stop, ..attempt } }
        }
        TaskState::Running { tries, attempt, started_at } => {
            TaskState::Running { tries, attempt: Attempt { stop, ..attempt }, started_at }
        }
        TaskState::Blocked
        | TaskState::Undecided { .. }
        | TaskState::Ready { .. }
        | TaskState::Backoff { .. }
        | TaskState::Held { .. }
        | TaskState::Awaiting { what: Awaited::Person, .. } => TaskState::Cancelled,
        // Its run is told, and the task ends with that. What may not be followed by another run stays.
        TaskState::Awaiting { since, what: Awaited::Run { run, tries, stop } } => {
            let may_follow = stop.is_none_or(|it| it == StopReason::AttemptTimedOut);
            let stop = if may_follow { Some(reason) } else { stop };
            TaskState::Awaiting { since, what: Awaited::Run { run, tries, stop } }
        }
        TaskState::Succeeded { .. }
        | TaskState::Failed { .. }
        | TaskState::Skipped { .. }
        | TaskState::Cancelled => *state,
    }
}
