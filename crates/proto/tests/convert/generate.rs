//! Arbitrary specs and commands: every value that the types allow, sensible or not.

use std::collections::BTreeMap;
use std::sync::Arc;

use muster_core::command::{
    ApplyWorkflow, Asked, AttemptRef, CancelRun, Command, DecideTasks, Decision, DrainWorker,
    EndTask, Entry, Finish, FinishAttempts, LoseWorker, Outcome, PauseRun, PlaceAttempts,
    Placement, PrioritizeRun, PruneHistory, RegisterWorker, ReleaseTask, ReopenTasks, RequestKey,
    RetryRun, RunSource, Start, StartAttempts, SubmitRun, UpgradeCluster, Verdict, WantedEnd,
};
use muster_core::ids::{Fence, LogIndex, Name, RunId, TaskIndex, Text, WorkerId};
use muster_core::retry::{TakenEnd, TakenOver};
use muster_core::spec::template::Reference;
use muster_core::spec::{
    ArraySpec, Axis, Backoff, Condition, DependencyRule, FanOut, Hook, Items, OnLost, ParamSpec,
    ParamType, Request, Resources, RetryPolicy, TaskSpec, WorkflowSpec,
};
use muster_core::state::cells::IndexRange;
use muster_core::state::run::{FireOrigin, RetryOrigin};
use muster_core::state::task::FailureReason;
use muster_core::state::trail::Asker;
use muster_core::time::{Millis, Timestamp};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option::{self, of};
use proptest::prelude::*;

use super::executors::executor;
use crate::starts;
use crate::triggers;

pub(crate) fn name() -> impl Strategy<Value = Name> {
    "[a-z][a-z0-9_-]{0,7}".prop_map(|text| Name::parse(&text).expect("the pattern is a name's"))
}

pub(crate) fn text() -> impl Strategy<Value = Text> {
    prop_oneof![Just(String::new()), "\\PC{1,6}", "[\\x00-\\x1f]{1,3}"].prop_map(Text::from)
}

fn texts() -> impl Strategy<Value = BTreeMap<Text, Text>> {
    btree_map(text(), text(), 0..3)
}

/// Numbers of every length, the ends of the range included.
pub(crate) fn number() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), 0..200u64, any::<u64>(), Just(u64::MAX)]
}

pub(crate) fn small() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), 0..200u32, any::<u32>(), Just(u32::MAX)]
}

pub(crate) fn span() -> impl Strategy<Value = Millis> {
    number().prop_map(Millis)
}

fn resources() -> impl Strategy<Value = Resources> {
    (number(), number(), btree_map(text(), number(), 0..3)).prop_map(
        |(cpu_millis, memory_bytes, custom)| Resources { cpu_millis, memory_bytes, custom },
    )
}

fn request() -> impl Strategy<Value = Request> {
    (of(text()), texts(), resources(), btree_set(name(), 0..3)).prop_map(
        |(pool, selector, resources, groups)| Request { pool, selector, resources, groups },
    )
}

fn retry_policy() -> impl Strategy<Value = RetryPolicy> {
    let backoff = (span(), small(), span(), small()).prop_map(
        |(initial, factor_millis, cap, jitter_millis)| Backoff {
            initial,
            factor_millis,
            cap,
            jitter_millis,
        },
    );
    (small(), backoff, any::<bool>(), any::<bool>()).prop_map(
        |(limit, backoff, on_failure, on_timeout)| RetryPolicy {
            limit,
            backoff,
            on_failure,
            on_timeout,
        },
    )
}

fn rules() -> impl Strategy<Value = (DependencyRule, Condition, OnLost)> {
    let rule = prop_oneof![
        Just(DependencyRule::AllSucceeded),
        Just(DependencyRule::AllDone),
        Just(DependencyRule::AnySucceeded),
    ];
    let condition = prop_oneof![
        Just(Condition::Success),
        Just(Condition::Failure),
        Just(Condition::Always),
        Just(Condition::Cancelled),
        text().prop_map(Condition::Expression),
    ];
    let on_lost = prop_oneof![Just(OnLost::Rerun), Just(OnLost::Fail), Just(OnLost::Hold)];
    (rule, condition, on_lost)
}

pub(crate) fn items() -> impl Strategy<Value = Items> {
    vec(text(), 0..4).prop_map(|items| items.iter().collect())
}

fn fan_out() -> impl Strategy<Value = FanOut> {
    let axis = (name(), vec(text(), 0..3)).prop_map(|(name, values)| Axis { name, values });
    let word = || "[A-Za-z0-9_-]{1,9}".prop_map(Text::from);
    prop_oneof![
        vec(axis, 0..3).prop_map(FanOut::Matrix),
        items().prop_map(FanOut::Items),
        word().prop_map(|name| FanOut::Reference(Reference::Param(name))),
        (word(), word()).prop_map(|(task, key)| FanOut::Reference(Reference::Output { task, key })),
    ]
}

fn task() -> impl Strategy<Value = TaskSpec> {
    let array = (small(), small()).prop_map(|(first, last)| ArraySpec { first, last });
    let fan_out = (of(array), of(fan_out()), of(small()), small(), any::<bool>());
    let what = (name(), vec(name(), 0..3), executor(), texts(), vec(text(), 0..3), fan_out);
    let how = (request(), retry_policy(), rules(), small(), of(span()), of(span()), span());
    let hook = of(prop::sample::select(Hook::ALL.to_vec()));
    (what, how, of(any::<i32>()), hook).prop_map(|(what, how, priority, hook)| {
        let (id, needs, executor, env, outputs, fan_out) = what;
        let (array, fan_out, max_parallel, max_failures, fail_fast) = fan_out;
        let (request, retry, rules, max_lost, timeout, queue_timeout, grace_period) = how;
        let (rule, condition, on_lost) = rules;
        TaskSpec {
            id,
            hook,
            needs,
            rule,
            condition,
            executor,
            env,
            outputs,
            array,
            fan_out,
            max_parallel,
            max_failures,
            fail_fast,
            request,
            retry,
            on_lost,
            max_lost,
            timeout,
            queue_timeout,
            grace_period,
            priority,
        }
    })
}

fn param() -> impl Strategy<Value = ParamSpec> {
    let kind = prop::sample::select(ParamType::ALL.map(|(_, kind)| kind).to_vec());
    let texts = (of(text()), of(text()), of(text()), of(text()));
    (kind, texts, vec(text(), 0..3)).prop_map(
        |(kind, (default, description, minimum, maximum), allowed)| ParamSpec {
            kind,
            default,
            description,
            allowed,
            minimum,
            maximum,
        },
    )
}

pub(crate) fn spec() -> impl Strategy<Value = WorkflowSpec> {
    let params = btree_map(name(), param().boxed(), 0..3);
    // Boxed, as trees of strategies are large and live on the stack.
    let webhooks = vec(starts::webhook().boxed(), 0..3);
    let whens =
        (vec(starts::schedule().boxed(), 0..3), webhooks, vec(triggers::spec().boxed(), 0..3));
    let when = (whens, starts::policy(), any::<bool>(), texts()).boxed();
    (name(), texts(), of(span()), any::<i32>(), params, when, vec(task().boxed(), 0..4)).prop_map(
        |(name, labels, timeout, priority, params, when, tasks)| {
            let ((schedules, webhooks, triggers), concurrency, fail_fast, outputs) = when;
            WorkflowSpec {
                name,
                labels,
                timeout,
                priority,
                params,
                schedules,
                webhooks,
                triggers,
                concurrency,
                fail_fast,
                outputs,
                tasks,
            }
        },
    )
}

pub(crate) fn key() -> impl Strategy<Value = Option<RequestKey>> {
    of((text(), number()).prop_map(|(id, digest)| RequestKey { id, digest }))
}

fn run() -> impl Strategy<Value = RunId> {
    number().prop_map(RunId)
}

fn worker() -> impl Strategy<Value = WorkerId> {
    number().prop_map(WorkerId)
}

/// Ranges of any kind, those that end before they start included.
fn range() -> impl Strategy<Value = IndexRange> {
    (small(), small()).prop_map(|(first, last)| IndexRange { first, last })
}

fn attempt() -> impl Strategy<Value = AttemptRef> {
    (run(), small(), range(), number()).prop_map(|(run, task, range, fence)| AttemptRef {
        run,
        task: TaskIndex(task),
        range,
        fence: Fence(fence),
    })
}

fn outcome() -> impl Strategy<Value = Outcome> {
    let outputs = of(texts().prop_map(Arc::new));
    prop_oneof![
        Just(Outcome::Succeeded { outputs: None }),
        outputs.prop_map(|outputs| Outcome::Succeeded { outputs }),
        (of(any::<i32>()), of(text()))
            .prop_map(|(exit_code, message)| Outcome::Failed { exit_code, message }),
        Just(Outcome::TimedOut),
        Just(Outcome::Cancelled),
        Just(Outcome::Lost),
    ]
}

fn attempts() -> impl Strategy<Value = Command> {
    let placement = (run(), small(), range(), worker()).prop_map(|(run, task, range, worker)| {
        Placement { run, task: TaskIndex(task), range, worker }
    });
    let start = (attempt(), span()).prop_map(|(attempt, age)| Start { attempt, age });
    let finish = (attempt(), outcome(), span()).prop_map(|(attempt, outcome, duration)| Finish {
        attempt,
        outcome,
        duration,
    });
    prop_oneof![
        vec(placement, 0..5)
            .prop_map(|placements| Command::PlaceAttempts(PlaceAttempts { placements })),
        vec(start, 0..5).prop_map(|starts| Command::StartAttempts(StartAttempts { starts })),
        vec(finish, 0..5).prop_map(|finishes| Command::FinishAttempts(FinishAttempts { finishes })),
    ]
}

fn submit() -> impl Strategy<Value = SubmitRun> {
    let source = prop_oneof![
        (name(), of(small()))
            .prop_map(|(workflow, version)| RunSource::Workflow { workflow, version }),
        spec().prop_map(|spec| RunSource::Apply(Box::new(spec))),
        spec().prop_map(|spec| RunSource::OneOff(Box::new(spec))),
    ];
    let params = btree_map(name(), text(), 0..3).prop_map(Arc::new);
    let backfill = of((name(), number())
        .prop_map(|(schedule, at)| FireOrigin { schedule, fire_time: Timestamp(at) }));
    (key(), name(), source, params, of(any::<i32>()), backfill).prop_map(
        |(request, namespace, source, params, priority, backfill)| SubmitRun {
            request,
            namespace,
            source,
            params,
            priority,
            backfill,
        },
    )
}

fn worker_command() -> impl Strategy<Value = Command> {
    let register = (text(), number(), texts(), of(text()), resources(), number()).prop_map(
        |(name, incarnation, labels, pool, capacity, lease)| {
            let lease = Millis(lease);
            RegisterWorker { name, incarnation, labels, pool, capacity, lease }
        },
    );
    let drain = (key(), worker(), any::<bool>())
        .prop_map(|(request, worker, is_draining)| DrainWorker { request, worker, is_draining });
    prop_oneof![
        register.prop_map(Command::RegisterWorker),
        drain.prop_map(Command::DrainWorker),
        worker().prop_map(|worker| Command::LoseWorker(LoseWorker { worker })),
    ]
}

fn retry() -> impl Strategy<Value = RetryRun> {
    let of = (run(), number(), number(), of(name()), of(triggers::origin())).prop_map(
        |(run, number, at, schedule, trigger)| RetryOrigin {
            run,
            number,
            fire_time: Timestamp(at),
            schedule,
            trigger,
        },
    );
    let end = prop_oneof![
        Just(TakenEnd::Succeeded),
        any::<bool>().prop_map(|by_failure| TakenEnd::Skipped { by_failure }),
        any::<i32>().prop_map(|code| TakenEnd::Failed { reason: FailureReason::Exit(code) }),
        Just(TakenEnd::Failed { reason: FailureReason::QueueTimedOut }),
        Just(TakenEnd::Failed { reason: FailureReason::NotApproved }),
        Just(TakenEnd::Failed { reason: FailureReason::RunFailed }),
    ];
    let outputs = option::of(texts().prop_map(Arc::new));
    let taken = (small(), vec((range(), end), 0..3), outputs, option::of(items())).prop_map(
        |(task, ends, outputs, items)| TakenOver { task: TaskIndex(task), ends, outputs, items },
    );
    let params = btree_map(name(), text(), 0..3).prop_map(Arc::new);
    let what = (key(), name(), of, number(), small());
    (what, spec(), params, any::<i32>(), vec(taken, 0..3)).prop_map(
        |(
            (request, namespace, of, version, version_number),
            spec,
            params,
            priority,
            taken_over,
        )| {
            let spec = Box::new(spec);
            RetryRun {
                request,
                namespace,
                of,
                version,
                version_number,
                spec,
                params,
                priority,
                taken_over,
            }
        },
    )
}

fn operating_command() -> impl Strategy<Value = Command> {
    let pause = (key(), run(), any::<bool>()).prop_map(|(request, run, is_paused)| PauseRun {
        request,
        run,
        is_paused,
    });
    let prioritize = (key(), run(), any::<i32>())
        .prop_map(|(request, run, priority)| PrioritizeRun { request, run, priority });
    let ends = [
        WantedEnd::Succeeded,
        WantedEnd::Skipped,
        WantedEnd::Cancelled,
        WantedEnd::Approved,
        WantedEnd::Rejected,
    ];
    let end = (key(), run(), small(), prop::sample::select(ends.to_vec()), of(text())).prop_map(
        |(request, run, task, end, reason)| {
            let task = TaskIndex(task);
            EndTask { request, run, task, end, reason }
        },
    );
    let reopen = (key(), run(), of(small().prop_map(TaskIndex)))
        .prop_map(|(request, run, from)| ReopenTasks { request, run, from });
    prop_oneof![
        retry().prop_map(|it| Command::RetryRun(Box::new(it))).boxed(),
        pause.prop_map(Command::PauseRun),
        prioritize.prop_map(Command::PrioritizeRun),
        end.prop_map(Command::EndTask),
        reopen.prop_map(Command::ReopenTasks),
    ]
}

fn decide() -> impl Strategy<Value = Command> {
    let verdict = prop_oneof![
        Just(Verdict::Start),
        Just(Verdict::Skip),
        items().prop_map(|items| Verdict::FanOut { items }),
        text().prop_map(|message| Verdict::Fail { message }),
        btree_map(name(), text(), 0..3)
            .prop_map(|params| Verdict::StartRun { params: Arc::new(params) }),
    ];
    let decision = (run(), small(), number(), verdict).prop_map(|(run, task, since, verdict)| {
        Decision { run, task: TaskIndex(task), since: LogIndex(since), verdict }
    });
    vec(decision, 0..4).prop_map(|decisions| Command::DecideTasks(DecideTasks { decisions }))
}

/// Commands of every kind.
pub(crate) fn command() -> impl Strategy<Value = Command> {
    let by = (text(), text()).prop_map(|(who, from)| Asker { who, from });
    (of(by), plain_command()).prop_map(|(by, command)| match by {
        Some(by) => Command::Asked(Asked { by, command: Box::new(command) }),
        None => command,
    })
}

fn plain_command() -> impl Strategy<Value = Command> {
    let apply = (key(), name(), spec()).prop_map(|(request, namespace, spec)| ApplyWorkflow {
        request,
        namespace,
        spec: Box::new(spec),
    });
    let release = (key(), run(), small(), any::<bool>()).prop_map(|(request, run, task, rerun)| {
        ReleaseTask { request, run, task: TaskIndex(task), rerun }
    });
    let cancel = (key(), run()).prop_map(|(request, run)| CancelRun { request, run });
    let prune = number().prop_map(|index| PruneHistory { ended_before: LogIndex(index) });
    prop_oneof![
        1 => Just(Command::Tick),
        2 => apply.prop_map(Command::ApplyWorkflow).boxed(),
        1 => crate::namespaces::apply_namespace(),
        3 => submit().prop_map(Command::SubmitRun).boxed(),
        1 => cancel.prop_map(Command::CancelRun),
        1 => release.prop_map(Command::ReleaseTask),
        2 => triggers::command().boxed(),
        2 => operating_command().boxed(),
        3 => worker_command(),
        2 => decide(),
        6 => attempts(),
        1 => prune.prop_map(Command::PruneHistory),
        1 => small().prop_map(|version| Command::UpgradeCluster(UpgradeCluster { version })),
    ]
}

pub(crate) fn entry() -> impl Strategy<Value = Entry> {
    (number(), vec(command(), 0..4))
        .prop_map(|(at, commands)| Entry { at: Timestamp(at), commands })
}
