//! Following a run: one stream for the caller, however many masters it takes to keep it going.
//!
//! ```text
//!  open(after 0) ─► full picture ─► changes … ✗ broken ─► open(after the last revision) ─► changes …
//!        ▲                                                        │ OUT_OF_RANGE: too far behind
//!        └────────────────────────────────────────────────────────┘
//! ```

use std::time::Duration;

use futures::{StreamExt, stream};
use muster_proto::v1;
use tokio::time::timeout;
use tonic::{Code, Status};

use crate::client::{Client, Open, runs};
use crate::error::Error;
use crate::names::RunKey;
use crate::pages::Items;
use crate::resume::Breaks;
use crate::retry::{Verdict, judge};
use crate::run::is_ended;

/// Masters send bookmarks far more often than this; a stream that is silent for so long is given up.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// How long the stream may last once it told the run's end.
const AFTERMATH_MAX: Duration = Duration::from_secs(2);

/// What a watch tells at once.
#[derive(Clone, Debug, PartialEq)]
pub struct RunUpdate {
    /// The log index up to which everything has been told.
    pub revision: u64,
    /// The run, if it changed.
    pub run: Option<v1::Run>,
    /// The tasks that changed, as they are.
    pub tasks: Vec<v1::Task>,
    /// The first part of a full picture: what was told before may have gaps and should be forgotten.
    pub is_fresh: bool,
}

struct Watch {
    client: Client,
    run: v1::RunRef,
    /// Told up to here; 0: nothing yet.
    revision: u64,
    /// The next update begins a full picture.
    is_fresh: bool,
    open: Option<Open<v1::WatchRunResponse>>,
    breaks: Breaks,
    /// The run's end was told; what follows are the last changes of its tasks.
    is_ended: bool,
}

impl Client {
    /// The run and its tasks as they are, then every change, until the run ends. Masters may come and go meanwhile; the
    /// stream fails only if none answers for longer than the client's patience, or if there is no such run.
    ///
    /// A caller that is slow misses nothing but intermediate states.
    pub fn watch_run(&self, run: impl Into<RunKey>) -> Items<RunUpdate> {
        let start = Watch {
            client: self.clone(),
            run: self.run_ref(run.into()),
            revision: 0,
            is_fresh: true,
            open: None,
            breaks: Breaks::new(),
            is_ended: false,
        };
        stream::try_unfold(start, |mut watch| async move {
            Ok(watch.next().await?.map(|update| (update, watch)))
        })
        .boxed()
    }
}

impl Watch {
    async fn next(&mut self) -> Result<Option<RunUpdate>, Error> {
        loop {
            let Some(open) = &mut self.open else {
                self.reopen().await?;
                continue;
            };
            let silence = if self.is_ended { AFTERMATH_MAX } else { SILENCE_MAX };
            let message = match timeout(silence, open.stream.message()).await {
                Ok(message) => message,
                Err(_) => Err(Status::unavailable("silent")),
            };
            match message {
                Ok(Some(response)) => {
                    self.breaks.alive();
                    if let Some(update) = self.take(response) {
                        return Ok(Some(update));
                    }
                }
                Ok(None) | Err(_) if self.is_ended => return Ok(None),
                // The run goes on: it is the master that goes away.
                Ok(None) => self.broke().await,
                Err(status) => self.failed(&status).await?,
            }
        }
    }

    async fn reopen(&mut self) -> Result<(), Error> {
        let request =
            v1::WatchRunRequest { run: Some(self.run.clone()), after_revision: self.revision };
        let result = self
            .client
            .open(request, |channel, request| async move { runs(channel).watch_run(request).await })
            .await;
        match result {
            Ok(open) => self.open = Some(open),
            Err(error) if error.code() == Code::OutOfRange && self.revision > 0 => {
                self.start_afresh();
            }
            Err(error) => self.breaks.pause(&self.client, error).await?,
        }
        Ok(())
    }

    fn take(&mut self, response: v1::WatchRunResponse) -> Option<RunUpdate> {
        self.revision = self.revision.max(response.revision);
        if let Some(run) = &response.run {
            // "The latest" must stay the same run when the stream is opened again.
            self.run.id = run.id;
            self.is_ended = is_ended(run);
        }
        if response.is_bookmark && response.run.is_none() && response.tasks.is_empty() {
            return None;
        }
        let is_fresh = std::mem::take(&mut self.is_fresh);
        let v1::WatchRunResponse { revision, run, tasks, .. } = response;
        Some(RunUpdate { revision, run, tasks, is_fresh })
    }

    async fn failed(&mut self, status: &Status) -> Result<(), Error> {
        if status.code() == Code::OutOfRange && self.revision > 0 {
            self.start_afresh();
            return Ok(());
        }
        // A master that cuts a slow reader says so; the reader goes on from where it was.
        let is_cut = status.code() == Code::ResourceExhausted;
        if !is_cut && judge(status, false) == Verdict::Final {
            return Err(Error::from_status(status));
        }
        self.broke().await;
        Ok(())
    }

    async fn broke(&mut self) {
        if let Some(open) = self.open.take() {
            self.client.leave(open.at);
        }
        self.breaks.pause_briefly().await;
    }

    fn start_afresh(&mut self) {
        self.open = None;
        self.revision = 0;
        self.is_fresh = true;
    }
}
