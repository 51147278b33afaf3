//! Opening a redb file the way both stores want it: bounded cache, repaired after a crash, compacted when most of it is
//! air.

use std::path::{Path, PathBuf};

use redb::{Database, ReadableDatabase};

use crate::error::StoreError;

/// Files smaller than this are never compacted.
const COMPACT_FILE_BYTES_MIN: u64 = 32 << 20;

/// An open redb file with its path, for errors.
pub(crate) struct OpenDatabase {
    pub(crate) db: Database,
    pub(crate) path: PathBuf,
}

impl OpenDatabase {
    /// Opens or creates the file. `cache_bytes` bounds redb's page cache.
    pub(crate) fn open(path: &Path, cache_bytes: usize) -> Result<Self, StoreError> {
        let mut db = redb::Builder::new()
            .set_cache_size(cache_bytes)
            .create(path)
            .map_err(|error| StoreError::redb(path, "open", error))?;
        if compaction_pays(&db, path)? {
            tracing::info!(path = %path.display(), "compacting");
            db.compact().map_err(|error| StoreError::redb(path, "compact", error))?;
        }
        Ok(Self { db, path: path.into() })
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

fn compaction_pays(db: &Database, path: &Path) -> Result<bool, StoreError> {
    let file_bytes =
        std::fs::metadata(path).map_err(|error| StoreError::io(path, "look at", &error))?.len();
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
