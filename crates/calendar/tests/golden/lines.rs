//! What lines, intervals, single times, bounds and days off mean.

use muster_calendar::Schedule;
use muster_core::spec::schedule::{Dialect, ScheduleSpec, Timing};
use muster_core::time::{Millis, Timestamp};

use crate::{BERLIN, NEW_YORK, cron, expect, in_zone, instant, name};

#[test]
fn days_of_the_month_and_of_the_week() {
    let from = "2026-11-20T00:00:00Z";
    let table: &[(&str, &[&str])] = &[
        ("0 9 * * 1-5", &["2026-11-20 09", "2026-11-23 09", "2026-11-24 09"]),
        ("0 9 * * 0", &["2026-11-22 09", "2026-11-29 09"]),
        ("0 9 * * 7", &["2026-11-22 09", "2026-11-29 09"]),
        (
            "0 9 * * FRI-MON",
            &["2026-11-20 09", "2026-11-21 09", "2026-11-22 09", "2026-11-23 09", "2026-11-27 09"],
        ),
        // Either of the two is enough.
        ("0 0 13 * 5", &["2026-11-27 00", "2026-12-04 00", "2026-12-11 00", "2026-12-13 00"]),
        ("0 0 L * *", &["2026-11-30 00", "2026-12-31 00", "2027-01-31 00", "2027-02-28 00"]),
        ("0 0 LW * *", &["2026-11-30 00", "2026-12-31 00", "2027-01-29 00"]),
        ("0 0 15W * *", &["2026-12-15 00", "2027-01-15 00", "2027-02-15 00"]),
        ("0 0 * * 5#2", &["2026-12-11 00", "2027-01-08 00"]),
        ("0 0 * * FRI#1", &["2026-12-04 00", "2027-01-01 00"]),
        ("0 0 * * 5L", &["2026-11-27 00", "2026-12-25 00"]),
        ("0 0 * * friL", &["2026-11-27 00", "2026-12-25 00"]),
        (
            "0 22-1 * * *",
            &["2026-11-20 01", "2026-11-20 22", "2026-11-20 23", "2026-11-21 00", "2026-11-21 01"],
        ),
        ("0 0 1 nov-feb *", &["2026-12-01 00", "2027-01-01 00", "2027-02-01 00", "2027-11-01 00"]),
        ("0 0 29 2 *", &["2028-02-29 00", "2032-02-29 00"]),
        ("@yearly", &["2027-01-01 00", "2028-01-01 00"]),
        ("@annually", &["2027-01-01 00"]),
        ("@monthly", &["2026-12-01 00"]),
        ("@weekly", &["2026-11-22 00", "2026-11-29 00"]),
        ("@hourly", &["2026-11-20 01", "2026-11-20 02"]),
    ];
    for (line, expected) in table {
        let expected: Vec<String> =
            expected.iter().map(|it| format!("{it}:00:00 +00:00")).collect();
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        expect(&cron(line), from, &expected);
    }
}

#[test]
fn six_and_seven_fields() {
    expect(
        &cron("*/20 59 23 * * *"),
        "2026-12-31T23:59:15Z",
        &["2026-12-31 23:59:20 +00:00", "2026-12-31 23:59:40 +00:00", "2027-01-01 23:59:00 +00:00"],
    );
    expect(
        &cron("0 0 12 1 1 * 2030-2032/2"),
        "2026-12-31T23:59:15Z",
        &["2030-01-01 12:00:00 +00:00", "2032-01-01 12:00:00 +00:00"],
    );
}

#[test]
fn a_line_ends_with_its_last_year() {
    let schedule = Schedule::new(&cron("0 0 12 1 1 * 2030")).expect("it fires once");
    let last = instant("2030-01-01T12:00:00Z");
    assert_eq!(schedule.next_after(Timestamp(last.0 - 1)).map(|fire| fire.at), Some(last));
    assert_eq!(schedule.next_after(last), None);
}

#[test]
fn quartz_counts_the_days_from_sunday() {
    let quartz = |line: &str| {
        let timing = Timing::Cron { line: line.into(), dialect: Dialect::Quartz };
        ScheduleSpec::new(name(), timing)
    };
    let from = "2026-11-20T00:00:00Z";
    expect(
        &quartz("0 0 9 ? * 2-6"),
        from,
        &["2026-11-20 09:00:00 +00:00", "2026-11-23 09:00:00 +00:00"],
    );
    expect(&quartz("0 0 9 ? * 1"), from, &["2026-11-22 09:00:00 +00:00"]);
    expect(&quartz("0 0 9 ? * MON"), from, &["2026-11-23 09:00:00 +00:00"]);
    expect(&quartz("0 0 9 ? * 6#2"), from, &["2026-12-11 09:00:00 +00:00"]);
    expect(
        &quartz("0 0 9 ? * FRI-MON"),
        from,
        &[
            "2026-11-20 09:00:00 +00:00",
            "2026-11-21 09:00:00 +00:00",
            "2026-11-22 09:00:00 +00:00",
            "2026-11-23 09:00:00 +00:00",
            "2026-11-27 09:00:00 +00:00",
        ],
    );
    expect(
        &quartz("0 0/25 8 L * ?"),
        from,
        &[
            "2026-11-30 08:00:00 +00:00",
            "2026-11-30 08:25:00 +00:00",
            "2026-11-30 08:50:00 +00:00",
            "2026-12-31 08:00:00 +00:00",
        ],
    );
    // A name means the same in every dialect.
    expect(&quartz("@weekly"), from, &["2026-11-22 00:00:00 +00:00"]);
}

#[test]
fn intervals_are_of_real_time() {
    let every = |hours: u64| ScheduleSpec {
        time_zone: BERLIN.into(),
        ..ScheduleSpec::new(name(), Timing::Every(Millis::from_secs(3600 * hours)))
    };
    expect(
        &every(12),
        "2027-03-27T13:00:00Z",
        &["2027-03-28 01:00:00 +01:00", "2027-03-28 14:00:00 +02:00"],
    );
    expect(&in_zone(BERLIN, "@every 12h"), "2027-03-28T01:00:00Z", &["2027-03-28 14:00:00 +02:00"]);
    let from_start = ScheduleSpec { start: Some("2027-01-01T00:30".into()), ..every(7) };
    expect(
        &from_start,
        "2026-06-01T00:00:00Z",
        &["2027-01-01 00:30:00 +01:00", "2027-01-01 07:30:00 +01:00", "2027-01-01 14:30:00 +01:00"],
    );
}

#[test]
fn once() {
    let at = |text: &str| ScheduleSpec {
        time_zone: BERLIN.into(),
        ..ScheduleSpec::new(name(), Timing::At(text.into()))
    };
    for (text, expected) in [
        ("2026-12-01T09:00", "2026-12-01 09:00:00 +01:00"),
        ("2026-12-01", "2026-12-01 00:00:00 +01:00"),
        ("2026-12-01T09:00:00Z", "2026-12-01 10:00:00 +01:00"),
        ("2026-12-01T09:00:00-05:00", "2026-12-01 15:00:00 +01:00"),
        ("2027-03-28T02:30", "2027-03-28 03:00:00 +02:00 for 2027-03-28T02:30:00"),
        ("2027-10-31T02:30", "2027-10-31 02:30:00 +02:00 first of two"),
    ] {
        expect(&at(text), "2026-11-20T00:00:00Z", &[expected]);
        let schedule = Schedule::new(&at(text)).expect("a schedule");
        assert_eq!(schedule.next_after(instant("2028-01-01T00:00:00Z")), None);
    }
}

#[test]
fn start_end_and_days_off() {
    let spec = ScheduleSpec {
        time_zone: BERLIN.into(),
        start: Some("2026-12-23T10:00".into()),
        end: Some("2026-12-31T09:00".into()),
        exclude: vec!["2026-12-26".into(), "2026-12-24/2026-12-25".into(), "2026-12-28".into()],
        ..cron("0 9 * * *")
    };
    let expected =
        ["2026-12-27 09:00:00 +01:00", "2026-12-29 09:00:00 +01:00", "2026-12-30 09:00:00 +01:00"];
    expect(&spec, "2026-11-20T00:00:00Z", &expected);
    let schedule = Schedule::new(&spec).expect("a schedule");
    assert_eq!(schedule.next_after(instant("2026-12-30T08:00:00Z")), None);
    // A day off is one of the schedule's zone.
    let late = ScheduleSpec {
        time_zone: NEW_YORK.into(),
        exclude: vec!["2026-12-24".into()],
        ..cron("30 23 * * *")
    };
    expect(&late, "2026-12-24T05:00:00Z", &["2026-12-25 23:30:00 -05:00"]);
}

#[test]
fn delays_are_within_the_jitter_and_spread() {
    let spec = ScheduleSpec { jitter: Millis::from_secs(600), ..cron("@daily") };
    let schedule = Schedule::new(&spec).expect("a schedule");
    let delay = |key: u64| schedule.delay(key, instant("2026-11-20T00:00:00Z"));
    assert_eq!(delay(7), delay(7));
    let minutes: std::collections::BTreeSet<u64> =
        (0..200).map(|key| delay(key).0 / 60_000).collect();
    assert_eq!(minutes, (0..10).collect());
    let without = Schedule::new(&cron("@daily")).expect("a schedule");
    assert_eq!(without.delay(7, Timestamp(1)), Millis(0));
}

/// There, clocks went back over midnight: a day began again after it had ended.
#[test]
fn a_day_off_that_comes_twice() {
    let spec = ScheduleSpec {
        exclude: vec!["1970-01-01/1987-10-24".into()],
        ..in_zone("America/St_Johns", "*/20 23 * * *")
    };
    expect(&spec, "1987-10-24T12:00:00Z", &["1987-10-25 23:00:00 -03:30"]);
}

/// Far away matches cost as much as near ones: this would take minutes otherwise.
#[test]
fn what_is_far_away_is_found_at_once() {
    let schedule = Schedule::new(&in_zone(BERLIN, "* 0 0 1 1 * 5000")).expect("a schedule");
    for year in 1970..4970 {
        let from = instant(&format!("{year}-03-01T00:00:00Z"));
        let next = schedule.next_after(from).expect("it fires");
        assert_eq!(next.local.year(), 5000);
    }
}

#[test]
fn a_long_pause_costs_nothing() {
    // A minute of the year 1970 and one of the year 4000 are as far away as tomorrow.
    for line in ["* * * * * *", "0 0 29 2 *", "30 2 * * *"] {
        let schedule = Schedule::new(&in_zone(NEW_YORK, line)).expect("a schedule");
        for from in ["1970-01-02T00:00:00Z", "2026-11-20T00:00:00Z", "4000-01-01T00:00:00Z"] {
            let next = schedule.next_after(instant(from)).expect("it fires");
            assert!(next.at.since(instant(from)) < Millis::from_secs(5 * 366 * 86_400));
        }
    }
}
