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
        create(disk, path)?;
        guarded(path, || Self::open_existing(disk, path, cache_bytes, lock))
    }

    fn open_existing(
        disk: &Arc<dyn Disk>,
        path: &Path,
        cache_bytes: usize,
        lock: Arc<Lock>,
    ) -> Result<Self, StoreError> {
        let file = Blocks::open(disk, path).map_err(|e| StoreError::io(path, "open", &e))?;
        file.sync_data().map_err(|e| StoreError::io(path, "sync", &e))?;
        let mut db = redb::Builder::new()
            .set_cache_size(cache_bytes)
            .create_with_backend(file)
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
        create(disk, path)?;
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
/// power went would be taken for a damaged one. A file whose sync has failed is written anew.
fn create(disk: &Arc<dyn Disk>, path: &Path) -> Result<(), StoreError> {
    match disk.size(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(StoreError::io(path, "look at", &error)),
        Ok(_) => return renew(&**disk, path),
    }
    let begun = path.with_extension(TEMPORARY);
    let io_error = |error: io::Error| StoreError::io(&begun, "create", &error);
    let file = disk.create_blocks(&begun).map(|file| Blocks::over(file, disk, &begun));
    let file = file.map_err(io_error)?;
    let db = redb::Builder::new().create_with_backend(file);
    drop(db.map_err(|error| StoreError::redb(&begun, "create", error))?);
    disk.sync(&begun).map_err(io_error)?;
    disk.rename(&begun, path).map_err(|error| StoreError::io(path, "rename to", &error))
}

/// Extension of the mark beside a file whose sync has failed. It need not be durable: it matters only as long as the
/// machine runs.
const UNSYNCED: &str = "unsynced";
/// What people find in it.
const UNSYNCED_NOTE: &[u8] =
    b"A sync of the file beside this one failed. It is written anew at the next start.\n";
/// Bytes copied at once.
const COPY_BYTES: usize = 1 << 20;

/// After a sync has failed, the operating system holds what was not written, shows it to readers, and takes it for
/// written: a later sync of the file succeeds without it, and what is built on it goes with the next power cut (Rebello
/// et al.: Can applications recover from fsync failures? USENIX ATC 2020). So the content moves to another file.
fn renew(disk: &dyn Disk, path: &Path) -> Result<(), StoreError> {
    let mark = path.with_extension(UNSYNCED);
    match disk.size(&mark) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(StoreError::io(&mark, "look at", &error)),
        Ok(_) => {}
    }
    tracing::warn!(path = %path.display(), "a sync of this file failed before; writing it anew");
    let begun = path.with_extension(TEMPORARY);
    let copy = || {
        let (from, to) = (disk.open_blocks(path)?, disk.create_blocks(&begun)?);
        let size = from.size()?;
        let mut buffer = vec![0; COPY_BYTES];
        let mut at = 0;
        while at < size {
            let part = usize::try_from(size - at).map_or(COPY_BYTES, |left| left.min(COPY_BYTES));
            from.read(at, &mut buffer[..part])?;
            to.write(at, &buffer[..part])?;
            at += part as u64;
        }
        to.sync()?;
        disk.rename(&begun, path)?;
        disk.sync_dir(path.parent().unwrap_or(Path::new(".")))?;
        disk.remove(&mark)
    };
    copy().map_err(|error| StoreError::io(path, "write anew", &error))
}

/// A file of the platform, as redb wants it. It locks nothing: the folder is locked.
#[derive(Debug)]
struct Blocks {
    file: Box<dyn BlockFile>,
    disk: Arc<dyn Disk>,
    /// See [`renew`].
    mark: PathBuf,
}

impl Blocks {
    fn open(disk: &Arc<dyn Disk>, path: &Path) -> io::Result<Self> {
        Ok(Self::over(disk.open_blocks(path)?, disk, path))
    }

    fn over(file: Box<dyn BlockFile>, disk: &Arc<dyn Disk>, path: &Path) -> Self {
        Self { file, disk: Arc::clone(disk), mark: path.with_extension(UNSYNCED) }
    }
}

impl StorageBackend for Blocks {
    fn len(&self) -> io::Result<u64> {
        self.file.size()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync().inspect_err(|_| {
            // Without the mark the next start trusts the file, as it did before there was one; the error itself is
            // told either way.
            let _ = self.disk.write(&self.mark, UNSYNCED_NOTE);
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write(offset, data)
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

#[cfg(test)]
mod tests {
    use std::fs;

    use muster_platform::Files;
    use redb::TableDefinition;

    use super::*;

    const NUMBERS: TableDefinition<'static, u64, u64> = TableDefinition::new("numbers");

    fn open(path: &Path) -> OpenDatabase {
        let disk: Arc<dyn Disk> = Arc::new(Files);
        OpenDatabase::open(&disk, path, 1 << 20, Arc::new(Lock::new(()))).expect("a sound file")
    }

    #[test]
    fn a_file_whose_sync_failed_is_written_anew_also_if_a_rename_left_it_two_names() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("file.redb");
        let file = open(&path);
        let transaction = file.write().expect("a writer");
        transaction.open_table(NUMBERS).expect("a table").insert(1, 2).expect("room");
        transaction.commit().expect("a sound disk");
        drop(file);
        let (mark, begun) = (path.with_extension(UNSYNCED), path.with_extension(TEMPORARY));
        fs::write(&mark, UNSYNCED_NOTE).expect("room");
        fs::hard_link(&path, &begun).expect("as a rename cut in two leaves it");
        let file = open(&path);
        let numbers = file.read().expect("a reader").open_table(NUMBERS).expect("it was made");
        assert_eq!(numbers.get(1).expect("readable").map(|number| number.value()), Some(2));
        assert!(!mark.exists() && !begun.exists());
    }
}
