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

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use muster_platform::{Disk, Lock};

use crate::error::{OpenError, StoreError};
use crate::site::Site;

/// Content of the `FORMAT` file.
const FORMAT: &str = "muster master data, format 1";

/// A locked data folder.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    lock: Arc<Lock>,
}

impl DataDir {
    /// Creates the folder if need be, locks it and checks its format.
    pub(crate) fn open(site: &Site, path: &Path) -> Result<Self, OpenError> {
        create(site, path)?;
        let lock_path = path.join("LOCK");
        let lock =
            site.disk.lock(&lock_path).map_err(|e| StoreError::io(&lock_path, "lock", &e))?;
        let Some(lock) = lock else { return Err(OpenError::Locked { path: lock_path }) };
        let dir = Self { path: path.into(), lock: Arc::new(lock) };
        dir.check_format(site)?;
        Ok(dir)
    }

    fn check_format(&self, site: &Site) -> Result<(), OpenError> {
        let path = self.path.join("FORMAT");
        match site.disk.read(&path) {
            Ok(found) => {
                let found = String::from_utf8_lossy(&found);
                if found.trim_end() == FORMAT {
                    return Ok(());
                }
                let found = found.trim_end().chars().take(100).collect();
                Err(OpenError::Format { path, found, expected: FORMAT })
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                self.check_empty(&*site.disk)?;
                site.write_synced(&path, format!("{FORMAT}\n").as_bytes())?;
                site.sync_dir(&self.path)?;
                Ok(())
            }
            Err(e) => Err(StoreError::io(&path, "read", &e).into()),
        }
    }

    /// A folder without `FORMAT` must hold nothing but what a start that was cut short, or a file system, leaves.
    fn check_empty(&self, disk: &dyn Disk) -> Result<(), OpenError> {
        let error = |e: io::Error| StoreError::io(&self.path, "list the folder", &e);
        for name in disk.list(&self.path).map_err(error)? {
            if !["LOCK", "FORMAT.tmp", "lost+found"].iter().any(|known| name == Path::new(known)) {
                return Err(OpenError::NotOurs { path: self.path.clone() });
            }
        }
        Ok(())
    }

    /// Held as long as anybody has this; all that write to the folder do.
    pub(crate) fn lock(&self) -> Arc<Lock> {
        Arc::clone(&self.lock)
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

/// Creates the folder if it is not there, durably: its name, and those of the folders above it that were missing.
fn create(site: &Site, path: &Path) -> Result<(), StoreError> {
    let is_missing = |dir: &&Path| {
        let found = site.disk.list(dir);
        !dir.as_os_str().is_empty() && found.is_err_and(|e| e.kind() == io::ErrorKind::NotFound)
    };
    let missing: Vec<&Path> = path.ancestors().take_while(is_missing).collect();
    let made = site.disk.create_dir_all(path);
    made.map_err(|e| StoreError::io(path, "create the folder", &e))?;
    for parent in missing.iter().filter_map(|dir| dir.parent()) {
        let is_current = parent.as_os_str().is_empty();
        site.sync_dir(if is_current { Path::new(".") } else { parent })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_folder_is_opened_by_one_at_a_time() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let first = DataDir::open(&Site::default(), dir.path()).expect("a new folder");
        assert!(matches!(
            DataDir::open(&Site::default(), dir.path()),
            Err(OpenError::Locked { .. })
        ));
        drop(first);
        DataDir::open(&Site::default(), dir.path()).expect("free again");
    }

    #[test]
    fn other_folders_are_refused() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        fs::write(dir.path().join("letters.txt"), "mine").expect("writable");
        assert!(matches!(
            DataDir::open(&Site::default(), dir.path()),
            Err(OpenError::NotOurs { .. })
        ));
        fs::write(dir.path().join("FORMAT"), "muster master data, format 2\n").expect("writable");
        let refusal =
            DataDir::open(&Site::default(), dir.path()).expect_err("another format").to_string();
        assert!(refusal.contains("format 2") && refusal.contains("FORMAT"), "{refusal}");
    }
}
