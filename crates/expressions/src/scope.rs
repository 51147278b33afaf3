//! The names that an expression sees, looked up as they are asked for: a run may have ten thousand upstream tasks.

use std::sync::Arc;

use minijinja::value::{Object, Value};
use muster_core::ids::TaskIndex;
use muster_core::spec::TaskSpec;
use muster_core::spec::template::is_same_name;
use muster_core::state::run::Run;
use muster_core::state::task::{Task, TaskEnd};

/// When a run was meant to begin, as people say it: the caller has the calendar.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// In UTC.
    pub time: String,
    /// The day in the zone of the schedule.
    pub date: String,
}

/// The groups of names.
pub(crate) const GROUPS: [&str; 4] = ["params", "needs", "run", "task"];
/// What `run` has that is a text, and what is a number.
pub(crate) const RUN_TEXTS: [&str; 5] =
    ["workflow", "namespace", "schedule", "fireTime", "fireDate"];
pub(crate) const RUN_NUMBERS: [&str; 2] = ["id", "number"];
/// The functions, all about how upstream tasks ended.
pub(crate) const FUNCTIONS: [&str; 4] = ["success", "failure", "always", "cancelled"];

/// Everything that the expressions of one task see.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    pub(crate) run: Arc<Run>,
    pub(crate) task: TaskIndex,
    pub(crate) moment: Arc<Moment>,
}

impl Scope {
    fn spec(&self) -> Option<&TaskSpec> {
        self.run.spec(self.task)
    }

    /// The upstream task of this name.
    pub(crate) fn upstream(&self, name: &str) -> Option<TaskIndex> {
        let mut upstream = self.run.version.graph.upstream(self.task).iter().copied();
        upstream
            .find(|it| self.run.spec(*it).is_some_and(|spec| is_same_name(name, spec.id.as_str())))
    }

    fn ends(&self) -> Vec<Option<TaskEnd>> {
        let upstream = self.run.version.graph.upstream(self.task).iter();
        upstream.map(|it| self.run.task(*it).and_then(Task::end)).collect()
    }

    /// What a function says.
    fn says(&self, function: &str) -> Option<bool> {
        let ends = self.ends();
        let any = |wanted: fn(&TaskEnd) -> bool| ends.iter().flatten().any(wanted);
        match function {
            "success" => Some(ends.iter().all(|end| *end == Some(TaskEnd::Succeeded))),
            "failure" => Some(any(|end| {
                matches!(end, TaskEnd::Failed | TaskEnd::Skipped { by_failure: true })
            })),
            "always" => Some(true),
            "cancelled" => Some(any(|end| *end == TaskEnd::Cancelled)),
            _ => None,
        }
    }

    fn param(&self, name: &str) -> Option<Value> {
        let mut params = self.run.params.iter();
        let (_, value) = params.find(|(it, _)| is_same_name(name, it.as_str()))?;
        Some(Value::from(value.clone()))
    }

    fn of_run(&self, name: &str) -> Option<Value> {
        let version = &self.run.version;
        let schedule = self.run.schedule().map(muster_core::ids::Name::text);
        Some(match name {
            "id" => Value::from(self.run.id.0),
            "number" => Value::from(self.run.number),
            "workflow" => Value::from(version.workflow.text()),
            "namespace" => Value::from(version.namespace.text()),
            "schedule" => Value::from(schedule.unwrap_or_default()),
            "fireTime" => Value::from(self.moment.time.clone()),
            "fireDate" => Value::from(self.moment.date.clone()),
            _ => return None,
        })
    }
}

/// How a task ended, in the word that people see.
pub(crate) fn end_word(end: TaskEnd) -> &'static str {
    match end {
        TaskEnd::Succeeded => "succeeded",
        TaskEnd::Failed => "failed",
        TaskEnd::Skipped { .. } => "skipped",
        TaskEnd::Cancelled => "cancelled",
    }
}

/// A group of names, or part of one.
#[derive(Clone, Debug)]
enum Part {
    Root,
    Params,
    Needs,
    Run,
    Task,
    Upstream(TaskIndex),
    Outputs(TaskIndex),
}

#[derive(Clone, Debug)]
struct Names {
    scope: Scope,
    part: Part,
}

/// The names as the library wants them.
pub(crate) fn root(scope: Scope) -> Value {
    Value::from_object(Names { scope, part: Part::Root })
}

impl Names {
    fn part(&self, part: Part) -> Value {
        Value::from_object(Names { scope: self.scope.clone(), part })
    }

    fn named(&self, name: &str) -> Option<Value> {
        match &self.part {
            Part::Root => Some(match name {
                "params" => self.part(Part::Params),
                "needs" => self.part(Part::Needs),
                "run" => self.part(Part::Run),
                "task" => self.part(Part::Task),
                function => {
                    let says = self.scope.says(function)?;
                    Value::from_function(move || says)
                }
            }),
            Part::Params => self.scope.param(name),
            Part::Needs => self.scope.upstream(name).map(|it| self.part(Part::Upstream(it))),
            Part::Run => self.scope.of_run(name),
            Part::Task if name == "id" => self.scope.spec().map(|spec| Value::from(spec.id.text())),
            Part::Task => None,
            Part::Upstream(task) => match name {
                "result" => {
                    let end = self.scope.run.task(*task).and_then(Task::end)?;
                    Some(Value::from(end_word(end)))
                }
                "outputs" => Some(self.part(Part::Outputs(*task))),
                _ => None,
            },
            Part::Outputs(task) => {
                let outputs = self.scope.run.task(*task)?.outputs.as_ref()?;
                let (_, value) = outputs.iter().find(|(key, _)| is_same_name(name, key))?;
                Some(Value::from(value.clone()))
            }
        }
    }
}

impl Object for Names {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.named(key.as_str()?)
    }
}
