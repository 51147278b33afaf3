//! What people read when no master can be reached.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures::future::BoxFuture;
use muster_client::{Client, Error};
use muster_platform::{Connection, Dedicated, Executor, Listener, Platform, Provider};

/// A machine whose network does `connect` and nothing else.
struct Offline(fn() -> BoxFuture<'static, io::Result<Connection>>);

impl Provider for Offline {
    fn connect(&self, _: &str) -> BoxFuture<'static, io::Result<Connection>> {
        self.0()
    }

    fn listen(&self, _: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    fn since_boot(&self) -> Duration {
        Platform::system().since_boot()
    }

    fn wall_clock(&self) -> Duration {
        Platform::system().wall_clock()
    }

    fn blocking(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, io::Result<()>> {
        Box::pin(Platform::system().blocking(work))
    }

    fn dedicate(&self, name: &str, work: BoxFuture<'static, ()>) -> io::Result<Dedicated> {
        Platform::system().dedicate(name, work)
    }

    fn executor(&self, name: &str, threads: usize, blocking_max: usize) -> io::Result<Executor> {
        Platform::system().executor(name, threads, blocking_max)
    }
}

async fn failure(address: &str, platform: Platform) -> Error {
    let client = Client::builder()
        .endpoint(address)
        .platform(platform)
        .connect_patience(Duration::from_millis(100))
        .build()
        .unwrap();
    client.cluster_status().await.unwrap_err()
}

async fn words(error: fn() -> BoxFuture<'static, io::Result<Connection>>) -> String {
    let error = failure("http://a:1", Platform::new(Offline(error))).await;
    assert!(error.is_unreachable(), "{error}");
    error.failures()[0].why.clone()
}

#[tokio::test]
async fn the_systems_own_words_come_through() {
    let refused = || -> BoxFuture<'static, _> {
        Box::pin(async { Err(io::Error::from(io::ErrorKind::ConnectionRefused)) })
    };
    assert_eq!(words(refused).await, "connection refused");
    // Linux: EHOSTUNREACH.
    let no_route =
        || -> BoxFuture<'static, _> { Box::pin(async { Err(io::Error::from_raw_os_error(113)) }) };
    assert_eq!(words(no_route).await, "No route to host (os error 113)");
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_does_not_answer_is_not_taken_for_a_master() {
    let silent = || -> BoxFuture<'static, _> { Box::pin(std::future::pending()) };
    assert_eq!(words(silent).await, "no connection in time");
}

#[tokio::test]
async fn a_name_that_nobody_has_is_said_to_be_the_cause() {
    let error = failure("http://master.invalid:7070", Platform::system()).await;
    assert!(error.is_unreachable(), "{error}");
    let why = &error.failures()[0].why;
    // The other words are those of a resolver that cannot ask anybody, and takes its time.
    assert!(why.contains("lookup") || why == "no connection in time", "{error}");
}
