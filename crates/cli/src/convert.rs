//! Workflows of other systems as workflow files of Muster.

pub(crate) mod dolphinscheduler;
mod names;
pub(crate) mod wfcommons;
