//! Random workflows: small DAGs that use every field apply looks at.

use std::collections::BTreeMap;
use std::sync::Arc;

use muster_core::ids::Name;
use muster_core::spec::template::Reference;
use muster_core::spec::{
    ApprovalSpec, ArraySpec, Backoff, Condition, DependencyRule, ExecutorSpec, FanOut, OnLost,
    OnTimeout, ParamSpec, Request, RetryPolicy, SubWorkflowSpec, TaskSpec, WorkflowSpec,
};
use muster_core::time::Millis;
use proptest::prelude::*;

use super::hooks;

/// A workflow of 1 to 7 tasks, or rarely of none, which is invalid.
pub(crate) fn workflow() -> impl Strategy<Value = WorkflowSpec> {
    let tasks = prop_oneof![
        20 => prop::collection::vec(task(), 1..8),
        10 => prop::collection::vec(task(), 1..3),
        // What others may run, and see succeed.
        6 => Just(vec![(TaskSpec::new(name_of("t", 0), ExecutorSpec::Noop), 0)]),
        1 => Just(Vec::new()),
    ];
    let timeout = prop::option::weighted(0.2, 5_000..60_000u64);
    let fail_fast = prop::bool::weighted(0.2);
    let hooks = hooks::hooks(plain_task().prop_map(|(task, _)| task));
    (0..3u8, (tasks, hooks), (timeout, fail_fast), -1..2i32, any::<bool>()).prop_map(
        |(name, (mut tasks, hooks), (timeout, fail_fast), priority, is_reversed)| {
            for (position, (task, mask)) in tasks.iter_mut().enumerate() {
                task.id = name_of("t", position);
                let needs = (0..position).filter(|it| *mask >> it & 1 == 1);
                task.needs = needs.map(|it| name_of("t", it)).collect();
                if task.needs.is_empty() {
                    task.rule = DependencyRule::AllSucceeded;
                    if !matches!(task.condition, Condition::Expression(_)) {
                        task.condition = Condition::Success;
                    }
                }
            }
            let mut tasks: Vec<TaskSpec> = tasks.into_iter().map(|(task, _)| task).collect();
            if is_reversed {
                tasks.reverse();
            }
            if !tasks.is_empty() {
                tasks.extend(hooks);
            }
            // Such a workflow has no task that waits for a failure.
            let handles = tasks.iter().any(|task| task.condition == Condition::Failure);
            WorkflowSpec {
                timeout: timeout.map(Millis),
                fail_fast: fail_fast && !handles,
                priority,
                params: BTreeMap::from([(name_of("list", 0), list_param())]),
                ..WorkflowSpec::new(name_of("w", usize::from(name)), tasks)
            }
        },
    )
}

fn list_param() -> ParamSpec {
    ParamSpec { default: Some("".into()), ..ParamSpec::default() }
}

pub(crate) fn name_of(letter: &str, number: usize) -> Name {
    Name::parse(&format!("{letter}{number}")).expect("a letter and digits are a name")
}

/// A task, with the bits of the tasks before it that it needs.
fn task() -> impl Strategy<Value = (TaskSpec, u8)> {
    or_sub_workflow(or_approval(plain_task()))
}

fn plain_task() -> impl Strategy<Value = (TaskSpec, u8)> {
    let rule = prop_oneof![
        5 => Just((DependencyRule::AllSucceeded, Condition::Success)),
        2 => Just((DependencyRule::AllDone, Condition::Success)),
        2 => Just((DependencyRule::AnySucceeded, Condition::Success)),
        2 => Just((DependencyRule::AllSucceeded, Condition::Failure)),
        1 => Just((DependencyRule::AllSucceeded, Condition::Always)),
        1 => Just((DependencyRule::AllSucceeded, Condition::Cancelled)),
        2 => Just((DependencyRule::AllSucceeded, Condition::Expression("x".into()))),
        2 => Just((DependencyRule::AllDone, Condition::Expression("x".into()))),
    ];
    let array = prop::option::weighted(0.4, (0..4u32, 0..9u32));
    let fails = (prop_oneof![2 => Just(0u32), 3 => 1..6u32], prop::bool::weighted(0.4));
    // A list that is known only at run time, or one that the file has.
    let list = prop::option::weighted(0.45, 0..6u8);
    let array = (array, list);
    let fan_out = (array, prop::option::weighted(0.4, 1..4u32), fails);
    let times = (
        prop::option::weighted(0.3, 1_000..20_000u64),
        prop::option::weighted(0.2, 1_000..20_000u64),
        0..5_000u64,
    );
    let mask = (any::<u8>(), any::<u8>()).prop_map(|(a, b)| a & b);
    let rest = (mask, prop::option::weighted(0.2, -2..3i32));
    (rule, fan_out, request(), retry(), lost(), times, rest).prop_map(
        |(
            (rule, condition),
            ((array, list), max_parallel, (max_failures, fail_fast)),
            request,
            retry,
            (on_lost, max_lost),
            times,
            (mask, priority),
        )| {
            let task = TaskSpec::new(name_of("t", 0), ExecutorSpec::Noop);
            let array = array.map(|(first, more)| ArraySpec { first, last: first + more });
            let fan_out = list.filter(|_| array.is_none()).map(|list| match list {
                0..4 => FanOut::Reference(Reference::Param("list0".into())),
                count => FanOut::Items((0..count).map(|item| item.to_string()).collect()),
            });
            let is_array = array.is_some() || fan_out.is_some();
            let max_parallel = max_parallel.filter(|_| is_array);
            let max_failures = if is_array { max_failures } else { 0 };
            let fail_fast = fail_fast && is_array;
            let (timeout, queue_timeout) = (times.0.map(Millis), times.1.map(Millis));
            let task = TaskSpec {
                rule,
                condition,
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
                grace_period: Millis(times.2),
                priority,
                ..task
            };
            (task, mask)
        },
    )
}

/// The task, or now and then an approval with its rule, condition and timeout.
fn or_approval(
    task: impl Strategy<Value = (TaskSpec, u8)>,
) -> impl Strategy<Value = (TaskSpec, u8)> {
    let approval = (any::<bool>(), prop::bool::weighted(0.5));
    (task, prop::option::weighted(0.08, approval)).prop_map(|((task, mask), approval)| {
        let Some((is_given, has_timeout)) = approval else { return (task, mask) };
        let on_timeout = match is_given && has_timeout && task.timeout.is_some() {
            true => OnTimeout::Approve,
            false => OnTimeout::Fail,
        };
        let executor = ExecutorSpec::Approval(ApprovalSpec { message: None, on_timeout });
        let TaskSpec { rule, condition, timeout, .. } = task;
        let timeout = timeout.filter(|_| has_timeout);
        let plain = TaskSpec::new(task.id, executor);
        (TaskSpec { rule, condition, timeout, ..plain }, mask)
    })
}

/// The task, or now and then one that starts runs: of some workflow, or of one that there never is.
fn or_sub_workflow(
    task: impl Strategy<Value = (TaskSpec, u8)>,
) -> impl Strategy<Value = (TaskSpec, u8)> {
    let of = prop_oneof![9 => 0..3usize, 1 => Just(3)];
    (task, prop::option::weighted(0.15, of)).prop_map(|((task, mask), of)| {
        let Some(of) = of else { return (task, mask) };
        let name = name_of("w", of);
        let executor = ExecutorSpec::Workflow(SubWorkflowSpec { name, params: BTreeMap::new() });
        let TaskSpec { rule, condition, timeout, retry, priority, .. } = task;
        let plain = TaskSpec::new(task.id, executor);
        (TaskSpec { rule, condition, timeout, retry, priority, ..plain }, mask)
    })
}

fn request() -> impl Strategy<Value = Request> {
    let gpu = prop::option::weighted(0.2, 0..2u64);
    let groups = super::quota::named();
    (0..3u64, gpu, prop::bool::weighted(0.1), prop::bool::weighted(0.1), groups).prop_map(
        |(cpu, gpu, is_pooled, is_selective, groups)| {
            let mut request = Request::default();
            request.resources.cpu_millis = cpu * 500;
            request.resources.custom.extend(gpu.map(|gpu| (Arc::from("gpu"), gpu)));
            request.groups = groups;
            request.pool = is_pooled.then(|| "p".into());
            if is_selective {
                request.selector.insert("zone".into(), "a".into());
            }
            request
        },
    )
}

fn retry() -> impl Strategy<Value = RetryPolicy> {
    let initial = prop_oneof![Just(0u64), Just(500), Just(3_000)];
    let factor = prop_oneof![Just(1000u32), Just(2000), Just(3000)];
    let flags = (prop::bool::weighted(0.9), prop::bool::weighted(0.9));
    (0..3u32, initial, factor, flags).prop_map(|(limit, initial, factor, flags)| RetryPolicy {
        limit,
        backoff: Backoff {
            initial: Millis(initial),
            factor_millis: factor,
            cap: Millis(8_000),
            jitter_millis: 0,
        },
        on_failure: flags.0,
        on_timeout: flags.1,
    })
}

fn lost() -> impl Strategy<Value = (OnLost, u32)> {
    let on_lost = prop_oneof![
        3 => Just(OnLost::Rerun),
        1 => Just(OnLost::Fail),
        2 => Just(OnLost::Hold),
    ];
    (on_lost, 1..4u32)
}
