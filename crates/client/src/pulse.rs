//! Telling a master that hangs from one that is slow.
//!
//! A stopped process keeps its connections, and a network that swallows everything says nothing either: without a
//! question of its own a client could only wait for its patience to end. So beside a call that takes long goes a call
//! that a master answers at once, whatever it is busy with and whoever leads.

use std::time::Duration;

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

/// Returns once the master at the other end gives no sign of life. Any answer is one, and so is a connection that
/// breaks: then the call itself fails.
pub(crate) async fn lost(channel: Channel) -> Status {
    let mut health = HealthClient::new(channel);
    loop {
        sleep(EVERY).await;
        let question = HealthCheckRequest { service: SERVICE.to_owned() };
        if timeout(WAIT_MAX, health.check(question)).await.is_err() {
            let silence = WAIT_MAX.as_secs_f64();
            return Status::unavailable(format!("no sign of life for {silence:.1} s"));
        }
    }
}
