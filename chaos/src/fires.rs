//! The workflows that run by themselves, judged by the times that their schedules really have (I8).

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use muster_chaos::witness;
use muster_checker::Ledger;
use muster_checker::fires::{self, TrueTime};
use muster_client::v1;
use muster_core::ids::LogIndex;
use muster_core::spec::schedule::{ScheduleSpec, Timing};
use muster_core::time::{Millis, Timestamp};

use crate::violations::{Counters, Violations};

/// How long a decision may take to get its stamp: masters are stopped in between, for seconds.
const DECISION_MAX: Millis = Millis(15_000);
/// The machine's clock may have been set so much during a scenario; beyond it nothing is said about lateness.
const CLOCK_SET_MAX: Duration = Duration::from_millis(20);

/// What the machine's wall clock said when it had been up for so long. No fault touches the harness's own clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WallClock {
    booted: Duration,
}

impl WallClock {
    pub(crate) fn read() -> WallClock {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        WallClock { booted: now.saturating_sub(witness::now()) }
    }

    fn is_as(self, other: WallClock) -> bool {
        self.booted.abs_diff(other.booted) <= CLOCK_SET_MAX
    }

    fn at(self, since_boot: Duration) -> Timestamp {
        let wall = self.booted + since_boot;
        Timestamp(u64::try_from(wall.as_millis()).unwrap_or(u64::MAX))
    }
}

/// The times of a schedule that counts from 1970.
fn times(spec: &ScheduleSpec, after: Timestamp, until: Timestamp) -> Vec<Timestamp> {
    let Timing::Every(Millis(step)) = spec.timing else {
        unreachable!("all schedules of shapes have an interval")
    };
    (after.0 / step + 1..=until.0 / step).map(|count| Timestamp(count * step)).collect()
}

/// Judges decisions about schedules by their times, and the runs that were made by the decisions.
pub(crate) fn judge(
    ledger: &Ledger,
    runs: &[v1::Run],
    clocks: [WallClock; 2],
    violations: &mut Violations,
    counters: &mut Counters,
) {
    let [before, after] = clocks;
    let applied_at = |index: LogIndex| {
        let at = ledger.applied_at.get(&index)?;
        Some(before.at(Duration::from_nanos(at.0)))
    };
    let time = TrueTime { slack: DECISION_MAX, applied_at: &applied_at };
    let time = before.is_as(after).then_some(&time);
    violations.add_verdict(&fires::check(&ledger.decisions, &times, time));
    for decision in &ledger.decisions {
        counters.add("fire times", decision.fire_times.len() as u64);
        counters.add("fire times missed", decision.missed);
    }
    let mut made = BTreeSet::new();
    for run in runs {
        counters.add("runs of schedules", 1);
        if !made.insert((&run.workflow, &run.schedule, run.fire_time_ms)) {
            let what = format!(
                "{}/{} is not the first run for {}",
                run.workflow, run.number, run.fire_time_ms
            );
            violations.add("I8", what);
        }
        let is_decided = ledger.decisions.iter().any(|decision| {
            let name = format!("{}/{}", run.workflow, run.schedule);
            decision.name.as_ref() == name
                && decision.fire_times.contains(&Timestamp(run.fire_time_ms))
        });
        if !is_decided {
            let what = format!("{}/{} is of a time that nobody decided", run.workflow, run.number);
            violations.add("I8", what);
        }
    }
}

#[cfg(test)]
mod tests {
    use muster_checker::fires::Decision;
    use muster_core::ids::Name;
    use muster_core::state::workflow::NextFire;

    use super::*;

    /// A schedule that fires each second, whose decision from second 10 to 13 fires these.
    fn ledger(fire: &[u64], missed: u64) -> Ledger {
        let name = Name::parse("schedule-1").expect("a name");
        let next = Timestamp(14_000);
        let decision = Decision {
            index: LogIndex(7),
            at: Timestamp(13_020),
            name: "tick/schedule-1".into(),
            spec: ScheduleSpec::new(name, Timing::Every(Millis(1_000))),
            after: Timestamp(10_000),
            until: Timestamp(13_000),
            fire_times: fire.iter().map(|second| Timestamp(second * 1_000)).collect(),
            missed,
            next: NextFire::At { fire_time: next, due_at: next },
        };
        Ledger { decisions: vec![decision], ..Ledger::default() }
    }

    fn run(number: u64, second: u64) -> v1::Run {
        v1::Run {
            workflow: "tick".to_owned(),
            schedule: "schedule-1".to_owned(),
            number,
            fire_time_ms: second * 1_000,
            ..v1::Run::default()
        }
    }

    fn found(ledger: &Ledger, runs: &[v1::Run]) -> Vec<&'static str> {
        let clock = WallClock { booted: Duration::ZERO };
        let mut violations = Violations::default();
        judge(ledger, runs, [clock; 2], &mut violations, &mut Counters::default());
        violations.codes()
    }

    #[test]
    fn each_time_fires_once_or_is_missed() {
        let runs = [run(1, 11), run(2, 12), run(3, 13)];
        assert_eq!(found(&ledger(&[11, 12, 13], 0), &runs), [""; 0]);
        assert_eq!(found(&ledger(&[11, 13], 0), &runs[..1]).len(), 2, "left out, and on time");
        assert_eq!(found(&ledger(&[11, 13], 1), &runs[..1]), ["I8"], "it was not late");
    }

    #[test]
    fn a_run_is_of_one_time_that_was_decided() {
        let sound = ledger(&[11, 12, 13], 0);
        assert_eq!(found(&sound, &[run(1, 11), run(2, 11)]), ["I8"]);
        assert_eq!(found(&sound, &[run(1, 14)]), ["I8"]);
    }
}
