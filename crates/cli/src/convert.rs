//! Workflows of other systems as workflow files of Muster.

pub(crate) mod wfcommons;
