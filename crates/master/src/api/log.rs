//! `LogService`: what attempts print, fetched from the workers that ran them.

use std::sync::Arc;
use std::time::Duration;

use muster_core::ids::{RunId, TaskIndex, WorkerId};
use muster_core::state::run::Run;
use muster_core::state::task::TaskState;
use muster_proto::internal::v1 as wire;
use muster_proto::v1;
use muster_proto::v1::log_service_client::LogServiceClient;
use muster_proto::v1::log_service_server::LogService;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};

use super::Answers;
use crate::faults;
use crate::forward::forward_stream;
use crate::replica::Replica;

/// Bytes asked of a worker at once.
const CHUNK_BYTES: u32 = 256 << 10;
/// How long a worker may take to answer.
const FETCH_WAIT: Duration = Duration::from_secs(5);
/// Between looks at a log that does not grow.
const FOLLOW_LOOK: Duration = Duration::from_millis(200);

pub(crate) struct Logs {
    pub(crate) replica: Arc<Replica>,
}

/// One log, and where it is read.
struct Tail {
    replica: Arc<Replica>,
    run: RunId,
    task: TaskIndex,
    index: u32,
    attempt: u32,
    follow: bool,
}

#[tonic::async_trait]
impl LogService for Logs {
    type TailLogStream = Answers<v1::TailLogResponse>;

    async fn tail_log(
        &self,
        request: Request<v1::TailLogRequest>,
    ) -> Result<Response<Self::TailLogStream>, Status> {
        // Workers have sessions with the leader only.
        forward_stream!(self.replica, request, LogServiceClient<Channel>, tail_log);
        self.replica.barrier(None).await?;
        let body = request.into_inner();
        let found = self.replica.find_run(body.run.as_ref())?;
        let task = self.replica.with_run(found.id, |run| {
            let position =
                run.version.spec.tasks.iter().position(|task| task.id.as_str() == body.task);
            position.ok_or_else(|| {
                let message = format!("run {} has no task `{}`", run.label(), body.task);
                faults::fault(Code::NotFound, "TASK_NOT_FOUND", message)
            })
        })??;
        let tail = Tail {
            replica: self.replica.clone(),
            run: found.id,
            task: TaskIndex(task as u32),
            index: body.index,
            attempt: body.attempt,
            follow: body.follow,
        };
        let (sender, receiver) = mpsc::channel(8);
        tokio::spawn(async move {
            let streamed = tokio::select! {
                streamed = tail.stream(body.offset, body.tail_bytes, &sender) => streamed,
                () = tail.replica.leads_no_more() => Err(faults::no_leader()),
                // Without this a log that never begins would be looked for long after its reader went away.
                () = sender.closed() => return,
            };
            if let Err(status) = streamed {
                let _gone = sender.send(Err(status)).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

impl Tail {
    async fn stream(
        &self,
        mut offset: u64,
        tail_bytes: u64,
        out: &mpsc::Sender<Result<v1::TailLogResponse, Status>>,
    ) -> Result<(), Status> {
        if tail_bytes > 0
            && let Some(chunk) = self.fetch(u64::MAX).await?
        {
            offset = chunk.size.saturating_sub(tail_bytes);
        }
        loop {
            // Looked at first: an end that comes after the look is seen on the next round.
            let has_ended = self.has_ended()?;
            let Some(chunk) = self.fetch(offset).await? else {
                if has_ended || !self.follow {
                    // A worker keeps no log of an attempt that printed nothing.
                    return if self.is_silent()? { Ok(()) } else { Err(not_found()) };
                }
                tokio::time::sleep(FOLLOW_LOOK).await;
                continue;
            };
            let is_empty = chunk.data.is_empty();
            offset = chunk.offset + chunk.data.len() as u64;
            if !is_empty {
                let response = v1::TailLogResponse {
                    attempt: chunk.attempt,
                    offset: chunk.offset,
                    data: chunk.data,
                };
                if out.send(Ok(response)).await.is_err() {
                    return Ok(());
                }
            } else if !self.follow || chunk.is_complete || has_ended {
                return Ok(());
            } else {
                tokio::time::sleep(FOLLOW_LOOK).await;
            }
        }
    }

    /// Asks the worker that has the attempt, or every connected worker if that is not known.
    async fn fetch(&self, offset: u64) -> Result<Option<wire::LogChunk>, Status> {
        let (known, was_tried) = self.replica.with_run(self.run, |run| {
            (
                worker_of(run, self.task, self.index, self.attempt),
                was_tried(run, self.task, self.index),
            )
        })?;
        if !was_tried {
            return Ok(None);
        }
        let workers = match known.filter(|worker| self.replica.live.is_connected(*worker)) {
            Some(worker) => vec![worker],
            None => self.replica.live.connected(),
        };
        for worker in workers {
            let fetch = wire::FetchLog {
                fetch_id: 0,
                run_id: self.run.0,
                task_index: self.task.0,
                index: self.index,
                attempt: self.attempt,
                offset,
                limit_bytes: CHUNK_BYTES,
            };
            let Some(answer) = self.replica.live.fetch_log(worker, fetch) else { continue };
            if let Ok(Ok(chunk)) = tokio::time::timeout(FETCH_WAIT, answer).await
                && chunk.is_found
            {
                return Ok(Some(chunk));
            }
        }
        Ok(None)
    }

    fn has_ended(&self) -> Result<bool, Status> {
        self.replica.with_run(self.run, |run| {
            let cell = run.task(self.task).and_then(|task| task.cells.at(self.index));
            cell.is_none_or(|(_, state)| state.status().is_terminal())
        })
    }

    /// Whether the attempt ran on a worker that is connected, and so would have sent its log if there were one.
    fn is_silent(&self) -> Result<bool, Status> {
        let worker = self
            .replica
            .with_run(self.run, |run| worker_of(run, self.task, self.index, self.attempt))?;
        Ok(worker.is_some_and(|worker| self.replica.live.is_connected(worker)))
    }
}

fn not_found() -> Status {
    let message = "no connected worker has this log: the attempt printed nothing, has not begun, or its worker is gone";
    faults::fault(Code::NotFound, "LOG_NOT_FOUND", message)
}

/// Whether an attempt of one index of a task may have begun, so that somebody may have its log.
fn was_tried(run: &Run, task: TaskIndex, index: u32) -> bool {
    let cell = run.task(task).and_then(|task| task.cells.at(index));
    cell.is_some_and(|(_, state)| match state {
        TaskState::Blocked
        | TaskState::Undecided { .. }
        | TaskState::Awaiting { .. }
        | TaskState::Skipped { .. } => false,
        TaskState::Ready { tries, .. } => tries.attempts > 0,
        TaskState::Placed { .. }
        | TaskState::Running { .. }
        | TaskState::Backoff { .. }
        | TaskState::Held { .. }
        | TaskState::Succeeded { .. }
        | TaskState::Failed { .. }
        | TaskState::Cancelled => true,
    })
}

/// The worker that has an attempt of one index of a task, or had it, if the state still tells: only of the last one,
/// which is also meant by number 0.
fn worker_of(run: &Run, task: TaskIndex, index: u32, attempt: u32) -> Option<WorkerId> {
    let (_, state) = run.task(task)?.cells.at(index)?;
    if attempt != 0 && attempt != state.tries().attempts {
        return None;
    }
    match state {
        TaskState::Placed { attempt, .. } | TaskState::Running { attempt, .. } => {
            Some(attempt.worker)
        }
        TaskState::Succeeded { last, .. } | TaskState::Failed { last, .. } => {
            last.map(|last| last.worker)
        }
        TaskState::Ready { avoid, .. } | TaskState::Backoff { avoid, .. } => *avoid,
        TaskState::Blocked
        | TaskState::Undecided { .. }
        | TaskState::Held { .. }
        | TaskState::Awaiting { .. }
        | TaskState::Skipped { .. }
        | TaskState::Cancelled => None,
    }
}
