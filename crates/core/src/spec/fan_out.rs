//! Values that an array task goes through: the product of axes (`matrix`), or a list of items (`foreach`) that is
//! written in the file or known only at run time.
//!
//! ```text
//!  matrix: {shard: [0, 1, 2], region: [eu, us]}     index  0  1  2  3  4  5
//!                                                   shard  0  0  1  1  2  2
//!                                                   region eu us eu us eu us     the last axis turns fastest
//! ```
//!
//! An index is all that a state keeps of one of them. The values are here, once, and are looked up by index where an
//! attempt begins (see [`Column`]).

use std::collections::BTreeSet;
use std::sync::Arc;

use super::TaskSpec;
use super::column::Column;
use super::template::{Part, Reference, has_reference, parse};
use crate::ids::{Name, Text};
use crate::limits;
use crate::state::cells::IndexRange;

/// What an array task goes through. Its indices count from 0.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum FanOut {
    /// `matrix`: every combination of the values of its axes.
    Matrix(Vec<Axis>),
    /// `foreach` over a list that the file has.
    Items(Items),
    /// `foreach` over a parameter or an output of an upstream task. A leader reads the items once the task may start,
    /// and [`crate::command::DecideTasks`] brings them.
    Reference(Reference),
}

/// One axis of a matrix.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Axis {
    /// Its name.
    pub name: Name,
    /// Its values, at least one.
    pub values: Vec<Text>,
}

/// A list of texts that costs its bytes and four more for each of them. Cloning costs one reference count.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Items(Arc<Packed>);

/// All items in one text, and where each of them ends.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Packed {
    text: Box<str>,
    ends: Box<[u32]>,
}

/// Why texts cannot be the items of a task.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ItemsError {
    /// There are too many.
    #[error("{count} items are too many; at most {} are possible", limits::ITEMS_MAX)]
    TooMany {
        /// How many there are.
        count: usize,
    },
    /// They are too large together.
    #[error(
        "the items have {bytes} bytes together; at most {} are possible",
        limits::ITEMS_BYTES_MAX
    )]
    TooLarge {
        /// How large they are.
        bytes: usize,
    },
    /// One of them is too large.
    #[error("item {position} has {bytes} bytes; at most {} are possible", limits::ITEM_BYTES_MAX)]
    ItemTooLarge {
        /// Which one, from 0.
        position: usize,
        /// How large it is.
        bytes: usize,
    },
    /// One of them cannot stand in a variable.
    #[error("item {position} has a zero byte, which no program can be given")]
    ZeroByte {
        /// Which one, from 0.
        position: usize,
    },
}

impl Items {
    /// No items.
    pub fn none() -> Items {
        Items::from_iter([""; 0])
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.ends.is_empty()
    }

    /// How many bytes they have together.
    pub fn bytes(&self) -> usize {
        self.0.text.len()
    }

    /// The item at `position`, from 0.
    pub fn get(&self, position: usize) -> Option<&str> {
        let end = *self.0.ends.get(position)? as usize;
        let start = position.checked_sub(1).map_or(0, |before| self.0.ends[before] as usize);
        self.0.text.get(start..end)
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        (0..self.len()).map(|position| self.get(position).unwrap_or_default())
    }

    /// The indices of a task that goes through them; `None` if there is none.
    pub fn indices(&self) -> Option<IndexRange> {
        let last = u32::try_from(self.len()).unwrap_or(u32::MAX).checked_sub(1)?;
        Some(IndexRange { first: 0, last })
    }

    /// Whether a task may go through them.
    ///
    /// # Errors
    /// If they are too many or too large, or no variable could hold one of them.
    pub fn check(&self) -> Result<(), ItemsError> {
        if self.len() > limits::ITEMS_MAX {
            return Err(ItemsError::TooMany { count: self.len() });
        }
        if self.bytes() > limits::ITEMS_BYTES_MAX {
            return Err(ItemsError::TooLarge { bytes: self.bytes() });
        }
        for (position, item) in self.iter().enumerate() {
            if item.len() > limits::ITEM_BYTES_MAX {
                return Err(ItemsError::ItemTooLarge { position, bytes: item.len() });
            }
            if item.contains('\0') {
                return Err(ItemsError::ZeroByte { position });
            }
        }
        Ok(())
    }
}

/// Texts of more than 4 GiB together are cut there; [`Items::check`] refuses them long before.
impl<T: AsRef<str>> FromIterator<T> for Items {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let (mut text, mut ends) = (String::new(), Vec::new());
        for item in items {
            let item = item.as_ref();
            let Ok(end) = u32::try_from(text.len() + item.len()) else { break };
            text.push_str(item);
            ends.push(end);
        }
        Items(Arc::new(Packed { text: text.into(), ends: ends.into() }))
    }
}

impl FanOut {
    /// How many indices there are; `None` if that is known only at run time.
    pub fn count(&self) -> Option<u64> {
        match self {
            FanOut::Matrix(axes) => {
                let counts = axes.iter().map(|axis| axis.values.len() as u64);
                Some(counts.fold(1, u64::saturating_mul))
            }
            FanOut::Items(items) => Some(items.len() as u64),
            FanOut::Reference(_) => None,
        }
    }

    /// What `foreach: "${{ … }}"` refers to, if that is a reference and nothing else.
    pub fn reference(text: &str) -> Option<FanOut> {
        match &parse(text.trim()).ok()?[..] {
            [Part::Reference(found)] => Some(FanOut::Reference(found.clone())),
            _ => None,
        }
    }

    /// What `${{ matrix.… }}` stands for at the indices of `range`, by the position of the axis.
    pub fn axis_column(&self, axis: usize, range: IndexRange) -> Option<Column> {
        let FanOut::Matrix(axes) = self else { return None };
        let behind = axes.get(axis + 1..)?.iter().map(|axis| axis.values.len() as u64);
        let stride = u32::try_from(behind.fold(1, u64::saturating_mul)).ok()?.max(1);
        Some(Column::window(&axes[axis].values, stride, range))
    }
}

impl TaskSpec {
    /// The keys that its variables read from each item.
    pub fn item_keys(&self) -> BTreeSet<Text> {
        let values = self.env.values().filter(|value| has_reference(value));
        let parts = values.flat_map(|value| parse(value).unwrap_or_default());
        let key = |part| match part {
            Part::Reference(Reference::ItemField(key)) => Some(key),
            Part::Reference(_) | Part::Literal(_) => None,
        };
        parts.filter_map(key).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_what_they_were_made_of() {
        let texts = ["a", "", "Grüße", "{\"k\":1}"];
        let items = Items::from_iter(texts);
        assert_eq!(items.iter().collect::<Vec<_>>(), texts);
        assert_eq!((items.len(), items.bytes()), (4, 15));
        assert_eq!((items.get(1), items.get(4)), (Some(""), None));
        assert_eq!(items.indices(), Some(IndexRange { first: 0, last: 3 }));
        assert_eq!((Items::none().indices(), Items::none().is_empty()), (None, true));
        // Where one ends and the next begins counts.
        assert_ne!(Items::from_iter(["ab", "c"]), Items::from_iter(["a", "bc"]));
    }

    #[test]
    fn items_have_bounds() {
        let many = |count| Items::from_iter(std::iter::repeat_n("", count));
        assert_eq!(many(limits::ITEMS_MAX).check(), Ok(()));
        let count = limits::ITEMS_MAX + 1;
        assert_eq!(many(count).check(), Err(ItemsError::TooMany { count }));
        let large = "x".repeat(limits::ITEM_BYTES_MAX);
        let full = std::iter::repeat_n(&large, limits::ITEMS_BYTES_MAX / large.len());
        assert_eq!(Items::from_iter(full.clone()).check(), Ok(()));
        let bytes = limits::ITEMS_BYTES_MAX + large.len();
        let beyond = Items::from_iter(full.chain([&large]));
        assert_eq!(beyond.check(), Err(ItemsError::TooLarge { bytes }));
        let larger = large + "x";
        let bytes = larger.len();
        let found = Items::from_iter(["", &larger]).check();
        assert_eq!(found, Err(ItemsError::ItemTooLarge { position: 1, bytes }));
        assert_eq!(Items::from_iter(["\0"]).check(), Err(ItemsError::ZeroByte { position: 0 }));
    }

    #[test]
    fn only_a_reference_alone_is_one() {
        let list = FanOut::reference(" ${{ needs.list.outputs.files }} ");
        let output = Reference::Output { task: "list".into(), key: "files".into() };
        assert_eq!(list, Some(FanOut::Reference(output)));
        for text in ["a", "", "x${{ params.a }}", "${{ params.a }}${{ params.b }}", "${{ params."] {
            assert_eq!(FanOut::reference(text), None, "{text}");
        }
    }
}
