//! One place where a local fault that must stop the process is reported.

use std::sync::Arc;

use tokio::sync::watch;

use crate::error::StoreError;

/// Reports the first fault to whoever watches. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Fatal(Arc<watch::Sender<Option<StoreError>>>);

impl Fatal {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }

    /// Later faults are consequences of the first and are dropped.
    pub(crate) fn report(&self, error: &StoreError) {
        self.0.send_if_modified(|first| {
            if first.is_some() {
                return false;
            }
            tracing::error!(%error, "this master cannot go on");
            *first = Some(error.clone());
            true
        });
    }

    pub(crate) fn get(&self) -> Option<StoreError> {
        self.0.borrow().clone()
    }

    /// Returns once a fault was reported.
    pub(crate) async fn reported(&self) -> StoreError {
        let mut receiver = self.0.subscribe();
        let seen = receiver.wait_for(Option::is_some).await.expect("the sender is held by self");
        seen.clone().expect("waited for a fault")
    }
}
