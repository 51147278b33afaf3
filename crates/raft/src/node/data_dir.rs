//! The data folder: one process at a time, one format.
//!
//! ```text
//!  <data_dir>/
//!    LOCK          held while a master runs
//!    FORMAT        which layout this is
//!    log.redb      log, vote, identity
//!    history.redb  ended runs
//!    snapshots/    manifests and shards
//! ```

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{OpenError, StoreError};
use crate::snapshot::{sync_dir, write_synced};

/// Content of the `FORMAT` file.
const FORMAT: &str = "muster master data, format 1";

/// A locked data folder; the lock lasts as long as the value.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Creates the folder if need be, locks it and checks its format.
    pub(crate) fn open(path: &Path) -> Result<Self, OpenError> {
        fs::create_dir_all(path).map_err(|e| StoreError::io(path, "create the folder", &e))?;
        let lock_path = path.join("LOCK");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(|e| StoreError::io(&lock_path, "open", &e))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::Locked { path: lock_path }),
            Err(TryLockError::Error(e)) => {
                return Err(StoreError::io(&lock_path, "lock", &e).into());
            }
        }
        let dir = Self { path: path.into(), _lock: lock };
        dir.check_format()?;
        Ok(dir)
    }

    fn check_format(&self) -> Result<(), OpenError> {
        let path = self.path.join("FORMAT");
        match fs::read_to_string(&path) {
            Ok(found) if found.trim_end() == FORMAT => Ok(()),
            Ok(found) => {
                let found = found.trim_end().chars().take(100).collect();
                Err(OpenError::Format { path, found, expected: FORMAT })
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                self.check_empty()?;
                write_synced(&path, format!("{FORMAT}\n").as_bytes())?;
                sync_dir(&self.path)?;
                Ok(())
            }
            Err(e) => Err(StoreError::io(&path, "read", &e).into()),
        }
    }

    /// A folder without `FORMAT` must hold nothing but what a start that was cut short, or a file system, leaves.
    fn check_empty(&self) -> Result<(), OpenError> {
        let error = |e: io::Error| StoreError::io(&self.path, "list the folder", &e);
        for entry in fs::read_dir(&self.path).map_err(error)? {
            let name = entry.map_err(error)?.file_name();
            if !["LOCK", "FORMAT.tmp", "lost+found"].iter().any(|known| name == *known) {
                return Err(OpenError::NotOurs { path: self.path.clone() });
            }
        }
        Ok(())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.path.join("log.redb")
    }

    pub(crate) fn history(&self) -> PathBuf {
        self.path.join("history.redb")
    }

    pub(crate) fn snapshots(&self) -> PathBuf {
        self.path.join("snapshots")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_opened_by_one_at_a_time() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let first = DataDir::open(dir.path()).expect("a new folder");
        assert!(matches!(DataDir::open(dir.path()), Err(OpenError::Locked { .. })));
        drop(first);
        DataDir::open(dir.path()).expect("free again");
    }

    #[test]
    fn other_folders_are_refused() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        fs::write(dir.path().join("letters.txt"), "mine").expect("writable");
        assert!(matches!(DataDir::open(dir.path()), Err(OpenError::NotOurs { .. })));
        fs::write(dir.path().join("FORMAT"), "muster master data, format 2\n").expect("writable");
        let refusal = DataDir::open(dir.path()).expect_err("another format").to_string();
        assert!(refusal.contains("format 2") && refusal.contains("FORMAT"), "{refusal}");
    }
}
