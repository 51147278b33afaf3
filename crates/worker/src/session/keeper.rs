//! The thread that ends all attempts when the lease is about to.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use muster_core::command::Outcome;
use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::sync::watch;

use crate::attempts::{Attempts, Ended};
use crate::clock;
use crate::executor::Stop;
use crate::executor::process::ProcessExecutor;
use crate::lease::Lease;

/// How long the thread sleeps at most: its timer stands still while the machine sleeps, the lease does not.
const NAP: Duration = Duration::from_millis(200);

/// How often it is looked whether killing is over.
const KILL_POLL: Duration = Duration::from_millis(2);

/// The lease, and who watches it.
#[derive(Debug)]
pub(super) struct LeaseKeeper {
    lease: Mutex<Watched>,
    wake: Condvar,
    attempts: Arc<Attempts>,
    process: Arc<ProcessExecutor>,
    lapses: watch::Sender<u64>,
}

#[derive(Debug)]
struct Watched {
    lease: Lease,
    /// How many are killing everything at this moment: until they are done nothing new may start.
    killers: u32,
    is_done: bool,
}

impl LeaseKeeper {
    pub(super) fn start(
        margin: Duration,
        attempts: Arc<Attempts>,
        process: Arc<ProcessExecutor>,
    ) -> io::Result<Arc<Self>> {
        let lease = Mutex::new(Watched { lease: Lease::new(margin), killers: 0, is_done: false });
        let (lapses, _) = watch::channel(0);
        let wake = Condvar::new();
        let keeper = Arc::new(LeaseKeeper { lease, wake, attempts, process, lapses });
        let kept = keeper.clone();
        thread::Builder::new().name("muster-lease".to_owned()).spawn(move || kept.keep())?;
        Ok(keeper)
    }

    /// See [`Lease::begin_stream`]. Waits until whoever is killing is done. The channel tells of every lapse from then
    /// on.
    pub(super) async fn begin_stream(&self) -> watch::Receiver<u64> {
        loop {
            {
                let mut watched = self.lease.lock();
                if watched.killers == 0 {
                    watched.lease.begin_stream();
                    return self.lapses.subscribe();
                }
            }
            tokio::time::sleep(KILL_POLL).await;
        }
    }

    /// See [`Lease::sent`].
    pub(super) fn sent(&self) -> u64 {
        self.lease.lock().lease.sent(clock::now())
    }

    /// See [`Lease::confirmed`].
    pub(super) fn confirmed(&self, seq: u64, length: Duration) {
        let mut watched = self.lease.lock();
        if watched.lease.confirmed(seq, length) {
            // The guardian acts halfway between the worker and the end.
            let deadline = watched.lease.stop_at().zip(watched.lease.end_at());
            self.process
                .set_lease_end(deadline.map(|(stop_at, end)| stop_at + (end - stop_at) / 2));
            self.wake.notify_all();
        }
    }

    /// Whether attempts may be taken.
    pub(super) fn is_live(&self) -> bool {
        self.lease.lock().lease.is_live(clock::now())
    }

    /// Gives the lease up and kills everything. Blocks for as long as a look through `/proc` takes.
    pub(super) fn give_up(&self) {
        let mut watched = self.lease.lock();
        self.lapse(&mut watched);
    }

    /// Nothing can be taken from the first moment on, and nothing can be started again before the last.
    fn lapse(&self, watched: &mut MutexGuard<'_, Watched>) {
        watched.lease.lapse();
        watched.killers += 1;
        MutexGuard::unlocked(watched, || {
            self.attempts.stop_all(Stop::AtOnce);
            self.process.kill_all();
        });
        watched.killers -= 1;
        self.lapses.send_modify(|lapses| *lapses += 1);
    }

    /// What really happened to an attempt that ended by SIGKILL when there was no lease: the guardian, or this thread,
    /// ended it because it had to, and that is a loss and not a failure.
    pub(super) fn judge(&self, ended: &mut Ended) {
        let was_killed = matches!(
            ended.ending.outcome,
            Outcome::Failed { exit_code: Some(code), .. } if code == -libc::SIGKILL
        );
        if was_killed && !self.lease.lock().lease.covers(ended.ending.ended_at) {
            ended.ending.outcome = Outcome::Lost;
        }
    }

    /// Lets the thread end.
    pub(super) fn end(&self) {
        self.lease.lock().is_done = true;
        self.wake.notify_all();
    }

    fn keep(&self) {
        let mut watched = self.lease.lock();
        while !watched.is_done {
            let now = clock::now();
            if watched.lease.must_stop_by(now) {
                let live = self.attempts.live();
                tracing::warn!(live, "the lease was not renewed; all attempts are killed");
                self.lapse(&mut watched);
                continue;
            }
            let left = watched.lease.stop_at().map_or(NAP, |stop_at| stop_at.saturating_sub(now));
            self.wake.wait_for(&mut watched, left.min(NAP));
        }
    }
}
