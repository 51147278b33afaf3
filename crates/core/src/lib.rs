//! The pure core of Muster: what users write, the replicated state, and the one function that changes it.
//!
//! ```text
//!  facts and wishes            ordered, stamped            decided by all           acted on by one
//!  client, worker ──► leader: stamp + propose ──► log ──► State::apply ──► events ──► leader: dispatch
//!                             ▲                              │
//!                             └──── planner(&State) ◄────────┘   (its output is again a proposal)
//! ```
//!
//! Nothing in this crate does IO, reads a clock, draws a random number, uses a float, awaits, or depends on
//! hash order: every replica that applies the same entries holds the same bytes. The crate's own `clippy.toml`
//! bans the rest.

pub mod apply;
pub mod check;
pub mod command;
pub mod event;
pub mod graph;
pub mod ids;
pub mod limits;
pub mod mutant;
pub mod reply;
pub mod retry;
pub mod snapshot;
pub mod spec;
pub mod state;
pub mod time;
