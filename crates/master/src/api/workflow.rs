//! `WorkflowService`.

use std::sync::Arc;

use muster_core::command::{ApplyWorkflow, Command};
use muster_core::reply::Reply;
use muster_core::state::State;
use muster_core::state::workflow::Workflow;
use muster_proto::v1::workflow_service_client::WorkflowServiceClient;
use muster_proto::v1::workflow_service_server::WorkflowService;
use muster_proto::{convert, v1};
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};

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
        let mut body = request.into_inner();
        let request_id = std::mem::take(&mut body.request_id);
        let key = request_key(&request_id, body_digest(&body))?;
        let spec = checked_spec(body.source)?;
        let name = spec.name.to_string();
        let command = ApplyWorkflow {
            request: key,
            namespace: namespace(&body.namespace)?,
            spec: Box::new(spec),
        };
        match self.replica.proposer.propose(&Command::ApplyWorkflow(command)).await? {
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
            Some(view(state, workflow, true))
        });
        let workflow = found.ok_or_else(|| {
            let message =
                format!("workflow `{}` does not exist in namespace `{namespace}`", body.name);
            faults::fault(Code::NotFound, "WORKFLOW_NOT_FOUND", message)
        })?;
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
            in_namespace.take(limit + 1).map(|it| (it.id, view(state, it, false))).collect()
        });
        let has_more = workflows.len() > limit;
        let page: Vec<_> = workflows.into_iter().take(limit).collect();
        let last = page.last().map_or(0, |(id, _)| *id);
        let next_page_token = if has_more { format!("w{last}") } else { String::new() };
        let workflows = page.into_iter().map(|(_, workflow)| workflow).collect();
        Ok(answer(&self.replica, v1::ListWorkflowsResponse { workflows, next_page_token }))
    }
}

fn view(state: &State, workflow: &Workflow, with_spec: bool) -> v1::Workflow {
    let latest = workflow.latest.and_then(|id| state.version(id));
    v1::Workflow {
        namespace: workflow.namespace.to_string(),
        name: workflow.name.to_string(),
        latest_version: latest.map_or(0, |version| version.number),
        runs: workflow.runs,
        live_runs: state.live_runs_of(workflow.id),
        spec: latest.filter(|_| with_spec).map(|version| convert::spec_to_proto(&version.spec)),
        applied_at_ms: latest.map_or(0, |version| version.applied_at.0),
    }
}
