//! Whole clusters in one thread: see `README` of the crate's documentation below.

pub mod machine;
