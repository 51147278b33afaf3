//! Outcomes that were not acknowledged yet, on disk, so that a restarted worker can still report them.
//!
//! An outcome is put here before it is first reported and removed when the leader has it. The store is sled, under two
//! restrictions that come from measuring it: values stay at or below 4 KiB (larger ones made a database that could not
//! be opened again), so a larger record is kept in pieces; and nothing relies on a flush. A power cut may lose what was
//! put in the last half second, and a database that cannot be opened is set aside and replaced by an empty one. Either
//! costs a re-run, which "at least once" allows: the leader finds that the worker no longer holds the attempt, and
//! gives it out again. Simulations put a store of their own in sled's place ([`JournalSource`]).
//!
//! Keys are `number of the record (8 bytes) | piece (2 bytes)`, big-endian, so that all pieces of a record lie together
//! and records come back in the order they were put. The first piece begins with length (4 bytes) and CRC-32 (4 bytes)
//! of the whole record.

mod sled;
mod store;

use std::io;
use std::path::Path;
use std::time::Duration;

use futures::future::BoxFuture;

pub use self::sled::Sled;
pub use self::store::{Change, Entry, Fault, JournalSource, JournalStore, NotOpened};

/// Most bytes in one value of the store.
const PIECE_BYTES_MAX: usize = 4 << 10;
/// Length and checksum before the first piece.
const HEADER_BYTES: usize = 8;
/// Largest record, well above the largest outputs.
pub const RECORD_BYTES_MAX: usize = 1 << 20;

/// Why the journal could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The store refused.
    #[error("outcome journal: {0}")]
    Store(Fault),
    /// Another process has it open.
    #[error("outcome journal: it is in use: {0}")]
    InUse(Fault),
    /// A folder could not be moved or made.
    #[error("outcome journal: {0}")]
    Folder(#[from] io::Error),
    /// The record is larger than [`RECORD_BYTES_MAX`].
    #[error("outcome journal: a record of {bytes} bytes is too large")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
}

/// Number of a record. Numbers ascend, and one that is held is never given out again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId(pub u64);

/// The journal of one worker.
pub struct Journal {
    store: Box<dyn JournalStore>,
    next: u64,
}

impl Journal {
    /// Opens the journal in `dir`. If it cannot be read, it is set aside and an empty one made; but if it is open
    /// elsewhere, that is an error. `now` is the time since 1970.
    pub fn open(
        source: &dyn JournalSource,
        dir: &Path,
        now: Duration,
    ) -> Result<Self, JournalError> {
        match open_and_read(source, dir) {
            Ok(journal) => Ok(journal),
            Err(NotOpened::InUse(error)) => Err(JournalError::InUse(error)),
            Err(NotOpened::Unreadable(error)) => {
                let aside = source.set_aside(dir, now)?;
                tracing::error!(
                    %error, aside = %aside.display(),
                    "cannot open the outcome journal; it is set aside, and outcomes not yet reported are lost: their \
                     tasks will run again"
                );
                open_and_read(source, dir).map_err(|error| match error {
                    NotOpened::InUse(error) => JournalError::InUse(error),
                    NotOpened::Unreadable(error) => JournalError::Store(error),
                })
            }
        }
    }

    /// Puts `records`, all or nothing, and returns their numbers in the same order. They are durable once
    /// [`settled`](Self::settled) resolves.
    pub fn put(&mut self, records: &[Vec<u8>]) -> Result<Vec<RecordId>, JournalError> {
        if let Some(record) = records.iter().find(|record| record.len() > RECORD_BYTES_MAX) {
            return Err(JournalError::TooLarge { bytes: record.len() });
        }
        let mut changes = Vec::with_capacity(records.len());
        let first = self.next;
        for (id, record) in (first..).zip(records) {
            for (piece, bytes) in pieces(record).into_iter().enumerate() {
                let piece = u16::try_from(piece)
                    .expect("a record of at most 1 MiB has fewer than 2^16 pieces");
                changes.push(Change { key: key(RecordId(id), piece), value: Some(bytes) });
            }
        }
        self.store.apply(changes).map_err(JournalError::Store)?;
        self.next += records.len() as u64;
        Ok((first..self.next).map(RecordId).collect())
    }

    /// Removes records that were acknowledged. Each comes with the size of the record, from which the number of its
    /// pieces follows.
    pub fn remove(
        &mut self,
        records: impl IntoIterator<Item = (RecordId, usize)>,
    ) -> Result<(), JournalError> {
        let mut changes = Vec::new();
        for (id, size) in records {
            let pieces = 0..piece_count(size);
            changes.extend(pieces.map(|piece| Change { key: key(id, piece), value: None }));
        }
        if changes.is_empty() {
            return Ok(());
        }
        self.store.apply(changes).map_err(JournalError::Store)
    }

    /// All records, oldest first. Those that are not whole are removed, and logged.
    pub fn pending(&mut self) -> Result<Vec<(RecordId, Vec<u8>)>, JournalError> {
        let mut records: Vec<(RecordId, Vec<u8>, bool)> = Vec::new();
        let mut foreign = Vec::new();
        for (key, value) in self.store.entries().map_err(JournalError::Store)? {
            let Some((id, piece)) = parse_key(&key) else {
                foreign.push(Change { key, value: None });
                continue;
            };
            match records.last_mut() {
                Some((last, bytes, _)) if *last == id => bytes.extend_from_slice(&value),
                _ => records.push((id, value, piece == 0)),
            }
        }
        if !foreign.is_empty() {
            self.store.apply(foreign).map_err(JournalError::Store)?;
        }
        let mut whole = Vec::with_capacity(records.len());
        for (id, bytes, has_first) in records {
            match unwrap(&bytes).filter(|_| has_first) {
                Some(record) => whole.push((id, record.to_vec())),
                None => {
                    tracing::error!(
                        record = id.0,
                        "a record of the outcome journal is damaged; its task will run again"
                    );
                    let size = bytes.len().max(PIECE_BYTES_MAX) * 2;
                    self.remove([(id, size.min(RECORD_BYTES_MAX))])?;
                }
            }
        }
        Ok(whole)
    }

    /// Resolves once everything that was put is as durable as the store makes it.
    pub fn settled(&self) -> BoxFuture<'static, ()> {
        self.store.settled()
    }
}

fn open_and_read(source: &dyn JournalSource, dir: &Path) -> Result<Journal, NotOpened> {
    let store = source.open(dir)?;
    let entries = store.entries().map_err(NotOpened::Unreadable)?;
    let last = entries.iter().rev().find_map(|(key, _)| parse_key(key));
    Ok(Journal { store, next: last.map_or(1, |(id, _)| id.0 + 1) })
}

fn key(id: RecordId, piece: u16) -> Vec<u8> {
    [id.0.to_be_bytes().as_slice(), &piece.to_be_bytes()].concat()
}

fn parse_key(key: &[u8]) -> Option<(RecordId, u16)> {
    let (id, piece) = key.split_first_chunk::<8>()?;
    Some((RecordId(u64::from_be_bytes(*id)), u16::from_be_bytes(piece.try_into().ok()?)))
}

fn piece_count(size: usize) -> u16 {
    u16::try_from((size + HEADER_BYTES).div_ceil(PIECE_BYTES_MAX)).unwrap_or(u16::MAX)
}

fn pieces(record: &[u8]) -> Vec<Vec<u8>> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + record.len());
    let length = u32::try_from(record.len()).expect("a record has at most 1 MiB");
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&crc32fast::hash(record).to_be_bytes());
    bytes.extend_from_slice(record);
    bytes.chunks(PIECE_BYTES_MAX).map(<[u8]>::to_vec).collect()
}

fn unwrap(bytes: &[u8]) -> Option<&[u8]> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (checksum, record) = rest.split_first_chunk::<4>()?;
    let is_whole = record.len() == u32::from_be_bytes(*length) as usize
        && crc32fast::hash(record) == u32::from_be_bytes(*checksum);
    is_whole.then_some(record)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn open(dir: &Path) -> Result<Journal, JournalError> {
        Journal::open(&Sled, dir, Duration::from_secs(1))
    }

    fn size(journal: &Journal) -> usize {
        journal.store.entries().unwrap().len()
    }

    fn set(journal: &mut Journal, key: Vec<u8>, value: Option<Vec<u8>>) {
        journal.store.apply(vec![Change { key, value }]).unwrap();
    }

    fn contents(journal: &mut Journal) -> Vec<Vec<u8>> {
        journal.pending().unwrap().into_iter().map(|(_, record)| record).collect()
    }

    #[test]
    fn what_was_put_and_not_removed_is_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let records = [
            b"first".to_vec(),
            vec![7; 100_000],
            Vec::new(),
            vec![9; PIECE_BYTES_MAX - HEADER_BYTES],
        ];
        let mut journal = open(&path).unwrap();
        let ids = journal.put(&records).unwrap();
        journal.remove([(ids[0], records[0].len())]).unwrap();
        drop(journal);

        let mut journal = open(&path).unwrap();
        assert_eq!(contents(&mut journal), records[1..]);
        let newer = journal.put(&[b"newer".to_vec()]).unwrap();
        assert!(newer[0] > ids[3], "numbers are not used again");
        let all: Vec<_> =
            journal.pending().unwrap().into_iter().map(|(id, record)| (id, record.len())).collect();
        journal.remove(all).unwrap();
        assert_eq!(size(&journal), 0, "no piece stays behind");
    }

    #[test]
    fn no_value_is_larger_than_a_piece() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = open(&dir.path().join("journal")).unwrap();
        journal.put(&[vec![1; 70_000]]).unwrap();
        assert!(
            journal
                .store
                .entries()
                .unwrap()
                .iter()
                .all(|(_, value)| value.len() <= PIECE_BYTES_MAX)
        );
        let too_large = journal.put(&[vec![0; RECORD_BYTES_MAX + 1]]);
        assert!(matches!(too_large, Err(JournalError::TooLarge { .. })));
    }

    #[test]
    fn a_damaged_record_does_not_hide_the_others() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = open(&dir.path().join("journal")).unwrap();
        let ids = journal.put(&[vec![1; 10_000], b"good".to_vec(), vec![2; 10_000]]).unwrap();
        set(&mut journal, key(ids[0], 0), None);
        set(&mut journal, key(ids[2], 1), Some(vec![3; 10]));
        assert_eq!(contents(&mut journal), [b"good".to_vec()]);
        assert_eq!(size(&journal), 1, "the pieces of damaged records are gone");
    }

    #[test]
    fn a_store_in_use_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let mut journal = open(&path).unwrap();
        journal.put(&[b"mine".to_vec()]).unwrap();
        assert!(matches!(open(&path), Err(JournalError::InUse(_))));
        assert_eq!(contents(&mut journal), [b"mine".to_vec()]);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing was set aside");
    }

    #[test]
    fn a_store_that_cannot_be_opened_is_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("conf"), b"not a configuration").unwrap();
        let mut journal = open(&path).unwrap();
        assert!(contents(&mut journal).is_empty());
        journal.put(&[b"goes on".to_vec()]).unwrap();
        let names: Vec<String> = fs::read_dir(dir.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        assert!(names.iter().any(|name| name.starts_with("journal.unreadable-")), "{names:?}");
    }
}
