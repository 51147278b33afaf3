//! Outcomes that were not acknowledged yet, on disk, so that a restarted worker can still report them.
//!
//! An outcome is put here before it is first reported and removed when the leader has it. The store is redb
//! ([`Redb`]), and nothing waits for its disk: a power cut, or the kill of a worker, may lose what was put in the last
//! half second. A store that cannot be read is set aside and replaced by an empty one. Either costs a re-run, which "at
//! least once" allows: the leader finds that the worker no longer holds the attempt, and gives it out again.
//! Simulations put a store of their own in redb's place ([`JournalSource`]).

mod redb;
mod store;

use std::io;
use std::path::Path;
use std::time::Duration;

use futures::future::BoxFuture;

pub use self::redb::Redb;
pub use self::store::{Change, Entry, Fault, JournalSource, JournalStore, NotOpened};

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
        let first = self.next;
        let numbered = (first..).zip(records);
        let changes =
            numbered.map(|(record, bytes)| Change { record, value: Some(bytes.clone()) }).collect();
        self.store.apply(changes).map_err(JournalError::Store)?;
        self.next += records.len() as u64;
        Ok((first..self.next).map(RecordId).collect())
    }

    /// Removes records that were acknowledged.
    pub fn remove(
        &mut self,
        records: impl IntoIterator<Item = RecordId>,
    ) -> Result<(), JournalError> {
        let records = records.into_iter();
        let changes: Vec<_> = records.map(|id| Change { record: id.0, value: None }).collect();
        if changes.is_empty() {
            return Ok(());
        }
        self.store.apply(changes).map_err(JournalError::Store)
    }

    /// All records, oldest first.
    pub fn pending(&self) -> Result<Vec<(RecordId, Vec<u8>)>, JournalError> {
        let entries = self.store.entries().map_err(JournalError::Store)?;
        Ok(entries.into_iter().map(|(record, bytes)| (RecordId(record), bytes)).collect())
    }

    /// Resolves once everything that was put is as durable as the store makes it.
    pub fn settled(&self) -> BoxFuture<'static, ()> {
        self.store.settled()
    }
}

fn open_and_read(source: &dyn JournalSource, dir: &Path) -> Result<Journal, NotOpened> {
    let store = source.open(dir)?;
    let entries = store.entries().map_err(NotOpened::Unreadable)?;
    Ok(Journal { store, next: entries.last().map_or(1, |(record, _)| record + 1) })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rand::rngs::StdRng;
    use rand::{Rng as _, SeedableRng as _};

    use super::*;

    fn open(dir: &Path) -> Result<Journal, JournalError> {
        Journal::open(&Redb::default(), dir, Duration::from_secs(1))
    }

    fn contents(journal: &Journal) -> Vec<Vec<u8>> {
        journal.pending().unwrap().into_iter().map(|(_, record)| record).collect()
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn what_was_put_and_not_removed_is_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let records = [b"first".to_vec(), vec![7; 100_000], Vec::new(), vec![9; RECORD_BYTES_MAX]];
        let mut journal = open(&path).unwrap();
        let ids = journal.put(&records).unwrap();
        journal.remove([ids[0]]).unwrap();
        drop(journal);

        let mut journal = open(&path).unwrap();
        assert_eq!(contents(&journal), records[1..]);
        let newer = journal.put(&[b"newer".to_vec()]).unwrap();
        assert!(newer[0] > ids[3], "numbers are not used again");
        let all: Vec<_> = journal.pending().unwrap().into_iter().map(|(id, _)| id).collect();
        journal.remove(all).unwrap();
        assert_eq!(contents(&journal), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn a_record_that_is_too_large_is_refused_with_all_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = open(&dir.path().join("journal")).unwrap();
        let too_large = journal.put(&[b"small".to_vec(), vec![0; RECORD_BYTES_MAX + 1]]);
        assert!(matches!(too_large, Err(JournalError::TooLarge { .. })));
        assert_eq!(contents(&journal), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn a_store_in_use_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let mut journal = open(&path).unwrap();
        journal.put(&[b"mine".to_vec()]).unwrap();
        assert!(matches!(open(&path), Err(JournalError::InUse(_))));
        assert_eq!(contents(&journal), [b"mine".to_vec()]);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing was set aside");
    }

    #[test]
    fn a_folder_of_another_store_is_set_aside_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        fs::create_dir_all(path.join("blobs")).unwrap();
        fs::write(path.join("db"), b"of an earlier version").unwrap();
        let mut journal = open(&path).unwrap();
        assert!(contents(&journal).is_empty());
        journal.put(&[b"goes on".to_vec()]).unwrap();
        assert_eq!(names(dir.path()), ["journal", "journal.unreadable-1-0"]);
        let aside = dir.path().join("journal.unreadable-1-0");
        assert_eq!(names(&aside), ["blobs", "db"]);
    }

    #[test]
    fn a_store_that_was_begun_and_not_finished_is_no_store() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("outcomes.tmp"), b"cut sh").unwrap();
        assert!(contents(&open(&path).unwrap()).is_empty());
        assert_eq!(names(dir.path()), ["journal"]);
        assert_eq!(names(&path), ["outcomes.redb"]);
    }

    /// What is damaged is set aside or harmless: nothing is ever changed, and nothing hidden without a word.
    #[test]
    fn damage_neither_changes_a_record_nor_hides_one() {
        const DAMAGES: u64 = 60;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let records: Vec<Vec<u8>> = (0..200_u32).map(|at| vec![at as u8; at as usize]).collect();
        let mut journal = open(&path).unwrap();
        journal.put(&records).unwrap();
        drop(journal);
        let file = path.join("outcomes.redb");
        let sound = fs::read(&file).unwrap();
        let used: Vec<usize> = (0..sound.len()).filter(|at| sound[*at] != 0).collect();
        let mut times_aside = 0;
        for seed in 0..DAMAGES {
            let mut chance = StdRng::seed_from_u64(seed);
            let mut damaged = sound.clone();
            match seed % 3 {
                0 => damaged.truncate(chance.random_range(0..sound.len())),
                1 => damaged[used[chance.random_range(0..used.len())]] ^= 1 << (seed % 8),
                _ => damaged[used[chance.random_range(0..used.len())]..]
                    .iter_mut()
                    .take(512)
                    .for_each(|byte| *byte = chance.random()),
            }
            fs::write(&file, damaged).unwrap();
            let journal = open(&path).unwrap_or_else(|error| panic!("damage {seed}: {error}"));
            let aside: Vec<_> =
                names(dir.path()).into_iter().filter(|it| it != "journal").collect();
            if aside.is_empty() {
                assert_eq!(contents(&journal), records, "damage {seed}");
            } else {
                times_aside += 1;
                assert!(contents(&journal).is_empty(), "damage {seed}");
            }
            drop(journal);
            for name in aside {
                fs::remove_dir_all(dir.path().join(name)).unwrap();
            }
        }
        println!("{times_aside} of {DAMAGES} were set aside, all others harmless");
        assert!(times_aside > DAMAGES / 2, "hardly anything was noticed: {times_aside}");
    }
}
