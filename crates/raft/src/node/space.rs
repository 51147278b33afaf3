//! Stops proposals before the disk is full, so that the master stays readable and recovers when there is room.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use muster_platform::Disk;
use tokio::sync::watch;

const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Keeps `refusal` up to date with the free space under `path`.
pub(super) async fn watch(
    disk: Arc<dyn Disk>,
    path: PathBuf,
    free_bytes_min: u64,
    refusal: watch::Sender<Option<String>>,
) {
    loop {
        let found = shortage(&*disk, &path, free_bytes_min);
        refusal.send_if_modified(|current| {
            let changes = current.is_some() != found.is_some();
            match (&found, changes) {
                (Some(reason), true) => tracing::error!("{reason}"),
                (None, true) => {
                    tracing::info!(path = %path.display(), "there is room on the disk again")
                }
                _ => {}
            }
            *current = found;
            changes
        });
        tokio::time::sleep(CHECK_INTERVAL).await;
    }
}

/// Why nothing may be proposed, if less than `free_bytes_min` is free under `path`.
pub(super) fn shortage(disk: &dyn Disk, path: &Path, free_bytes_min: u64) -> Option<String> {
    // A file system that does not tell is not held against anybody.
    let free_bytes = disk.free_bytes(path).ok()?;
    (free_bytes < free_bytes_min).then(|| {
        format!(
            "{}: only {} MiB are free on this file system, {} MiB are needed to accept work; free some space",
            path.display(),
            free_bytes >> 20,
            free_bytes_min >> 20
        )
    })
}
