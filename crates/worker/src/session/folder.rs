//! The worker's folder: one worker at a time, and what it remembers of its cluster.
//!
//! A second worker over the same folder would kill the first one's attempts, taking them for leftovers.

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

/// A folder that is this worker's.
#[derive(Clone)]
pub(super) struct Folder {
    disk: Arc<dyn Disk>,
    path: PathBuf,
}

impl Folder {
    /// Makes the folder if need be and takes it for this worker, for as long as the lock is held. Waits for up to five
    /// seconds while another worker has it.
    pub(super) async fn take(disk: Arc<dyn Disk>, path: &Path) -> io::Result<(Self, Lock)> {
        disk.create_dir_all(path)?;
        let started = Instant::now();
        let lock = loop {
            match disk.lock(&path.join("lock"))? {
                Some(lock) => break lock,
                None if started.elapsed() < PATIENCE => sleep(LOOK).await,
                None => {
                    let message = format!("another worker uses the folder {}", path.display());
                    return Err(io::Error::new(io::ErrorKind::ResourceBusy, message));
                }
            }
        };
        Ok((Folder { disk, path: path.to_owned() }, lock))
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
