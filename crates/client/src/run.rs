//! Submitting runs, and acting on them.

use std::collections::BTreeMap;
use std::time::Duration;

use muster_proto::v1;
use tokio::time::Instant;

use crate::client::{Client, call};
use crate::error::Error;
use crate::names::{RunKey, Source};
use crate::pages::{Items, Page, pages};

/// Longest single call of a wait; the wait goes on with the next.
const WAIT_SLICE: Duration = Duration::from_secs(30);
/// Pause before a wait asks again that was answered too early.
const WAIT_PAUSE: Duration = Duration::from_millis(200);

/// A wish for a run. Whoever submits the same request id again gets the same run.
#[derive(Clone, Debug)]
pub struct Submission {
    request: v1::SubmitRunRequest,
}

impl Submission {
    /// A run of a workflow that was applied before.
    pub fn workflow(name: impl Into<String>) -> Submission {
        Submission::of(v1::submit_run_request::What::Workflow(name.into()))
    }

    /// Applies a workflow and runs it, in one step.
    pub fn source(source: impl Into<Source>) -> Submission {
        Submission::of(v1::submit_run_request::What::Source(source.into().into_proto()))
    }

    /// A run of a workflow that is not kept.
    pub fn one_off(source: impl Into<Source>) -> Submission {
        Submission::of(v1::submit_run_request::What::OneOff(source.into().into_proto()))
    }

    fn of(what: v1::submit_run_request::What) -> Submission {
        let request = v1::SubmitRunRequest { what: Some(what), ..Default::default() };
        Submission { request }
    }

    /// Sets a parameter.
    #[must_use]
    pub fn param(mut self, name: impl Into<String>, value: impl Into<String>) -> Submission {
        self.request.params.insert(name.into(), value.into());
        self
    }

    /// Sets parameters.
    #[must_use]
    pub fn params(mut self, params: BTreeMap<String, String>) -> Submission {
        self.request.params.extend(params);
        self
    }

    /// Makes the run for a fire time of a schedule of the workflow, milliseconds since 1970, after the fact, with the
    /// schedule's parameters unless others are set. For a workflow that was applied before, in its latest version.
    #[must_use]
    pub fn backfill(mut self, schedule: impl Into<String>, fire_time_ms: u64) -> Submission {
        self.request.backfill = Some(v1::Backfill { schedule: schedule.into(), fire_time_ms });
        self
    }

    /// Runs this version of the workflow instead of the latest.
    #[must_use]
    pub fn version(mut self, version: u32) -> Submission {
        self.request.version = version;
        self
    }

    /// Overrides the workflow's priority. Larger first.
    #[must_use]
    pub fn priority(mut self, priority: i32) -> Submission {
        self.request.priority = Some(priority);
        self
    }

    /// Overrides the client's namespace.
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Submission {
        self.request.namespace = namespace.into();
        self
    }

    /// The caller's own idempotency key, at most 128 bytes, for submissions that must survive the caller's restart.
    /// Without it each call of [`Client::submit`] is a new wish.
    #[must_use]
    pub fn request_id(mut self, id: impl Into<String>) -> Submission {
        self.request.request_id = id.into();
        self
    }
}

/// What [`Client::retry`] runs again; by default what failed or was cancelled, and all that is downstream of it.
#[derive(Clone, Debug, Default)]
pub struct Retry {
    /// Which part of the run.
    pub scope: RetryScope,
    /// In place of the parameters that the run has. If there are any, it is a new run.
    pub params: BTreeMap<String, String>,
}

/// Which part of a run [`Client::retry`] runs again.
#[derive(Clone, Debug, Default)]
pub enum RetryScope {
    /// What failed or was cancelled, and all that is downstream of it.
    #[default]
    Failed,
    /// A task, and all that is downstream of it; in a new run what failed or was cancelled as well.
    From(String),
    /// A task and nothing else, in a new run.
    Only(String),
    /// Everything, in a new run.
    All,
}

/// Which runs to list; by default all of the client's namespace.
#[derive(Clone, Debug, Default)]
pub struct RunFilter {
    /// Only of this workflow; empty: of all.
    pub workflow: String,
    /// Only with one of these statuses; empty: with any.
    pub statuses: Vec<v1::RunStatus>,
    /// Runs a page, at most 1000; 0: the cluster's choice.
    pub page_size: u32,
}

impl Client {
    /// Submits a run. It is accepted once this returns: it will run, whatever happens to any one master.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` if the workflow or the parameters are wrong, `NOT_FOUND` if there is no such workflow,
    /// `ALREADY_EXISTS` if the request id was used for something else.
    pub async fn submit(&self, submission: Submission) -> Result<v1::SubmitRunResponse, Error> {
        let mut request = submission.request;
        if request.request_id.is_empty() {
            request.request_id = self.new_request_id();
        }
        if request.namespace.is_empty() {
            request.namespace = self.namespace().to_owned();
        }
        call!(self, request, runs.submit_run).await
    }

    /// Cancels a run. False if it had ended before.
    ///
    /// # Errors
    /// `NOT_FOUND` if there is no such run.
    pub async fn cancel(&self, run: impl Into<RunKey>) -> Result<bool, Error> {
        let request = v1::CancelRunRequest {
            request_id: self.new_request_id(),
            run: Some(self.run_ref(run)),
        };
        Ok(call!(self, request, runs.cancel_run).await?.is_cancelling)
    }

    /// Keeps what is ready of a run from workers, or lets the run go on. Live attempts are not touched.
    ///
    /// # Errors
    /// `NOT_FOUND` if there is no such run or it has ended, `FAILED_PRECONDITION` if it is being stopped.
    pub async fn pause(&self, run: impl Into<RunKey>, is_paused: bool) -> Result<(), Error> {
        let request = v1::PauseRunRequest {
            request_id: self.new_request_id(),
            run: Some(self.run_ref(run)),
            is_paused,
        };
        call!(self, request, runs.pause_run).await.map(drop)
    }

    /// Gives a live run another priority. Larger first; tasks with one of their own keep it.
    ///
    /// # Errors
    /// `NOT_FOUND` if there is no such run or it has ended, `FAILED_PRECONDITION` if it is being stopped.
    pub async fn prioritize(&self, run: impl Into<RunKey>, priority: i32) -> Result<(), Error> {
        let request = v1::PrioritizeRunRequest {
            request_id: self.new_request_id(),
            run: Some(self.run_ref(run)),
            priority,
        };
        call!(self, request, runs.prioritize_run).await.map(drop)
    }

    /// Gives a task an end: succeeded or skipped, without running it; or cancelled, once its live attempts have ended.
    ///
    /// # Errors
    /// `NOT_FOUND` if there is no such task or the run has ended, `FAILED_PRECONDITION` if the task has a live attempt
    /// and is not to be cancelled, or has an end that cannot be changed so, or the run is being stopped.
    pub async fn end_task(
        &self,
        run: impl Into<RunKey>,
        task: impl Into<String>,
        end: v1::TaskStatus,
    ) -> Result<(), Error> {
        let request = v1::EndTaskRequest {
            request_id: self.new_request_id(),
            run: Some(self.run_ref(run)),
            task: task.into(),
            end: end.into(),
            ..Default::default()
        };
        call!(self, request, runs.end_task).await.map(drop)
    }

    /// Answers an approval that waits for a person: given, the task succeeds; else it fails. The reason, of which at
    /// most 1,024 bytes are kept, is what the task says from then on; it may be empty.
    ///
    /// # Errors
    /// `NOT_FOUND` if there is no such task or the run has ended, `FAILED_PRECONDITION` if the task does not wait for
    /// an approval, or the run is being stopped.
    pub async fn answer_approval(
        &self,
        run: impl Into<RunKey>,
        task: impl Into<String>,
        is_given: bool,
        reason: impl Into<String>,
    ) -> Result<(), Error> {
        let verdict = if is_given { v1::Verdict::Approved } else { v1::Verdict::Rejected };
        let request = v1::EndTaskRequest {
            request_id: self.new_request_id(),
            run: Some(self.run_ref(run)),
            task: task.into(),
            verdict: verdict.into(),
            reason: reason.into(),
            ..Default::default()
        };
        call!(self, request, runs.end_task).await.map(drop)
    }

    /// Runs again what a run did not come to: in place if it is live, else in a new run of the same workflow version
    /// that takes over what ended well. The answer says where.
    ///
    /// # Errors
    /// `NOT_FOUND` if there is no such run or task; `FAILED_PRECONDITION` if nothing failed, a task concerned has a
    /// live attempt, the task that is to run alone would not start, the run is being stopped, or the concurrency policy
    /// forbids another run; `INVALID_ARGUMENT` if the parameters are wrong.
    pub async fn retry(
        &self,
        run: impl Into<RunKey>,
        what: &Retry,
    ) -> Result<v1::RetryRunResponse, Error> {
        let (scope, task) = match what.scope.clone() {
            RetryScope::Failed => (v1::RetryScope::Failed, String::new()),
            RetryScope::From(task) => (v1::RetryScope::FromTask, task),
            RetryScope::Only(task) => (v1::RetryScope::OnlyTask, task),
            RetryScope::All => (v1::RetryScope::All, String::new()),
        };
        let request = v1::RetryRunRequest {
            request_id: self.new_request_id(),
            run: Some(self.run_ref(run)),
            scope: scope.into(),
            task,
            params: what.params.clone(),
        };
        call!(self, request, runs.retry_run).await
    }

    /// Lets a held task run again (`rerun`), or fail.
    ///
    /// # Errors
    /// `FAILED_PRECONDITION` if the task is not held.
    pub async fn release(
        &self,
        run: impl Into<RunKey>,
        task: impl Into<String>,
        rerun: bool,
    ) -> Result<(), Error> {
        let request = v1::ReleaseTaskRequest {
            request_id: self.new_request_id(),
            run: Some(self.run_ref(run)),
            task: task.into(),
            rerun,
        };
        call!(self, request, runs.release_task).await.map(drop)
    }

    /// A run as it is.
    ///
    /// # Errors
    /// `NOT_FOUND` if there is no such run.
    pub async fn get_run(&self, run: impl Into<RunKey>) -> Result<v1::Run, Error> {
        let response = self.fetch_run(run.into(), false).await?;
        response.run.ok_or_else(|| Error::malformed("GetRun", "run"))
    }

    /// A run as it is, with the workflow it carries out.
    ///
    /// # Errors
    /// `NOT_FOUND` if there is no such run.
    pub async fn get_run_with_spec(
        &self,
        run: impl Into<RunKey>,
    ) -> Result<(v1::Run, v1::WorkflowSpec), Error> {
        let response = self.fetch_run(run.into(), true).await?;
        let run = response.run.ok_or_else(|| Error::malformed("GetRun", "run"))?;
        let spec = response.spec.ok_or_else(|| Error::malformed("GetRun", "spec"))?;
        Ok((run, spec))
    }

    async fn fetch_run(&self, run: RunKey, with_spec: bool) -> Result<v1::GetRunResponse, Error> {
        let request = v1::GetRunRequest {
            read: self.read_options(),
            run: Some(self.run_ref(run)),
            with_spec,
        };
        call!(self, request, runs.get_run).await
    }

    /// Runs, newest first, fetched page by page as the stream is read.
    pub fn list_runs(&self, filter: RunFilter) -> Items<v1::Run> {
        let client = self.clone();
        let statuses: Vec<i32> = filter.statuses.iter().map(|status| *status as i32).collect();
        pages(move |page_token| {
            let client = client.clone();
            let request = v1::ListRunsRequest {
                read: client.read_options(),
                namespace: client.namespace().to_owned(),
                workflow: filter.workflow.clone(),
                statuses: statuses.clone(),
                page_size: filter.page_size,
                page_token,
            };
            async move {
                let page = call!(client, request, runs.list_runs).await?;
                Ok(Page { items: page.runs, next: page.next_page_token })
            }
        })
    }

    /// The tasks of a run in file order, with one of these statuses (none: with any), fetched page by page.
    pub fn list_tasks(
        &self,
        run: impl Into<RunKey>,
        statuses: &[v1::TaskStatus],
    ) -> Items<v1::Task> {
        let run = self.run_ref(run);
        let client = self.clone();
        let statuses: Vec<i32> = statuses.iter().map(|status| *status as i32).collect();
        pages(move |page_token| {
            let client = client.clone();
            let request = v1::ListTasksRequest {
                read: client.read_options(),
                run: Some(run.clone()),
                statuses: statuses.clone(),
                page_size: 0,
                page_token,
            };
            async move {
                let page = call!(client, request, runs.list_tasks).await?;
                Ok(Page { items: page.tasks, next: page.next_page_token })
            }
        })
    }

    /// Why a task is where it is; without one, why each task that has not ended is, at most 20.
    ///
    /// # Errors
    /// `NOT_FOUND` if there is no such run or task.
    pub async fn explain(
        &self,
        run: impl Into<RunKey>,
        task: Option<&str>,
    ) -> Result<v1::ExplainRunResponse, Error> {
        let request = v1::ExplainRunRequest {
            run: Some(self.run_ref(run)),
            task: task.unwrap_or_default().to_owned(),
        };
        call!(self, request, runs.explain_run).await
    }

    /// Waits until a run has ended, over any change of leader, at most `limit` (none: for as long as masters answer).
    ///
    /// # Errors
    /// `DEADLINE_EXCEEDED` if the run is still going on after `limit`; `NOT_FOUND` if there is no such run.
    pub async fn wait_run(
        &self,
        run: impl Into<RunKey>,
        limit: Option<Duration>,
    ) -> Result<v1::Run, Error> {
        let run = run.into();
        let patient = self.patient();
        let end = limit.map(|limit| Instant::now() + limit);
        // Masters that are away for a while do not end the wait; their absence for longer than this does.
        let mut patience = Instant::now() + self.patience();
        loop {
            let now = Instant::now();
            let left = end.map_or(WAIT_SLICE, |end| end.saturating_duration_since(now));
            if left.is_zero() {
                return Err(Error::deadline(format!("{run} has not ended in time")));
            }
            let slice = now + left.min(WAIT_SLICE);
            let request = v1::WaitRunRequest { run: Some(self.run_ref(&run)) };
            match call!(patient, request, runs.wait_run, by slice).await {
                Ok(response) => {
                    let run = response.run.ok_or_else(|| Error::malformed("WaitRun", "run"))?;
                    if is_ended(&run) {
                        return Ok(run);
                    }
                    patience = Instant::now() + self.patience();
                    tokio::time::sleep(WAIT_PAUSE.min(left)).await;
                }
                Err(error) if error.is_deadline() => {
                    patience = Instant::now() + self.patience();
                }
                Err(error) if !error.failures().is_empty() && Instant::now() < patience => {}
                Err(error) => return Err(error),
            }
        }
    }

    pub(crate) fn run_ref(&self, run: impl Into<RunKey>) -> v1::RunRef {
        run.into().to_proto(self.namespace())
    }
}

/// Whether the run has come to its end.
pub fn is_ended(run: &v1::Run) -> bool {
    match run.status() {
        v1::RunStatus::Unspecified
        | v1::RunStatus::Queued
        | v1::RunStatus::Running
        | v1::RunStatus::Paused => false,
        v1::RunStatus::Succeeded | v1::RunStatus::Failed | v1::RunStatus::Cancelled => true,
    }
}
