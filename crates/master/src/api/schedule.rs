//! `ScheduleService`.

use std::sync::Arc;

use muster_core::command::{Command, SuspendSchedule};
use muster_core::mutant::{self, Mutant};
use muster_core::spec::trigger::TriggerSpec;
use muster_core::state::State;
use muster_core::state::workflow::{NextFire, Workflow};
use muster_proto::v1::schedule_service_client::ScheduleServiceClient;
use muster_proto::v1::schedule_service_server::ScheduleService;
use muster_proto::{convert, v1};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use super::asker::{asked, asker};
use super::{answer, is_large, page_size, page_start, request_key};
use crate::faults;
use crate::forward::forward;
use crate::read::{body_digest, is_stale, namespace};
use crate::replica::Replica;

pub(crate) struct Schedules {
    pub(crate) replica: Arc<Replica>,
}

#[tonic::async_trait]
impl ScheduleService for Schedules {
    async fn list_schedules(
        &self,
        request: Request<v1::ListSchedulesRequest>,
    ) -> Result<Response<v1::ListSchedulesResponse>, Status> {
        if !is_stale(request.get_ref().read.as_ref()) {
            forward!(self.replica, request, ScheduleServiceClient<Channel>, list_schedules);
        }
        let body = request.into_inner();
        self.replica.barrier(body.read.as_ref()).await?;
        let namespace = namespace(&body.namespace)?;
        let after = page_start(&body.page_token, 's')?.unwrap_or(0);
        let limit = page_size(body.page_size, 50, 1000);
        let (schedules, triggers, last, has_more) = self.replica.cell.read(|state| {
            let mut of_page = state.workflows().iter().filter(|it| {
                let is_asked = body.workflow.is_empty() || it.name.as_str() == body.workflow;
                let has_any = !it.schedules.is_empty() || !it.triggers.is_empty();
                it.namespace == namespace && is_asked && it.id > after && has_any
            });
            // What a workflow has stands on one page: together they are no larger than a workflow may be.
            let (mut schedules, mut triggers, mut last) = (Vec::new(), Vec::new(), after);
            for workflow in of_page.by_ref().take(limit) {
                schedules.extend(views(state, workflow));
                triggers.extend(trigger_views(state, workflow));
                last = workflow.id;
                if is_large(&schedules) || is_large(&triggers) {
                    break;
                }
            }
            let has_more = of_page.next().is_some();
            (schedules, triggers, last, has_more)
        });
        let next_page_token = if has_more { format!("s{last}") } else { String::new() };
        let response = v1::ListSchedulesResponse { schedules, triggers, next_page_token };
        Ok(answer(&self.replica, response))
    }

    async fn suspend_schedule(
        &self,
        request: Request<v1::SuspendScheduleRequest>,
    ) -> Result<Response<v1::SuspendScheduleResponse>, Status> {
        forward!(self.replica, request, ScheduleServiceClient<Channel>, suspend_schedule);
        let (by, mut body) = (asker(&request), request.into_inner());
        let request_id = std::mem::take(&mut body.request_id);
        let name = |field: &str, text: &str| {
            convert::name(field, text).map_err(|error| faults::bad_message(&error))
        };
        let schedule = match body.schedule.as_str() {
            "" => None,
            schedule => Some(name("schedule", schedule)?),
        };
        let command = SuspendSchedule {
            request: request_key(&request_id, body_digest(&body))?,
            namespace: namespace(&body.namespace)?,
            workflow: name("workflow", &body.workflow)?,
            schedule,
            is_suspended: body.is_suspended,
        };
        if !mutant::is_on(Mutant::SuspendForgotten) {
            let command = asked(by, Command::SuspendSchedule(command));
            self.replica.proposer.propose(&command).await?;
        }
        Ok(answer(&self.replica, v1::SuspendScheduleResponse {}))
    }
}

fn views(state: &State, workflow: &Workflow) -> Vec<v1::Schedule> {
    let version = workflow.latest.and_then(|id| state.version(id));
    let specs = version.map(|version| version.spec.schedules.as_slice()).unwrap_or_default();
    let view = |(schedule, spec): (&muster_core::state::workflow::Schedule, _)| {
        let next = match schedule.next {
            NextFire::At { fire_time, due_at } => Some((fire_time.0, due_at.0)),
            NextFire::Unknown | NextFire::Never => None,
        };
        let spec = convert::schedule_to_proto(spec);
        v1::Schedule {
            namespace: workflow.namespace.to_string(),
            workflow: workflow.name.to_string(),
            name: schedule.name.to_string(),
            decided_until_ms: schedule.decided_until.0,
            next_fire_time_ms: next.map(|(fire_time, _)| fire_time),
            next_due_at_ms: next.map(|(_, due_at)| due_at),
            last_fire_time_ms: schedule.last_fired.map(|at| at.0),
            fired: schedule.fired,
            missed: schedule.missed,
            passed_over: schedule.passed_over,
            is_suspended: schedule.is_suspended || spec.suspend,
            is_over: schedule.next == NextFire::Never,
            spec: Some(spec),
        }
    };
    workflow.schedules.iter().zip(specs).map(view).collect()
}

/// The triggers of a workflow, and what they came to.
pub(super) fn trigger_views(state: &State, workflow: &Workflow) -> Vec<v1::Trigger> {
    let version = workflow.latest.and_then(|id| state.version(id));
    let specs = version.map(|version| version.spec.triggers.as_slice()).unwrap_or_default();
    let view = |(trigger, spec): (&muster_core::state::workflow::Trigger, &TriggerSpec)| {
        let spec = convert::trigger_to_proto(spec);
        v1::Trigger {
            namespace: workflow.namespace.to_string(),
            workflow: workflow.name.to_string(),
            name: trigger.name.to_string(),
            fired: trigger.fired,
            passed_over: trigger.passed_over,
            is_suspended: trigger.is_suspended || spec.suspend,
            spec: Some(spec),
        }
    };
    workflow.triggers.iter().zip(specs).map(view).collect()
}
