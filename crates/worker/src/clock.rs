//! Spans in the units that the protocol, the guardian's table and the process's own log use.
//!
//! The worker's clock is the platform's time since boot, suspended time included, the same for every process of a
//! machine. Leases are judged by it: a clock that stands still while a machine sleeps would let a lease outlive itself,
//! and the wall clock jumps. The guardian process compares its own reading with one the worker wrote, which only works
//! because both count from boot.

use std::time::Duration;

/// `duration` in whole milliseconds, rounded down.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// `duration` in whole microseconds, rounded down.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
