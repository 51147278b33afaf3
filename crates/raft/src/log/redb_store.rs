//! [`LogStore`] over one redb file.
//!
//! Table `entries` maps index to record, table `meta` holds identity, vote, committed and purged. Purging notes the new
//! start of the log at once and deletes the entries in chunks, a chunk a commit, so that no append waits for a big one.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use muster_core::mutant::{self, Mutant};
use muster_platform::{Disk, Lock};
use muster_proto::internal::v1 as pb;
use redb::{ReadableTable, TableDefinition};

use super::{Identity, LogContent, LogOperation, LogReader, LogStore, entry_bytes};
use crate::database::OpenDatabase;
use crate::error::StoreError;
use crate::record::{self, Kind};
use crate::types::{ClusterId, Entry};
use crate::wire;

const ENTRIES: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("entries");
const META: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("meta");
const IDENTITY: &str = "identity";
const VOTE: &str = "vote";
const COMMITTED: &str = "committed";
const PURGED: &str = "purged";

/// A commit deletes at most this many purged entries, and this many of their bytes.
const PURGE_ENTRIES_MAX: u64 = 1_000;
const PURGE_BYTES_MAX: usize = 4 << 20;

/// The log in a redb file.
pub struct RedbLogStore {
    file: Arc<OpenDatabase>,
    /// Purged entries that are still in the file.
    garbage: Range<u64>,
    scratch: Vec<u8>,
}

impl RedbLogStore {
    /// Opens or creates the file. `cache_bytes` bounds redb's page cache; `lock` is the folder's.
    ///
    /// # Errors
    /// The file cannot be opened, or a page of it is damaged. Records are checked by [`LogStore::load`].
    pub(crate) fn open(
        disk: &Arc<dyn Disk>,
        path: &Path,
        cache_bytes: usize,
        lock: Arc<Lock>,
    ) -> Result<Self, StoreError> {
        let file = Arc::new(OpenDatabase::open_verified(disk, path, cache_bytes, lock)?);
        Arc::clone(&file).guard(|| Self::over(file))
    }

    fn over(file: Arc<OpenDatabase>) -> Result<Self, StoreError> {
        let transaction = file.write()?;
        let first = {
            let entries =
                transaction.open_table(ENTRIES).map_err(|e| file.error("open a table", e))?;
            transaction.open_table(META).map_err(|e| file.error("open a table", e))?;
            let first = entries.first().map_err(|e| file.error("read", e))?;
            first.map_or(0, |(key, _)| key.value())
        };
        transaction.commit().map_err(|e| file.error("commit", e))?;
        let mut store = Self { file, garbage: 0..0, scratch: Vec::new() };
        let purged: Option<pb::LogId> = store.meta(PURGED, Kind::LogId)?;
        store.garbage = first..purged.map_or(0, |id| id.index + 1).max(first);
        Ok(store)
    }

    fn meta<M: prost::Message + Default>(
        &self,
        key: &'static str,
        kind: Kind,
    ) -> Result<Option<M>, StoreError> {
        let table =
            self.file.read()?.open_table(META).map_err(|e| self.file.error("open a table", e))?;
        let Some(record) = table.get(key).map_err(|e| self.file.error("read", e))? else {
            return Ok(None);
        };
        record::decode(kind, key.as_bytes(), Bytes::copy_from_slice(record.value()))
            .map(Some)
            .map_err(|problem| self.file.damaged("meta", key, problem))
    }

    fn carry_out(
        &mut self,
        operation: &LogOperation,
        entries: &mut redb::Table<'_, u64, &'static [u8]>,
        meta: &mut redb::Table<'_, &'static str, &'static [u8]>,
    ) -> Result<(), StoreError> {
        let file = Arc::clone(&self.file);
        let mut put = |key: &'static str, kind, message: &dyn EncodeRecord| {
            message.encode_record(kind, key.as_bytes(), &mut self.scratch);
            meta.insert(key, &self.scratch[..]).map(|_| ()).map_err(|e| file.error("write", e))
        };
        match operation {
            LogOperation::Append(batch) => {
                for entry in batch {
                    let index = entry.log_id.index;
                    record::encode(
                        Kind::Entry,
                        &index.to_be_bytes(),
                        &wire::entry_out(entry),
                        &mut self.scratch,
                    );
                    entries.insert(index, &self.scratch[..]).map_err(|e| file.error("write", e))?;
                }
                Ok(())
            }
            LogOperation::TruncateFrom(index) => {
                entries.retain_in(*index.., |_, _| false).map_err(|e| file.error("truncate", e))
            }
            LogOperation::Purge(id) => {
                put(PURGED, Kind::LogId, &wire::log_id_out(id))?;
                self.garbage.end = self.garbage.end.max(id.index + 1);
                Ok(())
            }
            LogOperation::Vote(_) if mutant::is_on(Mutant::VoteForgotten) => Ok(()),
            LogOperation::Vote(vote) => put(VOTE, Kind::Vote, &wire::vote_out(vote)),
            LogOperation::Committed(id) => put(COMMITTED, Kind::LogId, &wire::log_id_out(id)),
            LogOperation::Identity(identity) => {
                put(IDENTITY, Kind::Identity, &identity_out(identity))
            }
        }
    }

    /// Deletes one chunk of what was purged.
    fn collect(
        &mut self,
        entries: &mut redb::Table<'_, u64, &'static [u8]>,
    ) -> Result<(), StoreError> {
        let mut bytes = 0;
        let mut end = self.garbage.start;
        for item in entries.range(self.garbage.clone()).map_err(|e| self.file.error("read", e))? {
            let (key, value) = item.map_err(|e| self.file.error("read", e))?;
            bytes += value.value().len();
            end = key.value() + 1;
            if end - self.garbage.start >= PURGE_ENTRIES_MAX || bytes >= PURGE_BYTES_MAX {
                break;
            }
        }
        if bytes == 0 {
            self.garbage.start = self.garbage.end;
            return Ok(());
        }
        entries
            .retain_in(self.garbage.start..end, |_, _| false)
            .map_err(|e| self.file.error("purge", e))?;
        self.garbage.start = end;
        Ok(())
    }
}

impl LogStore for RedbLogStore {
    fn commit(&mut self, operations: &[LogOperation]) -> Result<(), StoreError> {
        Arc::clone(&self.file).guard(|| self.commit_all(operations))
    }

    fn has_garbage(&self) -> bool {
        !self.garbage.is_empty()
    }

    fn load(&self, tail_bytes_max: usize) -> Result<LogContent, StoreError> {
        self.file.guard(|| self.load_all(tail_bytes_max))
    }

    fn reader(&self) -> Arc<dyn LogReader> {
        Arc::new(RedbLogReader(Arc::clone(&self.file)))
    }
}

impl RedbLogStore {
    fn commit_all(&mut self, operations: &[LogOperation]) -> Result<(), StoreError> {
        let file = Arc::clone(&self.file);
        let transaction = file.write()?;
        {
            let mut entries =
                transaction.open_table(ENTRIES).map_err(|e| file.error("open a table", e))?;
            let mut meta =
                transaction.open_table(META).map_err(|e| file.error("open a table", e))?;
            for operation in operations {
                self.carry_out(operation, &mut entries, &mut meta)?;
            }
            if self.has_garbage() {
                self.collect(&mut entries)?;
            }
        }
        // redb's default durability is immediate: this is the one fsync of the group.
        transaction.commit().map_err(|e| file.error("commit", e))
    }

    fn load_all(&self, tail_bytes_max: usize) -> Result<LogContent, StoreError> {
        let identity: Option<pb::Identity> = self.meta(IDENTITY, Kind::Identity)?;
        let vote: Option<pb::Vote> = self.meta(VOTE, Kind::Vote)?;
        let committed: Option<pb::LogId> = self.meta(COMMITTED, Kind::LogId)?;
        let purged: Option<pb::LogId> = self.meta(PURGED, Kind::LogId)?;
        let purged = purged.as_ref().map(wire::log_id_in);
        let mut content = LogContent {
            identity: identity.map(|identity| self.identity_in(&identity)).transpose()?,
            vote: vote.as_ref().map(wire::vote_in),
            committed: committed.as_ref().map(wire::log_id_in),
            purged,
            last: None,
            tail: Vec::new(),
        };
        let mut tail = std::collections::VecDeque::new();
        let mut tail_bytes = 0;
        let table = self
            .file
            .read()?
            .open_table(ENTRIES)
            .map_err(|e| self.file.error("open a table", e))?;
        let start = purged.map_or(0, |id| id.index + 1);
        let range = table.range(start..).map_err(|e| self.file.error("read", e))?;
        for (expected, item) in (start..).zip(range) {
            let (key, value) = item.map_err(|e| self.file.error("read", e))?;
            let index = key.value();
            check_present(&self.file, expected, index)?;
            let entry = decode_entry(&self.file, index, value.value())?;
            content.last = Some(entry.log_id);
            tail_bytes += entry_bytes(&entry);
            tail.push_back(entry);
            while tail_bytes > tail_bytes_max && tail.len() > 1 {
                tail_bytes -= tail.pop_front().as_ref().map_or(0, entry_bytes);
            }
        }
        if mutant::is_on(Mutant::LogTailLost) && tail.len() > 1 {
            tail.pop_back();
            content.last = tail.back().map(|entry: &Entry| entry.log_id);
        }
        content.tail = tail.into();
        Ok(content)
    }

    fn identity_in(&self, identity: &pb::Identity) -> Result<Identity, StoreError> {
        let cluster_id = if identity.cluster_id.is_empty() {
            None
        } else {
            let id = ClusterId::from_bytes(&identity.cluster_id).ok_or_else(|| {
                self.file.damaged("meta", IDENTITY, "the cluster id has the wrong length")
            })?;
            Some(id)
        };
        if identity.member_id == 0 {
            return Err(self.file.damaged("meta", IDENTITY, "the member id is zero"));
        }
        Ok(Identity { member_id: identity.member_id, cluster_id })
    }
}

fn identity_out(identity: &Identity) -> pb::Identity {
    pb::Identity {
        member_id: identity.member_id,
        cluster_id: identity.cluster_id.map(ClusterId::to_bytes).unwrap_or_default(),
    }
}

/// [`record::encode`] for messages of several types in one place.
trait EncodeRecord {
    fn encode_record(&self, kind: Kind, key: &[u8], out: &mut Vec<u8>);
}

impl<M: prost::Message> EncodeRecord for M {
    fn encode_record(&self, kind: Kind, key: &[u8], out: &mut Vec<u8>) {
        record::encode(kind, key, self, out);
    }
}

struct RedbLogReader(Arc<OpenDatabase>);

impl LogReader for RedbLogReader {
    fn read(&self, range: Range<u64>, bytes_max: usize) -> Result<Vec<Entry>, StoreError> {
        self.0.guard(|| self.read_some(range, bytes_max))
    }
}

impl RedbLogReader {
    fn read_some(&self, range: Range<u64>, bytes_max: usize) -> Result<Vec<Entry>, StoreError> {
        let file = &self.0;
        let table = file.read()?.open_table(ENTRIES).map_err(|e| file.error("open a table", e))?;
        let mut entries: Vec<Entry> = Vec::new();
        let mut bytes = 0;
        let mut expected = range.start;
        for item in table.range(range.clone()).map_err(|e| file.error("read", e))? {
            let (key, value) = item.map_err(|e| file.error("read", e))?;
            check_present(file, expected, key.value())?;
            let entry = decode_entry(file, expected, value.value())?;
            bytes += entry_bytes(&entry);
            if bytes > bytes_max && !entries.is_empty() {
                return Ok(entries);
            }
            entries.push(entry);
            expected += 1;
        }
        check_present(file, expected, range.end)?;
        Ok(entries)
    }
}

fn check_present(file: &OpenDatabase, expected: u64, found: u64) -> Result<(), StoreError> {
    if expected == found {
        return Ok(());
    }
    Err(file.damaged("entries", expected, format!("the entry is missing, up to {found}")))
}

fn decode_entry(file: &OpenDatabase, index: u64, value: &[u8]) -> Result<Entry, StoreError> {
    let message: pb::LogEntry =
        record::decode(Kind::Entry, &index.to_be_bytes(), Bytes::copy_from_slice(value))
            .map_err(|problem| file.damaged("entries", index, problem))?;
    let entry =
        wire::entry_in(message).map_err(|problem| file.damaged("entries", index, problem))?;
    if entry.log_id.index != index {
        let problem = format!("the record is entry {}", entry.log_id.index);
        return Err(file.damaged("entries", index, problem));
    }
    Ok(entry)
}
