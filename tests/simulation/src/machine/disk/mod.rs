//! A disk in memory that behaves as disks may: what was not synced may be gone after a crash, the last writes may be
//! torn, a sync takes time, and it can fail.
//!
//! ```text
//!   write ──► current content ──► read
//!     │
//!     └─► pending: writes and names in order, with a mark for each sync
//!              │ a sync is over                  │ crash
//!              ▼                                 ▼
//!          durable content ◄── all writes before a sync that is over;
//!                              of the rest some, whole or in part
//! ```
//!
//! A sync returns at once and is over later: whoever wants to be sure awaits [`Disk::settled`]. What comes
//! after a sync that is not over, to whatever file, cannot be on the disk: a real program would still be waiting.
//! Syncs are over in the order in which they began.
//!
//! A crash in the midst of a rename may leave a file under both names, as POSIX permits.
//!
//! A sync that fails leaves what it should have covered in memory and never writes it, as Linux does: later syncs
//! succeed without it.

mod inode;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use muster_platform::{BlockFile, Disk, Lock};
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use self::inode::{Change, Inode, NameChange, SyncMark, apply_change, apply_name};
use super::entropy::elapsed;

/// Disks write sectors of this many bytes as a whole.
const SECTOR: usize = 512;

/// How a disk behaves at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manners {
    /// A sync takes at least this long …
    pub sync_min: Duration,
    /// … and at most this long.
    pub sync_max: Duration,
    /// The next sync fails.
    pub fails_next_sync: bool,
    /// Bytes that fit.
    pub capacity_bytes: u64,
    /// Syncs do nothing, and say otherwise: a disk that no software can be safe on. For mutants.
    pub lies: bool,
}

impl Default for Manners {
    fn default() -> Self {
        Self {
            sync_min: Duration::from_micros(200),
            sync_max: Duration::from_millis(2),
            fails_next_sync: false,
            capacity_bytes: 1 << 30,
            lies: false,
        }
    }
}

/// What a disk went through.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wear {
    /// Crashes at which something written was lost.
    pub lost: u64,
    /// Writes of which only some sectors survived.
    pub torn: u64,
    /// Syncs that failed.
    pub failed_syncs: u64,
    /// Writes refused for lack of room.
    pub full: u64,
}

/// A disk. Clones are the same disk; it outlives the processes that use it.
#[derive(Clone)]
pub struct MemoryDisk(Arc<Mutex<Content>>);

struct Content {
    chance: SmallRng,
    manners: Manners,
    wear: Wear,
    files: Vec<Inode>,
    names: BTreeMap<PathBuf, usize>,
    folders: BTreeMap<PathBuf, ()>,
    durable_names: BTreeMap<PathBuf, usize>,
    /// Each with how many syncs had begun before.
    pending_names: Vec<(u64, NameChange)>,
    /// When everything that was synced is durable.
    settled_at: Duration,
    /// How many syncs began.
    syncs: u64,
    /// Locks belong to an incarnation: a crash frees them.
    incarnation: u64,
    locks: BTreeMap<PathBuf, u64>,
}

impl MemoryDisk {
    /// An empty disk whose accidents come from `seed`.
    pub fn new(seed: u64, manners: Manners) -> Self {
        Self(Arc::new(Mutex::new(Content {
            chance: SmallRng::seed_from_u64(seed),
            manners,
            wear: Wear::default(),
            files: Vec::new(),
            names: BTreeMap::new(),
            folders: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            pending_names: Vec::new(),
            settled_at: Duration::ZERO,
            syncs: 0,
            incarnation: 0,
            locks: BTreeMap::new(),
        })))
    }

    /// Changes how it behaves.
    pub fn set_manners(&self, change: impl FnOnce(&mut Manners)) {
        change(&mut self.0.lock().manners);
    }

    /// What it went through so far.
    pub fn wear(&self) -> Wear {
        self.0.lock().wear
    }

    /// The machine stops here and now: whoever held a lock is gone, and so is some of what was not durable.
    pub fn crash(&self) {
        self.0.lock().crash();
    }

    /// The process stops, the machine goes on: nothing that was written is lost, and locks are free.
    pub fn release(&self) {
        let content = &mut *self.0.lock();
        content.incarnation += 1;
        content.locks.clear();
    }

    /// Somebody put an empty disk in its place.
    pub fn wipe(&self) {
        let content = &mut *self.0.lock();
        content.crash();
        content.files.clear();
        content.names.clear();
        content.folders.clear();
        content.durable_names.clear();
    }
}

impl fmt::Debug for MemoryDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryDisk")
    }
}

impl Content {
    fn crash(&mut self) {
        let now = elapsed();
        let over = self.last_over(now);
        let mut has_lost = false;
        for file in &mut self.files {
            has_lost |= file.crash(over, &mut self.chance, &mut self.wear);
        }
        self.fold_names(|mark| mark.number <= over);
        // A file system keeps the order of its changes: what survives is a beginning of what was pending.
        let possible = self.pending_names.iter().take_while(|(begun, _)| *begun <= over).count();
        let kept = self.chance.random_range(0..=possible);
        has_lost |= kept < self.pending_names.len();
        for (_, change) in self.pending_names.drain(..).take(kept) {
            apply_name(&mut self.durable_names, change);
        }
        self.names = self.durable_names.clone();
        self.wear.lost += u64::from(has_lost);
        self.settled_at = now;
        self.incarnation += 1;
        self.locks.clear();
        self.manners.fails_next_sync = false;
    }

    /// The number of the last sync that is over at a crash: one of those under way, though nobody heard of it, or the
    /// last before.
    fn last_over(&mut self, now: Duration) -> u64 {
        let in_files = self.files.iter().flat_map(|file| file.syncs());
        let in_names = self.pending_names.iter().filter_map(|(_, change)| match change {
            NameChange::Sync(_, mark) => Some(*mark),
            NameChange::Set(..) | NameChange::Remove(_) => None,
        });
        let mut marks: Vec<SyncMark> = in_files.chain(in_names).collect();
        marks.sort_by_key(|mark| mark.number);
        let over = marks.iter().take_while(|mark| mark.over_at <= now).count();
        let over = self.chance.random_range(over..=marks.len());
        marks.get(over).map_or(self.syncs, |next| next.number - 1)
    }

    /// Takes over the changes of names before syncs that are over.
    fn fold_names(&mut self, is_over: impl Fn(&SyncMark) -> bool) {
        let is_over = |change: &NameChange| match change {
            NameChange::Sync(folder, mark) if is_over(mark) => Some(folder.clone()),
            _ => None,
        };
        while let Some((at, folder)) =
            self.pending_names.iter().enumerate().find_map(|(i, (_, c))| is_over(c).map(|f| (i, f)))
        {
            let rest = self.pending_names.split_off(at + 1);
            self.pending_names.pop();
            for (begun, change) in std::mem::take(&mut self.pending_names) {
                if change.is_in(&folder) {
                    apply_name(&mut self.durable_names, change);
                } else {
                    self.pending_names.push((begun, change));
                }
            }
            self.pending_names.extend(rest);
        }
    }

    fn find(&self, path: &Path) -> io::Result<usize> {
        self.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn find_or_create(&mut self, path: &Path) -> io::Result<usize> {
        self.find(path).or_else(|_| self.create(path))
    }

    fn create(&mut self, path: &Path) -> io::Result<usize> {
        let parent = path.parent().unwrap_or(Path::new("/"));
        if !self.folders.contains_key(parent) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.files.push(Inode::default());
        let id = self.files.len() - 1;
        self.names.insert(path.into(), id);
        self.name_changed(NameChange::Set(path.into(), id));
        Ok(id)
    }

    fn name_changed(&mut self, change: NameChange) {
        self.pending_names.push((self.syncs, change));
    }

    fn used_bytes(&self) -> u64 {
        self.names.values().map(|id| self.files[*id].current.len() as u64).sum()
    }

    fn make_room(&mut self, more_bytes: u64) -> io::Result<()> {
        if more_bytes > 0 && self.used_bytes() + more_bytes > self.manners.capacity_bytes {
            self.wear.full += 1;
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    /// Begins a sync; `None` if the disk lies.
    fn begin_sync(&mut self) -> io::Result<Option<SyncMark>> {
        if std::mem::take(&mut self.manners.fails_next_sync) {
            self.wear.failed_syncs += 1;
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        if self.manners.lies {
            return Ok(None);
        }
        let range = self.manners.sync_min..=self.manners.sync_max;
        let over_at = (elapsed() + self.chance.random_range(range)).max(self.settled_at);
        self.settled_at = over_at;
        self.syncs += 1;
        Ok(Some(SyncMark { number: self.syncs, over_at }))
    }

    fn write(&mut self, id: usize, offset: usize, bytes: &[u8]) -> io::Result<()> {
        let len = self.files[id].current.len();
        self.make_room((offset + bytes.len()).saturating_sub(len) as u64)?;
        let file = &mut self.files[id];
        let change = Change::Write { offset, bytes: bytes.into() };
        apply_change(&mut file.current, &change);
        file.pending.push((self.syncs, change));
        Ok(())
    }

    fn set_len(&mut self, id: usize, len: usize) -> io::Result<()> {
        let grown = len.saturating_sub(self.files[id].current.len());
        self.make_room(grown as u64)?;
        let file = &mut self.files[id];
        file.current.resize(len, 0);
        file.pending.push((self.syncs, Change::SetLen(len)));
        Ok(())
    }

    fn sync(&mut self, id: usize) -> io::Result<()> {
        let begun = self.begin_sync();
        let file = &mut self.files[id];
        file.fold(elapsed());
        match begun {
            Ok(Some(mark)) => file.pending.push((mark.number, Change::Sync(mark))),
            Ok(None) => {}
            // What could not be written is clean to the kernel now, and will never be.
            Err(_) => file.forget_unsynced(),
        }
        begun.map(|_| ())
    }
}

impl Disk for MemoryDisk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let content = &mut *self.0.lock();
        for folder in path.ancestors() {
            content.folders.insert(folder.into(), ());
        }
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let content = self.0.lock();
        if !content.folders.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let entries = content.names.keys().chain(content.folders.keys());
        let inside = entries.filter(|entry| entry.parent() == Some(path));
        Ok(inside.filter_map(|entry| entry.file_name()).map(PathBuf::from).collect())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let content = self.0.lock();
        Ok(content.files[content.find(path)?].current.clone())
    }

    fn size(&self, path: &Path) -> io::Result<u64> {
        let content = self.0.lock();
        Ok(content.files[content.find(path)?].current.len() as u64)
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        let content = &mut *self.0.lock();
        let id = content.find(path)?;
        content.sync(id)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let content = &mut *self.0.lock();
        let now = elapsed();
        content.fold_names(|mark| mark.over_at <= now);
        if let Some(mark) = content.begin_sync()? {
            content.name_changed(NameChange::Sync(path.into(), mark));
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let content = &mut *self.0.lock();
        let id = content.find(from)?;
        content.names.remove(from);
        content.names.insert(to.into(), id);
        content.name_changed(NameChange::Set(to.into(), id));
        content.name_changed(NameChange::Remove(from.into()));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let content = &mut *self.0.lock();
        content.find(path)?;
        content.names.remove(path);
        content.name_changed(NameChange::Remove(path.into()));
        Ok(())
    }

    fn create_blocks(&self, path: &Path) -> io::Result<Box<dyn BlockFile>> {
        let content = &mut *self.0.lock();
        if content.names.remove(path).is_some() {
            content.name_changed(NameChange::Remove(path.into()));
        }
        let id = content.create(path)?;
        Ok(Box::new(OpenFile { disk: self.clone(), id, incarnation: content.incarnation }))
    }

    fn open_blocks(&self, path: &Path) -> io::Result<Box<dyn BlockFile>> {
        let content = &mut *self.0.lock();
        let id = content.find_or_create(path)?;
        Ok(Box::new(OpenFile { disk: self.clone(), id, incarnation: content.incarnation }))
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Lock>> {
        let content = &mut *self.0.lock();
        content.find_or_create(path)?;
        if content.locks.contains_key(path) {
            return Ok(None);
        }
        content.locks.insert(path.into(), content.incarnation);
        let held = Held { disk: self.clone(), path: path.into(), incarnation: content.incarnation };
        Ok(Some(Lock::new(held)))
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        let content = self.0.lock();
        Ok(content.manners.capacity_bytes.saturating_sub(content.used_bytes()))
    }

    fn settled(&self) -> BoxFuture<'static, ()> {
        let wait = self.0.lock().settled_at.saturating_sub(elapsed());
        Box::pin(async move {
            if !wait.is_zero() {
                tokio::time::sleep(wait).await;
            }
        })
    }
}

struct Held {
    disk: MemoryDisk,
    path: PathBuf,
    incarnation: u64,
}

impl Drop for Held {
    fn drop(&mut self) {
        let content = &mut *self.disk.0.lock();
        if content.locks.get(&self.path) == Some(&self.incarnation) {
            content.locks.remove(&self.path);
        }
    }
}

#[derive(Debug)]
struct OpenFile {
    disk: MemoryDisk,
    id: usize,
    incarnation: u64,
}

impl OpenFile {
    /// Runs `work` unless the process that opened the file is gone: what its destructors write never happened.
    fn with<T>(&self, work: impl FnOnce(&mut Content) -> io::Result<T>) -> io::Result<T> {
        let content = &mut *self.disk.0.lock();
        if content.incarnation != self.incarnation {
            return Err(io::Error::other("the process that opened this file is gone"));
        }
        work(content)
    }
}

impl BlockFile for OpenFile {
    fn size(&self) -> io::Result<u64> {
        self.with(|content| Ok(content.files[self.id].current.len() as u64))
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.with(|content| {
            let current = &content.files[self.id].current;
            let start = usize::try_from(offset).map_err(io::Error::other)?;
            let bytes = current.get(start..start + buffer.len());
            buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(io::Error::other)?;
        self.with(|content| content.set_len(self.id, len))
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        self.with(|content| content.write(self.id, offset, bytes))
    }

    fn sync(&self) -> io::Result<()> {
        self.with(|content| content.sync(self.id))
    }
}

#[cfg(test)]
mod tests;
