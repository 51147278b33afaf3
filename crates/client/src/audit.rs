//! Who asked for what.

use muster_proto::v1;

use crate::client::{Client, call};
use crate::names::RunKey;
use crate::pages::{Items, Page, pages};

/// Which actions are wanted; all of the client's namespace and of the cluster unless said otherwise.
#[derive(Clone, Debug, Default)]
pub struct ActionFilter {
    /// Only what was done to this run and its tasks.
    pub run: Option<RunKey>,
    /// Only what this caller asked for, by the name that it gives itself.
    pub who: Option<String>,
    /// Those of all namespaces.
    pub all_namespaces: bool,
}

impl Client {
    /// What people and programs asked for in the last 30 days, the latest first, fetched page by page as the stream is
    /// read. Of very many actions only the latest 10,000 are kept.
    pub fn list_actions(&self, filter: ActionFilter) -> Items<v1::Action> {
        let client = self.clone();
        pages(move |page_token| {
            let client = client.clone();
            let request = v1::ListActionsRequest {
                read: client.read_options(),
                namespace: client.namespace().to_owned(),
                all_namespaces: filter.all_namespaces,
                run: filter.run.clone().map(|run| client.run_ref(run)),
                who: filter.who.clone().unwrap_or_default(),
                page_size: 0,
                page_token,
            };
            async move {
                let page = call!(client, request, audit.list_actions).await?;
                Ok(Page { items: page.actions, next: page.next_page_token })
            }
        })
    }
}
