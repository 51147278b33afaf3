//! The loop that puts outcomes into the journal before they are reported, in batches of whatever is ready.
//!
//! No-op outcomes skip the journal: running a no-op again costs nothing, and they come by the hundred thousand.

use std::io;
use std::sync::Arc;

use muster_core::command::AttemptRef;
use muster_core::mutant::{self, Mutant};
use muster_platform::{Lock, Platform};
use muster_proto::internal::v1::{FinishReport, OutcomeKind};
use prost::Message;
use tokio::sync::{mpsc, oneshot};

use super::convert;
use super::keeper::LeaseKeeper;
use crate::attempts::{Ended, coalesce};
use crate::journal::{Journal, RecordId};

/// Most endings taken at once.
const BATCH_MAX: usize = 8192;

/// An outcome to be reported until it is acknowledged.
#[derive(Clone, Debug)]
pub(super) struct Recorded {
    pub(super) attempt: AttemptRef,
    pub(super) finish: FinishReport,
    /// Where the journal has it.
    pub(super) record: Option<RecordId>,
}

/// The session's end of the recorder.
#[derive(Debug)]
pub(super) struct Recorder {
    acknowledged: mpsc::UnboundedSender<RecordId>,
}

impl Recorder {
    /// Starts the loop, on a thread of its own since the journal blocks. What the journal held comes out first. When
    /// the journal is closed `lock` is let go, and the last of the receivers hears of it.
    pub(super) fn start(
        mut journal: Journal,
        endings: mpsc::UnboundedReceiver<Ended>,
        keeper: Arc<LeaseKeeper>,
        lock: Lock,
        platform: &Platform,
    ) -> io::Result<(Self, mpsc::UnboundedReceiver<Recorded>, oneshot::Receiver<()>)> {
        let (sender, recorded) = mpsc::unbounded_channel();
        let (acknowledged, forget) = mpsc::unbounded_channel();
        for outcome in pending(&mut journal) {
            // The receiver is in this very function.
            let _ = sender.send(outcome);
        }
        let (close, closed) = oneshot::channel();
        platform.dedicate("muster-journal", async move {
            Loop { journal, keeper, recorded: sender, forget }.record_all(endings).await;
            // The journal is closed: another worker may use the folder.
            drop(lock);
            // Whoever dropped the worker does not listen.
            let _ = close.send(());
        })?;
        Ok((Recorder { acknowledged }, recorded, closed))
    }

    /// The outcome was acknowledged: the journal may forget it.
    pub(super) fn forget(&self, record: RecordId) {
        // A journal that keeps too much costs a report that is refused.
        let _ = self.acknowledged.send(record);
    }
}

fn pending(journal: &mut Journal) -> Vec<Recorded> {
    let records = journal.pending().unwrap_or_else(|error| {
        tracing::error!(%error, "outcomes from before the restart cannot be read");
        Vec::new()
    });
    if !records.is_empty() {
        tracing::info!(count = records.len(), "outcomes from before the restart will be reported");
    }
    let mut pending = Vec::with_capacity(records.len());
    if mutant::is_on(Mutant::JournalForgotten) {
        return pending;
    }
    for (id, bytes) in records {
        let record = Some(id);
        let finish = FinishReport::decode(bytes.as_slice()).ok();
        let attempt =
            finish.as_ref().and_then(|finish| convert::attempt_of(finish.attempt.as_ref()?));
        match (finish, attempt) {
            (Some(mut finish), Some(attempt)) => {
                if mutant::is_on(Mutant::JournalGarbled) {
                    finish.set_outcome(OutcomeKind::Failed);
                }
                pending.push(Recorded { attempt, finish, record });
            }
            _ => {
                tracing::error!(record = id.0, "an outcome in the journal cannot be read");
                if let Err(error) = journal.remove(record) {
                    tracing::error!(%error, "it cannot be removed either");
                }
            }
        }
    }
    pending
}

struct Loop {
    journal: Journal,
    keeper: Arc<LeaseKeeper>,
    recorded: mpsc::UnboundedSender<Recorded>,
    forget: mpsc::UnboundedReceiver<RecordId>,
}

impl Loop {
    /// Ends when the attempts or the session are gone, with nothing left that had ended before.
    async fn record_all(mut self, mut endings: mpsc::UnboundedReceiver<Ended>) {
        let mut batch = Vec::new();
        let mut acknowledged = Vec::new();
        loop {
            let taken = tokio::select! {
                biased;
                taken = endings.recv_many(&mut batch, BATCH_MAX) => taken,
                taken = self.forget.recv_many(&mut acknowledged, BATCH_MAX) => taken,
            };
            if taken == 0 {
                return;
            }
            // However many endings come, acknowledgements have their turn.
            while acknowledged.len() < BATCH_MAX
                && let Ok(record) = self.forget.try_recv()
            {
                acknowledged.push(record);
            }
            batch.iter_mut().for_each(|ended| self.keeper.judge(ended));
            self.record(coalesce(std::mem::take(&mut batch))).await;
            if let Err(error) = self.journal.remove(acknowledged.drain(..)) {
                tracing::error!(%error, "acknowledged outcomes stay in the journal");
            }
        }
    }

    async fn record(&mut self, batch: Vec<Ended>) {
        let mut outcomes: Vec<(Recorded, bool)> = batch
            .into_iter()
            .map(|ended| {
                let finish = convert::finish_report(&ended);
                let recorded = Recorded { attempt: ended.attempt, finish, record: None };
                (recorded, ended.is_worth_keeping)
            })
            .collect();
        let kept = || outcomes.iter().filter(|(_, is_worth_keeping)| *is_worth_keeping);
        let records: Vec<Vec<u8>> =
            kept().map(|(outcome, _)| outcome.finish.encode_to_vec()).collect();
        if !records.is_empty() {
            match self.journal.put(&records) {
                Ok(ids) => {
                    self.journal.settled().await;
                    let kept =
                        outcomes.iter_mut().filter(|(_, is_worth_keeping)| *is_worth_keeping);
                    for ((outcome, _), id) in kept.zip(ids) {
                        outcome.record = Some(id);
                    }
                }
                // Reporting them is still worth it: only a restart before the acknowledgement would lose them.
                Err(error) => {
                    tracing::error!(%error, "outcomes are reported without a record of them")
                }
            }
        }
        for (outcome, _) in outcomes {
            let _ = self.recorded.send(outcome);
        }
    }
}
