//! `AuditService`: who asked for what.

use std::sync::Arc;

use muster_core::ids::RunId;
use muster_core::state::trail::{Action, Asker, Deed};
use muster_proto::v1;
use muster_proto::v1::audit_service_client::AuditServiceClient;
use muster_proto::v1::audit_service_server::AuditService;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use super::{answer, bounded_page, page_size, page_start};
use crate::forward::forward;
use crate::read::{is_stale, namespace};
use crate::replica::Replica;

pub(crate) struct Audit {
    pub(crate) replica: Arc<Replica>,
}

#[tonic::async_trait]
impl AuditService for Audit {
    async fn list_actions(
        &self,
        request: Request<v1::ListActionsRequest>,
    ) -> Result<Response<v1::ListActionsResponse>, Status> {
        if !is_stale(request.get_ref().read.as_ref()) {
            forward!(self.replica, request, AuditServiceClient<Channel>, list_actions);
        }
        let body = request.into_inner();
        self.replica.barrier(body.read.as_ref()).await?;
        let below = page_start(&body.page_token, 'a')?.unwrap_or(u64::MAX);
        let limit = page_size(body.page_size, 50, 1000);
        let namespace = namespace(&body.namespace)?;
        let run = match &body.run {
            Some(_) => Some(self.replica.find_run(body.run.as_ref())?.id),
            None => None,
        };
        let is_asked = |action: &Action| {
            let is_of_run = run.is_none_or(|run: RunId| action.run == Some(run));
            let is_near = run.is_some()
                || body.all_namespaces
                || action.namespace.as_ref().is_none_or(|it| *it == namespace);
            is_of_run && is_near && (body.who.is_empty() || *action.by.who == *body.who)
        };
        let (actions, next) = self.replica.cell.read(|state| {
            let latest_first = state.trail().actions().iter_below(below);
            let asked = latest_first.filter(|(_, action)| is_asked(action));
            bounded_page(asked.map(|(number, action)| view(number, action)), limit)
        });
        // The next page begins with the first that did not fit.
        let next_page_token = next.map(|it| format!("a{}", it.number + 1)).unwrap_or_default();
        Ok(answer(&self.replica, v1::ListActionsResponse { actions, next_page_token }))
    }
}

/// As callers see it.
pub(crate) fn asker_view(by: &Asker) -> v1::Asker {
    let Asker { who, from } = by;
    v1::Asker { who: who.to_string(), from: from.to_string() }
}

fn view(number: u64, action: &Action) -> v1::Action {
    let Action { at, by, deed, namespace, subject, run, detail } = action;
    v1::Action {
        number,
        at_ms: at.0,
        by: Some(asker_view(by)),
        deed: deed_view(*deed).into(),
        namespace: namespace.as_ref().map(ToString::to_string).unwrap_or_default(),
        subject: subject.to_string(),
        run_id: run.map_or(0, |run| run.0),
        detail: detail.to_string(),
    }
}

fn deed_view(deed: Deed) -> v1::Deed {
    match deed {
        Deed::Apply => v1::Deed::Apply,
        Deed::Cancel => v1::Deed::Cancel,
        Deed::Pause => v1::Deed::Pause,
        Deed::Resume => v1::Deed::Resume,
        Deed::Prioritize => v1::Deed::Prioritize,
        Deed::Succeed => v1::Deed::Succeed,
        Deed::Skip => v1::Deed::Skip,
        Deed::CancelTask => v1::Deed::CancelTask,
        Deed::Approve => v1::Deed::Approve,
        Deed::Reject => v1::Deed::Reject,
        Deed::Release => v1::Deed::Release,
        Deed::Rerun => v1::Deed::Rerun,
        Deed::Suspend => v1::Deed::Suspend,
        Deed::Drain => v1::Deed::Drain,
        Deed::Undrain => v1::Deed::Undrain,
    }
}
