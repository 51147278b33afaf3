//! Where a master lives: the platform under it, and its disk.

use std::path::Path;
use std::sync::Arc;

use muster_platform::{Disk, Files, Platform};

use crate::error::StoreError;

/// Handed to all that use sockets, threads or files. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    pub(crate) platform: Platform,
    pub(crate) disk: Arc<dyn Disk>,
}

impl Default for Site {
    fn default() -> Self {
        Self { platform: Platform::system(), disk: Arc::new(Files) }
    }
}

impl Site {
    /// Does work with the files under `path`, off the runtime's threads, which must keep the heartbeats.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        path: &Path,
        work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let done = self.platform.blocking(work).await;
        done.map_err(|error| StoreError::io(path, "run a task for", &error))?
    }

    /// Writes beside the path, syncs, renames. The new name is durable once the folder is synced.
    pub(crate) fn write_synced(&self, path: &Path, content: &[u8]) -> Result<(), StoreError> {
        let temporary = path.with_extension(TEMPORARY);
        let write = || {
            self.disk.write(&temporary, content)?;
            self.disk.sync(&temporary)?;
            self.disk.rename(&temporary, path)
        };
        write().map_err(|e| StoreError::io(path, "write", &e))
    }

    /// Makes the names in a folder durable.
    pub(crate) fn sync_dir(&self, dir: &Path) -> Result<(), StoreError> {
        self.disk.sync_dir(dir).map_err(|e| StoreError::io(dir, "sync the folder", &e))
    }
}

/// Extension of files that are being written.
pub(crate) const TEMPORARY: &str = "tmp";
