//! The stored shapes of the core's types: everything comes back as it was, and nothing makes the reader panic.

mod executors;
mod fixtures;
mod generate;
mod history;
mod log;
mod measure;
mod namespaces;
mod snapshot;
mod spec;
mod starts;
mod states;
mod triggers;
