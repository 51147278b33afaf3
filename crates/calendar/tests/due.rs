//! Which fire times fire after an outage.

use muster_calendar::{Due, ON_TIME, Schedule};
use muster_core::ids::Name;
use muster_core::spec::schedule::{CatchUp, Dialect, ScheduleSpec, Timing};
use muster_core::time::{Millis, Timestamp};

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
/// Midnight in the zone of the schedules, UTC.
const MIDNIGHT: Timestamp = Timestamp(20_000 * DAY);

fn spec(line: &str, catch_up: CatchUp) -> ScheduleSpec {
    let timing = Timing::Cron { line: line.into(), dialect: Dialect::Posix };
    let name = Name::parse("s").expect("a name");
    ScheduleSpec { catch_up, ..ScheduleSpec::new(name, timing) }
}

fn due(spec: &ScheduleSpec, after: u64, now: u64) -> Due {
    let schedule = Schedule::new(spec).expect("a schedule");
    schedule.due(7, MIDNIGHT + Millis(after), MIDNIGHT + Millis(now))
}

/// Hours since midnight of what fires, how many are missed, and the hour up to which all is decided.
fn hours(due: &Due) -> (Vec<u64>, u64, u64) {
    let hour = |at: &Timestamp| at.since(MIDNIGHT).0 / HOUR;
    (due.fire.iter().map(hour).collect(), due.missed, hour(&due.until))
}

#[test]
fn nothing_is_due_before_its_time() {
    let due = due(&spec("0 * * * *", CatchUp::All), 30 * MINUTE, HOUR - 1);
    let next = MIDNIGHT + Millis(HOUR);
    let until = MIDNIGHT + Millis(30 * MINUTE);
    assert_eq!(due, Due { fire: vec![], missed: 0, until, next: Some((next, next)) });
}

#[test]
fn what_is_due_fires_and_the_next_is_known() {
    for catch_up in [CatchUp::None, CatchUp::Latest, CatchUp::All] {
        for now in [HOUR, HOUR + 500, HOUR + ON_TIME.0] {
            let due = due(&spec("0 * * * *", catch_up), 30 * MINUTE, now);
            assert_eq!(hours(&due), (vec![1], 0, 1), "{catch_up:?}");
            let next = MIDNIGHT + Millis(2 * HOUR);
            assert_eq!(due.next, Some((next, next)));
        }
    }
}

#[test]
fn after_an_outage() {
    // From half past midnight until a quarter to five, and until five on the dot.
    let (short, exact) = (4 * HOUR + 45 * MINUTE, 5 * HOUR);
    let table = [
        (CatchUp::None, short, (vec![], 4, 4)),
        (CatchUp::None, exact, (vec![5], 4, 5)),
        (CatchUp::Latest, short, (vec![4], 3, 4)),
        (CatchUp::Latest, exact, (vec![5], 4, 5)),
        (CatchUp::All, short, (vec![1, 2, 3, 4], 0, 4)),
        (CatchUp::All, exact, (vec![1, 2, 3, 4, 5], 0, 5)),
    ];
    for (catch_up, now, expected) in table {
        let due = due(&spec("0 * * * *", catch_up), 30 * MINUTE, now);
        assert_eq!(hours(&due), expected, "{catch_up:?} at {now}");
    }
}

#[test]
fn catching_up_is_bounded_by_number_and_by_age() {
    let bounded = ScheduleSpec { catch_up_max: 2, ..spec("0 * * * *", CatchUp::All) };
    assert_eq!(hours(&due(&bounded, 0, 5 * HOUR)), (vec![3, 4, 5], 2, 5));
    let aged = ScheduleSpec {
        starting_deadline: Some(Millis(2 * HOUR)),
        ..spec("0 * * * *", CatchUp::All)
    };
    assert_eq!(hours(&due(&aged, 0, 5 * HOUR + 1)), (vec![4, 5], 3, 5));
    let latest = ScheduleSpec { catch_up: CatchUp::Latest, ..aged };
    assert_eq!(hours(&due(&latest, 0, 5 * HOUR + 30 * MINUTE)), (vec![5], 4, 5));
    // A deadline below a minute is the bound of what is on time, too.
    let strict =
        ScheduleSpec { starting_deadline: Some(Millis(1000)), ..spec("0 * * * *", CatchUp::All) };
    assert_eq!(hours(&due(&strict, 0, HOUR + 1000)), (vec![1], 0, 1));
    assert_eq!(hours(&due(&strict, 0, HOUR + 1001)), (vec![], 1, 1));
}

#[test]
fn jitter_holds_the_run_back_and_not_the_fire_time() {
    let jittered = ScheduleSpec { jitter: Millis(10 * MINUTE), ..spec("0 * * * *", CatchUp::None) };
    let (fire_time, due_at) = due(&jittered, 0, 1).next.expect("a next one");
    assert_eq!(fire_time, MIDNIGHT + Millis(HOUR));
    assert!(due_at > fire_time && due_at < fire_time + Millis(10 * MINUTE), "{due_at:?}");
    let at = due_at.since(MIDNIGHT).0;
    assert_eq!(due(&jittered, 0, at - 1).fire, []);
    assert_eq!(due(&jittered, 0, at).fire, [fire_time]);
}

/// A share of the jitter may be longer than the distance of fire times: none is lost, and they stay in order.
#[test]
fn jitter_beyond_the_interval_loses_nothing() {
    for catch_up in [CatchUp::None, CatchUp::Latest, CatchUp::All] {
        let spec = ScheduleSpec { jitter: Millis(HOUR), ..spec("*/15 * * * *", catch_up) };
        let schedule = Schedule::new(&spec).expect("a schedule");
        let (mut after, mut fired) = (MIDNIGHT, Vec::new());
        for minute in 1..=48 * 60 {
            let due = schedule.due(7, after, MIDNIGHT + Millis(minute * MINUTE));
            assert_eq!(due.missed, 0, "{catch_up:?} after {minute} minutes: {due:?}");
            fired.extend(due.fire);
            after = due.until;
        }
        assert!(fired.windows(2).all(|pair| pair[1] == pair[0] + Millis(15 * MINUTE)), "{fired:?}");
        assert!(fired.len() >= 187, "{}", fired.len());
    }
}

/// What an outage makes of them is in order, too: the log takes nothing else.
#[test]
fn with_jitter_what_fires_is_in_order() {
    for (line, jitter) in
        [("* * * * * *", 2 * MINUTE), ("*/15 * * * *", HOUR), ("0 * * * *", 3 * HOUR)]
    {
        for catch_up in [CatchUp::None, CatchUp::Latest, CatchUp::All] {
            let spec = ScheduleSpec { jitter: Millis(jitter), ..spec(line, catch_up) };
            for now in [MINUTE, 10 * MINUTE, HOUR, 5 * HOUR + 1, 3 * DAY + 7] {
                let due = due(&spec, 0, now);
                assert!(due.fire.is_sorted_by(|a, b| a < b), "{line} {catch_up:?} at {now}");
                assert!(due.fire.last().is_none_or(|last| *last <= due.until));
                let (fire_time, due_at) = due.next.expect("it goes on");
                assert!(fire_time > due.until && due_at > MIDNIGHT + Millis(now));
                assert!(due_at.since(fire_time) <= Millis(jitter));
            }
        }
    }
}

/// Fractions of a millisecond would come again for ever.
#[test]
fn a_time_with_fractions_comes_once() {
    let at = |text: &str| ScheduleSpec {
        timing: Timing::At(text.into()),
        ..spec("@daily", CatchUp::All)
    };
    let due = due(&at("2024-10-04T01:00:00.123456789Z"), 0, 3 * HOUR);
    assert_eq!(due.fire, [MIDNIGHT + Millis(HOUR + 123)]);
    assert_eq!(due.next, None);
    let off =
        ScheduleSpec { exclude: vec!["2024-10-04".into()], ..at("2024-10-04T23:59:59.9995Z") };
    assert!(Schedule::new(&off).is_err());
}

#[test]
fn the_last_of_all_fires_and_nothing_is_next() {
    let once = ScheduleSpec {
        timing: Timing::At("2024-10-04T01:00".into()),
        ..spec("@daily", CatchUp::Latest)
    };
    let due = due(&once, 0, 3 * HOUR);
    assert_eq!(hours(&due), (vec![1], 0, 1));
    assert_eq!(due.next, None);
}

/// Ten years of seconds are not gone through one by one: this test would take minutes.
#[test]
fn a_long_outage_costs_no_more_than_what_fires() {
    let now = 3650 * DAY + 500;
    let second = |catch_up| ScheduleSpec { catch_up_max: 5, ..spec("* * * * * *", catch_up) };
    let late = |due: &Due| {
        let bound = MIDNIGHT + Millis(now) - ON_TIME;
        due.fire.iter().filter(|at| **at < bound).count()
    };
    for (catch_up, expected) in [(CatchUp::None, 0), (CatchUp::Latest, 0), (CatchUp::All, 5)] {
        let due = due(&second(catch_up), 0, now);
        assert_eq!(late(&due), expected, "{catch_up:?}");
        assert_eq!(due.fire.len() - expected, 60, "{catch_up:?}");
        assert!(due.fire.windows(2).all(|pair| pair[1] == pair[0] + Millis(1000)));
        assert!(due.missed >= 10_000, "{}", due.missed);
        assert_eq!(due.until, MIDNIGHT + Millis(now - 500));
    }
    // Bursts far apart: the newest late one is found in the last of them.
    let burst = spec("* * 3 * * *", CatchUp::Latest);
    let due = due(&burst, 0, 100 * DAY + 12 * HOUR);
    assert_eq!(due.fire, [MIDNIGHT + Millis(100 * DAY + 4 * HOUR - 1000)]);
}
