//! A set of array indices kept as ranges: an array task of a million indices costs one pair of numbers.

use muster_core::state::cells::IndexRange;

/// Disjoint ranges in ascending order; neighbours are joined.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeSet {
    ranges: Vec<IndexRange>,
}

impl RangeSet {
    /// The set of the indices of `range`.
    pub fn of(range: IndexRange) -> Self {
        RangeSet { ranges: vec![range] }
    }

    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// How many indices the set holds.
    pub fn count(&self) -> u64 {
        self.ranges.iter().map(|range| u64::from(range.last - range.first) + 1).sum()
    }

    /// The ranges, ascending.
    pub fn iter(&self) -> impl Iterator<Item = IndexRange> + '_ {
        self.ranges.iter().copied()
    }

    /// Adds all indices of `range`.
    pub fn insert(&mut self, range: IndexRange) {
        let mut joined = range;
        let start =
            self.ranges.partition_point(|held| u64::from(held.last) + 1 < u64::from(range.first));
        let mut end = start;
        while let Some(held) = self.ranges.get(end) {
            if u64::from(held.first) > u64::from(range.last) + 1 {
                break;
            }
            joined = IndexRange {
                first: joined.first.min(held.first),
                last: joined.last.max(held.last),
            };
            end += 1;
        }
        self.ranges.splice(start..end, [joined]);
    }

    /// Takes all indices of `range` away.
    pub fn remove(&mut self, range: IndexRange) {
        let start = self.ranges.partition_point(|held| held.last < range.first);
        let end = self.ranges.partition_point(|held| held.first <= range.last);
        if start >= end {
            return;
        }
        let mut rest = Vec::with_capacity(2);
        let (left, right) = (self.ranges[start], self.ranges[end - 1]);
        if left.first < range.first {
            rest.push(IndexRange { first: left.first, last: range.first - 1 });
        }
        if right.last > range.last {
            rest.push(IndexRange { first: range.last + 1, last: right.last });
        }
        self.ranges.splice(start..end, rest);
    }

    /// The parts of `range` that are not in the set.
    pub fn missing(&self, range: IndexRange) -> RangeSet {
        let mut missing = RangeSet::of(range);
        for held in &self.ranges {
            missing.remove(*held);
        }
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: u32, last: u32) -> IndexRange {
        IndexRange { first, last }
    }

    fn pairs(set: &RangeSet) -> Vec<(u32, u32)> {
        set.iter().map(|r| (r.first, r.last)).collect()
    }

    #[test]
    fn agrees_with_a_plain_set() {
        let mut model = std::collections::BTreeSet::new();
        let mut set = RangeSet::default();
        let mut seed = 7_u32;
        for step in 0..2000 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let first = (seed >> 8) % 60;
            let last = first + (seed >> 20) % 9;
            if step % 2 == 0 {
                set.insert(range(first, last));
                model.extend(first..=last);
            } else {
                set.remove(range(first, last));
                model.retain(|index| !(first..=last).contains(index));
            }
            let indices: Vec<u32> = set.iter().flat_map(|r| r.first..=r.last).collect();
            assert_eq!(indices, model.iter().copied().collect::<Vec<_>>());
            assert!(
                pairs(&set).windows(2).all(|pair| pair[0].1 + 1 < pair[1].0),
                "neighbours are joined"
            );
        }
    }

    #[test]
    fn missing_is_what_a_duplicate_does_not_cover() {
        let mut set = RangeSet::of(range(0, 4));
        set.insert(range(8, 9));
        assert_eq!(pairs(&set.missing(range(3, 12))), [(5, 7), (10, 12)]);
        assert!(set.missing(range(1, 3)).is_empty());
        assert_eq!(set.count(), 7);
    }

    #[test]
    fn works_at_the_largest_index() {
        let mut set = RangeSet::of(range(u32::MAX - 1, u32::MAX));
        set.insert(range(u32::MAX, u32::MAX));
        set.remove(range(u32::MAX, u32::MAX));
        assert_eq!(pairs(&set), [(u32::MAX - 1, u32::MAX - 1)]);
    }
}
