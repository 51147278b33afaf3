//! The executor that starts operating-system processes.
//!
//! ```text
//!   execute() ──► engine threads ────vfork────► first process, leader of the attempt's process group
//!      ▲             │     ▲                            │
//!      │          outputs, └────────── pidfd ───────────┤ exit
//!      └─ ending ── log, folder                         │
//!                                                       │ killed too when the worker is
//!   worker ──── pipe, shared table ────► guardian ──────┘ dead, or stopped past its lease
//! ```
//!
//! # Why it is built so
//!
//! Two things end an attempt whose worker is dead. The kernel kills its first process at once: each asked for that
//! before it became the user's program ([`crate::sys::spawn`]). And a guardian process ends the rest of its group, and
//! does the same while the worker is merely stopped past its lease ([`guardian`]). Either alone has a gap: the
//! kernel's signal reaches neither grandchildren nor anything while the worker stands still, and a guardian can be
//! killed.
//!
//! Starting is the hot path. In `std::process` a request to the kernel needs a `pre_exec` closure, and with one it
//! forks, which costs more the larger the worker is. Measured on two cores: a bare loop over `true` through
//! `posix_spawn` 2,400/s; by `fork` with `setsid` and a parent-death signal 1,500/s, and 370/s from a process that
//! holds 100 MB. So the child is started as `posix_spawn` does it, in the worker's own memory. The guardian costs an
//! attempt two 4-byte writes to a shared table.
//!
//! Exits are noticed through a pidfd per process in one epoll set shared by the engine threads. Compared with a
//! `SIGCHLD` handler it neither scans all children on each exit nor takes the exit status of anybody else's child;
//! compared with a blocked thread per process it stays flat with thousands of sleeping attempts.
//!
//! Making a folder and removing it costs a tenth of a start on ext4, so working folders are used again while attempts
//! leave them empty ([`folder`]); a log file is made for each attempt (2 %) and removed again if nothing was printed.
//!
//! # What ends with an attempt
//!
//! When the first process of an attempt has ended, the rest of its process group is killed: an ended attempt gives its
//! resources back, so nothing of it may run on. They are signalled, not waited for: whose death the kernel delays may
//! still be there for a moment. A process that left the group on purpose (`setsid`) is only ended when the worker's
//! lease lapses or the worker dies; see [`leftovers`].

mod command;
mod engine;
mod folder;
pub mod guardian;
mod leftovers;
mod output;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use muster_core::spec::ExecutorSpec;
use muster_platform::Platform;
use rustix::process::Signal;
use tokio::sync::oneshot;

use self::engine::{Engine, Exit, Exited, Process};
use super::{Attempt, Ending, Executor, Outcome, Stop, StopSignal, failed, succeeded};
use crate::logs::LogStore;
use guardian::{Guardian, GuardianCommand};

/// How the process executor is set up.
#[derive(Clone, Debug)]
pub struct ProcessConfig {
    /// A folder of the worker's own; `work`, `outputs`, `scripts` are made in it and emptied at start.
    pub data_dir: PathBuf,
    /// Threads that start processes and notice their end; by default one per core, at most 8.
    pub threads: usize,
    /// How to start the guardian. Without one, only the first process of each attempt dies with a killed worker.
    pub guardian: Option<GuardianCommand>,
    /// Where the time is read. Processes are real in any case.
    pub platform: Platform,
}

impl ProcessConfig {
    /// The usual setup over `data_dir`, without a guardian.
    pub fn new(data_dir: PathBuf) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let platform = Platform::system();
        ProcessConfig { data_dir, threads: cores.clamp(1, 8), guardian: None, platform }
    }
}

/// Starts processes and sees them to their end.
#[derive(Debug)]
pub struct ProcessExecutor {
    engine: Arc<Engine>,
    guardian: Option<Guardian>,
    tag: Arc<str>,
    platform: Platform,
}

impl ProcessExecutor {
    /// Prepares the folders, kills what an earlier worker over the same folder left behind, and starts the threads.
    pub fn start(config: &ProcessConfig, logs: Arc<LogStore>) -> io::Result<Self> {
        std::fs::create_dir_all(&config.data_dir)?;
        let tag = leftovers::tag_of(&config.data_dir)?;
        let killed = leftovers::kill_all(&tag);
        if killed > 0 {
            tracing::warn!(
                killed,
                "killed processes that an earlier worker over this folder left behind"
            );
        }
        let guardian =
            config.guardian.as_ref().map(|command| Guardian::start(command, &tag)).transpose()?;
        let table = guardian.as_ref().map(Guardian::table);
        let engine = Engine::start(config, logs, table, tag.clone())?;
        Ok(ProcessExecutor { engine, guardian, tag, platform: config.platform.clone() })
    }

    /// How many processes are starting or running.
    pub fn running(&self) -> usize {
        self.engine.running()
    }
}

impl Drop for ProcessExecutor {
    fn drop(&mut self) {
        self.engine.shut_down();
    }
}

impl Executor for ProcessExecutor {
    fn name(&self) -> &'static str {
        "process"
    }

    fn accepts(&self, spec: &ExecutorSpec) -> bool {
        matches!(spec, ExecutorSpec::Process(_))
    }

    fn execute(&self, attempt: Attempt) -> BoxFuture<'static, Ending> {
        let ExecutorSpec::Process(_) = &attempt.assignment.task.executor else {
            let outcome = failed(None, "this executor only starts processes");
            let now = self.platform.since_boot();
            return Box::pin(std::future::ready(Ending::at_once(outcome, now)));
        };
        let (process, exited) =
            self.engine.submit(attempt.assignment.clone(), attempt.indices.first);
        Box::pin(supervise(KillOnDrop(process), exited, attempt, self.platform.clone()))
    }

    /// Tells the threads that start processes, and the guardian.
    fn set_lease_end(&self, end: Option<Duration>) {
        self.engine.set_lease_end(end);
        if let Some(guardian) = &self.guardian {
            guardian.set_deadline(end);
        }
    }

    /// Kills every process, and whatever carries this worker's mark. Blocks for as long as a scan of `/proc` takes;
    /// processes are dead when it returns or a moment later.
    fn kill_all(&self) {
        self.engine.kill_all();
        let escaped = leftovers::kill_all(&self.tag);
        if escaped > 0 {
            tracing::warn!(escaped, "killed processes that had left the group of their attempt");
        }
    }
}

/// Ends a process whose future was dropped.
struct KillOnDrop(Arc<Process>);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        self.0.signal(Signal::KILL);
    }
}

/// Why a process is being ended.
#[derive(Clone, Copy)]
enum Cause {
    Timeout,
    Stop(Stop),
}

async fn supervise(
    process: KillOnDrop,
    mut exited: oneshot::Receiver<Exited>,
    attempt: Attempt,
    platform: Platform,
) -> Ending {
    let Attempt { assignment, mut stop, .. } = attempt;
    let timeout = assignment.task.timeout.map(|timeout| Duration::from_millis(timeout.0));
    let cause = tokio::select! {
        biased;
        exited = &mut exited => return ending_of(exited, &stop, &platform),
        asked = stop.requested(Stop::Gently) => Cause::Stop(asked),
        () = sleep_or_forever(timeout) => Cause::Timeout,
    };
    let grace = match cause {
        Cause::Stop(Stop::AtOnce) => Duration::ZERO,
        Cause::Stop(Stop::Gently) | Cause::Timeout => {
            Duration::from_millis(assignment.task.grace_period.0)
        }
    };
    let was_alive = process.0.signal(if grace.is_zero() { Signal::KILL } else { Signal::TERM });
    let exited = end_by_force(&process.0, exited, &mut stop, grace).await;
    let has_lost_lease = stop.current() == Some(Stop::AtOnce);
    match exited {
        Ok(exited) if was_alive => {
            let outcome = match cause {
                _ if has_lost_lease => Outcome::Lost,
                Cause::Timeout => Outcome::TimedOut,
                Cause::Stop(_) => Outcome::Cancelled,
            };
            Ending { outcome, started_at: exited.started_at, ended_at: exited.ended_at }
        }
        exited => ending_of(exited, &stop, &platform),
    }
}

/// Waits for the exit; kills when the grace period is over or the stop becomes urgent.
async fn end_by_force(
    process: &Process,
    mut exited: oneshot::Receiver<Exited>,
    stop: &mut StopSignal,
    grace: Duration,
) -> Result<Exited, oneshot::error::RecvError> {
    tokio::select! {
        biased;
        exited = &mut exited => return exited,
        _ = stop.requested(Stop::AtOnce) => {}
        () = tokio::time::sleep(grace) => {}
    }
    process.signal(Signal::KILL);
    exited.await
}

async fn sleep_or_forever(span: Option<Duration>) {
    match span {
        Some(span) => tokio::time::sleep(span).await,
        None => std::future::pending().await,
    }
}

/// The ending of a process that nobody ended through its [`StopSignal`].
///
/// What kills everything when the lease lapses asks for a stop first, but the exit may be heard of before the request.
fn ending_of(
    exited: Result<Exited, oneshot::error::RecvError>,
    stop: &StopSignal,
    platform: &Platform,
) -> Ending {
    let Ok(exited) = exited else {
        return Ending::at_once(Outcome::Lost, platform.since_boot());
    };
    let has_lost_lease = stop.current() == Some(Stop::AtOnce);
    let outcome = match exited.exit {
        Exit::Signal(libc::SIGKILL) if has_lost_lease => Outcome::Lost,
        Exit::Code { code: 0, outputs: Ok(outputs) } => succeeded(outputs),
        Exit::Code { code, outputs: Err(message) } => failed(Some(code), message),
        Exit::Code { code, outputs: Ok(_) } => failed(Some(code), format!("exit code {code}")),
        Exit::Signal(signal) => failed(Some(-signal), signal_message(signal)),
        Exit::NotStarted(message) => failed(None, message),
        // Only what kills everything refuses without this attempt's own stop.
        Exit::Refused => Outcome::Lost,
    };
    Ending { outcome, started_at: exited.started_at, ended_at: exited.ended_at }
}

fn signal_message(signal: i32) -> String {
    let name = match signal {
        libc::SIGHUP => "SIGHUP",
        libc::SIGINT => "SIGINT",
        libc::SIGQUIT => "SIGQUIT",
        libc::SIGILL => "SIGILL",
        libc::SIGTRAP => "SIGTRAP",
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGKILL => {
            return "killed by SIGKILL; not by Muster, perhaps by the kernel for want of memory"
                .to_owned();
        }
        libc::SIGUSR1 => "SIGUSR1",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGUSR2 => "SIGUSR2",
        libc::SIGPIPE => "SIGPIPE",
        libc::SIGALRM => "SIGALRM",
        libc::SIGTERM => "SIGTERM",
        libc::SIGXCPU => "SIGXCPU",
        libc::SIGXFSZ => "SIGXFSZ",
        libc::SIGSYS => "SIGSYS",
        other => return format!("killed by signal {other}"),
    };
    format!("killed by {name}")
}

/// An exit that never started.
fn not_started(exit: Exit, now: Duration) -> Exited {
    Exited { exit, started_at: now, ended_at: now }
}
