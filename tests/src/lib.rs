//! Whole-project tests: the tidy test, clusters of real processes, workflow traces, power cuts.

pub mod cluster;
pub mod power_cut;
pub mod tidy;
