//! The clock that stamps entries, and the one that fire times go by.
//!
//! The log's time never runs back. A leader whose wall clock is behind it, because an earlier leader's was ahead, must
//! not let it stand still until its own catches up: timeouts would sleep. So it counts on from the log's time by its
//! monotonic clock, and follows the wall clock only where that is ahead. The same holds when the wall clock jumps ahead
//! and back again.
//!
//! Where the log stands is looked at for every stamp: a leader stamps entries before all of its predecessors' are
//! applied here, and what it counted in an earlier term says nothing about the log.
//!
//! The wall clock is that of the masters together, which a minority of wrong clocks does not move.

use std::fmt;
use std::time::Duration;

use muster_core::time::{Millis, Timestamp};
use parking_lot::Mutex;
use tokio::time::Instant;

/// What the log shows to the clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogView {
    /// Raft's term.
    pub(crate) term: u64,
    /// The time of the last entry that is applied here.
    pub(crate) now: Timestamp,
}

/// Where a term's count began.
#[derive(Clone, Copy, Debug)]
struct Base {
    term: u64,
    at: Timestamp,
    since: Instant,
}

/// See the module documentation.
pub(crate) struct LogClock {
    wall_clock: Box<dyn Fn() -> Duration + Send + Sync>,
    log: Box<dyn Fn() -> LogView + Send + Sync>,
    base: Mutex<Base>,
}

impl LogClock {
    /// A clock over a wall clock, which gives the time since 1970-01-01 00:00 UTC, and over the log. Neither may ask
    /// this clock.
    pub(crate) fn new(
        wall_clock: impl Fn() -> Duration + Send + Sync + 'static,
        log: impl Fn() -> LogView + Send + Sync + 'static,
    ) -> Self {
        let base = Base { term: 0, at: Timestamp(0), since: Instant::now() };
        LogClock { wall_clock: Box::new(wall_clock), log: Box::new(log), base: Mutex::new(base) }
    }

    /// The stamp for an entry that is proposed in this moment.
    pub(crate) fn now(&self) -> Timestamp {
        self.at(self.wall())
    }

    /// What the calendar shows: the wall clock. Stamps of this term are not before it from now on.
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
        let log = (self.log)();
        let seen = wall.max(log.now);
        if log.term == base.term {
            let elapsed = u64::try_from(base.since.elapsed().as_millis()).unwrap_or(u64::MAX);
            let counted = base.at + Millis(elapsed);
            if counted >= seen {
                return counted;
            }
        }
        *base = Base { term: log.term, at: seen, since: Instant::now() };
        seen
    }
}

impl fmt::Debug for LogClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogClock").field("base", &*self.base.lock()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const WALL: Timestamp = Timestamp(1_800_000_000_000);
    const HOUR: Millis = Millis::from_secs(3_600);
    const SOON: Millis = Millis::from_secs(60);

    /// A wall clock and a log that tests set.
    struct Scene {
        clock: LogClock,
        wall: Arc<Mutex<Timestamp>>,
        log: Arc<Mutex<LogView>>,
    }

    fn scene() -> Scene {
        let wall = Arc::new(Mutex::new(WALL));
        let log = Arc::new(Mutex::new(LogView { term: 1, now: Timestamp(0) }));
        let (read_wall, read_log) = (wall.clone(), log.clone());
        let clock = LogClock::new(
            move || Duration::from_millis(read_wall.lock().0),
            move || *read_log.lock(),
        );
        Scene { clock, wall, log }
    }

    /// Sleeps a moment, after which a clock that stood at `last` stands a little later.
    async fn goes_on_from(last: Timestamp, clock: &LogClock) {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let now = clock.now();
        assert!(now >= last + Millis(5), "{now:?} is too near to {last:?}");
        assert!(now < last + SOON, "{now:?} is too far from {last:?}");
    }

    #[tokio::test]
    async fn a_leader_behind_the_log_goes_on_from_there() {
        let Scene { clock, log, .. } = scene();
        log.lock().now = WALL + HOUR;
        let first = clock.now();
        assert_eq!(first, WALL + HOUR);
        goes_on_from(first, &clock).await;
        assert_eq!(clock.calendar_now(), WALL, "and fire times go by the wall clock");
    }

    #[tokio::test]
    async fn a_jump_ahead_and_back_does_not_stop_the_clock() {
        let Scene { clock, wall, log } = scene();
        assert_eq!(clock.now(), WALL);
        *wall.lock() = WALL + HOUR;
        let ahead = clock.now();
        assert_eq!(ahead, WALL + HOUR);
        log.lock().now = ahead;
        *wall.lock() = WALL;
        goes_on_from(ahead, &clock).await;
    }

    #[tokio::test]
    async fn an_entry_does_not_cost_the_clock_the_time_it_takes() {
        let Scene { clock, wall, log } = scene();
        *wall.lock() = Timestamp(0);
        log.lock().now = WALL;
        let mut stamp = clock.now();
        for _ in 0..10 {
            // It is applied later than it was stamped.
            tokio::time::sleep(Duration::from_millis(5)).await;
            log.lock().now = stamp;
            stamp = clock.now();
        }
        assert!(stamp >= WALL + Millis(50), "{stamp:?}");
    }

    #[tokio::test]
    async fn what_was_counted_in_an_earlier_term_does_not_count() {
        let Scene { clock, wall, log } = scene();
        *wall.lock() = WALL + HOUR;
        assert_eq!(clock.now(), WALL + HOUR);
        // The entry with this stamp is lost, and the clock is set right.
        *wall.lock() = WALL;
        let log_now = WALL + SOON;
        *log.lock() = LogView { term: 3, now: log_now };
        assert_eq!(clock.now(), log_now, "the log is not torn ahead");
        goes_on_from(log_now, &clock).await;
    }

    #[tokio::test]
    async fn an_entry_that_is_applied_late_does_not_stop_the_clock() {
        let Scene { clock, log, .. } = scene();
        *log.lock() = LogView { term: 2, now: WALL };
        assert_eq!(clock.now(), WALL);
        // It is of an earlier leader, whose clock was ahead.
        let ahead = WALL + HOUR;
        log.lock().now = ahead;
        assert_eq!(clock.now(), ahead, "stamps are not behind the log");
        goes_on_from(ahead, &clock).await;
    }
}
