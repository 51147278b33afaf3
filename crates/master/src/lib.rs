//! A master: the API's services, the proposer, and the leader's duties, around one replica of the state.
//!
//! ```text
//!  clients ─► gate ─► api/* ──► propose ──► raft ──► machine (State::apply) ─┬─► replies
//!              │        └─ read, watch ◄──────────── state ◄─────────────────┤
//!              └─ forward to the leader                                      └─► events
//!                                                                                 │ on the leader
//!  workers ◄──► session ◄── leader/dispatch ◄── leader/{plan, tick, liveness} ◄───┘
//! ```
//!
//! All server IO is here. What is decided is decided by the core; who leads is known to `leader` alone.

mod api;
mod clock;
mod config;
mod faults;
mod forward;
mod gate;
mod leader;
mod live;
mod machine;
mod observer;
mod propose;
mod read;
mod replica;
mod server;
mod session;
mod view;
mod watch;

pub use config::{ConfigError, MasterConfig};
pub use observer::Observer;
pub use server::{Master, MasterError};
