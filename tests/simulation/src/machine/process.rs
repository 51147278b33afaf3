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

    /// Stops it in its next turn, when it has done so many parts of what it had to do then. Whether it ran.
    pub fn pause(&mut self, parts: u32) -> bool {
        let is_running = self.gait == Gait::Runs;
        if is_running {
            self.gait = Gait::Stops(parts);
        }
        is_running
    }

    /// Lets it go on if it is stopped.
    pub fn go_on(&mut self) {
        self.gait = Gait::Runs;
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

    /// See [`Process::pause`]. `false` if there is none.
    pub fn pause(&self, parts: u32) -> bool {
        self.process.borrow_mut().as_mut().is_some_and(|process| process.pause(parts))
    }

    /// See [`Process::go_on`].
    pub fn go_on(&self) {
        self.process.borrow_mut().iter_mut().for_each(Process::go_on);
    }

    /// See [`Process::run`].
    pub fn run(&self, now: Duration, turn: Duration) -> Option<Ended> {
        self.process.borrow_mut().as_mut()?.run(now, turn)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;

    const TURN: Duration = Duration::from_millis(4);

    /// Gives a process so many turns, from `now` on.
    fn give(process: &mut Process, now: &mut Duration, turns: u32) {
        for _ in 0..turns {
            assert_eq!(process.run(*now, TURN), None);
            *now += TURN;
        }
    }

    #[test]
    fn nothing_of_a_stopped_process_runs_and_its_clock_goes_on() {
        let seen = Rc::<RefCell<Vec<Duration>>>::default();
        let looks = Rc::clone(&seen);
        let mut process = Process::start(async move {
            loop {
                looks.borrow_mut().push(entropy::elapsed());
                tokio::time::sleep(TURN * 7).await;
            }
        });
        let mut now = Duration::ZERO;
        give(&mut process, &mut now, 10);
        assert!(process.pause(0));
        assert!(!process.pause(0), "it is stopped already");
        let before = seen.borrow().len();
        assert_eq!(before, 2);
        give(&mut process, &mut now, 100);
        assert_eq!(seen.borrow().len(), before);
        process.go_on();
        give(&mut process, &mut now, 1);
        let seen = seen.borrow();
        // What was to wake it came due long ago, and whatever it looks at is as late as the world is.
        assert!(seen.len() > before && seen[before] >= now - TURN, "{seen:?}");
    }

    #[test]
    fn a_process_is_stopped_in_the_midst_of_what_it_does() {
        const TASKS: u32 = 100;
        let done = Rc::<Cell<u32>>::default();
        let count = Rc::clone(&done);
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        let mut process = Process::start(async move {
            for number in 0..TASKS {
                let sender = sender.clone();
                tokio::spawn(async move { sender.send(number) });
            }
            while receiver.recv().await.is_some() {
                count.set(count.get() + 1);
            }
            Ok(())
        });
        let mut now = Duration::ZERO;
        assert!(process.pause(3));
        give(&mut process, &mut now, 5);
        assert!((1..TASKS).contains(&done.get()), "{} of {TASKS}", done.get());
        process.go_on();
        give(&mut process, &mut now, 1);
        assert_eq!(done.get(), TASKS);
    }
}
