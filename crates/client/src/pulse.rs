//! Telling a master that hangs from one that is slow.
//!
//! A stopped process keeps its connections, and a network that swallows everything says nothing either: without a
//! question of its own a client could only wait for its patience to end. So beside the calls that take long goes one
//! that a master answers at once, whatever it is busy with and whoever leads. It is one for all of them: a master that
//! is slow because it has too much to do must not be asked a thousand times whether it is alive.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared, WeakShared};
use tokio::time::{sleep, timeout};
use tonic::Status;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

/// A master that has not answered a call for so long is asked for a sign of life, and again as often.
const EVERY: Duration = Duration::from_millis(500);
/// How long it may take for that. Longer than a connection may take to come about, so that it is told apart.
const WAIT_MAX: Duration = Duration::from_millis(1250);
/// The service of gRPC's health protocol that is asked after.
const SERVICE: &str = "liveness";

/// Comes to whether the question was answered in time.
type Question = BoxFuture<'static, bool>;

/// The signs of life of one master.
#[derive(Default)]
pub(crate) struct Pulse {
    /// Answers of any kind that came from it.
    answers: AtomicU64,
    /// The question that is under way, if any call waits for its answer.
    asked: Mutex<Option<WeakShared<Question>>>,
}

impl Pulse {
    /// The master answered a call.
    pub(crate) fn felt(&self) {
        self.answers.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns once the master at the other end of `channel` gives no sign of life. Any answer to any call is one, and
    /// so is a connection that breaks: then the call itself fails.
    pub(crate) async fn lost(&self, channel: Channel) -> Status {
        loop {
            sleep(EVERY).await;
            let before = self.answers.load(Ordering::Relaxed);
            let is_answered = self.question(&channel).await;
            if !is_answered && self.answers.load(Ordering::Relaxed) == before {
                let silence = WAIT_MAX.as_secs_f64();
                return Status::unavailable(format!("no sign of life for {silence:.1} s"));
            }
        }
    }

    /// The question that is under way, or a new one.
    fn question(&self, channel: &Channel) -> Shared<Question> {
        let mut asked = self.asked.lock().expect("nothing panics while holding it");
        let under_way = asked.as_ref().and_then(WeakShared::upgrade);
        if let Some(question) = under_way.filter(|question| question.peek().is_none()) {
            return question;
        }
        let question = ask(channel.clone()).boxed().shared();
        *asked = question.downgrade();
        question
    }
}

async fn ask(channel: Channel) -> bool {
    let question = HealthCheckRequest { service: SERVICE.to_owned() };
    timeout(WAIT_MAX, HealthClient::new(channel).check(question)).await.is_ok()
}
