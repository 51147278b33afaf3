//! The worker's right to hold attempts, judged by its own clock alone. Pure: every method is told the time.
//!
//! ```text
//!   heartbeat sent          confirmed            stop_at            end_at
//!  ─────┼───────────────────────┼──── … ────────────┼──────────────────┼──────► time since boot
//!       └──────────────── lease_ms ─────────────────┼──────────────────┘
//!                                                   └──── margin ──────┘  attempts are killed in here
//! ```
//!
//! A lease counts from when the heartbeat was *sent*: the leader cannot have counted it from earlier, so the worker's
//! end never lies behind the leader's. Attempts must be dead by the end, so killing them starts a margin before it,
//! without a grace period.

use std::collections::VecDeque;
use std::time::Duration;

/// How long before the end of a lease its attempts are killed, unless configured otherwise.
pub const STOP_MARGIN_DEFAULT: Duration = Duration::from_millis(500);

/// Most heartbeats in flight that are remembered. Older ones cannot renew.
const HEARTBEATS_MAX: usize = 64;

/// The lease of one worker.
///
/// - The end never moves back, except to "none" by [`Lease::lapse`].
/// - After a lapse only what is sent on a new stream renews.
#[derive(Debug)]
pub struct Lease {
    margin: Duration,
    next_seq: u64,
    /// Unconfirmed heartbeats and when they were sent, oldest first.
    in_flight: VecDeque<(u64, Duration)>,
    /// It lapsed, and no stream began since.
    is_closed: bool,
    end: Option<Duration>,
    /// When the first of the renewals that led to `end` was sent.
    since: Duration,
    /// How long the lease was granted for. A margin takes at most half of it.
    length: Duration,
}

impl Lease {
    /// No lease yet. `margin` is how long before the end attempts are killed.
    pub fn new(margin: Duration) -> Self {
        Lease {
            margin,
            next_seq: 0,
            in_flight: VecDeque::new(),
            is_closed: false,
            end: None,
            since: Duration::ZERO,
            length: Duration::ZERO,
        }
    }

    /// A new stream to the leader: numbers begin again at 0, and what was sent before is not confirmed any more.
    pub fn begin_stream(&mut self) {
        self.in_flight.clear();
        self.next_seq = 0;
        self.is_closed = false;
    }

    /// Notes a message that asks for a renewal, sent `now`. Returns its number; numbers ascend from 0
    /// within a stream.
    pub fn sent(&mut self, now: Duration) -> u64 {
        let seq = self.next_seq;
        self.next_seq += 1;
        if self.is_closed {
            return seq;
        }
        if self.in_flight.len() == HEARTBEATS_MAX {
            self.in_flight.pop_front();
        }
        self.in_flight.push_back((seq, now));
        seq
    }

    /// The leader confirmed message `seq` and grants `length` from when it was sent. Returns whether the end moved.
    ///
    /// What is heard only when killing must have begun renews nothing: somebody else, such as the guardian, may have
    /// begun already, and only a lapse tells what was killed from what failed.
    pub fn confirmed(&mut self, seq: u64, length: Duration, now: Duration) -> bool {
        if self.must_stop_by(now) {
            return false;
        }
        let Some(position) = self.in_flight.iter().position(|(sent, _)| *sent == seq) else {
            return false;
        };
        let (_, sent_at) = self.in_flight[position];
        self.in_flight.drain(..=position);
        let end = sent_at + length;
        let has_moved = self.end.is_none_or(|held| end > held);
        if has_moved {
            if self.end.is_none() {
                self.since = sent_at;
            }
            self.end = Some(end);
            self.length = length;
        }
        has_moved
    }

    /// Gives the lease up, with every renewal that is under way.
    pub fn lapse(&mut self) {
        self.end = None;
        self.in_flight.clear();
        self.is_closed = true;
    }

    /// When the leader may give the attempts to others; `None` without a lease.
    pub fn end_at(&self) -> Option<Duration> {
        self.end
    }

    /// When killing must begin; `None` without a lease.
    pub fn stop_at(&self) -> Option<Duration> {
        self.end.map(|end| end.saturating_sub(self.margin.min(self.length / 2)))
    }

    /// Whether attempts may be held and taken at `now`.
    pub fn is_live(&self, now: Duration) -> bool {
        self.stop_at().is_some_and(|stop_at| now < stop_at)
    }

    /// Whether the lease in force has been so at `then` already, without a lapse in between.
    pub fn covers(&self, then: Duration) -> bool {
        self.is_live(then) && then >= self.since
    }

    /// Whether there was a lease whose attempts must be killed at `now`.
    pub fn must_stop_by(&self, now: Duration) -> bool {
        self.stop_at().is_some_and(|stop_at| now >= stop_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: Duration = Duration::from_secs(5);

    /// Later than what most tests send, and before their lease ends.
    const NOW: Duration = Duration::from_millis(3000);

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn counts_from_the_sending_not_from_the_confirmation() {
        let mut lease = Lease::new(ms(500));
        let seq = lease.sent(ms(1000));
        assert!(lease.confirmed(seq, LENGTH, ms(1100)));
        assert_eq!(lease.end_at(), Some(ms(6000)));
        assert!(lease.is_live(ms(5499)));
        assert!(!lease.is_live(ms(5500)));
        assert!(lease.must_stop_by(ms(5500)));
    }

    #[test]
    fn no_lease_holds_nothing_and_stops_nothing() {
        let mut lease = Lease::new(ms(500));
        lease.sent(ms(0));
        assert!(!lease.is_live(ms(1)));
        assert!(!lease.must_stop_by(ms(1_000_000)));
    }

    #[test]
    fn late_and_repeated_confirmations_never_shorten() {
        let mut lease = Lease::new(ms(500));
        let first = lease.sent(ms(0));
        let second = lease.sent(ms(1000));
        assert!(lease.confirmed(second, LENGTH, NOW));
        assert!(!lease.confirmed(first, LENGTH, NOW));
        assert!(!lease.confirmed(second, LENGTH, NOW));
        assert_eq!(lease.end_at(), Some(ms(6000)));
        let third = lease.sent(ms(2000));
        assert!(
            !lease.confirmed(third, ms(1000), NOW),
            "a shorter grant does not move the end back"
        );
        assert_eq!(lease.end_at(), Some(ms(6000)));
    }

    #[test]
    fn a_confirmation_heard_when_killing_must_have_begun_renews_nothing() {
        let mut lease = Lease::new(ms(500));
        let (first, second) = (lease.sent(ms(0)), lease.sent(ms(1000)));
        assert!(lease.confirmed(first, LENGTH, ms(10)));
        assert!(!lease.confirmed(second, LENGTH, ms(4500)));
        assert!(!lease.is_live(ms(4500)) && lease.must_stop_by(ms(4500)));
        lease.lapse();
        lease.begin_stream();
        let third = lease.sent(ms(4600));
        assert!(lease.confirmed(third, LENGTH, ms(4700)));
        assert!(!lease.covers(ms(4550)), "what the guardian killed");
    }

    #[test]
    fn a_confirmation_from_before_a_lapse_renews_nothing() {
        let mut lease = Lease::new(ms(500));
        let seq = lease.sent(ms(0));
        lease.lapse();
        assert!(!lease.confirmed(seq, LENGTH, NOW));
        assert!(!lease.is_live(ms(1)));
        let seq = lease.sent(ms(10));
        assert!(!lease.confirmed(seq, LENGTH, NOW), "the old stream is over");
        lease.begin_stream();
        let seq = lease.sent(ms(20));
        assert!(lease.confirmed(seq, LENGTH, NOW));
        assert!(lease.is_live(ms(21)));
        assert!(lease.covers(ms(20)) && !lease.covers(ms(19)), "not from before the lapse");
    }

    #[test]
    fn a_new_stream_keeps_the_lease_and_begins_to_count_again() {
        let mut lease = Lease::new(ms(500));
        let register = lease.sent(ms(0));
        assert_eq!(register, 0);
        assert!(lease.confirmed(register, LENGTH, NOW));
        let stale = lease.sent(ms(1000));
        lease.begin_stream();
        assert!(!lease.confirmed(stale, LENGTH, NOW), "sent on another stream");
        assert_eq!(lease.end_at(), Some(ms(5000)));
        assert_eq!(lease.sent(ms(2000)), 0);
        assert!(lease.confirmed(0, LENGTH, NOW));
        assert_eq!(lease.end_at(), Some(ms(7000)));
    }

    #[test]
    fn a_margin_takes_at_most_half_of_the_lease() {
        let mut lease = Lease::new(ms(500));
        let seq = lease.sent(ms(1000));
        lease.confirmed(seq, ms(400), NOW);
        assert_eq!((lease.stop_at(), lease.end_at()), (Some(ms(1200)), Some(ms(1400))));
        lease.lapse();
        lease.begin_stream();
        let seq = lease.sent(ms(2000));
        lease.confirmed(seq, ms(0), NOW);
        assert!(!lease.is_live(ms(2000)), "an empty lease is never live");
    }

    #[test]
    fn forgotten_heartbeats_do_not_renew() {
        let mut lease = Lease::new(ms(500));
        let first = lease.sent(ms(0));
        for at in 1..=HEARTBEATS_MAX as u64 {
            lease.sent(ms(at));
        }
        assert!(!lease.confirmed(first, LENGTH, NOW));
    }
}
