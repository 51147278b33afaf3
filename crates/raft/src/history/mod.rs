//! Ended runs, which leave the replicated state the moment they end and live only here.
//!
//! ```text
//!  apply ──► pending (memory, readable at once) ──► history thread: one transaction, one fsync a group
//!                                                       │
//!  reads ◄── pending over file ◄────────────────────────┘
//! ```
//!
//! Every master keeps its own copy, built from the same log. The copy is safe to lose only while the log or a snapshot
//! can rebuild it, so a snapshot is not complete before the history is durable up to its index.

mod recorder;
mod redb_store;

use std::sync::Arc;

use bytes::Bytes;

pub use recorder::History;
pub(crate) use recorder::HistoryThread;
pub use redb_store::RedbHistoryStore;
pub(crate) use redb_store::{row_in, row_out};

use crate::error::StoreError;

/// One ended run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryItem {
    /// The run's id; larger ids are newer runs.
    pub run_id: u64,
    /// Index of the log entry that ended the run.
    pub end_index: u64,
    /// Namespace of the workflow.
    pub namespace: String,
    /// Name of the workflow.
    pub workflow: String,
    /// Number of the run within its workflow.
    pub number: u64,
    /// The run itself, encoded by the owner of the state.
    pub bytes: Bytes,
}

/// One change of the history.
#[derive(Clone, Debug)]
pub enum HistoryChange {
    /// Adds or replaces a run.
    Put(Arc<HistoryItem>),
    /// Removes the runs that ended before this log index.
    DeleteEndedBefore(u64),
}

/// Where the history is kept. Synchronous, and written by one thread only.
pub trait HistoryStore: Send + 'static {
    /// Carries the changes out and makes them durable, all or none, together with `durable_index`: every run that ended
    /// at or below that log index is in the store. The index never goes back.
    ///
    /// # Errors
    /// After an error the store must not be used again.
    fn commit(&mut self, changes: &[HistoryChange], durable_index: u64) -> Result<(), StoreError>;

    /// For reading while the store is written.
    fn reader(&self) -> Arc<dyn HistoryReader>;
}

/// Where a walk over the history in order of ending stands: the last item seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct EndCursor {
    /// Its `end_index`.
    pub end_index: u64,
    /// Its `run_id`.
    pub run_id: u64,
}

/// Reads committed changes from any thread.
pub trait HistoryReader: Send + Sync {
    /// See [`HistoryStore::commit`].
    ///
    /// # Errors
    /// The disk fails or a record is damaged; so for all methods.
    fn durable_index(&self) -> Result<u64, StoreError>;

    /// One run.
    fn get(&self, run_id: u64) -> Result<Option<HistoryItem>, StoreError>;

    /// One run by its name.
    fn find(
        &self,
        namespace: &str,
        workflow: &str,
        number: u64,
    ) -> Result<Option<HistoryItem>, StoreError>;

    /// Newest first by run id, those with an id below `before`, at most `limit`.
    fn page(&self, before: Option<u64>, limit: usize) -> Result<Vec<HistoryItem>, StoreError>;

    /// Newest first by number, the runs of one workflow with a number below `before`, at most `limit`.
    fn page_of(
        &self,
        namespace: &str,
        workflow: &str,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<HistoryItem>, StoreError>;

    /// How many runs there are.
    fn count(&self) -> Result<u64, StoreError>;

    /// In order of ending, those after `after` that ended at or below `end_index_max`, at most `limit`.
    fn ended_after(
        &self,
        after: EndCursor,
        end_index_max: u64,
        limit: usize,
    ) -> Result<Vec<HistoryItem>, StoreError>;
}
