//! `NamespaceService`.

use std::collections::BTreeSet;
use std::sync::Arc;

use muster_core::command::{ApplyNamespace, Command};
use muster_core::ids::Name;
use muster_core::reply::{Rejection, Reply};
use muster_core::spec::Resources;
use muster_core::spec::namespace::NamespaceSpec;
use muster_core::state::State;
use muster_proto::v1::namespace_service_client::NamespaceServiceClient;
use muster_proto::v1::namespace_service_server::NamespaceService;
use muster_proto::{convert, v1};
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};

use super::asker::{asked, asker};
use super::{answer, page_size, request_key};
use crate::faults;
use crate::forward::forward;
use crate::read::{body_digest, is_stale, namespace};
use crate::replica::Replica;

/// Tasks that are named of those with a place in a concurrency group.
const HOLDERS_MAX: usize = 10;

pub(crate) struct Namespaces {
    pub(crate) replica: Arc<Replica>,
}

#[tonic::async_trait]
impl NamespaceService for Namespaces {
    async fn apply_namespace(
        &self,
        request: Request<v1::ApplyNamespaceRequest>,
    ) -> Result<Response<v1::ApplyNamespaceResponse>, Status> {
        forward!(self.replica, request, NamespaceServiceClient<Channel>, apply_namespace);
        let (by, mut body) = (asker(&request), request.into_inner());
        let request_id = std::mem::take(&mut body.request_id);
        let request = request_key(&request_id, body_digest(&body))?;
        let spec = body.spec.ok_or_else(|| faults::bad_field("spec", "give a namespace"))?;
        let spec =
            convert::namespace_from_proto(spec).map_err(|error| faults::bad_message(&error))?;
        spec.check().map_err(|error| {
            faults::rejection(&Rejection::BadNamespace { problem: error.to_string() })
        })?;
        let name = spec.name.to_string();
        let command = asked(by, Command::ApplyNamespace(ApplyNamespace { request, spec }));
        match self.replica.proposer.propose(&command).await? {
            (_, Reply::NamespaceApplied { is_changed }) => {
                Ok(answer(&self.replica, v1::ApplyNamespaceResponse { name, is_changed }))
            }
            _ => Err(Status::internal("an apply was answered by something else")),
        }
    }

    async fn get_namespace(
        &self,
        request: Request<v1::GetNamespaceRequest>,
    ) -> Result<Response<v1::GetNamespaceResponse>, Status> {
        if !is_stale(request.get_ref().read.as_ref()) {
            forward!(self.replica, request, NamespaceServiceClient<Channel>, get_namespace);
        }
        let body = request.into_inner();
        self.replica.barrier(body.read.as_ref()).await?;
        let name = namespace(&body.name)?;
        let found = self.replica.cell.read(|state| {
            let is_there = state.namespace(&name).is_some() || state.workflows_in(&name) > 0;
            let groups = || groups(state, &name, HOLDERS_MAX);
            is_there.then(|| v1::Namespace { groups: groups(), ..view(state, &name) })
        });
        let found = found.ok_or_else(|| {
            let message = format!("namespace `{name}` was never applied, and has no workflow");
            faults::fault(Code::NotFound, "NAMESPACE_NOT_FOUND", message)
        })?;
        Ok(answer(&self.replica, v1::GetNamespaceResponse { namespace: Some(found) }))
    }

    async fn list_namespaces(
        &self,
        request: Request<v1::ListNamespacesRequest>,
    ) -> Result<Response<v1::ListNamespacesResponse>, Status> {
        if !is_stale(request.get_ref().read.as_ref()) {
            forward!(self.replica, request, NamespaceServiceClient<Channel>, list_namespaces);
        }
        let body = request.into_inner();
        self.replica.barrier(body.read.as_ref()).await?;
        let limit = page_size(body.page_size, 50, 1000);
        let after = body.page_token;
        let mut namespaces: Vec<v1::Namespace> = self.replica.cell.read(|state| {
            let names = state.namespace_names().filter(|it| it.as_str() > after.as_str());
            names.take(limit + 1).map(|name| view(state, name)).collect()
        });
        let has_more = namespaces.len() > limit;
        namespaces.truncate(limit);
        // Names are the tokens: they are in order, and a listing goes on where it was whatever comes in between.
        let last = namespaces.last().and_then(|it| it.spec.as_ref()).map(|spec| spec.name.clone());
        let next_page_token = last.filter(|_| has_more).unwrap_or_default();
        Ok(answer(&self.replica, v1::ListNamespacesResponse { namespaces, next_page_token }))
    }
}

fn view(state: &State, name: &Name) -> v1::Namespace {
    let applied = state.namespace(name);
    let spec = applied.map_or_else(|| NamespaceSpec::new(name.clone()), |it| it.spec.clone());
    let usage = state.used_by(name);
    let used = usage.map_or(Resources::ZERO, |usage| usage.used.clone());
    v1::Namespace {
        spec: Some(convert::namespace_to_proto(&spec)),
        applied_at_ms: applied.map_or(0, |it| it.applied_at.0),
        workflows: state.workflows_in(name),
        live_runs: usage.map_or(0, |usage| usage.runs),
        live_tasks: usage.map_or(0, |usage| usage.attempts),
        used: Some(convert::resources_to_proto(&used)),
        ready_tasks: state.queue().len_of(name),
        groups: groups(state, name, 0),
    }
}

/// The concurrency groups of a namespace by name, each with at most so many of the tasks that have a place in it: those
/// that were applied, and those of which something is live or ready all the same.
fn groups(state: &State, namespace: &Name, holders_max: usize) -> Vec<v1::GroupUse> {
    let applied = state.namespace(namespace).map(|it| &it.spec.groups);
    let live = state.used_by(namespace).map(|usage| &usage.groups);
    let ready = state.queue().len_by_group(namespace);
    let names = applied.into_iter().flat_map(|it| it.keys());
    let names = names.chain(live.into_iter().flat_map(|it| it.keys())).chain(ready.keys());
    let view = |name: &Name| v1::GroupUse {
        name: name.to_string(),
        limit: applied.and_then(|it| it.get(name)).map(|group| group.limit),
        live_tasks: live.and_then(|it| it.get(name)).copied().unwrap_or(0),
        ready_tasks: ready.get(name).copied().unwrap_or(0),
        holders: holders(state, namespace, name, holders_max),
    };
    names.collect::<BTreeSet<&Name>>().into_iter().map(view).collect()
}

fn holders(state: &State, namespace: &Name, group: &Name, most: usize) -> Vec<v1::GroupHolder> {
    if most == 0 {
        return Vec::new();
    }
    let all = state.group_holders(namespace, group).into_iter().take(most);
    let named = all.filter_map(|((run, task), live_tasks)| {
        let run = state.run(run)?;
        let task = format!("{}/{}", run.label(), run.spec(task)?.id);
        Some(v1::GroupHolder { task, live_tasks })
    });
    named.collect()
}
