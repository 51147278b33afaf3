//! What a journal stands on: a small ordered map.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::future::BoxFuture;

/// Why a store did not do what it was asked, in its own words.
pub type Fault = Box<dyn std::error::Error + Send + Sync>;

/// The number of a record, and its bytes.
pub type Entry = (u64, Vec<u8>);

/// One change of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Of which record.
    pub record: u64,
    /// Its bytes, at most [`RECORD_BYTES_MAX`](super::RECORD_BYTES_MAX); `None` to remove it.
    pub value: Option<Vec<u8>>,
}

/// An ordered map from numbers to bytes. Its methods may block.
pub trait JournalStore: Send + 'static {
    /// Carries out all changes or, also when the machine dies meanwhile, none. Later reads see them at once.
    ///
    /// # Errors
    /// The store cannot write. Nothing was changed, or everything.
    fn apply(&mut self, changes: Vec<Change>) -> Result<(), Fault>;

    /// All records, by ascending number.
    ///
    /// # Errors
    /// The store cannot be read.
    fn entries(&self) -> Result<Vec<Entry>, Fault>;

    /// Resolves once the changes applied so far are as durable as this store makes them. Outcomes are not reported
    /// before.
    fn settled(&self) -> BoxFuture<'static, ()>;
}

/// Why a store could not be opened.
#[derive(Debug)]
pub enum NotOpened {
    /// Another process has it open, and still needs it.
    InUse(Fault),
    /// It cannot be read; another one has to take its place.
    Unreadable(Fault),
}

/// Where a worker gets its store from.
pub trait JournalSource: Send + Sync + 'static {
    /// Opens the store in `dir`, or makes an empty one. May block.
    ///
    /// # Errors
    /// See [`NotOpened`].
    fn open(&self, dir: &Path) -> Result<Box<dyn JournalStore>, NotOpened>;

    /// Moves the store in `dir` away, so that the next one opened there is empty. Returns where it is. `now` is the
    /// time since 1970, for the name.
    ///
    /// # Errors
    /// It cannot be moved.
    fn set_aside(&self, dir: &Path, now: Duration) -> io::Result<PathBuf>;
}
