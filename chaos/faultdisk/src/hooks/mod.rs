//! The C library's functions as the process finds them, in front of the C library.
//!
//! Each one looks whether it is about a file under the root, does what it must before, makes the system call itself,
//! and notes what came of it. `open` and `openat` take their mode as an ordinary argument: on 64-bit Linux an
//! integer after the named arguments is passed in the same register either way, and without `O_CREAT` it is not used.
#![allow(unsafe_code)]

mod clock;
mod names;

use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use libc::{AT_FDCWD, c_char, c_int, c_uint, c_void, iovec, mode_t, off_t, size_t, ssize_t};

use crate::disk::Sync;
use crate::names::Change;
use crate::shim::{self, Entered};
use crate::{EXIT_MISUSE, raw};

/// Runs when the library is loaded.
// SAFETY: the loader calls every function of this section once, before `main`, with arguments that may be ignored.
#[unsafe(link_section = ".init_array")]
#[used]
static START: extern "C" fn() = {
    extern "C" fn start() {
        shim::start();
    }
    start
};

/// # Safety
/// `path` is a C string.
unsafe fn path_of<'p>(path: *const c_char) -> &'p Path {
    // SAFETY: as promised.
    Path::new(OsStr::from_bytes(unsafe { CStr::from_ptr(path) }.to_bytes()))
}

fn is_regular(fd: c_int) -> bool {
    raw::file_type(fd) == libc::S_IFREG
}

/// Enters if `fd` is a regular file under the root.
fn enter_file(fd: c_int) -> Option<Entered> {
    if !is_regular(fd) {
        return None;
    }
    shim::enter().filter(|disk| disk.holds(fd))
}

// Opening.

/// # Safety
/// As `openat(2)`.
unsafe fn open_at(base: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: so for all calls in here: the arguments are the caller's.
    let open = |flags| unsafe { raw::openat(base, path, flags, mode) };
    let creates = flags & libc::O_CREAT != 0;
    let truncates = flags & libc::O_TRUNC != 0 && flags & libc::O_ACCMODE != libc::O_RDONLY;
    if !(creates || truncates) || flags & libc::O_TMPFILE == libc::O_TMPFILE {
        return open(flags);
    }
    let Some(mut disk) = shim::enter() else { return open(flags) };
    // SAFETY: the path is the caller's.
    let Some(place) = disk.place(base, unsafe { path_of(path) }) else { return open(flags) };
    let exists = disk.exists(&place);
    if exists && truncates {
        let fd = open(flags & !libc::O_TRUNC);
        if fd >= 0 && is_regular(fd) {
            // SAFETY: takes numbers only.
            let emptied = disk.before_resize(fd, 0).map(|()| unsafe { raw::ftruncate(fd, 0) });
            if let Err(errno) = emptied {
                return raw::fail(errno);
            }
        }
        return fd;
    }
    if exists {
        return open(flags);
    }
    disk.step();
    let fd = open(flags);
    if fd >= 0 {
        disk.changed(Change::Made(place));
    }
    fd
}

#[unsafe(no_mangle)]
unsafe extern "C" fn open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: so for all functions from here on: the caller keeps the promises of the C function of this name.
    unsafe { open_at(AT_FDCWD, path, flags, mode) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: see `open`.
    unsafe { open_at(AT_FDCWD, path, flags, mode) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn openat(base: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: see `open`.
    unsafe { open_at(base, path, flags, mode) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn openat64(
    base: c_int,
    path: *const c_char,
    flags: c_int,
    mode: mode_t,
) -> c_int {
    // SAFETY: see `open`.
    unsafe { open_at(base, path, flags, mode) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn creat(path: *const c_char, mode: mode_t) -> c_int {
    // SAFETY: see `open`.
    unsafe { open_at(AT_FDCWD, path, libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC, mode) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn creat64(path: *const c_char, mode: mode_t) -> c_int {
    // SAFETY: see `open`.
    unsafe { creat(path, mode) }
}

// Writing.

/// Writes `bytes` bytes, or as many as there is room for unless `whole`.
fn write_some(
    fd: c_int,
    offset: Option<off_t>,
    bytes: usize,
    whole: bool,
    write: impl FnOnce(usize) -> ssize_t,
) -> ssize_t {
    let Some(mut disk) = enter_file(fd) else { return write(bytes) };
    let offset = match offset.map(u64::try_from).transpose() {
        Ok(offset) => offset,
        Err(_) => return raw::fail(libc::EINVAL) as ssize_t,
    };
    match disk.before_write(fd, offset, bytes, whole, &shim::faults()) {
        Ok(bytes) => write(bytes),
        Err(errno) => raw::fail(errno) as ssize_t,
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn write(fd: c_int, bytes: *const c_void, count: size_t) -> ssize_t {
    // SAFETY: see `open`; fewer bytes than the caller has may be written.
    write_some(fd, None, count, false, |count| unsafe { raw::write(fd, bytes, count) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pwrite(
    fd: c_int,
    bytes: *const c_void,
    count: size_t,
    offset: off_t,
) -> ssize_t {
    // SAFETY: see `write`.
    write_some(fd, Some(offset), count, false, |count| unsafe {
        raw::pwrite(fd, bytes, count, offset)
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pwrite64(
    fd: c_int,
    bytes: *const c_void,
    count: size_t,
    offset: off_t,
) -> ssize_t {
    // SAFETY: see `open`.
    unsafe { pwrite(fd, bytes, count, offset) }
}

/// # Safety
/// There are `count` pieces.
unsafe fn total(pieces: *const iovec, count: c_int) -> usize {
    let count = usize::try_from(count).unwrap_or(0);
    if count == 0 {
        return 0;
    }
    // SAFETY: as promised.
    unsafe { std::slice::from_raw_parts(pieces, count) }.iter().map(|piece| piece.iov_len).sum()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn writev(fd: c_int, pieces: *const iovec, count: c_int) -> ssize_t {
    // SAFETY: see `open`.
    unsafe { write_some(fd, None, total(pieces, count), true, |_| raw::writev(fd, pieces, count)) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pwritev(
    fd: c_int,
    pieces: *const iovec,
    count: c_int,
    offset: off_t,
) -> ssize_t {
    // SAFETY: see `open`.
    unsafe {
        let bytes = total(pieces, count);
        write_some(fd, Some(offset), bytes, true, |_| raw::pwritev(fd, pieces, count, offset, 0))
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pwritev64(
    fd: c_int,
    pieces: *const iovec,
    count: c_int,
    offset: off_t,
) -> ssize_t {
    // SAFETY: see `open`.
    unsafe { pwritev(fd, pieces, count, offset) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ftruncate(fd: c_int, len: off_t) -> c_int {
    // SAFETY: takes numbers only.
    let truncate = || unsafe { raw::ftruncate(fd, len) };
    let Some(mut disk) = enter_file(fd) else { return truncate() };
    match u64::try_from(len).map_err(|_| libc::EINVAL).and_then(|len| disk.before_resize(fd, len)) {
        Ok(()) => truncate(),
        Err(errno) => raw::fail(errno),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ftruncate64(fd: c_int, len: off_t) -> c_int {
    // SAFETY: see `open`.
    unsafe { ftruncate(fd, len) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fallocate(fd: c_int, mode: c_int, offset: off_t, len: off_t) -> c_int {
    let bytes = usize::try_from(len).unwrap_or(0);
    // SAFETY: takes numbers only.
    let reserve = |_| unsafe { raw::fallocate(fd, mode, offset, len) } as ssize_t;
    write_some(fd, Some(offset), bytes, true, reserve) as c_int
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fallocate64(fd: c_int, mode: c_int, offset: off_t, len: off_t) -> c_int {
    // SAFETY: see `open`.
    unsafe { fallocate(fd, mode, offset, len) }
}

/// Copies within the kernel are refused, so that the caller reads and writes.
#[unsafe(no_mangle)]
unsafe extern "C" fn copy_file_range(
    from: c_int,
    from_offset: *mut off_t,
    to: c_int,
    to_offset: *mut off_t,
    len: size_t,
    flags: c_uint,
) -> ssize_t {
    if enter_file(to).is_some() {
        return raw::fail(libc::ENOSYS) as ssize_t;
    }
    // SAFETY: see `open`.
    unsafe { raw::copy_file_range(from, from_offset, to, to_offset, len, flags) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn sendfile(
    to: c_int,
    from: c_int,
    offset: *mut off_t,
    count: size_t,
) -> ssize_t {
    if enter_file(to).is_some() {
        return raw::fail(libc::ENOSYS) as ssize_t;
    }
    // SAFETY: see `open`.
    unsafe { raw::sendfile(to, from, offset, count) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn sendfile64(
    to: c_int,
    from: c_int,
    offset: *mut off_t,
    count: size_t,
) -> ssize_t {
    // SAFETY: see `open`.
    unsafe { sendfile(to, from, offset, count) }
}

/// What is written through a mapping is not seen.
#[unsafe(no_mangle)]
unsafe extern "C" fn mmap(
    address: *mut c_void,
    len: size_t,
    protection: c_int,
    flags: c_int,
    fd: c_int,
    offset: off_t,
) -> *mut c_void {
    let is_shared = matches!(flags & libc::MAP_TYPE, libc::MAP_SHARED | libc::MAP_SHARED_VALIDATE);
    if is_shared && protection & libc::PROT_WRITE != 0 && enter_file(fd).is_some() {
        raw::say(
            "faultdisk: a file under the root is mapped for writing, which cannot be followed\n",
        );
        raw::exit(EXIT_MISUSE);
    }
    // SAFETY: see `open`.
    unsafe { raw::mmap(address, len, protection, flags, fd, offset) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mmap64(
    address: *mut c_void,
    len: size_t,
    protection: c_int,
    flags: c_int,
    fd: c_int,
    offset: off_t,
) -> *mut c_void {
    // SAFETY: see `open`.
    unsafe { mmap(address, len, protection, flags, fd, offset) }
}

// Syncs.

fn sync_one(fd: c_int, real: impl FnOnce() -> c_int) -> c_int {
    let is_ours = matches!(raw::file_type(fd), libc::S_IFREG | libc::S_IFDIR)
        && shim::enter().is_some_and(|disk| disk.holds(fd));
    if !is_ours {
        return real();
    }
    let faults = shim::faults();
    if faults.stall_ms > 0 {
        raw::say(&format!("faultdisk: a sync is held up for {} ms\n", faults.stall_ms));
        shim::stall(Duration::from_millis(faults.stall_ms));
    }
    let Some(mut disk) = shim::enter() else { return real() };
    let sync = disk.sync(fd, &faults);
    drop(disk);
    match sync {
        Sync::Done => 0,
        Sync::Failed => {
            raw::say("faultdisk: a sync fails\n");
            raw::fail(libc::EIO)
        }
        Sync::Real => real(),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fsync(fd: c_int) -> c_int {
    // SAFETY: takes a number only.
    sync_one(fd, || unsafe { raw::fsync(fd) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fdatasync(fd: c_int) -> c_int {
    // SAFETY: takes a number only.
    sync_one(fd, || unsafe { raw::fdatasync(fd) })
}

/// Stalls as a sync does, and makes nothing durable.
#[unsafe(no_mangle)]
unsafe extern "C" fn sync_file_range(
    fd: c_int,
    offset: off_t,
    bytes: off_t,
    flags: c_uint,
) -> c_int {
    if enter_file(fd).is_some() {
        shim::stall(Duration::from_millis(shim::faults().stall_ms));
    }
    // SAFETY: takes numbers only.
    unsafe { raw::sync_file_range(fd, offset, bytes, flags) }
}
