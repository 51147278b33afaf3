//! Reads the `submit` command.

use std::sync::Arc;

use muster_core::command::{RunSource, SubmitRun};
use muster_core::ids::Name;
use muster_core::spec::{
    ApprovalSpec, ArraySpec, Backoff, Condition, DependencyRule, ExecutorSpec, Hook, OnLost,
    OnTimeout, Resources, SubWorkflowSpec, TaskSpec, WorkflowSpec,
};
use muster_core::time::Millis;

use super::{Result, number, pair, set_quantity};

fn name(text: &str) -> Result<Name> {
    Name::parse(text).map_err(|error| error.to_string())
}

/// Reads `etl namespace=team priority=1: a cpu=1 x3; b needs=a1 array=0-9`.
pub(super) fn parse(text: &str) -> Result<SubmitRun> {
    let (head, tasks) = text.split_once(':').ok_or("no `:`")?;
    let mut head = head.split_whitespace();
    let workflow = name(head.next().ok_or("no name")?)?;
    let (mut namespace, mut priority) = (name("default")?, None);
    for word in head {
        match pair(word)? {
            ("namespace", value) => namespace = name(value)?,
            ("priority", value) => priority = Some(number(value)?),
            (other, _) => return Err(format!("a run has no `{other}`")),
        }
    }
    let mut specs = Vec::new();
    for task in tasks.split(';') {
        read_tasks(task, &mut specs)?;
    }
    let spec = WorkflowSpec::new(workflow, specs);
    Ok(SubmitRun {
        request: None,
        namespace,
        source: RunSource::OneOff(Box::new(spec)),
        params: Arc::default(),
        priority,
        backfill: None,
    })
}

fn read_tasks(text: &str, specs: &mut Vec<TaskSpec>) -> Result<()> {
    let mut words = text.split_whitespace();
    let id = words.next().ok_or("a task has no name")?;
    let mut task = TaskSpec::new(name(id)?, ExecutorSpec::Noop);
    task.request.resources = Resources { cpu_millis: 1000, ..Resources::ZERO };
    let mut copies = None;
    for word in words {
        match word.strip_prefix('x').map(str::parse::<u32>) {
            Some(Ok(count)) => copies = Some(count),
            _ => set(&mut task, word)?,
        }
    }
    match copies {
        None => specs.push(task),
        Some(count) => {
            for copy in 1..=count {
                specs.push(TaskSpec { id: name(&format!("{id}{copy}"))?, ..task.clone() });
            }
        }
    }
    Ok(())
}

fn set(task: &mut TaskSpec, word: &str) -> Result<()> {
    let (key, value) = pair(word)?;
    if let Some(label) = key.strip_prefix("select.") {
        task.request.selector.insert(label.into(), value.into());
        return Ok(());
    }
    match key {
        "needs" => task.needs = value.split(',').map(name).collect::<Result<_>>()?,
        "group" => drop(task.request.groups.insert(name(value)?)),
        "pool" => task.request.pool = Some(value.into()),
        "priority" => task.priority = Some(number(value)?),
        "queue_timeout" => task.queue_timeout = Some(Millis::from_secs(number(value)?)),
        "retry" => {
            task.retry.limit = number(value)?;
            task.retry.backoff = Backoff { initial: Millis(0), ..Backoff::default() };
        }
        "backoff" => {
            let initial = Millis::from_secs(number(value)?);
            task.retry.backoff = Backoff { initial, jitter_millis: 0, ..Backoff::default() };
        }
        "array" => {
            let (first, last) = value.split_once('-').ok_or("an array is `first-last`")?;
            task.array = Some(ArraySpec { first: number(first)?, last: number(last)? });
        }
        "failures" => task.max_failures = number(value)?,
        "fast" => task.fail_fast = value == "yes",
        "parallel" => task.max_parallel = Some(number(value)?),
        "approval" => {
            let on_timeout = if value == "approve" { OnTimeout::Approve } else { OnTimeout::Fail };
            let message = Some("Ship it?".into());
            task.executor = ExecutorSpec::Approval(ApprovalSpec { message, on_timeout });
        }
        "workflow" => {
            let of = SubWorkflowSpec { name: name(value)?, params: Default::default() };
            task.executor = ExecutorSpec::Workflow(of);
        }
        "hook" => task.hook = Hook::ALL.into_iter().find(|hook| hook.field() == value),
        "timeout" => task.timeout = Some(Millis::from_secs(number(value)?)),
        "rule" => {
            task.rule = match value {
                "any" => DependencyRule::AnySucceeded,
                "done" => DependencyRule::AllDone,
                _ => return Err(format!("no such rule: `{value}`")),
            }
        }
        "if" => {
            task.condition = match value {
                "failure" => Condition::Failure,
                "always" => Condition::Always,
                "cancelled" => Condition::Cancelled,
                expression => Condition::Expression(expression.into()),
            }
        }
        "on_lost" => {
            task.on_lost = match value {
                "hold" => OnLost::Hold,
                "fail" => OnLost::Fail,
                _ => return Err(format!("no such answer to a loss: `{value}`")),
            }
        }
        _ => set_quantity(&mut task.request.resources, key, value)?,
    }
    Ok(())
}
