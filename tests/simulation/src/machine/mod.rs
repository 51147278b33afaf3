//! The machines of the simulation: entropy, disks, kernels over turmoil's network, and processes that can be stopped.

pub mod disk;
pub mod entropy;
pub mod journal;
pub mod kernel;
pub mod platform;
pub mod process;
