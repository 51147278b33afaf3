//! Workers.

use muster_proto::v1;

use crate::client::{Client, call};
use crate::error::Error;
use crate::pages::{Items, Page, pages};

impl Client {
    /// The workers of the cluster, fetched page by page as the stream is read.
    pub fn list_workers(&self) -> Items<v1::Worker> {
        let client = self.clone();
        pages(move |page_token| {
            let client = client.clone();
            let request =
                v1::ListWorkersRequest { read: client.read_options(), page_size: 0, page_token };
            async move {
                let page = call!(client, request, workers.list_workers).await?;
                Ok(Page { items: page.workers, next: page.next_page_token })
            }
        })
    }

    /// A worker by name.
    ///
    /// # Errors
    /// `NOT_FOUND` if there is no such worker.
    pub async fn get_worker(&self, name: impl Into<String>) -> Result<v1::Worker, Error> {
        let request = v1::GetWorkerRequest { read: self.read_options(), name: name.into(), id: 0 };
        let response = call!(self, request, workers.get_worker).await?;
        response.worker.ok_or_else(|| Error::malformed("GetWorker", "worker"))
    }

    /// Has a worker take nothing new and finish what it has; `undrain` takes that back.
    ///
    /// # Errors
    /// `NOT_FOUND` if there is no such worker.
    pub async fn drain(&self, worker: impl Into<String>, undrain: bool) -> Result<(), Error> {
        let request = v1::DrainWorkerRequest {
            request_id: self.new_request_id(),
            name: worker.into(),
            id: 0,
            undrain,
        };
        call!(self, request, workers.drain_worker).await.map(drop)
    }
}
