//! Callers that do not try again: what a master tells them while it has too much to do.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use anyhow::Result;
use muster_client::v1;
use muster_client::v1::run_service_client::RunServiceClient;
use muster_client::v1::submit_run_request::What;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::violations::Violations;

/// For each master.
const CALLERS: usize = 4;
const PAUSE: Duration = Duration::from_millis(20);
/// How long one of them waits for an answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// A crowd calls once, all at the same time, and waits for the answer. A master lets 4,096 submissions wait.
const CROWD: usize = 12_000;
const CROWD_CHANNELS: usize = 4;
const CROWD_PATIENCE: Duration = Duration::from_secs(30);
/// The word for "too much to do".
const OVERLOADED: &str = "OVERLOADED";

/// What they were told.
#[derive(Debug, Default)]
pub(super) struct Answers {
    pub(super) accepted: Vec<u64>,
    /// After how long each was refused with the word for it, and told when to ask again.
    refused: Vec<Duration>,
    /// No answer came in time.
    unanswered: u64,
    /// No leader was known, and they were told when to ask again.
    leaderless: u64,
    /// Anything else.
    wrong: BTreeMap<String, u64>,
}

/// See the module documentation.
pub(super) struct Callers {
    stop: watch::Sender<bool>,
    working: JoinSet<Answers>,
}

impl Callers {
    pub(super) fn start(masters: &[String]) -> Result<Callers> {
        let (stop, stopped) = watch::channel(false);
        let mut working = JoinSet::new();
        for address in masters.iter().flat_map(|master| std::iter::repeat_n(master, CALLERS)) {
            let channel = Endpoint::from_shared(address.clone())?.connect_lazy();
            working.spawn(call(RunServiceClient::new(channel), stopped.clone()));
        }
        Ok(Callers { stop, working })
    }

    /// Ends their calls, and gathers what they were told.
    pub(super) async fn stop(self) -> Answers {
        self.stop.send_replace(true);
        self.working.join_all().await.into_iter().fold(Answers::default(), Answers::and)
    }
}

/// More calls at once than `master`, who leads, lets wait.
pub(super) async fn crowd(master: &str) -> Result<Answers> {
    let mut calls = JoinSet::new();
    for _ in 0..CROWD_CHANNELS {
        let channel = Endpoint::from_shared(master.to_owned())?.connect_lazy();
        for _ in 0..CROWD / CROWD_CHANNELS {
            let mut client = RunServiceClient::new(channel.clone());
            calls.spawn(async move {
                let mut answers = Answers::default();
                answers.ask(&mut client, CROWD_PATIENCE).await;
                answers
            });
        }
    }
    Ok(calls.join_all().await.into_iter().fold(Answers::default(), Answers::and))
}

async fn call(mut client: RunServiceClient<Channel>, stopped: watch::Receiver<bool>) -> Answers {
    let mut answers = Answers::default();
    while !*stopped.borrow() {
        answers.ask(&mut client, PATIENCE).await;
        tokio::time::sleep(PAUSE).await;
    }
    answers
}

impl Answers {
    /// Submits once.
    async fn ask(&mut self, client: &mut RunServiceClient<Channel>, patience: Duration) {
        let request = v1::SubmitRunRequest {
            request_id: format!("once-{:032x}", rand::random::<u128>()),
            what: Some(What::Workflow("overload".to_owned())),
            ..v1::SubmitRunRequest::default()
        };
        let called = Instant::now();
        match timeout(patience, client.submit_run(request)).await {
            Ok(Ok(response)) => self.accepted.push(response.into_inner().run_id),
            Ok(Err(status)) => self.refused_by(&status, called.elapsed()),
            Err(_late) => self.unanswered += 1,
        }
    }

    pub(super) fn were_refused(&self) -> bool {
        !self.refused.is_empty()
    }

    fn refused_by(&mut self, status: &Status, after: Duration) {
        let details = status.get_error_details();
        let word = details.error_info().map(|info| info.reason.as_str());
        let is_told_when = details.retry_info().is_some_and(|info| info.retry_delay.is_some());
        match (status.code(), word) {
            (Code::ResourceExhausted, Some(OVERLOADED)) if is_told_when => self.refused.push(after),
            (Code::Unavailable, Some("NO_LEADER")) if is_told_when => self.leaderless += 1,
            (code, word) => {
                let what = format!("{code:?} {word:?} `{}`", status.message());
                *self.wrong.entry(what).or_default() += 1;
            }
        }
    }

    fn and(mut self, other: Answers) -> Answers {
        self.accepted.extend(other.accepted);
        self.refused.extend(other.refused);
        self.unanswered += other.unanswered;
        self.leaderless += other.leaderless;
        for (what, count) in other.wrong {
            *self.wrong.entry(what).or_default() += count;
        }
        self
    }

    /// Whoever is refused is told why, and when to ask again.
    pub(super) fn judge(&self, violations: &mut Violations) {
        for (what, count) in &self.wrong {
            violations.add("refusals", format!("{count} callers were told {what}"));
        }
    }
}

impl fmt::Display for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Answers { accepted, refused, unanswered, leaderless, wrong } = self;
        write!(
            f,
            "accepted {}, refused for now {}, no leader known {leaderless}, not in time {unanswered}, \
             something else {}",
            accepted.len(),
            refused.len(),
            wrong.values().sum::<u64>()
        )?;
        let mut spans = refused.clone();
        spans.sort_unstable();
        let Some(longest) = spans.last() else { return Ok(()) };
        let [half, most] = [50, 99].map(|percent| spans[(spans.len() - 1) * percent / 100]);
        write!(
            f,
            ". Refusals came within {half:.1?} (half), {most:.1?} (99 %), {longest:.1?} (all)"
        )
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    fn told(code: Code, word: &str, after: Option<Duration>) -> Answers {
        let mut details = ErrorDetails::new();
        details.set_error_info(word, "muster", std::collections::HashMap::new());
        if after.is_some() {
            details.set_retry_info(after);
        }
        let mut answers = Answers::default();
        answers.refused_by(&Status::with_error_details(code, "", details), Duration::ZERO);
        answers
    }

    #[test]
    fn a_refusal_says_why_and_when_to_ask_again() {
        let soon = Some(Duration::from_millis(500));
        let judged = |answers: Answers| {
            let mut violations = Violations::default();
            answers.judge(&mut violations);
            violations.codes().len()
        };
        let fine = told(Code::ResourceExhausted, OVERLOADED, soon);
        assert_eq!((fine.were_refused(), judged(fine)), (true, 0));
        assert_eq!(judged(told(Code::ResourceExhausted, OVERLOADED, None)), 1);
        assert_eq!(judged(told(Code::ResourceExhausted, "LIMIT_REACHED", soon)), 1);
        assert_eq!(judged(told(Code::Internal, OVERLOADED, soon)), 1);
    }
}
