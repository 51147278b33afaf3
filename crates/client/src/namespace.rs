//! Namespaces.

use muster_proto::v1;

use crate::client::{Client, call};
use crate::error::Error;
use crate::pages::{Items, Page, pages};

impl Client {
    /// Gives a namespace its weight, its quota and its concurrency groups. The namespace of the client does not matter.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` if it is not well-formed.
    pub async fn apply_namespace(
        &self,
        spec: v1::NamespaceSpec,
    ) -> Result<v1::ApplyNamespaceResponse, Error> {
        let request =
            v1::ApplyNamespaceRequest { request_id: self.new_request_id(), spec: Some(spec) };
        call!(self, request, namespaces.apply_namespace).await
    }

    /// A namespace, with what it has.
    ///
    /// # Errors
    /// `NOT_FOUND` if it was never applied and has no workflow.
    pub async fn get_namespace(&self, name: impl Into<String>) -> Result<v1::Namespace, Error> {
        let request = v1::GetNamespaceRequest { read: self.read_options(), name: name.into() };
        let response = call!(self, request, namespaces.get_namespace).await?;
        response.namespace.ok_or_else(|| Error::malformed("GetNamespace", "namespace"))
    }

    /// All namespaces that were applied or that have a workflow, by name, fetched page by page as the stream is read.
    pub fn list_namespaces(&self) -> Items<v1::Namespace> {
        let client = self.clone();
        pages(move |page_token| {
            let client = client.clone();
            let read = client.read_options();
            let request = v1::ListNamespacesRequest { read, page_size: 0, page_token };
            async move {
                let page = call!(client, request, namespaces.list_namespaces).await?;
                Ok(Page { items: page.namespaces, next: page.next_page_token })
            }
        })
    }
}
