//! When a stream that broke is opened again.

use tokio::time::Instant;

use crate::client::Client;
use crate::error::Error;
use crate::retry::Backoff;

/// The breaks of one long stream since it last told something.
pub(crate) struct Breaks {
    backoff: Backoff,
    /// When the stream last told something.
    alive_at: Instant,
}

impl Breaks {
    pub(crate) fn new() -> Breaks {
        Breaks { backoff: Backoff::new(), alive_at: Instant::now() }
    }

    /// The stream told something.
    pub(crate) fn alive(&mut self) {
        self.backoff.reset();
        self.alive_at = Instant::now();
    }

    /// Waits before the stream is opened again.
    ///
    /// # Errors
    /// `error`, if it will not pass, or the stream has been silent for longer than the client's patience.
    pub(crate) async fn pause(&mut self, client: &Client, error: Error) -> Result<(), Error> {
        let may_pass = !error.failures().is_empty();
        if !may_pass || self.alive_at.elapsed() >= client.patience() {
            return Err(error);
        }
        tokio::time::sleep(self.backoff.next_wait()).await;
        Ok(())
    }

    /// Waits before the stream is opened again that broke without an error worth telling.
    pub(crate) async fn pause_briefly(&mut self) {
        tokio::time::sleep(self.backoff.next_wait()).await;
    }
}
