//! Follows the logs of all tasks of a run at once, whole lines at a time.

use std::collections::BTreeSet;

use futures::TryStreamExt;
use muster_client::{Client, LogTail, RunKey, v1};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::output::note;

/// Indices of one array task that are followed, at most.
const INDICES_MAX: u32 = 32;
/// Lines that wait to be printed, at most.
const LINES_MAX: usize = 1024;
/// A longer line is printed in pieces.
const LINE_BYTES_MAX: usize = 64 << 10;

/// Tails of logs that run at once.
pub(crate) struct LogFollower {
    client: Client,
    run: RunKey,
    /// Put before each line, so that one sees who printed it.
    is_prefixed: bool,
    /// Task, index and attempt of the logs that are or were followed.
    begun: BTreeSet<(u32, u32, u32)>,
    tails: JoinSet<()>,
    sender: mpsc::Sender<Vec<u8>>,
}

impl LogFollower {
    /// The lines come out of the receiver.
    pub(crate) fn new(
        client: &Client,
        run: &v1::Run,
        is_prefixed: bool,
    ) -> (LogFollower, mpsc::Receiver<Vec<u8>>) {
        let (sender, lines) = mpsc::channel(LINES_MAX);
        let follower = LogFollower {
            client: client.clone(),
            run: RunKey::from(run),
            is_prefixed,
            begun: BTreeSet::new(),
            tails: JoinSet::new(),
            sender,
        };
        (follower, lines)
    }

    /// Follows the logs of a task's attempt if it has begun and is not followed yet.
    pub(crate) fn see(&mut self, task: &v1::Task) {
        let tally = task.tally.unwrap_or_default();
        let has_begun = tally.running + tally.succeeded + tally.failed + tally.backoff > 0;
        if !has_begun {
            return;
        }
        if !task.is_array {
            let attempt = task.attempts.max(1);
            self.begin(task, 0, attempt, &task.id.clone());
            return;
        }
        let count = u64::from(task.array_count.unwrap_or_default());
        if count == 0 {
            return;
        }
        if count > u64::from(INDICES_MAX) {
            if self.begun.insert((task.index, 0, 0)) {
                note(format!(
                    "the logs of the {count} indices of `{0}` are not followed; \
                     `muster logs {1}/{0}[INDEX]` shows one",
                    task.id, self.run
                ));
            }
            return;
        }
        for index in task.array_first..=task.array_last {
            self.begin(task, index, 0, &format!("{}[{index}]", task.id));
        }
    }

    fn begin(&mut self, task: &v1::Task, index: u32, attempt: u32, name: &str) {
        if !self.begun.insert((task.index, index, attempt)) {
            return;
        }
        let tail =
            LogTail { task: task.id.clone(), index, attempt, follow: true, ..LogTail::default() };
        let mut lines = Lines {
            prefix: if self.is_prefixed { format!("{name} | ") } else { String::new() },
            rest: Vec::new(),
            sender: self.sender.clone(),
        };
        let mut chunks = self.client.tail_log(&self.run, tail);
        let name = name.to_owned();
        self.tails.spawn(async move {
            loop {
                match chunks.try_next().await {
                    Ok(Some(chunk)) => lines.push(&chunk.data).await,
                    Ok(None) => break,
                    // A task that ends before its worker is asked, or prints nothing, may have no log.
                    Err(error) if error.is_not_found() => break,
                    Err(error) => {
                        note(format!("the log of `{name}` breaks off: {error}"));
                        break;
                    }
                }
            }
            lines.end().await;
        });
    }

    /// Waits until all logs that were begun have ended.
    pub(crate) async fn finish(&mut self) {
        while self.tails.join_next().await.is_some() {}
    }
}

/// Cuts what one attempt prints into lines.
struct Lines {
    prefix: String,
    rest: Vec<u8>,
    sender: mpsc::Sender<Vec<u8>>,
}

impl Lines {
    async fn push(&mut self, data: &[u8]) {
        self.rest.extend_from_slice(data);
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            self.send(&line).await;
        }
        if self.rest.len() > LINE_BYTES_MAX {
            self.end().await;
        }
    }

    /// Sends what is left as a line of its own.
    async fn end(&mut self) {
        if !self.rest.is_empty() {
            let mut line = std::mem::take(&mut self.rest);
            line.push(b'\n');
            self.send(&line).await;
        }
    }

    async fn send(&self, line: &[u8]) {
        let line = [self.prefix.as_bytes(), line].concat();
        // Nobody listens any more when the command is about to end.
        let _gone = self.sender.send(line).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_stay_whole_and_carry_their_prefix() {
        let (sender, mut receiver) = mpsc::channel(16);
        let mut lines = Lines { prefix: "a | ".into(), rest: Vec::new(), sender };
        lines.push(b"one\ntw").await;
        lines.push(b"o\n").await;
        lines.push("thr\u{e9}".as_bytes()).await;
        lines.end().await;
        drop(lines);
        let mut got = Vec::new();
        while let Some(line) = receiver.recv().await {
            got.push(String::from_utf8(line).unwrap());
        }
        assert_eq!(got, ["a | one\n", "a | two\n", "a | thr\u{e9}\n"]);
    }
}
