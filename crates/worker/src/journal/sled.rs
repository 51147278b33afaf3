//! A journal's store in sled.

use std::fs;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::future::BoxFuture;

use super::store::{Change, Entry, Fault, JournalSource, JournalStore, NotOpened};

/// How much of the store is kept in memory.
const CACHE_BYTES: u64 = 16 << 20;
/// How many stores set aside within one second get a name.
const ASIDE_MAX: u32 = 1000;

/// Opens stores in sled. What they were given is written within half a second, and no flush is waited for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sled;

#[derive(Debug)]
struct Store(sled::Db);

impl JournalSource for Sled {
    fn open(&self, dir: &Path) -> Result<Box<dyn JournalStore>, NotOpened> {
        match guarded(|| Ok(open(dir))).map_err(NotOpened::Unreadable)? {
            Ok(store) => Ok(Box::new(Store(store))),
            Err(error) if is_locked(&error) => Err(NotOpened::InUse(error.into())),
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

fn open(dir: &Path) -> sled::Result<sled::Db> {
    if let Some(parent) = dir.parent() {
        fs::create_dir_all(parent)?;
    }
    let store = sled::Config::new().path(dir).cache_capacity(CACHE_BYTES).open()?;
    // sled syncs its files, but not their names: without them a power cut takes a new store as a whole.
    let folders = [Some(dir), dir.parent()].into_iter().flatten();
    for folder in folders.filter(|it| !it.as_os_str().is_empty()) {
        fs::File::open(folder)?.sync_all()?;
    }
    Ok(store)
}

/// sled panics when it meets some of what a power cut leaves. That is a store that cannot be read, and must not stop
/// the worker.
fn guarded<T>(work: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    // A store that panicked is set aside or, once open, only asked to do what may fail.
    panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or_default();
        Err(format!("the store gave up: {text}").into())
    })
}

/// sled has no error of its own for a store that is open elsewhere.
fn is_locked(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(error) if error.to_string().contains("could not acquire lock"))
}

impl JournalStore for Store {
    fn apply(&mut self, changes: Vec<Change>) -> Result<(), Fault> {
        let mut batch = sled::Batch::default();
        for Change { key, value } in changes {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        guarded(|| Ok(self.0.apply_batch(batch)?))
    }

    fn entries(&self) -> Result<Vec<Entry>, Fault> {
        let entries =
            self.0.iter().map(|item| item.map(|(key, value)| (key.to_vec(), value.to_vec())));
        guarded(|| Ok(entries.collect::<sled::Result<_>>()?))
    }

    fn settled(&self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }
}
