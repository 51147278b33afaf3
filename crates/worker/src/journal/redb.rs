//! A journal's store in redb: one file in the folder, and a thread that makes what it was given durable.
//!
//! ```text
//!  apply ──► commit in memory ──► reported, acknowledged, removed
//!                  └──── within half a second ────► commit on disk, one sync for all before it
//! ```
//!
//! Most outcomes are acknowledged before the disk would have them, so none waits for a sync. redb writes a commit
//! beside the one before, and takes it for done only if all its checksums hold: whatever a power cut leaves of it, the
//! last one that was synced is found again (ADR 0022).

use std::fs;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use muster_platform::{Dedicated, Platform};
use parking_lot::{Condvar, Mutex, MutexGuard};
use redb::{
    Database, DatabaseError, Durability, ReadableDatabase as _, ReadableTable as _, TableDefinition,
};

use super::store::{Change, Entry, Fault, JournalSource, JournalStore, NotOpened};

/// Number of a record to its bytes.
const OUTCOMES: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("outcomes");
/// The file in the journal's folder.
const FILE: &str = "outcomes.redb";
/// What it is called while it is made.
const DRAFT: &str = "outcomes.tmp";
/// How much of the store is kept in memory.
const CACHE_BYTES: usize = 16 << 20;
/// How long a change may be in memory alone, but for the time a sync takes.
const SYNC_WITHIN: Duration = Duration::from_millis(500);
/// How many stores set aside within one second get a name.
const ASIDE_MAX: u32 = 1000;

/// Opens stores in redb. What they were given is on disk within half a second; nothing waits for that.
#[derive(Clone, Debug, Default)]
pub struct Redb {
    platform: Platform,
}

/// Dropping it makes everything durable.
#[derive(Debug)]
struct Store {
    shared: Arc<Shared>,
    syncer: Option<Dedicated>,
}

#[derive(Debug)]
struct Shared {
    db: Database,
    work: Mutex<Work>,
    changed: Condvar,
}

/// What the syncing thread has to do.
#[derive(Debug, Default)]
struct Work {
    /// Something was changed that is not on disk.
    is_unsynced: bool,
    is_closed: bool,
}

impl JournalSource for Redb {
    fn open(&self, dir: &Path) -> Result<Box<dyn JournalStore>, NotOpened> {
        let opened = guarded(|| {
            create(dir)?;
            Ok(Database::builder().set_cache_size(CACHE_BYTES).open(dir.join(FILE)))
        });
        match opened.map_err(NotOpened::Unreadable)? {
            Ok(db) => guarded(|| Store::start(verified(db)?, &self.platform))
                .map_err(NotOpened::Unreadable),
            Err(error @ DatabaseError::DatabaseAlreadyOpen) => Err(NotOpened::InUse(error.into())),
            Err(error) => Err(NotOpened::Unreadable(error.into())),
        }
    }

    fn set_aside(&self, dir: &Path, now: Duration) -> io::Result<PathBuf> {
        for attempt in 0..ASIDE_MAX {
            let mut name = dir.file_name().unwrap_or_default().to_owned();
            name.push(format!(".unreadable-{}-{attempt}", now.as_secs()));
            let aside = dir.with_file_name(name);
            if !aside.exists() {
                fs::rename(dir, &aside)?;
                return Ok(aside);
            }
        }
        let message = format!("{ASIDE_MAX} journals were set aside within one second");
        Err(io::Error::new(io::ErrorKind::AlreadyExists, message))
    }
}

/// Makes an empty store unless there is one: beside its name, so that one that was not finished when the power went is
/// not taken for a damaged one.
fn create(dir: &Path) -> Result<(), Fault> {
    fs::create_dir_all(dir)?;
    let (path, draft) = (dir.join(FILE), dir.join(DRAFT));
    if !path.try_exists()? {
        for entry in fs::read_dir(dir)? {
            let name = entry?.file_name();
            if name != DRAFT {
                return Err(format!("{} is not of this version of Muster", name.display()).into());
            }
            fs::remove_file(&draft)?;
        }
        let db = Database::builder().set_cache_size(CACHE_BYTES).create(&draft)?;
        let transaction = db.begin_write()?;
        transaction.open_table(OUTCOMES)?;
        transaction.commit()?;
        drop(db);
        fs::File::open(&draft)?.sync_all()?;
        fs::rename(&draft, &path)?;
    }
    // Also of a store that was there: who made it may have died before this.
    for folder in [Some(dir), dir.parent()].into_iter().flatten() {
        if !folder.as_os_str().is_empty() {
            fs::File::open(folder)?.sync_all()?;
        }
    }
    Ok(())
}

/// Reads the whole store and compares every page with its checksum: damage might hide records otherwise, or change
/// them.
fn verified(mut db: Database) -> Result<Database, Fault> {
    if db.check_integrity()? { Ok(db) } else { Err("a page is damaged".into()) }
}

/// redb panics when it meets some kinds of damage. That is a store that cannot be read, and must not stop the worker.
fn guarded<T>(work: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    // A store that panicked is set aside or, once open, only asked to do what may fail.
    panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or_default();
        Err(format!("the store gave up: {text}").into())
    })
}

impl Store {
    fn start(db: Database, platform: &Platform) -> Result<Box<dyn JournalStore>, Fault> {
        let shared = Arc::new(Shared { db, work: Mutex::default(), changed: Condvar::new() });
        let syncing = Arc::clone(&shared);
        let syncer = platform.dedicate("muster-sync", async move { syncing.keep_synced() })?;
        Ok(Box::new(Store { shared, syncer: Some(syncer) }))
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.shared.work.lock().is_closed = true;
        self.shared.changed.notify_one();
        if let Some(syncer) = self.syncer.take() {
            syncer.join();
        }
    }
}

impl Shared {
    /// Ends when the store is closed, with everything on disk.
    fn keep_synced(&self) {
        let mut work = self.work.lock();
        loop {
            self.changed.wait_while(&mut work, |work| !work.is_unsynced && !work.is_closed);
            if !work.is_unsynced {
                return;
            }
            self.changed.wait_while_for(&mut work, |work| !work.is_closed, SYNC_WITHIN);
            // Whatever is changed from here on may miss the sync.
            work.is_unsynced = false;
            MutexGuard::unlocked(&mut work, || {
                if let Err(error) = guarded(|| self.commit(Durability::Immediate, Vec::new())) {
                    tracing::error!(%error, "outcomes of the last half second are not on disk");
                }
            });
        }
    }

    fn commit(&self, durability: Durability, changes: Vec<Change>) -> Result<(), Fault> {
        let mut transaction = self.db.begin_write()?;
        transaction.set_durability(durability)?;
        if !changes.is_empty() {
            let mut outcomes = transaction.open_table(OUTCOMES)?;
            for Change { record, value } in changes {
                match value {
                    Some(value) => outcomes.insert(record, value.as_slice())?,
                    None => outcomes.remove(record)?,
                };
            }
        }
        Ok(transaction.commit()?)
    }
}

impl JournalStore for Store {
    fn apply(&mut self, changes: Vec<Change>) -> Result<(), Fault> {
        guarded(|| self.shared.commit(Durability::None, changes))?;
        let mut work = self.shared.work.lock();
        if !work.is_unsynced {
            work.is_unsynced = true;
            self.shared.changed.notify_one();
        }
        Ok(())
    }

    fn entries(&self) -> Result<Vec<Entry>, Fault> {
        guarded(|| {
            let outcomes = self.shared.db.begin_read()?.open_table(OUTCOMES)?;
            let entries = outcomes.iter()?;
            let entries = entries
                .map(|entry| entry.map(|(record, value)| (record.value(), value.value().to_vec())));
            Ok(entries.collect::<Result<_, _>>()?)
        })
    }

    fn settled(&self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }
}
