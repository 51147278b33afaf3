//! System calls that go past the hooks, and the few other calls that need `unsafe`.
#![allow(unsafe_code)]

use std::fs;
use std::io;
use std::os::fd::RawFd;
use std::path::Path;

use libc::{c_char, c_int, c_long, c_uint, c_void, iovec, mode_t, off_t, ssize_t, timespec};

/// Sets `errno` and returns -1, as a failed call does.
pub(crate) fn fail(errno: c_int) -> c_int {
    // SAFETY: the C library gives every thread a valid place for its error number.
    unsafe { *libc::__errno_location() = errno };
    -1
}

/// Ends the process at once.
pub(crate) fn exit(code: c_int) -> ! {
    // SAFETY: takes a number, and never returns.
    unsafe { libc::_exit(code) }
}

/// Writes a message to standard error, past the hooks.
pub(crate) fn say(text: &str) {
    // SAFETY: the text is valid for its length. That nobody reads it is no reason to stop.
    unsafe { libc::syscall(libc::SYS_write, libc::STDERR_FILENO, text.as_ptr(), text.len()) };
}

/// Does `work` in a forked child while every thread of this process stands still, and waits for it. False if it failed.
///
/// Nobody here sees the work half done: what the other threads did until then is done, and after it they have no more
/// than the moment in which this one ends the process. If another thread makes this process another program first, then
/// nothing is done, and that one is left running.
pub(crate) fn while_all_stand_still(work: impl FnOnce()) -> bool {
    // SAFETY: the child has this thread alone. The C library makes its own locks usable after a fork; of our own locks
    // the child takes none, and it ends without returning.
    unsafe {
        let parent = libc::getpid();
        let caller = libc::gettid();
        match libc::fork() {
            -1 => false,
            0 => {
                let standing = loop {
                    // Again each time: another child may have let it go on.
                    libc::kill(parent, libc::SIGSTOP);
                    match Standing::of(parent, caller) {
                        Standing::Runs => libc::sched_yield(),
                        standing => break standing,
                    };
                };
                if standing == Standing::Still {
                    work();
                }
                libc::kill(parent, libc::SIGCONT);
                libc::_exit(i32::from(standing != Standing::Still))
            }
            child => {
                let mut status = 0;
                libc::waitpid(child, &raw mut status, 0) == child && status == 0
            }
        }
    }
}

/// What the threads of a process do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// At least one runs.
    Runs,
    /// All are stopped.
    Still,
    /// The thread in question is no more: the process ended, or became another program.
    Gone,
}

impl Standing {
    fn of(process_id: libc::pid_t, thread_id: libc::pid_t) -> Self {
        let threads = format!("/proc/{process_id}/task");
        let is_stopped = |path: &Path| {
            // The state follows the name, which stands in parentheses. A thread may end meanwhile.
            let stat = fs::read_to_string(path.join("stat"));
            stat.is_ok_and(|stat| {
                stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
            })
        };
        let all = fs::read_dir(&threads);
        let is_still =
            all.is_ok_and(|mut all| all.all(|it| it.is_ok_and(|it| is_stopped(&it.path()))));
        // After the others: what makes a process another program ends all its threads.
        match (Path::new(&threads).join(thread_id.to_string()).exists(), is_still) {
            (false, _) => Self::Gone,
            (true, true) => Self::Still,
            (true, false) => Self::Runs,
        }
    }
}

/// Blocks every signal in this thread, so that those of the process go to its own threads.
pub(crate) fn block_signals() {
    // SAFETY: a set of signals is plain data, filled before it is used.
    unsafe {
        let mut all = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const all, std::ptr::null_mut());
    }
}

/// The type bits of an open file's mode; 0 if there is no such file.
pub(crate) fn file_type(fd: RawFd) -> mode_t {
    // SAFETY: the structure is plain data, and valid for the call to fill.
    unsafe {
        let mut stat: libc::stat = std::mem::zeroed();
        if libc::fstat(fd, &raw mut stat) == 0 { stat.st_mode & libc::S_IFMT } else { 0 }
    }
}

/// Where the next `write` to `fd` goes.
pub(crate) fn write_position(fd: RawFd) -> io::Result<u64> {
    // SAFETY: both take numbers only.
    let position = unsafe {
        let appends = libc::fcntl(fd, libc::F_GETFL) & libc::O_APPEND != 0;
        if appends {
            let mut stat: libc::stat = std::mem::zeroed();
            if libc::fstat(fd, &raw mut stat) == 0 { stat.st_size } else { -1 }
        } else {
            libc::lseek(fd, 0, libc::SEEK_CUR)
        }
    };
    u64::try_from(position).map_err(|_| io::Error::last_os_error())
}

/// Declares functions that make one system call each.
macro_rules! calls {
    ($($(#[$doc:meta])* $name:ident = $number:ident($($arg:ident: $type:ty),*) -> $result:ty;)*) => {$(
        $(#[$doc])*
        ///
        /// # Safety
        /// As for the C function of this name.
        pub(crate) unsafe fn $name($($arg: $type),*) -> $result {
            // SAFETY: the caller keeps the promises of the call; numbers and pointers are passed on as they came.
            unsafe { libc::syscall(libc::$number, $($arg),*) as $result }
        }
    )*};
}

calls! {
    /// Opens a file.
    openat = SYS_openat(base: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int;
    /// Writes at the file's position.
    write = SYS_write(fd: c_int, bytes: *const c_void, count: usize) -> ssize_t;
    /// Writes at an offset.
    pwrite = SYS_pwrite64(fd: c_int, bytes: *const c_void, count: usize, offset: off_t) -> ssize_t;
    /// Writes several pieces.
    writev = SYS_writev(fd: c_int, pieces: *const iovec, count: c_int) -> ssize_t;
    /// Writes several pieces at an offset; the last number is its upper half, which 64-bit kernels do not look at.
    pwritev = SYS_pwritev(fd: c_int, pieces: *const iovec, count: c_int, offset: off_t, upper: c_long) -> ssize_t;
    /// Sets the length.
    ftruncate = SYS_ftruncate(fd: c_int, len: off_t) -> c_int;
    /// Changes the space that a file takes.
    fallocate = SYS_fallocate(fd: c_int, mode: c_int, offset: off_t, len: off_t) -> c_int;
    /// Renames.
    renameat2 = SYS_renameat2(
        from_base: c_int, from: *const c_char, to_base: c_int, to: *const c_char, flags: c_uint
    ) -> c_int;
    /// Removes a file or folder.
    unlinkat = SYS_unlinkat(base: c_int, path: *const c_char, flags: c_int) -> c_int;
    /// Makes a folder.
    mkdirat = SYS_mkdirat(base: c_int, path: *const c_char, mode: mode_t) -> c_int;
    /// Makes content and metadata durable.
    fsync = SYS_fsync(fd: c_int) -> c_int;
    /// Makes content durable.
    fdatasync = SYS_fdatasync(fd: c_int) -> c_int;
    /// Starts writing content.
    sync_file_range = SYS_sync_file_range(fd: c_int, offset: off_t, bytes: off_t, flags: c_uint) -> c_int;
    /// Maps memory.
    mmap = SYS_mmap(
        address: *mut c_void, len: usize, protection: c_int, flags: c_int, fd: c_int, offset: off_t
    ) -> *mut c_void;
    /// Copies between files.
    copy_file_range = SYS_copy_file_range(
        from: c_int, from_offset: *mut off_t, to: c_int, to_offset: *mut off_t, len: usize, flags: c_uint
    ) -> ssize_t;
    /// Copies from a file.
    sendfile = SYS_sendfile(to: c_int, from: c_int, offset: *mut off_t, count: usize) -> ssize_t;
    /// Reads a clock.
    clock_gettime = SYS_clock_gettime(clock: c_int, time: *mut timespec) -> c_int;
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::{Duration, Instant};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn await_standing(process_id: libc::pid_t, thread_id: libc::pid_t, expected: Standing) {
        let start = Instant::now();
        while Standing::of(process_id, thread_id) != expected {
            assert!(start.elapsed() < PATIENCE, "{:?}", Standing::of(process_id, thread_id));
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_process_runs_stands_still_and_is_gone() {
        let mut child = Command::new("sleep").arg("60").spawn().expect("it starts");
        let process_id = libc::pid_t::try_from(child.id()).expect("a process id");
        await_standing(process_id, process_id, Standing::Runs);
        // SAFETY: signals a child that has not been waited for.
        unsafe { libc::kill(process_id, libc::SIGSTOP) };
        await_standing(process_id, process_id, Standing::Still);
        child.kill().expect("it can be killed");
        child.wait().expect("it ends");
        await_standing(process_id, process_id, Standing::Gone);
    }

    /// Who waited for such a thread let the next program of the process go on in the midst of its own cut.
    #[test]
    fn a_thread_that_is_no_more_is_not_waited_for() {
        // SAFETY: takes nothing, and always works.
        let of_this_thread = || unsafe { libc::gettid() };
        let ended = std::thread::spawn(of_this_thread).join().expect("it does not panic");
        // SAFETY: as above.
        await_standing(unsafe { libc::getpid() }, ended, Standing::Gone);
    }
}
