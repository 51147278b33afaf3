//! How many bytes a spec takes when it is stored or sent, estimated from above without encoding it.

use std::collections::BTreeMap;

use super::schedule::{ScheduleSpec, Timing};
use super::trigger::TriggerSpec;
use super::webhook::{Credential, WebhookSpec};
use super::{Condition, ExecutorSpec, FanOut, ProcessCommand, TaskSpec, WorkflowSpec};
use crate::ids::{Name, Text};
use crate::limits;

/// Tag and length of one text.
const TEXT_OVERHEAD: usize = 8;
/// The numbers and small fields of a task or a workflow.
const FIXED: usize = 128;

/// The error for a spec beyond [`limits::SPEC_BYTES_MAX`].
pub(super) fn too_large() -> String {
    format!("the workflow takes more than {} bytes when it is stored", limits::SPEC_BYTES_MAX)
}

/// An upper estimate for a workflow.
pub(super) fn workflow_bytes(spec: &WorkflowSpec) -> usize {
    let mut bytes = FIXED + text(spec.name.as_str()) + map(&spec.labels);
    for (name, param) in &spec.params {
        bytes += text(name.as_str()) + optional(&param.default) + optional(&param.description);
        bytes += optional(&param.minimum) + optional(&param.maximum) + texts(&param.allowed);
    }
    bytes += map(&spec.outputs);
    bytes += spec.schedules.iter().map(schedule_bytes).sum::<usize>();
    bytes += spec.webhooks.iter().map(webhook_bytes).sum::<usize>();
    bytes += spec.triggers.iter().map(trigger_bytes).sum::<usize>();
    bytes + spec.tasks.iter().map(task_bytes).sum::<usize>()
}

fn schedule_bytes(schedule: &ScheduleSpec) -> usize {
    let timing = match &schedule.timing {
        Timing::Cron { line, .. } => text(line),
        Timing::At(time) => text(time),
        Timing::Every(_) => 0,
    };
    let bounds = optional(&schedule.start) + optional(&schedule.end) + texts(&schedule.exclude);
    let names = text(schedule.name.as_str()) + text(&schedule.time_zone);
    FIXED + names + timing + bounds + params(&schedule.params)
}

fn trigger_bytes(trigger: &TriggerSpec) -> usize {
    let names = text(trigger.name.as_str()) + text(trigger.after.as_str());
    FIXED + names + params(&trigger.params)
}

fn webhook_bytes(webhook: &WebhookSpec) -> usize {
    let credential = match &webhook.credential {
        Credential::Token(_) => 0,
        Credential::Signature { key, header } => text(key.as_str()) + text(header),
    };
    FIXED + text(webhook.name.as_str()) + credential + params(&webhook.params)
}

fn params(params: &BTreeMap<Name, Text>) -> usize {
    params.iter().map(|(name, value)| TEXT_OVERHEAD + text(name.as_str()) + text(value)).sum()
}

/// An upper estimate for a task.
pub(super) fn task_bytes(task: &TaskSpec) -> usize {
    let mut bytes = FIXED + text(task.id.as_str()) + map(&task.env) + texts(&task.outputs);
    bytes += task.needs.iter().map(Name::as_str).map(text).sum::<usize>();
    if let Condition::Expression(expression) = &task.condition {
        bytes += text(expression);
    }
    bytes += task.fan_out.as_ref().map_or(0, fan_out);
    bytes += optional(&task.request.pool) + map(&task.request.selector);
    bytes += task.request.groups.iter().map(Name::as_str).map(text).sum::<usize>();
    bytes +=
        task.request.resources.custom.keys().map(|key| text(key) + TEXT_OVERHEAD).sum::<usize>();
    bytes + executor(&task.executor)
}

fn fan_out(fan_out: &FanOut) -> usize {
    match fan_out {
        FanOut::Matrix(axes) => {
            axes.iter().map(|axis| text(axis.name.as_str()) + texts(&axis.values)).sum()
        }
        FanOut::Items(items) => items.bytes() + items.len() * TEXT_OVERHEAD,
        FanOut::Reference(found) => text(&found.to_string()),
    }
}

fn executor(executor: &ExecutorSpec) -> usize {
    match executor {
        ExecutorSpec::Noop => 0,
        ExecutorSpec::Approval(approval) => optional(&approval.message),
        ExecutorSpec::Workflow(it) => {
            let params = it.params.iter();
            let param =
                |(name, value): (&Name, &Text)| TEXT_OVERHEAD + text(name.as_str()) + text(value);
            text(it.name.as_str()) + params.map(param).sum::<usize>()
        }
        ExecutorSpec::Process(process) => {
            let command = match &process.command {
                ProcessCommand::Argv(argv) => texts(argv),
                ProcessCommand::Script { text: script, shell } => text(script) + texts(shell),
            };
            command + optional(&process.working_dir)
        }
    }
}

fn text(text: &str) -> usize {
    TEXT_OVERHEAD + text.len()
}

fn optional(value: &Option<Text>) -> usize {
    value.as_deref().map_or(0, text)
}

fn texts(texts: &[Text]) -> usize {
    texts.iter().map(|item| text(item)).sum()
}

fn map(map: &BTreeMap<Text, Text>) -> usize {
    map.iter().map(|(key, value)| TEXT_OVERHEAD + text(key) + text(value)).sum()
}
