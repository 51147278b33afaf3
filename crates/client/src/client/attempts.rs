//! The attempts of one call: whom to ask, for how long, and what to do when that fails.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;
use tokio::time::error::Elapsed;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::error::{EndpointFailure, Error, why};
use crate::retry::{Backoff, Verdict, judge};
use crate::throttle::Outcome;

use super::Client;

/// No attempt is given less than this while the call has more.
const ATTEMPT_MIN: Duration = Duration::from_millis(500);

/// The attempts of one call.
pub(super) struct Call<'c> {
    client: &'c Client,
    started: Instant,
    deadline: Instant,
    backoff: Backoff,
    /// Masters tried since the last wait.
    tried: usize,
    /// The master to ask next, if it is not the one that other calls would ask.
    instead: Option<usize>,
    /// The last failure of each master, by position.
    failures: Vec<Option<EndpointFailure>>,
    /// The last answer that a master itself gave.
    last: Option<Status>,
    /// Whether no master was even connected to.
    is_unreachable: bool,
    /// Whether the last attempt ended for want of time.
    is_late: bool,
    /// Whether the client itself held the call back in the end.
    is_held_back: bool,
}

impl<'c> Call<'c> {
    pub(super) fn new(client: &'c Client, deadline: Instant) -> Call<'c> {
        Call {
            client,
            started: Instant::now(),
            deadline,
            backoff: Backoff::new(),
            tried: 0,
            instead: None,
            failures: vec![None; client.shared.endpoints.len()],
            last: None,
            is_unreachable: true,
            is_late: false,
            is_held_back: false,
        }
    }

    /// Waits while the client holds calls back.
    ///
    /// # Errors
    /// If there is no time left for that.
    pub(super) async fn held_back(&mut self) -> Result<(), Error> {
        let throttle = &self.client.shared.throttle;
        while !self.client.options.is_patient && !throttle.lets_through() {
            let wait = self.backoff.next_wait();
            if Instant::now() + wait >= self.deadline {
                self.is_held_back = true;
                return Err(self.give_up());
            }
            tokio::time::sleep(wait).await;
        }
        Ok(())
    }

    /// Takes note of how an attempt ended. Whoever is patient asked for a late answer.
    pub(super) fn ended(&self, outcome: Outcome) {
        if !self.client.options.is_patient {
            self.client.shared.throttle.ended(outcome);
        }
    }

    /// Whom to ask, and how long to wait for the answer.
    pub(super) fn next_attempt(&mut self) -> Result<(usize, Duration), Error> {
        let remaining = self.deadline.saturating_duration_since(Instant::now());
        if remaining.is_zero() {
            return Err(self.give_up());
        }
        let at = self.instead.take().unwrap_or_else(|| self.client.shared.endpoints.pick());
        // A master that hangs must leave time for the others.
        let is_alone = self.failures.len() == 1 || self.client.options.is_patient;
        let limit = if is_alone { remaining } else { (remaining / 2).max(ATTEMPT_MIN) };
        Ok((at, limit.min(remaining)))
    }

    pub(super) fn channel(&self, at: usize) -> Channel {
        self.client.shared.endpoints.masters()[at].channel.clone()
    }

    /// What came of an attempt. While there are others to ask, a master that hangs is left.
    pub(super) async fn attempted<R>(
        &self,
        at: usize,
        sent: impl Future<Output = Result<Result<R, Status>, Elapsed>>,
    ) -> Result<R, Status> {
        let has_others = self.failures.len() > 1;
        let pulse = &self.client.shared.endpoints.masters()[at].pulse;
        tokio::select! {
            biased;
            result = sent => {
                if result.as_ref().is_ok_and(is_sign_of_life) {
                    pulse.felt();
                }
                result.unwrap_or_else(|_| Err(Status::deadline_exceeded("")))
            }
            hung = pulse.lost(self.channel(at)), if has_others => Err(hung),
        }
    }

    /// Takes note of a failed attempt and waits until the next may be made. `late` is the time the attempt had, if
    /// it used it up.
    ///
    /// # Errors
    /// If there is no next.
    pub(super) async fn failed(
        &mut self,
        at: usize,
        status: Status,
        late: Option<Duration>,
    ) -> Result<(), Error> {
        let endpoints = &self.client.shared.endpoints;
        let verdict = judge(&status, late.is_some());
        match (&verdict, late) {
            (Verdict::TryAgain { .. }, _) | (Verdict::TryAnother { .. }, Some(_)) => {
                self.ended(Outcome::Refused);
            }
            (Verdict::Final, _) => self.ended(Outcome::Accepted),
            // It was not there, or does not lead: another matter than having too much to do.
            (Verdict::TryAnother { .. }, None) => {}
        }
        if verdict == Verdict::Final {
            return Err(Error::from_status(&status));
        }
        let words = match late {
            Some(limit) if status.code() != Code::Unavailable => {
                format!("no answer within {:.1} s", limit.as_secs_f64())
            }
            _ => why(&status),
        };
        tracing::debug!(address = endpoints.masters()[at].address, why = words, "attempt failed");
        let address = endpoints.masters()[at].address.clone();
        self.failures[at] = Some(EndpointFailure { address, why: words });
        self.is_late = late.is_some();
        if Instant::now() >= self.deadline {
            // The master had all the time there was, so that another would not have done better.
            return Err(self.give_up());
        }
        let wait = match verdict {
            Verdict::TryAnother { is_connected, after } => {
                self.is_unreachable &= !is_connected;
                match late {
                    // It is alive, and may only be slow: nothing to the other calls, which would all be forwarded.
                    Some(_) => self.instead = Some(endpoints.after(at)),
                    None => endpoints.move_on_from(at),
                }
                self.tried += 1;
                self.wait_after_round(after)
            }
            Verdict::TryAgain { after } => {
                self.is_unreachable = false;
                after.max(self.backoff.next_wait())
            }
            Verdict::Final => unreachable!("returned above"),
        };
        if !self.is_late && std::error::Error::source(&status).is_none() {
            self.last = Some(status);
        }
        let patience = self.client.options.connect_patience.filter(|_| self.is_unreachable);
        let end = patience.map_or(self.deadline, |span| self.deadline.min(self.started + span));
        let left = end.saturating_duration_since(Instant::now() + wait);
        let Some(more) = self.client.shared.budget.take(left) else { return Err(self.give_up()) };
        tokio::time::sleep(wait + more).await;
        Ok(())
    }

    /// Masters not asked yet are asked at once; then there is a wait before all are asked again.
    fn wait_after_round(&mut self, after: Option<Duration>) -> Duration {
        if self.tried < self.failures.len() {
            return Duration::ZERO;
        }
        self.tried = 0;
        let wait = self.backoff.next_wait();
        after.map_or(wait, |after| after.max(wait))
    }

    fn give_up(&self) -> Error {
        let failures = self.failures.iter().flatten().cloned().collect::<Vec<_>>();
        let waited = self.started.elapsed();
        if self.is_held_back {
            return Error::held_back(failures, waited);
        }
        if failures.is_empty() || self.is_late {
            return Error::late(failures, waited);
        }
        Error::exhausted(failures, waited, self.is_unreachable, self.last.as_ref())
    }
}

/// Whether a master sent this. What the transport says of a call is no word of a master's: that the connection failed,
/// which has a source, or that the time for the call is over, which looks like a master's own.
fn is_sign_of_life<R>(answer: &Result<R, Status>) -> bool {
    match answer {
        Ok(_) => true,
        Err(status) => {
            let is_sent = std::error::Error::source(status).is_none();
            is_sent && !matches!(status.code(), Code::Cancelled | Code::DeadlineExceeded)
        }
    }
}
