//! Workflows.

use muster_proto::v1;

use crate::client::{Client, call};
use crate::error::Error;
use crate::names::Source;
use crate::pages::{Items, Page, pages};

impl Client {
    /// Applies a workflow: a new version, unless the latest is equal.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` if it is not well-formed.
    pub async fn apply(
        &self,
        source: impl Into<Source>,
    ) -> Result<v1::ApplyWorkflowResponse, Error> {
        let request = v1::ApplyWorkflowRequest {
            request_id: self.new_request_id(),
            namespace: self.namespace().to_owned(),
            source: Some(source.into().into_proto()),
        };
        call!(self, request, workflows.apply_workflow).await
    }

    /// Checks a workflow without changing anything, and returns it with every default filled in.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` if it is not well-formed.
    pub async fn validate(&self, source: impl Into<Source>) -> Result<v1::WorkflowSpec, Error> {
        let request = v1::ValidateWorkflowRequest { source: Some(source.into().into_proto()) };
        let response = call!(self, request, workflows.validate_workflow).await?;
        response.spec.ok_or_else(|| Error::malformed("ValidateWorkflow", "spec"))
    }

    /// What applying a workflow would change, and what the workers say to its tasks now. Nothing is changed.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` if it is not well-formed.
    pub async fn plan(&self, source: impl Into<Source>) -> Result<v1::PlanWorkflowResponse, Error> {
        let request = v1::PlanWorkflowRequest {
            namespace: self.namespace().to_owned(),
            source: Some(source.into().into_proto()),
        };
        call!(self, request, workflows.plan_workflow).await
    }

    /// A workflow with the spec of its latest version.
    ///
    /// # Errors
    /// `NOT_FOUND` if there is no such workflow.
    pub async fn get_workflow(&self, name: impl Into<String>) -> Result<v1::Workflow, Error> {
        self.get_workflow_version(name, 0).await
    }

    /// A workflow with the spec of one of its versions; 0: the latest. The latest 10 before the latest are kept.
    ///
    /// # Errors
    /// `NOT_FOUND` if there is no such workflow, or that version is not kept.
    pub async fn get_workflow_version(
        &self,
        name: impl Into<String>,
        version: u32,
    ) -> Result<v1::Workflow, Error> {
        let request = v1::GetWorkflowRequest {
            read: self.read_options(),
            namespace: self.namespace().to_owned(),
            name: name.into(),
            version,
        };
        let response = call!(self, request, workflows.get_workflow).await?;
        response.workflow.ok_or_else(|| Error::malformed("GetWorkflow", "workflow"))
    }

    /// The workflows of the client's namespace, fetched page by page as the stream is read.
    pub fn list_workflows(&self) -> Items<v1::Workflow> {
        let client = self.clone();
        pages(move |page_token| {
            let client = client.clone();
            let request = v1::ListWorkflowsRequest {
                read: client.read_options(),
                namespace: client.namespace().to_owned(),
                page_size: 0,
                page_token,
            };
            async move {
                let page = call!(client, request, workflows.list_workflows).await?;
                Ok(Page { items: page.workflows, next: page.next_page_token })
            }
        })
    }
}
