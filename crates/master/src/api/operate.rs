//! Calls of `RunService` by which people change runs that are live: what they name is looked up, and the rest is for
//! apply to judge.

use muster_core::command::{Command, EndTask, PauseRun, PrioritizeRun, RequestKey, WantedEnd};
use muster_core::ids::RunId;
use muster_core::state::trail::Asker;
use muster_proto::v1;
use tonic::{Request, Status};

use super::asker::{asked, asker};
use super::run::{Runs, task_named};
use super::{answered, request_key};
use crate::faults;
use crate::read::body_digest;

impl Runs {
    pub(super) async fn pause(&self, request: Request<v1::PauseRunRequest>) -> Result<(), Status> {
        let (by, mut body) = (asker(&request), request.into_inner());
        let request_id = std::mem::take(&mut body.request_id);
        let request = request_key(&request_id, body_digest(&body))?;
        let is_paused = body.is_paused;
        self.change(by, request, body.run.as_ref(), |request, run| {
            Command::PauseRun(PauseRun { request, run, is_paused })
        })
        .await
    }

    pub(super) async fn prioritize(
        &self,
        request: Request<v1::PrioritizeRunRequest>,
    ) -> Result<(), Status> {
        let (by, mut body) = (asker(&request), request.into_inner());
        let request_id = std::mem::take(&mut body.request_id);
        let request = request_key(&request_id, body_digest(&body))?;
        let priority = body.priority;
        self.change(by, request, body.run.as_ref(), |request, run| {
            Command::PrioritizeRun(PrioritizeRun { request, run, priority })
        })
        .await
    }

    pub(super) async fn end(&self, request: Request<v1::EndTaskRequest>) -> Result<(), Status> {
        let (by, mut body) = (asker(&request), request.into_inner());
        let request_id = std::mem::take(&mut body.request_id);
        let request = request_key(&request_id, body_digest(&body))?;
        let end = wanted_end(&body)?;
        let reason = (!body.reason.is_empty()).then(|| body.reason.as_str().into());
        self.replica.barrier(None).await?;
        if answered(&self.replica, request.as_ref())?.is_none() {
            let run = self.replica.find_run(body.run.as_ref())?.id;
            let task = self.replica.with_run(run, |run| task_named(run, &body.task))??;
            let command = EndTask { request, run, task, end, reason };
            let command = asked(by, Command::EndTask(command));
            self.replica.proposer.propose(&command).await?;
        }
        Ok(())
    }

    /// Proposes a command about a run that a caller names, unless it was carried out before.
    async fn change(
        &self,
        by: Option<Asker>,
        request: Option<RequestKey>,
        run: Option<&v1::RunRef>,
        command: impl FnOnce(Option<RequestKey>, RunId) -> Command,
    ) -> Result<(), Status> {
        self.replica.barrier(None).await?;
        if answered(&self.replica, request.as_ref())?.is_none() {
            let run = self.replica.find_run(run)?.id;
            let command = asked(by, command(request, run));
            self.replica.proposer.propose(&command).await?;
        }
        Ok(())
    }
}

/// What a call wants a task to come to: an end, or a person's answer to an approval.
fn wanted_end(body: &v1::EndTaskRequest) -> Result<WantedEnd, Status> {
    let has_end = body.end() != v1::TaskStatus::Unspecified;
    match body.verdict() {
        v1::Verdict::Approved | v1::Verdict::Rejected if has_end => {
            Err(faults::bad_field("end", "a call has either an `end` or a `verdict`"))
        }
        v1::Verdict::Approved => Ok(WantedEnd::Approved),
        v1::Verdict::Rejected => Ok(WantedEnd::Rejected),
        v1::Verdict::Unspecified if !body.reason.is_empty() => {
            Err(faults::bad_field("reason", "a reason is given with a `verdict` alone"))
        }
        v1::Verdict::Unspecified => match body.end() {
            v1::TaskStatus::Succeeded => Ok(WantedEnd::Succeeded),
            v1::TaskStatus::Skipped => Ok(WantedEnd::Skipped),
            v1::TaskStatus::Cancelled => Ok(WantedEnd::Cancelled),
            _ => {
                let what = "a task can be given the ends SUCCEEDED, SKIPPED and CANCELLED";
                Err(faults::bad_field("end", what))
            }
        },
    }
}
