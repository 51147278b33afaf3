//! Renaming, removing, and making folders.

use libc::{AT_FDCWD, c_char, c_int, c_uint, mode_t};

use super::path_of;
use crate::names::Change;
use crate::{raw, shim};

/// # Safety
/// As `renameat2(2)`.
unsafe fn rename_at(
    from_base: c_int,
    from: *const c_char,
    to_base: c_int,
    to: *const c_char,
    flags: c_uint,
) -> c_int {
    // SAFETY: so for all calls in here: the arguments are the caller's.
    let rename = || unsafe { raw::renameat2(from_base, from, to_base, to, flags) };
    let Some(mut disk) = shim::enter() else { return rename() };
    // SAFETY: the paths are the caller's.
    let (from, to) = unsafe { (path_of(from), path_of(to)) };
    let (Some(from), Some(to)) = (disk.place(from_base, from), disk.place(to_base, to)) else {
        return rename();
    };
    if flags & !libc::RENAME_NOREPLACE != 0 {
        return raw::fail(libc::EINVAL);
    }
    disk.step();
    let replaced = disk.look(&to);
    let renamed = rename();
    if renamed == 0 {
        disk.changed(Change::Moved { from, to, replaced });
    }
    renamed
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
    // SAFETY: see `open`.
    unsafe { rename_at(AT_FDCWD, from, AT_FDCWD, to, 0) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn renameat(
    from_base: c_int,
    from: *const c_char,
    to_base: c_int,
    to: *const c_char,
) -> c_int {
    // SAFETY: see `open`.
    unsafe { rename_at(from_base, from, to_base, to, 0) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn renameat2(
    from_base: c_int,
    from: *const c_char,
    to_base: c_int,
    to: *const c_char,
    flags: c_uint,
) -> c_int {
    // SAFETY: see `open`.
    unsafe { rename_at(from_base, from, to_base, to, flags) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn unlinkat(base: c_int, path: *const c_char, flags: c_int) -> c_int {
    // SAFETY: the arguments are the caller's.
    let remove = || unsafe { raw::unlinkat(base, path, flags) };
    let Some(mut disk) = shim::enter() else { return remove() };
    // SAFETY: the path is the caller's.
    let Some(place) = disk.place(base, unsafe { path_of(path) }) else { return remove() };
    disk.step();
    let lost = disk.look(&place);
    let removed = remove();
    if let Some(lost) = lost.filter(|_| removed == 0) {
        disk.changed(Change::Removed(place, lost));
    }
    removed
}

#[unsafe(no_mangle)]
unsafe extern "C" fn unlink(path: *const c_char) -> c_int {
    // SAFETY: see `open`.
    unsafe { unlinkat(AT_FDCWD, path, 0) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rmdir(path: *const c_char) -> c_int {
    // SAFETY: see `open`.
    unsafe { unlinkat(AT_FDCWD, path, libc::AT_REMOVEDIR) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mkdirat(base: c_int, path: *const c_char, mode: mode_t) -> c_int {
    // SAFETY: the arguments are the caller's.
    let make = || unsafe { raw::mkdirat(base, path, mode) };
    let Some(mut disk) = shim::enter() else { return make() };
    // SAFETY: the path is the caller's.
    let Some(place) = disk.place(base, unsafe { path_of(path) }) else { return make() };
    disk.step();
    let made = make();
    if made == 0 {
        disk.changed(Change::Made(place));
    }
    made
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mkdir(path: *const c_char, mode: mode_t) -> c_int {
    // SAFETY: see `open`.
    unsafe { mkdirat(AT_FDCWD, path, mode) }
}
