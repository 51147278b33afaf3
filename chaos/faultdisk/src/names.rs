//! Names in folders: what was made, moved and removed since the folder's last sync, and how to undo it.
//!
//! Folders are held open and reached through their descriptors, so that a folder may be moved itself.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use crate::stored::FileId;

/// A name in a folder.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    folder: FileId,
    name: OsString,
}

/// What a name stood for before it was removed or taken by another file.
#[derive(Debug)]
pub(crate) enum Lost {
    File { id: FileId, file: File },
    Folder(FileId),
}

/// One change of names.
#[derive(Debug)]
pub(crate) enum Change {
    Made(Place),
    Moved { from: Place, to: Place, replaced: Option<Lost> },
    Removed(Place, Lost),
}

#[derive(Debug)]
struct Pending {
    change: Change,
    /// Folders that must be synced for it to be durable.
    unsynced: BTreeSet<FileId>,
}

/// All names under the root that are not durable, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Names {
    folders: BTreeMap<FileId, File>,
    pending: Vec<Pending>,
}

impl Names {
    /// The place of `name` in a folder, which is held open from now on.
    pub(crate) fn place(&mut self, folder: File, name: OsString) -> io::Result<Place> {
        let id = FileId::of(&folder.metadata()?);
        self.folders.entry(id).or_insert(folder);
        Ok(Place { folder: id, name })
    }

    /// Whether there is anything at a place.
    pub(crate) fn exists(&self, place: &Place) -> io::Result<bool> {
        Ok(fs::symlink_metadata(self.path(place)?).is_ok())
    }

    /// What is at a place, to be kept before it goes.
    pub(crate) fn look(&self, place: &Place) -> io::Result<Option<Lost>> {
        let path = self.path(place)?;
        let metadata = match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let id = FileId::of(&metadata);
        Ok(Some(if metadata.is_dir() {
            Lost::Folder(id)
        } else {
            Lost::File { id, file: File::open(path)? }
        }))
    }

    pub(crate) fn changed(&mut self, change: Change) {
        let unsynced = match &change {
            Change::Made(place) | Change::Removed(place, _) => BTreeSet::from([place.folder]),
            Change::Moved { from, to, .. } => BTreeSet::from([from.folder, to.folder]),
        };
        self.pending.push(Pending { change, unsynced });
    }

    /// The names in this folder are durable.
    pub(crate) fn synced(&mut self, folder: FileId) {
        for pending in &mut self.pending {
            pending.unsynced.remove(&folder);
        }
        self.pending.retain(|pending| !pending.unsynced.is_empty());
    }

    /// Whether a file without a name may come back.
    pub(crate) fn may_return(&self, wanted: FileId) -> bool {
        self.pending.iter().any(|pending| match &pending.change {
            Change::Removed(_, lost) | Change::Moved { replaced: Some(lost), .. } => {
                matches!(lost, Lost::File { id, .. } if *id == wanted)
            }
            Change::Made(_) | Change::Moved { replaced: None, .. } => false,
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.pending.len()
    }

    /// Undoes all but the oldest `keep` changes, and returns how many those were.
    pub(crate) fn undo_to(&mut self, keep: usize) -> io::Result<usize> {
        let undone = self.pending.split_off(keep);
        let count = undone.len();
        for pending in undone.into_iter().rev() {
            match self.undo(pending.change) {
                // A folder that was lost as a whole took its names along.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
        Ok(count)
    }

    fn undo(&mut self, change: Change) -> io::Result<()> {
        match change {
            Change::Made(place) => {
                let path = self.path(&place)?;
                if fs::symlink_metadata(&path)?.is_dir() {
                    fs::remove_dir_all(path)
                } else {
                    fs::remove_file(path)
                }
            }
            Change::Moved { from, to, replaced } => {
                fs::rename(self.path(&to)?, self.path(&from)?)?;
                replaced.map_or(Ok(()), |lost| self.bring_back(&to, lost))
            }
            Change::Removed(place, lost) => self.bring_back(&place, lost),
        }
    }

    fn bring_back(&mut self, place: &Place, lost: Lost) -> io::Result<()> {
        let path = self.path(place)?;
        match lost {
            Lost::File { mut file, .. } => {
                let permissions = file.metadata()?.permissions();
                let mut again = File::create(&path)?;
                io::Seek::rewind(&mut file)?;
                io::copy(&mut file, &mut again)?;
                again.set_permissions(permissions)
            }
            Lost::Folder(id) => {
                fs::create_dir(&path)?;
                // What was in it comes back through this folder.
                self.folders.insert(id, File::open(path)?);
                Ok(())
            }
        }
    }

    fn path(&self, place: &Place) -> io::Result<PathBuf> {
        let folder = self.folders.get(&place.folder).ok_or(io::ErrorKind::NotFound)?;
        Ok(PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(&place.name))
    }
}
