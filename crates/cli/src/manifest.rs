//! Workflows and namespaces as files say them: the reverse of reading one.
//!
//! Two workflows that are written equally are equal, and what is written can be read again. Fields at their default are
//! left out, `defaults` stands in each task that it was for, and fields have the order of the reference.

use std::collections::BTreeMap;
use std::fmt::Display;

use muster_core::ids::{Name, Text};
use muster_core::spec::namespace::{NamespaceSpec, Quota};
use muster_core::spec::quantity::{Cpu, Memory};
use muster_core::spec::schedule::{CatchUp, Dialect, ScheduleSpec, Timing};
use muster_core::spec::trigger::{TriggerOn, TriggerSpec};
use muster_core::spec::webhook::{Credential, WebhookSpec};
use muster_core::spec::{
    ApprovalSpec, Backoff, ConcurrencyPolicy, Condition, DependencyRule, ExecutorSpec, FanOut,
    OnLost, OnTimeout, ParamSpec, ParamType, ProcessCommand, ProcessSpec, Resources, RetryPolicy,
    SubWorkflowSpec, TaskSpec, WorkflowSpec,
};
use serde_json::{Map, Value, json};

/// What a script is given to unless its task says otherwise.
const SHELL_DEFAULT: [&str; 3] = ["bash", "-euo", "pipefail"];

/// Fields of a map, in order.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, field: &str, value: Value) {
        self.0.insert(field.to_owned(), value);
    }

    /// A field that says more than its default does.
    fn put_unless(&mut self, is_default: bool, field: &str, value: impl Display) {
        if !is_default {
            self.put(field, json!(value.to_string()));
        }
    }

    fn put_some(&mut self, field: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.put(field, json!(value.to_string()));
        }
    }

    fn put_number<N: Into<Value> + PartialEq>(&mut self, field: &str, value: N, default: N) {
        if value != default {
            self.put(field, value.into());
        }
    }

    /// A list or a map, unless it is empty.
    fn put_filled(&mut self, field: &str, value: Value) {
        let is_empty = match &value {
            Value::Array(items) => items.is_empty(),
            Value::Object(entries) => entries.is_empty(),
            _ => false,
        };
        if !is_empty {
            self.put(field, value);
        }
    }

    fn value(self) -> Value {
        Value::Object(self.0)
    }
}

/// The workflow as a file says it.
pub(crate) fn workflow(spec: &WorkflowSpec) -> Value {
    let mut fields = Fields::default();
    fields.put("apiVersion", json!("v1"));
    fields.put("kind", json!("Workflow"));
    fields.put("name", json!(spec.name.as_str()));
    fields.put_filled("labels", texts(&spec.labels));
    fields.put_some("timeout", spec.timeout);
    fields.put_number("priority", spec.priority, 0);
    let params = spec.params.iter().map(|(name, it)| (name.to_string(), param(it)));
    fields.put_filled("params", Value::Object(params.collect()));
    let schedules = spec.schedules.iter().enumerate();
    let schedules = schedules.map(|(at, it)| schedule(at, it)).collect();
    fields.put_filled("schedule", Value::Array(schedules));
    let webhooks = spec.webhooks.iter().map(webhook).collect();
    fields.put_filled("webhooks", Value::Array(webhooks));
    let triggers = spec.triggers.iter().enumerate();
    let triggers = triggers.map(|(at, it)| trigger(at, it)).collect();
    fields.put_filled("triggers", Value::Array(triggers));
    let policy = match spec.concurrency {
        ConcurrencyPolicy::Allow => "Allow",
        ConcurrencyPolicy::Forbid => "Forbid",
        ConcurrencyPolicy::Replace => "Replace",
        ConcurrencyPolicy::Queue => "Queue",
    };
    fields.put_unless(spec.concurrency == ConcurrencyPolicy::Allow, "concurrencyPolicy", policy);
    if spec.fail_fast {
        fields.put("failFast", json!(true));
    }
    fields.put_filled("outputs", texts(&spec.outputs));
    let tasks = spec.tasks.iter().filter(|it| it.hook.is_none());
    let tasks = tasks.map(|it| (it.id.to_string(), task(it)));
    fields.put("tasks", Value::Object(tasks.collect()));
    let hooks = spec.tasks.iter().filter_map(|it| Some((it.hook?.field().to_owned(), task(it))));
    fields.put_filled("hooks", Value::Object(hooks.collect()));
    fields.value()
}

fn webhook(spec: &WebhookSpec) -> Value {
    let mut fields = Fields::default();
    fields.put("name", json!(spec.name.as_str()));
    match &spec.credential {
        Credential::Token(digest) => fields.put("token", json!({"sha256": digest.to_string()})),
        Credential::Signature { key, header } => {
            fields.put("signature", json!({"key": key.as_str(), "header": &**header}));
        }
    }
    let params = spec.params.iter().map(|(name, value)| (name.to_string(), json!(&**value)));
    fields.put_filled("params", Value::Object(params.collect()));
    fields.value()
}

/// The namespace as a file says it.
pub(crate) fn namespace(spec: &NamespaceSpec) -> Value {
    let usual = NamespaceSpec::new(spec.name.clone());
    let mut fields = Fields::default();
    fields.put("apiVersion", json!("v1"));
    fields.put("kind", json!("Namespace"));
    fields.put("name", json!(spec.name.as_str()));
    fields.put_number("weight", spec.weight, usual.weight);
    let Quota { runs, tasks, cpu_millis, memory_bytes } = spec.quota;
    let mut quota = Fields::default();
    for (field, count) in [("runs", runs), ("tasks", tasks)] {
        if let Some(count) = count {
            quota.put(field, json!(count));
        }
    }
    quota.put_some("cpu", cpu_millis.map(Cpu));
    quota.put_some("memory", memory_bytes.map(Memory));
    fields.put_filled("quota", quota.value());
    let groups = spec.groups.iter().map(|(name, it)| (name.to_string(), json!(it.limit)));
    fields.put_filled("concurrency", Value::Object(groups.collect()));
    fields.value()
}

fn param(spec: &ParamSpec) -> Value {
    let is_plain = ParamSpec { default: None, ..spec.clone() } == ParamSpec::default();
    match &spec.default {
        None if is_plain => return Value::Null,
        Some(default) if is_plain => return json!(&**default),
        None | Some(_) => {}
    }
    let mut fields = Fields::default();
    fields.put_unless(spec.kind == ParamType::String, "type", spec.kind.word());
    fields.put_some("default", spec.default.as_deref());
    fields.put_filled("enum", list(&spec.allowed));
    fields.put_some("minimum", spec.minimum.as_deref());
    fields.put_some("maximum", spec.maximum.as_deref());
    fields.put_some("description", spec.description.as_deref());
    fields.value()
}

fn schedule(at: usize, spec: &ScheduleSpec) -> Value {
    let usual = ScheduleSpec::new(spec.name.clone(), spec.timing.clone());
    let mut fields = Fields::default();
    let is_unnamed = spec.name.as_str() == format!("schedule-{}", at + 1);
    fields.put_unless(is_unnamed, "name", &spec.name);
    match &spec.timing {
        Timing::Cron { line, dialect } => {
            fields.put("cron", json!(&**line));
            fields.put_unless(*dialect == Dialect::Posix, "dialect", "quartz");
        }
        Timing::Every(span) => fields.put("every", json!(span.to_string())),
        Timing::At(time) => fields.put("at", json!(&**time)),
    }
    fields.put_unless(spec.time_zone == usual.time_zone, "timeZone", &spec.time_zone);
    let catch_up = match spec.catch_up {
        CatchUp::None => "none",
        CatchUp::Latest => "latest",
        CatchUp::All => "all",
    };
    fields.put_unless(spec.catch_up == CatchUp::None, "catchup", catch_up);
    fields.put_number("maxCatchup", spec.catch_up_max, usual.catch_up_max);
    fields.put_some("startingDeadline", spec.starting_deadline);
    fields.put_unless(spec.jitter == usual.jitter, "jitter", spec.jitter);
    fields.put_filled("exclude", list(&spec.exclude));
    fields.put_some("start", spec.start.as_deref());
    fields.put_some("end", spec.end.as_deref());
    if spec.is_suspended {
        fields.put("suspend", json!(true));
    }
    let params = spec.params.iter().map(|(name, value)| (name.to_string(), json!(&**value)));
    fields.put_filled("params", Value::Object(params.collect()));
    fields.value()
}

fn trigger(at: usize, spec: &TriggerSpec) -> Value {
    let mut fields = Fields::default();
    let is_unnamed = spec.name.as_str() == format!("trigger-{}", at + 1);
    fields.put_unless(is_unnamed, "name", &spec.name);
    fields.put("after", json!(spec.after.as_str()));
    fields.put_unless(spec.on == TriggerOn::Success, "on", spec.on.word());
    if spec.is_suspended {
        fields.put("suspend", json!(true));
    }
    let params = spec.params.iter().map(|(name, value)| (name.to_string(), json!(&**value)));
    fields.put_filled("params", Value::Object(params.collect()));
    fields.value()
}

fn task(spec: &TaskSpec) -> Value {
    let usual = TaskSpec::new(spec.id.clone(), ExecutorSpec::Noop);
    let mut fields = Fields::default();
    executor(&spec.executor, &mut fields);
    let needs: Vec<&str> = spec.needs.iter().map(Name::as_str).collect();
    fields.put_filled("needs", json!(needs));
    let rule = match spec.rule {
        DependencyRule::AllSucceeded => "all_succeeded",
        DependencyRule::AllDone => "all_done",
        DependencyRule::AnySucceeded => "any_succeeded",
    };
    fields.put_unless(spec.rule == usual.rule, "rule", rule);
    let condition = match &spec.condition {
        Condition::Success => "success()",
        Condition::Failure => "failure()",
        Condition::Always => "always()",
        Condition::Cancelled => "cancelled()",
        Condition::Expression(expression) => expression,
    };
    fields.put_unless(spec.condition == usual.condition, "if", condition);
    fields.put_filled("env", texts(&spec.env));
    fields.put_filled("outputs", list(&spec.outputs));
    fields.put_some("array", spec.array.map(|array| format!("{}-{}", array.first, array.last)));
    if let Some(fan_out) = &spec.fan_out {
        let (field, value) = self::fan_out(fan_out);
        fields.put(field, value);
    }
    if let Some(max) = spec.max_parallel {
        fields.put("maxParallel", json!(max));
    }
    fields.put_number("maxFailures", spec.max_failures, 0);
    if spec.fail_fast {
        fields.put("failFast", json!(true));
    }
    fields.put_filled("resources", resources(&spec.request.resources));
    fields.put_some("pool", spec.request.pool.as_deref());
    fields.put_filled("selector", texts(&spec.request.selector));
    let groups: Vec<Value> = spec.request.groups.iter().map(|it| json!(it.as_str())).collect();
    fields.put_filled("concurrency", Value::Array(groups));
    if spec.retry != usual.retry {
        fields.put("retry", retry(&spec.retry));
    }
    let on_lost = match spec.on_lost {
        OnLost::Rerun => "rerun",
        OnLost::Fail => "fail",
        OnLost::Hold => "hold",
    };
    fields.put_unless(spec.on_lost == usual.on_lost, "onLost", on_lost);
    fields.put_number("maxLost", spec.max_lost, usual.max_lost);
    fields.put_some("timeout", spec.timeout);
    fields.put_some("queueTimeout", spec.queue_timeout);
    fields.put_unless(spec.grace_period == usual.grace_period, "gracePeriod", spec.grace_period);
    if let Some(priority) = spec.priority {
        fields.put("priority", json!(priority));
    }
    fields.value()
}

/// The field that says what a task goes through, and its value.
fn fan_out(fan_out: &FanOut) -> (&'static str, Value) {
    match fan_out {
        FanOut::Matrix(axes) => {
            let axes = axes.iter().map(|axis| (axis.name.to_string(), list(&axis.values)));
            ("matrix", Value::Object(axes.collect()))
        }
        FanOut::Items(items) => {
            ("foreach", Value::Array(items.iter().map(|item| json!(item)).collect()))
        }
        FanOut::Reference(found) => ("foreach", json!(format!("${{{{ {found} }}}}"))),
    }
}

fn executor(spec: &ExecutorSpec, fields: &mut Fields) {
    let ProcessSpec { command, working_dir } = match spec {
        ExecutorSpec::Process(process) => process,
        ExecutorSpec::Noop => return fields.put("noop", json!({})),
        ExecutorSpec::Approval(spec) => return fields.put("approval", approval(spec)),
        ExecutorSpec::Workflow(spec) => return fields.put("workflow", sub_workflow(spec)),
    };
    match command {
        ProcessCommand::Argv(argv) => fields.put("command", list(argv)),
        ProcessCommand::Script { text, shell } => {
            fields.put("run", json!(&**text));
            if !shell.iter().map(|word| &**word).eq(SHELL_DEFAULT) {
                fields.put("shell", list(shell));
            }
        }
    }
    fields.put_some("workingDir", working_dir.as_deref());
}

fn approval(approval: &ApprovalSpec) -> Value {
    let mut fields = Fields::default();
    fields.put_some("message", approval.message.as_deref());
    match approval.on_timeout {
        OnTimeout::Fail => {}
        OnTimeout::Approve => fields.put("onTimeout", json!("approve")),
    }
    fields.value()
}

fn sub_workflow(spec: &SubWorkflowSpec) -> Value {
    let mut fields = Fields::default();
    fields.put("name", json!(spec.name.as_str()));
    let params = spec.params.iter().map(|(name, value)| (name.to_string(), json!(&**value)));
    fields.put_filled("params", Value::Object(params.collect()));
    fields.value()
}

fn resources(resources: &Resources) -> Value {
    let usual = Resources::default();
    let mut fields = Fields::default();
    fields.put_unless(resources.cpu_millis == usual.cpu_millis, "cpu", Cpu(resources.cpu_millis));
    let memory = Memory(resources.memory_bytes);
    fields.put_unless(resources.memory_bytes == usual.memory_bytes, "memory", memory);
    for (name, count) in &resources.custom {
        fields.put(name, json!(count));
    }
    fields.value()
}

fn retry(policy: &RetryPolicy) -> Value {
    let usual = RetryPolicy { limit: policy.limit, ..RetryPolicy::default() };
    if *policy == usual {
        return json!(policy.limit);
    }
    let mut fields = Fields::default();
    fields.put("limit", json!(policy.limit));
    if policy.backoff != usual.backoff {
        fields.put("backoff", backoff(&policy.backoff));
    }
    if !(policy.on_failure && policy.on_timeout) {
        let causes = [("Failure", policy.on_failure), ("Timeout", policy.on_timeout)];
        let causes = causes.into_iter().filter(|(_, is_on)| *is_on).map(|(word, _)| word);
        fields.put("on", json!(causes.collect::<Vec<_>>()));
    }
    fields.value()
}

/// All fields: a bound that is not written may follow the first wait.
fn backoff(backoff: &Backoff) -> Value {
    json!({
        "duration": backoff.initial.to_string(),
        "factor": decimal(backoff.factor_millis),
        "cap": backoff.cap.to_string(),
        "jitter": decimal(backoff.jitter_millis),
    })
}

/// Thousandths as a number without needless zeros: `2`, `1.5`.
fn decimal(thousandths: u32) -> String {
    let text = format!("{}.{:03}", thousandths / 1000, thousandths % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn texts(map: &BTreeMap<Text, Text>) -> Value {
    Value::Object(map.iter().map(|(key, value)| (key.to_string(), json!(&**value))).collect())
}

fn list(items: &[Text]) -> Value {
    Value::Array(items.iter().map(|item| json!(&**item)).collect())
}

#[cfg(test)]
mod tests {
    use muster_core::spec::parse;

    use super::*;
    use crate::output::yaml;

    fn again(spec: &WorkflowSpec) -> (String, WorkflowSpec) {
        let text = yaml::document(&workflow(spec));
        let mut read = parse(&text).unwrap_or_else(|errors| panic!("{errors}\n{text}"));
        (text, read.remove(0))
    }

    /// So that no difference between two workflows can be missing from what is written.
    #[test]
    fn what_is_written_is_read_as_the_same() {
        let good = include_str!("../../core/tests/spec/good.yaml");
        let examples = [
            good,
            include_str!("../../../examples/etl.yaml"),
            include_str!("../../../examples/hello.yaml"),
            include_str!("../../../examples/array.yaml"),
            include_str!("../../../examples/fan-out.yaml"),
            include_str!("../../../examples/foreach.yaml"),
            include_str!("../../../examples/hooks.yaml"),
            include_str!("../../../examples/triggers.yaml"),
            include_str!("../../../examples/sub-workflow.yaml"),
        ];
        for spec in examples.iter().flat_map(|text| parse(text).unwrap()) {
            let (text, read) = again(&spec);
            assert_eq!(read, spec, "{text}");
        }
    }

    #[test]
    fn defaults_are_not_written() {
        let text = "apiVersion: v1\nkind: Workflow\nname: etl\ntasks:\n  a: {run: ls}\n";
        let spec = parse(text).unwrap().remove(0);
        let written = "apiVersion: v1\nkind: Workflow\nname: etl\ntasks:\n  a:\n    run: ls\n";
        assert_eq!(again(&spec).0, written);
    }

    #[test]
    fn concurrency_groups_are_written_as_a_list() {
        let text = "apiVersion: v1\nkind: Workflow\nname: etl\ntasks:\n  a:\n    run: ls\n    \
                    concurrency: licence\n  b:\n    run: ls\n    concurrency: [licence, db]\n";
        let spec = parse(text).unwrap().remove(0);
        let (written, read) = again(&spec);
        assert_eq!(read, spec, "{written}");
        assert_eq!(task(&spec.tasks[1])["concurrency"], json!(["db", "licence"]));
    }

    #[test]
    fn a_namespace_is_read_as_it_is_written() {
        let head = "apiVersion: v1\nkind: Namespace\nname: team\n";
        let quotas = [
            "",
            "weight: 3\n",
            "quota:\n  runs: 0\n  tasks: 9\n  cpu: \"1500m\"\n  memory: \"3Gi\"\n",
            "weight: 2\nquota:\n  cpu: \"2\"\n",
            "concurrency:\n  brake: 0\n  db-prod: 3\n",
        ];
        for quota in quotas {
            let text = format!("{head}{quota}");
            let read = muster_core::spec::parse_manifest(&text, &|_| Ok(()), &|_| Vec::new());
            let read = read.unwrap_or_else(|errors| panic!("{errors}\n{text}"));
            assert_eq!(yaml::document(&namespace(&read.namespaces[0])), text);
        }
    }

    #[test]
    fn thousandths_are_decimals() {
        for (thousandths, text) in
            [(0, "0"), (2000, "2"), (1500, "1.5"), (250, "0.25"), (1, "0.001")]
        {
            assert_eq!(decimal(thousandths), text);
        }
    }
}
