//! What is said of hooks: at most one for each end of a run, behind all other tasks, and tasks of the plainest kind.

use super::super::path::Path;
use super::super::report::Report;
use super::super::{Condition, DependencyRule, FanOut, Hook, TaskSpec, WorkflowSpec};

/// What hooks are to each other and to the other tasks.
pub(super) fn hooks(spec: &WorkflowSpec, report: &mut Report<'_>) {
    let hooks = || spec.tasks.iter().enumerate().filter_map(|(at, it)| Some((at, it, it.hook?)));
    let top = Path::Root;
    let field = top.key("hooks");
    let ordinary = spec.tasks.iter().filter(|task| task.hook.is_none()).count();
    let mut seen: Vec<Hook> = Vec::new();
    for (at, task, hook) in hooks() {
        let path = field.key(hook.field());
        if at < ordinary {
            report.error(path, "hooks stand behind all other tasks");
        }
        if seen.contains(&hook) {
            report.error(path, format!("there are two hooks `{}`", hook.field()));
        }
        if task.id != hook.id() {
            report.error(path, format!("the task of this hook is called `{}`", hook.id()));
        }
        seen.push(hook);
    }
    let tasks = top.key("tasks");
    for task in spec.tasks.iter().filter(|task| task.hook.is_none()) {
        for (at, need) in task.needs.iter().enumerate() {
            if let Some((_, _, hook)) = hooks().find(|(_, it, _)| it.id == *need) {
                let path = tasks.key(task.id.as_str());
                let path = path.key("needs");
                let message =
                    format!("`{need}` is the hook `{}`, which no task can need", hook.field());
                let help = "hooks begin once all tasks have ended";
                report.error_with_help(path.index(at), message, help);
            }
        }
    }
}

/// Fields that a hook cannot have: it waits for the whole run, and is a single task that a worker carries out.
pub(super) fn fields(task: &TaskSpec, path: Path<'_>, report: &mut Report<'_>) {
    let when = "when it begins is said by its name";
    let single = "a hook is a single task";
    let fields = [
        ("needs", !task.needs.is_empty(), when),
        ("rule", task.rule != DependencyRule::default(), when),
        ("if", task.condition != Condition::default(), when),
        ("approval", task.is_approval(), "nothing waits for what a hook comes to"),
        ("workflow", task.is_sub_workflow(), "let a task run the other workflow"),
        ("array", task.array.is_some(), single),
        ("matrix", matches!(task.fan_out, Some(FanOut::Matrix(_))), single),
        ("foreach", matches!(task.fan_out, Some(FanOut::Items(_) | FanOut::Reference(_))), single),
    ];
    for (field, _, help) in fields.into_iter().filter(|(_, is_given, _)| *is_given) {
        report.error_with_help(path.key(field), format!("a hook has no `{field}`"), help);
    }
}
