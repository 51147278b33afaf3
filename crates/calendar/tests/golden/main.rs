//! Fire times worked out by hand: what lines mean, what becomes of them where clocks jump, and what is refused.

mod clocks;
mod lines;
mod refused;

use muster_calendar::{Fire, Remark, Schedule};
use muster_core::ids::Name;
use muster_core::spec::schedule::{Dialect, ScheduleSpec, Timing};
use muster_core::time::Timestamp;

pub(crate) const NEW_YORK: &str = "America/New_York";
pub(crate) const BERLIN: &str = "Europe/Berlin";
pub(crate) const LORD_HOWE: &str = "Australia/Lord_Howe";
pub(crate) const SANTIAGO: &str = "America/Santiago";

pub(crate) fn name() -> Name {
    Name::parse("s").expect("a name")
}

pub(crate) fn cron(line: &str) -> ScheduleSpec {
    let timing = Timing::Cron { line: line.into(), dialect: Dialect::Posix };
    ScheduleSpec::new(name(), timing)
}

pub(crate) fn in_zone(zone: &str, line: &str) -> ScheduleSpec {
    ScheduleSpec { time_zone: zone.into(), ..cron(line) }
}

pub(crate) fn instant(text: &str) -> Timestamp {
    let at: jiff::Timestamp = text.parse().expect("a time with its offset");
    Timestamp(u64::try_from(at.as_millisecond()).expect("after 1970"))
}

pub(crate) fn shown(fire: &Fire) -> String {
    let time = fire.local.strftime("%F %T %:z");
    let remark = match fire.remark {
        None => String::new(),
        Some(Remark::Skipped { meant }) => format!(" for {meant}"),
        Some(Remark::FirstOfTwo) => " first of two".to_owned(),
        Some(Remark::Earlier) => " earlier".to_owned(),
        Some(Remark::Later) => " later".to_owned(),
    };
    format!("{time}{remark}")
}

#[track_caller]
pub(crate) fn expect(spec: &ScheduleSpec, from: &str, expected: &[&str]) {
    let schedule = Schedule::new(spec).unwrap_or_else(|error| panic!("{spec:?}: {error}"));
    let mut at = instant(from);
    let mut found = Vec::new();
    for _ in expected {
        let Some(fire) = schedule.next_after(at) else { break };
        assert!(fire.at > at, "{fire:?} is not after {at:?}");
        at = fire.at;
        found.push(shown(&fire));
    }
    assert_eq!(found, expected, "{:?} in {}", spec.timing, spec.time_zone);
}
