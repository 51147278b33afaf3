//! The clock that stamps entries.
//!
//! The log's time never runs back. A leader whose wall clock is behind it, because an earlier leader's was ahead, must
//! not let it stand still until its own catches up: timeouts would sleep. So it counts on from the log's time by its
//! monotonic clock, and follows its wall clock only where that is ahead. The same holds when its own wall clock jumps
//! ahead and back again.

use muster_core::time::{Millis, Timestamp};
use muster_platform::Platform;
use parking_lot::Mutex;
use tokio::time::Instant;

/// See the module documentation.
pub(crate) struct LogClock {
    platform: Platform,
    base: Mutex<(Timestamp, Instant)>,
}

impl LogClock {
    /// A clock over the wall clock of `platform`.
    pub(crate) fn new(platform: Platform) -> Self {
        LogClock { platform, base: Mutex::new((Timestamp(0), Instant::now())) }
    }

    /// This master begins to lead when the log stands at `log_now`.
    pub(crate) fn begin(&self, log_now: Timestamp) {
        *self.base.lock() = (log_now, Instant::now());
    }

    /// The stamp for an entry that is proposed in this moment.
    pub(crate) fn now(&self) -> Timestamp {
        self.at(wall_clock(&self.platform))
    }

    /// What the calendar shows: this master's wall clock, as far as the log has come.
    pub(crate) fn calendar_now(&self) -> Timestamp {
        let wall = wall_clock(&self.platform);
        self.at(wall).min(wall)
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

fn wall_clock(platform: &Platform) -> Timestamp {
    Timestamp(u64::try_from(platform.wall_clock().as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_leader_behind_the_log_goes_on_from_there() {
        let clock = LogClock::new(Platform::system());
        let far_ahead = Timestamp(wall_clock(&Platform::system()).0 + 3_600_000);
        clock.begin(far_ahead);
        let first = clock.now();
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        assert!(first >= far_ahead);
        assert!(clock.now() > first, "time goes on");
        assert!(clock.calendar_now() < far_ahead, "and fire times go by the wall clock");
        clock.begin(Timestamp(0));
        assert!(clock.now() < far_ahead, "the wall clock is followed where it is ahead");
    }

    #[tokio::test]
    async fn a_jump_ahead_and_back_does_not_stop_the_clock() {
        let clock = LogClock::new(Platform::system());
        let wall = Timestamp(1_000_000);
        assert_eq!(clock.at(wall), wall);
        let ahead = Timestamp(wall.0 + 3_600_000);
        assert_eq!(clock.at(ahead), ahead);
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        let back = clock.at(Timestamp(wall.0 + 1));
        assert!(back > ahead && back < Timestamp(ahead.0 + 60_000), "it goes on from where it was");
    }
}
