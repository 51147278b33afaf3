//! Schedules and triggers.

use muster_proto::v1;

use crate::client::{Client, call};
use crate::error::Error;
use crate::pages::{Items, Page, pages};

impl Client {
    /// The schedules of a workflow, or of all workflows of the client's namespace, fetched page by page as the stream
    /// is read.
    pub fn list_schedules(&self, workflow: Option<&str>) -> Items<v1::Schedule> {
        let (client, workflow) = (self.clone(), workflow.unwrap_or_default().to_owned());
        pages(move |page_token| {
            let client = client.clone();
            let request = v1::ListSchedulesRequest {
                read: client.read_options(),
                namespace: client.namespace().to_owned(),
                workflow: workflow.clone(),
                page_size: 0,
                page_token,
            };
            async move {
                let page = call!(client, request, schedules.list_schedules).await?;
                Ok(Page { items: page.schedules, next: page.next_page_token })
            }
        })
    }

    /// The triggers of a workflow, or of all workflows of the client's namespace, fetched page by page as the stream is
    /// read.
    pub fn list_triggers(&self, workflow: Option<&str>) -> Items<v1::Trigger> {
        let (client, workflow) = (self.clone(), workflow.unwrap_or_default().to_owned());
        pages(move |page_token| {
            let client = client.clone();
            let request = v1::ListSchedulesRequest {
                read: client.read_options(),
                namespace: client.namespace().to_owned(),
                workflow: workflow.clone(),
                page_size: 0,
                page_token,
            };
            async move {
                let page = call!(client, request, schedules.list_schedules).await?;
                Ok(Page { items: page.triggers, next: page.next_page_token })
            }
        })
    }

    /// Switches one schedule or trigger of a workflow off or on again, or all of them.
    ///
    /// # Errors
    /// `NOT_FOUND` if there is no such workflow, schedule or trigger; `FAILED_PRECONDITION` if the workflow's file
    /// switches it off.
    pub async fn suspend_schedule(
        &self,
        workflow: &str,
        schedule: Option<&str>,
        is_suspended: bool,
    ) -> Result<(), Error> {
        let request = v1::SuspendScheduleRequest {
            request_id: self.new_request_id(),
            namespace: self.namespace().to_owned(),
            workflow: workflow.to_owned(),
            schedule: schedule.unwrap_or_default().to_owned(),
            is_suspended,
        };
        call!(self, request, schedules.suspend_schedule).await?;
        Ok(())
    }
}
