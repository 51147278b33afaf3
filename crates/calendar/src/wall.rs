//! From the wall clock to the time line: what becomes of the hours that a clock skips and of those that come twice.

use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp};

use crate::cron::CronLine;

/// Offsets lie between -26 and 26 hours of UTC in all zones, and changes are far smaller.
const OFFSETS_DIFFER_MAX: SignedDuration = SignedDuration::from_hours(52);

/// What is special about a fire time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Remark {
    /// The wall clock skips the time that was meant; it fires when the clock goes on.
    Skipped {
        /// The first time that was meant.
        meant: DateTime,
    },
    /// The time comes twice; it fires the first time only.
    FirstOfTwo,
    /// The time comes twice and fires both times; this is the first.
    Earlier,
    /// The second of them.
    Later,
}

/// A match of a cron line on the time line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Match {
    pub(crate) at: Timestamp,
    pub(crate) remark: Option<Remark>,
}

/// The first time after `after` at which `line` matches the wall clock of `zone`.
///
/// Costs as much however long ago `after` is, and however far the match.
pub(crate) fn next_after(line: &CronLine, zone: &TimeZone, after: Timestamp) -> Option<Match> {
    match line.is_fixed() {
        true => next_fixed(line, zone, after),
        false => next_running(line, zone, after),
    }
}

/// Each match of the wall clock is one time, and the times are in the order of the matches.
fn next_fixed(line: &CronLine, zone: &TimeZone, after: Timestamp) -> Option<Match> {
    let mut from = zone.to_datetime(after);
    loop {
        let meant = line.next_match(from, false)?;
        let found = resolve(zone, meant)?;
        if found.at > after {
            return Some(found);
        }
        // The second pass of an hour whose matches fired in the first one, or a skipped time that has fired.
        from = meant;
    }
}

/// The time at which a fixed time of the wall clock counts.
pub(crate) fn resolve(zone: &TimeZone, meant: DateTime) -> Option<Match> {
    let (offset, remark) = match zone.to_ambiguous_timestamp(meant).offset() {
        AmbiguousOffset::Unambiguous { offset } => (offset, None),
        AmbiguousOffset::Fold { before, .. } => (before, Some(Remark::FirstOfTwo)),
        AmbiguousOffset::Gap { after, .. } => {
            // Read with the later offset, a time in the gap lies before the jump.
            let before_jump = after.to_timestamp(meant).ok()?;
            let jump = zone.following(before_jump).next()?;
            return Some(Match { at: jump.timestamp(), remark: Some(Remark::Skipped { meant }) });
        }
    };
    Some(Match { at: offset.to_timestamp(meant).ok()?, remark })
}

/// Every time at which the wall clock matches. Between two changes of the offset, wall clock and time line run alike.
fn next_running(line: &CronLine, zone: &TimeZone, after: Timestamp) -> Option<Match> {
    let (mut at, mut from) = (after, zone.to_datetime(after));
    let mut meant = line.next_match(from, false)?;
    loop {
        let found = zone.to_offset(at).to_timestamp(meant).ok()?;
        let change = zone.following(at).next().map(|change| change.timestamp());
        let Some(change) = change.filter(|change| found >= *change) else {
            return Some(Match { at: found, remark: pass(zone, meant, found) });
        };
        let begins = zone.to_datetime(change);
        if begins <= from || begins > meant {
            // The clock shows again what was looked at, or skips what was found.
            (at, from) = (change, begins);
            meant = line.next_match(begins, true)?;
        } else {
            // Nothing matches before `meant`, whatever the changes until shortly before it.
            at = change.max(found.checked_sub(OFFSETS_DIFFER_MAX).ok()?);
        }
    }
}

/// Which of the two passes of a time that comes twice it is.
fn pass(zone: &TimeZone, meant: DateTime, at: Timestamp) -> Option<Remark> {
    match zone.to_ambiguous_timestamp(meant).offset() {
        AmbiguousOffset::Fold { before, .. } if before == zone.to_offset(at) => {
            Some(Remark::Earlier)
        }
        AmbiguousOffset::Fold { .. } => Some(Remark::Later),
        AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Gap { .. } => None,
    }
}
