//! Who asked for what.

use muster_core::ids::{Name, RunId, Text};
use muster_core::state::trail::{Action, Asker, Deed};
use muster_core::time::Timestamp;

use super::error::DecodeError;
use super::read::{known, name};
use crate::internal::v1 as stored;
use stored::StoredDeed;

pub(super) fn asker_to_proto(by: &Asker) -> stored::Asker {
    let Asker { who, from } = by;
    stored::Asker { who: who.to_string(), from: from.to_string() }
}

pub(super) fn asker_from_proto(by: stored::Asker) -> Asker {
    Asker { who: by.who.into(), from: by.from.into() }
}

pub(super) fn action_to_proto(number: u64, action: &Action) -> stored::StoredAction {
    let Action { at, by, deed, namespace, subject, run, detail } = action;
    stored::StoredAction {
        number,
        at_ms: at.0,
        by: Some(asker_to_proto(by)),
        deed: deed_to_proto(*deed).into(),
        namespace: namespace.as_ref().map(Name::to_string),
        subject: subject.to_string(),
        run_id: run.map(|run| run.0),
        detail: detail.to_string(),
    }
}

pub(super) fn action_from_proto(action: stored::StoredAction) -> Result<Action, DecodeError> {
    Ok(Action {
        at: Timestamp(action.at_ms),
        deed: deed_from_proto(known("deed", action.deed)?)?,
        by: asker_from_proto(action.by.unwrap_or_default()),
        namespace: action.namespace.as_deref().map(|it| name("namespace", it)).transpose()?,
        subject: Text::from(action.subject),
        run: action.run_id.map(RunId),
        detail: Text::from(action.detail),
    })
}

fn deed_to_proto(deed: Deed) -> StoredDeed {
    match deed {
        Deed::Apply => StoredDeed::Apply,
        Deed::Cancel => StoredDeed::Cancel,
        Deed::Pause => StoredDeed::Pause,
        Deed::Resume => StoredDeed::Resume,
        Deed::Prioritize => StoredDeed::Prioritize,
        Deed::Succeed => StoredDeed::Succeed,
        Deed::Skip => StoredDeed::Skip,
        Deed::CancelTask => StoredDeed::CancelTask,
        Deed::Approve => StoredDeed::Approve,
        Deed::Reject => StoredDeed::Reject,
        Deed::Release => StoredDeed::Release,
        Deed::Rerun => StoredDeed::Rerun,
        Deed::Suspend => StoredDeed::Suspend,
        Deed::Drain => StoredDeed::Drain,
        Deed::Undrain => StoredDeed::Undrain,
    }
}

fn deed_from_proto(deed: StoredDeed) -> Result<Deed, DecodeError> {
    Ok(match deed {
        StoredDeed::Unspecified => return Err(DecodeError::missing("deed")),
        StoredDeed::Apply => Deed::Apply,
        StoredDeed::Cancel => Deed::Cancel,
        StoredDeed::Pause => Deed::Pause,
        StoredDeed::Resume => Deed::Resume,
        StoredDeed::Prioritize => Deed::Prioritize,
        StoredDeed::Succeed => Deed::Succeed,
        StoredDeed::Skip => Deed::Skip,
        StoredDeed::CancelTask => Deed::CancelTask,
        StoredDeed::Approve => Deed::Approve,
        StoredDeed::Reject => Deed::Reject,
        StoredDeed::Release => Deed::Release,
        StoredDeed::Rerun => Deed::Rerun,
        StoredDeed::Suspend => Deed::Suspend,
        StoredDeed::Drain => Deed::Drain,
        StoredDeed::Undrain => Deed::Undrain,
    })
}
