//! What the harness and the tasks it runs have in common.

pub mod witness;
