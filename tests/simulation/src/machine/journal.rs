//! A worker's journal in memory: it outlives the worker's process, except for what was written last.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use muster_worker::journal::{Change, Entry, Fault, JournalSource, JournalStore, NotOpened};
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::entropy::elapsed;

/// How long a change takes to be as durable as a journal makes it.
const SETTLING: Duration = Duration::from_millis(2);

/// The journals of one worker, across its lives.
#[derive(Clone)]
pub struct MemoryJournal(Arc<Mutex<Content>>);

struct Content {
    chance: SmallRng,
    durable: BTreeMap<u64, Vec<u8>>,
    pending: Vec<(Duration, Vec<Change>)>,
    /// The next opening finds it unreadable.
    is_damaged: bool,
    times_set_aside: u64,
}

impl MemoryJournal {
    /// An empty one.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Content {
            chance: SmallRng::seed_from_u64(seed),
            durable: BTreeMap::new(),
            pending: Vec::new(),
            is_damaged: false,
            times_set_aside: 0,
        })))
    }

    /// The worker died: of what was not durable a beginning survives.
    pub fn crash(&self) {
        let content = &mut *self.0.lock();
        let now = elapsed();
        let settled = content.pending.iter().take_while(|(at, _)| *at <= now).count();
        let kept = content.chance.random_range(settled..=content.pending.len());
        for (_, changes) in std::mem::take(&mut content.pending).into_iter().take(kept) {
            apply(&mut content.durable, changes);
        }
    }

    /// What was written cannot be read any more.
    pub fn damage(&self) {
        self.0.lock().is_damaged = true;
    }

    /// How often an unreadable one was put away.
    pub fn times_set_aside(&self) -> u64 {
        self.0.lock().times_set_aside
    }
}

fn apply(map: &mut BTreeMap<u64, Vec<u8>>, changes: Vec<Change>) {
    for Change { record, value } in changes {
        match value {
            Some(value) => map.insert(record, value),
            None => map.remove(&record),
        };
    }
}

impl JournalSource for MemoryJournal {
    fn open(&self, _: &Path) -> Result<Box<dyn JournalStore>, NotOpened> {
        let content = &mut *self.0.lock();
        if content.is_damaged {
            return Err(NotOpened::Unreadable("it was damaged on purpose".into()));
        }
        for (_, changes) in std::mem::take(&mut content.pending) {
            apply(&mut content.durable, changes);
        }
        Ok(Box::new(Open { journal: self.clone(), current: content.durable.clone() }))
    }

    fn set_aside(&self, dir: &Path, _: Duration) -> io::Result<PathBuf> {
        let content = &mut *self.0.lock();
        content.durable.clear();
        content.pending.clear();
        content.is_damaged = false;
        content.times_set_aside += 1;
        Ok(dir.with_extension("aside"))
    }
}

struct Open {
    journal: MemoryJournal,
    current: BTreeMap<u64, Vec<u8>>,
}

impl JournalStore for Open {
    fn apply(&mut self, changes: Vec<Change>) -> Result<(), Fault> {
        apply(&mut self.current, changes.clone());
        self.journal.0.lock().pending.push((elapsed() + SETTLING, changes));
        Ok(())
    }

    fn entries(&self) -> Result<Vec<Entry>, Fault> {
        Ok(self.current.clone().into_iter().collect())
    }

    fn settled(&self) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(SETTLING))
    }
}
