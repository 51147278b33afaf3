//! The loop that ends all attempts when the lease is about to, on a thread of its own.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use muster_core::command::Outcome;
use muster_core::mutant::{self, Mutant};
use muster_platform::Platform;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, watch};

use crate::attempts::{Attempts, Ended};
use crate::clock::micros;
use crate::lease::Lease;
use crate::observer::{Event, Witness};

/// How long the keeper sleeps at most: its timer stands still while the machine sleeps, the lease does not.
const NAP: Duration = Duration::from_millis(200);

/// How often it is looked whether killing is over.
const KILL_POLL: Duration = Duration::from_millis(2);

/// The lease, and who watches it.
#[derive(Debug)]
pub(super) struct LeaseKeeper {
    lease: Mutex<Watched>,
    wake: Notify,
    attempts: Arc<Attempts>,
    platform: Platform,
    witness: Arc<Witness>,
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
        platform: Platform,
        witness: Arc<Witness>,
    ) -> io::Result<Arc<Self>> {
        let lease = Mutex::new(Watched { lease: Lease::new(margin), killers: 0, is_done: false });
        let ((lapses, _), wake) = (watch::channel(0), Notify::new());
        let keeper = LeaseKeeper { lease, wake, attempts, platform, witness, lapses };
        let keeper = Arc::new(keeper);
        keeper.platform.dedicate("muster-lease", keeper.clone().keep())?;
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
        self.lease.lock().lease.sent(self.platform.since_boot())
    }

    /// See [`Lease::confirmed`].
    pub(super) fn confirmed(&self, seq: u64, length: Duration) {
        let mut watched = self.lease.lock();
        let is_late = mutant::is_on(Mutant::LeaseFromAnswer);
        let seq = if is_late { watched.lease.sent(self.platform.since_boot()) } else { seq };
        let is_ignored = mutant::is_on(Mutant::LapseIgnored);
        let now = if is_ignored { Duration::ZERO } else { self.platform.since_boot() };
        if !watched.lease.confirmed(seq, length, now) {
            return;
        }
        if let Some((stop_at, end)) = watched.lease.stop_at().zip(watched.lease.end_at()) {
            // What acts in the worker's stead does so halfway between the worker and the end.
            if !is_ignored && !mutant::is_on(Mutant::GuardianUntold) {
                self.attempts.set_lease_end(Some(stop_at + (end - stop_at) / 2));
            }
            self.witness.tell(|incarnation| Event::LeaseConfirmed { incarnation, stop_at, end });
            tracing::debug!(
                incarnation = self.witness.incarnation(),
                since_boot_us = self.platform.since_boot_us(),
                end_us = micros(end),
                "the lease was renewed"
            );
        }
        self.wake.notify_one();
    }

    /// Whether attempts may be taken.
    pub(super) fn is_live(&self) -> bool {
        self.lease.lock().lease.is_live(self.platform.since_boot())
    }

    /// Gives the lease up and kills everything. Blocks for as long as a look through `/proc` takes.
    pub(super) fn give_up(&self) {
        let mut watched = self.lease.lock();
        self.lapse(&mut watched);
    }

    /// Nothing can be taken from the first moment on, and nothing can be started again before the last.
    fn lapse(&self, watched: &mut MutexGuard<'_, Watched>) {
        watched.lease.lapse();
        self.witness.tell(|incarnation| Event::LeaseLapsed { incarnation });
        watched.killers += 1;
        MutexGuard::unlocked(watched, || self.attempts.kill_all());
        watched.killers -= 1;
        self.lapses.send_modify(|lapses| *lapses += 1);
    }

    /// What really happened to an attempt that ended by SIGKILL when there was no lease: the guardian, or the keeper,
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

    /// Lets the loop end.
    pub(super) fn end(&self) {
        self.lease.lock().is_done = true;
        self.wake.notify_one();
    }

    async fn keep(self: Arc<Self>) {
        while let Some(nap) = self.look() {
            tokio::select! {
                () = tokio::time::sleep(nap) => {}
                () = self.wake.notified() => {}
            }
        }
    }

    /// Kills if it is time to. Returns how long to sleep before the next look; `None` if there is no next.
    fn look(&self) -> Option<Duration> {
        let mut watched = self.lease.lock();
        while !watched.is_done {
            let now = self.platform.since_boot();
            if mutant::is_on(Mutant::LapseIgnored) {
                return Some(NAP);
            }
            if !watched.lease.must_stop_by(now) {
                let left =
                    watched.lease.stop_at().map_or(NAP, |stop_at| stop_at.saturating_sub(now));
                return Some(left.min(NAP));
            }
            let live = self.attempts.live();
            tracing::warn!(
                live,
                incarnation = self.witness.incarnation(),
                since_boot_us = self.platform.since_boot_us(),
                "the lease was not renewed; all attempts are killed"
            );
            self.lapse(&mut watched);
        }
        None
    }
}
