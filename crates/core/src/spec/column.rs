//! From the index of an array task to the values that its variables hold, where an attempt begins.
//!
//! A leader resolves every reference but those that differ from index to index. For these it leaves a mark in the text,
//! and gives the worker a column: their values at the indices that the worker is to carry out, and no others.

use super::template::ARRAY_INDEX_MARK as MARK;
use crate::ids::Text;
use crate::state::cells::IndexRange;

/// The variable in which a task finds the item of its index.
pub const ITEM_VARIABLE: &str = "MUSTER_ITEM";
/// How the variables begin in which a task finds the values of axes.
pub const AXIS_PREFIX: &str = "MUSTER_MATRIX_";

/// What one reference stands for at some indices: each value over `stride` indices, then the next one, and after the
/// last one the first again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// How many indices in a row have one value; at least 1.
    pub stride: u32,
    /// How many strides lie before the one whose value is the first.
    pub base: u32,
    /// The values.
    pub values: Vec<Text>,
}

/// A mark in a text that does not belong there, or that stands for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what stands for a value of the index {index} has none")]
pub struct NoValue {
    index: u32,
}

impl Column {
    /// As much of a cycle of `values` as the indices of `range` see.
    pub fn window(values: &[Text], stride: u32, range: IndexRange) -> Column {
        let (base, last) = (range.first / stride, range.last / stride);
        let seen = ((last - base) as usize).saturating_add(1).min(values.len());
        let values = values.iter().cycle().skip(base as usize % values.len().max(1)).take(seen);
        Column { stride, base, values: values.cloned().collect() }
    }

    /// One value for each index of a range that begins at `first`.
    pub fn each(first: u32, values: Vec<Text>) -> Column {
        Column { stride: 1, base: first, values }
    }

    /// The value at `index`, one of those that the column was made for.
    pub fn at(&self, index: u32) -> Option<&Text> {
        let position = (index / self.stride.max(1)).checked_sub(self.base)?;
        self.values.get((position as usize).checked_rem(self.values.len())?)
    }
}

/// The variable in which a task finds the value of an axis.
pub fn axis_variable(axis: &str) -> String {
    format!("{AXIS_PREFIX}{}", axis.to_uppercase().replace('-', "_"))
}

/// What stands in a text for the value of the column at this position.
pub fn column_mark(position: usize) -> String {
    format!("{MARK}{position}{MARK}")
}

/// What stands in a text for the index, where there are columns.
pub fn index_mark() -> String {
    format!("{MARK}{MARK}")
}

/// `text` with the index and the values that belong to it in the place of their marks.
///
/// # Errors
/// If a mark is malformed, or names a column that has no value at this index.
pub fn fill_in(text: &str, index: u32, columns: &[Column]) -> Result<String, NoValue> {
    let mut filled = String::new();
    for (position, piece) in text.split(MARK).enumerate() {
        if position % 2 == 0 {
            filled.push_str(piece);
        } else if piece.is_empty() {
            filled.push_str(&index.to_string());
        } else {
            let column = piece.parse::<usize>().ok().and_then(|column| columns.get(column));
            let value = column.and_then(|column| column.at(index)).ok_or(NoValue { index })?;
            filled.push_str(value);
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Name;
    use crate::spec::fan_out::{Axis, FanOut};

    fn axis(name: &str, values: &[&str]) -> Axis {
        let values = values.iter().map(|value| Text::from(*value)).collect();
        Axis { name: Name::parse(name).unwrap(), values }
    }

    #[test]
    fn a_part_of_a_matrix_sees_what_the_whole_does() {
        let axes = [axis("a", &["0", "1", "2"]), axis("b", &["x", "y"]), axis("c", &["p", "q"])];
        let mut combinations = Vec::new();
        for a in &axes[0].values {
            for b in &axes[1].values {
                combinations.extend(axes[2].values.iter().map(|c| format!("{a}{b}{c}")));
            }
        }
        let matrix = FanOut::Matrix(axes.to_vec());
        assert_eq!(matrix.count(), Some(12));
        for first in 0..12 {
            for last in first..12 {
                let range = IndexRange { first, last };
                let columns: Vec<Column> =
                    (0..3).map(|axis| matrix.axis_column(axis, range).unwrap()).collect();
                for index in first..=last {
                    let values = columns.iter().map(|column| &**column.at(index).unwrap());
                    let combination = values.collect::<String>();
                    assert_eq!(combination, combinations[index as usize], "{index} of {range:?}");
                }
                assert!(columns[0].values.len() <= (last / 4 - first / 4) as usize + 1);
            }
        }
        assert_eq!(matrix.axis_column(3, IndexRange::single(0)), None);
    }

    #[test]
    fn marks_are_filled_in() {
        let columns = [
            Column { stride: 2, base: 0, values: vec!["a".into(), "b".into()] },
            Column::each(4, vec!["x".into(), "12\u{e9}".into()]),
        ];
        let text =
            format!("{}-{}{}!{}", column_mark(0), column_mark(1), index_mark(), column_mark(0));
        assert_eq!(fill_in(&text, 4, &columns).unwrap(), "a-x4!a");
        assert_eq!(fill_in(&text, 5, &columns).unwrap(), "a-12\u{e9}5!a");
        assert_eq!(fill_in("plain", 5, &columns).unwrap(), "plain");
        assert_eq!(fill_in(&text, 3, &columns), Err(NoValue { index: 3 }));
        for wrong in ["\x002\0", "\0x\0", "a\0x"] {
            assert!(fill_in(wrong, 4, &columns).is_err(), "{wrong:?}");
        }
    }
}
