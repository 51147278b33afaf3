//! A small process beside the worker that ends attempts when the worker cannot.
//!
//! ```text
//!   worker ──── stdin: a pipe nobody writes to ────► guardian     end of file: the worker is dead
//!      │                                                ▲
//!      └── table (memfd): deadline, process groups ─────┘         deadline over: the worker is stopped or stuck
//! ```
//!
//! A worker killed with SIGKILL cannot end its attempts, and one stopped with SIGSTOP cannot even see its lease end;
//! either way the leader will give the tasks to somebody else. The guardian reads the table only then, so an attempt
//! costs the worker two small writes and the guardian nothing.
//!
//! It has a name of its own, since a worker is often killed by name (`pkill -9 muster`), and who is there to outlive
//! the worker must not die with it.
//!
//! Table, little-endian: 8 bytes deadline in milliseconds since boot (`u64::MAX`: none), 8 bytes reserved, then 4 bytes
//! per slot: the id of a live process group or 0.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use muster_platform::Platform;
use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, Signal, kill_process_group};

use super::leftovers;
use crate::clock;

/// Names the table for the guardian.
const TABLE_KEY: &str = "MUSTER_GUARDIAN_TABLE";
/// Names the mark of the worker's attempts for the guardian.
const TAG_KEY: &str = "MUSTER_GUARDIAN_TAG";
/// Where the slots begin in the table.
const SLOTS_AT: u64 = 16;
/// How long the guardian sleeps at most, so that it notices a deadline that came nearer.
const NAP: Duration = Duration::from_millis(250);
/// How long the guardian sleeps while the deadline is over: a process may appear late.
const WATCHFUL_NAP: Duration = Duration::from_millis(50);
/// What process lists show instead of the program's name; at most 15 bytes.
const NAME: &str = "task-guardian";
/// A guardian that died is replaced at once, unless it lived for less than this.
const SHORT_LIFE: Duration = Duration::from_secs(1);
/// The wait before one that lived for less, or could not be started, is replaced.
const RESPAWN_WAIT: Duration = Duration::from_millis(100);

/// How to start the guardian: a program that calls [`run`].
#[derive(Clone, Debug)]
pub struct GuardianCommand {
    /// The program; usually the worker's own.
    pub program: PathBuf,
    /// Its arguments; usually a hidden subcommand.
    pub args: Vec<OsString>,
}

/// The worker's side: the table, and the guardian kept alive.
#[derive(Debug)]
pub(super) struct Guardian {
    table: Arc<Table>,
    keeper: Arc<Mutex<Keeper>>,
}

#[derive(Debug)]
struct Keeper {
    /// Open for as long as the worker lives. Taken to let the guardian go.
    pipe: Option<io::PipeWriter>,
    is_done: bool,
}

/// What the worker tells the guardian.
#[derive(Debug)]
pub(super) struct Table {
    file: File,
}

impl Table {
    fn new() -> io::Result<Self> {
        let file = File::from(memfd_create("muster-attempts", MemfdFlags::CLOEXEC)?);
        let table = Table { file };
        table.file.write_all_at(&u64::MAX.to_le_bytes(), 0)?;
        Ok(table)
    }

    /// A process group lives in `slot`.
    pub(super) fn set(&self, slot: usize, group: Pid) {
        self.write(slot, group.as_raw_nonzero().get().cast_unsigned());
    }

    /// Nothing lives in `slot`.
    pub(super) fn clear(&self, slot: usize) {
        self.write(slot, 0);
    }

    fn write(&self, slot: usize, value: u32) {
        if let Err(error) = self.file.write_all_at(&value.to_le_bytes(), SLOTS_AT + 4 * slot as u64)
        {
            tracing::error!(%error, "cannot tell the guardian about a process group");
        }
    }
}

impl Guardian {
    /// Starts the guardian, and again whenever it dies.
    pub(super) fn start(command: &GuardianCommand, tag: &str) -> io::Result<Self> {
        let table = Arc::new(Table::new()?);
        let (child, pipe) = spawn(command, &table, tag)?;
        let keeper = Arc::new(Mutex::new(Keeper { pipe: Some(pipe), is_done: false }));
        let (command, tag, held, kept) =
            (command.clone(), tag.to_owned(), table.clone(), keeper.clone());
        thread::Builder::new()
            .name("muster-guardian".to_owned())
            .spawn(move || keep(child, &command, &tag, &held, &kept))?;
        Ok(Guardian { table, keeper })
    }

    /// The table, for the engine.
    pub(super) fn table(&self) -> Arc<Table> {
        self.table.clone()
    }

    /// When everything must be dead, in time since boot.
    pub(super) fn set_deadline(&self, deadline: Option<Duration>) {
        let millis = deadline.map_or(u64::MAX, clock::millis);
        if let Err(error) = self.table.file.write_all_at(&millis.to_le_bytes(), 0) {
            tracing::error!(%error, "cannot tell the guardian when the lease ends");
        }
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        let mut keeper = self.keeper.lock();
        keeper.is_done = true;
        keeper.pipe = None;
    }
}

fn spawn(
    command: &GuardianCommand,
    table: &Table,
    tag: &str,
) -> io::Result<(Child, io::PipeWriter)> {
    let (reader, writer) = io::pipe()?;
    let path = format!("/proc/{}/fd/{}", std::process::id(), table.file.as_raw_fd());
    let child = Command::new(&command.program)
        .arg0(NAME)
        .args(&command.args)
        .env(TABLE_KEY, path)
        .env(TAG_KEY, tag)
        // Out of reach of a terminal's Ctrl-C.
        .process_group(0)
        .stdin(Stdio::from(reader))
        .stdout(Stdio::null())
        .spawn()?;
    Ok((child, writer))
}

fn keep(
    mut child: Child,
    command: &GuardianCommand,
    tag: &str,
    table: &Table,
    keeper: &Mutex<Keeper>,
) {
    loop {
        let started = Instant::now();
        let status = child.wait();
        if keeper.lock().is_done {
            return;
        }
        tracing::error!(?status, "the guardian ended; starting another");
        let mut must_wait = started.elapsed() < SHORT_LIFE;
        child = loop {
            if must_wait {
                thread::sleep(RESPAWN_WAIT);
            }
            must_wait = true;
            let mut keeper = keeper.lock();
            if keeper.is_done {
                return;
            }
            match spawn(command, table, tag) {
                Ok((child, pipe)) => {
                    keeper.pipe = Some(pipe);
                    break child;
                }
                Err(error) => tracing::error!(%error, "cannot start a guardian"),
            }
        };
    }
}

/// The guardian itself: watches until the worker is gone, then ends what it left and returns. To be called by the
/// program that [`GuardianCommand`] names, and by nothing else. Fails if it was not started by a worker.
pub fn run() -> ExitCode {
    let (Some(path), Some(tag)) = (std::env::var_os(TABLE_KEY), std::env::var(TAG_KEY).ok()) else {
        eprintln!("the guardian is started by a worker, not by hand");
        return ExitCode::FAILURE;
    };
    crate::sys::ignore_polite_signals();
    // Without a name of its own it works all the same.
    let _ = std::fs::write("/proc/self/comm", NAME);
    match File::open(&path) {
        Ok(table) => {
            watch(&table, &tag);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("guardian: cannot open the worker's table: {error}");
            ExitCode::FAILURE
        }
    }
}

fn watch(table: &File, tag: &str) {
    let platform = Platform::system();
    let mut swept_for = None;
    loop {
        let deadline = deadline_of(table);
        let now = clock::millis(platform.since_boot());
        let nap = if now >= deadline {
            kill_groups(table);
            if swept_for != Some(deadline) {
                leftovers::kill_all(tag);
                swept_for = Some(deadline);
            }
            WATCHFUL_NAP
        } else {
            NAP.min(Duration::from_millis(deadline - now))
        };
        if worker_is_gone(nap) {
            kill_groups(table);
            leftovers::kill_all(tag);
            return;
        }
    }
}

/// Waits up to `nap` for the end of standard input.
fn worker_is_gone(nap: Duration) -> bool {
    let stdin = io::stdin();
    let timeout = Timespec { tv_sec: 0, tv_nsec: nap.subsec_nanos().max(1_000_000).into() };
    let mut fds = [PollFd::new(&stdin, PollFlags::IN)];
    match poll(&mut fds, Some(&timeout)) {
        Ok(0) | Err(_) => false,
        Ok(_) => matches!(stdin.lock().read(&mut [0; 16]), Ok(0)),
    }
}

fn deadline_of(table: &File) -> u64 {
    let mut bytes = [0; 8];
    match table.read_exact_at(&mut bytes, 0) {
        Ok(()) => u64::from_le_bytes(bytes),
        Err(_) => u64::MAX,
    }
}

fn kill_groups(table: &File) {
    let mut at = SLOTS_AT;
    let mut bytes = [0; 4096];
    while let Ok(read @ 1..) = table.read_at(&mut bytes, at) {
        for slot in bytes[..read].chunks_exact(4) {
            let group = i32::from_le_bytes([slot[0], slot[1], slot[2], slot[3]]);
            if let Some(group) = (group > 1).then(|| Pid::from_raw(group)).flatten() {
                // It may have ended by itself.
                let _ = kill_process_group(group, Signal::KILL);
            }
        }
        at += read as u64;
    }
}
