//! The machines of the simulation: entropy, disks, and the platform over turmoil's network.

pub mod disk;
pub mod entropy;
pub mod journal;
pub mod platform;
