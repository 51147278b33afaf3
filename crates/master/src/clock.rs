//! The clock that stamps entries, and the one that fire times go by.
//!
//! The log's time never runs back. A leader whose wall clock is behind it, because an earlier leader's was ahead, must
//! not let it stand still until its own catches up: timeouts would sleep. So it counts on from the log's time by its
//! monotonic clock, and follows the wall clock only where that is ahead. The same holds when the wall clock jumps ahead
//! and back again.
//!
//! The wall clock is that of the masters together, which a minority of wrong clocks does not move.

use std::fmt;
use std::time::Duration;

use muster_core::time::{Millis, Timestamp};
use parking_lot::Mutex;
use tokio::time::Instant;

/// See the module documentation.
pub(crate) struct LogClock {
    wall_clock: Box<dyn Fn() -> Duration + Send + Sync>,
    base: Mutex<(Timestamp, Instant)>,
}

impl LogClock {
    /// A clock over a wall clock, which gives the time since 1970-01-01 00:00 UTC.
    pub(crate) fn new(wall_clock: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        let wall_clock = Box::new(wall_clock);
        LogClock { wall_clock, base: Mutex::new((Timestamp(0), Instant::now())) }
    }

    /// This master begins to lead when the log stands at `log_now`.
    pub(crate) fn begin(&self, log_now: Timestamp) {
        *self.base.lock() = (log_now, Instant::now());
    }

    /// The stamp for an entry that is proposed in this moment.
    pub(crate) fn now(&self) -> Timestamp {
        self.at(self.wall())
    }

    /// What the calendar shows: the wall clock. Stamps from now on are not before it.
    pub(crate) fn calendar_now(&self) -> Timestamp {
        let wall = self.wall();
        self.at(wall);
        wall
    }

    fn wall(&self) -> Timestamp {
        Timestamp(u64::try_from((self.wall_clock)().as_millis()).unwrap_or(u64::MAX))
    }

    fn at(&self, wall: Timestamp) -> Timestamp {
        let mut base = self.base.lock();
        let (log_now, since) = *base;
        let elapsed = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
        let counted = log_now + Millis(elapsed);
        if wall > counted {
            *base = (wall, Instant::now());
        }
        wall.max(counted)
    }
}

impl fmt::Debug for LogClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogClock").field("base", &*self.base.lock()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_800_000_000);

    #[tokio::test]
    async fn a_leader_behind_the_log_goes_on_from_there() {
        let clock = LogClock::new(|| NOW);
        let now = Timestamp(u64::try_from(NOW.as_millis()).expect("it fits"));
        let far_ahead = now + Millis::from_secs(3_600);
        clock.begin(far_ahead);
        let first = clock.now();
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert!(first >= far_ahead);
        assert!(clock.now() > first, "time goes on");
        assert_eq!(clock.calendar_now(), now, "and fire times go by the wall clock");
        clock.begin(Timestamp(0));
        assert_eq!(clock.now(), now, "the wall clock is followed where it is ahead");
    }

    #[tokio::test]
    async fn a_jump_ahead_and_back_does_not_stop_the_clock() {
        let clock = LogClock::new(|| NOW);
        let wall = Timestamp(1_000_000);
        assert_eq!(clock.at(wall), wall);
        let ahead = Timestamp(wall.0 + 3_600_000);
        assert_eq!(clock.at(ahead), ahead);
        tokio::time::sleep(Duration::from_millis(5)).await;
        let back = clock.at(Timestamp(wall.0 + 1));
        assert!(back > ahead && back < Timestamp(ahead.0 + 60_000), "it goes on from where it was");
    }
}
