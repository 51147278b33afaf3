//! Holding calls back while the cluster has too much to do.
//!
//! A call that is refused, or that nobody waits for any more when its turn comes, costs the masters time that other
//! calls would have needed; a thousand callers that go on asking can keep them from any work at all. So a client that
//! is mostly told "too much", or is mostly told nothing in time, keeps a part of its calls back: it sends about half as
//! many again as are carried out, and some more to notice when that changes. This is the client-side throttling of the
//! SRE book (Beyer et al., *Site Reliability Engineering*, 2016, chapter 21); its counts fade, and have no window.

use std::sync::Mutex;
use std::time::Duration;

use rand::Rng;
use tokio::time::Instant;

/// Counts halve in this time.
const HALF_LIFE: Duration = Duration::from_secs(1);
/// Attempts that may be made for each one that is carried out.
const SENT_PER_ACCEPTED: f64 = 1.5;
/// Attempts that may be made beside, as a count that halves in [`HALF_LIFE`]: some 35 a second. A client with fewer
/// calls is never held back.
const SENT_BESIDE: f64 = 50.0;

/// What became of an attempt to carry a call out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The cluster took care of it.
    Accepted,
    /// The cluster had too much to do, or did not answer in time.
    Refused,
}

/// What became of the attempts of a client's calls lately.
#[derive(Debug)]
pub(crate) struct Throttle {
    counts: Mutex<Counts>,
}

#[derive(Debug)]
struct Counts {
    /// Attempts that ended, and those that were held back.
    wanted: f64,
    accepted: f64,
    at: Instant,
}

impl Throttle {
    pub(crate) fn new() -> Throttle {
        Throttle { counts: Mutex::new(Counts { wanted: 0.0, accepted: 0.0, at: Instant::now() }) }
    }

    /// Whether an attempt may be made now. One that may not is counted as held back.
    pub(crate) fn lets_through(&self) -> bool {
        self.with_counts(|counts| {
            let share = (SENT_PER_ACCEPTED * counts.accepted + SENT_BESIDE) / (counts.wanted + 1.0);
            let lets_through = share >= 1.0 || rand::rng().random_bool(share);
            counts.wanted += f64::from(u8::from(!lets_through));
            lets_through
        })
    }

    /// Takes note of how an attempt ended.
    pub(crate) fn ended(&self, outcome: Outcome) {
        self.with_counts(|counts| {
            counts.wanted += 1.0;
            counts.accepted += f64::from(u8::from(outcome == Outcome::Accepted));
        });
    }

    fn with_counts<T>(&self, then: impl FnOnce(&mut Counts) -> T) -> T {
        let mut counts = self.counts.lock().expect("nothing panics while holding it");
        let now = Instant::now();
        let age = now.duration_since(counts.at).as_secs_f64() / HALF_LIFE.as_secs_f64();
        let left = (-age).exp2();
        counts.wanted *= left;
        counts.accepted *= left;
        counts.at = now;
        then(&mut counts)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const STEP: Duration = Duration::from_millis(1);

    /// Wants one attempt a millisecond for `span`; each of the first `capacity` of a second is accepted, the others are
    /// refused. Returns how many were made and how many were accepted, a second.
    async fn offer(throttle: &Throttle, span: Duration, capacity: u32) -> (f64, f64) {
        let (mut sent, mut accepted, mut room) = (0_u32, 0_u32, 0.0);
        for _ in 0..span.as_millis() {
            advance(STEP).await;
            room = (room + f64::from(capacity) / 1000.0).min(10.0);
            if throttle.lets_through() {
                sent += 1;
                let is_accepted = room >= 1.0;
                if is_accepted {
                    room -= 1.0;
                    accepted += 1;
                }
                throttle.ended(if is_accepted { Outcome::Accepted } else { Outcome::Refused });
            }
        }
        let per_second = |count: u32| f64::from(count) / span.as_secs_f64();
        (per_second(sent), per_second(accepted))
    }

    #[tokio::test(start_paused = true)]
    async fn a_cluster_with_room_gets_every_call() {
        let throttle = Throttle::new();
        let (sent, accepted) = offer(&throttle, Duration::from_secs(10), 2_000).await;
        assert_eq!((sent, accepted), (1_000.0, 1_000.0));
    }

    #[tokio::test(start_paused = true)]
    async fn an_overloaded_cluster_gets_little_more_than_it_carries_out() {
        let throttle = Throttle::new();
        offer(&throttle, Duration::from_secs(5), 100).await;
        let (sent, accepted) = offer(&throttle, Duration::from_secs(20), 100).await;
        assert!(accepted > 95.0, "nothing of its capacity is wasted: {accepted}");
        assert!(sent < 250.0, "of 1,000 that were wanted a second: {sent}");
    }

    #[tokio::test(start_paused = true)]
    async fn all_calls_go_through_soon_after_an_overload() {
        let throttle = Throttle::new();
        offer(&throttle, Duration::from_secs(10), 0).await;
        offer(&throttle, Duration::from_secs(10), 2_000).await;
        let (sent, _) = offer(&throttle, Duration::from_secs(1), 2_000).await;
        assert!(sent > 950.0, "{sent}");
    }

    #[tokio::test(start_paused = true)]
    async fn few_calls_are_never_held_back() {
        let throttle = Throttle::new();
        for _ in 0..200 {
            advance(Duration::from_millis(50)).await;
            assert!(throttle.lets_through());
            throttle.ended(Outcome::Refused);
        }
    }
}
