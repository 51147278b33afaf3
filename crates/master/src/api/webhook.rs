//! Webhooks: HTTP calls by which programs outside of the cluster start workflows.
//!
//! `POST /webhooks/NAMESPACE/WORKFLOW/WEBHOOK` becomes a submission, sent through the same service as any other. Who
//! calls is judged by what this master has applied; before a call is turned away it catches up with the leader, so that
//! nobody is turned away for what it does not know yet.

mod answer;
mod call;
mod credential;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::extract::{Path, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Version};
use axum::middleware::Next;
use axum::response::Response;
use axum::routing::post;
use muster_core::spec::webhook::WebhookSpec;
use muster_proto::v1;
use muster_proto::v1::audit_service_server::AuditService;
use muster_proto::v1::run_service_server::RunService;
use tokio::sync::{Mutex, Semaphore};
use tonic::metadata::MetadataMap;

use self::answer::Refusal;
use super::asker;
use super::audit::Audit;
use super::run::Runs;
use crate::replica::Replica;

/// Largest body of a call, in bytes.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Most bodies in memory at once.
const BODIES_MAX: usize = 64;
/// Longest wait for a body, and for the run.
const PATIENCE: Duration = Duration::from_secs(10);
/// Headers that tell the same call sent again from another one; GitHub and GitLab have their own.
const CALL_IDS: [&str; 4] =
    ["idempotency-key", "webhook-id", "x-github-delivery", "x-gitlab-event-uuid"];

/// Namespace, workflow and webhook.
type Address = (String, String, String);

/// What HTTP is for here: gRPC over HTTP/2, which web pages cannot speak to a port without TLS, and webhooks over
/// either. Whatever else comes is turned away, above all gRPC over HTTP/1.1: a web page in a browser on this machine
/// can send that to a master that listens on loopback alone.
pub(crate) async fn only_known_ways(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if let Some(rest) = path.strip_prefix("/webhooks") {
        let segments = rest.strip_prefix('/').map_or(0, |rest| rest.split('/').count());
        let is_whole = segments == 3 && !rest.split('/').skip(1).any(str::is_empty);
        return if is_whole { next.run(request).await } else { Refusal::no_path().answer() };
    }
    if request.version() != Version::HTTP_2 {
        return Refusal::no_path().answer();
    }
    next.run(request).await
}

/// The paths that are called.
pub(crate) fn routes(replica: Arc<Replica>) -> Router {
    let path = "/webhooks/{namespace}/{workflow}/{webhook}";
    let bodies = Arc::new(Semaphore::new(BODIES_MAX));
    let webhooks = Webhooks { replica, catching_up: Arc::default(), bodies };
    Router::new().route(path, post(called)).with_state(webhooks)
}

#[derive(Clone)]
struct Webhooks {
    replica: Arc<Replica>,
    /// Held by the call that catches up: one at a time, for anybody can make a call that is turned away.
    catching_up: Arc<Mutex<()>>,
    /// A permit for each body that is in memory.
    bodies: Arc<Semaphore>,
}

async fn called(
    State(webhooks): State<Webhooks>,
    Path(address): Path<Address>,
    request: Request,
) -> Response {
    let (head, body) = request.into_parts();
    let answered = tokio::time::timeout(PATIENCE, async {
        let read =
            async || to_bytes(body, BODY_BYTES_MAX).await.map_err(|error| Refusal::body(&error));
        webhooks.call(&address, &head, read).await
    });
    match answered.await {
        Ok(Ok(run)) => answer::accepted(&run),
        Ok(Err(refusal)) => refusal.answer(),
        Err(_) => Refusal::late().answer(),
    }
}

impl Webhooks {
    async fn call(
        &self,
        address: &Address,
        head: &Parts,
        body: impl AsyncFnOnce() -> Result<Bytes, Refusal>,
    ) -> Result<v1::SubmitRunResponse, Refusal> {
        let (webhook, body) = self.admit(address, &head.headers, body).await?;
        // A large body is read anew for each reference: that is nothing for a thread that others wait for.
        let headers = head.headers.clone();
        let filled_in = move || call::params(&webhook, &headers, &body);
        let params = self.replica.config.platform.blocking(filled_in).await;
        let params = params.map_err(|_| Refusal::late())??;
        let (namespace, workflow, _) = address;
        let submission = v1::SubmitRunRequest {
            request_id: request_id(address, &head.headers),
            namespace: namespace.clone(),
            what: Some(v1::submit_run_request::What::Workflow(workflow.clone())),
            params,
            ..v1::SubmitRunRequest::default()
        };
        let mut request =
            tonic::Request::from_parts(MetadataMap::new(), head.extensions.clone(), submission);
        asker::name(&mut request, &format!("webhook {}", address.2));
        let runs = Runs { replica: self.replica.clone() };
        Ok(runs.submit_run(request).await?.into_inner())
    }

    /// The webhook, and the body of a call that shows what its callers must show. A body is taken only once a token was
    /// right, or of a webhook whose calls are signed.
    async fn admit(
        &self,
        address: &Address,
        headers: &HeaderMap,
        body: impl AsyncFnOnce() -> Result<Bytes, Refusal>,
    ) -> Result<(WebhookSpec, Bytes), Refusal> {
        let webhook = match self.judge(address, headers, None).await {
            // This master may only not know yet.
            Err(refusal) if refusal.may_be_outdated() => {
                self.catch_up().await?;
                self.judge(address, headers, None).await?
            }
            judged => judged?,
        };
        let _room = self.bodies.acquire().await.map_err(|_| Refusal::late())?;
        let body = body().await?;
        self.judge(address, headers, Some(&body)).await?;
        Ok((webhook, body))
    }

    /// The webhook, if the call shows what it must, as far as that can be said without the body.
    async fn judge(
        &self,
        address: &Address,
        headers: &HeaderMap,
        body: Option<&[u8]>,
    ) -> Result<WebhookSpec, Refusal> {
        let webhook = self.find(address).ok_or_else(|| Refusal::unknown(address))?;
        let keys = credential::Keys { replica: &self.replica, namespace: &address.0 };
        keys.judge(&webhook.credential, headers, body).await?;
        Ok(webhook)
    }

    /// The webhook, as far as this master knows.
    fn find(&self, (namespace, workflow, webhook): &Address) -> Option<WebhookSpec> {
        self.replica.cell.read(|state| {
            let version = state.version(state.workflow(namespace, workflow)?.latest?)?;
            let mut webhooks = version.spec.webhooks.iter();
            webhooks.find(|it| it.name.as_str() == webhook).cloned()
        })
    }

    /// Waits until this master knows what the leader knew when the wait began.
    async fn catch_up(&self) -> Result<(), Refusal> {
        let _turn = self.catching_up.lock().await;
        // Any read that the leader answers says how far the leader is; this one looks at a single action.
        let audit = Audit { replica: self.replica.clone() };
        let ask = v1::ListActionsRequest {
            page_size: 1,
            all_namespaces: true,
            ..v1::ListActionsRequest::default()
        };
        let answer = audit.list_actions(tonic::Request::new(ask)).await?;
        let applied = answer.metadata().get("muster-applied-index");
        let applied = applied.and_then(|it| it.to_str().ok()?.parse().ok()).unwrap_or(0);
        let options = v1::ReadOptions {
            consistency: v1::Consistency::Stale.into(),
            min_applied_index: applied,
        };
        Ok(self.replica.barrier(Some(&options)).await?)
    }
}

/// The id of the submission, if the caller says which call it is. Ids are one space for the whole cluster, so what is
/// called is a part of it; and they have a bound, so it is a digest.
fn request_id((namespace, workflow, webhook): &Address, headers: &HeaderMap) -> String {
    let given = CALL_IDS.iter().find_map(|name| headers.get(*name).map(|id| (name, id)));
    let Some((name, id)) = given else { return String::new() };
    let of_what = format!("{namespace}/{workflow}/{webhook}/{name}/");
    let whole = [of_what.as_bytes(), id.as_bytes()].concat();
    format!("webhook-{}", credential::hex(&credential::sha256(&whole)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_told_apart_by_what_is_called_and_by_their_ids() {
        let id = |webhook: &str, header: &'static str, id: &str| {
            let address = ("default".to_owned(), "etl".to_owned(), webhook.to_owned());
            let headers = [(header.parse().unwrap(), id.parse().unwrap())].into_iter().collect();
            request_id(&address, &headers)
        };
        let one = id("push", "idempotency-key", "7");
        assert_eq!(one, id("push", "idempotency-key", "7"));
        assert!(one.len() <= muster_core::limits::REQUEST_ID_BYTES_MAX, "{one}");
        for other in [
            id("pull", "idempotency-key", "7"),
            id("push", "idempotency-key", "8"),
            id("push", "webhook-id", "7"),
        ] {
            assert_ne!(one, other);
        }
        assert_eq!(id("push", "x-request-id", "7"), "");
    }
}
