//! What an operator is told of a peer that does not answer: once that it is away, and once that it is back.
//!
//! A leader calls each peer some twenty times a second. A single call fails easily where a machine is busy, and all of
//! them do while a peer is down; neither is worth a line each.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// A peer that has not answered any call for so long is away. Calls that are further apart say nothing about the time
/// between them.
const AWAY_AFTER: Duration = Duration::from_secs(2);

/// How the calls to one peer went lately.
#[derive(Debug, Default)]
pub(super) struct Outage {
    calls: Mutex<Calls>,
    /// Why the last snapshot did not get there.
    snapshot_failure: Mutex<Option<String>>,
}

#[derive(Debug, Default)]
struct Calls {
    /// The first and the last of those that failed in a row.
    failing: Option<(Instant, Instant)>,
    is_away: bool,
}

impl Calls {
    /// A call was answered. Returns whether the peer was away until now.
    fn answered(&mut self) -> bool {
        self.failing = None;
        std::mem::take(&mut self.is_away)
    }

    /// A call was not answered. Returns whether the peer is away from now on.
    fn failed(&mut self, now: Instant) -> bool {
        let first = match self.failing {
            Some((first, last)) if now.duration_since(last) < AWAY_AFTER => first,
            _ => now,
        };
        self.failing = Some((first, now));
        let was_away = self.is_away;
        self.is_away |= now.duration_since(first) >= AWAY_AFTER;
        self.is_away && !was_away
    }
}

/// A call that is under way; it has failed if it is dropped before it was answered.
pub(super) struct Asking<'a> {
    outage: &'a Outage,
    peer: &'a str,
    why: String,
    is_answered: bool,
}

impl Asking<'_> {
    /// The peer answered, be it with an error.
    pub(super) fn answered(mut self) {
        self.is_answered = true;
    }

    /// Nothing came from the peer.
    pub(super) fn failed(mut self, why: &dyn std::fmt::Display) {
        self.why = why.to_string();
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let mut calls = self.outage.calls.lock();
        if self.is_answered {
            if calls.answered() {
                tracing::info!(peer = self.peer, "the peer can be reached again");
            }
        } else if calls.failed(Instant::now()) {
            tracing::warn!(peer = self.peer, why = self.why, "the peer cannot be reached");
        }
    }
}

impl Outage {
    /// A call to this peer, by its name, begins.
    pub(super) fn asking<'a>(&'a self, peer: &'a str) -> Asking<'a> {
        Asking { outage: self, peer, why: "no answer in time".to_owned(), is_answered: false }
    }

    /// A snapshot did not get to the peer. That is told once, and not if no call gets there.
    pub(super) fn snapshot_failed(&self, peer: &str, error: &dyn std::fmt::Display) {
        let error = error.to_string();
        let is_unanswered = self.calls.lock().failing.is_some();
        let mut last = self.snapshot_failure.lock();
        if is_unanswered || last.as_ref() == Some(&error) {
            tracing::debug!(peer, error, "sending a snapshot failed");
            return;
        }
        tracing::warn!(peer, error, "sending a snapshot failed; it is tried again");
        *last = Some(error);
    }

    /// A snapshot got to the peer.
    pub(super) fn snapshot_sent(&self) {
        *self.snapshot_failure.lock() = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_told_once_and_its_end_once() {
        let mut calls = Calls::default();
        let began = Instant::now();
        let told: Vec<u64> = (0..60_000)
            .step_by(50)
            .filter(|ms| calls.failed(began + Duration::from_millis(*ms)))
            .collect();
        assert_eq!(told, [2_000]);
        assert!(calls.answered());
        assert!(!calls.answered());
    }

    #[test]
    fn single_failures_are_not_told() {
        let mut calls = Calls::default();
        let began = Instant::now();
        for second in 0..100 {
            assert!(!calls.failed(began + Duration::from_secs(second)));
            assert!(!calls.answered());
        }
        for hour in 1..10 {
            assert!(!calls.failed(began + Duration::from_secs(3_600 * hour)), "it was not asked");
        }
    }
}
