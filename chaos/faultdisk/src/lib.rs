//! A disk that fails, between a process and its real disk: a shared library for `LD_PRELOAD`.
//!
//! ```text
//!  process ── open, write, rename, fsync … ──► hooks ──► disk (what is not durable, how to undo it) ──► kernel
//!                                                ▲
//!                        environment, control file (faults that come and go, power cut)
//! ```
//!
//! It can cut the power, fail, stall and fake syncs, run out of space, and shift the wall clock. Only files and folders
//! under one root are touched, but for the clock. It works for dynamically linked programs on 64-bit Linux:
//!
//! ```text
//! cargo build -p muster-faultdisk
//! export MUSTER_FAULTDISK_ROOT=… MUSTER_FAULTDISK_CONTROL=…
//! LD_PRELOAD=target/debug/libmuster_faultdisk.so muster master …
//! ```
//!
//! # Environment
//!
//! | Variable | Meaning |
//! |---|---|
//! | `MUSTER_FAULTDISK_ROOT` | The folder whose content is touched; it must exist. Unset: the library does nothing. |
//! | `MUSTER_FAULTDISK_FAULTS` | Faults from the start on, in the format below, with `;` in place of line ends. |
//! | `MUSTER_FAULTDISK_CONTROL` | The control file. It may appear later; while it exists it replaces `…_FAULTS`. |
//! | `MUSTER_FAULTDISK_SEED` | A number from which all chances follow; 0 if unset. |
//! | `MUSTER_FAULTDISK_CUT` | `clean` or `torn`: keep book of what is not durable, so that the power can be cut. |
//! | `MUSTER_FAULTDISK_CUT_AT` | Cut the power before this step, counted from 1. A step is a change or a sync. |
//! | `MUSTER_FAULTDISK_LIE_ONE_IN` | N ≥ 1: with a chance of 1 in N a sync succeeds and makes nothing durable. |
//!
//! A process whose variables make no sense ends at once with [exit code](EXIT_MISUSE) 98.
//!
//! # Control file
//!
//! Lines of `key = value`; empty lines and lines that begin with `#` are skipped. What is not named is off. The file is
//! looked at every 5 ms; replace it by renaming another one into its place. A file that cannot be understood is
//! complained of on standard error, and the faults stay what they were.
//!
//! | Key | Value | Fault |
//! |---|---|---|
//! | `stall_ms` | milliseconds | Every sync takes so much longer. |
//! | `fail_one_in` | N ≥ 1 | A sync fails with `EIO`, with a chance of 1 in N; 1: every sync. |
//! | `fail_at` | N ≥ 1 | The N-th sync of the process, counted from its start, fails with `EIO`. |
//! | `space_bytes` | bytes | From now on so many bytes can be written (overwriting counts); then `ENOSPC`. |
//! | `clock_offset_ms` | milliseconds, may be negative | The wall clock is off by so much. Monotonic clocks are not. |
//! | `cut` | `now` | Cuts the power; needs `MUSTER_FAULTDISK_CUT`. |
//! | `cut_in` | N ≥ 1 | Cuts the power before the N-th step from when this is read; needs `MUSTER_FAULTDISK_CUT`. |
//!
//! On standard error it says when a sync fails or is held up, when the clock is read off for the first time, and what a
//! power cut undid.
//!
//! The bytes of `space_bytes` are counted from the moment the value was last changed.
//!
//! # Power cut
//!
//! All threads stand still, what the process did to the root since the last covering sync is undone, and the process
//! ends with [exit code](EXIT_CUT) 99. Once it has ended, the root is what the disk would hold:
//!
//! - Content and length of a file are durable once `fsync` or `fdatasync` of *that file* has returned.
//!   `sync_file_range` makes nothing durable.
//! - A name (of a new file or folder, renamed, removed) is durable once `fsync` of *its folder* has returned. Syncing
//!   the file does not make its name durable: POSIX promises no more than that. A folder without a durable name is
//!   lost with all that is in it.
//! - What was there when the process first touched it counts as durable. So a process that ended in any other way than
//!   by a cut leaves a sound disk.
//!
//! With `torn`, the disk has written some of it in the meantime, without being asked: of each file a random subset of
//! the 512-byte sectors as they were at a random moment since its last sync, either the old length or the new one, and
//! of the names those up to a random moment, in their order. With `clean` nothing but what was synced survives.
//!
//! In these modes the real disk is never asked to sync, which makes rounds fast.
//!
//! # What it does not see
//!
//! System calls made without the C library (as `rustix` does for `statvfs`: free space looks as it is), stdio streams,
//! io_uring, hard links. Writable shared mappings of files under the root end the process, for nothing could be said
//! about them; copies within the kernel are refused so that callers fall back to writing. A forked child is left alone
//! until it becomes another program.

#![cfg(all(target_os = "linux", target_pointer_width = "64"))]

mod chance;
mod disk;
mod hooks;
mod names;
mod raw;
mod settings;
mod shim;
mod stored;

/// Exit code of a process whose power was cut.
pub const EXIT_CUT: i32 = 99;
/// Exit code of a process that was set up in a way that makes no sense, or does what cannot be followed.
pub const EXIT_MISUSE: i32 = 98;
