//! Workflows as users write them.
//!
//! Only the shape is checked here; whether a spec makes sense is for `muster_core::spec::validate` to say. Every spec
//! that the core can hold comes back as it was, for an entry that cannot be decoded would stop all masters.

use muster_core::ids::Text;
use muster_core::spec::{
    ApprovalSpec, ArraySpec, Backoff, Condition, DependencyRule, ExecutorSpec, Hook, OnLost,
    OnTimeout, ParamSpec, ParamType, ProcessCommand, ProcessSpec, Request, Resources, RetryPolicy,
    SubWorkflowSpec, TaskSpec, WorkflowSpec,
};
use muster_core::time::Millis;

use super::error::{DecodeError, Problem};
use super::fan_out::{fan_out_from_proto, fan_out_to_proto};
use super::read::{
    Within, known, name, params_from_proto, required, string_map, strings, text_map, texts,
};
use super::schedule::{policy_from_proto, policy_to_proto, schedule_from_proto, schedule_to_proto};
use super::trigger::{trigger_from_proto, trigger_to_proto};
use super::webhook::{webhook_from_proto, webhook_to_proto};
use crate::v1;

/// A workflow as a message.
pub fn spec_to_proto(spec: &WorkflowSpec) -> v1::WorkflowSpec {
    let params = spec.params.iter().map(|(name, param)| (name.to_string(), param_to_proto(param)));
    v1::WorkflowSpec {
        name: spec.name.to_string(),
        labels: string_map(&spec.labels),
        timeout_ms: spec.timeout.map(|span| span.0),
        priority: spec.priority,
        params: params.collect(),
        tasks: spec.tasks.iter().map(task_to_proto).collect(),
        schedules: spec.schedules.iter().map(schedule_to_proto).collect(),
        concurrency_policy: policy_to_proto(spec.concurrency).into(),
        fail_fast: spec.fail_fast,
        webhooks: spec.webhooks.iter().map(webhook_to_proto).collect(),
        triggers: spec.triggers.iter().map(trigger_to_proto).collect(),
        outputs: string_map(&spec.outputs),
    }
}

/// A workflow from a message.
pub fn spec_from_proto(spec: v1::WorkflowSpec) -> Result<WorkflowSpec, DecodeError> {
    let params = spec.params.into_iter().map(|(key, param)| {
        let name = name("", &key).within_element("params", &key)?;
        Ok((name, param_from_proto(param).within_element("params", &key)?))
    });
    let tasks = spec.tasks.into_iter().enumerate();
    let schedules = spec.schedules.into_iter().enumerate();
    let webhooks = spec.webhooks.into_iter().enumerate();
    let triggers = spec.triggers.into_iter().enumerate();
    Ok(WorkflowSpec {
        name: name("name", &spec.name)?,
        labels: text_map(spec.labels),
        timeout: spec.timeout_ms.map(Millis),
        priority: spec.priority,
        params: params.collect::<Result<_, DecodeError>>()?,
        schedules: schedules
            .map(|(at, schedule)| schedule_from_proto(schedule).within_element("schedules", at))
            .collect::<Result<_, _>>()?,
        webhooks: webhooks
            .map(|(at, webhook)| webhook_from_proto(webhook).within_element("webhooks", at))
            .collect::<Result<_, _>>()?,
        triggers: triggers
            .map(|(at, trigger)| trigger_from_proto(trigger).within_element("triggers", at))
            .collect::<Result<_, _>>()?,
        fail_fast: spec.fail_fast,
        outputs: text_map(spec.outputs),
        concurrency: policy_from_proto("concurrency_policy", spec.concurrency_policy)?,
        tasks: tasks
            .map(|(position, task)| task_from_proto(task).within_element("tasks", position))
            .collect::<Result<_, _>>()?,
    })
}

fn param_to_proto(param: &ParamSpec) -> v1::ParamSpec {
    let kind = match param.kind {
        // As it was before there were types.
        ParamType::String => v1::ParamType::Unspecified,
        ParamType::Integer => v1::ParamType::Integer,
        ParamType::Number => v1::ParamType::Number,
        ParamType::Boolean => v1::ParamType::Boolean,
        ParamType::Date => v1::ParamType::Date,
    };
    v1::ParamSpec {
        default: param.default.as_ref().map(Text::to_string),
        description: param.description.as_ref().map(Text::to_string),
        r#type: kind.into(),
        allowed: strings(&param.allowed),
        minimum: param.minimum.as_ref().map(Text::to_string),
        maximum: param.maximum.as_ref().map(Text::to_string),
    }
}

fn param_from_proto(param: v1::ParamSpec) -> Result<ParamSpec, DecodeError> {
    let kind = match v1::ParamType::try_from(param.r#type) {
        Ok(v1::ParamType::Unspecified | v1::ParamType::String) => ParamType::String,
        Ok(v1::ParamType::Integer) => ParamType::Integer,
        Ok(v1::ParamType::Number) => ParamType::Number,
        Ok(v1::ParamType::Boolean) => ParamType::Boolean,
        Ok(v1::ParamType::Date) => ParamType::Date,
        Err(_) => return Err(DecodeError::field("type", Problem::UnknownValue(param.r#type))),
    };
    Ok(ParamSpec {
        kind,
        default: param.default.map(Text::from),
        description: param.description.map(Text::from),
        allowed: texts(param.allowed),
        minimum: param.minimum.map(Text::from),
        maximum: param.maximum.map(Text::from),
    })
}

/// A task as a message.
pub fn task_to_proto(task: &TaskSpec) -> v1::TaskSpec {
    v1::TaskSpec {
        id: task.id.to_string(),
        hook: hook_to_proto(task.hook).into(),
        needs: task.needs.iter().map(|need| need.to_string()).collect(),
        rule: rule_to_proto(task.rule).into(),
        condition: condition_to_proto(&task.condition).into(),
        condition_expression: match &task.condition {
            Condition::Expression(text) => Some(text.to_string()),
            Condition::Success | Condition::Failure | Condition::Always | Condition::Cancelled => {
                None
            }
        },
        executor: Some(executor_to_proto(&task.executor)),
        env: string_map(&task.env),
        outputs: strings(&task.outputs),
        array: task.array.map(|array| v1::ArraySpec { first: array.first, last: array.last }),
        fan_out: task.fan_out.as_ref().map(fan_out_to_proto),
        max_parallel: task.max_parallel,
        max_failures: task.max_failures,
        fail_fast: task.fail_fast,
        request: Some(request_to_proto(&task.request)),
        retry: Some(retry_to_proto(&task.retry)),
        on_lost: on_lost_to_proto(task.on_lost).into(),
        max_lost: Some(task.max_lost),
        timeout_ms: task.timeout.map(|span| span.0),
        queue_timeout_ms: task.queue_timeout.map(|span| span.0),
        grace_period_ms: Some(task.grace_period.0),
        priority: task.priority,
    }
}

/// A task from a message.
pub fn task_from_proto(task: v1::TaskSpec) -> Result<TaskSpec, DecodeError> {
    let needs = task.needs.iter().enumerate();
    let executor = required("executor", task.executor)?;
    Ok(TaskSpec {
        id: name("id", &task.id)?,
        hook: hook_from_proto(task.hook)?,
        needs: needs
            .map(|(position, need)| name("", need).within_element("needs", position))
            .collect::<Result<_, _>>()?,
        rule: rule_from_proto(known("rule", task.rule)?)?,
        condition: condition_from_proto(
            known("condition", task.condition)?,
            task.condition_expression,
        )?,
        executor: executor_from_proto(executor).within("executor")?,
        env: text_map(task.env),
        outputs: texts(task.outputs),
        array: task.array.map(|array| ArraySpec { first: array.first, last: array.last }),
        fan_out: task.fan_out.map(|it| fan_out_from_proto(it).within("fan_out")).transpose()?,
        max_parallel: task.max_parallel,
        max_failures: task.max_failures,
        fail_fast: task.fail_fast,
        request: request_from_proto(required("request", task.request)?).within("request")?,
        retry: retry_from_proto(required("retry", task.retry)?).within("retry")?,
        on_lost: on_lost_from_proto(known("on_lost", task.on_lost)?)?,
        max_lost: required("max_lost", task.max_lost)?,
        timeout: task.timeout_ms.map(Millis),
        queue_timeout: task.queue_timeout_ms.map(Millis),
        grace_period: Millis(required("grace_period_ms", task.grace_period_ms)?),
        priority: task.priority,
    })
}

/// What makes a task a hook, as a message says it.
pub fn hook_to_proto(hook: Option<Hook>) -> v1::Hook {
    match hook {
        None => v1::Hook::Unspecified,
        Some(Hook::OnSuccess) => v1::Hook::OnSuccess,
        Some(Hook::OnFailure) => v1::Hook::OnFailure,
        Some(Hook::OnExit) => v1::Hook::OnExit,
    }
}

fn hook_from_proto(hook: i32) -> Result<Option<Hook>, DecodeError> {
    match v1::Hook::try_from(hook) {
        Ok(v1::Hook::Unspecified) => Ok(None),
        Ok(v1::Hook::OnSuccess) => Ok(Some(Hook::OnSuccess)),
        Ok(v1::Hook::OnFailure) => Ok(Some(Hook::OnFailure)),
        Ok(v1::Hook::OnExit) => Ok(Some(Hook::OnExit)),
        Err(_) => Err(DecodeError::field("hook", Problem::UnknownValue(hook))),
    }
}

fn rule_to_proto(rule: DependencyRule) -> v1::DependencyRule {
    match rule {
        DependencyRule::AllSucceeded => v1::DependencyRule::AllSucceeded,
        DependencyRule::AllDone => v1::DependencyRule::AllDone,
        DependencyRule::AnySucceeded => v1::DependencyRule::AnySucceeded,
    }
}

fn rule_from_proto(rule: v1::DependencyRule) -> Result<DependencyRule, DecodeError> {
    match rule {
        v1::DependencyRule::Unspecified => Err(DecodeError::missing("rule")),
        v1::DependencyRule::AllSucceeded => Ok(DependencyRule::AllSucceeded),
        v1::DependencyRule::AllDone => Ok(DependencyRule::AllDone),
        v1::DependencyRule::AnySucceeded => Ok(DependencyRule::AnySucceeded),
    }
}

fn condition_to_proto(condition: &Condition) -> v1::Condition {
    match condition {
        Condition::Success => v1::Condition::Success,
        Condition::Failure => v1::Condition::Failure,
        Condition::Always => v1::Condition::Always,
        Condition::Cancelled => v1::Condition::Cancelled,
        Condition::Expression(_) => v1::Condition::Expression,
    }
}

fn condition_from_proto(
    condition: v1::Condition,
    expression: Option<String>,
) -> Result<Condition, DecodeError> {
    match condition {
        v1::Condition::Expression => {
            Ok(Condition::Expression(required("condition_expression", expression)?.into()))
        }
        _ if expression.is_some() => {
            Err(DecodeError::invalid("condition_expression", "is given with another condition"))
        }
        v1::Condition::Unspecified => Err(DecodeError::missing("condition")),
        v1::Condition::Success => Ok(Condition::Success),
        v1::Condition::Failure => Ok(Condition::Failure),
        v1::Condition::Always => Ok(Condition::Always),
        v1::Condition::Cancelled => Ok(Condition::Cancelled),
    }
}

fn on_lost_to_proto(on_lost: OnLost) -> v1::OnLost {
    match on_lost {
        OnLost::Rerun => v1::OnLost::Rerun,
        OnLost::Fail => v1::OnLost::Fail,
        OnLost::Hold => v1::OnLost::Hold,
    }
}

fn on_lost_from_proto(on_lost: v1::OnLost) -> Result<OnLost, DecodeError> {
    match on_lost {
        v1::OnLost::Unspecified => Err(DecodeError::missing("on_lost")),
        v1::OnLost::Rerun => Ok(OnLost::Rerun),
        v1::OnLost::Fail => Ok(OnLost::Fail),
        v1::OnLost::Hold => Ok(OnLost::Hold),
    }
}

/// An executor as a message.
pub fn executor_to_proto(executor: &ExecutorSpec) -> v1::ExecutorSpec {
    use v1::executor_spec::Kind;
    let kind = match executor {
        ExecutorSpec::Process(process) => Kind::Process(process_to_proto(process)),
        ExecutorSpec::Noop => Kind::Noop(v1::NoopSpec {}),
        ExecutorSpec::Approval(approval) => Kind::Approval(approval_to_proto(approval)),
        ExecutorSpec::Workflow(it) => Kind::Workflow(sub_workflow_to_proto(it)),
    };
    v1::ExecutorSpec { kind: Some(kind) }
}

/// An executor from a message.
pub fn executor_from_proto(executor: v1::ExecutorSpec) -> Result<ExecutorSpec, DecodeError> {
    use v1::executor_spec::Kind;
    Ok(match required("kind", executor.kind)? {
        Kind::Process(process) => {
            ExecutorSpec::Process(process_from_proto(process).within("process")?)
        }
        Kind::Noop(v1::NoopSpec {}) => ExecutorSpec::Noop,
        Kind::Approval(approval) => {
            ExecutorSpec::Approval(approval_from_proto(approval).within("approval")?)
        }
        Kind::Workflow(it) => {
            ExecutorSpec::Workflow(sub_workflow_from_proto(it).within("workflow")?)
        }
    })
}

fn sub_workflow_to_proto(it: &SubWorkflowSpec) -> v1::SubWorkflowSpec {
    let params = it.params.iter().map(|(name, value)| (name.to_string(), value.to_string()));
    v1::SubWorkflowSpec { name: it.name.to_string(), params: params.collect() }
}

fn sub_workflow_from_proto(it: v1::SubWorkflowSpec) -> Result<SubWorkflowSpec, DecodeError> {
    Ok(SubWorkflowSpec { name: name("name", &it.name)?, params: params_from_proto(it.params)? })
}

fn approval_to_proto(approval: &ApprovalSpec) -> v1::ApprovalSpec {
    let on_timeout = match approval.on_timeout {
        OnTimeout::Fail => v1::ApprovalTimeout::Fail,
        OnTimeout::Approve => v1::ApprovalTimeout::Approve,
    };
    let message = approval.message.as_ref().map(Text::to_string);
    v1::ApprovalSpec { message, on_timeout: on_timeout.into() }
}

fn approval_from_proto(approval: v1::ApprovalSpec) -> Result<ApprovalSpec, DecodeError> {
    let on_timeout = match known("on_timeout", approval.on_timeout)? {
        v1::ApprovalTimeout::Unspecified => return Err(DecodeError::missing("on_timeout")),
        v1::ApprovalTimeout::Fail => OnTimeout::Fail,
        v1::ApprovalTimeout::Approve => OnTimeout::Approve,
    };
    Ok(ApprovalSpec { message: approval.message.map(Text::from), on_timeout })
}

fn process_to_proto(process: &ProcessSpec) -> v1::ProcessSpec {
    use v1::process_spec::Command;
    let command = match &process.command {
        ProcessCommand::Argv(args) => Command::Argv(v1::Argv { args: strings(args) }),
        ProcessCommand::Script { text, shell } => {
            Command::Script(v1::Script { text: text.to_string(), shell: strings(shell) })
        }
    };
    v1::ProcessSpec {
        command: Some(command),
        working_dir: process.working_dir.as_ref().map(Text::to_string),
    }
}

fn process_from_proto(process: v1::ProcessSpec) -> Result<ProcessSpec, DecodeError> {
    use v1::process_spec::Command;
    let command = match required("command", process.command)? {
        Command::Argv(argv) => ProcessCommand::Argv(texts(argv.args)),
        Command::Script(script) => {
            ProcessCommand::Script { text: script.text.into(), shell: texts(script.shell) }
        }
    };
    Ok(ProcessSpec { command, working_dir: process.working_dir.map(Text::from) })
}

/// A request as a message.
pub fn request_to_proto(request: &Request) -> v1::Request {
    v1::Request {
        pool: request.pool.as_ref().map(Text::to_string),
        selector: string_map(&request.selector),
        resources: Some(resources_to_proto(&request.resources)),
        concurrency: request.groups.iter().map(|group| group.to_string()).collect(),
    }
}

/// A request from a message.
pub fn request_from_proto(request: v1::Request) -> Result<Request, DecodeError> {
    let groups = request.concurrency.iter().enumerate();
    let groups = groups.map(|(at, group)| name("", group).within_element("concurrency", at));
    Ok(Request {
        groups: groups.collect::<Result<_, DecodeError>>()?,
        pool: request.pool.map(Text::from),
        selector: text_map(request.selector),
        resources: resources_from_proto(required("resources", request.resources)?),
    })
}

/// Quantities as a message.
pub fn resources_to_proto(resources: &Resources) -> v1::Resources {
    v1::Resources {
        cpu_millis: resources.cpu_millis,
        memory_bytes: resources.memory_bytes,
        custom: resources.custom.iter().map(|(name, amount)| (name.to_string(), *amount)).collect(),
    }
}

/// Quantities from a message. An absent quantity is none of it.
pub fn resources_from_proto(resources: v1::Resources) -> Resources {
    Resources {
        cpu_millis: resources.cpu_millis,
        memory_bytes: resources.memory_bytes,
        custom: resources.custom.into_iter().map(|(name, amount)| (name.into(), amount)).collect(),
    }
}

fn retry_to_proto(retry: &RetryPolicy) -> v1::RetryPolicy {
    let backoff = v1::Backoff {
        initial_ms: retry.backoff.initial.0,
        factor_millis: retry.backoff.factor_millis,
        cap_ms: retry.backoff.cap.0,
        jitter_millis: retry.backoff.jitter_millis,
    };
    v1::RetryPolicy {
        limit: retry.limit,
        backoff: Some(backoff),
        on_failure: Some(retry.on_failure),
        on_timeout: Some(retry.on_timeout),
    }
}

fn retry_from_proto(retry: v1::RetryPolicy) -> Result<RetryPolicy, DecodeError> {
    let backoff = required("backoff", retry.backoff)?;
    Ok(RetryPolicy {
        limit: retry.limit,
        backoff: Backoff {
            initial: Millis(backoff.initial_ms),
            factor_millis: backoff.factor_millis,
            cap: Millis(backoff.cap_ms),
            jitter_millis: backoff.jitter_millis,
        },
        on_failure: required("on_failure", retry.on_failure)?,
        on_timeout: required("on_timeout", retry.on_timeout)?,
    })
}
