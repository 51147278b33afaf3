//! Random lines against other ways to find the same times: looking at every minute, and the `cron` crate.

use std::collections::BTreeSet;
use std::str::FromStr as _;

use jiff::civil::DateTime;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp};
use muster_calendar::Schedule;
use muster_core::ids::Name;
use muster_core::spec::schedule::{Dialect, ScheduleSpec, Timing};
use muster_core::time;
use proptest::collection::btree_set;
use proptest::prelude::*;

/// Nights in which a clock jumps, each with its zone.
const NIGHTS: [(&str, &str); 8] = [
    ("America/New_York", "2027-03-14T07:00:00Z"),
    ("America/New_York", "2027-11-07T06:00:00Z"),
    ("Europe/Berlin", "2027-03-28T01:00:00Z"),
    ("Europe/Berlin", "2027-10-31T01:00:00Z"),
    ("Australia/Lord_Howe", "2027-10-02T15:30:00Z"),
    ("Australia/Lord_Howe", "2027-04-03T15:00:00Z"),
    ("America/Santiago", "2027-09-05T04:00:00Z"),
    ("America/Santiago", "2027-04-04T03:00:00Z"),
];
const MINUTE: SignedDuration = SignedDuration::from_mins(1);
/// Before and after the jump.
const WINDOW: SignedDuration = SignedDuration::from_hours(26);

/// One field: how it is written, and what it means.
#[derive(Clone, Debug)]
struct Part {
    text: String,
    numbers: BTreeSet<i8>,
    is_running: bool,
}

fn part(last: i8) -> impl Strategy<Value = Part> {
    let numbers = btree_set(0..=last, 1..4).prop_map(|numbers| {
        let text = numbers.iter().map(i8::to_string).collect::<Vec<_>>().join(",");
        Part { text, numbers, is_running: false }
    });
    let range = (0..=last, 0..=last).prop_map(move |(a, b)| {
        let numbers = if a <= b { (a..=b).collect() } else { (a..=last).chain(0..=b).collect() };
        Part { text: format!("{a}-{b}"), numbers, is_running: false }
    });
    let step = (1..=last).prop_map(move |step| {
        let numbers = (0..=last).step_by(step.unsigned_abs().into()).collect();
        Part { text: format!("*/{step}"), numbers, is_running: true }
    });
    let all = Just(Part { text: "*".to_owned(), numbers: (0..=last).collect(), is_running: true });
    prop_oneof![numbers, range, step, all]
}

/// The minutes of a window.
fn minutes(jump: Timestamp) -> impl Iterator<Item = Timestamp> {
    let (first, last) = (jump - WINDOW, jump + WINDOW);
    std::iter::successors(Some(first), |at| Some(*at + MINUTE)).take_while(move |at| *at <= last)
}

/// The times within the window, by looking at every minute of it.
fn looked_up(minute: &Part, hour: &Part, zone: &TimeZone, jump: Timestamp) -> BTreeSet<Timestamp> {
    let matches =
        |it: DateTime| minute.numbers.contains(&it.minute()) && hour.numbers.contains(&it.hour());
    if minute.is_running || hour.is_running {
        return minutes(jump).filter(|at| matches(zone.to_datetime(*at))).collect();
    }
    // Each minute that a wall clock could show, at the first moment when this one has come so far.
    let (first, last) = (zone.to_datetime(jump - WINDOW), zone.to_datetime(jump + WINDOW));
    let shown =
        std::iter::successors(Some(first), |it| Some(*it + MINUTE)).take_while(|it| *it <= last);
    let meant = shown.filter(|it| matches(*it));
    let all: Vec<Timestamp> = minutes(jump).collect();
    let mut furthest = DateTime::MIN;
    let come: Vec<DateTime> = all
        .iter()
        .map(|at| {
            furthest = furthest.max(zone.to_datetime(*at));
            furthest
        })
        .collect();
    let at = |meant: DateTime| all.get(come.partition_point(|it| *it < meant)).copied();
    meant.filter_map(at).collect()
}

fn schedule(line: &str, dialect: Dialect, zone: &str) -> Schedule {
    let timing = Timing::Cron { line: line.into(), dialect };
    let name = Name::parse("s").expect("a name");
    let spec = ScheduleSpec { time_zone: zone.into(), ..ScheduleSpec::new(name, timing) };
    Schedule::new(&spec).unwrap_or_else(|error| panic!("{line}: {error}"))
}

fn fires(schedule: &Schedule, after: Timestamp) -> impl Iterator<Item = Timestamp> {
    let mut at = time::Timestamp(u64::try_from(after.as_millisecond()).expect("after 1970"));
    std::iter::from_fn(move || {
        at = schedule.next_after(at)?.at;
        Timestamp::from_millisecond(i64::try_from(at.0).ok()?).ok()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn nights_in_which_the_clock_jumps(minute in part(59), hour in part(23), night in 0..NIGHTS.len()) {
        let (name, jump) = NIGHTS[night];
        let jump: Timestamp = jump.parse().expect("a time");
        let zone = TimeZoneDatabase::bundled().get(name).expect("a zone");
        let line = format!("{} {} * * *", minute.text, hour.text);
        let schedule = schedule(&line, Dialect::Posix, name);
        let found: BTreeSet<Timestamp> =
            fires(&schedule, jump - WINDOW - MINUTE).take_while(|at| *at <= jump + WINDOW).collect();
        prop_assert_eq!(found, looked_up(&minute, &hour, &zone, jump), "{} in {}", line, name);
    }

    /// Where the answer comes from does not matter: asked at any moment, the next time is the same.
    #[test]
    fn the_next_time_is_the_first_of_all(
        minute in part(59), hour in part(23),
        night in 0..NIGHTS.len(), seconds in 0i64..180_000,
    ) {
        let (name, jump) = NIGHTS[night];
        let jump: Timestamp = jump.parse().expect("a time");
        let line = format!("{} {} * * *", minute.text, hour.text);
        let schedule = schedule(&line, Dialect::Posix, name);
        let after = jump - WINDOW + SignedDuration::from_secs(seconds);
        let expected = fires(&schedule, jump - WINDOW - MINUTE).find(|at| *at > after);
        prop_assert_eq!(fires(&schedule, after).next(), expected, "{} in {}", line, name);
    }

    /// The `cron` crate reads the lines of Quartz, and needs no zone that jumps.
    #[test]
    fn quartz_as_another_library_reads_it(
        second in part(59), minute in part(59), hour in part(23),
        days in prop_oneof![
            Just("* * ?".to_owned()),
            (1..=28).prop_map(|day| format!("{day} * ?")),
            (1..=7).prop_map(|day| format!("? * {day}")),
            (1..=6, 1..=12).prop_map(|(day, month)| format!("? {month} {day}-7")),
            (1..=12).prop_map(|month| format!("1/7 {month} ?")),
        ],
        from in 1_700_000_000i64..1_900_000_000,
    ) {
        // That library knows no range over the end of the hour.
        let is_plain = |part: &&Part| {
            let ends = part.text.split_once('-');
            ends.is_none_or(|(a, b)| a.parse::<i8>().ok() <= b.parse().ok())
        };
        prop_assume!([&second, &minute, &hour].iter().all(is_plain));
        let line = format!("{} {} {} {days}", second.text, minute.text, hour.text);
        let other = cron::Schedule::from_str(&line).expect("it reads the line");
        let start = chrono::DateTime::from_timestamp(from, 0).expect("a time");
        let expected: Vec<i64> = other.after(&start).take(20).map(|at| at.timestamp()).collect();
        let after = Timestamp::from_second(from).expect("a time");
        let schedule = schedule(&line, Dialect::Quartz, "Etc/UTC");
        let found: Vec<i64> = fires(&schedule, after).take(20).map(Timestamp::as_second).collect();
        prop_assert_eq!(found, expected, "{}", line);
    }
}
