//! What the process did to the files under the root, and what of it is durable.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};

use libc::{AT_FDCWD, c_int};

use crate::chance::Chance;
use crate::names::{Change, Names, Place};
use crate::raw;
use crate::settings::{Cut, Faults, Settings};
use crate::stored::{FileId, Stored};

/// The disk as this process sees it.
#[derive(Debug)]
pub(crate) struct Disk {
    root: PathBuf,
    cut: Option<Cut>,
    cut_at: Option<u64>,
    lie_one_in: Option<u64>,
    chance: Chance,
    /// Changes and syncs so far.
    steps: u64,
    syncs: u64,
    space: Option<Space>,
    files: BTreeMap<FileId, Stored>,
    names: Names,
}

/// How much may still be written.
#[derive(Debug)]
struct Space {
    given_bytes: u64,
    left_bytes: u64,
}

/// What to do about a sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sync {
    /// It is done.
    Done,
    /// It fails.
    Failed,
    /// Ask the real disk.
    Real,
}

impl Disk {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            root: settings.root.clone(),
            cut: settings.cut,
            cut_at: settings.cut_at,
            lie_one_in: settings.lie_one_in,
            chance: Chance::new(settings.seed),
            steps: 0,
            syncs: 0,
            space: None,
            files: BTreeMap::new(),
            names: Names::default(),
        }
    }

    /// Whether an open file or folder lies under the root.
    pub(crate) fn holds(&self, fd: RawFd) -> bool {
        fs::read_link(own_path(fd)).is_ok_and(|path| path.starts_with(&self.root))
    }

    /// The place of a path, relative to the folder `base`; None if it is not under the root.
    pub(crate) fn place(&mut self, base: RawFd, path: &Path) -> Option<Place> {
        let path = if base == AT_FDCWD {
            path.to_owned()
        } else {
            PathBuf::from(own_path(base)).join(path)
        };
        let name = path.file_name()?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let folder = parent.unwrap_or(Path::new(".")).canonicalize().ok()?;
        if !folder.starts_with(&self.root) {
            return None;
        }
        let folder = File::open(folder).ok()?;
        Some(sure(self.names.place(folder, name.to_owned())))
    }

    /// Cuts the power before the step so many steps from now.
    pub(crate) fn cut_in(&mut self, steps: u64) {
        self.cut_at = Some(self.steps + steps);
    }

    /// Counts a step, before which the power may be cut.
    pub(crate) fn step(&mut self) {
        self.steps += 1;
        if self.cut_at == Some(self.steps) {
            self.cut_power();
        }
    }

    /// Before `bytes` bytes are written to a file, at `offset` or at its own position. Returns how many may be, or an
    /// error number. With `whole`, it is all or none.
    pub(crate) fn before_write(
        &mut self,
        fd: RawFd,
        offset: Option<u64>,
        bytes: usize,
        whole: bool,
        faults: &Faults,
    ) -> Result<usize, c_int> {
        self.step();
        let bytes = self.take_space(bytes, whole, faults)?;
        if self.cut.is_some() {
            let (mut stored, id) = self.stored(fd)?;
            let offset = match offset {
                Some(offset) => offset,
                None => sure(raw::write_position(fd)),
            };
            sure(stored.about_to_write(offset, bytes as u64));
            self.files.insert(id, stored);
        }
        Ok(bytes)
    }

    /// Before the length of a file is set.
    pub(crate) fn before_resize(&mut self, fd: RawFd, len: u64) -> Result<(), c_int> {
        self.step();
        if self.cut.is_some() {
            let (mut stored, id) = self.stored(fd)?;
            sure(stored.about_to_resize(len));
            self.files.insert(id, stored);
        }
        Ok(())
    }

    fn take_space(&mut self, bytes: usize, whole: bool, faults: &Faults) -> Result<usize, c_int> {
        let Some(given_bytes) = faults.space_bytes else {
            self.space = None;
            return Ok(bytes);
        };
        let space = match &mut self.space {
            Some(space) if space.given_bytes == given_bytes => space,
            space => space.insert(Space { given_bytes, left_bytes: given_bytes }),
        };
        let left = usize::try_from(space.left_bytes).unwrap_or(usize::MAX);
        let granted = bytes.min(left);
        if granted < bytes && (whole || granted == 0) {
            return Err(libc::ENOSPC);
        }
        space.left_bytes -= granted as u64;
        Ok(granted)
    }

    /// Takes the book of a file, or opens one.
    fn stored(&mut self, fd: RawFd) -> Result<(Stored, FileId), c_int> {
        let path = own_path(fd);
        let id = FileId::of(&sure(fs::metadata(&path)));
        if let Some(stored) = self.files.remove(&id) {
            return Ok((stored, id));
        }
        let file = OpenOptions::new().read(true).write(true).open(path);
        file.map(|file| (Stored::new(file), id))
            .map_err(|error| error.raw_os_error().unwrap_or(libc::EIO))
    }

    /// Whether there is anything at a place.
    pub(crate) fn exists(&self, place: &Place) -> bool {
        sure(self.names.exists(place))
    }

    /// What stands at a place, to be passed to [`changed`](Self::changed) once it is gone.
    pub(crate) fn look(&self, place: &Place) -> Option<crate::names::Lost> {
        self.cut.and_then(|_| sure(self.names.look(place)))
    }

    /// Names were changed.
    pub(crate) fn changed(&mut self, change: Change) {
        if self.cut.is_some() {
            self.names.changed(change);
        }
    }

    /// A file or folder is to be made durable.
    pub(crate) fn sync(&mut self, fd: RawFd, faults: &Faults) -> Sync {
        self.step();
        self.syncs += 1;
        let fails = faults.fail_at == Some(self.syncs)
            || faults.fail_one_in.is_some_and(|n| self.chance.one_in(n));
        if fails {
            return Sync::Failed;
        }
        if self.lie_one_in.is_some_and(|n| self.chance.one_in(n)) {
            return Sync::Done;
        }
        if self.cut.is_none() {
            return Sync::Real;
        }
        let metadata = sure(fs::metadata(own_path(fd)));
        let id = FileId::of(&metadata);
        if metadata.is_dir() {
            self.names.synced(id);
            self.forget_removed();
        } else if let Some(stored) = self.files.get_mut(&id) {
            stored.synced();
        }
        Sync::Done
    }

    /// Lets go of files that nobody will see again.
    fn forget_removed(&mut self) {
        let names = &self.names;
        self.files.retain(|id, stored| names.may_return(*id) || !sure(stored.is_removed()));
    }

    /// Undoes what is not durable and ends the process.
    pub(crate) fn cut_power(&mut self) -> ! {
        let is_done = raw::while_all_stand_still(|| self.undo());
        raw::exit(if is_done { crate::EXIT_CUT } else { crate::EXIT_MISUSE })
    }

    fn undo(&mut self) {
        let tears = self.cut == Some(Cut::Torn);
        let (mut changes, mut sectors_kept) = (0, 0);
        for stored in self.files.values_mut() {
            let undone = sure(stored.cut(tears.then_some(&mut self.chance)));
            changes += undone.changes;
            sectors_kept += undone.sectors_kept;
        }
        let keep = if tears { self.chance.up_to(self.names.len()) } else { 0 };
        let names = sure(self.names.undo_to(keep));
        raw::say(&format!(
            "faultdisk: power cut at step {} after {} syncs: {changes} writes not durable, {sectors_kept} of their \
             sectors survive; {names} names undone, {keep} that are not durable survive\n",
            self.steps, self.syncs
        ));
    }
}

fn own_path(fd: RawFd) -> String {
    format!("/proc/self/fd/{fd}")
}

/// Keeping book must not fail: nothing that is found out later would mean anything.
fn sure<T>(result: io::Result<T>) -> T {
    result.unwrap_or_else(|error| {
        raw::say(&format!("faultdisk: cannot follow what the process does: {error}\n"));
        raw::exit(crate::EXIT_MISUSE)
    })
}
