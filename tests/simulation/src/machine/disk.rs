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
//! A sync returns at once and is over later: whoever wants to be sure awaits [`Disk::settled`]. Writes after a sync that
//! is not over cannot be on the disk before what the sync covers, since a real program would still be waiting.
//!
//! A sync that fails leaves what it should have covered in memory and never writes it, as Linux does: later syncs
//! succeed without it.

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
    pending_names: Vec<NameChange>,
    /// When everything that was synced is durable.
    settled_at: Duration,
    /// Locks belong to an incarnation: a crash frees them.
    incarnation: u64,
    locks: BTreeMap<PathBuf, u64>,
}

#[derive(Default)]
struct Inode {
    current: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
}

enum Change {
    Write {
        offset: usize,
        bytes: Vec<u8>,
    },
    SetLen(usize),
    /// Everything before is durable from then on.
    SyncOver(Duration),
}

enum NameChange {
    Set(PathBuf, usize),
    Remove(PathBuf),
    /// Changes before it in this folder are durable from then on.
    SyncOver(PathBuf, Duration),
}

impl NameChange {
    fn is_in(&self, folder: &Path) -> bool {
        match self {
            Self::Set(path, _) | Self::Remove(path) => path.parent() == Some(folder),
            Self::SyncOver(..) => false,
        }
    }
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
        let mut has_lost = false;
        for file in &mut self.files {
            has_lost |= file.crash(now, &mut self.chance, &mut self.wear);
        }
        self.fold_names(now);
        // A file system keeps the order of its changes: what survives is a beginning of what was pending.
        let kept = self.chance.random_range(0..=self.pending_names.len());
        has_lost |= kept < self.pending_names.len();
        for change in self.pending_names.drain(..).take(kept) {
            apply_name(&mut self.durable_names, change);
        }
        self.names = self.durable_names.clone();
        self.wear.lost += u64::from(has_lost);
        self.settled_at = now;
        self.incarnation += 1;
        self.locks.clear();
        self.manners.fails_next_sync = false;
    }

    fn fold_names(&mut self, now: Duration) {
        let is_over = |change: &NameChange| match change {
            NameChange::SyncOver(folder, at) if *at <= now => Some(folder.clone()),
            _ => None,
        };
        while let Some((at, folder)) =
            self.pending_names.iter().enumerate().find_map(|(i, c)| is_over(c).map(|f| (i, f)))
        {
            let rest = self.pending_names.split_off(at + 1);
            self.pending_names.pop();
            for change in std::mem::take(&mut self.pending_names) {
                if change.is_in(&folder) {
                    apply_name(&mut self.durable_names, change);
                } else {
                    self.pending_names.push(change);
                }
            }
            self.pending_names.extend(rest);
        }
    }

    fn find(&self, path: &Path) -> io::Result<usize> {
        self.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn create(&mut self, path: &Path) -> io::Result<usize> {
        if let Some(found) = self.names.get(path) {
            return Ok(*found);
        }
        let parent = path.parent().unwrap_or(Path::new("/"));
        if !self.folders.contains_key(parent) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.files.push(Inode::default());
        let id = self.files.len() - 1;
        self.names.insert(path.into(), id);
        self.pending_names.push(NameChange::Set(path.into(), id));
        Ok(id)
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

    /// When a sync that begins now is over.
    fn sync_over(&mut self) -> io::Result<Option<Duration>> {
        if std::mem::take(&mut self.manners.fails_next_sync) {
            self.wear.failed_syncs += 1;
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        if self.manners.lies {
            return Ok(None);
        }
        let range = self.manners.sync_min..=self.manners.sync_max;
        let over = elapsed() + self.chance.random_range(range);
        self.settled_at = self.settled_at.max(over);
        Ok(Some(over))
    }

    fn write(&mut self, id: usize, offset: usize, bytes: &[u8]) -> io::Result<()> {
        let len = self.files[id].current.len();
        self.make_room((offset + bytes.len()).saturating_sub(len) as u64)?;
        let file = &mut self.files[id];
        let change = Change::Write { offset, bytes: bytes.into() };
        apply_change(&mut file.current, &change);
        file.pending.push(change);
        Ok(())
    }

    fn set_len(&mut self, id: usize, len: usize) -> io::Result<()> {
        let grown = len.saturating_sub(self.files[id].current.len());
        self.make_room(grown as u64)?;
        let file = &mut self.files[id];
        file.current.resize(len, 0);
        file.pending.push(Change::SetLen(len));
        Ok(())
    }

    fn sync(&mut self, id: usize) -> io::Result<()> {
        let over = self.sync_over();
        let file = &mut self.files[id];
        file.fold(elapsed());
        match over {
            Ok(Some(over)) => file.pending.push(Change::SyncOver(over)),
            Ok(None) => {}
            // What could not be written is clean to the kernel now, and will never be.
            Err(_) => file.forget_unsynced(),
        }
        over.map(|_| ())
    }
}

impl Inode {
    /// Takes over what is durable by now.
    fn fold(&mut self, now: Duration) {
        let is_over = |change: &Change| matches!(change, Change::SyncOver(at) if *at <= now);
        if let Some(last) = self.pending.iter().rposition(is_over) {
            for change in self.pending.drain(..=last) {
                apply_change(&mut self.durable, &change);
            }
        }
    }

    fn forget_unsynced(&mut self) {
        let is_sync = |change: &Change| matches!(change, Change::SyncOver(_));
        let kept = self.pending.iter().rposition(is_sync).map_or(0, |last| last + 1);
        self.pending.truncate(kept);
    }

    /// Whether anything was lost.
    fn crash(&mut self, now: Duration, chance: &mut SmallRng, wear: &mut Wear) -> bool {
        self.fold(now);
        let marks: Vec<usize> = (self.pending.iter().enumerate())
            .filter_map(|(at, change)| matches!(change, Change::SyncOver(_)).then_some(at))
            .collect();
        // So many of the syncs under way were over, though nobody heard of it.
        let over = chance.random_range(0..=marks.len());
        let whole = if over == 0 { 0 } else { marks[over - 1] };
        let uncertain = marks.get(over).copied().unwrap_or(self.pending.len());
        let mut has_lost = uncertain < self.pending.len();
        for (at, change) in self.pending.drain(..).enumerate().take(uncertain) {
            if at < whole {
                apply_change(&mut self.durable, &change);
                continue;
            }
            match chance.random_range(0..3) {
                0 => has_lost = true,
                1 => apply_change(&mut self.durable, &change),
                _ => has_lost |= tear(&mut self.durable, &change, chance, wear),
            }
        }
        self.current.clone_from(&self.durable);
        has_lost
    }
}

/// Writes some sectors of a change. Whether any is missing.
fn tear(content: &mut Vec<u8>, change: &Change, chance: &mut SmallRng, wear: &mut Wear) -> bool {
    let Change::Write { offset, bytes } = change else {
        apply_change(content, change);
        return false;
    };
    let mut is_torn = false;
    let mut at = 0;
    while at < bytes.len() {
        let to_boundary = SECTOR - (offset + at) % SECTOR;
        let end = (at + to_boundary).min(bytes.len());
        if chance.random_bool(0.5) {
            let sector = Change::Write { offset: offset + at, bytes: bytes[at..end].into() };
            apply_change(content, &sector);
        } else {
            is_torn = true;
        }
        at = end;
    }
    wear.torn += u64::from(is_torn);
    is_torn
}

fn apply_change(content: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write { offset, bytes } => {
            let end = offset + bytes.len();
            if content.len() < end {
                content.resize(end, 0);
            }
            content[*offset..end].copy_from_slice(bytes);
        }
        Change::SetLen(len) => content.resize(*len, 0),
        Change::SyncOver(_) => {}
    }
}

fn apply_name(names: &mut BTreeMap<PathBuf, usize>, change: NameChange) {
    match change {
        NameChange::Set(path, id) => {
            names.insert(path, id);
        }
        NameChange::Remove(path) => {
            names.remove(&path);
        }
        NameChange::SyncOver(..) => {}
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

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let content = &mut *self.0.lock();
        let id = content.create(path)?;
        content.set_len(id, 0)?;
        content.write(id, 0, bytes)
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        let content = &mut *self.0.lock();
        let id = content.find(path)?;
        content.sync(id)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let content = &mut *self.0.lock();
        content.fold_names(elapsed());
        if let Some(over) = content.sync_over()? {
            content.pending_names.push(NameChange::SyncOver(path.into(), over));
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let content = &mut *self.0.lock();
        let id = content.find(from)?;
        content.names.remove(from);
        content.names.insert(to.into(), id);
        content.pending_names.push(NameChange::Set(to.into(), id));
        content.pending_names.push(NameChange::Remove(from.into()));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let content = &mut *self.0.lock();
        content.find(path)?;
        content.names.remove(path);
        content.pending_names.push(NameChange::Remove(path.into()));
        Ok(())
    }

    fn open_blocks(&self, path: &Path) -> io::Result<Box<dyn BlockFile>> {
        let content = &mut *self.0.lock();
        let id = content.create(path)?;
        Ok(Box::new(OpenFile { disk: self.clone(), id, incarnation: content.incarnation }))
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Lock>> {
        let content = &mut *self.0.lock();
        content.create(path)?;
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
mod tests {
    use super::*;

    fn disk(seed: u64, manners: Manners) -> (MemoryDisk, PathBuf) {
        let disk = MemoryDisk::new(seed, manners);
        disk.create_dir_all(Path::new("/data")).expect("room");
        (disk, PathBuf::from("/data/file"))
    }

    const INSTANT: Manners = Manners {
        sync_min: Duration::ZERO,
        sync_max: Duration::ZERO,
        fails_next_sync: false,
        capacity_bytes: 1 << 20,
        lies: false,
    };

    #[test]
    fn what_was_synced_survives_and_what_was_not_may_be_lost_or_torn() {
        let (mut kept, mut lost, mut torn) = (0, 0, 0);
        for seed in 0..200 {
            let (disk, path) = disk(seed, INSTANT);
            disk.write(&path, &[1; 2048]).expect("room");
            disk.sync(&path).expect("it works");
            disk.sync_dir(Path::new("/data")).expect("it works");
            disk.open_blocks(&path).expect("it is there").write(0, &[2; 2048]).expect("room");
            disk.crash();
            let found = disk.read(&path).expect("its name was synced");
            assert_eq!(found.len(), 2048);
            match (found.contains(&1), found.contains(&2)) {
                (true, false) => lost += 1,
                (false, true) => kept += 1,
                _ => torn += 1,
            }
        }
        assert!(kept > 20 && lost > 20 && torn > 20, "{kept} kept, {lost} lost, {torn} torn");
    }

    #[test]
    fn a_name_that_was_not_synced_may_be_lost() {
        let exists = (0..100).filter(|seed| {
            let (disk, path) = disk(*seed, INSTANT);
            disk.write(&path, b"new").expect("room");
            disk.sync(&path).expect("it works");
            disk.crash();
            disk.read(&path).is_ok()
        });
        assert!((20..80).contains(&exists.count()));
    }

    #[test]
    fn a_sync_under_way_promises_nothing() {
        let slow = Manners {
            sync_min: Duration::from_secs(1),
            sync_max: Duration::from_secs(1),
            ..INSTANT
        };
        let kept = (0..100).filter(|seed| {
            let (disk, path) = disk(*seed, INSTANT);
            disk.write(&path, &[1]).expect("room");
            disk.sync(&path).expect("it works");
            disk.sync_dir(Path::new("/data")).expect("it works");
            disk.set_manners(|manners| *manners = slow);
            let blocks = disk.open_blocks(&path).expect("it is there");
            blocks.write(0, &[2]).expect("room");
            blocks.sync().expect("it begins");
            disk.crash();
            disk.read(&path).expect("it is there") == [2]
        });
        assert!((20..95).contains(&kept.count()));
    }

    #[test]
    fn a_failed_sync_is_not_made_good_by_the_next() {
        let (disk, path) = disk(1, INSTANT);
        disk.write(&path, &[1; 100]).expect("room");
        disk.sync(&path).expect("it works");
        disk.sync_dir(Path::new("/data")).expect("it works");
        let blocks = disk.open_blocks(&path).expect("it is there");
        blocks.write(0, &[2; 100]).expect("room");
        disk.set_manners(|manners| manners.fails_next_sync = true);
        blocks.sync().expect_err("it was told to fail");
        blocks.sync().expect("the next one says it works");
        disk.crash();
        assert_eq!(disk.read(&path).expect("it is there"), [1; 100]);
    }

    #[test]
    fn locks_and_open_files_end_with_the_process() {
        let (disk, path) = disk(1, INSTANT);
        let held = disk.lock(&path).expect("a lock file").expect("it is free");
        assert!(disk.lock(&path).expect("a lock file").is_none());
        let blocks = disk.open_blocks(&path).expect("it is there");
        disk.release();
        blocks.write(0, b"late").expect_err("its process is gone");
        let next = disk.lock(&path).expect("a lock file").expect("it is free");
        drop(held);
        assert!(
            disk.lock(&path).expect("a lock file").is_none(),
            "the old guard freed the new lock"
        );
        drop(next);
    }

    #[test]
    fn a_full_disk_refuses_and_recovers() {
        let (disk, path) = disk(1, Manners { capacity_bytes: 100, ..INSTANT });
        let error = disk.write(&path, &[1; 101]).expect_err("it does not fit");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        disk.set_manners(|manners| manners.capacity_bytes = 200);
        disk.write(&path, &[1; 101]).expect("it fits now");
    }
}
