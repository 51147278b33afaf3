//! The language of the transcripts.

pub(crate) mod line;
mod namespaces;
pub(crate) mod notation;
pub(crate) mod planner;
pub(crate) mod show;
pub(crate) mod transcript;
pub(crate) mod words;
pub(crate) mod world;
