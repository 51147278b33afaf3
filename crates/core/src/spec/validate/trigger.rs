//! Triggers, as far as one workflow shows them.

use std::collections::BTreeSet;

use super::super::WorkflowSpec;
use super::super::path::Path;
use super::super::report::Report;
use super::super::trigger::TriggerSpec;
use super::schedule::{params, values};
use crate::ids::Name;
use crate::limits;

/// Values for the parameters in `unsound` cannot be judged.
pub(super) fn triggers(spec: &WorkflowSpec, unsound: &BTreeSet<&Name>, report: &mut Report<'_>) {
    let path = Path::Root.key("triggers");
    if spec.triggers.len() > limits::TRIGGERS_MAX {
        let (count, max) = (spec.triggers.len(), limits::TRIGGERS_MAX);
        report.error(path, format!("{count} triggers are too many; at most {max} are possible"));
        return;
    }
    for (at, trigger) in spec.triggers.iter().enumerate() {
        let path = path.index(at);
        named(spec, at, path, report);
        if trigger.after == spec.name {
            let message = format!("a run of `{}` would follow each of its runs", spec.name);
            let help = "a workflow cannot follow itself; name another one";
            report.error_with_help(path.key("after"), message, help);
        }
        if let Some(other) = spec.triggers[..at].iter().find(|other| double(other, trigger)) {
            let message = format!(
                "`{}` and `{}` would both follow one end of a run of `{}`",
                other.name, trigger.name, trigger.after
            );
            let help =
                "each end makes one run: let `on` of one be `success`, of the other `failure`";
            report.error_with_help(path, message, help);
        }
        params(spec, "trigger", &trigger.params, path, report);
        values(spec, &trigger.params, unsound, path, report);
    }
}

/// Its name is taken neither by another trigger nor by a schedule: both are switched off by name.
fn named(spec: &WorkflowSpec, at: usize, path: Path<'_>, report: &mut Report<'_>) {
    let name = &spec.triggers[at].name;
    let is_trigger = spec.triggers[..at].iter().any(|other| other.name == *name);
    let is_schedule = spec.schedules.iter().any(|schedule| schedule.name == *name);
    if is_trigger || is_schedule {
        let message = match is_trigger {
            true => format!("two triggers are called `{name}`"),
            false => format!("a schedule and a trigger are called `{name}`"),
        };
        report.error_with_help(path.key("name"), message, "give one of them another `name`");
    }
}

/// Whether one end would make two runs.
fn double(one: &TriggerSpec, other: &TriggerSpec) -> bool {
    one.after == other.after && one.on.overlaps(other.on)
}
