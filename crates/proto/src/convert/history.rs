//! Ended runs, for the history. Each stands for itself: it carries its workflow version, and nothing else is needed to
//! show it, however old it is.

use std::sync::Arc;

use bytes::Bytes;
use muster_core::snapshot::FORMAT_VERSION;
use muster_core::state::run::Run;
use prost::Message;

use super::error::DecodeError;
use super::read::{Within, required};
use super::snapshot::{
    check_format, run_from_proto, run_to_proto, version_from_proto, version_to_proto,
};
use crate::internal::v1::EndedRun;

/// The bytes of an ended run.
pub fn encode_ended_run(run: &Run) -> Bytes {
    let ended = EndedRun {
        format: FORMAT_VERSION,
        version: Some(version_to_proto(&run.version)),
        run: Some(run_to_proto(run)),
    };
    ended.encode_to_vec().into()
}

/// An ended run from its bytes. A run that has not ended is an error.
pub fn decode_ended_run(bytes: &[u8]) -> Result<Run, DecodeError> {
    let ended = EndedRun::decode(bytes)?;
    check_format(ended.format)?;
    let version = version_from_proto(required("version", ended.version)?).within("version")?;
    let run = run_from_proto(required("run", ended.run)?, Arc::new(version)).within("run")?;
    required("run.end", run.ended)?;
    Ok(run)
}
