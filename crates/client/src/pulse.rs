//! Telling a master that hangs from one that is slow.
//!
//! A stopped process keeps its connections, and a network that swallows everything says nothing either: without a
//! question of its own a client could only wait for its patience to end. So beside the calls that take long goes one
//! that a master answers at once, whatever it is busy with and whoever leads. It is one for all of them: a master that
//! is slow because it has too much to do must not be asked a thousand times whether it is alive.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared, WeakShared};
use tokio::time::{Instant, sleep, timeout};
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
pub(crate) struct Pulse(Mutex<Signs>);

#[derive(Default)]
struct Signs {
    /// When it last answered anything.
    last: Option<Instant>,
    /// The question that is under way, if any call waits for its answer.
    asked: Option<WeakShared<Question>>,
}

impl Pulse {
    /// The master answered a call.
    pub(crate) fn felt(&self) {
        self.signs().last = Some(Instant::now());
    }

    /// Returns once the master at the other end of `channel` gives no sign of life. Any answer to any call is one, and
    /// so is a connection that breaks: then the call itself fails.
    pub(crate) async fn lost(&self, channel: Channel) -> Status {
        loop {
            sleep(EVERY).await;
            let now = Instant::now();
            if self.is_felt_since(now - EVERY) {
                continue;
            }
            if self.question(&channel).await {
                self.felt();
            } else if !self.is_felt_since(now) {
                let silence = WAIT_MAX.as_secs_f64();
                return Status::unavailable(format!("no sign of life for {silence:.1} s"));
            }
        }
    }

    fn is_felt_since(&self, since: Instant) -> bool {
        self.signs().last.is_some_and(|last| last >= since)
    }

    /// The question that is under way, or a new one.
    fn question(&self, channel: &Channel) -> Shared<Question> {
        let mut signs = self.signs();
        let under_way = signs.asked.as_ref().and_then(WeakShared::upgrade);
        if let Some(question) = under_way.filter(|question| question.peek().is_none()) {
            return question;
        }
        let question = ask(channel.clone()).boxed().shared();
        signs.asked = question.downgrade();
        question
    }

    fn signs(&self) -> MutexGuard<'_, Signs> {
        self.0.lock().expect("nothing panics while holding it")
    }
}

async fn ask(channel: Channel) -> bool {
    let question = HealthCheckRequest { service: SERVICE.to_owned() };
    timeout(WAIT_MAX, HealthClient::new(channel).check(question)).await.is_ok()
}
