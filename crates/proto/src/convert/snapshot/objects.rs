//! Workflows, their versions, workers, and answered requests.

use muster_core::ids::{Text, WorkerId};
use muster_core::spec::validate::validate;
use muster_core::state::requests::AnsweredRequest;
use muster_core::state::worker::{Worker, WorkerStatus};
use muster_core::state::workflow::{Workflow, WorkflowVersion};
use muster_core::time::{Millis, Timestamp};

use super::reply::{reply_from_proto, reply_to_proto};
use crate::convert::error::{DecodeError, Problem};
use crate::convert::read::{Within, name, required, string_map, text_map};
use crate::convert::schedule::{state_from_proto, state_to_proto};
use crate::convert::spec::{
    resources_from_proto, resources_to_proto, spec_from_proto, spec_to_proto,
};
use crate::convert::trigger::{trigger_state_from_proto, trigger_state_to_proto};
use crate::internal::v1::stored_worker::{Active, Draining, Lost, Status};
use crate::internal::v1::{self as stored};

pub(in crate::convert) fn version_to_proto(version: &WorkflowVersion) -> stored::StoredVersion {
    stored::StoredVersion {
        id: version.id,
        namespace: version.namespace.to_string(),
        number: version.number,
        applied_at_ms: version.applied_at.0,
        spec: Some(spec_to_proto(&version.spec)),
    }
}

/// Compiles the version again.
pub(in crate::convert) fn version_from_proto(
    version: stored::StoredVersion,
) -> Result<WorkflowVersion, DecodeError> {
    let namespace = name("namespace", &version.namespace)?;
    let spec = spec_from_proto(required("spec", version.spec)?).within("spec")?;
    let applied_at = Timestamp(version.applied_at_ms);
    WorkflowVersion::compile(version.id, namespace, version.number, applied_at, spec)
        .map_err(|error| DecodeError::field("spec", Problem::Workflow(error.to_string())))
}

/// Like [`version_from_proto`], for a version that apply will work with: what apply once checked must hold.
pub(super) fn live_version_from_proto(
    version: stored::StoredVersion,
) -> Result<WorkflowVersion, DecodeError> {
    let version = version_from_proto(version)?;
    validate(&version.spec)
        .map_err(|errors| DecodeError::field("spec", Problem::Workflow(errors.to_string())))?;
    Ok(version)
}

pub(super) fn workflow_to_proto(workflow: &Workflow) -> stored::StoredWorkflow {
    stored::StoredWorkflow {
        id: workflow.id,
        namespace: workflow.namespace.to_string(),
        name: workflow.name.to_string(),
        latest_version_id: workflow.latest,
        earlier_version_ids: workflow.earlier.clone(),
        versions: workflow.versions,
        runs: workflow.runs,
        schedules: workflow.schedules.iter().map(state_to_proto).collect(),
        triggers: workflow.triggers.iter().map(trigger_state_to_proto).collect(),
    }
}

pub(super) fn workflow_from_proto(
    workflow: stored::StoredWorkflow,
) -> Result<Workflow, DecodeError> {
    let schedules = workflow.schedules.into_iter().enumerate();
    let triggers = workflow.triggers.into_iter().enumerate();
    Ok(Workflow {
        id: workflow.id,
        namespace: name("namespace", &workflow.namespace)?,
        name: name("name", &workflow.name)?,
        latest: workflow.latest_version_id,
        earlier: workflow.earlier_version_ids,
        versions: workflow.versions,
        runs: workflow.runs,
        schedules: schedules
            .map(|(at, schedule)| state_from_proto(schedule).within_element("schedules", at))
            .collect::<Result<_, _>>()?,
        triggers: triggers
            .map(|(at, it)| trigger_state_from_proto(it).within_element("triggers", at))
            .collect::<Result<_, _>>()?,
    })
}

pub(super) fn worker_to_proto(worker: &Worker) -> stored::StoredWorker {
    let status = match worker.status {
        WorkerStatus::Active => Status::Active(Active {}),
        WorkerStatus::Draining => Status::Draining(Draining {}),
        WorkerStatus::Lost { at } => Status::Lost(Lost { at_ms: at.0 }),
    };
    stored::StoredWorker {
        id: worker.id.0,
        name: worker.name.to_string(),
        incarnation: worker.incarnation,
        labels: string_map(&worker.labels),
        pool: worker.pool.as_ref().map(Text::to_string),
        capacity: Some(resources_to_proto(&worker.capacity)),
        lease_ms: worker.lease.0,
        registered_at_ms: worker.registered_at.0,
        status: Some(status),
    }
}

pub(super) fn worker_from_proto(worker: stored::StoredWorker) -> Result<Worker, DecodeError> {
    let status = match required("status", worker.status)? {
        Status::Active(Active {}) => WorkerStatus::Active,
        Status::Draining(Draining {}) => WorkerStatus::Draining,
        Status::Lost(Lost { at_ms }) => WorkerStatus::Lost { at: Timestamp(at_ms) },
    };
    Ok(Worker {
        id: WorkerId(worker.id),
        name: worker.name.into(),
        incarnation: worker.incarnation,
        labels: text_map(worker.labels),
        pool: worker.pool.map(Text::from),
        capacity: resources_from_proto(required("capacity", worker.capacity)?),
        lease: Millis(worker.lease_ms),
        status,
        registered_at: Timestamp(worker.registered_at_ms),
    })
}

pub(super) fn request_to_proto(number: u64, request: &AnsweredRequest) -> stored::StoredRequest {
    stored::StoredRequest {
        number,
        id: request.id.to_string(),
        digest: request.digest,
        at_ms: request.at.0,
        reply: Some(reply_to_proto(&request.reply)),
    }
}

pub(super) fn request_from_proto(
    request: stored::StoredRequest,
) -> Result<AnsweredRequest, DecodeError> {
    Ok(AnsweredRequest {
        id: request.id.into(),
        digest: request.digest,
        at: Timestamp(request.at_ms),
        reply: reply_from_proto(required("reply", request.reply)?).within("reply")?,
    })
}
