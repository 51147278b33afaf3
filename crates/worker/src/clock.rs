//! The worker's clock: time since boot, suspended time included, the same for every process of a machine.
//!
//! Leases are judged by it. `CLOCK_MONOTONIC` would stand still while a machine sleeps and let a lease outlive itself;
//! the wall clock jumps. The guardian process compares its own reading with one the worker wrote, which only works
//! because both count from boot.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Time since boot.
pub fn now() -> Duration {
    let reading = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(reading.tv_sec).expect("time since boot is not negative");
    let nanos = u32::try_from(reading.tv_nsec).expect("nanoseconds of a second are below 10^9");
    Duration::new(seconds, nanos)
}

/// `duration` in whole milliseconds, rounded down.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
