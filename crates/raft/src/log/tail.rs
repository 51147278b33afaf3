//! The newest entries in memory, and what the log is, as of the last operation.

use std::collections::VecDeque;
use std::ops::Range;

use super::{LogContent, entry_bytes};
use crate::types::{Entry, LogId, Vote};

/// State of the log as the callers see it; the disk follows.
///
/// - `entries` are consecutive and end with the last entry of the log; the first has index `first`.
/// - Entries that are not durable yet are never evicted.
#[derive(Debug)]
pub(crate) struct Tail {
    entries: VecDeque<Entry>,
    first: u64,
    bytes: usize,
    bytes_max: usize,
    /// Entries below this index are on disk.
    durable_end: u64,
    /// Where each append that is not on disk yet ends (exclusive), oldest first; truncation clips them.
    pending_ends: VecDeque<u64>,
    /// Index of the first entry of the whole log, in memory or on disk.
    begin: u64,
    pub(crate) last: Option<LogId>,
    pub(crate) purged: Option<LogId>,
    pub(crate) vote: Option<Vote>,
    pub(crate) committed: Option<LogId>,
}

impl Tail {
    pub(crate) fn new(content: LogContent, bytes_max: usize) -> Self {
        let last = content.last.or(content.purged);
        let end = last.map_or(0, |id| id.index + 1);
        let entries = VecDeque::from(content.tail);
        Self {
            first: entries.front().map_or(end, |entry| entry.log_id.index),
            bytes: entries.iter().map(entry_bytes).sum(),
            entries,
            bytes_max,
            durable_end: end,
            pending_ends: VecDeque::new(),
            begin: content.purged.map_or(0, |id| id.index + 1),
            last,
            purged: content.purged,
            vote: content.vote,
            committed: content.committed,
        }
    }

    /// Adds consecutive entries that follow the last one. Counts as one append for [`flushed`](Self::flushed).
    pub(crate) fn append(&mut self, batch: &[Entry]) {
        self.pending_ends.push_back(batch.last().map_or(0, |entry| entry.log_id.index + 1));
        for entry in batch {
            if self.entries.is_empty() {
                self.first = entry.log_id.index;
            }
            if self.last.is_none() {
                self.begin = entry.log_id.index;
            }
            self.bytes += entry_bytes(entry);
            self.last = Some(entry.log_id);
            self.entries.push_back(entry.clone());
        }
    }

    /// Drops all entries from `index` on; `last` is the one before it. Does nothing if there are none.
    pub(crate) fn truncate(&mut self, index: u64, last: Option<LogId>) {
        if self.last.is_none_or(|last| last.index < index) {
            return;
        }
        while self.entries.back().is_some_and(|entry| entry.log_id.index >= index) {
            self.bytes -= self.entries.pop_back().as_ref().map_or(0, entry_bytes);
        }
        if self.entries.is_empty() {
            self.first = index;
        }
        self.durable_end = self.durable_end.min(index);
        for end in &mut self.pending_ends {
            *end = (*end).min(index);
        }
        self.last = last;
    }

    /// Drops all entries up to and including `id`.
    pub(crate) fn purge(&mut self, id: LogId) {
        while self.entries.front().is_some_and(|entry| entry.log_id.index <= id.index) {
            self.pop_front();
        }
        if self.entries.is_empty() {
            self.first = self.first.max(id.index + 1);
        }
        self.purged = self.purged.max(Some(id));
        self.begin = self.begin.max(id.index + 1);
        if self.last.is_none_or(|last| last.index <= id.index) {
            self.last = Some(id);
        }
    }

    /// The oldest `appends` that were not on disk are there now.
    pub(crate) fn flushed(&mut self, appends: usize) {
        for _ in 0..appends {
            self.durable_end = self.durable_end.max(self.pending_ends.pop_front().unwrap_or(0));
        }
        while self.bytes > self.bytes_max && self.first < self.durable_end && self.entries.len() > 1
        {
            self.pop_front();
        }
    }

    /// Index of the first entry of the log.
    pub(crate) fn begin(&self) -> u64 {
        self.begin
    }

    /// Copies what memory holds of `range` and returns what only the disk holds of it, which precedes it. `bytes_max`
    /// bounds the copy, but at least one entry is copied if memory holds one.
    pub(crate) fn read(&self, range: Range<u64>, bytes_max: usize) -> (Range<u64>, Vec<Entry>) {
        let start = range.start.max(self.begin);
        let end = range.end.min(self.last.map_or(0, |id| id.index + 1));
        if start >= end {
            return (0..0, Vec::new());
        }
        let mut copied = Vec::new();
        let mut bytes = 0;
        let from = start.max(self.first);
        for index in from..end {
            let entry = &self.entries[(index - self.first) as usize];
            bytes += entry_bytes(entry);
            if bytes > bytes_max && !copied.is_empty() {
                break;
            }
            copied.push(entry.clone());
        }
        (start..end.min(self.first).max(start), copied)
    }

    fn pop_front(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.bytes -= entry_bytes(&entry);
            self.first = entry.log_id.index + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Command, LeaderId, Payload};
    use bytes::Bytes;

    fn id(index: u64) -> LogId {
        LogId { leader_id: LeaderId { term: 1, node_id: 1 }, index }
    }

    fn entry(index: u64) -> Entry {
        Entry { log_id: id(index), payload: Payload::Normal(Command(Bytes::from(vec![0; 36]))) }
    }

    fn empty(bytes_max: usize) -> Tail {
        let content = LogContent {
            identity: None,
            vote: None,
            committed: None,
            purged: None,
            last: None,
            tail: Vec::new(),
        };
        Tail::new(content, bytes_max)
    }

    fn indexes(entries: &[Entry]) -> Vec<u64> {
        entries.iter().map(|entry| entry.log_id.index).collect()
    }

    #[test]
    fn only_durable_entries_are_evicted() {
        let mut tail = empty(300); // three entries of 100 bytes
        tail.append(&(0..5).map(entry).collect::<Vec<_>>());
        tail.append(&(5..10).map(entry).collect::<Vec<_>>());
        assert_eq!(tail.read(0..10, usize::MAX).1.len(), 10);
        tail.flushed(1);
        let (disk, copied) = tail.read(0..10, usize::MAX);
        assert_eq!((disk, indexes(&copied)), (0..5, vec![5, 6, 7, 8, 9]));
        tail.flushed(1);
        let (disk, copied) = tail.read(2..9, usize::MAX);
        assert_eq!((disk, indexes(&copied)), (2..7, vec![7, 8]));
    }

    #[test]
    fn truncation_and_purge_move_the_ends() {
        let mut tail = empty(usize::MAX);
        tail.append(&(0..10).map(entry).collect::<Vec<_>>());
        tail.purge(id(3));
        tail.truncate(8, Some(id(7)));
        let (disk, copied) = tail.read(0..100, usize::MAX);
        assert!(disk.is_empty());
        assert_eq!(indexes(&copied), vec![4, 5, 6, 7]);
        tail.purge(id(20));
        assert_eq!((tail.last, tail.purged), (Some(id(20)), Some(id(20))));
        tail.append(&[entry(21)]);
        assert_eq!(indexes(&tail.read(0..100, usize::MAX).1), vec![21]);
    }

    #[test]
    fn a_late_flush_does_not_make_replaced_entries_durable() {
        let mut tail = empty(0);
        tail.append(&(0..10).map(entry).collect::<Vec<_>>());
        tail.truncate(5, Some(id(4)));
        tail.append(&[entry(5), entry(6)]);
        tail.flushed(1);
        let (disk, copied) = tail.read(4..7, usize::MAX);
        assert_eq!((disk, indexes(&copied)), (4..5, vec![5, 6]), "5 and 6 are not on disk yet");
        tail.flushed(1);
        assert_eq!(tail.read(4..7, usize::MAX).0, 4..6);
    }
}
