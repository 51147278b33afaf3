//! `WorkflowService`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use muster_core::command::{ApplyWorkflow, Command};
use muster_core::ids::Name;
use muster_core::reply::{Rejection, Reply};
use muster_core::spec::{Request as CoreRequest, WorkflowSpec};
use muster_core::state::State;
use muster_core::state::workflow::{Workflow, WorkflowVersion};
use muster_planner::{Outlook, Summary};
use muster_proto::v1::workflow_service_client::WorkflowServiceClient;
use muster_proto::v1::workflow_service_server::WorkflowService;
use muster_proto::{convert, v1};
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};

use super::asker::{asked, asker};
use super::schedule::trigger_views;
use super::{answer, checked_spec, page_size, page_start, request_key};
use crate::faults;
use crate::forward::forward;
use crate::read::{body_digest, is_stale, namespace};
use crate::replica::Replica;

pub(crate) struct Workflows {
    pub(crate) replica: Arc<Replica>,
}

#[tonic::async_trait]
impl WorkflowService for Workflows {
    async fn apply_workflow(
        &self,
        request: Request<v1::ApplyWorkflowRequest>,
    ) -> Result<Response<v1::ApplyWorkflowResponse>, Status> {
        forward!(self.replica, request, WorkflowServiceClient<Channel>, apply_workflow);
        let (by, mut body) = (asker(&request), request.into_inner());
        let request_id = std::mem::take(&mut body.request_id);
        let key = request_key(&request_id, body_digest(&body))?;
        let spec = checked_spec(body.source)?;
        let name = spec.name.to_string();
        let command = ApplyWorkflow {
            request: key,
            namespace: namespace(&body.namespace)?,
            spec: Box::new(spec),
        };
        let command = asked(by, Command::ApplyWorkflow(command));
        match self.replica.proposer.propose(&command).await? {
            (_, Reply::WorkflowApplied { version, is_new }) => {
                Ok(answer(&self.replica, v1::ApplyWorkflowResponse { name, version, is_new }))
            }
            _ => Err(Status::internal("an apply was answered by something else")),
        }
    }

    async fn validate_workflow(
        &self,
        request: Request<v1::ValidateWorkflowRequest>,
    ) -> Result<Response<v1::ValidateWorkflowResponse>, Status> {
        let spec = checked_spec(request.into_inner().source)?;
        Ok(answer(
            &self.replica,
            v1::ValidateWorkflowResponse { spec: Some(convert::spec_to_proto(&spec)) },
        ))
    }

    async fn plan_workflow(
        &self,
        request: Request<v1::PlanWorkflowRequest>,
    ) -> Result<Response<v1::PlanWorkflowResponse>, Status> {
        // The leader alone hears from the workers.
        forward!(self.replica, request, WorkflowServiceClient<Channel>, plan_workflow);
        let body = request.into_inner();
        let (namespace, spec) = (namespace(&body.namespace)?, checked_spec(body.source)?);
        self.replica.barrier(None).await?;
        let (groups, live) = (by_request(&spec), self.replica.live.view());
        let planned = self.replica.cell.read(|state| {
            state.check_triggers(&namespace, &spec)?;
            let applied = state.workflow(namespace.as_str(), spec.name.as_str());
            let requests = groups.iter().map(|(request, _)| *request);
            let forecasts = muster_planner::forecast(state, &live, requests);
            let applied = applied.map(|it| full_view(state, it, version_of(state, it, 0)));
            let unknown = unknown_groups(state, &namespace, &spec);
            Ok((applied, forecasts, remarks(state, &namespace, &spec), unknown))
        });
        let (applied, forecasts, remarks, unknown_groups) =
            planned.map_err(|rejection: Rejection| faults::rejection(&rejection))?;
        let placements = groups.into_iter().zip(&forecasts);
        let placements = placements.map(|((_, tasks), summary)| forecast(tasks, summary)).collect();
        let spec = convert::spec_to_proto(&spec);
        let is_new = applied.as_ref().and_then(|it| it.spec.as_ref()) != Some(&spec);
        let spec = Some(spec);
        let response =
            v1::PlanWorkflowResponse { spec, applied, is_new, placements, remarks, unknown_groups };
        Ok(answer(&self.replica, response))
    }

    async fn get_workflow(
        &self,
        request: Request<v1::GetWorkflowRequest>,
    ) -> Result<Response<v1::GetWorkflowResponse>, Status> {
        if !is_stale(request.get_ref().read.as_ref()) {
            forward!(self.replica, request, WorkflowServiceClient<Channel>, get_workflow);
        }
        let body = request.into_inner();
        self.replica.barrier(body.read.as_ref()).await?;
        let namespace = namespace(&body.namespace)?;
        let found = self.replica.cell.read(|state| {
            let workflow = state.workflow(namespace.as_str(), &body.name)?;
            let version = version_of(state, workflow, body.version);
            let is_there = version.is_some() || body.version == 0;
            is_there.then(|| full_view(state, workflow, version))
        });
        let workflow = found.ok_or_else(|| not_found(&body, &namespace))?;
        Ok(answer(&self.replica, v1::GetWorkflowResponse { workflow: Some(workflow) }))
    }

    async fn list_workflows(
        &self,
        request: Request<v1::ListWorkflowsRequest>,
    ) -> Result<Response<v1::ListWorkflowsResponse>, Status> {
        if !is_stale(request.get_ref().read.as_ref()) {
            forward!(self.replica, request, WorkflowServiceClient<Channel>, list_workflows);
        }
        let body = request.into_inner();
        self.replica.barrier(body.read.as_ref()).await?;
        let namespace = namespace(&body.namespace)?;
        let after = page_start(&body.page_token, 'w')?.unwrap_or(0);
        let limit = page_size(body.page_size, 50, 1000);
        let workflows: Vec<(u64, v1::Workflow)> = self.replica.cell.read(|state| {
            let in_namespace =
                state.workflows().iter().filter(|it| it.namespace == namespace && it.id > after);
            let shown = |it: &Arc<Workflow>| (it.id, view(state, it, version_of(state, it, 0)));
            in_namespace.take(limit + 1).map(shown).collect()
        });
        let has_more = workflows.len() > limit;
        let page: Vec<_> = workflows.into_iter().take(limit).collect();
        let last = page.last().map_or(0, |(id, _)| *id);
        let next_page_token = if has_more { format!("w{last}") } else { String::new() };
        let workflows = page.into_iter().map(|(_, workflow)| workflow).collect();
        Ok(answer(&self.replica, v1::ListWorkflowsResponse { workflows, next_page_token }))
    }
}

/// What follows a workflow that is not there is right, and yet worth a word.
fn remarks(state: &State, namespace: &Name, spec: &WorkflowSpec) -> Vec<String> {
    let after = spec.triggers.iter().map(|trigger| (&trigger.name, &trigger.after));
    let missing = after.filter(|(_, after)| {
        let found = state.workflow(namespace.as_str(), after.as_str());
        found.is_none_or(|workflow| workflow.latest.is_none())
    });
    let remark = |(name, after)| {
        format!("{name}: workflow `{after}` is not applied; nothing happens before it is, and ran")
    };
    missing.map(remark).collect()
}

/// The concurrency groups that the tasks of a workflow name and the namespace does not have, by name.
fn unknown_groups(state: &State, namespace: &Name, spec: &WorkflowSpec) -> Vec<String> {
    let known = state.namespace(namespace).map(|it| &it.spec.groups);
    let named: BTreeSet<&Name> = spec.tasks.iter().flat_map(|it| &it.request.groups).collect();
    let unknown = named.into_iter().filter(|it| known.is_none_or(|all| !all.contains_key(*it)));
    unknown.map(Name::to_string).collect()
}

/// The tasks of a workflow that need a worker, by what they ask for, in file order.
fn by_request(spec: &WorkflowSpec) -> Vec<(&CoreRequest, Vec<String>)> {
    let mut groups: Vec<(&CoreRequest, Vec<String>)> = Vec::new();
    let mut known: BTreeMap<&CoreRequest, usize> = BTreeMap::new();
    for task in spec.tasks.iter().filter(|task| !task.is_approval()) {
        let at = *known.entry(&task.request).or_insert_with(|| {
            groups.push((&task.request, Vec::new()));
            groups.len() - 1
        });
        groups[at].1.push(task.id.to_string());
    }
    groups
}

fn forecast(tasks: Vec<String>, summary: &Summary) -> v1::PlacementForecast {
    let outlook = match summary.outlook {
        Outlook::Now => v1::Outlook::Now,
        Outlook::Busy => v1::Outlook::Busy,
        Outlook::Away => v1::Outlook::Away,
        Outlook::Never => v1::Outlook::Never,
    };
    v1::PlacementForecast {
        tasks,
        outlook: outlook.into(),
        workers: summary.workers,
        workers_with_room: summary.able,
        summary: format!("{summary}. {}", summary.outlook),
    }
}

/// The version with this number, if it is kept; the latest for 0.
fn version_of<'s>(
    state: &'s State,
    workflow: &'s Workflow,
    number: u32,
) -> Option<&'s Arc<WorkflowVersion>> {
    match number {
        0 => state.version(workflow.latest?),
        _ => kept(state, workflow).find(|version| version.number == number),
    }
}

/// The versions that are kept, the latest first.
fn kept<'s>(
    state: &'s State,
    workflow: &'s Workflow,
) -> impl Iterator<Item = &'s Arc<WorkflowVersion>> {
    let ids = workflow.latest.iter().chain(workflow.earlier.iter().rev());
    ids.filter_map(|id| state.version(*id))
}

fn versions(state: &State, workflow: &Workflow) -> Vec<v1::WorkflowVersion> {
    let version = |it: &Arc<WorkflowVersion>| v1::WorkflowVersion {
        workflow: workflow.name.to_string(),
        number: it.number,
        applied_at_ms: it.applied_at.0,
        tasks: it.spec.tasks.len() as u32,
        is_latest: workflow.latest == Some(it.id),
    };
    kept(state, workflow).map(version).collect()
}

fn not_found(asked: &v1::GetWorkflowRequest, namespace: &Name) -> Status {
    let name = match asked.version {
        0 => asked.name.clone(),
        version => format!("{}@{version}", asked.name),
    };
    let message = format!("workflow `{name}` does not exist in namespace `{namespace}`");
    faults::fault(Code::NotFound, "WORKFLOW_NOT_FOUND", message)
}

fn full_view(
    state: &State,
    workflow: &Workflow,
    shown: Option<&Arc<WorkflowVersion>>,
) -> v1::Workflow {
    v1::Workflow {
        spec: shown.map(|version| convert::spec_to_proto(&version.spec)),
        versions: versions(state, workflow),
        triggers: trigger_views(state, workflow),
        followers: followers(state, workflow),
        ..view(state, workflow, shown)
    }
}

/// The workflows that have a trigger after this one, by name.
fn followers(state: &State, workflow: &Workflow) -> Vec<String> {
    let after = state.triggers().after(&workflow.namespace, &workflow.name);
    let mut names: Vec<String> = after.map(|(name, _)| name.to_string()).collect();
    names.dedup();
    names
}

/// Without what only one workflow is shown with.
fn view(state: &State, workflow: &Workflow, shown: Option<&Arc<WorkflowVersion>>) -> v1::Workflow {
    v1::Workflow {
        namespace: workflow.namespace.to_string(),
        name: workflow.name.to_string(),
        latest_version: workflow.latest.map_or(0, |_| workflow.versions),
        runs: workflow.runs,
        live_runs: state.live_runs_of(workflow.id),
        spec: None,
        applied_at_ms: shown.map_or(0, |version| version.applied_at.0),
        version: shown.map_or(0, |version| version.number),
        versions: Vec::new(),
        triggers: Vec::new(),
        followers: Vec::new(),
    }
}
