//! When to try again, and how long to wait before.

use std::sync::Mutex;
use std::time::Duration;

use rand::Rng;
use tokio::time::Instant;
use tonic::{Code, Status};
use tonic_types::StatusExt;

const WAIT_FIRST: Duration = Duration::from_millis(100);
const WAIT_MAX: Duration = Duration::from_secs(5);
const WAIT_FACTOR: f64 = 1.6;

/// Retries a client may make at once, and how many it gains each second: however many calls fail together, the
/// masters see no more than this.
const BUDGET_MAX: f64 = 500.0;
const BUDGET_PER_S: f64 = 100.0;

/// Growing waits, each drawn between half and all of its nominal length.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(crate) fn new() -> Backoff {
        Backoff { next: WAIT_FIRST }
    }

    pub(crate) fn next_wait(&mut self) -> Duration {
        let nominal = self.next;
        self.next = nominal.mul_f64(WAIT_FACTOR).min(WAIT_MAX);
        nominal.mul_f64(rand::rng().random_range(0.5..=1.0))
    }

    pub(crate) fn reset(&mut self) {
        self.next = WAIT_FIRST;
    }
}

/// Bounds the retries of all calls of a client together.
#[derive(Debug)]
pub(crate) struct Budget {
    level: Mutex<(f64, Instant)>,
}

impl Budget {
    pub(crate) fn new() -> Budget {
        Budget { level: Mutex::new((BUDGET_MAX, Instant::now())) }
    }

    /// Takes one retry out. If none is left, it is taken in advance, and the answer is how long to wait for it. If that
    /// is not shorter than `patience`, none is taken: whoever gives up leaves others nothing to pay off.
    pub(crate) fn take(&self, patience: Duration) -> Option<Duration> {
        let mut level = self.level.lock().expect("nothing panics while holding it");
        let now = Instant::now();
        let gained = now.duration_since(level.1).as_secs_f64() * BUDGET_PER_S;
        let left = (level.0 + gained).min(BUDGET_MAX) - 1.0;
        let wait = Duration::from_secs_f64((-left).max(0.0) / BUDGET_PER_S);
        if wait >= patience {
            return None;
        }
        *level = (left, now);
        Some(wait)
    }
}

/// What to do about a failed attempt of a call.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The cluster answered; asking again would not help.
    Final,
    /// Ask another master. `is_connected` tells whether this one was there at all.
    TryAnother { is_connected: bool, after: Option<Duration> },
    /// Ask the same master, after this long.
    TryAgain { after: Duration },
}

/// Judges the failure of an attempt. `is_late`: the time given to the attempt, which may be less than the call's, is
/// over.
pub(crate) fn judge(status: &Status, is_late: bool) -> Verdict {
    // A status with a source was made here, by the transport, and not sent by a master.
    let is_transport = std::error::Error::source(status).is_some();
    let asked = || status.get_error_details().retry_info().and_then(|info| info.retry_delay);
    match status.code() {
        Code::Unavailable if is_transport => {
            Verdict::TryAnother { is_connected: false, after: None }
        }
        Code::Unavailable => Verdict::TryAnother { is_connected: true, after: asked() },
        Code::ResourceExhausted => {
            asked().map_or(Verdict::Final, |after| Verdict::TryAgain { after })
        }
        Code::DeadlineExceeded | Code::Cancelled if is_late => {
            Verdict::TryAnother { is_connected: true, after: None }
        }
        _ if is_transport => Verdict::TryAnother { is_connected: true, after: None },
        _ => Verdict::Final,
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn waits_grow_to_a_bound() {
        let mut backoff = Backoff::new();
        let mut longest = Duration::ZERO;
        for _ in 0..20 {
            longest = longest.max(backoff.next_wait());
        }
        assert!(longest > Duration::from_millis(2400) && longest <= WAIT_MAX, "{longest:?}");
        backoff.reset();
        let first = backoff.next_wait();
        assert!(first >= WAIT_FIRST / 2 && first <= WAIT_FIRST, "{first:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_budget_slows_a_herd_down() {
        let budget = Budget::new();
        let patience = Duration::from_secs(1);
        for _ in 0..500 {
            assert_eq!(budget.take(patience), Some(Duration::ZERO));
        }
        let wait = budget.take(patience).expect("there is time for it");
        assert!(wait > Duration::from_millis(5) && wait < Duration::from_millis(15), "{wait:?}");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(budget.take(patience), Some(Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_leaves_no_debt() {
        let (budget, patience) = (Budget::new(), Duration::from_secs(1));
        let taken = (0..10_000).filter(|_| budget.take(patience).is_some()).count();
        assert!((590..=610).contains(&taken), "500 at once, and 100 in advance: {taken}");
        tokio::time::advance(2 * patience).await;
        assert_eq!(budget.take(patience), Some(Duration::ZERO));
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let delay = Duration::from_millis(700);
        let mut details = ErrorDetails::new();
        details.set_retry_info(Some(delay));
        let full = Status::with_error_details(Code::ResourceExhausted, "busy", details.clone());
        assert_eq!(judge(&full, false), Verdict::TryAgain { after: delay });
        let no_leader = Status::with_error_details(Code::Unavailable, "no leader", details);
        assert_eq!(
            judge(&no_leader, false),
            Verdict::TryAnother { is_connected: true, after: Some(delay) }
        );
        assert_eq!(judge(&Status::resource_exhausted("too large"), false), Verdict::Final);
        for status in [
            Status::invalid_argument(""),
            Status::failed_precondition(""),
            Status::not_found(""),
            Status::already_exists(""),
            Status::aborted(""),
            Status::deadline_exceeded(""),
            Status::internal(""),
            Status::unknown(""),
        ] {
            assert_eq!(judge(&status, false), Verdict::Final, "{status:?}");
        }
        let late = judge(&Status::deadline_exceeded(""), true);
        assert_eq!(late, Verdict::TryAnother { is_connected: true, after: None });
    }
}
