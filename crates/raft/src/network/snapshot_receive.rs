//! The follower's side of a snapshot transfer: what is missing, then receive, then install.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use muster_proto::internal::v1 as pb;
use muster_proto::internal::v1::snapshot_progress::Part as Progress;
use muster_proto::internal::v1::snapshot_upload::Part as Upload;
use openraft::async_runtime::WatchReceiver;
use openraft::storage::Snapshot;
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use super::SNAPSHOT_IDLE_TIMEOUT;
use crate::error::StoreError;
use crate::history::{History, HistoryChange, row_in};
use crate::snapshot::{Manifest, SnapshotFiles, SnapshotHandle, hash_in};
use crate::types::{Raft, Vote};
use crate::wire;

/// A shard larger than this is not accepted.
const SHARD_BYTES_MAX: usize = 1 << 30;

/// Where received snapshots go.
#[derive(Clone)]
pub(crate) struct SnapshotReceiver {
    pub(crate) raft: Raft,
    pub(crate) files: Arc<SnapshotFiles>,
    pub(crate) history: History,
    /// One transfer at a time: a second one is a retry of the first.
    pub(crate) turn: Arc<tokio::sync::Mutex<()>>,
}

pub(super) type ProgressSender = mpsc::Sender<Result<pb::SnapshotProgress, Status>>;

impl SnapshotReceiver {
    /// Receives one snapshot and installs it.
    pub(super) async fn receive(
        self,
        mut uploads: Streaming<pb::SnapshotUpload>,
        answers: ProgressSender,
    ) -> Result<(), Status> {
        let _turn = self.turn.lock().await;
        let Upload::Offer(offer) = next(&mut uploads).await? else {
            return Err(Status::invalid_argument("a transfer begins with an offer"));
        };
        let vote = wire::required_vote(offer.vote.as_ref())?;
        let manifest = Manifest::from_message(
            offer.manifest.ok_or_else(|| Status::invalid_argument("an offer without manifest"))?,
        )?;
        let own_vote = self.raft.metrics().borrow_watched().vote;
        if own_vote > vote {
            return answer_installed(&answers, &own_vote).await;
        }
        let snapshot = self.files.pin(manifest);
        let manifest = Arc::clone(&snapshot.manifest);
        let missing = self.files.blocking(move |files| files.missing(&manifest)).await;
        let missing = missing.map_err(fault)?;
        let need = pb::SnapshotNeed {
            sha256: missing.iter().map(|sha256| Bytes::copy_from_slice(sha256)).collect(),
            history_after_index: self.history.durable_index(),
        };
        answer(&answers, Progress::Need(need)).await?;
        self.receive_parts(&mut uploads, &snapshot).await?;
        let index = snapshot.manifest.index();
        tracing::info!(index, shards = missing.len(), "installing a snapshot");
        let snapshot = Snapshot { meta: snapshot.manifest.meta(), snapshot };
        let response = self.raft.install_full_snapshot(vote, snapshot).await;
        let response = response.map_err(|error| Status::unavailable(error.to_string()))?;
        answer_installed(&answers, &response.vote).await
    }

    async fn receive_parts(
        &self,
        uploads: &mut Streaming<pb::SnapshotUpload>,
        snapshot: &SnapshotHandle,
    ) -> Result<(), Status> {
        let mut shard = BytesMut::new();
        loop {
            match next(uploads).await? {
                Upload::Offer(_) => return Err(Status::invalid_argument("a second offer")),
                Upload::Done(_) => return Ok(()),
                Upload::History(part) => {
                    let put = |row| HistoryChange::Put(Arc::new(row_in(row)));
                    // Index 0: the rows count as complete only when the snapshot is installed.
                    self.history.record(part.rows.into_iter().map(put).collect(), 0);
                    self.history.wait_for_room().await;
                }
                Upload::Shard(part) => {
                    let sha256 = hash_in(&part.sha256)?;
                    if shard.len() + part.data.len() > SHARD_BYTES_MAX {
                        return Err(Status::out_of_range("a shard is too large"));
                    }
                    shard.extend_from_slice(&part.data);
                    if part.is_last {
                        let content = shard.split();
                        let receive =
                            move |files: &Arc<SnapshotFiles>| files.receive(&sha256, &content);
                        snapshot.files.blocking(receive).await.map_err(fault)?;
                    }
                }
            }
        }
    }
}

async fn next(uploads: &mut Streaming<pb::SnapshotUpload>) -> Result<Upload, Status> {
    let message = tokio::time::timeout(SNAPSHOT_IDLE_TIMEOUT, uploads.message())
        .await
        .map_err(|_| Status::deadline_exceeded("the snapshot does not move"))??;
    message
        .and_then(|message| message.part)
        .ok_or_else(|| Status::aborted("the transfer ended early"))
}

async fn answer(answers: &ProgressSender, part: Progress) -> Result<(), Status> {
    let message = Ok(pb::SnapshotProgress { part: Some(part) });
    answers.send(message).await.map_err(|_| Status::cancelled("the leader has gone"))
}

async fn answer_installed(answers: &ProgressSender, vote: &Vote) -> Result<(), Status> {
    answer(answers, Progress::Installed(pb::SnapshotInstalled { vote: Some(wire::vote_out(vote)) }))
        .await
}

fn fault(error: StoreError) -> Status {
    Status::internal(error.to_string())
}
