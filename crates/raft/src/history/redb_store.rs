//! [`HistoryStore`] over one redb file: the runs by id, and two indexes.

use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use muster_platform::{Disk, Lock};
use muster_proto::internal::v1 as pb;
use redb::{ReadableTable as _, ReadableTableMetadata as _, TableDefinition};

use super::{EndCursor, HistoryChange, HistoryItem, HistoryReader, HistoryStore};
use crate::database::OpenDatabase;
use crate::error::StoreError;
use crate::record::{self, Kind};

const RUNS: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("runs");
/// (namespace, workflow, number) to run id.
const BY_NAME: TableDefinition<'static, (&str, &str, u64), u64> = TableDefinition::new("by_name");
/// (end index, run id), in order of ending.
const BY_END: TableDefinition<'static, (u64, u64), ()> = TableDefinition::new("by_end");
const META: TableDefinition<'static, &str, u64> = TableDefinition::new("meta");
const DURABLE_INDEX: &str = "durable_index";

/// The history in a redb file.
pub struct RedbHistoryStore {
    file: Arc<OpenDatabase>,
    durable_index: u64,
    scratch: Vec<u8>,
}

struct Tables<'t> {
    runs: redb::Table<'t, u64, &'static [u8]>,
    by_name: redb::Table<'t, (&'static str, &'static str, u64), u64>,
    by_end: redb::Table<'t, (u64, u64), ()>,
}

impl RedbHistoryStore {
    /// Opens or creates the file. `cache_bytes` bounds redb's page cache; `lock` is the folder's.
    ///
    /// # Errors
    /// The file cannot be opened, or is damaged.
    pub(crate) fn open(
        disk: &Arc<dyn Disk>,
        path: &Path,
        cache_bytes: usize,
        lock: Arc<Lock>,
    ) -> Result<Self, StoreError> {
        let file = Arc::new(OpenDatabase::open(disk, path, cache_bytes, lock)?);
        Arc::clone(&file).guard(|| Self::over(file))
    }

    fn over(file: Arc<OpenDatabase>) -> Result<Self, StoreError> {
        let transaction = file.write()?;
        {
            let open = |e| file.error("open a table", e);
            transaction.open_table(RUNS).map_err(open)?;
            transaction.open_table(BY_NAME).map_err(open)?;
            transaction.open_table(BY_END).map_err(open)?;
            transaction.open_table(META).map_err(open)?;
        }
        transaction.commit().map_err(|e| file.error("commit", e))?;
        let durable_index = RedbHistoryReader(Arc::clone(&file)).durable_index()?;
        Ok(Self { file, durable_index, scratch: Vec::new() })
    }

    fn carry_out(
        &mut self,
        change: &HistoryChange,
        tables: &mut Tables<'_>,
    ) -> Result<(), StoreError> {
        match change {
            HistoryChange::Put(item) => {
                // Replay of the log puts the same run again, possibly ended by the same entry only.
                self.delete(item.run_id, tables)?;
                self.put(item, tables)
            }
            HistoryChange::DeleteEndedBefore(index) => self.delete_ended_before(*index, tables),
        }
    }

    fn put(&mut self, item: &HistoryItem, tables: &mut Tables<'_>) -> Result<(), StoreError> {
        let write = |e| self.file.error("write", e);
        record::encode(
            Kind::HistoryRow,
            &item.run_id.to_be_bytes(),
            &row_out(item),
            &mut self.scratch,
        );
        tables.runs.insert(item.run_id, &self.scratch[..]).map_err(write)?;
        let name = (item.namespace.as_str(), item.workflow.as_str(), item.number);
        tables.by_name.insert(name, item.run_id).map_err(write)?;
        tables.by_end.insert((item.end_index, item.run_id), ()).map_err(write)?;
        Ok(())
    }

    fn delete_ended_before(&self, index: u64, tables: &mut Tables<'_>) -> Result<(), StoreError> {
        let read = |e| self.file.error("read", e);
        let mut run_ids = Vec::new();
        for entry in tables.by_end.range(..(index, 0)).map_err(read)? {
            run_ids.push(entry.map_err(read)?.0.value().1);
        }
        run_ids.into_iter().try_for_each(|run_id| self.delete(run_id, tables))
    }

    fn delete(&self, run_id: u64, tables: &mut Tables<'_>) -> Result<(), StoreError> {
        let remove = |e| self.file.error("remove", e);
        let old = match tables.runs.remove(run_id).map_err(remove)? {
            None => return Ok(()),
            Some(record) => decode_row(&self.file, run_id, record.value())?,
        };
        let name = (old.namespace.as_str(), old.workflow.as_str(), old.number);
        tables.by_name.remove(name).map_err(remove)?;
        tables.by_end.remove((old.end_index, run_id)).map_err(remove)?;
        Ok(())
    }
}

impl HistoryStore for RedbHistoryStore {
    fn commit(&mut self, changes: &[HistoryChange], durable_index: u64) -> Result<(), StoreError> {
        Arc::clone(&self.file).guard(|| self.commit_all(changes, durable_index))
    }

    fn reader(&self) -> Arc<dyn HistoryReader> {
        Arc::new(RedbHistoryReader(Arc::clone(&self.file)))
    }
}

impl RedbHistoryStore {
    fn commit_all(
        &mut self,
        changes: &[HistoryChange],
        durable_index: u64,
    ) -> Result<(), StoreError> {
        let file = Arc::clone(&self.file);
        let open = |e| file.error("open a table", e);
        self.durable_index = self.durable_index.max(durable_index);
        let transaction = file.write()?;
        {
            let mut tables = Tables {
                runs: transaction.open_table(RUNS).map_err(open)?,
                by_name: transaction.open_table(BY_NAME).map_err(open)?,
                by_end: transaction.open_table(BY_END).map_err(open)?,
            };
            for change in changes {
                self.carry_out(change, &mut tables)?;
            }
            let mut meta = transaction.open_table(META).map_err(open)?;
            meta.insert(DURABLE_INDEX, self.durable_index).map_err(|e| file.error("write", e))?;
        }
        transaction.commit().map_err(|e| file.error("commit", e))
    }
}

/// Table `runs`, for reading.
type Runs = redb::ReadOnlyTable<u64, &'static [u8]>;

struct RedbHistoryReader(Arc<OpenDatabase>);

impl RedbHistoryReader {
    fn table<K: redb::Key + 'static, V: redb::Value + 'static>(
        &self,
        definition: TableDefinition<'static, K, V>,
    ) -> Result<redb::ReadOnlyTable<K, V>, StoreError> {
        self.0.read()?.open_table(definition).map_err(|e| self.0.error("open a table", e))
    }

    /// An index and the runs it names, as of one moment.
    fn index_and_runs<K: redb::Key + 'static, V: redb::Value + 'static>(
        &self,
        index: TableDefinition<'static, K, V>,
    ) -> Result<(redb::ReadOnlyTable<K, V>, Runs), StoreError> {
        let transaction = self.0.read()?;
        let open = |e| self.0.error("open a table", e);
        Ok((
            transaction.open_table(index).map_err(open)?,
            transaction.open_table(RUNS).map_err(open)?,
        ))
    }

    fn read_error(&self, error: redb::StorageError) -> StoreError {
        self.0.error("read", error)
    }

    /// The run that an index names, which must be there.
    fn indexed(
        &self,
        runs: &Runs,
        index: &'static str,
        run_id: u64,
    ) -> Result<HistoryItem, StoreError> {
        match runs.get(run_id).map_err(|e| self.read_error(e))? {
            Some(record) => decode_row(&self.0, run_id, record.value()),
            None => Err(self.0.damaged(
                index,
                run_id,
                "the index names a run that is not in table `runs`",
            )),
        }
    }
}

impl HistoryReader for RedbHistoryReader {
    fn durable_index(&self) -> Result<u64, StoreError> {
        self.0.guard(|| {
            let index = self.table(META)?.get(DURABLE_INDEX).map_err(|e| self.read_error(e))?;
            Ok(index.map_or(0, |index| index.value()))
        })
    }

    fn get(&self, run_id: u64) -> Result<Option<HistoryItem>, StoreError> {
        self.0.guard(|| {
            let record = self.table(RUNS)?.get(run_id).map_err(|e| self.read_error(e))?;
            record.map(|record| decode_row(&self.0, run_id, record.value())).transpose()
        })
    }

    fn find(
        &self,
        namespace: &str,
        workflow: &str,
        number: u64,
    ) -> Result<Option<HistoryItem>, StoreError> {
        self.0.guard(|| {
            let key = (namespace, workflow, number);
            let run_id = self.table(BY_NAME)?.get(key).map_err(|e| self.read_error(e))?;
            run_id.map_or(Ok(None), |run_id| self.get(run_id.value()))
        })
    }

    fn page(&self, before: Option<u64>, limit: usize) -> Result<Vec<HistoryItem>, StoreError> {
        self.0.guard(|| {
            let runs = self.table(RUNS)?;
            let end = before.map_or(Bound::Unbounded, Bound::Excluded);
            let range = runs.range((Bound::Unbounded, end)).map_err(|e| self.read_error(e))?;
            range
                .rev()
                .take(limit)
                .map(|item| {
                    let (key, value) = item.map_err(|e| self.read_error(e))?;
                    decode_row(&self.0, key.value(), value.value())
                })
                .collect()
        })
    }

    fn page_of(
        &self,
        namespace: &str,
        workflow: &str,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<HistoryItem>, StoreError> {
        self.0.guard(|| {
            let (by_name, runs) = self.index_and_runs(BY_NAME)?;
            let end = match before {
                Some(before) => Bound::Excluded((namespace, workflow, before)),
                None => Bound::Included((namespace, workflow, u64::MAX)),
            };
            let range = by_name
                .range::<(&str, &str, u64)>((Bound::Included((namespace, workflow, 0)), end))
                .map_err(|e| self.read_error(e))?;
            range
                .rev()
                .take(limit)
                .map(|item| {
                    let (_, run_id) = item.map_err(|e| self.read_error(e))?;
                    self.indexed(&runs, "by_name", run_id.value())
                })
                .collect()
        })
    }

    fn count(&self) -> Result<u64, StoreError> {
        self.0.guard(|| self.table(RUNS)?.len().map_err(|e| self.read_error(e)))
    }

    fn ended_after(
        &self,
        after: EndCursor,
        end_index_max: u64,
        limit: usize,
    ) -> Result<Vec<HistoryItem>, StoreError> {
        self.0.guard(|| {
            let start = (after.end_index, after.run_id);
            let end = (end_index_max, u64::MAX);
            if start >= end {
                return Ok(Vec::new());
            }
            let (by_end, runs) = self.index_and_runs(BY_END)?;
            let range = by_end
                .range((Bound::Excluded(start), Bound::Included(end)))
                .map_err(|e| self.read_error(e))?;
            range
                .take(limit)
                .map(|item| {
                    let (key, _) = item.map_err(|e| self.read_error(e))?;
                    self.indexed(&runs, "by_end", key.value().1)
                })
                .collect()
        })
    }
}

pub(crate) fn row_out(item: &HistoryItem) -> pb::HistoryRow {
    pb::HistoryRow {
        run_id: item.run_id,
        end_index: item.end_index,
        namespace: item.namespace.clone(),
        workflow: item.workflow.clone(),
        number: item.number,
        body: item.bytes.clone(),
    }
}

pub(crate) fn row_in(row: pb::HistoryRow) -> HistoryItem {
    HistoryItem {
        run_id: row.run_id,
        end_index: row.end_index,
        namespace: row.namespace,
        workflow: row.workflow,
        number: row.number,
        bytes: row.body,
    }
}

fn decode_row(file: &OpenDatabase, run_id: u64, record: &[u8]) -> Result<HistoryItem, StoreError> {
    record::decode(Kind::HistoryRow, &run_id.to_be_bytes(), Bytes::copy_from_slice(record))
        .map(row_in)
        .map_err(|problem| file.damaged("runs", run_id, problem))
}
