//! The worker: offers capacity, carries attempts out, and reports how they ended.
//!
//! ```text
//!             dispatch, stop                     execute(attempt, stop)
//!  leader ───────────────────► session ─► attempts ───────────────────► executor (process, noop, …)
//!     ▲                          │  ▲         │                              │
//!     └── heartbeat, outcomes ───┘  └─ ending ┴──────────────────────────────┘
//!                                │
//!                 lease · journal · logs · load
//! ```
//!
//! Two promises rest on this crate. **An outcome is reported until it is acknowledged**: it goes to the [`journal`]
//! first and leaves it last. **A worker that may no longer hold its attempts has none**: the [`lease`] is judged by the
//! worker's own clock, attempts are killed before it ends, and a guardian process does the same when the worker itself
//! is stopped or dead (see [`executor::process`]).
//!
//! Sockets, clocks and threads come from the platform, so that a simulation can run whole workers, with executors and a
//! journal of its own ([`session::WorkerConfig`]). Only what starts real processes has threads beside it.

pub mod attempts;
pub mod capacity;
mod clock;
pub mod executor;
pub mod journal;
pub mod lease;
pub mod load;
pub mod logs;
pub mod observer;
pub mod ranges;
pub mod session;
mod sys;
