//! Whole-project tests: the tidy test, clusters of real processes, workflow traces.

pub mod cluster;
pub mod tidy;
