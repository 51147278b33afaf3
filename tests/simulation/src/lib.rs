//! Whole clusters in one thread, with faults drawn from a seed.
//!
//! ```text
//!  seed ──► Plan: size, speeds, what clients ask for, what goes wrong when
//!             │
//!             ▼
//!  processes, each on a runtime of its own       real masters: openraft, tonic, redb over a disk in memory
//!     m0 m1 m2 … w0 w1 …                          real workers with an executor that only asks for attempts
//!        │ each asks its kernel
//!        ▼
//!  turmoil: one host a machine                    the network; connections and attempts, which go on
//!     m0 m1 m2 … w0 w1 …                          while the process is stopped
//!     clients                                     clients of the SDK
//!             │
//!             ▼
//!  Witness ──► trace (one number)    every entry, lease, attempt and answer
//!          └─► muster-checker        I1 to I18, and liveness once everything is mended
//! ```
//!
//! One process runs one seed: statics and thread-locals of the crates involved would carry something over. The same
//! seed gives the same trace, to the last line, because nothing else gets in: time is turmoil's, chance and clocks of
//! the C library are taken over (`machine/entropy.rs`), and sockets, files and threads go through `muster-platform`.
//!
//! A reader begins with `plan.rs`, what can happen, and `run.rs`, how it does.

pub mod client;
pub mod cluster;
pub mod executor;
pub mod inquirer;
pub mod limited;
pub mod machine;
pub mod mutants;
pub mod plan;
pub mod run;
pub mod strike;
pub mod sweep;
pub mod trace;
pub mod witness;
pub mod workflow;
