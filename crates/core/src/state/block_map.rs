//! A copy-on-write map from serial numbers to objects, in blocks.
//!
//! Cloning the map costs one reference count a block, so a snapshot of a large state takes microseconds; the first
//! change after it copies one block of pointers and one object. Blocks that did not change since an earlier snapshot
//! are known by pointer, which is what makes snapshots incremental.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Objects a block: a change makes a later snapshot write this many objects again.
pub const BLOCK_LEN: u64 = 16;

type Slots<V> = [Option<Arc<V>>; BLOCK_LEN as usize];

/// Up to [`BLOCK_LEN`] neighbouring objects.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Block<V> {
    slots: Slots<V>,
}

impl<V> Clone for Block<V> {
    fn clone(&self) -> Self {
        Block { slots: self.slots.clone() }
    }
}

impl<V> Default for Block<V> {
    fn default() -> Self {
        Block { slots: Default::default() }
    }
}

impl<V> Block<V> {
    /// The objects of the block, by ascending number.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Arc<V>> {
        self.slots.iter().flatten()
    }

    /// The objects of the block with their places in it, ascending. The object with place `p` of block `b` has the
    /// number `b * BLOCK_LEN + p`.
    pub fn iter_with_places(&self) -> impl Iterator<Item = (u64, &Arc<V>)> {
        let places = self.slots.iter().enumerate();
        places.filter_map(|(place, value)| Some((place as u64, value.as_ref()?)))
    }

    fn is_empty(&self) -> bool {
        self.slots.iter().all(Option::is_none)
    }
}

/// See the module documentation.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct BlockMap<V> {
    blocks: BTreeMap<u64, Arc<Block<V>>>,
    len: usize,
}

impl<V> Clone for BlockMap<V> {
    fn clone(&self) -> Self {
        BlockMap { blocks: self.blocks.clone(), len: self.len }
    }
}

impl<V> Default for BlockMap<V> {
    fn default() -> Self {
        BlockMap { blocks: BTreeMap::new(), len: 0 }
    }
}

fn position(number: u64) -> (u64, usize) {
    (number / BLOCK_LEN, (number % BLOCK_LEN) as usize)
}

impl<V> BlockMap<V> {
    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The object with this number.
    pub fn get(&self, number: u64) -> Option<&Arc<V>> {
        let (block, slot) = position(number);
        self.blocks.get(&block)?.slots[slot].as_ref()
    }

    /// The objects by ascending number.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Arc<V>> {
        self.blocks.values().flat_map(|block| block.iter())
    }

    /// The objects with numbers below `bound`, by descending number.
    pub fn iter_below(&self, bound: u64) -> impl Iterator<Item = (u64, &Arc<V>)> {
        let blocks = self.blocks.range(..=bound / BLOCK_LEN).rev();
        blocks
            .flat_map(|(block, slots)| {
                let first = block * BLOCK_LEN;
                slots.slots.iter().enumerate().rev().filter_map(move |(slot, value)| {
                    value.as_ref().map(|value| (first + slot as u64, value))
                })
            })
            .filter(move |(number, _)| *number < bound)
    }

    /// The blocks by ascending number. Two maps that share a block hold the same `Arc`.
    pub fn blocks(&self) -> impl Iterator<Item = (u64, &Arc<Block<V>>)> {
        self.blocks.iter().map(|(number, block)| (*number, block))
    }

    /// The block with this number.
    pub fn block(&self, number: u64) -> Option<&Arc<Block<V>>> {
        self.blocks.get(&number)
    }

    /// Puts an object in; returns the one it replaces.
    pub fn insert(&mut self, number: u64, value: Arc<V>) -> Option<Arc<V>> {
        let (block, slot) = position(number);
        let before =
            Arc::make_mut(self.blocks.entry(block).or_default()).slots[slot].replace(value);
        self.len += usize::from(before.is_none());
        before
    }

    /// Takes an object out.
    pub fn remove(&mut self, number: u64) -> Option<Arc<V>> {
        let (block_number, slot) = position(number);
        let block = self.blocks.get_mut(&block_number)?;
        block.slots[slot].as_ref()?;
        let block = Arc::make_mut(block);
        let before = block.slots[slot].take();
        self.len -= 1;
        if block.is_empty() {
            self.blocks.remove(&block_number);
        }
        before
    }
}

impl<V: Clone> BlockMap<V> {
    /// The object with this number, for changing; copied first if a snapshot still holds it.
    pub fn get_mut(&mut self, number: u64) -> Option<&mut V> {
        let (block, slot) = position(number);
        let block = self.blocks.get_mut(&block)?;
        block.slots[slot].as_ref()?;
        Arc::make_mut(block).slots[slot].as_mut().map(Arc::make_mut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_keeps_what_it_saw_and_shares_what_did_not_change() {
        let mut map = BlockMap::default();
        for number in 0..100u64 {
            map.insert(number, Arc::new(number));
        }
        let before = map.clone();
        *map.get_mut(40).expect("40 was inserted") = 4000;
        assert_eq!(before.get(40).map(|v| **v), Some(40));
        assert_eq!(map.get(40).map(|v| **v), Some(4000));
        let shared =
            map.blocks().zip(before.blocks()).filter(|(a, b)| Arc::ptr_eq(a.1, b.1)).count();
        assert_eq!(shared, map.blocks().count() - 1);
    }

    #[test]
    fn removal_and_descending_iteration() {
        let mut map = BlockMap::default();
        for number in [3u64, 16, 17, 64] {
            map.insert(number, Arc::new(number));
        }
        assert!(map.remove(16).is_some());
        assert!(map.remove(16).is_none());
        assert!(map.remove(64).is_some());
        assert_eq!(map.len(), 2);
        let seen: Vec<u64> = map.iter_below(64).map(|(number, _)| number).collect();
        assert_eq!(seen, [17, 3]);
        assert_eq!(map.blocks().count(), 2, "an empty block is dropped");
    }
}
