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

    /// Whether ranges follow each other without gap or overlap, and neighbours differ.
    pub(crate) fn is_well_formed(&self) -> bool {
        let mut before: Option<(IndexRange, &TaskState)> = None;
        self.iter().all(|(range, state)| {
            let follows = before.is_none_or(|(left, left_state)| {
                left.last.checked_add(1) == Some(range.first) && left_state != state
            });
            before = Some((range, state));
            follows && range.first <= range.last
        })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn held(attempts: u32) -> TaskState {
        TaskState::Held { tries: super::super::task::Tries { attempts, failures: 0, losses: 0 } }
    }

    fn range(first: u32, last: u32) -> IndexRange {
        IndexRange { first, last }
    }

    fn found(cells: &Cells) -> Vec<(u32, u32, u32)> {
        cells.iter().map(|(at, state)| (at.first, at.last, state.tries().attempts)).collect()
    }

    #[test]
    fn ranges_split_and_merge_like_single_cells() {
        let (first, last) = (3, 40);
        let mut cells = Cells::new(Some(ArraySpec { first, last }), held(0));
        let mut plain = [0; 41];
        // Ranges and states that follow from a fixed multiplication: small, and all over the place.
        for step in 0..2000u32 {
            let number = step.wrapping_mul(2_654_435_761) >> 7;
            let (from, len, state) = (number % 44, number / 64 % 12, number / 1024 % 3);
            cells.set(range(from, from + len), held(state));
            for index in from.max(first)..=(from + len).min(last) {
                plain[index as usize] = state;
            }
            assert!(cells.is_well_formed(), "{cells:?}");
            assert_eq!(cells.tally(), cells.recount());
            assert_eq!(cells.indices(), range(first, last));
            for index in first..=last {
                let (_, state) = cells.at(index).expect("it is within");
                assert_eq!(state.tries().attempts, plain[index as usize], "{index} in step {step}");
            }
        }
    }

    #[test]
    fn what_lies_outside_or_is_reversed_is_ignored() {
        let mut cells = Cells::new(Some(ArraySpec { first: 5, last: 9 }), held(0));
        let odd = [range(0, 4), range(10, u32::MAX), range(8, 6), range(u32::MAX, 0)];
        for odd in odd {
            cells.set(odd, held(1));
            assert_eq!(found(&cells), [(5, 9, 0)], "{odd:?}");
            assert_eq!(cells.within(odd).count(), 0, "{odd:?}");
        }
        cells.set(range(0, 6), held(1));
        cells.set(range(9, u32::MAX), held(2));
        assert_eq!(found(&cells), [(5, 6, 1), (7, 8, 0), (9, 9, 2)]);
        assert!(cells.at(4).is_none() && cells.at(10).is_none() && cells.at(u32::MAX).is_none());
        let part: Vec<_> = cells.within(range(6, 7)).map(|(part, _)| part).collect();
        assert_eq!(part, [range(6, 6), range(7, 7)]);
    }

    #[test]
    fn a_snapshot_with_gaps_is_not_taken() {
        let ranges = |list: &[(u32, u32)]| {
            Cells::from_ranges(
                list.iter().map(|(first, last)| (range(*first, *last), held(*first))),
            )
        };
        assert!(ranges(&[(0, 4), (5, 9)]).is_some());
        for wrong in [&[][..], &[(0, 4), (6, 9)], &[(0, 4), (4, 9)], &[(4, 0)], &[(0, u32::MAX)]] {
            assert!(ranges(wrong).is_none(), "{wrong:?}");
        }
    }
}
