//! Starts a process that the kernel kills as soon as the worker is dead.
//!
//! The parent-death signal can only be asked for by the child, between its start and its `exec`. In `std::process` that
//! is a `pre_exec` closure, for which it forks, and a fork copies the worker's page tables. Here the child borrows the
//! worker's memory instead, as `posix_spawn` has it: the thread that calls stands still until the child has become the
//! other program or given up.
//!
//! The signal comes when the *thread* that started the process is dead, so that thread must live as long as the worker
//! or its processes do. The kernel forgets it when a program is started that changes its user (set-user-ID).

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

/// The stack of a child until it is another program, in words of 16 bytes, which is also how it must be aligned. The
/// kernel handles no more than a few small structs on it.
const STACK_WORDS: usize = (64 << 10) / size_of::<u128>();
/// Signals are numbered from 1 to this.
const SIGNAL_MAX: c_int = 64;
/// Exit code of a child that did not become the other program; nobody reads it.
const NOT_BORN: c_int = 127;

/// A process to be started: the leader of a process group of its own, with nothing blocked and no signal handled or
/// ignored but what the worker itself was told to ignore.
pub(crate) struct Birth<'b> {
    /// Absolute, or relative to `working_dir`.
    pub(crate) program: &'b CStr,
    /// The first is the name by which the program is called.
    pub(crate) arguments: &'b [CString],
    /// `KEY=VALUE`.
    pub(crate) environment: &'b [CString],
    pub(crate) working_dir: &'b CStr,
    /// Not 0, 1 or 2 itself.
    pub(crate) stdin: BorrowedFd<'b>,
    /// Standard output and standard error. Not 0, 1 or 2 itself.
    pub(crate) output: BorrowedFd<'b>,
    /// From this moment on it is not to be started, milliseconds since boot. Looked at by the child, just before it
    /// becomes the program: the worker may have been stopped for any time since its own last look.
    pub(crate) too_late_ms: &'b AtomicU64,
}

/// The operating system's error of a process that was too late to be started; no call of [`spawn`] gives it otherwise.
pub(crate) const TOO_LATE: i32 = libc::ETIME;

/// What the child reads, and where it says why it gave up. It must ask for no memory and take no lock: both are
/// the worker's.
struct Orders {
    program: *const c_char,
    arguments: *const *const c_char,
    environment: *const *const c_char,
    working_dir: *const c_char,
    stdin: c_int,
    output: c_int,
    too_late_ms: *const AtomicU64,
    parent: libc::pid_t,
    /// The operating system's error, or 0.
    failure: AtomicI32,
}

/// Starts it and returns its id. To be called by a thread that lives as long as the worker.
///
/// # Errors
/// As `fork`, `chdir` and `execve` have them, and [`TOO_LATE`]. No child is left behind then.
pub(crate) fn spawn(birth: &Birth<'_>) -> io::Result<u32> {
    let arguments = pointers(birth.arguments);
    let environment = pointers(birth.environment);
    let orders = Orders {
        program: birth.program.as_ptr(),
        arguments: arguments.as_ptr(),
        environment: environment.as_ptr(),
        working_dir: birth.working_dir.as_ptr(),
        stdin: birth.stdin.as_raw_fd(),
        output: birth.output.as_raw_fd(),
        too_late_ms: ptr::from_ref(birth.too_late_ms),
        parent: std::process::id().cast_signed(),
        failure: AtomicI32::new(0),
    };
    let child = start(&orders)?;
    match orders.failure.load(Ordering::Acquire) {
        0 => Ok(child.cast_unsigned()),
        failure => {
            // SAFETY: the child is ours, is dead or about to be, and nobody else knows of it.
            #[allow(unsafe_code)]
            unsafe {
                libc::waitpid(child, ptr::null_mut(), 0);
            }
            Err(io::Error::from_raw_os_error(failure))
        }
    }
}

/// For C, which wants to see an end.
fn pointers(texts: &[CString]) -> Vec<*const c_char> {
    texts.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect()
}

/// Returns when the child has become another program, or has given up, or was killed.
fn start(orders: &Orders) -> io::Result<libc::pid_t> {
    let mut stack: Vec<u128> = Vec::with_capacity(STACK_WORDS);
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    let argument = ptr::from_ref(orders).cast_mut().cast::<c_void>();
    let (mut all, mut before) = (MaybeUninit::uninit(), MaybeUninit::uninit());
    // SAFETY: the sets are filled before they are read. The child runs `be_born` on a stack of its own that outlives
    // it, since `CLONE_VFORK` holds this thread up until the child shares the memory no more, and so do `orders` and
    // all it points to. No signal handler of the worker runs in the child: everything is blocked until it has none.
    #[allow(unsafe_code)]
    let (child, error) = unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
        let top = stack.as_mut_ptr().add(STACK_WORDS).cast::<c_void>();
        let child = libc::clone(be_born, top, flags, argument);
        let error = io::Error::last_os_error();
        libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut());
        (child, error)
    };
    if child < 0 { Err(error) } else { Ok(child) }
}

/// The child's first function. It never returns.
extern "C" fn be_born(orders: *mut c_void) -> c_int {
    // SAFETY: `start` passes a pointer to `Orders` which lives until the child is another program or dead. `_exit` runs
    // nothing of the worker's.
    #[allow(unsafe_code)]
    unsafe {
        let orders = &*orders.cast::<Orders>();
        let failure = become_another(orders).raw_os_error().unwrap_or(libc::EINVAL);
        orders.failure.store(failure, Ordering::Release);
        libc::_exit(NOT_BORN)
    }
}

/// Returns only if something fails, and why.
///
/// # Safety
/// To be called in a child with all signals blocked; the pointers are those of [`spawn`].
#[allow(unsafe_code)]
unsafe fn become_another(orders: &Orders) -> io::Error {
    // SAFETY: only calls of the operating system, over pointers that are valid, all of which are allowed in a child of
    // a process with threads.
    unsafe {
        forget_handlers();
        let is_done = libc::setpgid(0, 0) == 0
            && libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong) == 0;
        if !is_done {
            return io::Error::last_os_error();
        }
        // Dead already: the signal will not come.
        if libc::getppid() != orders.parent {
            return io::Error::from_raw_os_error(libc::ESRCH);
        }
        let is_done = libc::chdir(orders.working_dir) == 0
            && libc::dup2(orders.stdin, libc::STDIN_FILENO) >= 0
            && libc::dup2(orders.output, libc::STDOUT_FILENO) >= 0
            && libc::dup2(orders.output, libc::STDERR_FILENO) >= 0;
        if !is_done {
            return io::Error::last_os_error();
        }
        if is_too_late(&*orders.too_late_ms) {
            return io::Error::from_raw_os_error(TOO_LATE);
        }
        let mut none = MaybeUninit::uninit();
        libc::sigemptyset(none.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut());
        libc::execve(orders.program, orders.arguments, orders.environment);
        io::Error::last_os_error()
    }
}

/// A clock that cannot be read holds nobody up: the worker and its guardian look at it as well.
/// It asks for no memory and takes no lock.
fn is_too_late(too_late_ms: &AtomicU64) -> bool {
    let mut now = MaybeUninit::<libc::timespec>::zeroed();
    // SAFETY: `now` is a valid place, and zeroed it is a valid time.
    #[allow(unsafe_code)]
    let now = unsafe {
        libc::clock_gettime(libc::CLOCK_BOOTTIME, now.as_mut_ptr());
        now.assume_init()
    };
    let now_ms = now.tv_sec.cast_unsigned() * 1_000 + now.tv_nsec.cast_unsigned() / 1_000_000;
    now_ms >= too_late_ms.load(Ordering::Acquire)
}

/// A handler is code of the worker's. What is ignored stays so, but for SIGPIPE: that Rust ignores it is the worker's
/// own affair.
///
/// # Safety
/// To be called in a child that has a table of handlers of its own.
#[allow(unsafe_code)]
unsafe fn forget_handlers() {
    for signal in 1..=SIGNAL_MAX {
        let mut action = MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: `action` is a valid place for what is read and, zeroed or filled in, a valid one to be set. Of
        // signals that cannot be asked about nothing is changed.
        unsafe {
            if libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) != 0 {
                continue;
            }
            let action = action.assume_init_mut();
            let is_kept = action.sa_sigaction == libc::SIG_DFL
                || (action.sa_sigaction == libc::SIG_IGN && signal != libc::SIGPIPE);
            if !is_kept {
                action.sa_sigaction = libc::SIG_DFL;
                action.sa_flags = 0;
                libc::sigaction(signal, action, ptr::null_mut());
            }
        }
    }
}
