//! Dates and moments as people write them.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use muster_core::time;

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
