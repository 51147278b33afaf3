//! `RunService`: submitting, cancelling and looking at runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use muster_core::command::{CancelRun, Command, ReleaseTask, RunSource, SubmitRun};
use muster_core::ids::{Name, RunId, TaskIndex};
use muster_core::reply::{Rejection, Reply};
use muster_core::state::run::{Params, Run};
use muster_proto::v1::run_service_client::RunServiceClient;
use muster_proto::v1::run_service_server::RunService;
use muster_proto::v1::submit_run_request::What;
use muster_proto::{convert, v1};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};

use super::asker::{asked, asker};
use super::{
    Answers, answer, answered, bounded_page, checked_spec, is_large, page_size, page_start,
    request_key,
};
use crate::faults;
use crate::forward::{forward, forward_stream};
use crate::leader::question;
use crate::propose::NotDone;
use crate::read::{body_digest, is_stale, namespace};
use crate::replica::Replica;
use crate::view;
use crate::watch::{RunSignal, follow};

/// Tasks that one explanation covers at most.
const EXPLAINED_MAX: usize = 20;
/// Ended runs that one call to list runs looks through, roughly.
const SCANNED_MAX: usize = 2000;

pub(crate) struct Runs {
    pub(crate) replica: Arc<Replica>,
}

type Client = RunServiceClient<Channel>;

#[tonic::async_trait]
impl RunService for Runs {
    async fn submit_run(
        &self,
        request: Request<v1::SubmitRunRequest>,
    ) -> Result<Response<v1::SubmitRunResponse>, Status> {
        forward!(self.replica, request, Client, submit_run);
        let (by, mut body) = (asker(&request), request.into_inner());
        let request_id = std::mem::take(&mut body.request_id);
        let key = request_key(&request_id, body_digest(&body))?;
        let namespace = namespace(&body.namespace)?;
        let backfill = match (&body.backfill, &body.what, body.version) {
            (None, ..) => None,
            (Some(asked), Some(What::Workflow(workflow)), 0) => {
                self.replica.barrier(None).await?;
                let is_known = answered(&self.replica, key.as_ref())?.is_some();
                Some(self.replica.fire_origin(&namespace, workflow, asked, is_known)?)
            }
            (Some(_), ..) => {
                let text = "only for the latest version of a workflow that was applied";
                return Err(faults::bad_field("backfill", text));
            }
        };
        let command = SubmitRun {
            request: key,
            namespace: namespace.clone(),
            source: source(body.what, body.version)?,
            backfill,
            params: Arc::new(params(&body.params)?),
            priority: body.priority,
        };
        match self.replica.proposer.submit(&asked(by, Command::SubmitRun(command))).await? {
            (_, Reply::RunSubmitted { run, workflow, number }) => {
                let (namespace, workflow) = (namespace.to_string(), workflow.to_string());
                Ok(answer(
                    &self.replica,
                    v1::SubmitRunResponse { run_id: run.0, namespace, workflow, number },
                ))
            }
            _ => Err(Status::internal("a submission was answered by something else")),
        }
    }

    async fn cancel_run(
        &self,
        request: Request<v1::CancelRunRequest>,
    ) -> Result<Response<v1::CancelRunResponse>, Status> {
        forward!(self.replica, request, Client, cancel_run);
        self.replica.barrier(None).await?;
        let (by, mut body) = (asker(&request), request.into_inner());
        let request_id = std::mem::take(&mut body.request_id);
        let key = request_key(&request_id, body_digest(&body))?;
        if answered(&self.replica, key.as_ref())?.is_some() {
            return Ok(answer(&self.replica, v1::CancelRunResponse { is_cancelling: true }));
        }
        let run = self.replica.find_run(body.run.as_ref())?.id;
        let command = asked(by, Command::CancelRun(CancelRun { request: key, run }));
        let is_cancelling = match self.replica.proposer.propose(&command).await {
            Ok(_) => true,
            Err(NotDone::Rejected(Rejection::NoSuchRun { .. })) => false,
            Err(error) => return Err(error.into()),
        };
        Ok(answer(&self.replica, v1::CancelRunResponse { is_cancelling }))
    }

    async fn pause_run(
        &self,
        request: Request<v1::PauseRunRequest>,
    ) -> Result<Response<v1::PauseRunResponse>, Status> {
        forward!(self.replica, request, Client, pause_run);
        self.pause(request).await?;
        Ok(answer(&self.replica, v1::PauseRunResponse {}))
    }

    async fn prioritize_run(
        &self,
        request: Request<v1::PrioritizeRunRequest>,
    ) -> Result<Response<v1::PrioritizeRunResponse>, Status> {
        forward!(self.replica, request, Client, prioritize_run);
        self.prioritize(request).await?;
        Ok(answer(&self.replica, v1::PrioritizeRunResponse {}))
    }

    async fn end_task(
        &self,
        request: Request<v1::EndTaskRequest>,
    ) -> Result<Response<v1::EndTaskResponse>, Status> {
        forward!(self.replica, request, Client, end_task);
        self.end(request).await?;
        Ok(answer(&self.replica, v1::EndTaskResponse {}))
    }

    async fn retry_run(
        &self,
        request: Request<v1::RetryRunRequest>,
    ) -> Result<Response<v1::RetryRunResponse>, Status> {
        forward!(self.replica, request, Client, retry_run);
        let retried = self.retry(request).await?;
        Ok(answer(&self.replica, retried))
    }

    async fn release_task(
        &self,
        request: Request<v1::ReleaseTaskRequest>,
    ) -> Result<Response<v1::ReleaseTaskResponse>, Status> {
        forward!(self.replica, request, Client, release_task);
        self.replica.barrier(None).await?;
        let (by, mut body) = (asker(&request), request.into_inner());
        let request_id = std::mem::take(&mut body.request_id);
        let key = request_key(&request_id, body_digest(&body))?;
        if answered(&self.replica, key.as_ref())?.is_some() {
            return Ok(answer(&self.replica, v1::ReleaseTaskResponse {}));
        }
        let run = self.replica.find_run(body.run.as_ref())?.id;
        let task = self.replica.with_run(run, |run| task_named(run, &body.task))??;
        let command = ReleaseTask { request: key, run, task, rerun: body.rerun };
        self.replica.proposer.propose(&asked(by, Command::ReleaseTask(command))).await?;
        Ok(answer(&self.replica, v1::ReleaseTaskResponse {}))
    }

    async fn get_run(
        &self,
        request: Request<v1::GetRunRequest>,
    ) -> Result<Response<v1::GetRunResponse>, Status> {
        if !is_stale(request.get_ref().read.as_ref()) {
            forward!(self.replica, request, Client, get_run);
        }
        let body = request.into_inner();
        self.replica.barrier(body.read.as_ref()).await?;
        let found = self.replica.find_run(body.run.as_ref())?;
        let (run, spec) = self.replica.with_run(found.id, |run| {
            (
                view::run_in_full(run),
                body.with_spec.then(|| convert::spec_to_proto(&run.version.spec)),
            )
        })?;
        Ok(answer(&self.replica, v1::GetRunResponse { run: Some(run), spec }))
    }

    async fn list_runs(
        &self,
        request: Request<v1::ListRunsRequest>,
    ) -> Result<Response<v1::ListRunsResponse>, Status> {
        if !is_stale(request.get_ref().read.as_ref()) {
            forward!(self.replica, request, Client, list_runs);
        }
        let body = request.into_inner();
        self.replica.barrier(body.read.as_ref()).await?;
        let (runs, next_page_token) = self.page_of_runs(&body)?;
        Ok(answer(&self.replica, v1::ListRunsResponse { runs, next_page_token }))
    }

    async fn list_tasks(
        &self,
        request: Request<v1::ListTasksRequest>,
    ) -> Result<Response<v1::ListTasksResponse>, Status> {
        if !is_stale(request.get_ref().read.as_ref()) {
            forward!(self.replica, request, Client, list_tasks);
        }
        let body = request.into_inner();
        self.replica.barrier(body.read.as_ref()).await?;
        let found = self.replica.find_run(body.run.as_ref())?;
        let start = page_start(&body.page_token, 't')?.unwrap_or(0) as usize;
        let limit = page_size(body.page_size, 1000, 10_000);
        let wanted: Vec<_> = body.statuses().collect();
        let (mut tasks, next) = self.replica.with_run(found.id, |run| {
            let all = (start..run.tasks.len()).map(|position| {
                let index = TaskIndex(position as u32);
                view::task(run, index, &run.tasks[position])
            });
            let matching = all.filter(|task| wanted.is_empty() || wanted.contains(&task.status()));
            bounded_page(matching, limit)
        })?;
        self.name_workers(&mut tasks);
        let next_page_token = next.map(|task| format!("t{}", task.index)).unwrap_or_default();
        Ok(answer(&self.replica, v1::ListTasksResponse { tasks, next_page_token }))
    }

    async fn explain_run(
        &self,
        request: Request<v1::ExplainRunRequest>,
    ) -> Result<Response<v1::ExplainRunResponse>, Status> {
        // Only the leader hears from the workers.
        forward!(self.replica, request, Client, explain_run);
        self.replica.barrier(None).await?;
        let body = request.into_inner();
        let found = self.replica.find_run(body.run.as_ref())?;
        let (run, indexes) = self.replica.with_run(found.id, |run| {
            let indexes = if body.task.is_empty() {
                let open =
                    (0..run.tasks.len()).filter(|position| run.tasks[*position].end().is_none());
                Ok(open.map(|position| TaskIndex(position as u32)).take(EXPLAINED_MAX).collect())
            } else {
                task_named(run, &body.task).map(|index| vec![index])
            };
            (view::run(run), indexes)
        })?;
        let tasks = indexes?
            .into_iter()
            .map(|index| self.explain(found.id, index))
            .collect::<Result<_, _>>()?;
        Ok(answer(&self.replica, v1::ExplainRunResponse { run: Some(run), tasks }))
    }

    async fn wait_run(
        &self,
        request: Request<v1::WaitRunRequest>,
    ) -> Result<Response<v1::WaitRunResponse>, Status> {
        forward!(self.replica, request, Client, wait_run);
        self.replica.barrier(None).await?;
        let found = self.replica.find_run(request.into_inner().run.as_ref())?;
        let mut signal = RunSignal::new(&self.replica.cell, found.id);
        let leads_no_more = self.replica.leads_no_more();
        tokio::pin!(leads_no_more);
        loop {
            let run = self
                .replica
                .with_run(found.id, |run| run.ended.is_some().then(|| view::run(run)))?;
            if run.is_some() {
                return Ok(answer(&self.replica, v1::WaitRunResponse { run }));
            }
            tokio::select! {
                () = signal.changed() => {}
                () = &mut leads_no_more => return Err(faults::no_leader()),
            }
        }
    }

    type WatchRunStream = Answers<v1::WatchRunResponse>;

    async fn watch_run(
        &self,
        request: Request<v1::WatchRunRequest>,
    ) -> Result<Response<Self::WatchRunStream>, Status> {
        forward_stream!(self.replica, request, Client, watch_run);
        self.replica.barrier(None).await?;
        let found = self.replica.find_run(request.into_inner().run.as_ref())?;
        let (sender, receiver) = mpsc::channel(4);
        tokio::spawn(follow(self.replica.clone(), found, sender));
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

impl Runs {
    /// Runs newest first: live ones and ended ones merged by id.
    fn page_of_runs(&self, body: &v1::ListRunsRequest) -> Result<(Vec<v1::Run>, String), Status> {
        let namespace = namespace(&body.namespace)?;
        let limit = page_size(body.page_size, 50, 1000);
        let mut before = page_start(&body.page_token, 'r')?.unwrap_or(u64::MAX);
        let statuses: Vec<_> = body.statuses().collect();
        let is_wanted = |run: &Run| {
            run.version.namespace == namespace
                && (body.workflow.is_empty() || run.version.workflow.as_str() == body.workflow)
                && (statuses.is_empty() || statuses.contains(&view::run_status(run.status())))
        };
        let mut page: Vec<v1::Run> = Vec::new();
        for _ in 0..SCANNED_MAX.div_ceil(limit) {
            let (slice, floor) = self.slice_of_runs(before, limit, &is_wanted)?;
            let wanted = limit - page.len();
            let (more, next) = bounded_page(slice.into_values().rev(), wanted);
            page.extend(more);
            if next.is_some() {
                let last = page.last().map_or(before, |run| run.id);
                return Ok((page, view::page_token(RunId(last))));
            }
            if floor == 0 {
                return Ok((page, String::new()));
            }
            before = floor;
            if is_large(&page) {
                break;
            }
        }
        // The runs are large, or few of many are wanted: the caller goes on from here.
        Ok((page, view::page_token(RunId(before))))
    }

    /// The wanted runs of a slice of ids below `before`, and the id where the slice begins; 0 if that is the end.
    fn slice_of_runs(
        &self,
        before: u64,
        limit: usize,
        is_wanted: &dyn Fn(&Run) -> bool,
    ) -> Result<(BTreeMap<u64, v1::Run>, u64), Status> {
        // The history is looked at before and behind the live runs: a run that ends meanwhile would be in neither if
        // it came first alone. It only ever moves the floor up.
        let floor = self.replica.ended_floor(before, limit)?;
        let mut slice: BTreeMap<u64, v1::Run> = self.replica.cell.read_runs(|state, just_ended| {
            let live = state.runs().iter_below(before).take_while(|(id, _)| *id >= floor);
            let live = live.filter(|(_, run)| is_wanted(run)).take(limit + 1);
            let ended = just_ended.range(RunId(floor)..RunId(before));
            let ended = ended.filter(|(_, run)| is_wanted(run)).map(|(id, run)| (id.0, run));
            live.chain(ended).map(|(id, run)| (id, view::run(run))).collect()
        });
        let ended = self.replica.ended_page(Some(before), limit)?;
        let floor = match ended.last() {
            Some(last) if ended.len() >= limit => last.id.0,
            _ => 0,
        };
        slice.retain(|id, _| *id >= floor);
        for run in ended.iter().filter(|run| is_wanted(run)) {
            slice.insert(run.id.0, view::run(run));
        }
        Ok((slice, floor))
    }

    /// Fills in the names of workers that are still known.
    fn name_workers(&self, tasks: &mut [v1::Task]) {
        self.replica.cell.read(|state| {
            for task in tasks.iter_mut().filter(|task| task.worker_id > 0) {
                let worker = state.worker(muster_core::ids::WorkerId(task.worker_id));
                task.worker = worker.map(|worker| worker.name.to_string()).unwrap_or_default();
            }
        });
    }

    fn explain(&self, run: RunId, index: TaskIndex) -> Result<v1::TaskExplanation, Status> {
        let view = self.replica.live.view();
        let live =
            self.replica.cell.read(|state| muster_planner::explain(state, &view, run, index));
        if let Some(mut explanation) = live {
            // The log's time stands still while nothing is written.
            explanation.at = self.replica.clock.now();
            return self.replica.with_run(run, |run| {
                if let (Some(approval), Some(spec)) = (&mut explanation.approval, run.spec(index)) {
                    approval.message = question(run, spec).map(Into::into);
                }
                explained(run, &explanation)
            });
        }
        let ended =
            self.replica.with_run(run, |run| muster_planner::explain_progress(run, index))?;
        let mut ended = ended.ok_or_else(|| Status::internal("a task of the run is not in it"))?;
        self.replica.cell.read(|state| ended.name_workers(state));
        self.replica.with_run(run, |run| explained(run, &ended))
    }
}

fn explained(run: &Run, explanation: &muster_planner::Explanation) -> v1::TaskExplanation {
    let verdict = |verdict: &muster_planner::WorkerVerdict| v1::WorkerVerdict {
        worker: verdict.name.to_string(),
        worker_id: verdict.worker.0,
        unmet: verdict.obstacles.iter().map(ToString::to_string).collect(),
    };
    let workers = explanation.workers.as_ref();
    v1::TaskExplanation {
        task: run.spec(explanation.task).map(|spec| spec.id.to_string()).unwrap_or_default(),
        status: view::task_status(explanation.status) as i32,
        summary: explanation.to_string().trim_end().to_owned(),
        is_infeasible: explanation.is_stuck(),
        workers: workers
            .map(|report| report.workers.iter().map(verdict).collect())
            .unwrap_or_default(),
    }
}

fn source(what: Option<What>, version: u32) -> Result<RunSource, Status> {
    match what.ok_or_else(|| faults::bad_field("what", "name a workflow, or give one"))? {
        What::Workflow(name) => {
            let workflow = Name::parse(&name)
                .map_err(|error| faults::bad_field("workflow", error.to_string()))?;
            Ok(RunSource::Workflow { workflow, version: (version > 0).then_some(version) })
        }
        What::Source(source) => {
            checked_spec(Some(source)).map(|spec| RunSource::Apply(Box::new(spec)))
        }
        What::OneOff(source) => {
            checked_spec(Some(source)).map(|spec| RunSource::OneOff(Box::new(spec)))
        }
    }
}

pub(super) fn params(given: &BTreeMap<String, String>) -> Result<Params, Status> {
    let parse = |(key, value): (&String, &String)| {
        let name = Name::parse(key)
            .map_err(|error| faults::bad_field(&format!("params.{key}"), error.to_string()))?;
        Ok((name, value.as_str().into()))
    };
    given.iter().map(parse).collect()
}

pub(super) fn task_named(run: &Run, name: &str) -> Result<TaskIndex, Status> {
    let position = run.version.spec.tasks.iter().position(|task| task.id.as_str() == name);
    position.map(|position| TaskIndex(position as u32)).ok_or_else(|| {
        let message = format!("run {} has no task `{name}`", run.label());
        faults::fault(Code::NotFound, "TASK_NOT_FOUND", message)
    })
}
