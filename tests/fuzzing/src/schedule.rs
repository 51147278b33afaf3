//! Schedules: what is refused says why, and what is accepted fires in order, the same however it is asked.

use std::time::{Duration, Instant};

use muster_calendar::{Due, ON_TIME, Schedule};
use muster_core::ids::{Name, Text};
use muster_core::limits;
use muster_core::spec::schedule::{CatchUp, Dialect, ScheduleSpec, Timing};
use muster_core::time::{Millis, Timestamp};

use crate::bytes::Cursor;

/// Longest message about a schedule, in bytes.
const MESSAGE_BYTES_MAX: usize = 1024;
/// Zones whose clocks jump by an hour, by half an hour, over midnight, by a whole day, and not at all.
const ZONES: [&str; 7] = [
    "Etc/UTC",
    "America/New_York",
    "Europe/Berlin",
    "Australia/Lord_Howe",
    "America/Santiago",
    "Pacific/Apia",
    "Asia/Kathmandu",
];
const DIALECTS: [Dialect; 2] = [Dialect::Posix, Dialect::Quartz];
const CATCH_UPS: [CatchUp; 3] = [CatchUp::None, CatchUp::Latest, CatchUp::All];
/// Fire times that are looked at from one moment on.
const STEPS: usize = 20;
/// Fire times between two moments that are counted one by one.
const COUNTED_MAX: usize = 2_000;
/// 2100: until then moments are drawn.
const MOMENT_MAX: Timestamp = Timestamp(4_102_444_800_000);
/// Far longer than any answer takes, on a machine with much else to do.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Choices come from the first bytes, the rest is text: the timing, the start, the end, then days off, a line each.
pub(crate) fn check(data: &[u8]) {
    let mut choices = Cursor::new(data);
    let Some(spec) = spec(&mut choices) else { return };
    let schedule = match in_time(|| Schedule::new(&spec)) {
        Ok(schedule) => schedule,
        Err(error) => {
            let message = error.to_string();
            assert!(!message.is_empty() && message.len() <= MESSAGE_BYTES_MAX, "{message}");
            assert!(!message.chars().any(char::is_control), "{message:?}");
            return;
        }
    };
    let (key, after) = (u64::from(choices.short()), moment(&mut choices));
    check_times(&spec, &schedule, Timestamp(0));
    check_times(&spec, &schedule, after);
    // From nothing to centuries.
    let span = Millis(u64::from(choices.short()) << (choices.byte() % 28));
    check_due(&spec, &schedule, key, after, after + span);
}

fn spec(choices: &mut Cursor<'_>) -> Option<ScheduleSpec> {
    let (kind, zone) = (choices.byte(), choices.byte());
    let (jitter, deadline, catch_up_max) = (choices.short(), choices.short(), choices.byte());
    let text = std::str::from_utf8(choices.frame()).ok()?;
    let mut lines = text.split('\n');
    let timing: Text = lines.next()?.into();
    let timing = match kind % 4 {
        0 => Timing::At(timing),
        1 => Timing::Every(Millis(timing.parse().ok()?)),
        _ => Timing::Cron { line: timing, dialect: DIALECTS[usize::from(kind / 4) % 2] },
    };
    let mut spec = ScheduleSpec::new(Name::parse("s").expect("a name"), timing);
    let mut bound = || lines.next().filter(|line| !line.is_empty()).map(Text::from);
    (spec.start, spec.end) = (bound(), bound());
    spec.exclude = lines.map(Text::from).collect();
    spec.time_zone = match ZONES.get(usize::from(zone)) {
        Some(known) => (*known).into(),
        None => spec.exclude.pop().unwrap_or_else(|| "".into()),
    };
    spec.jitter = Millis(u64::from(jitter) << (kind % 16));
    spec.starting_deadline = (deadline > 0).then(|| Millis(u64::from(deadline) << (zone % 16)));
    spec.catch_up = CATCH_UPS[usize::from(kind / 8) % CATCH_UPS.len()];
    spec.catch_up_max = u32::from(catch_up_max).min(limits::CATCH_UP_MAX);
    Some(spec)
}

/// A moment that tasks of our days could be told of.
fn moment(choices: &mut Cursor<'_>) -> Timestamp {
    let drawn = (0..3).fold(0, |drawn, _| drawn << 16 | u64::from(choices.short()));
    Timestamp(drawn % MOMENT_MAX.0)
}

fn in_time<T>(ask: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let answer = ask();
    assert!(start.elapsed() < ANSWER_MAX, "it took {:?}", start.elapsed());
    answer
}

/// The next fire times after a moment.
fn check_times(spec: &ScheduleSpec, schedule: &Schedule, after: Timestamp) {
    let mut before = after;
    for _ in 0..STEPS {
        let Some(fire) = in_time(|| schedule.next_after(before)) else { return };
        assert!(fire.at > before, "{spec:?}: {fire:?} after {before:?}");
        assert_eq!(u64::try_from(fire.local.timestamp().as_millisecond()), Ok(fire.at.0));
        // Nothing lies in between, from wherever it is asked.
        let middle = before + Millis(fire.at.since(before).0 / 2);
        for asked in [middle, Timestamp(fire.at.0 - 1)] {
            assert_eq!(schedule.next_after(asked), Some(fire.clone()), "{spec:?} after {asked:?}");
        }
        before = fire.at;
    }
}

/// What is decided at `now` of the fire times after `after`.
fn check_due(spec: &ScheduleSpec, schedule: &Schedule, key: u64, after: Timestamp, now: Timestamp) {
    let due = in_time(|| schedule.due(key, after, now));
    let Due { fire, missed, until, next } = &due;
    assert!(fire.is_sorted_by(|earlier, later| earlier < later), "{spec:?}: {due:?}");
    assert!(fire.iter().all(|at| after < *at && at <= until), "{spec:?}: {due:?}");
    assert!(after <= *until && (*until <= now || *until == after), "{spec:?}: {due:?} at {now:?}");
    if let Some((fire_time, due_at)) = next {
        assert_eq!(schedule.next_after(*until).map(|fire| fire.at), Some(*fire_time), "{spec:?}");
        assert!(*due_at > now && fire_time <= due_at, "{spec:?}: {due:?} at {now:?}");
        assert!(due_at.since(*fire_time) <= spec.jitter, "{spec:?}: {due:?}");
    }
    let on_time = fire.iter().filter(|at| now.since(**at) <= ON_TIME).count();
    let late_max = match spec.catch_up {
        CatchUp::None => 0,
        CatchUp::Latest => 1,
        CatchUp::All => spec.catch_up_max as usize,
    };
    assert!(
        fire.len() - on_time <= late_max || spec.jitter > Millis(0),
        "{spec:?}: {due:?} at {now:?}"
    );
    // Each of them fires or is missed.
    let times = std::iter::successors(schedule.next_after(after), |it| schedule.next_after(it.at));
    let passed = times.take_while(|it| it.at <= *until).take(COUNTED_MAX).count();
    if passed < COUNTED_MAX {
        assert_eq!(fire.len() as u64 + missed, passed as u64, "{spec:?}: {due:?} at {now:?}");
    }
    // What was decided stays so, and the rest is decided later.
    let again = schedule.due(key, *until, now);
    assert!(again.fire.is_empty() && again.missed == 0, "{spec:?}: {again:?} after {due:?}");
    assert_eq!(again.next.map(|next| next.0), next.map(|next| next.0), "{spec:?}");
}
