//! One file: what was changed since its last sync, and how to undo it.

use std::collections::BTreeSet;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};

use crate::chance::Chance;

/// What a disk writes at once.
const SECTOR_BYTES: u64 = 512;
/// Of a file that is torn, so many quarters of the sectors survive at most.
const QUARTERS: usize = 4;

/// Device and inode number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FileId(u64, u64);

impl FileId {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self(metadata.dev(), metadata.ino())
    }
}

/// A file with its changes that are not durable, oldest first.
#[derive(Debug)]
pub(crate) struct Stored {
    file: File,
    changes: Vec<Change>,
}

/// One change: what lay there before.
#[derive(Debug)]
struct Change {
    offset: u64,
    /// How much was written; 0 if only the length changed.
    bytes: u64,
    old: Vec<u8>,
    old_len: u64,
}

/// What a cut did.
#[derive(Debug, Default)]
pub(crate) struct Undone {
    pub(crate) changes: usize,
    pub(crate) sectors_kept: usize,
}

impl Stored {
    /// `file` is open for reading and writing, and nobody else's.
    pub(crate) fn new(file: File) -> Self {
        Self { file, changes: Vec::new() }
    }

    pub(crate) fn is_removed(&self) -> io::Result<bool> {
        Ok(self.file.metadata()?.nlink() == 0)
    }

    /// Keeps what `bytes` bytes at `offset` are about to replace.
    pub(crate) fn about_to_write(&mut self, offset: u64, bytes: u64) -> io::Result<()> {
        let old_len = self.file.metadata()?.len();
        let old = self.read(offset, offset.saturating_add(bytes).min(old_len))?;
        self.changes.push(Change { offset, bytes, old, old_len });
        Ok(())
    }

    /// Keeps what a change of the length to `len` is about to cut off.
    pub(crate) fn about_to_resize(&mut self, len: u64) -> io::Result<()> {
        let old_len = self.file.metadata()?.len();
        let old = self.read(len, old_len)?;
        self.changes.push(Change { offset: len, bytes: 0, old, old_len });
        Ok(())
    }

    /// All of it is durable.
    pub(crate) fn synced(&mut self) {
        self.changes.clear();
    }

    /// Makes the file what the disk holds after a cut; `tearing` decides what survives unsynced.
    pub(crate) fn cut(&mut self, tearing: Option<&mut Chance>) -> io::Result<Undone> {
        let count = self.changes.len();
        let Some(chance) = tearing.filter(|_| count > 0) else {
            self.undo_to(0)?;
            return Ok(Undone { changes: count, sectors_kept: 0 });
        };
        let moment = chance.up_to(count);
        self.undo_to(moment)?;
        let len_then = self.file.metadata()?.len();
        let quarters = chance.up_to(QUARTERS);
        let mut kept = Vec::new();
        for sector in self.touched_sectors() {
            if chance.up_to(QUARTERS - 1) < quarters {
                let start = sector * SECTOR_BYTES;
                kept.push((start, self.read(start, (start + SECTOR_BYTES).min(len_then))?));
            }
        }
        self.undo_to(0)?;
        if chance.one_in(2) {
            self.file.set_len(len_then)?;
        }
        let len = self.file.metadata()?.len();
        for (start, content) in &kept {
            let fits = usize::try_from(len.saturating_sub(*start)).unwrap_or(usize::MAX);
            self.file.write_all_at(&content[..content.len().min(fits)], *start)?;
        }
        Ok(Undone { changes: count, sectors_kept: kept.len() })
    }

    fn undo_to(&mut self, count: usize) -> io::Result<()> {
        for change in self.changes.drain(count..).rev() {
            self.file.set_len(change.old_len)?;
            self.file.write_all_at(&change.old, change.offset)?;
        }
        Ok(())
    }

    fn touched_sectors(&self) -> BTreeSet<u64> {
        let written = self.changes.iter().filter(|change| change.bytes > 0);
        let sectors = written.flat_map(|change| {
            let last = change.offset + change.bytes - 1;
            change.offset / SECTOR_BYTES..=last / SECTOR_BYTES
        });
        sectors.collect()
    }

    fn read(&self, start: u64, end: u64) -> io::Result<Vec<u8>> {
        let bytes = usize::try_from(end.saturating_sub(start)).map_err(io::Error::other)?;
        let mut content = vec![0; bytes];
        self.file.read_exact_at(&mut content, start)?;
        Ok(content)
    }
}
