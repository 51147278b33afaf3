//! What time it is, as most masters have it.
//!
//! A wall clock may be set by hand, or by a server that is wrong. The masters tell each other theirs: every answer to a
//! vote and to a heartbeat carries the clock of whoever answers. Who leads has been answered by a majority, so it knows
//! the clocks of a majority, and goes by the one in the middle: a minority of wrong clocks does not matter.
//!
//! A reading counts on by this machine's monotonic clock until the next one, also when its master is gone. It is behind
//! by the time that the answer was under way, which the limit of the call bounds. A clock that is not known counts as
//! behind, and of two in the middle the earlier counts: what is late can be caught up on, what was early cannot be
//! taken back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use muster_core::mutant::{self, Mutant};
use muster_platform::Platform;
use parking_lot::Mutex;
use tokio::time::Instant;
use tonic::metadata::{MetadataMap, MetadataValue};

/// Milliseconds since 1970-01-01 00:00 UTC on the clock of whoever answers.
const CLOCK_KEY: &str = "muster-clock-ms";

/// The wall clocks of this master and its peers.
#[derive(Debug)]
pub(crate) struct Clocks {
    platform: Platform,
    /// By member: what its clock showed, and when that was heard.
    readings: Mutex<BTreeMap<u64, (Duration, Instant)>>,
}

impl Clocks {
    pub(crate) fn new(platform: Platform) -> Self {
        Self { platform, readings: Mutex::default() }
    }

    /// Tells this master's clock along with an answer.
    pub(super) fn tell(&self, answer: &mut MetadataMap) {
        let now_ms = u64::try_from(self.platform.wall_clock().as_millis()).unwrap_or(u64::MAX);
        answer.insert(CLOCK_KEY, MetadataValue::from(now_ms));
    }

    /// Takes over the clock that a member told with its answer.
    pub(super) fn hear(&self, member: u64, answer: &MetadataMap) {
        let told = answer.get(CLOCK_KEY).and_then(|value| value.to_str().ok()?.parse().ok());
        if let Some(now_ms) = told {
            let reading = (Duration::from_millis(now_ms), Instant::now());
            self.readings.lock().insert(member, reading);
        }
    }

    /// What most of `voters` agree on, as far as their clocks are known to this master, which is `me`.
    pub(crate) fn agreed(&self, me: u64, voters: &BTreeSet<u64>) -> Duration {
        let own = self.platform.wall_clock();
        if mutant::is_on(Mutant::ClockBelieved) {
            return own;
        }
        let mut readings = self.readings.lock();
        // Members that were replaced never come back.
        readings.retain(|member, _| voters.is_empty() || voters.contains(member));
        let others = readings.iter().filter(|(member, _)| **member != me);
        let others = others.map(|(_, (told, heard))| told.saturating_add(heard.elapsed()));
        let mut clocks: Vec<Duration> = std::iter::once(own).chain(others).collect();
        clocks.sort_unstable();
        let unknown = voters.len().saturating_sub(clocks.len());
        let middle = (clocks.len() + unknown - 1) / 2;
        clocks[middle.saturating_sub(unknown)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);
    const MINUTE: Duration = Duration::from_secs(60);

    /// Member 1 hears clocks that differ from its own, which is right, and does not hear some; says how far ahead it is
    /// then, and how far behind.
    fn off(
        ahead: &[(u64, Duration)],
        behind: &[(u64, Duration)],
        unknown: u64,
    ) -> (Duration, Duration) {
        let platform = Platform::system();
        let clocks = Clocks::new(platform.clone());
        let now = platform.wall_clock();
        let told = ahead.iter().map(|(member, by)| (*member, now + *by));
        let told = told.chain(behind.iter().map(|(member, by)| (*member, now - *by)));
        for (member, clock) in told {
            let mut answer = MetadataMap::new();
            let clock_ms = u64::try_from(clock.as_millis()).expect("it fits");
            answer.insert(CLOCK_KEY, MetadataValue::from(clock_ms));
            clocks.hear(member, &answer);
        }
        let voters = 1 + ahead.len() + behind.len();
        let agreed = clocks.agreed(1, &(1..=voters as u64 + unknown).collect());
        let now = platform.wall_clock();
        (agreed.saturating_sub(now), now.saturating_sub(agreed))
    }

    #[test]
    fn the_clock_in_the_middle_counts() {
        for (ahead, behind) in [
            (&[][..], &[][..]),
            (&[(2, HOUR), (3, MINUTE / 600)], &[]),
            (&[(2, HOUR)], &[(3, HOUR)]),
            (&[(2, HOUR), (3, HOUR)], &[(4, HOUR), (5, HOUR)]),
        ] {
            let (ahead_by, behind_by) = off(ahead, behind, 0);
            assert!(ahead_by < MINUTE && behind_by < MINUTE, "{ahead:?} {behind:?}");
        }
        // Two that agree against one.
        assert!(off(&[(2, HOUR), (3, HOUR)], &[], 0).0 > HOUR - MINUTE);
        // Of two clocks the earlier, whichever is right.
        assert!(off(&[(2, HOUR)], &[], 0).0 < MINUTE);
        assert!(off(&[], &[(2, HOUR)], 0).1 > HOUR - MINUTE);
        // As long as two right ones of five are not heard, two wrong ones make it late at most.
        assert!(off(&[(2, HOUR), (3, HOUR)], &[], 2).0 < MINUTE);
        assert!(off(&[], &[(2, HOUR), (3, HOUR)], 2).1 > HOUR - MINUTE);
        assert_eq!(off(&[], &[], 4).0, Duration::ZERO);
    }

    #[test]
    fn who_was_replaced_is_forgotten_and_nonsense_is_not_heard() {
        let platform = Platform::system();
        let clocks = Clocks::new(platform.clone());
        let mut answer = MetadataMap::new();
        clocks.tell(&mut answer);
        clocks.hear(2, &answer);
        answer.insert(CLOCK_KEY, "soon".parse().expect("it is ASCII"));
        clocks.hear(3, &answer);
        clocks.hear(4, &MetadataMap::new());
        assert_eq!(clocks.readings.lock().keys().copied().collect::<Vec<_>>(), [2]);
        clocks.agreed(1, &[1, 3].into());
        assert!(clocks.readings.lock().is_empty());
    }
}
