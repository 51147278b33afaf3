//! How starved the machine was: how late a timer of the harness itself came. A bound of the harness that breaks while
//! its own timers are late by seconds says little about the cluster.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

const EVERY: Duration = Duration::from_millis(20);
/// A timer that is later than this is counted.
const LATE: Duration = Duration::from_millis(100);

/// See the module documentation. It ends when dropped.
#[derive(Debug)]
pub(crate) struct Lag {
    tally: Arc<Tally>,
    working: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Tally {
    worst_us: AtomicU64,
    late: AtomicU64,
    all: AtomicU64,
}

impl Lag {
    pub(crate) fn start() -> Lag {
        let tally = Arc::new(Tally::default());
        let noted = tally.clone();
        let working = tokio::spawn(async move {
            loop {
                let due = Instant::now() + EVERY;
                tokio::time::sleep_until(due).await;
                noted.note(due.elapsed());
            }
        });
        Lag { tally, working }
    }
}

impl Tally {
    fn note(&self, late: Duration) {
        let late_us = u64::try_from(late.as_micros()).unwrap_or(u64::MAX);
        self.worst_us.fetch_max(late_us, Relaxed);
        self.late.fetch_add(u64::from(late > LATE), Relaxed);
        self.all.fetch_add(1, Relaxed);
    }
}

impl fmt::Display for Lag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (late, all) = (self.tally.late.load(Relaxed), self.tally.all.load(Relaxed));
        let worst = Duration::from_micros(self.tally.worst_us.load(Relaxed));
        write!(
            f,
            "{late} of {all} timers of the harness late by more than {LATE:?}, {worst:.1?} at most"
        )
    }
}

impl Drop for Lag {
    fn drop(&mut self) {
        self.working.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_thread_that_is_held_up_is_noticed() {
        let lag = Lag::start();
        tokio::time::sleep(EVERY * 3).await;
        // The only thread of this runtime does nothing else meanwhile.
        let until = Instant::now() + LATE * 2;
        while Instant::now() < until {}
        tokio::time::sleep(EVERY * 3).await;
        assert!(lag.tally.late.load(Relaxed) >= 1, "{lag}");
    }
}
