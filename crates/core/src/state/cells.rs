//! The progress of one task over its indices: a single state, or ranges of equal states.
//!
//! An array task of a million indices is one object. Its cost is per range touched, never per index held.

use std::collections::BTreeMap;

use super::task::{TaskState, TaskStatus};
use crate::spec::ArraySpec;

/// Indices `first..=last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IndexRange {
    /// First index.
    pub first: u32,
    /// Last index, not below `first`.
    pub last: u32,
}

impl IndexRange {
    /// The range of one index.
    pub fn single(index: u32) -> Self {
        IndexRange { first: index, last: index }
    }

    /// How many indices there are.
    pub fn count(self) -> u32 {
        self.last - self.first + 1
    }

    /// The part of `self` inside `other`.
    pub fn intersect(self, other: IndexRange) -> Option<IndexRange> {
        let part =
            IndexRange { first: self.first.max(other.first), last: self.last.min(other.last) };
        (part.first <= part.last).then_some(part)
    }
}

impl From<ArraySpec> for IndexRange {
    fn from(array: ArraySpec) -> Self {
        IndexRange { first: array.first, last: array.last }
    }
}

/// How many indices are in each status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tally([u32; TaskStatus::COUNT]);

impl Tally {
    /// The indices in `status`.
    pub fn of(&self, status: TaskStatus) -> u32 {
        self.0[status as usize]
    }

    /// The indices that have not ended.
    pub fn open(&self) -> u32 {
        TaskStatus::ALL
            .iter()
            .filter(|status| !status.is_terminal())
            .map(|status| self.of(*status))
            .sum()
    }

    fn add(&mut self, status: TaskStatus, count: u32) {
        self.0[status as usize] += count;
    }

    fn sub(&mut self, status: TaskStatus, count: u32) {
        self.0[status as usize] -= count;
    }
}

/// States by range. Ranges cover all indices, do not overlap, and neighbours differ.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ranges {
    /// By first index: last index and state.
    by_first: BTreeMap<u32, (u32, TaskState)>,
    tally: Tally,
}

/// The progress of one task.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Cells {
    /// A task with the single index 0.
    One(TaskState),
    /// An array task.
    Many(Box<Ranges>),
}

impl Cells {
    /// All indices in one state.
    pub fn new(array: Option<ArraySpec>, state: TaskState) -> Self {
        let Some(array) = array else { return Cells::One(state) };
        let mut tally = Tally::default();
        tally.add(state.status(), array.count());
        Cells::Many(Box::new(Ranges {
            by_first: BTreeMap::from([(array.first, (array.last, state))]),
            tally,
        }))
    }

    /// Rebuilds an array's ranges from a snapshot; `None` if they are empty, overlap or leave a gap.
    pub fn from_ranges(ranges: impl IntoIterator<Item = (IndexRange, TaskState)>) -> Option<Self> {
        let mut by_first = BTreeMap::new();
        let mut tally = Tally::default();
        let mut expected = None;
        for (range, state) in ranges {
            if range.first > range.last || expected.is_some_and(|first| first != range.first) {
                return None;
            }
            expected = Some(range.last.checked_add(1)?);
            tally.add(state.status(), range.count());
            by_first.insert(range.first, (range.last, state));
        }
        (!by_first.is_empty()).then(|| Cells::Many(Box::new(Ranges { by_first, tally })))
    }

    /// All indices.
    pub fn indices(&self) -> IndexRange {
        match self {
            Cells::One(_) => IndexRange::single(0),
            Cells::Many(ranges) => {
                let first = ranges.by_first.keys().next().copied().unwrap_or_default();
                let last =
                    ranges.by_first.values().next_back().map(|(last, _)| *last).unwrap_or_default();
                IndexRange { first, last }
            }
        }
    }

    /// How many indices are in each status.
    pub fn tally(&self) -> Tally {
        match self {
            Cells::One(state) => {
                let mut tally = Tally::default();
                tally.add(state.status(), 1);
                tally
            }
            Cells::Many(ranges) => ranges.tally,
        }
    }

    /// Recounts the tally from the states (I16).
    pub fn recount(&self) -> Tally {
        let mut tally = Tally::default();
        for (range, state) in self.iter() {
            tally.add(state.status(), range.count());
        }
        tally
    }

    /// The state at `index`, with the range it holds over.
    pub fn at(&self, index: u32) -> Option<(IndexRange, &TaskState)> {
        match self {
            Cells::One(state) => (index == 0).then_some((IndexRange::single(0), state)),
            Cells::Many(ranges) => {
                let (first, (last, state)) = ranges.by_first.range(..=index).next_back()?;
                (index <= *last).then_some((IndexRange { first: *first, last: *last }, state))
            }
        }
    }

    /// Every range with its state, by index.
    pub fn iter(&self) -> impl Iterator<Item = (IndexRange, &TaskState)> {
        let (one, many) = match self {
            Cells::One(state) => (Some((IndexRange::single(0), state)), None),
            Cells::Many(ranges) => (None, Some(ranges.by_first.iter())),
        };
        let many = many.into_iter().flatten();
        one.into_iter().chain(
            many.map(|(first, (last, state))| (IndexRange { first: *first, last: *last }, state)),
        )
    }

    /// The parts of `range`, cut to it, with their states.
    pub fn within(&self, range: IndexRange) -> impl Iterator<Item = (IndexRange, &TaskState)> {
        let start = self.at(range.first).map_or(range.first, |(cell, _)| cell.first);
        let (one, many) = match self {
            Cells::One(state) => (Some((IndexRange::single(0), state)), None),
            Cells::Many(ranges) => {
                (None, Some(ranges.by_first.range(start..=range.last.max(start))))
            }
        };
        let many = many.into_iter().flatten();
        one.into_iter()
            .chain(
                many.map(|(first, (last, state))| {
                    (IndexRange { first: *first, last: *last }, state)
                }),
            )
            .filter_map(move |(cell, state)| Some((cell.intersect(range)?, state)))
    }

    /// Puts `range` into `state`. Indices outside the task are ignored, and so is a range that ends before it begins.
    pub fn set(&mut self, range: IndexRange, state: TaskState) {
        if range.first > range.last {
            return;
        }
        match self {
            Cells::One(current) => {
                if range.first == 0 {
                    *current = state;
                }
            }
            Cells::Many(ranges) => ranges.set(range, state),
        }
    }
}

impl Ranges {
    fn set(&mut self, range: IndexRange, state: TaskState) {
        self.split_before(range.first);
        if let Some(after) = range.last.checked_add(1) {
            self.split_before(after);
        }
        let mut covered: Option<IndexRange> = None;
        while let Some((cell, before)) = self.remove_first_within(range) {
            self.tally.sub(before.status(), cell.count());
            covered = Some(IndexRange { last: cell.last, ..covered.unwrap_or(cell) });
        }
        let Some(IndexRange { first, last }) = covered else { return };
        self.tally.add(state.status(), last - first + 1);
        let merged_first = self.take_left_neighbour(first, &state).unwrap_or(first);
        let merged_last = self.take_right_neighbour(last, &state).unwrap_or(last);
        self.by_first.insert(merged_first, (merged_last, state));
    }

    /// Takes out the first cell that starts within `range`.
    fn remove_first_within(&mut self, range: IndexRange) -> Option<(IndexRange, TaskState)> {
        let first = *self.by_first.range(range.first..=range.last).next()?.0;
        let (last, state) = self.by_first.remove(&first)?;
        Some((IndexRange { first, last }, state))
    }

    /// Makes `index` the start of a range, if it lies inside one.
    fn split_before(&mut self, index: u32) {
        let Some((first, (last, state))) = self.by_first.range_mut(..index).next_back() else {
            return;
        };
        if *last < index {
            return;
        }
        let (tail_last, state) = (*last, *state);
        debug_assert!(*first < index);
        *last = index - 1;
        self.by_first.insert(index, (tail_last, state));
    }

    /// Removes the range that ends just before `first` if it is in the same state, and returns its start.
    fn take_left_neighbour(&mut self, first: u32, state: &TaskState) -> Option<u32> {
        let (left_first, (left_last, left_state)) = self.by_first.range(..first).next_back()?;
        let is_equal = left_last.checked_add(1) == Some(first) && left_state == state;
        let left_first = *left_first;
        is_equal.then(|| self.by_first.remove(&left_first))?;
        Some(left_first)
    }

    /// Removes the range that starts just after `last` if it is in the same state, and returns its end.
    fn take_right_neighbour(&mut self, last: u32, state: &TaskState) -> Option<u32> {
        let after = last.checked_add(1)?;
        let (right_last, right_state) = *self.by_first.get(&after)?;
        (right_state == *state).then(|| self.by_first.remove(&after))?;
        Some(right_last)
    }
}
