//! What the leader says on a registered stream, and what the worker does about it.

use muster_core::command::Outcome;
use muster_core::ids::{RunId, TaskIndex};
use muster_proto::internal::v1::session_request::Message as Request;
use muster_proto::internal::v1::session_response::Message as Response;
use muster_proto::internal::v1::{
    Dispatch, FetchLog, LogChunk, SessionRequest, SessionResponse, StopAttempts, StopReason,
};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::convert::{self, Refused};
use super::stream::{End, Session, Stream, send};
use crate::executor::{Stop, failed};
use crate::logs::{LogKey, LogStore};
use crate::observer::Event;

impl Session {
    /// Acts on one message.
    pub(super) fn handle(
        &self,
        stream: &mut Stream,
        response: SessionResponse,
        is_draining: bool,
    ) -> Result<(), End> {
        match response.message {
            Some(Response::HeartbeatAck(ack)) => {
                stream.answered_at = Instant::now();
                stream.is_drained = ack.is_draining;
                self.keeper.confirmed(ack.seq, stream.lease);
            }
            Some(Response::Dispatch(dispatch)) => {
                return self.dispatch(stream, dispatch, is_draining);
            }
            Some(Response::Stop(stop)) => self.stop(stop),
            Some(Response::Acknowledge(acknowledge)) => {
                for recorded in stream.in_flight.remove(&acknowledge.seq).unwrap_or_default() {
                    let attempt = recorded.attempt;
                    self.witness.tell(|incarnation| Event::Acknowledged { attempt, incarnation });
                    self.attempts.acknowledge(&attempt);
                    if let Some(record) = recorded.record {
                        self.recorder.forget(record);
                    }
                }
            }
            Some(Response::FetchLog(fetch)) => self.fetch_log(stream.sender.clone(), fetch),
            Some(Response::Lost(lost)) => {
                tracing::warn!(reason = %lost.reason, "declared lost");
                return Err(End::Lost);
            }
            Some(Response::Redirect(to)) => {
                return Err(End::Redirected { leader: to.leader, masters: to.masters });
            }
            Some(Response::Registered(_)) => {
                return Err(End::Broken("registered twice on one stream".to_owned()));
            }
            // A newer leader may say what this worker does not know.
            None => tracing::debug!("ignored a message of an unknown kind"),
        }
        Ok(())
    }

    fn dispatch(
        &self,
        stream: &mut Stream,
        dispatch: Dispatch,
        is_draining: bool,
    ) -> Result<(), End> {
        let taken = self.take(stream, dispatch, is_draining);
        // This thread may have stood still behind its last look at the lease, and the keeper may have killed everything
        // meanwhile: what was started since is known to nobody else.
        if !self.keeper.is_live() {
            self.attempts.stop_all(Stop::AtOnce);
        }
        taken
    }

    fn take(&self, stream: &mut Stream, dispatch: Dispatch, is_draining: bool) -> Result<(), End> {
        for message in dispatch.assignments {
            if !self.keeper.is_live() {
                // The heartbeats will not name them, so the leader gives them out again.
                tracing::warn!("dispatched without a live lease; ignored");
                return Ok(());
            }
            match stream.definitions.read(message) {
                Ok(assignment) if is_draining && stream.is_drained => {
                    self.attempts.refuse(&assignment.attempt_ref(), &Outcome::Lost);
                }
                // Given back now it would be placed here again at once, and lost again, until it is lost for good. The
                // heartbeats do not name it, so it comes again.
                Ok(_) if is_draining => {}
                Ok(assignment) => self.attempts.dispatch(assignment),
                Err((_, refused @ (Refused::UnknownDefinition | Refused::Malformed))) => {
                    return Err(End::Broken(refused.to_string()));
                }
                Err((attempt, refused @ Refused::Unreadable(_))) => {
                    let outcome = failed(None, refused.to_string());
                    attempt.iter().for_each(|attempt| self.attempts.refuse(attempt, &outcome));
                }
            }
        }
        Ok(())
    }

    fn stop(&self, stop: StopAttempts) {
        for attempt in stop.attempts.iter().filter_map(convert::attempt_of) {
            match stop.reason() {
                StopReason::Unknown => self.attempts.forget(&attempt),
                StopReason::Unspecified
                | StopReason::Cancelled
                | StopReason::RunTimedOut
                | StopReason::AttemptTimedOut => self.attempts.stop(&attempt, Stop::Gently),
            }
        }
    }

    fn fetch_log(&self, sender: mpsc::UnboundedSender<SessionRequest>, fetch: FetchLog) {
        let logs = self.logs.clone();
        // Read also if nobody waits for the reading.
        drop(self.config.platform.blocking(move || {
            let chunk = read_log(logs.as_deref(), &fetch);
            // If the stream broke meanwhile, nobody waits for it.
            let _ = send(&sender, Request::LogChunk(chunk));
        }));
    }
}

fn read_log(logs: Option<&LogStore>, fetch: &FetchLog) -> LogChunk {
    let (run, task) = (RunId(fetch.run_id), TaskIndex(fetch.task_index));
    let Some(logs) = logs else {
        let (fetch_id, offset) = (fetch.fetch_id, fetch.offset);
        return LogChunk { fetch_id, attempt: fetch.attempt, offset, ..LogChunk::default() };
    };
    let attempt = match fetch.attempt {
        0 => logs.latest_attempt(run, task, fetch.index).unwrap_or(0),
        attempt => attempt,
    };
    let mut answer =
        LogChunk { fetch_id: fetch.fetch_id, attempt, offset: fetch.offset, ..LogChunk::default() };
    let key = LogKey { run, task, index: fetch.index, attempt };
    match logs.read(key, fetch.offset, fetch.limit_bytes.into()) {
        Ok(Some(chunk)) => {
            answer.is_found = true;
            answer.data = chunk.bytes.into();
            answer.size = chunk.total;
            answer.is_complete = !chunk.is_live;
        }
        Ok(None) => {}
        Err(error) => tracing::warn!(?key, %error, "cannot read a log"),
    }
    answer
}
