//! Workflows of other systems as workflow files of Muster.

mod names;
pub(crate) mod wfcommons;
