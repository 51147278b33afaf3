//! Pictures of a workflow's tasks and what they wait for.
//!
//! ```text
//!  WorkflowSpec ──► Drawing ──┬──► text      one line a task, for terminals
//!                             ├──► layout ──► svg
//!                             ├──► dot       for Graphviz
//!                             └──► mermaid   for Markdown
//! ```

mod layout;
mod svg;
mod text;

use std::fmt::Write as _;

use muster_core::graph::{Graph, GraphError};
use muster_core::ids::TaskIndex;
use muster_core::spec::{Condition, DependencyRule, FanOut, Hook, TaskSpec, WorkflowSpec};

pub(crate) use self::svg::svg;
pub(crate) use self::text::{Characters, text};

/// What is drawn.
pub(crate) struct Drawing<'a> {
    pub(crate) workflow: &'a WorkflowSpec,
    pub(crate) graph: Graph,
}

impl<'a> Drawing<'a> {
    pub(crate) fn of(workflow: &'a WorkflowSpec) -> Result<Self, GraphError> {
        Ok(Self { workflow, graph: Graph::build(&workflow.tasks)? })
    }

    /// The edges, from what must come first to what waits for it.
    fn edges(&self) -> impl Iterator<Item = (usize, usize)> {
        let tasks = 0..self.workflow.tasks.len();
        tasks.flat_map(|to| self.upstream(to).map(move |from| (from, to)))
    }

    fn upstream(&self, task: usize) -> impl Iterator<Item = usize> {
        self.graph.upstream(TaskIndex(task as u32)).iter().map(|it| it.0 as usize)
    }

    fn downstream(&self, task: usize) -> impl Iterator<Item = usize> {
        self.graph.downstream(TaskIndex(task as u32)).iter().map(|it| it.0 as usize)
    }
}

/// What is special about a task, in a few words; empty if nothing is.
fn remarks(task: &TaskSpec) -> String {
    let count = match (task.array_indices(), &task.fan_out) {
        (Some(array), _) => Some(format!("×{}", array.count())),
        (None, Some(FanOut::Reference(found))) => Some(format!("× items of {found}")),
        (None, _) => None,
    };
    let at_once = task.max_parallel.map(|max| format!("{max} at once"));
    let may_fail = (task.max_failures > 0).then(|| format!("{} may fail", task.max_failures));
    let rule = match task.rule {
        DependencyRule::AllSucceeded => None,
        DependencyRule::AllDone => Some("when all are done"),
        DependencyRule::AnySucceeded => Some("when any succeeded"),
    };
    let condition = match &task.condition {
        Condition::Success => None,
        Condition::Failure => Some("if a task before it failed"),
        Condition::Always => Some("always"),
        Condition::Cancelled => Some("if a task before it was cancelled"),
        Condition::Expression(_) => Some("if its condition holds"),
    };
    let hook = task.hook.map(|hook| match hook {
        Hook::OnSuccess => "hook: once all succeeded",
        Hook::OnFailure => "hook: once all ended, if one failed",
        Hook::OnExit => "hook: once all ended",
    });
    let person = task.is_approval().then_some("a person approves");
    let runs = task.executor.sub_workflow().map(|it| format!("runs {}", it.name));
    let words = [hook, person, rule, condition].into_iter().flatten().map(str::to_owned);
    let words = runs.into_iter().chain(words);
    count.into_iter().chain(at_once).chain(may_fail).chain(words).collect::<Vec<_>>().join(", ")
}

/// Graphviz's language.
pub(crate) fn dot(drawing: &Drawing<'_>) -> String {
    let mut out = String::new();
    let name = &drawing.workflow.name;
    let _infallible = writeln!(out, "digraph \"{name}\" {{\n  rankdir=LR;");
    for task in &drawing.workflow.tasks {
        let remarks = remarks(task);
        let label = match remarks.is_empty() {
            true => String::new(),
            false => format!(", label=\"{}\\n{remarks}\"", task.id),
        };
        let _infallible = writeln!(out, "  \"{}\" [shape=box{label}];", task.id);
    }
    for (from, to) in drawing.edges() {
        let (from, to) = (&drawing.workflow.tasks[from].id, &drawing.workflow.tasks[to].id);
        let _infallible = writeln!(out, "  \"{from}\" -> \"{to}\";");
    }
    out.push_str("}\n");
    out
}

/// Mermaid's language. Tasks have numbers there: some names, such as `end`, mean something in it.
pub(crate) fn mermaid(drawing: &Drawing<'_>) -> String {
    let mut out = String::from("flowchart LR\n");
    for (number, task) in drawing.workflow.tasks.iter().enumerate() {
        let remarks = remarks(task);
        let rest = if remarks.is_empty() { String::new() } else { format!("<br>{remarks}") };
        let _infallible = writeln!(out, "  t{number}[\"{}{rest}\"]", task.id);
    }
    for (from, to) in drawing.edges() {
        let _infallible = writeln!(out, "  t{from} --> t{to}");
    }
    out
}

#[cfg(test)]
mod tests;
