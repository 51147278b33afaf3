//! The leader's side of a snapshot transfer: offer, then what the follower lacks, then done.

use bytes::Bytes;
use muster_proto::internal::v1 as pb;
use muster_proto::internal::v1::snapshot_progress::Part as Progress;
use muster_proto::internal::v1::snapshot_upload::Part as Upload;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, Streaming};

use super::links::Link;
use super::{Lane, PART_BYTES, SNAPSHOT_IDLE_TIMEOUT, SNAPSHOT_INSTALL_TIMEOUT};
use crate::error::StoreError;
use crate::history::{EndCursor, History, row_out};
use crate::snapshot::{SnapshotHandle, hash_in};
use crate::types::Vote;
use crate::wire;

/// Parts that may wait for the connection.
const PARTS_QUEUED_MAX: usize = 4;
/// History rows read at once.
const ROWS_READ_MAX: usize = 256;

#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    #[error("{0}")]
    Refused(#[from] Status),
    #[error("{0}")]
    Channel(#[from] tonic::transport::Error),
    #[error("the peer took longer than {0:?}")]
    TooSlow(std::time::Duration),
    #[error("the peer ended the transfer, or answered out of turn")]
    Ended,
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("{0}")]
    Malformed(#[from] wire::Malformed),
}

type Uploads = ReceiverStream<pb::SnapshotUpload>;

/// Sends the snapshot; returns the follower's vote afterwards.
pub(super) async fn send(
    link: &Link,
    history: &History,
    vote: Vote,
    snapshot: SnapshotHandle,
    address: impl FnOnce(Uploads) -> Result<Request<Uploads>, Status>,
) -> Result<Vote, SendError> {
    let (parts, receiver) = mpsc::channel(PARTS_QUEUED_MAX);
    let sender = Sender { parts };
    let manifest = Some(snapshot.manifest.to_message());
    sender
        .send(Upload::Offer(pb::SnapshotOffer { vote: Some(wire::vote_out(&vote)), manifest }))
        .await?;
    let request = address(ReceiverStream::new(receiver))?;
    let call =
        async { link.client(Lane::Bulk)?.install_snapshot(request).await.map_err(SendError::from) };
    let mut progress = within(SNAPSHOT_IDLE_TIMEOUT, call).await?.into_inner();
    let need = match next(&mut progress, SNAPSHOT_INSTALL_TIMEOUT).await? {
        Progress::Installed(installed) => return Ok(wire::required_vote(installed.vote.as_ref())?),
        Progress::Need(need) => need,
    };
    tracing::info!(
        peer = %link.address,
        index = snapshot.manifest.index(),
        shards = need.sha256.len(),
        of = snapshot.manifest.shards.len(),
        "sending a snapshot"
    );
    let upload = async {
        sender.send_shards(&snapshot, &need.sha256).await?;
        sender.send_history(history, need.history_after_index, snapshot.manifest.index()).await?;
        sender.send(Upload::Done(pb::SnapshotDone {})).await
    };
    // A refusal in the middle arrives on the other half, so both are watched.
    let answer = next(&mut progress, SNAPSHOT_INSTALL_TIMEOUT);
    tokio::pin!(answer);
    let answer = tokio::select! {
        sent = upload => { sent?; answer.await? }
        answer = &mut answer => answer?,
    };
    match answer {
        Progress::Installed(installed) => Ok(wire::required_vote(installed.vote.as_ref())?),
        Progress::Need(_) => Err(SendError::Ended),
    }
}

async fn within<T>(
    limit: std::time::Duration,
    work: impl Future<Output = Result<T, SendError>>,
) -> Result<T, SendError> {
    tokio::time::timeout(limit, work).await.unwrap_or(Err(SendError::TooSlow(limit)))
}

async fn next(
    progress: &mut Streaming<pb::SnapshotProgress>,
    limit: std::time::Duration,
) -> Result<Progress, SendError> {
    let message = within(limit, async { Ok(progress.message().await?) }).await?;
    message.and_then(|message| message.part).ok_or(SendError::Ended)
}

struct Sender {
    parts: mpsc::Sender<pb::SnapshotUpload>,
}

impl Sender {
    async fn send(&self, part: Upload) -> Result<(), SendError> {
        let message = pb::SnapshotUpload { part: Some(part) };
        within(SNAPSHOT_IDLE_TIMEOUT, async {
            self.parts.send(message).await.map_err(|_| SendError::Ended)
        })
        .await
    }

    async fn send_shards(
        &self,
        snapshot: &SnapshotHandle,
        wanted: &[Bytes],
    ) -> Result<(), SendError> {
        for sha256 in wanted {
            let hash = hash_in(sha256)?;
            let shard = snapshot.manifest.shards.iter().find(|shard| shard.sha256 == hash);
            let shard = *shard.ok_or(SendError::Ended)?;
            let mut content = snapshot.files.blocking(move |it| it.read_shard(&shard)).await?;
            loop {
                let data = content.split_to(content.len().min(PART_BYTES));
                let is_last = content.is_empty();
                self.send(Upload::Shard(pb::ShardPart { sha256: sha256.clone(), data, is_last }))
                    .await?;
                if is_last {
                    break;
                }
            }
        }
        Ok(())
    }

    async fn send_history(
        &self,
        history: &History,
        after_index: u64,
        up_to: u64,
    ) -> Result<(), SendError> {
        let mut cursor = EndCursor { end_index: after_index, run_id: u64::MAX };
        loop {
            let items = history.ended_after(cursor, up_to, ROWS_READ_MAX).await?;
            let Some(last) = items.last() else { return Ok(()) };
            cursor = EndCursor { end_index: last.end_index, run_id: last.run_id };
            let mut rows = Vec::new();
            let mut bytes = 0;
            for item in &items {
                bytes += 64 + item.bytes.len();
                rows.push(row_out(item));
                if bytes >= PART_BYTES {
                    bytes = 0;
                    self.send(Upload::History(pb::HistoryPart { rows: std::mem::take(&mut rows) }))
                        .await?;
                }
            }
            if !rows.is_empty() {
                self.send(Upload::History(pb::HistoryPart { rows })).await?;
            }
        }
    }
}
