//! What attempts print, followed over any change of masters.

use futures::{StreamExt, stream};
use muster_proto::v1;
use tonic::Status;

use crate::client::{Client, Open, logs};
use crate::error::Error;
use crate::names::RunKey;
use crate::pages::Items;
use crate::resume::Breaks;
use crate::retry::{Verdict, judge};

/// Which part of which log to read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogTail {
    /// The task.
    pub task: String,
    /// The index, of an array task.
    pub index: u32,
    /// The attempt, from 1; 0: the latest.
    pub attempt: u32,
    /// Where to start, in bytes.
    pub offset: u64,
    /// Start this many bytes before the end instead; 0: at `offset`.
    pub tail_bytes: u64,
    /// Go on until the attempt ends.
    pub follow: bool,
}

/// A piece of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogChunk {
    /// The attempt that printed it.
    pub attempt: u32,
    /// Where in the log it starts, in bytes.
    pub offset: u64,
    /// What was printed. May end in the middle of a line, or of a character.
    pub data: Vec<u8>,
}

struct Tail {
    client: Client,
    request: v1::TailLogRequest,
    open: Option<Open<v1::TailLogResponse>>,
    breaks: Breaks,
}

impl Client {
    /// The log of one attempt. If the connection breaks, the stream goes on from where it was.
    pub fn tail_log(&self, run: impl Into<RunKey>, tail: LogTail) -> Items<LogChunk> {
        let request = v1::TailLogRequest {
            run: Some(self.run_ref(run.into())),
            task: tail.task,
            index: tail.index,
            attempt: tail.attempt,
            offset: tail.offset,
            follow: tail.follow,
            tail_bytes: tail.tail_bytes,
        };
        let start = Tail { client: self.clone(), request, open: None, breaks: Breaks::new() };
        stream::try_unfold(start, |mut tail| async move {
            Ok(tail.next().await?.map(|chunk| (chunk, tail)))
        })
        .boxed()
    }
}

impl Tail {
    async fn next(&mut self) -> Result<Option<LogChunk>, Error> {
        loop {
            let Some(open) = &mut self.open else {
                self.reopen().await?;
                continue;
            };
            match open.stream.message().await {
                Ok(Some(response)) => {
                    self.breaks.alive();
                    if let Some(chunk) = self.take(response) {
                        return Ok(Some(chunk));
                    }
                }
                Ok(None) => return Ok(None),
                Err(status) => self.failed(&status).await?,
            }
        }
    }

    async fn reopen(&mut self) -> Result<(), Error> {
        let result = self
            .client
            .open(self.request.clone(), |channel, request| async move {
                logs(channel).tail_log(request).await
            })
            .await;
        match result {
            Ok(open) => self.open = Some(open),
            Err(error) => self.breaks.pause(&self.client, error).await?,
        }
        Ok(())
    }

    /// Moves the place to go on from behind this piece.
    fn take(&mut self, response: v1::TailLogResponse) -> Option<LogChunk> {
        let v1::TailLogResponse { attempt, offset, data } = response;
        if data.is_empty() {
            return None;
        }
        self.request.attempt = attempt;
        self.request.offset = offset.saturating_add(data.len() as u64);
        self.request.tail_bytes = 0;
        Some(LogChunk { attempt, offset, data: data.into() })
    }

    async fn failed(&mut self, status: &Status) -> Result<(), Error> {
        if judge(status, false) == Verdict::Final {
            return Err(Error::from_status(status));
        }
        if let Some(open) = self.open.take() {
            self.client.leave(open.at);
        }
        self.breaks.pause_briefly().await;
        Ok(())
    }
}
