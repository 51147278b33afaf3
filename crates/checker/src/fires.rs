//! Fire times against the runs that were made for them (I8).
//!
//! Each demanded fire time is a window in which a run must begin, or may. The runs must be matched to windows so that
//! every run has one and every window that must have a run has one: nothing is lost, nothing is doubled, nothing is
//! extra. This is how Jepsen judged Chronos. What a run says about its own fire time is checked beside it, and not
//! believed.
//!
//! Nothing feeds this yet but its tests: the auditor judges fire times by the log.

use std::collections::{BTreeMap, BTreeSet};

use muster_core::ids::RunId;
use muster_core::time::{Millis, Timestamp};

use crate::verdict::{At, Invariant, Verdict};

/// What becomes of a fire time that passed while nothing could fire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatchUp {
    /// Nothing.
    None,
    /// Only the latest one of each outage fires, after it.
    Latest,
    /// All of them fire, after it.
    All,
}

/// A time in which nothing could fire: the trigger was suspended, or no master led.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    /// Its first moment.
    pub from: Timestamp,
    /// The first moment after it.
    pub until: Timestamp,
}

/// What a trigger demands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand {
    /// When it was meant to fire.
    pub fire_times: BTreeSet<Timestamp>,
    /// How late a run may begin.
    pub tolerance: Millis,
    /// Its policy.
    pub catch_up: CatchUp,
    /// When it could not fire; apart from each other, in order.
    pub outages: Vec<Outage>,
}

/// A run that a trigger made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fired {
    /// Which.
    pub run: RunId,
    /// When it was made.
    pub at: Timestamp,
    /// The fire time that it says it is for.
    pub fire_time: Timestamp,
}

/// When a fire time's run may begin: both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Window {
    fire_time: Timestamp,
    last: Timestamp,
    must: bool,
}

/// Judges the runs that a trigger made. Costs a sort of both.
pub fn check(demand: &Demand, fired: &[Fired]) -> Verdict {
    let mut verdict = Verdict::default();
    for what in wrong_fires(demand, fired) {
        verdict.found(Invariant::I8, At::End, what);
    }
    verdict
}

/// Everything that is wrong with the runs, in words.
fn wrong_fires(demand: &Demand, fired: &[Fired]) -> Vec<String> {
    let windows = windows(demand);
    let mut wrong = wrong_claims(&windows, fired);
    let mut moments: Vec<Timestamp> = fired.iter().map(|it| it.at).collect();
    moments.sort_unstable();
    // Were there a matching of all runs, and one of all demands, there would be one of both (Mendelsohn and Dulmage,
    // 1958): so each side is looked at alone.
    let matched = matched(&windows, &moments);
    if matched < moments.len() {
        wrong.push(format!("{} runs fit no fire time", moments.len() - matched));
    }
    let demanded: Vec<Window> = windows.into_iter().filter(|window| window.must).collect();
    let missing = demanded.len() - self::matched(&demanded, &moments);
    if missing > 0 {
        wrong.push(format!("{missing} of {} demanded fire times have no run", demanded.len()));
    }
    wrong
}

/// What runs say about themselves: a fire time that was demanded, its window, and nobody else's.
fn wrong_claims(windows: &[Window], fired: &[Fired]) -> Vec<String> {
    let by_time: BTreeMap<Timestamp, &Window> =
        windows.iter().map(|window| (window.fire_time, window)).collect();
    let mut claimed: BTreeMap<Timestamp, RunId> = BTreeMap::new();
    let mut wrong = Vec::new();
    for Fired { run, at, fire_time } in fired {
        let claim = format!("run {run}, made at {}, is for fire time {}", at.0, fire_time.0);
        match by_time.get(fire_time) {
            None => wrong.push(format!("{claim}, which was not demanded")),
            Some(window) if *at < *fire_time || *at > window.last => {
                wrong.push(format!("{claim}, which ended at {}", window.last.0));
            }
            Some(_) => {}
        }
        if let Some(other) = claimed.insert(*fire_time, *run) {
            wrong.push(format!("{claim}, as run {other} is"));
        }
    }
    wrong
}

/// The windows of all fire times that may have a run, in order.
fn windows(demand: &Demand) -> Vec<Window> {
    let latest: BTreeSet<Timestamp> =
        demand.outages.iter().filter_map(|it| latest_in(demand, it)).collect();
    let window = |fire_time: &Timestamp| {
        let fire_time = *fire_time;
        let in_time = fire_time + demand.tolerance;
        let touched = demand.outages.iter().rfind(|it| it.from <= in_time && it.until > fire_time);
        let Some(outage) = touched else {
            return Some(Window { fire_time, last: in_time, must: true });
        };
        let late = in_time.max(outage.until + demand.tolerance);
        let is_missed = outage.from <= fire_time && in_time < outage.until;
        match demand.catch_up {
            CatchUp::All => Some(Window { fire_time, last: late, must: true }),
            CatchUp::Latest if latest.contains(&fire_time) => {
                Some(Window { fire_time, last: late, must: true })
            }
            // It was just possible to fire in time: whether it did is luck.
            CatchUp::Latest | CatchUp::None if !is_missed => {
                Some(Window { fire_time, last: in_time, must: false })
            }
            CatchUp::Latest | CatchUp::None => None,
        }
    };
    demand.fire_times.iter().filter_map(window).collect()
}

/// The latest fire time of an outage.
fn latest_in(demand: &Demand, outage: &Outage) -> Option<Timestamp> {
    demand.fire_times.range(outage.from..outage.until).next_back().copied()
}

/// The most runs that can be matched to windows: each moment, in order, goes to the open window that closes first.
fn matched(windows: &[Window], moments: &[Timestamp]) -> usize {
    let mut opening = windows.iter().peekable();
    let mut open: BTreeSet<(Timestamp, Timestamp)> = BTreeSet::new();
    let mut count = 0;
    for moment in moments {
        while let Some(window) = opening.next_if(|window| window.fire_time <= *moment) {
            open.insert((window.last, window.fire_time));
        }
        while open.first().is_some_and(|(last, _)| last < moment) {
            open.pop_first();
        }
        count += usize::from(open.pop_first().is_some());
    }
    count
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TOLERANCE: u64 = 5;

    fn demand(fire_times: &[u64], catch_up: CatchUp, outages: &[(u64, u64)]) -> Demand {
        let outage = |(from, until): &(u64, u64)| Outage {
            from: Timestamp(*from),
            until: Timestamp(*until),
        };
        Demand {
            fire_times: fire_times.iter().map(|at| Timestamp(*at)).collect(),
            tolerance: Millis(TOLERANCE),
            catch_up,
            outages: outages.iter().map(outage).collect(),
        }
    }

    /// How many things are wrong with runs, each made at a moment for a fire time.
    fn wrong(demand: &Demand, fired: &[(u64, u64)]) -> usize {
        let fired: Vec<Fired> = (1..)
            .zip(fired)
            .map(|(run, (at, fire_time))| Fired {
                run: RunId(run),
                at: Timestamp(*at),
                fire_time: Timestamp(*fire_time),
            })
            .collect();
        let verdict = check(demand, &fired);
        assert!(verdict.violations.iter().all(|it| it.invariant == Invariant::I8), "{verdict}");
        verdict.count() as usize
    }

    #[test]
    fn without_an_outage_each_fires_once_in_time() {
        for catch_up in [CatchUp::None, CatchUp::Latest, CatchUp::All] {
            let demand = demand(&[10, 20, 30], catch_up, &[]);
            assert_eq!(wrong(&demand, &[(10, 10), (25, 20), (31, 30)]), 0);
            assert_eq!(wrong(&demand, &[(10, 10), (31, 30)]), 1, "one is missing");
            assert_eq!(
                wrong(&demand, &[(10, 10), (21, 20), (22, 20), (31, 30)]),
                2,
                "one is doubled"
            );
            assert_eq!(wrong(&demand, &[(10, 10), (26, 20), (31, 30)]), 3, "one is late");
            assert_eq!(wrong(&demand, &[(9, 10), (21, 20), (31, 30)]), 3, "one is early");
            assert_eq!(
                wrong(&demand, &[(10, 10), (21, 20), (31, 30), (41, 40)]),
                2,
                "one is extra"
            );
            assert_eq!(
                wrong(&demand, &[(10, 10), (21, 10), (31, 30)]),
                2,
                "one says it is another"
            );
        }
    }

    #[test]
    fn after_an_outage_the_policy_holds() {
        let times = [10, 20, 30, 40, 60];
        let outage = [(15, 50)];
        let caught_up = [(10, 10), (51, 20), (52, 30), (53, 40), (60, 60)];
        let only_latest = [(10, 10), (51, 40), (60, 60)];
        let nothing = [(10, 10), (60, 60)];
        let is_right =
            |catch_up, fired: &[(u64, u64)]| wrong(&demand(&times, catch_up, &outage), fired) == 0;
        assert!(is_right(CatchUp::All, &caught_up));
        assert!(!is_right(CatchUp::All, &only_latest) && !is_right(CatchUp::All, &nothing));
        assert!(is_right(CatchUp::Latest, &only_latest));
        assert!(!is_right(CatchUp::Latest, &caught_up) && !is_right(CatchUp::Latest, &nothing));
        assert!(is_right(CatchUp::None, &nothing));
        assert!(!is_right(CatchUp::None, &caught_up) && !is_right(CatchUp::None, &only_latest));
        let too_late = [(10, 10), (56, 40), (60, 60)];
        assert!(!is_right(CatchUp::Latest, &too_late));
    }

    #[test]
    fn what_could_just_fire_may_or_may_not() {
        // The outage begins within the tolerance of 10, and ends within that of 30.
        let demand = |catch_up| demand(&[10, 20, 30], catch_up, &[(12, 33)]);
        for fired in [&[(11, 10), (34, 30)][..], &[(34, 30)], &[(11, 10)], &[]] {
            assert_eq!(wrong(&demand(CatchUp::None), fired), 0, "{fired:?}");
        }
        assert_eq!(wrong(&demand(CatchUp::Latest), &[(34, 30)]), 0);
        assert_eq!(wrong(&demand(CatchUp::Latest), &[(11, 10), (34, 30)]), 0);
        assert_ne!(wrong(&demand(CatchUp::Latest), &[(11, 10)]), 0);
        assert_eq!(wrong(&demand(CatchUp::All), &[(11, 10), (34, 20), (35, 30)]), 0);
        assert_ne!(wrong(&demand(CatchUp::All), &[(11, 10), (34, 30)]), 0);
    }

    /// The most that can be matched, by trying to make room along every path (Kuhn, 1955).
    fn matched_by_paths(windows: &[Window], moments: &[Timestamp]) -> usize {
        fn place(
            moment: usize,
            fits: &dyn Fn(usize, usize) -> bool,
            of: &mut [Option<usize>],
            seen: &mut [bool],
        ) -> bool {
            for window in 0..of.len() {
                if !fits(window, moment) || std::mem::replace(&mut seen[window], true) {
                    continue;
                }
                let is_free = match of[window] {
                    None => true,
                    Some(other) => place(other, fits, of, seen),
                };
                if is_free {
                    of[window] = Some(moment);
                    return true;
                }
            }
            false
        }
        let fits = |window: usize, moment: usize| {
            let (Window { fire_time, last, .. }, moment) = (windows[window], moments[moment]);
            fire_time <= moment && moment <= last
        };
        let mut of = vec![None; windows.len()];
        let is_placed =
            |moment: &usize| place(*moment, &fits, &mut of, &mut vec![false; windows.len()]);
        (0..moments.len()).filter(is_placed).count()
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2000, ..Default::default() })]

        #[test]
        fn the_quick_matching_is_the_largest(
            windows in prop::collection::vec((0..40u64, 0..15u64), 0..12),
            mut moments in prop::collection::vec(0..50u64, 0..12),
        ) {
            let mut windows: Vec<Window> = windows
                .into_iter()
                .map(|(from, span)| Window { fire_time: Timestamp(from), last: Timestamp(from + span), must: true })
                .collect();
            windows.sort_by_key(|window| window.fire_time);
            windows.dedup_by_key(|window| window.fire_time);
            moments.sort_unstable();
            let moments: Vec<Timestamp> = moments.into_iter().map(Timestamp).collect();
            prop_assert_eq!(matched(&windows, &moments), matched_by_paths(&windows, &moments));
        }
    }
}
