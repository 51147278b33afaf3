//! One schedule, ready to say when it fires.

use std::sync::LazyLock;

use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp, Zoned};
use muster_core::spec::duration;
use muster_core::spec::schedule::{CatchUp, ScheduleSpec, Timing};
use muster_core::time::{self, Millis};

use crate::cron::{CronLine, cut};
use crate::days::{self, Days};
use crate::error::ScheduleError;
use crate::wall::{self, Match, Remark};

/// The shortest distance of fire times: what a cron line can say too.
const INTERVAL_MIN: Millis = Millis::from_secs(1);
/// A name for an interval that other crons know; the span follows.
const EVERY: &str = "@every";
/// Most names that a message about an unknown zone offers.
const ZONES_OFFERED: usize = 3;

/// A schedule that was understood, in a zone that is known, and that fires some time.
#[derive(Clone, Debug)]
pub struct Schedule {
    times: Times,
    zone: TimeZone,
    start: Option<Timestamp>,
    end: Option<Timestamp>,
    /// Apart from each other, in order.
    excluded: Vec<Days>,
    pub(crate) jitter: Millis,
    pub(crate) lateness: Lateness,
}

/// What becomes of fire times that are late; see [`ScheduleSpec`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lateness {
    pub(crate) catch_up: CatchUp,
    pub(crate) catch_up_max: u32,
    pub(crate) starting_deadline: Option<Millis>,
}

#[derive(Clone, Debug)]
enum Times {
    Cron(CronLine),
    Every { anchor: Timestamp, interval: SignedDuration },
    At(Match),
}

/// Whether a schedule makes sense, for [`muster_core::spec::parse_with`].
///
/// # Errors
/// The field that makes none, and why.
pub fn check(spec: &ScheduleSpec) -> Result<(), (String, String)> {
    match Schedule::new(spec) {
        Ok(_) => Ok(()),
        Err(ScheduleError { field, problem }) => Err((field, problem)),
    }
}

/// A time at which a schedule is meant to fire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fire {
    /// The fire time.
    pub at: time::Timestamp,
    /// What the wall clock of the schedule's zone shows then.
    pub local: Zoned,
    /// What is special about it.
    pub remark: Option<Remark>,
}

impl Schedule {
    /// Reads a schedule as it was written.
    ///
    /// # Errors
    /// If a field makes no sense, or no time is left at which it could fire. The error names the field.
    pub fn new(spec: &ScheduleSpec) -> Result<Self, ScheduleError> {
        let zone = zone(&spec.time_zone)?;
        let moment = |field: &str, text: &str| {
            days::moment(text, &zone).map_err(|problem| ScheduleError::new(field, problem))
        };
        let bound = |field: &str, text: &Option<muster_core::ids::Text>| {
            text.as_ref().map(|text| moment(field, text).map(|found| found.at)).transpose()
        };
        let (start, end) = (bound("start", &spec.start)?, bound("end", &spec.end)?);
        let every = |field: &str, interval: Millis| match interval {
            interval if interval < INTERVAL_MIN => {
                let problem = format!("it fires every {INTERVAL_MIN} at most");
                Err(ScheduleError::new(field, problem))
            }
            interval => Ok(Times::Every {
                anchor: start.unwrap_or(Timestamp::UNIX_EPOCH),
                interval: SignedDuration::from_millis(interval.0.try_into().unwrap_or(i64::MAX)),
            }),
        };
        let times = match &spec.timing {
            Timing::Cron { line, .. } if line.trim_start().starts_with(EVERY) => {
                every("cron", interval(line)?)?
            }
            Timing::Cron { line, dialect } => Times::Cron(CronLine::parse(line, *dialect)?),
            Timing::Every(interval) => every("every", *interval)?,
            Timing::At(text) => Times::At(moment("at", text)?),
        };
        let mut excluded = Vec::with_capacity(spec.exclude.len());
        for (at, text) in spec.exclude.iter().enumerate() {
            let days = Days::parse(text);
            excluded.push(
                days.map_err(|problem| ScheduleError::new(format!("exclude[{at}]"), problem))?,
            );
        }
        let excluded = Days::merged(excluded);
        let lateness = Lateness {
            catch_up: spec.catch_up,
            catch_up_max: spec.catch_up_max,
            starting_deadline: spec.starting_deadline,
        };
        let schedule = Self { times, zone, start, end, excluded, jitter: spec.jitter, lateness };
        let is_bounded = schedule.start.is_some() || schedule.end.is_some();
        let may_never_fire = is_bounded || !schedule.excluded.is_empty();
        if may_never_fire && schedule.next_after(time::Timestamp(0)).is_none() {
            let field = if spec.end.is_some() { "end" } else { spec.timing.field() };
            let problem = "it never fires: `start`, `end` and `exclude` leave no time";
            return Err(ScheduleError::new(field, problem));
        }
        Ok(schedule)
    }

    /// The first fire time after `after`. Costs microseconds, however long ago that is.
    pub fn next_after(&self, after: time::Timestamp) -> Option<Fire> {
        let after =
            i64::try_from(after.0).ok().and_then(|it| Timestamp::from_millisecond(it).ok())?;
        let before_start = self.start.and_then(before);
        let mut after = before_start.map_or(after, |start| start.max(after));
        loop {
            let found = self.times.next_after(&self.zone, after)?;
            if self.end.is_some_and(|end| found.at >= end) {
                return None;
            }
            match self.excluded_until(found.at) {
                // Where a clock goes back over midnight, the next day begins before the last moment of this one.
                Some(until) => after = before(until)?.max(found.at),
                None => {
                    let at = u64::try_from(found.at.as_millisecond()).ok()?;
                    let local = found.at.to_zoned(self.zone.clone());
                    return Some(Fire { at: time::Timestamp(at), local, remark: found.remark });
                }
            }
        }
    }

    /// How much later than `fire_time` a run begins, less than the jitter. Follows from the fire time and `key`, which
    /// should be another for each schedule, so that schedules with equal lines are spread.
    pub fn delay(&self, key: u64, fire_time: time::Timestamp) -> Millis {
        Millis(mix(key ^ mix(fire_time.0)).checked_rem(self.jitter.0).unwrap_or(0))
    }

    /// If the day of `at` is excluded: when the next one begins that is not.
    fn excluded_until(&self, at: Timestamp) -> Option<Timestamp> {
        let day = self.zone.to_datetime(at).date();
        let place = self.excluded.partition_point(|days| days.last < day);
        let days = self.excluded.get(place).filter(|days| days.first <= day)?;
        let next = days.last.tomorrow().ok()?.to_zoned(self.zone.clone()).ok()?;
        Some(next.timestamp())
    }
}

impl Times {
    fn next_after(&self, zone: &TimeZone, after: Timestamp) -> Option<Match> {
        match self {
            Self::Cron(line) => wall::next_after(line, zone, after),
            Self::Every { anchor, interval } => {
                let passed = after.as_millisecond().checked_sub(anchor.as_millisecond())?;
                let interval = i64::try_from(interval.as_millis()).ok()?;
                let count = if passed < 0 { 0 } else { passed / interval + 1 };
                let at = anchor.as_millisecond().checked_add(count.checked_mul(interval)?)?;
                Some(Match { at: Timestamp::from_millisecond(at).ok()?, remark: None })
            }
            Self::At(found) => (found.at > after).then_some(*found),
        }
    }
}

/// The interval of a line such as `@every 15m`.
fn interval(line: &str) -> Result<Millis, ScheduleError> {
    let span = line.trim_start().trim_start_matches(EVERY);
    if span.trim().is_empty() {
        let problem = "`@every` needs a span of time: write for example `@every 15m`";
        return Err(ScheduleError::new("cron", problem));
    }
    duration::parse(span).map_err(|error| ScheduleError::new("cron", error.to_string()))
}

/// The last moment before `at`.
fn before(at: Timestamp) -> Option<Timestamp> {
    at.checked_sub(SignedDuration::from_millis(1)).ok()
}

/// The zones of the data that comes with the binary. Those that were asked for are kept.
pub(crate) fn zones() -> &'static TimeZoneDatabase {
    static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);
    &ZONES
}

/// The zone of that name.
pub(crate) fn zone(name: &str) -> Result<TimeZone, ScheduleError> {
    let known = zones();
    known.get(name).map_err(|_unknown| {
        let wanted = name.rsplit('/').next().unwrap_or(name).to_ascii_lowercase();
        let is_near = |known: &str| {
            let city = known.rsplit('/').next().unwrap_or(known);
            !wanted.is_empty() && city.to_ascii_lowercase().contains(&wanted)
        };
        let names = known.available().map(|it| it.to_string()).filter(|it| is_near(it));
        let near: Vec<String> = names.take(ZONES_OFFERED).map(|it| format!("`{it}`")).collect();
        let shown = cut(name);
        let problem = match near.is_empty() {
            true => format!("there is no zone `{shown}`: use an IANA name such as `Europe/Berlin`"),
            false => format!("there is no zone `{shown}`: did you mean {}?", near.join(" or ")),
        };
        ScheduleError::new("timeZone", problem)
    })
}

/// Spreads numbers that lie close together (the finalizer of SplitMix64).
fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}
