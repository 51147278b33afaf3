//! When a worker that was asked to stop goes, although it could not say goodbye.

use std::time::Duration;

use muster_core::ids::WorkerId;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::stream::{Shutdown, TICK};
use crate::attempts::Attempts;
use crate::executor::Stop;

/// How long it waits for the last acknowledgements.
const ACKNOWLEDGEMENTS_PATIENCE: Duration = Duration::from_secs(5);
/// How long a worker that holds nothing looks for a master to tell that it leaves.
const GOODBYE_PATIENCE: Duration = Duration::from_secs(1);

/// Ends when a shutdown was asked for and its time is over, acknowledged or not, or when no master is there to wait
/// for. `registered`: with whom the worker has a stream. Kills what runs on the way.
pub(super) async fn wait_for_end(
    mut shutdown: Shutdown,
    registered: watch::Receiver<Option<WorkerId>>,
    attempts: &Attempts,
) {
    let asked = shutdown.wait_for(Option::is_some).await.map(|deadline| *deadline);
    let Ok(deadline) = asked else {
        // The handle is gone, and this task with it.
        return std::future::pending().await;
    };
    let time_is_over = async {
        sleep_until(deadline.unwrap_or_else(Instant::now)).await;
        attempts.stop_all(Stop::AtOnce);
        sleep(ACKNOWLEDGEMENTS_PATIENCE).await;
    };
    tokio::select! {
        () = time_is_over => {}
        () = wait_without_a_master(&registered, attempts) => {}
    }
    if attempts.is_empty() {
        tracing::warn!("left without a goodbye: no master answers");
    } else {
        tracing::warn!("left without all acknowledgements; the journal keeps the outcomes");
    }
}

/// Ends when nothing has run for a while in which no master took the worker. Outcomes that were not reported get more
/// time than a mere goodbye: a leader may be elected meanwhile. Those from before a restart get none, since the journal
/// has them for certain.
async fn wait_without_a_master(
    registered: &watch::Receiver<Option<WorkerId>>,
    attempts: &Attempts,
) {
    let mut since = Instant::now();
    loop {
        sleep(TICK).await;
        if registered.borrow().is_some() || attempts.live() > 0 {
            since = Instant::now();
        }
        let is_idle = attempts.is_empty();
        let patience = if is_idle { GOODBYE_PATIENCE } else { ACKNOWLEDGEMENTS_PATIENCE };
        if since.elapsed() >= patience {
            return;
        }
    }
}
