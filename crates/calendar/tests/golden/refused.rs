//! What makes no sense is refused, and the error names the place.

use muster_calendar::Schedule;
use muster_core::spec::schedule::{Dialect, ScheduleSpec, Timing};
use muster_core::time::Millis;

use crate::{cron, in_zone};

#[track_caller]
fn expect_refused(spec: &ScheduleSpec, expected: &str) {
    let error = Schedule::new(spec).map(|_| ()).expect_err(&format!("{spec:?}")).to_string();
    assert!(
        error.starts_with(expected),
        "{:?}\n expected {expected}\n found    {error}",
        spec.timing
    );
}

#[test]
fn a_line_that_makes_no_sense_is_refused_with_the_field() {
    let month =
        "cron: the month, `13`: `13` is not a number from 1 to 12, or a name from JAN to DEC";
    let zone = "cron: a zone does not belong into the line: write `timeZone: Europe/Berlin`";
    let backwards =
        "cron: the day of the month, `31-1`: the range ends before it begins: write `1-31`";
    let table = [
        ("", "cron: a cron line is missing"),
        ("30 2 * *", "cron: it has 4 fields; a cron line has five"),
        ("60 2 * * *", "cron: the minute, `60`: `60` is not a number from 0 to 59"),
        ("30 24 * * *", "cron: the hour, `24`:"),
        ("30 2 0 * *", "cron: the day of the month, `0`:"),
        ("30 2 * 13 *", month),
        ("30 2 * * 8", "cron: the day of the week, `8`:"),
        ("30 2 * * MONDAY", "cron: the day of the week, `MONDAY`:"),
        ("0 30 2 * * * 1969", "cron: the year, `1969`:"),
        ("30 2 31-1 * *", backwards),
        ("1/10 * * * *", "cron: the minute, `1/10`: a step goes with a range: write `1-59/10`"),
        ("*/0 * * * *", "cron: the minute, `*/0`: a step is a number from 1 to 59"),
        ("*/60 * * * *", "cron: the minute, `*/60`: a step"),
        ("? 2 * * *", "cron: the minute, `?`: `?` stands for a day only"),
        ("1,,2 2 * * *", "cron: the minute, `1,,2`:"),
        ("0 0 L/2 * *", "cron: the day of the month, `L/2`: L, W and # go without a step"),
        ("0 0 32W * *", "cron: the day of the month, `32W`: it makes no sense: write `L` for"),
        ("0 0 * * 5#6", "cron: the day of the week, `5#6`: it makes no sense: write `FRIL` for"),
        ("0 0 * * MON\u{7f}#", "cron: the day of the week, `MON\\u{7f}#`: it makes no sense"),
        ("0 0 30 2 *", "cron: it never fires"),
        ("0 0 31 4,6,9,11 *", "cron: it never fires"),
        ("CRON_TZ=Europe/Berlin 0 9 * * *", zone),
        ("@reboot", "cron: `@reboot` is not known"),
        ("@every", "cron: `@every` needs a span of time"),
        ("@every 5", "cron: a duration needs a unit"),
        ("@every 1ms", "cron: it fires every 1s at most"),
    ];
    for (line, expected) in table {
        expect_refused(&cron(line), expected);
    }
    let quartz = |line: &str| ScheduleSpec {
        timing: Timing::Cron { line: line.into(), dialect: Dialect::Quartz },
        ..cron("@daily")
    };
    expect_refused(&quartz("30 2 * * *"), "cron: it has 5 fields; a line of Quartz has six");
    expect_refused(
        &quartz("0 0 9 1 * 2"),
        "cron: the day of the week, `2`: Quartz knows no line with both",
    );
}

#[test]
fn other_fields_that_make_no_sense_are_refused_by_name() {
    let daily = || cron("@daily");
    let near = "timeZone: there is no zone `Berlin`: did you mean `Europe/Berlin`?";
    expect_refused(&in_zone("Berlin", "@daily"), near);
    let unknown = "timeZone: there is no zone `CEST`: use an IANA name";
    expect_refused(&in_zone("CEST", "@daily"), unknown);
    let every = ScheduleSpec { timing: Timing::Every(Millis(10)), ..daily() };
    expect_refused(&every, "every: it fires every 1s at most");
    let at = ScheduleSpec { timing: Timing::At("9:00".into()), ..daily() };
    expect_refused(&at, "at: this is not a time");
    let start = ScheduleSpec { start: Some("soon".into()), ..daily() };
    expect_refused(&start, "start: this is not a time");
    let between = |first: &str, last: &str| ScheduleSpec {
        start: Some(first.into()),
        end: Some(last.into()),
        ..daily()
    };
    expect_refused(&between("2027-02-01", "2027-01-01"), "end: it never fires");
    let days_off = vec!["2027-02-02".into(), "2027-02-01".into()];
    let off = ScheduleSpec { exclude: days_off, ..between("2027-02-01", "2027-02-03") };
    expect_refused(&off, "end: it never fires");
    let day = vec!["2027-02-01".into(), "24.12.2026".into()];
    let day = ScheduleSpec { exclude: day, ..daily() };
    expect_refused(&day, "exclude[1]: this is not a day");
    let backwards = ScheduleSpec { exclude: vec!["2026-12-26/2026-12-24".into()], ..daily() };
    let help = "exclude[0]: the days end before they begin: write `2026-12-24/2026-12-26`";
    expect_refused(&backwards, help);
}
