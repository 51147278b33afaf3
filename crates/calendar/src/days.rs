//! Dates and moments as people write them.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use muster_core::time;

use crate::schedule;
use crate::wall::{self, Match};

/// A stretch of days, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Days {
    pub(crate) first: Date,
    pub(crate) last: Date,
}

impl Days {
    /// Reads `2026-12-24` or `2026-12-24/2026-12-26`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (first, last) = text.split_once('/').unwrap_or((text, text));
        let (first, last) = (date(first)?, date(last)?);
        if last < first {
            return Err(format!("the days end before they begin: write `{last}/{first}`"));
        }
        Ok(Self { first, last })
    }

    /// Those that follow each other or overlap as one, in order.
    pub(crate) fn merged(mut all: Vec<Self>) -> Vec<Self> {
        all.sort_by_key(|days| days.first);
        let mut merged: Vec<Self> = Vec::with_capacity(all.len());
        for days in all {
            match merged.last_mut() {
                Some(before) if before.last.tomorrow().is_ok_and(|next| days.first <= next) => {
                    before.last = before.last.max(days.last);
                }
                _ => merged.push(days),
            }
        }
        merged
    }
}

fn date(text: &str) -> Result<Date, String> {
    let text = text.trim();
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    let date = is_plain.then(|| text.parse().ok()).flatten();
    date.ok_or_else(|| {
        "this is not a day: write for example `2026-12-24`, or `2026-12-24/2026-12-26`".to_owned()
    })
}

/// Reads a point in time that a person gives: `2026-12-01` or `2026-12-01T09:00` in UTC, or a time with its offset.
///
/// # Errors
/// What to write instead.
pub fn moment_in_utc(text: &str) -> Result<time::Timestamp, String> {
    let at = moment(text, &TimeZone::UTC)?.at.as_millisecond();
    u64::try_from(at).map(time::Timestamp).map_err(|_| "times begin with the year 1970".to_owned())
}

/// The first and the last millisecond of what a person gives for a bound of a range: `2026-12-01` is the whole day on
/// the wall clock of `zone`, and a time, with its offset or on that wall clock, is its moment alone.
///
/// # Errors
/// What to write instead, or what is wrong with the zone.
pub fn bound(text: &str, zone: &str) -> Result<(time::Timestamp, time::Timestamp), String> {
    let zone = schedule::zone(zone).map_err(|error| error.to_string())?;
    let stamp = |at: Timestamp| {
        let at = u64::try_from(at.as_millisecond());
        at.map(time::Timestamp).map_err(|_| "times begin with the year 1970".to_owned())
    };
    let Ok(day) = date(text) else {
        let at = stamp(moment(text, &zone)?.at)?;
        return Ok((at, at));
    };
    let start = |day: Date| {
        let start = wall::resolve(&zone, day.at(0, 0, 0, 0)).map(|found| found.at);
        start.ok_or_else(|| "this day is out of range".to_owned())
    };
    let next = day.tomorrow().map_err(|_| "this day is out of range".to_owned())?;
    let (first, end) = (stamp(start(day)?)?, stamp(start(next)?)?);
    Ok((first, time::Timestamp(end.0.saturating_sub(1))))
}

/// Reads a moment: a day, a day and a time on the wall clock of `zone`, or a time with its offset.
pub(crate) fn moment(text: &str, zone: &TimeZone) -> Result<Match, String> {
    let text = text.trim();
    let found = match text.parse::<Timestamp>() {
        Ok(at) => Some(Match { at, remark: None }),
        Err(_) => text.parse::<DateTime>().ok().and_then(|meant| wall::resolve(zone, meant)),
    };
    // The log knows nothing finer than milliseconds.
    let whole = |found: Match| {
        Timestamp::from_millisecond(found.at.as_millisecond()).ok().map(|at| Match { at, ..found })
    };
    found.and_then(whole).ok_or_else(|| {
        "this is not a time: write for example `2026-12-01T09:00`, or `2026-12-01T09:00:00+01:00`".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_that_is_a_day_is_the_whole_day_of_the_zone() {
        let read = |text: &str, zone: &str| {
            let (first, last) = bound(text, zone).unwrap_or_else(|error| panic!("{error}"));
            let text = |at: time::Timestamp| {
                let at = Timestamp::from_millisecond(at.0.cast_signed()).expect("it is in range");
                at.to_string()
            };
            (text(first), text(last))
        };
        let pair = |first: &str, last: &str| (first.to_owned(), last.to_owned());
        let day = read("2026-12-01", "Etc/UTC");
        assert_eq!(day, pair("2026-12-01T00:00:00Z", "2026-12-01T23:59:59.999Z"));
        let day = read("2026-12-01", "Europe/Berlin");
        assert_eq!(day, pair("2026-11-30T23:00:00Z", "2026-12-01T22:59:59.999Z"));
        // 23 hours, and a day that has no midnight.
        let day = read("2026-03-29", "Europe/Berlin");
        assert_eq!(day, pair("2026-03-28T23:00:00Z", "2026-03-29T21:59:59.999Z"));
        let day = read("2026-09-06", "America/Santiago");
        assert_eq!(day, pair("2026-09-06T04:00:00Z", "2026-09-07T02:59:59.999Z"));
        // A time is itself, on the wall clock or with its offset.
        let time = read("2026-12-01T09:00", "Europe/Berlin");
        assert_eq!(time, pair("2026-12-01T08:00:00Z", "2026-12-01T08:00:00Z"));
        let time = read("2026-12-01T09:00:00+01:00", "Asia/Shanghai");
        assert_eq!(time, pair("2026-12-01T08:00:00Z", "2026-12-01T08:00:00Z"));
        for (text, zone) in [("soon", "Etc/UTC"), ("1969-12-01", "Etc/UTC"), ("2026-12-01", "Moon")]
        {
            assert!(bound(text, zone).is_err(), "{text} in {zone}");
        }
    }
}
