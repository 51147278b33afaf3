//! Outcomes that were not acknowledged yet, on disk, so that a restarted worker can still report them.
//!
//! An outcome is put here before it is first reported and removed when the leader has it. The store is sled, under two
//! restrictions that come from measuring it: values stay at or below 4 KiB (larger ones made a database that could not
//! be opened again), so a larger record is kept in pieces; and nothing relies on a flush. A power cut may lose what was
//! put in the last half second, and a database that cannot be opened is set aside and replaced by an empty one. Either
//! costs a re-run, which "at least once" allows: the leader finds that the worker no longer holds the attempt, and
//! gives it out again.
//!
//! Keys are `number of the record (8 bytes) | piece (2 bytes)`, big-endian, so that all pieces of a record lie together
//! and records come back in the order they were put. The first piece begins with length (4 bytes) and CRC-32 (4 bytes)
//! of the whole record.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Most bytes in one value of the store.
const PIECE_BYTES_MAX: usize = 4 << 10;
/// Length and checksum before the first piece.
const HEADER_BYTES: usize = 8;
/// Largest record, well above the largest outputs.
pub const RECORD_BYTES_MAX: usize = 1 << 20;
/// How much of the store is kept in memory.
const CACHE_BYTES: u64 = 16 << 20;

/// Why the journal could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The store refused.
    #[error("outcome journal: {0}")]
    Store(#[from] sled::Error),
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
#[derive(Debug)]
pub struct Journal {
    store: sled::Db,
    next: u64,
}

impl Journal {
    /// Opens the journal in `dir`. If it cannot be opened, the folder is renamed and an empty journal made; but if it
    /// is open elsewhere, that is an error.
    pub fn open(dir: &Path) -> Result<Self, JournalError> {
        let store = match open_store(dir) {
            Ok(store) => store,
            // Whoever holds it still needs it.
            Err(error) if is_locked(&error) => return Err(error),
            Err(error) => {
                let aside = set_aside(dir)?;
                tracing::error!(
                    %error, aside = %aside.display(),
                    "cannot open the outcome journal; it is set aside, and outcomes not yet reported are lost: their \
                     tasks will run again"
                );
                open_store(dir)?
            }
        };
        let last = store.last()?.and_then(|(key, _)| parse_key(&key));
        Ok(Journal { next: last.map_or(1, |(id, _)| id.0 + 1), store })
    }

    /// Puts `records`, all or nothing, and returns their numbers in the same order. Does not wait for the disk.
    pub fn put(&mut self, records: &[Vec<u8>]) -> Result<Vec<RecordId>, JournalError> {
        if let Some(record) = records.iter().find(|record| record.len() > RECORD_BYTES_MAX) {
            return Err(JournalError::TooLarge { bytes: record.len() });
        }
        let mut batch = sled::Batch::default();
        let first = self.next;
        for (id, record) in (first..).zip(records) {
            for (piece, bytes) in pieces(record).into_iter().enumerate() {
                let piece = u16::try_from(piece)
                    .expect("a record of at most 1 MiB has fewer than 2^16 pieces");
                batch.insert(key(RecordId(id), piece).as_slice(), bytes);
            }
        }
        self.store.apply_batch(batch)?;
        self.next += records.len() as u64;
        Ok((first..self.next).map(RecordId).collect())
    }

    /// Removes records that were acknowledged. Each comes with the size of the record, from which the number of its
    /// pieces follows.
    pub fn remove(
        &mut self,
        records: impl IntoIterator<Item = (RecordId, usize)>,
    ) -> Result<(), JournalError> {
        let mut batch = sled::Batch::default();
        for (id, size) in records {
            for piece in 0..piece_count(size) {
                batch.remove(key(id, piece).as_slice());
            }
        }
        self.store.apply_batch(batch)?;
        Ok(())
    }

    /// All records, oldest first. Those that are not whole are removed, and logged.
    pub fn pending(&mut self) -> Result<Vec<(RecordId, Vec<u8>)>, JournalError> {
        let mut records: Vec<(RecordId, Vec<u8>, bool)> = Vec::new();
        for item in self.store.iter() {
            let (key, value) = item?;
            let Some((id, piece)) = parse_key(&key) else {
                self.store.remove(key)?;
                continue;
            };
            match records.last_mut() {
                Some((last, bytes, _)) if *last == id => bytes.extend_from_slice(&value),
                _ => records.push((id, value.to_vec(), piece == 0)),
            }
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
}

fn open_store(dir: &Path) -> Result<sled::Db, JournalError> {
    if let Some(parent) = dir.parent() {
        fs::create_dir_all(parent)?;
    }
    Ok(sled::Config::new().path(dir).cache_capacity(CACHE_BYTES).open()?)
}

/// sled has no error of its own for a store that is open elsewhere.
fn is_locked(error: &JournalError) -> bool {
    matches!(error, JournalError::Store(sled::Error::Io(error))
        if error.to_string().contains("could not acquire lock"))
}

fn set_aside(dir: &Path) -> io::Result<PathBuf> {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |span| span.as_secs());
    for attempt in 0..1000_u32 {
        let mut name = dir.file_name().unwrap_or_default().to_owned();
        name.push(format!(".unreadable-{seconds}-{attempt}"));
        let aside = dir.with_file_name(name);
        if !aside.exists() {
            fs::rename(dir, &aside)?;
            return Ok(aside);
        }
    }
    Err(io::Error::new(
        io::ErrorKind::AlreadyExists,
        "a thousand journals were set aside within one second",
    ))
}

fn key(id: RecordId, piece: u16) -> [u8; 10] {
    let mut key = [0; 10];
    key[..8].copy_from_slice(&id.0.to_be_bytes());
    key[8..].copy_from_slice(&piece.to_be_bytes());
    key
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
    use super::*;

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
        let mut journal = Journal::open(&path).unwrap();
        let ids = journal.put(&records).unwrap();
        journal.remove([(ids[0], records[0].len())]).unwrap();
        drop(journal);

        let mut journal = Journal::open(&path).unwrap();
        assert_eq!(contents(&mut journal), records[1..]);
        let newer = journal.put(&[b"newer".to_vec()]).unwrap();
        assert!(newer[0] > ids[3], "numbers are not used again");
        let all: Vec<_> =
            journal.pending().unwrap().into_iter().map(|(id, record)| (id, record.len())).collect();
        journal.remove(all).unwrap();
        assert_eq!(journal.store.len(), 0, "no piece stays behind");
    }

    #[test]
    fn no_value_is_larger_than_a_piece() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(&dir.path().join("journal")).unwrap();
        journal.put(&[vec![1; 70_000]]).unwrap();
        assert!(journal.store.iter().values().all(|value| value.unwrap().len() <= PIECE_BYTES_MAX));
        let too_large = journal.put(&[vec![0; RECORD_BYTES_MAX + 1]]);
        assert!(matches!(too_large, Err(JournalError::TooLarge { .. })));
    }

    #[test]
    fn a_damaged_record_does_not_hide_the_others() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(&dir.path().join("journal")).unwrap();
        let ids = journal.put(&[vec![1; 10_000], b"good".to_vec(), vec![2; 10_000]]).unwrap();
        journal.store.remove(key(ids[0], 0)).unwrap();
        journal.store.insert(key(ids[2], 1), vec![3; 10]).unwrap();
        assert_eq!(contents(&mut journal), [b"good".to_vec()]);
        assert_eq!(journal.store.len(), 1, "the pieces of damaged records are gone");
    }

    #[test]
    fn a_store_in_use_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let mut journal = Journal::open(&path).unwrap();
        journal.put(&[b"mine".to_vec()]).unwrap();
        assert!(matches!(Journal::open(&path), Err(JournalError::Store(_))));
        assert_eq!(contents(&mut journal), [b"mine".to_vec()]);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing was set aside");
    }

    #[test]
    fn a_store_that_cannot_be_opened_is_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("conf"), b"not a configuration").unwrap();
        let mut journal = Journal::open(&path).unwrap();
        assert!(contents(&mut journal).is_empty());
        journal.put(&[b"goes on".to_vec()]).unwrap();
        let names: Vec<String> = fs::read_dir(dir.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        assert!(names.iter().any(|name| name.starts_with("journal.unreadable-")), "{names:?}");
    }
}
