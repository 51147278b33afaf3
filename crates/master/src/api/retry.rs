//! `RunService.RetryRun`: in place, if the run is live and keeps its parameters; else as a new run, with what it takes
//! over worked out from the run as it is here. The history is the same on all masters, and a live run is read behind
//! the barrier.

use std::sync::Arc;

use muster_core::command::{Command, ReopenTasks, RequestKey, RetryRun};
use muster_core::ids::{RunId, TaskIndex};
use muster_core::reply::{Rejection, Reply};
use muster_core::retry::{Scope, taken_over};
use muster_core::state::run::{RetryOrigin, Run};
use muster_core::state::trail::Asker;
use muster_proto::v1;
use tonic::{Request, Status};

use super::asker::{asked, asker};
use super::run::{Runs, params, task_named};
use super::{answered, request_key};
use crate::faults;
use crate::propose::NotDone;
use crate::read::body_digest;

impl Runs {
    pub(super) async fn retry(
        &self,
        request: Request<v1::RetryRunRequest>,
    ) -> Result<v1::RetryRunResponse, Status> {
        let (by, mut body) = (asker(&request), request.into_inner());
        let request_id = std::mem::take(&mut body.request_id);
        let key = request_key(&request_id, body_digest(&body))?;
        self.replica.barrier(None).await?;
        let known = answered(&self.replica, key.as_ref())?;
        if let Some(Reply::RunSubmitted { run, .. }) = known {
            return self.retried(run, true);
        }
        let id = self.replica.find_run(body.run.as_ref())?.id;
        if known.is_some() || self.reopen(id, &body, key.as_ref(), by.clone()).await? {
            return self.retried(id, false);
        }
        let run = self.replica.with_run(id, Clone::clone)?;
        let command = Command::RetryRun(Box::new(retry_of(&run, &body, key)?));
        match self.replica.proposer.submit(&asked(by, command)).await? {
            (_, Reply::RunSubmitted { run, .. }) => self.retried(run, true),
            // An earlier try changed the run in place, and it ended since.
            (_, Reply::Done) => self.retried(id, false),
            _ => Err(Status::internal("a retry was answered by something else")),
        }
    }

    /// Changes the run in place, if that is possible. Returns whether it was changed.
    async fn reopen(
        &self,
        run: RunId,
        body: &v1::RetryRunRequest,
        request: Option<&RequestKey>,
        by: Option<Asker>,
    ) -> Result<bool, Status> {
        let from = match body.scope() {
            v1::RetryScope::FromTask => {
                Some(self.replica.with_run(run, |run| task_named(run, &body.task))??)
            }
            v1::RetryScope::Unspecified | v1::RetryScope::Failed => None,
            v1::RetryScope::OnlyTask | v1::RetryScope::All => return Ok(false),
        };
        let is_live = self.replica.cell.read(|state| state.run(run).is_some());
        if !is_live || !body.params.is_empty() {
            return Ok(false);
        }
        let command = ReopenTasks { request: request.cloned(), run, from };
        let command = asked(by, Command::ReopenTasks(command));
        match self.replica.proposer.propose(&command).await {
            Ok(_) => Ok(true),
            // It has ended meanwhile.
            Err(NotDone::Rejected(Rejection::NoSuchRun { .. })) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn retried(&self, run: RunId, is_new: bool) -> Result<v1::RetryRunResponse, Status> {
        self.replica.with_run(run, |run| v1::RetryRunResponse {
            run_id: run.id.0,
            namespace: run.version.namespace.to_string(),
            workflow: run.version.workflow.to_string(),
            number: run.number,
            is_new,
        })
    }
}

/// The command for a run that retries `run`.
fn retry_of(
    run: &Run,
    body: &v1::RetryRunRequest,
    request: Option<RequestKey>,
) -> Result<RetryRun, Status> {
    let task = || -> Result<TaskIndex, Status> { task_named(run, &body.task) };
    let scope = match body.scope() {
        v1::RetryScope::Unspecified | v1::RetryScope::Failed => Scope::Failed,
        v1::RetryScope::FromTask => Scope::From(task()?),
        v1::RetryScope::OnlyTask => Scope::Only(task()?),
        v1::RetryScope::All => Scope::All,
    };
    let mut values = run.params.as_ref().clone();
    values.extend(params(&body.params)?);
    Ok(RetryRun {
        request,
        namespace: run.version.namespace.clone(),
        of: RetryOrigin {
            run: run.id,
            number: run.number,
            fire_time: run.fire_time(),
            trigger: run.followed().cloned(),
            schedule: run.schedule().cloned(),
        },
        version: run.version.id,
        version_number: run.version.number,
        spec: Box::new(run.version.spec.clone()),
        params: Arc::new(values),
        priority: run.priority,
        taken_over: taken_over(run, scope).map_err(|rejection| faults::rejection(&rejection))?,
    })
}
