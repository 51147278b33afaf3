//! Trees to specs: the shape of every field, with its shorthands.
//!
//! Only what the type of a spec cannot hold is refused here; whether the values make sense is up to
//! [`super::validate()`], which looks at every spec wherever it came from.

mod executor;
mod fan_out;
mod fields;
mod namespace;
mod policies;
mod schedule;
mod task;
mod trigger;
mod values;
mod webhook;
mod workflow;

pub(super) use namespace::namespace;
pub(super) use workflow::workflow;
