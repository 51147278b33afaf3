//! `WorkerService`: workers as people see them.

use std::sync::Arc;

use muster_core::command::{Command, DrainWorker};
use muster_core::ids::WorkerId;
use muster_core::state::State;
use muster_core::state::worker::{Worker, WorkerStatus};
use muster_planner::LiveView;
use muster_proto::v1::worker_service_client::WorkerServiceClient;
use muster_proto::v1::worker_service_server::WorkerService;
use muster_proto::{convert, v1};
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};

use super::asker::{asked, asker};
use super::{answer, answered, page_size, page_start, request_key};
use crate::faults;
use crate::forward::forward;
use crate::read::body_digest;
use crate::replica::Replica;
use crate::view::strings;

pub(crate) struct Workers {
    pub(crate) replica: Arc<Replica>,
}

type Client = WorkerServiceClient<Channel>;

#[tonic::async_trait]
impl WorkerService for Workers {
    async fn list_workers(
        &self,
        request: Request<v1::ListWorkersRequest>,
    ) -> Result<Response<v1::ListWorkersResponse>, Status> {
        // Only the leader hears from the workers.
        forward!(self.replica, request, Client, list_workers);
        let body = request.into_inner();
        self.replica.barrier(body.read.as_ref()).await?;
        let after = page_start(&body.page_token, 'k')?.unwrap_or(0);
        let limit = page_size(body.page_size, 50, 1000);
        let live = self.replica.live.view();
        let workers: Vec<v1::Worker> = self.replica.cell.read(|state| {
            let rest = state.workers().iter().filter(|worker| worker.id.0 > after);
            rest.take(limit + 1).map(|worker| view(state, &live, worker)).collect()
        });
        let has_more = workers.len() > limit;
        let workers: Vec<_> = workers.into_iter().take(limit).collect();
        let last = workers.last().map_or(0, |worker| worker.id);
        let next_page_token = if has_more { format!("k{last}") } else { String::new() };
        Ok(answer(&self.replica, v1::ListWorkersResponse { workers, next_page_token }))
    }

    async fn get_worker(
        &self,
        request: Request<v1::GetWorkerRequest>,
    ) -> Result<Response<v1::GetWorkerResponse>, Status> {
        forward!(self.replica, request, Client, get_worker);
        let body = request.into_inner();
        self.replica.barrier(body.read.as_ref()).await?;
        let id = self.find(&body.name, body.id)?;
        let live = self.replica.live.view();
        let worker = self
            .replica
            .cell
            .read(|state| state.worker(id).map(|worker| view(state, &live, worker)));
        Ok(answer(&self.replica, v1::GetWorkerResponse { worker }))
    }

    async fn drain_worker(
        &self,
        request: Request<v1::DrainWorkerRequest>,
    ) -> Result<Response<v1::DrainWorkerResponse>, Status> {
        forward!(self.replica, request, Client, drain_worker);
        self.replica.barrier(None).await?;
        let (by, mut body) = (asker(&request), request.into_inner());
        let request_id = std::mem::take(&mut body.request_id);
        let key = request_key(&request_id, body_digest(&body))?;
        if answered(&self.replica, key.as_ref())?.is_some() {
            return Ok(answer(&self.replica, v1::DrainWorkerResponse {}));
        }
        let worker = self.find(&body.name, body.id)?;
        let command = DrainWorker { request: key, worker, is_draining: !body.undrain };
        self.replica.proposer.propose(&asked(by, Command::DrainWorker(command))).await?;
        Ok(answer(&self.replica, v1::DrainWorkerResponse {}))
    }
}

impl Workers {
    fn find(&self, name: &str, id: u64) -> Result<WorkerId, Status> {
        let found = self.replica.cell.read(|state| {
            let worker =
                if id > 0 { state.worker(WorkerId(id)) } else { state.worker_by_name(name) };
            worker.map(|worker| worker.id)
        });
        found.ok_or_else(|| {
            let what = if id > 0 { id.to_string() } else { format!("`{name}`") };
            let message = format!(
                "worker {what} is not registered; `muster get workers` lists those that are"
            );
            faults::fault(Code::NotFound, "WORKER_NOT_FOUND", message)
        })
    }
}

fn view(state: &State, live: &LiveView, worker: &Worker) -> v1::Worker {
    let holding = state.held_by(worker.id);
    let seen = live.workers.get(&worker.id);
    let status = match worker.status {
        WorkerStatus::Active => v1::WorkerStatus::Active,
        WorkerStatus::Draining => v1::WorkerStatus::Draining,
        WorkerStatus::Lost { .. } => v1::WorkerStatus::Lost,
    };
    v1::Worker {
        id: worker.id.0,
        name: worker.name.to_string(),
        status: status as i32,
        pool: worker.pool.as_deref().unwrap_or_default().to_owned(),
        labels: strings(&worker.labels),
        capacity: Some(convert::resources_to_proto(&worker.capacity)),
        used: holding.map(|holding| convert::resources_to_proto(&holding.used)),
        attempts: holding
            .map_or(0, |holding| holding.tasks.values().map(|count| u64::from(*count)).sum()),
        is_connected: seen.is_some_and(|seen| seen.is_connected),
        heartbeat_age_ms: seen.map_or(0, |seen| seen.heartbeat_age.0),
        registered_at_ms: worker.registered_at.0,
        load: seen.map(|seen| v1::WorkerLoad {
            cpu_busy_millis: seen.load.cpu_busy_millis,
            cpu_total_millis: seen.load.cpu_total_millis,
            memory_used_bytes: seen.load.memory_used_bytes,
            memory_total_bytes: seen.load.memory_total_bytes,
            run_queue_millis: u64::from(seen.load.run_queue_millis),
            network_bytes_per_s: seen.load.network_bytes_per_s,
        }),
    }
}
