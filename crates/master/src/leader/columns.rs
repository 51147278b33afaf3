//! What differs from index to index of an array task: a column of values for each reference, at the indices of one
//! assignment and no others.

use muster_core::ids::Text;
use muster_core::spec::column::{self, Column};
use muster_core::spec::template::{Reference, is_same_name};
use muster_core::spec::{ExecutorSpec, FanOut, Items, TaskSpec};
use muster_core::state::cells::IndexRange;
use muster_core::state::task::Task;

/// The columns of an assignment, and which of them a reference stands for.
pub(super) struct Columns<'s> {
    spec: &'s TaskSpec,
    /// Of a matrix its axes; of a list the items, and then what they have under these keys.
    keys: Vec<Text>,
    columns: Vec<Column>,
}

impl<'s> Columns<'s> {
    /// No column at all.
    pub(super) fn none(spec: &'s TaskSpec) -> Self {
        Columns { spec, keys: Vec::new(), columns: Vec::new() }
    }

    /// The columns for the indices of `range`. None for a task that starts nothing, or does not go through values.
    ///
    /// # Errors
    /// If an item lacks a key that a variable reads; for people.
    pub(super) fn of(spec: &'s TaskSpec, task: &Task, range: IndexRange) -> Result<Self, String> {
        let mut found = Columns::none(spec);
        if spec.executor == ExecutorSpec::Noop {
            return Ok(found);
        }
        match &spec.fan_out {
            Some(matrix @ FanOut::Matrix(axes)) => {
                let columns = (0..axes.len()).filter_map(|axis| matrix.axis_column(axis, range));
                found.columns = columns.collect();
            }
            Some(FanOut::Items(_) | FanOut::Reference(_)) => {
                let Some(items) = task.items(spec) else { return Ok(found) };
                found.add_items(items, range)?;
            }
            None => {}
        }
        Ok(found)
    }

    fn add_items(&mut self, items: &Items, range: IndexRange) -> Result<(), String> {
        let positions = || range.first as usize..=range.last as usize;
        let values = positions().filter_map(|position| items.get(position)).map(Text::from);
        self.columns.push(Column::each(range.first, values.collect()));
        self.keys = self.spec.item_keys().into_iter().collect();
        for key in &self.keys {
            let values = positions().filter_map(|position| {
                let value = muster_expressions::field(items.get(position)?, key);
                Some(value.map(Text::from).map_err(|why| format!("item {position} {why}")))
            });
            self.columns.push(Column::each(range.first, values.collect::<Result<_, _>>()?));
        }
        Ok(())
    }

    /// What stands in a text for a value that differs from index to index; `None` if the reference is not about such a
    /// value.
    pub(super) fn mark(&self, reference: &Reference) -> Option<Text> {
        let position = match reference {
            Reference::ArrayIndex if !self.columns.is_empty() => {
                return Some(column::index_mark().into());
            }
            Reference::Axis(name) => match &self.spec.fan_out {
                Some(FanOut::Matrix(axes)) => {
                    axes.iter().position(|axis| is_same_name(name, axis.name.as_str()))?
                }
                Some(FanOut::Items(_) | FanOut::Reference(_)) | None => return None,
            },
            Reference::Item => 0,
            Reference::ItemField(key) => self.keys.iter().position(|it| it == key)? + 1,
            _ => return None,
        };
        (position < self.columns.len()).then(|| column::column_mark(position).into())
    }

    /// The variables that are set without being asked for, with what stands for their values.
    pub(super) fn variables(&self) -> Vec<(String, String)> {
        match &self.spec.fan_out {
            Some(FanOut::Matrix(axes)) => {
                let axes = axes.iter().enumerate().take(self.columns.len());
                let variable = |name: &str| column::axis_variable(name);
                axes.map(|(at, axis)| (variable(axis.name.as_str()), column::column_mark(at)))
                    .collect()
            }
            Some(FanOut::Items(_) | FanOut::Reference(_)) if !self.columns.is_empty() => {
                vec![(column::ITEM_VARIABLE.to_owned(), column::column_mark(0))]
            }
            Some(FanOut::Items(_) | FanOut::Reference(_)) | None => Vec::new(),
        }
    }

    /// The columns as they go over the wire.
    pub(super) fn into_columns(self) -> Vec<Column> {
        self.columns
    }
}
