//! The process of one machine: real software, on a runtime of its own, that can be stopped and continued as SIGSTOP and
//! SIGCONT do it.
//!
//! turmoil's hosts always run. So the software is not what turmoil runs there: that is the machine's
//! [kernel](super::kernel). A process gets its turn before turmoil's, and while it is stopped it gets none: nothing in
//! it is polled, its timers do not come due, and what is sent to it waits in the kernel. When it goes on, its clocks
//! have gone on without it, and everything that came due meanwhile comes at once.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::task::{JoinHandle, LocalSet};
use tokio::time::Instant;
use turmoil::Sim;

use super::entropy;
use super::kernel::Kernel;

/// After so many polls of its tasks, at most, a process may be stopped in the midst of its turn.
const POLLS: u32 = 4;

/// How a process ended by itself.
pub type Ended = Result<(), String>;

/// Whether a process gets its turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gait {
    Runs,
    /// It is stopped in its next turn, when it has done this much of what it had to do at the beginning of it.
    Stops(u32),
    Stopped,
}

/// See the module documentation. Dropped, it is killed: all of its tasks end where they are.
pub struct Process {
    runtime: Runtime,
    tasks: LocalSet,
    software: Option<JoinHandle<Ended>>,
    gait: Gait,
    /// Time that went by while it was stopped.
    missed: Duration,
}

impl Process {
    /// Starts `software` with its next turn.
    pub fn start(software: impl Future<Output = Ended> + 'static) -> Self {
        let mut builder = Builder::new_current_thread();
        let runtime = builder.enable_time().start_paused(true).event_interval(POLLS).build();
        let runtime = runtime.expect("a runtime without IO needs nothing of the system");
        let tasks = LocalSet::new();
        let software = Some(tasks.spawn_local(software));
        Self { runtime, tasks, software, gait: Gait::Runs, missed: Duration::ZERO }
    }

    /// Its turn: `turn` goes by, from `now` on. Tells if it ended in it.
    pub fn run(&mut self, now: Duration, turn: Duration) -> Option<Ended> {
        // Whose software has ended does nothing any more: its machine ends it soon.
        let software = self.software.as_ref()?;
        if self.gait == Gait::Stopped {
            self.missed += turn;
            return None;
        }
        let (gait, missed) = (self.gait, std::mem::take(&mut self.missed));
        self.runtime.block_on(self.tasks.run_until(async {
            entropy::begin_turn(now, Instant::now() + missed);
            if !missed.is_zero() {
                tokio::time::advance(missed).await;
            }
            match gait {
                Gait::Stops(parts) => some_parts(parts).await,
                Gait::Runs | Gait::Stopped => tokio::time::sleep(turn).await,
            }
        }));
        entropy::end_turn();
        if let Gait::Stops(_) = gait {
            (self.gait, self.missed) = (Gait::Stopped, turn);
        }
        if !software.is_finished() {
            return None;
        }
        let software = self.software.take()?;
        let ended = self.runtime.block_on(software);
        Some(ended.unwrap_or_else(|error| Err(format!("its software ended: {error}"))))
    }
}

/// Resolves when the other tasks of this runtime were polled some times, without any time going by.
async fn some_parts(mut parts: u32) {
    poll_fn(|context| {
        if parts == 0 {
            return Poll::Ready(());
        }
        parts -= 1;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// One life of a process.
pub type Software = Pin<Box<dyn Future<Output = Ended>>>;

/// A machine: a kernel, which is a host of turmoil, and its process.
pub struct Machine {
    /// Its name.
    pub host: String,
    software: Box<dyn Fn() -> Software>,
    process: RefCell<Option<Process>>,
}

impl Machine {
    /// Adds a machine, and starts it.
    pub fn add(
        sim: &mut Sim<'_>,
        host: String,
        kernel: Kernel,
        software: Box<dyn Fn() -> Software>,
    ) -> Self {
        sim.host(host.as_str(), move || {
            let running = kernel.boot();
            async move {
                running.await;
                Ok(())
            }
        });
        let process = RefCell::new(Some(Process::start(software())));
        Self { host, software, process }
    }

    /// Its process, all others on it and its connections end where they are.
    pub fn crash(&self, sim: &mut Sim<'_>) {
        // The process first: it gives its connections back, which the kernel closes.
        *self.process.borrow_mut() = None;
        sim.crash(self.host.as_str());
    }

    /// Starts again.
    pub fn start(&self, sim: &mut Sim<'_>) {
        sim.bounce(self.host.as_str());
        *self.process.borrow_mut() = Some(Process::start((self.software)()));
    }

    /// Stops its process in its next turn, when it has done so many parts of what it had to do at the beginning of it.
    /// Whether there is one that was not stopped.
    pub fn pause(&self, parts: u32) -> bool {
        let mut process = self.process.borrow_mut();
        let running = process.as_mut().filter(|process| process.gait == Gait::Runs);
        let is_running = running.is_some();
        running.into_iter().for_each(|process| process.gait = Gait::Stops(parts));
        is_running
    }

    /// Lets its process go on if it is stopped.
    pub fn go_on(&self) {
        self.process.borrow_mut().iter_mut().for_each(|process| process.gait = Gait::Runs);
    }

    /// See [`Process::run`].
    pub fn run(&self, now: Duration, turn: Duration) -> Option<Ended> {
        self.process.borrow_mut().as_mut()?.run(now, turn)
    }
}
