//! The worker's folder: one worker at a time, and what it remembers of its cluster.
//!
//! ```text
//!  <data_dir>/
//!    lock          held while a worker runs
//!    FORMAT        which layout this is
//!    cluster-id    of the cluster that it registered with
//!    worker-tag    the mark of its processes
//!    journal/      outcomes that are not acknowledged
//!    logs/         what attempts printed
//!    work/ outputs/ scripts/   of attempts; emptied at every start
//! ```
//!
//! A second worker over the same folder would kill the first one's attempts, taking them for leftovers. And what is
//! emptied at every start had better be a worker's.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use muster_platform::{Disk, Lock};
use tokio::time::{Instant, sleep};

/// How long a worker waits for the one before it to be gone.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it looks.
const LOOK: Duration = Duration::from_millis(20);
/// Content of the `FORMAT` file.
const FORMAT: &str = "muster worker data, format 1";
/// Most characters of another format that are shown.
const SHOWN_MAX: usize = 100;
/// What may be in a folder that becomes a worker's: what a start that was cut short, or a file system, leaves.
const EMPTY: [&str; 3] = ["lock", "FORMAT.tmp", "lost+found"];

/// Why a folder is not for this worker.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// It cannot be used.
    #[error("{path}: {error}")]
    Io {
        /// The folder, or a file in it.
        path: PathBuf,
        /// What the operating system says.
        error: io::Error,
    },
    /// Another worker runs over it.
    #[error("another worker uses the folder {path}")]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// It holds something that no worker has put there.
    #[error("{path} is neither empty nor a worker's data folder; choose another folder")]
    NotOurs {
        /// The folder.
        path: PathBuf,
    },
    /// It belongs to another version, or to a master.
    #[error(
        "{path} says `{found}`, and this worker needs `{FORMAT}`; choose another folder, or the version that wrote it"
    )]
    Format {
        /// The file that says so.
        path: PathBuf,
        /// What it says, cut to 100 characters.
        found: String,
    },
}

/// A folder that is this worker's.
#[derive(Clone)]
pub(super) struct Folder {
    disk: Arc<dyn Disk>,
    path: PathBuf,
}

impl Folder {
    /// Makes the folder if need be and takes it for this worker, for as long as the lock is held. Waits for up to five
    /// seconds while another worker has it.
    pub(super) async fn take(
        disk: Arc<dyn Disk>,
        path: &Path,
    ) -> Result<(Self, Lock), FolderError> {
        let folder = Folder { disk, path: path.to_owned() };
        folder.disk.create_dir_all(path).map_err(|error| folder.failed("", error))?;
        // Before the lock is made, so that nothing is left in somebody else's folder.
        folder.is_claimed()?;
        let started = Instant::now();
        let lock = loop {
            let lock = folder.disk.lock(&path.join("lock"));
            match lock.map_err(|error| folder.failed("lock", error))? {
                Some(lock) => break lock,
                None if started.elapsed() < PATIENCE => sleep(LOOK).await,
                None => return Err(FolderError::InUse { path: path.to_owned() }),
            }
        };
        if !folder.is_claimed()? {
            let claimed = folder.write("FORMAT", format!("{FORMAT}\n").as_bytes());
            claimed.map_err(|error| folder.failed("FORMAT", error))?;
        }
        Ok((folder, lock))
    }

    /// Whether the folder is a worker's already; if not, it may become one.
    fn is_claimed(&self) -> Result<bool, FolderError> {
        let path = self.path.join("FORMAT");
        match self.disk.read(&path) {
            Ok(found) if found.trim_ascii_end() == FORMAT.as_bytes() => Ok(true),
            Ok(found) => {
                let found = String::from_utf8_lossy(&found);
                let found = found.trim_end().chars().take(SHOWN_MAX).collect();
                Err(FolderError::Format { path, found })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.check_claimable().map(|()| false)
            }
            Err(error) => Err(FolderError::Io { path, error }),
        }
    }

    fn check_claimable(&self) -> Result<(), FolderError> {
        let names = self.disk.list(&self.path).map_err(|error| self.failed("", error))?;
        let is_empty = names.iter().all(|name| EMPTY.iter().any(|known| name == Path::new(known)));
        // Workers from before there was a format left this mark.
        if is_empty || names.iter().any(|name| name == Path::new("worker-tag")) {
            return Ok(());
        }
        Err(FolderError::NotOurs { path: self.path.clone() })
    }

    fn failed(&self, name: &str, error: io::Error) -> FolderError {
        FolderError::Io { path: self.path.join(name), error }
    }

    /// The id of the cluster that the worker belongs to; empty as long as it has not registered.
    pub(super) fn cluster_id(&self) -> String {
        let text = self.disk.read(&self.path.join("cluster-id")).unwrap_or_default();
        String::from_utf8(text).unwrap_or_default()
    }

    /// Remembers the cluster, so that a master of another one, met at a reused address, refuses this worker.
    pub(super) fn keep_cluster_id(&self, id: &str) -> io::Result<()> {
        self.write("cluster-id", id.as_bytes())
    }

    /// Replaces a file as a whole, durably.
    fn write(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let (path, draft) = (self.path.join(name), self.path.join(format!("{name}.tmp")));
        self.disk.write(&draft, content)?;
        self.disk.sync(&draft)?;
        self.disk.rename(&draft, &path)?;
        self.disk.sync_dir(&self.path)
    }
}

impl fmt::Debug for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Folder").field("path", &self.path).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use muster_platform::Files;

    use super::*;

    async fn take(path: &Path) -> Result<(Folder, Lock), FolderError> {
        Folder::take(Arc::new(Files), path).await
    }

    fn names(path: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort_unstable();
        names
    }

    #[tokio::test]
    async fn a_folder_is_claimed_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new");
        let (folder, lock) = take(&path).await.unwrap();
        folder.keep_cluster_id("one").unwrap();
        drop(lock);
        assert_eq!(names(&path), ["FORMAT", "cluster-id", "lock"]);
        let (folder, _lock) = take(&path).await.unwrap();
        assert_eq!(folder.cluster_id(), "one");
    }

    #[tokio::test(start_paused = true)]
    async fn a_folder_has_one_worker_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let (_folder, lock) = take(dir.path()).await.unwrap();
        let error = take(dir.path()).await.unwrap_err();
        assert!(matches!(error, FolderError::InUse { .. }), "{error}");
        let leaving = async {
            sleep(PATIENCE / 2).await;
            drop(lock);
        };
        let (taken, ()) = tokio::join!(take(dir.path()), leaving);
        taken.unwrap();
    }

    #[tokio::test]
    async fn what_is_not_a_workers_is_refused_and_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("scripts")).unwrap();
        let error = take(dir.path()).await.unwrap_err();
        assert!(matches!(error, FolderError::NotOurs { .. }), "{error}");
        assert_eq!(names(dir.path()), ["scripts"]);
        fs::write(dir.path().join("FORMAT"), "muster master data, format 1\n").unwrap();
        let error = take(dir.path()).await.unwrap_err().to_string();
        assert!(error.contains("muster master data") && error.contains("FORMAT"), "{error}");
        assert_eq!(names(dir.path()), ["FORMAT", "scripts"]);
    }

    #[tokio::test]
    async fn a_start_that_was_cut_short_and_an_older_worker_are_no_hindrance() {
        let dir = tempfile::tempdir().unwrap();
        for name in EMPTY {
            fs::write(dir.path().join(name), "").unwrap();
        }
        take(dir.path()).await.unwrap();
        let older = tempfile::tempdir().unwrap();
        for name in ["worker-tag", "journal"] {
            fs::write(older.path().join(name), "").unwrap();
        }
        take(older.path()).await.unwrap();
    }
}
