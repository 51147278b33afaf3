//! Opening a redb file the way both stores want it: bounded cache, repaired after a crash, compacted when most of it is
//! air.

use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use muster_platform::{BlockFile, Disk, Lock};
use redb::{Database, ReadableDatabase, StorageBackend};

use crate::draft::Draft;
use crate::error::StoreError;
use crate::site::TEMPORARY;

/// Files smaller than this are never compacted.
const COMPACT_FILE_BYTES_MIN: u64 = 32 << 20;

/// An open redb file with its path, for errors.
pub(crate) struct OpenDatabase {
    pub(crate) db: Database,
    pub(crate) path: PathBuf,
    /// Of the folder. Released after the last of those who use the file: closing it writes, and nobody else may have
    /// opened it by then.
    _lock: Arc<Lock>,
}

impl OpenDatabase {
    /// Opens or creates the file. `cache_bytes` bounds redb's page cache. What is read is on disk, also if a process
    /// that crashed wrote it and did not come to its sync.
    pub(crate) fn open(
        disk: &Arc<dyn Disk>,
        path: &Path,
        cache_bytes: usize,
        lock: Arc<Lock>,
    ) -> Result<Self, StoreError> {
        create(&**disk, path)?;
        guarded(path, || Self::open_existing(disk, path, cache_bytes, lock))
    }

    fn open_existing(
        disk: &Arc<dyn Disk>,
        path: &Path,
        cache_bytes: usize,
        lock: Arc<Lock>,
    ) -> Result<Self, StoreError> {
        let file = disk.open_blocks(path).map_err(|e| StoreError::io(path, "open", &e))?;
        file.sync().map_err(|e| StoreError::io(path, "sync", &e))?;
        let mut db = redb::Builder::new()
            .set_cache_size(cache_bytes)
            .create_with_backend(Blocks(file))
            .map_err(|error| StoreError::redb(path, "open", error))?;
        if compaction_pays(&db, &**disk, path)? {
            tracing::info!(path = %path.display(), "compacting");
            db.compact().map_err(|error| StoreError::redb(path, "compact", error))?;
        }
        Ok(Self { db, path: path.into(), _lock: lock })
    }

    /// As [`open`](Self::open), after having read the whole file and compared every page with its checksum. Records
    /// have checksums of their own, but those do not show that a record is gone, because a page that leads to it, or
    /// its key, was damaged.
    pub(crate) fn open_verified(
        disk: &Arc<dyn Disk>,
        path: &Path,
        cache_bytes: usize,
        lock: Arc<Lock>,
    ) -> Result<Self, StoreError> {
        create(&**disk, path)?;
        guarded(path, || verify(&**disk, path, cache_bytes))?;
        Self::open(disk, path, cache_bytes, lock)
    }

    /// See [`guarded`].
    pub(crate) fn guard<T>(
        &self,
        work: impl FnOnce() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        guarded(&self.path, work)
    }

    pub(crate) fn read(&self) -> Result<redb::ReadTransaction, StoreError> {
        self.db.begin_read().map_err(|error| self.error("begin a read", error))
    }

    pub(crate) fn write(&self) -> Result<redb::WriteTransaction, StoreError> {
        self.db.begin_write().map_err(|error| self.error("begin a write", error))
    }

    pub(crate) fn error(&self, action: &'static str, error: impl Into<redb::Error>) -> StoreError {
        StoreError::redb(&self.path, action, error)
    }

    pub(crate) fn damaged(
        &self,
        table: &'static str,
        key: impl std::fmt::Display,
        problem: impl std::fmt::Display,
    ) -> StoreError {
        StoreError::damaged(&self.path, table, key, problem)
    }
}

/// Does `work` with the file at `path`. redb panics when it meets some kinds of damage; that too is told by name.
fn guarded<T>(path: &Path, work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    // What was borrowed is not used again: an error of a store ends its use.
    panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or_default();
        Err(StoreError::damaged(path, "-", "-", format!("the database cannot be read ({text})")))
    })
}

/// Compares every page with its checksum. redb repairs what it can by going back to the commit before: that would lose
/// what was acknowledged, so it repairs a draft, and the file stays as it is.
fn verify(disk: &dyn Disk, path: &Path, cache_bytes: usize) -> Result<(), StoreError> {
    let draft = disk.open_blocks(path).and_then(Draft::over);
    let draft = draft.map_err(|error| StoreError::io(path, "open", &error))?;
    let mut db = redb::Builder::new()
        .set_cache_size(cache_bytes)
        .create_with_backend(draft)
        .map_err(|error| StoreError::redb(path, "open", error))?;
    let is_sound = db.check_integrity().map_err(|error| StoreError::redb(path, "verify", error))?;
    if is_sound { Ok(()) } else { Err(StoreError::damaged(path, "-", "-", "a page is damaged")) }
}

/// Creates an empty database unless there is a file, beside the path: a file that was begun and not finished when the
/// power went would be taken for a damaged one.
fn create(disk: &dyn Disk, path: &Path) -> Result<(), StoreError> {
    match disk.size(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(StoreError::io(path, "look at", &error)),
        Ok(_) => return Ok(()),
    }
    let begun = path.with_extension(TEMPORARY);
    let io_error = |error: io::Error| StoreError::io(&begun, "create", &error);
    let file = disk.open_blocks(&begun).map_err(io_error)?;
    file.set_len(0).map_err(io_error)?;
    let db = redb::Builder::new().create_with_backend(Blocks(file));
    drop(db.map_err(|error| StoreError::redb(&begun, "create", error))?);
    disk.sync(&begun).map_err(io_error)?;
    disk.rename(&begun, path).map_err(|error| StoreError::io(path, "rename to", &error))
}

/// A file of the platform, as redb wants it. It locks nothing: the folder is locked.
#[derive(Debug)]
struct Blocks(Box<dyn BlockFile>);

impl StorageBackend for Blocks {
    fn len(&self) -> io::Result<u64> {
        self.0.size()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }
}

fn compaction_pays(db: &Database, disk: &dyn Disk, path: &Path) -> Result<bool, StoreError> {
    let file_bytes = disk.size(path).map_err(|error| StoreError::io(path, "look at", &error))?;
    if file_bytes < COMPACT_FILE_BYTES_MIN {
        return Ok(false);
    }
    let transaction =
        db.begin_write().map_err(|error| StoreError::redb(path, "begin a write", error))?;
    let stats =
        transaction.stats().map_err(|error| StoreError::redb(path, "read statistics", error))?;
    let used_bytes = stats.stored_bytes() + stats.metadata_bytes();
    transaction.abort().map_err(|error| StoreError::redb(path, "end a write", error))?;
    Ok(used_bytes * 2 < file_bytes)
}
