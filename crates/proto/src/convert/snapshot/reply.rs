//! Remembered answers.

use muster_core::ids::{RunId, WorkerId};
use muster_core::reply::{ItemRefusal, Reply};

use crate::convert::error::DecodeError;
use crate::convert::read::{Within, known, name, required};
use crate::internal::v1::stored_reply::{
    Done, Items, Kind, NamespaceApplied, RunSubmitted, WorkerRegistered, WorkflowApplied,
};
use crate::internal::v1::{StoredRefusal, StoredReply};

pub(super) fn reply_to_proto(reply: &Reply) -> StoredReply {
    let kind = match reply {
        Reply::Done => Kind::Done(Done {}),
        Reply::WorkflowApplied { version, is_new } => {
            Kind::WorkflowApplied(WorkflowApplied { version: *version, is_new: *is_new })
        }
        Reply::NamespaceApplied { is_changed } => {
            Kind::NamespaceApplied(NamespaceApplied { is_changed: *is_changed })
        }
        Reply::RunSubmitted { run, workflow, number } => Kind::RunSubmitted(RunSubmitted {
            run_id: run.0,
            workflow: workflow.to_string(),
            number: *number,
        }),
        Reply::WorkerRegistered { worker } => {
            Kind::WorkerRegistered(WorkerRegistered { worker_id: worker.0 })
        }
        Reply::Items { refused } => Kind::Items(Items {
            positions: refused.iter().map(|(position, _)| *position).collect(),
            refusals: refused.iter().map(|(_, why)| refusal_to_proto(*why).into()).collect(),
        }),
    };
    StoredReply { kind: Some(kind) }
}

pub(super) fn reply_from_proto(reply: StoredReply) -> Result<Reply, DecodeError> {
    Ok(match required("kind", reply.kind)? {
        Kind::Done(Done {}) => Reply::Done,
        Kind::WorkflowApplied(it) => {
            Reply::WorkflowApplied { version: it.version, is_new: it.is_new }
        }
        Kind::NamespaceApplied(it) => Reply::NamespaceApplied { is_changed: it.is_changed },
        Kind::RunSubmitted(it) => Reply::RunSubmitted {
            run: RunId(it.run_id),
            workflow: name("run_submitted.workflow", &it.workflow)?,
            number: it.number,
        },
        Kind::WorkerRegistered(it) => Reply::WorkerRegistered { worker: WorkerId(it.worker_id) },
        Kind::Items(items) => items_from_proto(&items).within("items")?,
    })
}

fn items_from_proto(items: &Items) -> Result<Reply, DecodeError> {
    if items.positions.len() != items.refusals.len() {
        return Err(DecodeError::invalid("refusals", "are not as many as `positions`"));
    }
    let pairs = items.positions.iter().zip(&items.refusals).enumerate();
    let refused = pairs.map(|(at, (position, refusal))| {
        let refusal = known("", *refusal).and_then(refusal_from_proto);
        Ok((*position, refusal.within_element("refusals", at)?))
    });
    Ok(Reply::Items { refused: refused.collect::<Result<_, DecodeError>>()? })
}

fn refusal_to_proto(refusal: ItemRefusal) -> StoredRefusal {
    match refusal {
        ItemRefusal::RunNotLive => StoredRefusal::RunNotLive,
        ItemRefusal::NoSuchTask => StoredRefusal::NoSuchTask,
        ItemRefusal::NotReady => StoredRefusal::NotReady,
        ItemRefusal::WorkerNotActive => StoredRefusal::WorkerNotActive,
        ItemRefusal::WorkerMismatch => StoredRefusal::WorkerMismatch,
        ItemRefusal::NoCapacity => StoredRefusal::NoCapacity,
        ItemRefusal::NotUndecided => StoredRefusal::NotUndecided,
        ItemRefusal::WrongVerdict => StoredRefusal::WrongVerdict,
        ItemRefusal::TooParallel => StoredRefusal::TooParallel,
        ItemRefusal::QuotaReached => StoredRefusal::QuotaReached,
        ItemRefusal::GroupFull => StoredRefusal::GroupFull,
        ItemRefusal::Stale => StoredRefusal::Stale,
        ItemRefusal::RunPaused => StoredRefusal::RunPaused,
    }
}

fn refusal_from_proto(refusal: StoredRefusal) -> Result<ItemRefusal, DecodeError> {
    match refusal {
        StoredRefusal::Unspecified => Err(DecodeError::missing("")),
        StoredRefusal::RunNotLive => Ok(ItemRefusal::RunNotLive),
        StoredRefusal::NoSuchTask => Ok(ItemRefusal::NoSuchTask),
        StoredRefusal::NotReady => Ok(ItemRefusal::NotReady),
        StoredRefusal::WorkerNotActive => Ok(ItemRefusal::WorkerNotActive),
        StoredRefusal::WorkerMismatch => Ok(ItemRefusal::WorkerMismatch),
        StoredRefusal::NoCapacity => Ok(ItemRefusal::NoCapacity),
        StoredRefusal::NotUndecided => Ok(ItemRefusal::NotUndecided),
        StoredRefusal::WrongVerdict => Ok(ItemRefusal::WrongVerdict),
        StoredRefusal::TooParallel => Ok(ItemRefusal::TooParallel),
        StoredRefusal::QuotaReached => Ok(ItemRefusal::QuotaReached),
        StoredRefusal::GroupFull => Ok(ItemRefusal::GroupFull),
        StoredRefusal::Stale => Ok(ItemRefusal::Stale),
        StoredRefusal::RunPaused => Ok(ItemRefusal::RunPaused),
    }
}
