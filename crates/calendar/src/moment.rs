//! A point in time as tasks are told of it.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use muster_core::time;

use crate::schedule::zones;

/// A point in time in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// In UTC, to the second: `2026-11-21T01:30:00Z`.
    pub time: String,
    /// The day in a zone: `2026-11-21`.
    pub date: String,
}

impl Moment {
    /// The moment `at`, with its day in the zone of this name. UTC stands in for a zone that is not known.
    pub fn of(at: time::Timestamp, zone: &str) -> Self {
        let zone = if zone == "Etc/UTC" {
            TimeZone::UTC
        } else {
            zones().get(zone).unwrap_or(TimeZone::UTC)
        };
        let at = i64::try_from(at.0).ok().and_then(|at| Timestamp::from_millisecond(at).ok());
        let at = at.unwrap_or(Timestamp::MAX);
        let at = Timestamp::from_second(at.as_second()).unwrap_or(at);
        let local = at.to_zoned(zone);
        Self { time: format!("{at}"), date: local.date().to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_day_is_that_of_the_zone() {
        // Half past midnight in Berlin is the day before in UTC.
        let at = time::Timestamp(1_795_303_800_123);
        let in_berlin = Moment::of(at, "Europe/Berlin");
        assert_eq!(in_berlin.time, "2026-11-21T23:30:00Z");
        assert_eq!(in_berlin.date, "2026-11-22");
        assert_eq!(Moment::of(at, "Etc/UTC").date, "2026-11-21");
        assert_eq!(Moment::of(at, "No/Where").date, "2026-11-21");
        // Times beyond all calendars have words too.
        assert!(!Moment::of(time::Timestamp(u64::MAX), "Etc/UTC").date.is_empty());
    }
}
