//! A client that submits a small run every few milliseconds while it is told to: what users would have noticed can be
//! read from its calls, and from when the tasks of those runs began.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use muster_client::{Client, Submission};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval};

use crate::history::History;
use crate::load;

/// How long one call may take.
const CALL_DEADLINE: Duration = Duration::from_secs(10);

/// See the module documentation. It ends when dropped.
pub(crate) struct Probe {
    is_on: watch::Sender<bool>,
    working: JoinHandle<()>,
}

impl Probe {
    /// Runs of this shape, so often.
    pub(crate) fn start(
        addresses: &[String],
        history: &Arc<History>,
        shape: &'static str,
        every: Duration,
    ) -> Result<Probe> {
        let client = Client::connect(addresses)?.with_deadline(CALL_DEADLINE);
        let (is_on, mut told) = watch::channel(false);
        let history = history.clone();
        let working = tokio::spawn(async move {
            let mut calls = JoinSet::new();
            let mut ticks = interval(every);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            for number in 0_u64.. {
                if told.wait_for(|is_on| *is_on).await.is_err() {
                    return;
                }
                ticks.tick().await;
                let (client, history) = (client.clone(), history.clone());
                calls.spawn(async move {
                    let request = format!("probe-{number}");
                    let ms = if shape == "probe" { "0" } else { "10" };
                    let wish = Submission::workflow(shape).param("ms", ms).request_id(&request);
                    load::submit(&client, &history, &request, shape, &wish).await;
                });
                while calls.try_join_next().is_some() {}
            }
        });
        Ok(Probe { is_on, working })
    }

    /// Begins, or ends, submitting.
    pub(crate) fn set(&self, is_on: bool) {
        self.is_on.send_replace(is_on);
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.working.abort();
    }
}
