//! What expressions come to: the `if:` of a task, when it is more than a name of the core's, and the list that a task
//! goes through, when that is known only at run time.
//!
//! ```text
//!  file ──► check(spec) ──► problems                      in the command line, and before a spec enters the log
//!  state ─► decide(run, task) ──► Verdict ──► the log      on the leader, once the task is undecided
//! ```
//!
//! The core keeps expressions as they were written and never reads one; the log carries what they came to. So masters
//! may differ in version, and the library may change its mind, without a difference between replicas.
//!
//! # What an expression sees
//!
//! Parameters, the ends and outputs of upstream tasks, and the run, all from the state: no clock, no file, no network,
//! no chance. Parameters and outputs are texts; `| int`, `| float`, `| bool` and `| fromjson` read them. Names are
//! written with `_` for `-`.
//!
//! # Bounds
//!
//! An expression has at most [`muster_core::limits::EXPRESSION_BYTES_MAX`] bytes, and an evaluation at most
//! [`FUEL`], which pays for steps as well as for every byte and item that is made or looked at. Beyond that, and with
//! whatever else goes wrong, the task fails and says why: an expression can neither stop a leader nor leave a task
//! undecided.

mod check;
mod evaluate;
mod items;
mod kind;
mod scope;

pub use check::check;
pub use evaluate::{FUEL, decide};
pub use items::{at, field, json_items};
pub use scope::Moment;
