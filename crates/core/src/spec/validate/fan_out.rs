//! Whether what an array task goes through makes sense.

use super::super::path::Path;
use super::super::report::Report;
use super::super::template::{self, Reference};
use super::super::{Axis, DependencyRule, FanOut, Items, ItemsError, TaskSpec};
use super::names::{self, Words};
use crate::limits;

const SHORTER: &str =
    "let a task read the list from a file by `$MUSTER_ARRAY_INDEX`, with `array: 0-N`";

/// Everything about it that can be said without the other tasks.
pub(super) fn fan_out(task: &TaskSpec, path: Path<'_>, report: &mut Report<'_>) {
    let Some(fan_out) = &task.fan_out else { return };
    let field = match fan_out {
        FanOut::Matrix(_) => "matrix",
        FanOut::Items(_) | FanOut::Reference(_) => "foreach",
    };
    let at = path.key(field);
    if task.array.is_some() {
        let message = format!("a task has either `array` or `{field}`, not both");
        report.error_with_help(at, message, "remove one; each value has an index anyway");
    }
    match fan_out {
        FanOut::Matrix(axes) => matrix(axes, at, report),
        FanOut::Items(items) => self::items(items, at, report),
        FanOut::Reference(Reference::Output { .. }) => {
            if task.rule == DependencyRule::AnySucceeded {
                let message = "the list is read once the task that writes it has ended, and `any_succeeded` does not \
                               wait for that";
                report.error_with_help(path.key("rule"), message, "write `rule: all_done`");
            }
        }
        FanOut::Reference(Reference::Param(_)) => {}
        FanOut::Reference(other) => {
            let message = format!("`{other}` is no list to go through");
            let help = "write \"${{ needs.TASK.outputs.KEY }}\" or \"${{ params.NAME }}\"";
            report.error_with_help(at, message, help);
        }
    }
}

fn matrix(axes: &[Axis], path: Path<'_>, report: &mut Report<'_>) {
    if axes.is_empty() {
        report.error_with_help(path, "the matrix has no axis", "write `matrix: {shard: [0, 1]}`");
    }
    let values: usize = axes.iter().map(|axis| axis.values.len()).sum();
    let bytes: usize = axes.iter().flat_map(|axis| axis.values.iter().map(|it| it.len())).sum();
    let bounds = [
        (axes.len(), limits::MATRIX_AXES_MAX, "axes"),
        (values, limits::MATRIX_VALUES_MAX, "values of all axes"),
        (bytes, limits::ITEMS_BYTES_MAX, "bytes in all values"),
    ];
    for (count, most, what) in bounds {
        if count > most {
            let message = format!("{count} {what} are too many; at most {most} are possible");
            return report.error_with_help(path, message, SHORTER);
        }
    }
    let count = FanOut::Matrix(axes.to_vec()).count().unwrap_or_default();
    if count > u64::from(limits::ARRAY_INDICES_MAX) {
        let message = format!(
            "a matrix of {count} combinations is too large; at most {} are possible",
            limits::ARRAY_INDICES_MAX
        );
        report.error_with_help(path, message, "let each index do several pieces of the work");
    }
    for (position, axis) in axes.iter().enumerate() {
        let at = path.key(axis.name.as_str());
        if axes[..position].iter().any(|before| before.name == axis.name) {
            report.error(at, format!("the axis `{}` is given twice", axis.name));
        }
        if axis.values.is_empty() {
            report.error_with_help(at, "the axis has no value", "add one, or remove the axis");
        }
        for (position, value) in axis.values.iter().enumerate() {
            let at = at.index(position);
            if value.len() > limits::ITEM_BYTES_MAX {
                let message = format!(
                    "this value has {} bytes; at most {} are possible",
                    value.len(),
                    limits::ITEM_BYTES_MAX
                );
                report.error(at, message);
            }
            names::argument(value, at, report);
        }
    }
    names::collisions(axes.iter().map(|axis| axis.name.as_str()), path, Words::AXES, report);
}

fn items(items: &Items, path: Path<'_>, report: &mut Report<'_>) {
    if items.is_empty() {
        report.error_with_help(path, "there is no item to go through", "add one");
    }
    match items.check() {
        Ok(()) => {}
        Err(error @ (ItemsError::TooMany { .. } | ItemsError::TooLarge { .. })) => {
            return report.error_with_help(path, error.to_string(), SHORTER);
        }
        Err(
            error @ (ItemsError::ItemTooLarge { position, .. } | ItemsError::ZeroByte { position }),
        ) => report.error(path.index(position), error.to_string()),
    }
    for (position, item) in items.iter().enumerate() {
        if template::has_reference(item) {
            let message = "`${{ }}` is not filled in within an item";
            let help = "to go through a list that a task or a parameter gives write it alone: \
                        `foreach: \"${{ params.NAME }}\"`";
            report.error_with_help(path.index(position), message, help);
        }
    }
}
