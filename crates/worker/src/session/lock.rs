//! One worker a folder: a second one would kill the first one's attempts, taking them for leftovers.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

/// How long a worker waits for the one before it to be gone.
const PATIENCE: Duration = Duration::from_secs(5);

/// Held for as long as a worker uses its folder.
#[derive(Debug)]
pub(super) struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// Takes `dir` for this worker. Blocks for up to five seconds while another has it.
    pub(super) fn take(dir: &Path) -> io::Result<Self> {
        let file =
            OpenOptions::new().create(true).truncate(false).write(true).open(dir.join("lock"))?;
        let started = Instant::now();
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(FolderLock { _file: file }),
                Err(rustix::io::Errno::WOULDBLOCK) if started.elapsed() < PATIENCE => {
                    thread::sleep(Duration::from_millis(20));
                }
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    let message = format!("another worker uses the folder {}", dir.display());
                    return Err(io::Error::new(io::ErrorKind::ResourceBusy, message));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}
