//! The threads that start processes and notice their end.
//!
//! All threads wait on one epoll set: an eventfd that counts waiting starts, and a pidfd for each live process. A start
//! blocks its thread for the length of a `vfork` (about 0.2 ms), which is why there are several and why none of them is
//! the async runtime's. Nor may they come and go: what a thread started the kernel kills when that thread is dead.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::mem;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use muster_platform::Platform;
use parking_lot::Mutex;
use rustix::event::{EventfdFlags, epoll, eventfd};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open, waitid,
};
use tokio::sync::oneshot;

use super::command::Template;
use super::folder::{Folder, Folders};
use super::guardian::Table;
use super::{ProcessConfig, not_started, output};
use crate::clock;
use crate::executor::{Assignment, Outputs};
use crate::logs::{LiveLog, LogKey, LogStore};

/// The epoll key of the eventfd; slots are smaller.
const WAKE: u64 = u64::MAX;
/// Exits taken from the kernel at once.
const EVENTS: usize = 64;

/// How a process ended.
#[derive(Debug)]
pub(super) enum Exit {
    /// By itself. Outputs are read only after code 0.
    Code { code: i32, outputs: Result<Outputs, String> },
    /// By a signal.
    Signal(i32),
    /// It never started, and why.
    NotStarted(String),
    /// It was told to end before it started, or the lease was over.
    Refused,
}

/// An exit, and when it came about.
#[derive(Debug)]
pub(super) struct Exited {
    pub(super) exit: Exit,
    pub(super) started_at: Duration,
    pub(super) ended_at: Duration,
}

/// One process, from the request to start it to its end.
#[derive(Debug)]
pub(super) struct Process {
    assignment: Arc<Assignment>,
    index: u32,
    state: Mutex<State>,
    waiter: Mutex<Option<oneshot::Sender<Exited>>>,
}

#[derive(Debug)]
enum State {
    /// Waits for a thread.
    Waiting,
    /// Must not be started any more.
    Refused,
    Alive(Alive),
    Ended,
}

#[derive(Debug)]
struct Alive {
    /// The process, and its group.
    pid: Pid,
    pidfd: OwnedFd,
    started_at: Duration,
    place: Place,
}

/// What an attempt takes up on disk.
#[derive(Debug)]
struct Place {
    folder: Folder,
    has_script: bool,
    log: LiveLog,
}

impl Process {
    /// Sends `signal` to the whole group. A process that waits to be started never is. Returns whether there was still
    /// anything to be ended; if not, the process ended by itself.
    pub(super) fn signal(&self, signal: Signal) -> bool {
        let mut state = self.state.lock();
        match &*state {
            State::Waiting => {
                *state = State::Refused;
                true
            }
            State::Refused => true,
            // The leader is reaped under this lock, so the group still is the one that was started.
            State::Alive(alive) => {
                !has_exited(alive) && kill_process_group(alive.pid, signal).is_ok()
            }
            State::Ended => false,
        }
    }

    fn tell(&self, exited: Exited) {
        if let Some(waiter) = self.waiter.lock().take() {
            // The one who asked may have lost interest.
            let _ = waiter.send(exited);
        }
    }
}

/// Whether the leader of the group is dead already and only waits to be reaped.
fn has_exited(alive: &Alive) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    matches!(waitid(WaitId::PidFd(alive.pidfd.as_fd()), options), Ok(Some(_)))
}

/// All processes of a worker.
#[derive(Debug)]
pub(super) struct Engine {
    epoll: OwnedFd,
    wake: OwnedFd,
    slots: Mutex<Slots>,
    waiting: Mutex<VecDeque<usize>>,
    is_done: AtomicBool,
    template: Template,
    folders: Folders,
    logs: Arc<LogStore>,
    table: Option<Arc<Table>>,
    /// From this moment on nothing starts, milliseconds since boot.
    lease_end_ms: AtomicU64,
    platform: Platform,
}

#[derive(Debug, Default)]
struct Slots {
    processes: Vec<Option<Arc<Process>>>,
    free: Vec<usize>,
}

impl Engine {
    /// Starts the threads.
    pub(super) fn start(
        config: &ProcessConfig,
        logs: Arc<LogStore>,
        table: Option<Arc<Table>>,
        tag: Arc<str>,
    ) -> io::Result<Arc<Self>> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let wake =
            eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK | EventfdFlags::SEMAPHORE)?;
        epoll::add(&epoll, &wake, epoll::EventData::new_u64(WAKE), epoll::EventFlags::IN)?;
        let engine = Arc::new(Engine {
            epoll,
            wake,
            slots: Mutex::default(),
            waiting: Mutex::default(),
            is_done: AtomicBool::new(false),
            template: Template::from_environment(&tag)?,
            folders: Folders::open(&config.data_dir)?,
            logs,
            table,
            lease_end_ms: AtomicU64::new(u64::MAX),
            platform: config.platform.clone(),
        });
        for _ in 0..config.threads.max(1) {
            let engine = engine.clone();
            thread::Builder::new()
                .name("muster-process".to_owned())
                .spawn(move || engine.work())?;
        }
        Ok(engine)
    }

    /// Asks for index `index` of `assignment` to be started.
    pub(super) fn submit(
        &self,
        assignment: Arc<Assignment>,
        index: u32,
    ) -> (Arc<Process>, oneshot::Receiver<Exited>) {
        let (sender, receiver) = oneshot::channel();
        let process = Arc::new(Process {
            assignment,
            index,
            state: Mutex::new(State::Waiting),
            waiter: Mutex::new(Some(sender)),
        });
        let slot = self.slots.lock().insert(process.clone());
        self.waiting.lock().push_back(slot);
        self.ring(1);
        (process, receiver)
    }

    /// From this moment on, in time since boot, no process starts, whatever this worker has seen before.
    pub(super) fn set_lease_end(&self, end: Option<Duration>) {
        self.lease_end_ms.store(end.map_or(u64::MAX, clock::millis), Ordering::Release);
    }

    /// Kills everything at once; what waits is never started.
    pub(super) fn kill_all(&self) {
        let processes: Vec<Arc<Process>> =
            self.slots.lock().processes.iter().flatten().cloned().collect();
        for process in processes {
            process.signal(Signal::KILL);
        }
    }

    /// How many processes wait or live.
    pub(super) fn running(&self) -> usize {
        let slots = self.slots.lock();
        slots.processes.len() - slots.free.len()
    }

    /// Kills everything and lets the threads end.
    pub(super) fn shut_down(&self) {
        self.kill_all();
        self.is_done.store(true, Ordering::Release);
        self.ring(1 << 20);
    }

    fn ring(&self, times: u64) {
        if let Err(error) = rustix::io::write(&self.wake, &times.to_ne_bytes()) {
            tracing::error!(%error, "cannot wake the threads that start processes");
        }
    }

    fn work(&self) {
        let mut events = Vec::with_capacity(EVENTS);
        loop {
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    tracing::error!(%error, "cannot wait for processes");
                    return;
                }
            }
            // Exits first: they free what the next start uses.
            events.sort_by_key(|event: &epoll::Event| event.data.u64());
            for event in events.drain(..) {
                match event.data.u64() {
                    WAKE => self.launch_next(),
                    slot => self.reap(slot as usize),
                }
            }
            if self.is_done.load(Ordering::Acquire) && self.running() == 0 {
                return;
            }
        }
    }

    fn launch_next(&self) {
        // Another thread may have been faster.
        if rustix::io::read(&self.wake, &mut [0_u8; 8]).is_err() {
            return;
        }
        let Some(slot) = self.waiting.lock().pop_front() else { return };
        let Some(process) = self.slots.lock().get(slot) else { return };
        let mut state = process.state.lock();
        let exited = match &*state {
            State::Waiting => match self.launch(&process, slot) {
                Ok(alive) => {
                    *state = State::Alive(alive);
                    return;
                }
                Err(exit) => not_started(exit, self.platform.since_boot()),
            },
            State::Refused => not_started(Exit::Refused, self.platform.since_boot()),
            State::Alive(_) | State::Ended => return,
        };
        *state = State::Ended;
        drop(state);
        self.slots.lock().remove(slot);
        process.tell(exited);
    }

    fn launch(&self, process: &Process, slot: usize) -> Result<Alive, Exit> {
        let assignment = &process.assignment;
        let folder = self
            .folders
            .take()
            .map_err(|error| Exit::NotStarted(format!("cannot make a working folder: {error}")))?;
        let key = LogKey {
            run: assignment.run,
            task: assignment.task_index,
            index: process.index,
            attempt: assignment.attempt,
        };
        let (log, file) = match self.logs.begin(key) {
            Ok(begun) => begun,
            Err(error) => {
                self.folders.put_back(folder, false);
                return Err(Exit::NotStarted(format!("cannot make a log file: {error}")));
            }
        };
        let mut place = Place { folder, has_script: false, log };
        match self.launch_in(process, slot, &mut place, file) {
            Ok((pid, pidfd, started_at)) => Ok(Alive { pid, pidfd, started_at, place }),
            Err(exit) => {
                self.clear_up(place);
                Err(exit)
            }
        }
    }

    fn launch_in(
        &self,
        process: &Process,
        slot: usize,
        place: &mut Place,
        log: File,
    ) -> Result<(Pid, OwnedFd, Duration), Exit> {
        let prepared = self
            .template
            .prepare(&process.assignment, process.index, &place.folder, log)
            .map_err(Exit::NotStarted)?;
        place.has_script = prepared.has_script;
        let started_at = self.platform.since_boot();
        let child = prepared.spawn(&self.template, &self.lease_end_ms)?;
        let pid = Pid::from_raw(child.cast_signed()).expect("a child's process id is not 0");
        if let Some(table) = &self.table {
            table.set(slot, pid);
        }
        match self.watch(pid, slot) {
            Ok(pidfd) => Ok((pid, pidfd, started_at)),
            Err(error) => {
                // Out of file descriptors or memory: a process that nobody watches must not run.
                let _ = kill_process_group(pid, Signal::KILL);
                self.forget(slot);
                let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED);
                Err(Exit::NotStarted(format!("cannot watch the process: {error}")))
            }
        }
    }

    fn watch(&self, pid: Pid, slot: usize) -> io::Result<OwnedFd> {
        // The child is not reaped before this returns, so the id cannot mean another process.
        let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ONESHOT;
        epoll::add(&self.epoll, &pidfd, epoll::EventData::new_u64(slot as u64), flags)?;
        Ok(pidfd)
    }

    fn forget(&self, slot: usize) {
        if let Some(table) = &self.table {
            table.clear(slot);
        }
    }

    fn reap(&self, slot: usize) {
        let Some(process) = self.slots.lock().get(slot) else { return };
        let mut state = process.state.lock();
        let State::Alive(alive) = mem::replace(&mut *state, State::Ended) else { return };
        // The dead leader still holds its id, so these are its own stragglers and nobody else.
        let _ = kill_process_group(alive.pid, Signal::KILL);
        self.forget(slot);
        let status = waitid(WaitId::PidFd(alive.pidfd.as_fd()), WaitIdOptions::EXITED);
        drop(state);
        let ended_at = self.platform.since_boot();
        let exit = match status {
            Ok(Some(status)) => match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => {
                    Exit::Code { code, outputs: self.outputs(&process, &alive.place, code) }
                }
                (None, Some(signal)) => Exit::Signal(signal),
                (None, None) => {
                    Exit::NotStarted("the process ended in a way that is not known".to_owned())
                }
            },
            Ok(None) | Err(_) => {
                Exit::NotStarted("somebody else took the exit status of the process".to_owned())
            }
        };
        let started_at = alive.started_at;
        self.clear_up(alive.place);
        self.slots.lock().remove(slot);
        process.tell(Exited { exit, started_at, ended_at });
    }

    fn outputs(&self, process: &Process, place: &Place, code: i32) -> Result<Outputs, String> {
        if code != 0 {
            return Ok(Outputs::new());
        }
        output::read(&place.folder.output, &process.assignment.task.outputs)
    }

    fn clear_up(&self, place: Place) {
        self.logs.finish(place.log);
        self.folders.put_back(place.folder, place.has_script);
    }
}

impl Slots {
    fn insert(&mut self, process: Arc<Process>) -> usize {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.processes.push(None);
            self.processes.len() - 1
        });
        self.processes[slot] = Some(process);
        slot
    }

    fn get(&self, slot: usize) -> Option<Arc<Process>> {
        self.processes.get(slot)?.clone()
    }

    fn remove(&mut self, slot: usize) {
        if self.processes[slot].take().is_some() {
            self.free.push(slot);
        }
    }
}
