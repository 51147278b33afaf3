//! Files, as far as masters need them: what was synced survives a power cut, anything else may not.

use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use futures::future::BoxFuture;

/// A file system. All methods block; names follow POSIX.
pub trait Disk: Send + Sync + 'static {
    /// Creates a folder and those above it; fine if it is there.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;

    /// The names in a folder, in no order.
    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>>;

    /// A whole file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// The length of a file in bytes.
    fn size(&self, path: &Path) -> io::Result<u64>;

    /// Creates a file, see [`create_blocks`](Self::create_blocks). Not durable before [`sync`](Self::sync).
    fn write(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        self.create_blocks(path)?.write(0, content)
    }

    /// Makes the content of a file durable. After an error it is unknown what is durable, and asking again does not
    /// help.
    fn sync(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a folder durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Renames a file, replacing what had the new name. Not durable before [`sync_dir`](Self::sync_dir).
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Deletes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Creates an empty file in place of what has the name, and opens it for reading and writing anywhere in it. What
    /// had the name is not emptied but loses it: it may have another one still, because a power cut in the midst of a
    /// [`rename`](Self::rename) can leave both.
    fn create_blocks(&self, path: &Path) -> io::Result<Box<dyn BlockFile>>;

    /// Opens a file for reading and writing anywhere in it, creating it if need be.
    fn open_blocks(&self, path: &Path) -> io::Result<Box<dyn BlockFile>>;

    /// Locks a file against all other processes, creating it if need be, until the value is dropped. `None` if another
    /// has it.
    fn lock(&self, path: &Path) -> io::Result<Option<Lock>>;

    /// Bytes that can still be written to the file system of this path, by whoever asks.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;

    /// Resolves when everything whose sync has returned is durable: at once, unless a simulation lets syncs take their
    /// time without blocking. Until then a power cut may undo them, the latest first: callers rely on the order of
    /// their syncs, and wait here only before they tell others.
    fn settled(&self) -> BoxFuture<'static, ()>;
}

impl fmt::Debug for dyn Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Disk")
    }
}

/// A file that is read and written anywhere in it. Shared between threads.
pub trait BlockFile: fmt::Debug + Send + Sync + 'static {
    /// Length in bytes.
    fn size(&self) -> io::Result<u64>;

    /// Fills `buffer` from `offset` on.
    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Sets the length; new bytes are zero.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`. Not durable before [`sync`](Self::sync).
    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// See [`Disk::sync`].
    fn sync(&self) -> io::Result<()>;
}

/// Held as long as the value lives.
pub struct Lock(#[expect(dead_code, reason = "dropped, never read")] Box<dyn Send + Sync>);

impl Lock {
    /// Whatever releases the lock when it is dropped.
    pub fn new(guard: impl Send + Sync + 'static) -> Self {
        Self(Box::new(guard))
    }
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lock")
    }
}

/// The files of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct Files;

impl Disk for Files {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        fs::read_dir(path)?.map(|entry| Ok(PathBuf::from(entry?.file_name()))).collect()
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn size(&self, path: &Path) -> io::Result<u64> {
        Ok(fs::metadata(path)?.len())
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        File::options().write(true).open(path)?.sync_all()
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn create_blocks(&self, path: &Path) -> io::Result<Box<dyn BlockFile>> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = File::options().create_new(true).read(true).write(true).open(path)?;
        Ok(Box::new(OpenFile(file)))
    }

    fn open_blocks(&self, path: &Path) -> io::Result<Box<dyn BlockFile>> {
        let file =
            File::options().create(true).truncate(false).read(true).write(true).open(path)?;
        Ok(Box::new(OpenFile(file)))
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Lock>> {
        let file = File::options().create(true).truncate(false).write(true).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock::new(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(path)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn settled(&self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }
}

#[derive(Debug)]
struct OpenFile(File);

impl BlockFile for OpenFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_held_once() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("LOCK");
        let held = Files.lock(&path).expect("a lock file").expect("it is free");
        assert!(Files.lock(&path).expect("a lock file").is_none());
        drop(held);
        assert!(Files.lock(&path).expect("a lock file").is_some());
    }

    #[test]
    fn a_new_file_leaves_the_old_one_under_its_other_name() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (path, draft) = (dir.path().join("file"), dir.path().join("file.tmp"));
        Files.write(&path, b"kept").expect("there is room");
        fs::hard_link(&path, &draft).expect("as a rename cut in two leaves it");
        Files.write(&draft, b"new").expect("there is room");
        assert_eq!(Files.read(&path).expect("it is there"), b"kept");
        assert_eq!(Files.read(&draft).expect("it is there"), b"new");
    }

    #[test]
    fn blocks_are_read_where_they_were_written() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let file = Files.open_blocks(&dir.path().join("blocks")).expect("a new file");
        file.set_len(16).expect("there is room");
        file.write(8, b"block").expect("there is room");
        file.sync().expect("a disk that works");
        let mut read = [1; 8];
        file.read(6, &mut read).expect("it is long enough");
        assert_eq!(&read, b"\0\0block\0");
        file.read(12, &mut read).expect_err("it ends before");
    }
}
