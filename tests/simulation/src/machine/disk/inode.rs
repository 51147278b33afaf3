//! The content of one file, and the changes that are not durable yet.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::Rng;
use rand::rngs::SmallRng;

use super::{SECTOR, Wear};

/// A sync under way. Syncs of one disk are over in the order in which they began.
#[derive(Clone, Copy, Debug)]
pub(super) struct SyncMark {
    /// How many began before.
    pub(super) number: u64,
    /// When it is over.
    pub(super) over_at: Duration,
}

#[derive(Default)]
pub(super) struct Inode {
    pub(super) current: Vec<u8>,
    durable: Vec<u8>,
    /// Each with how many syncs of the disk had begun before.
    pub(super) pending: Vec<(u64, Change)>,
}

pub(super) enum Change {
    Write {
        offset: usize,
        bytes: Vec<u8>,
    },
    SetLen(usize),
    /// Everything before is durable once this sync is over.
    Sync(SyncMark),
}

pub(super) enum NameChange {
    Set(PathBuf, usize),
    Remove(PathBuf),
    /// Changes before it in this folder are durable once this sync is over.
    Sync(PathBuf, SyncMark),
}

impl NameChange {
    pub(super) fn is_in(&self, folder: &Path) -> bool {
        match self {
            Self::Set(path, _) | Self::Remove(path) => path.parent() == Some(folder),
            Self::Sync(..) => false,
        }
    }
}

impl Inode {
    /// Takes over what is durable by now.
    pub(super) fn fold(&mut self, now: Duration) {
        let is_over = |(_, change): &(u64, Change)| matches!(change, Change::Sync(mark) if mark.over_at <= now);
        if let Some(last) = self.pending.iter().rposition(is_over) {
            for (_, change) in self.pending.drain(..=last) {
                apply_change(&mut self.durable, &change);
            }
        }
    }

    /// The syncs under way.
    pub(super) fn syncs(&self) -> impl Iterator<Item = SyncMark> {
        self.pending.iter().filter_map(|(_, change)| match change {
            Change::Sync(mark) => Some(*mark),
            Change::Write { .. } | Change::SetLen(_) => None,
        })
    }

    /// A sync failed.
    pub(super) fn forget_unsynced(&mut self) {
        let is_sync = |(_, change): &(u64, Change)| matches!(change, Change::Sync(_));
        let kept = self.pending.iter().rposition(is_sync).map_or(0, |last| last + 1);
        self.pending.truncate(kept);
    }

    /// The machine stops, and all syncs up to number `over` are over. Whether anything was lost.
    pub(super) fn crash(&mut self, over: u64, chance: &mut SmallRng, wear: &mut Wear) -> bool {
        let is_covered = |(_, change): &(u64, Change)| matches!(change, Change::Sync(mark) if mark.number <= over);
        let whole = self.pending.iter().rposition(is_covered).map_or(0, |at| at + 1);
        // Behind a sync that is not over nothing can have been written.
        let uncertain = self.pending.iter().position(|(begun, _)| *begun > over);
        let uncertain = uncertain.unwrap_or(self.pending.len());
        let mut has_lost = uncertain < self.pending.len();
        for (at, (_, change)) in self.pending.drain(..).enumerate().take(uncertain) {
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

pub(super) fn apply_change(content: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write { offset, bytes } => {
            let end = offset + bytes.len();
            if content.len() < end {
                content.resize(end, 0);
            }
            content[*offset..end].copy_from_slice(bytes);
        }
        Change::SetLen(len) => content.resize(*len, 0),
        Change::Sync(_) => {}
    }
}

pub(super) fn apply_name(names: &mut BTreeMap<PathBuf, usize>, change: NameChange) {
    match change {
        NameChange::Set(path, id) => {
            names.insert(path, id);
        }
        NameChange::Remove(path) => {
            names.remove(&path);
        }
        NameChange::Sync(..) => {}
    }
}
