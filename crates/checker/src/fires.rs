//! Decisions about fire times against the times that schedules really have (I8).
//!
//! That decisions follow each other without a gap, and that each time that fires makes one run, the auditor sees in the
//! log. Whether what was decided about were the times of the schedule, all of them and no others, and whether what was
//! missed was late, needs somebody who knows the times: whoever feeds the checker, by a way of its own.
//!
//! ```text
//!  decided │◄── late by more than ON_TIME ──►│◄── on time ──►│ not due
//!  ────────┼─────────────────────────────────┼───────────────┼─────────►
//!        after                                             until ≤ now
//! ```
//!
//! How late a time was when it was decided about is known up to its jitter, and up to how long a decision may take to
//! get its stamp; where that leaves room, either is right.

use muster_core::ids::{LogIndex, Text};
use muster_core::spec::schedule::{CatchUp, ScheduleSpec};
use muster_core::state::workflow::NextFire;
use muster_core::time::{Millis, Timestamp};

use crate::coverage::Rare;
use crate::verdict::{At, Invariant, Verdict};

/// A time that fires within this span is on time, whatever its policy.
const ON_TIME: Millis = Millis::from_secs(60);

/// A stamp is not ahead of the true time by more than this.
const AHEAD_MAX: Millis = Millis(50);

/// A decision about a schedule, as the log has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The entry that carried it out.
    pub index: LogIndex,
    /// Its stamp.
    pub at: Timestamp,
    /// Workflow and name of the schedule.
    pub name: Text,
    /// The schedule as it was then.
    pub spec: ScheduleSpec,
    /// Everything up to here was decided before.
    pub after: Timestamp,
    /// Everything up to here is decided now.
    pub until: Timestamp,
    /// What fires, or would if the concurrency policy let it.
    pub fire_times: Vec<Timestamp>,
    /// How many do not fire any more.
    pub missed: u64,
    /// What comes next.
    pub next: NextFire,
}

/// The times of a schedule behind the first moment, up to the second and with it, in order.
pub type Times<'a> = &'a dyn Fn(&ScheduleSpec, Timestamp, Timestamp) -> Vec<Timestamp>;

/// What is known of the time, where the clocks that stamps come from were right.
pub struct TrueTime<'a> {
    /// How long a decision may take to get its stamp.
    pub slack: Millis,
    /// When an entry was applied first.
    pub applied_at: &'a dyn Fn(LogIndex) -> Option<Timestamp>,
}

/// Judges decisions. Without the true time nothing can be said about lateness.
pub fn check(decisions: &[Decision], times: Times<'_>, time: Option<&TrueTime<'_>>) -> Verdict {
    let mut verdict = Verdict::default();
    for decision in decisions {
        let all = times(&decision.spec, decision.after, decision.until);
        let mut wrong = wrong_times(decision, &all, times);
        if let Some(time) = time {
            let late = Lateness::of(decision, &all, time.slack);
            wrong.extend(late.wrong());
            let now = (time.applied_at)(decision.index).unwrap_or(decision.at);
            if decision.at > now + AHEAD_MAX {
                wrong.push(format!("its stamp is {} ms ahead of time", decision.at.since(now).0));
            }
            verdict.coverage.add(Rare::CaughtUp, late.caught_up());
        }
        for what in wrong {
            let what = format!("schedule {}: {what}", decision.name);
            verdict.found(Invariant::I8, At::Index(decision.index), what);
        }
    }
    verdict
}

/// Times that a schedule does not have, or that were left out.
fn wrong_times(decision: &Decision, all: &[Timestamp], times: Times<'_>) -> Vec<String> {
    let mut wrong = Vec::new();
    for time in &decision.fire_times {
        if all.binary_search(time).is_err() {
            wrong.push(format!("it fires for {}, which is none of its times", time.0));
        }
    }
    let (fire, missed) = (decision.fire_times.len() as u64, decision.missed);
    if fire + missed != all.len() as u64 {
        let (came, after, until) = (all.len(), decision.after.0, decision.until.0);
        wrong.push(format!(
            "{came} times came from {after} to {until}, {fire} fire and {missed} are missed"
        ));
    }
    let end = match decision.next {
        NextFire::At { fire_time, .. } => fire_time,
        NextFire::Never | NextFire::Unknown => Timestamp(u64::MAX),
    };
    let first = times(&decision.spec, decision.until, end).first().copied();
    let next = match decision.next {
        NextFire::At { fire_time, .. } => Some(fire_time),
        NextFire::Never | NextFire::Unknown => None,
    };
    if first != next {
        wrong.push(format!("after {} comes {first:?} and not {next:?}", decision.until.0));
    }
    wrong
}

/// How late each time was when it was decided about.
struct Lateness<'a> {
    spec: &'a ScheduleSpec,
    /// The oldest first.
    times: Vec<Late>,
}

#[derive(Clone, Copy)]
struct Late {
    time: Timestamp,
    least: Millis,
    most: Millis,
    fires: bool,
}

impl<'a> Lateness<'a> {
    fn of(decision: &'a Decision, all: &[Timestamp], slack: Millis) -> Self {
        let Decision { spec, at, fire_times, .. } = decision;
        let late = |time: &Timestamp| Late {
            time: *time,
            least: (*at - slack).since(*time + spec.jitter),
            most: at.since(*time),
            fires: fire_times.binary_search(time).is_ok(),
        };
        Self { spec, times: all.iter().map(late).collect() }
    }

    /// Later than this is late.
    fn bound(&self) -> Millis {
        self.spec.starting_deadline.map_or(ON_TIME, |deadline| deadline.min(ON_TIME))
    }

    /// Late for certain.
    fn is_late(&self, late: &Late) -> bool {
        late.least > self.bound()
    }

    /// On time for certain.
    fn is_on_time(&self, late: &Late) -> bool {
        late.most <= self.bound()
    }

    /// Not too late to fire for certain.
    fn may_fire(&self, late: &Late) -> bool {
        self.spec.starting_deadline.is_none_or(|deadline| late.most <= deadline)
    }

    fn late_max(&self) -> usize {
        match self.spec.catch_up {
            CatchUp::None => 0,
            CatchUp::Latest => 1,
            CatchUp::All => usize::try_from(self.spec.catch_up_max).unwrap_or(usize::MAX),
        }
    }

    /// How many late times fire.
    fn caught_up(&self) -> u64 {
        self.times.iter().filter(|it| it.fires && self.is_late(it)).count() as u64
    }

    fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut found = |late: &Late, what: &str| {
            let Late { time, least, most, .. } = late;
            wrong.push(format!("{} {what}: late by {} to {} ms", time.0, least.0, most.0));
        };
        let is_over = |it: &Late| self.spec.starting_deadline.is_some_and(|end| it.least > end);
        for late in &self.times {
            if !late.fires && self.is_on_time(late) {
                found(late, "was on time and does not fire");
            }
            if late.fires && is_over(late) {
                found(late, "fires after its deadline");
            }
        }
        for late in self.owed().filter(|it| !it.fires) {
            found(late, "is to be caught up on and does not fire");
        }
        let caught_up: Vec<&Late> =
            self.times.iter().rev().filter(|it| it.fires && self.is_late(it)).collect();
        for late in caught_up.iter().skip(self.late_max()) {
            found(late, "fires, which is more than are caught up on");
        }
        if let Some(oldest) = caught_up.last() {
            let newer = self.times.iter().filter(|it| it.time > oldest.time && !it.fires);
            for late in newer.filter(|it| self.may_fire(it)) {
                found(late, "does not fire, and an older one does");
            }
        }
        wrong
    }

    /// Those that must be caught up on for certain.
    fn owed(&self) -> impl Iterator<Item = &Late> {
        let newest_first = self.times.iter().rev();
        let is_behind_time = self.times.iter().all(|it| self.is_late(it));
        let most = match self.spec.catch_up {
            // One that is on time is newer than all that are late.
            CatchUp::Latest if !is_behind_time => 0,
            CatchUp::None | CatchUp::Latest | CatchUp::All => self.late_max(),
        };
        let maybe_late = newest_first.filter(|it| !self.is_on_time(it));
        maybe_late.take(most).filter(|it| self.may_fire(it))
    }
}

#[cfg(test)]
mod tests {
    use muster_core::ids::Name;
    use muster_core::spec::schedule::Timing;

    use super::*;

    /// Every ten seconds.
    const STEP: u64 = 10_000;
    const SLACK: Millis = Millis(1_000);

    fn tens(_: &ScheduleSpec, after: Timestamp, until: Timestamp) -> Vec<Timestamp> {
        let end = until.0.min(1_000 * STEP);
        (after.0 / STEP + 1..=end / STEP).map(|count| Timestamp(count * STEP)).collect()
    }

    /// Everything from 0 to the time before `at` is decided.
    fn decision(catch_up: CatchUp, at: u64, fire: &[u64]) -> Decision {
        let name = Name::parse("s").expect("a name");
        let mut spec = ScheduleSpec::new(name, Timing::Every(Millis(STEP)));
        (spec.catch_up, spec.catch_up_max) = (catch_up, 2);
        let until = at / STEP * STEP;
        let next = Timestamp(until + STEP);
        Decision {
            index: LogIndex(1),
            at: Timestamp(at),
            name: "w/s".into(),
            spec,
            after: Timestamp(0),
            until: Timestamp(until),
            fire_times: fire.iter().map(|time| Timestamp(*time * STEP)).collect(),
            missed: until / STEP - fire.len() as u64,
            next: NextFire::At { fire_time: next, due_at: next },
        }
    }

    fn wrong(decision: &Decision, slack: Option<Millis>) -> u64 {
        let applied = decision.at;
        wrong_at(decision, slack, applied)
    }

    fn wrong_at(decision: &Decision, slack: Option<Millis>, applied: Timestamp) -> u64 {
        let applied_at = |_: LogIndex| Some(applied);
        let time = slack.map(|slack| TrueTime { slack, applied_at: &applied_at });
        let verdict = check(std::slice::from_ref(decision), &tens, time.as_ref());
        assert!(verdict.violations.iter().all(|it| it.invariant == Invariant::I8), "{verdict}");
        verdict.count()
    }

    /// Which sets of fire times are right at 100.5 s, when 1 to 3 are late, 4 may be, and 5 to 10 are on time.
    #[test]
    fn what_is_late_is_caught_up_on_as_the_policy_says() {
        let on_time = [5, 6, 7, 8, 9, 10];
        let is_right = |catch_up, late: &[u64]| {
            let fire = [late, &on_time].concat();
            wrong(&decision(catch_up, 100_500, &fire), Some(SLACK)) == 0
        };
        assert!(is_right(CatchUp::None, &[]) && is_right(CatchUp::None, &[4]));
        assert!(!is_right(CatchUp::None, &[3]));
        assert!(is_right(CatchUp::Latest, &[]) && is_right(CatchUp::Latest, &[4]));
        assert!(is_right(CatchUp::All, &[3, 4]));
        // If 4 was on time, 2 and 3 are the newest of the late.
        assert!(is_right(CatchUp::All, &[2, 3, 4]));
        assert!(!is_right(CatchUp::All, &[]) && !is_right(CatchUp::All, &[4]));
        assert!(!is_right(CatchUp::All, &[2, 4]) && !is_right(CatchUp::All, &[1, 2, 3, 4]));
        let lost = decision(CatchUp::None, 100_500, &[5, 6, 7, 8, 9]);
        assert_eq!(wrong(&lost, Some(SLACK)), 1, "10 was on time");
        assert_eq!(wrong(&lost, None), 0, "nobody knows what the time was");
    }

    #[test]
    fn the_latest_fires_when_all_are_late() {
        let late = |fire: &[u64]| {
            let mut decision = decision(CatchUp::Latest, 200_500, fire);
            // Nothing came in the last minute and a half.
            decision.until = Timestamp(10 * STEP);
            decision.missed = 10 - fire.len() as u64;
            let next = Timestamp(11 * STEP);
            decision.next = NextFire::At { fire_time: next, due_at: next };
            wrong(&decision, Some(SLACK))
        };
        assert_eq!(late(&[10]), 0);
        assert!(late(&[]) > 0 && late(&[9]) > 0 && late(&[9, 10]) > 0);
    }

    #[test]
    fn deadline_and_jitter_count() {
        let with = |deadline: u64, jitter: u64, fire: &[u64]| {
            let mut decision = decision(CatchUp::All, 100_500, fire);
            decision.spec.starting_deadline = Some(Millis(deadline));
            decision.spec.jitter = Millis(jitter);
            wrong(&decision, Some(SLACK))
        };
        assert_eq!(with(25_000, 0, &[8, 9, 10]), 0);
        assert!(with(25_000, 0, &[9, 10]) > 0, "8 was not too late");
        assert!(with(25_000, 0, &[7, 8, 9, 10]) > 0, "7 was");
        assert_eq!(with(25_000, 9_000, &[7, 8, 9, 10]), 0, "with jitter it was not");
    }

    #[test]
    fn nothing_is_decided_before_its_time() {
        let sound = decision(CatchUp::All, 35_000, &[1, 2, 3]);
        assert_eq!(wrong_at(&sound, Some(SLACK), Timestamp(34_990)), 0);
        assert_eq!(wrong_at(&sound, Some(SLACK), Timestamp(29_000)), 1);
    }

    #[test]
    fn times_are_those_of_the_schedule() {
        let sound = decision(CatchUp::All, 35_000, &[1, 2, 3]);
        assert_eq!(wrong(&sound, None), 0);
        let mut invented = sound.clone();
        invented.fire_times[1].0 += 1;
        assert_eq!(wrong(&invented, None), 1);
        let left_out = Decision { fire_times: sound.fire_times[..2].to_vec(), ..sound.clone() };
        assert_eq!(wrong(&left_out, None), 1);
        let later = Timestamp(5 * STEP);
        let skips = NextFire::At { fire_time: later, due_at: later };
        assert_eq!(wrong(&Decision { next: skips, ..sound.clone() }, None), 1);
        assert_eq!(wrong(&Decision { next: NextFire::Never, ..sound }, None), 1);
    }
}
