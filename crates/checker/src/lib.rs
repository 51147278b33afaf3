//! The one checker of what Muster promises: the invariants I1–I19 of `docs/guarantees.md`, and that work goes on once
//! nothing is broken on purpose. The core's model test, the simulation and the chaos harness all judge by it.
//!
//! ```text
//!  every committed entry, with the state          calls, attempts, leases, leaders, faults,
//!  after it, once a replica                       as clients, workers and masters saw them
//!          │                                                   │
//!          ▼                                                   ▼
//!      Auditor ──► Ledger: what the log says happened ──► judge(History, Ledger, Expectations)
//!          │                                                   │
//!          └────────────► Verdict: violations by name, coverage ◄┘
//! ```
//!
//! Like the core it does no IO, reads no clock and has no threads: the same observations give the same verdict.
//!
//! # How it is fed
//!
//! **The log.** After each apply, tell [`Auditor::observe`] the entry, the state after it and what apply returned, for
//! each master. A master whose state comes from a snapshot, its own after a restart or a peer's, tells
//! [`Auditor::restored`] first; one that begins with nothing tells nothing. Where logs are read back after the fact,
//! apply their entries to a fresh state and tell the same. [`Auditor::finish`] gives the verdict and the [`Ledger`].
//!
//! **The outside.** Everything else goes into one [`History`]: a call when it begins and when it returns, an attempt
//! when it begins and when it is dead, a lease when it is confirmed, a master when it leads. Processes may write their
//! parts to files, a line an observation, by one clock; put together, [`History::sort`] orders them. A call that timed
//! out is [`Answer::Unknown`](history::Answer::Unknown), never refused: it may have been carried out. Then
//! [`judge`](judge()) compares it with the ledger.
//!
//! **The rare.** Each verdict carries a [`Coverage`]: add those of all runs of a sweep and ask [`Coverage::never`] what
//! did not happen. A rule about stale reports proves nothing in a sweep without one.
//!
//! # Who judges what
//!
//! | | By the log | By what was seen |
//! |---|---|---|
//! | P1 | | intervals of attempts of one task; conflicts that attempts report |
//! | I1 | fingerprints and answers at each index, after each restore | digests in the end |
//! | I2 | accepted runs, results and versions are in the state | what was told is in the log, and known in the end |
//! | I3 | own memory of request ids | answers across all clients |
//! | I4, I5 | each report and placement; the rest is as before | fences as they begin; reports of what was accepted |
//! | I6 | ends in the state, and of runs that left it | runs as masters show them |
//! | I7 | own edges and rules; each placement, and the fix-point after each end | |
//! | I8 | decisions about fire times follow each other; each makes one run | [`fires`], by whoever knows the times |
//! | I9 | the order in which runs of a workflow begin | |
//! | I10 | tries, waits and policies, counted anew | |
//! | I11 | capacity, pools and labels at each placement; there are no groups or quotas yet | |
//! | I12 | who is lost, and what it had | leases against losses, patience of new leaders |
//! | I13 | terms along the log | what begins was committed before |
//! | I14 | | [`linear`], in two ways |
//! | I15 | stops and cancels | cancels that end |
//! | I16 | counters of runs, numbers, and what workers hold | |
//! | I17 | as many answers as commands, time, sizes | |
//! | I18 | equal entries at equal indexes, none twice or left out | one leader a term |
//! | I19 | the trail's growth with each entry; the asker of each new run | |
//! | L1–L5 | | after [`Observed::FaultsStopped`] |
//!
//! The rules of the auditor are written a second time here, from what users are told, and share with the core its types
//! alone; of these only [`Cells`](muster_core::state::cells::Cells) has a mind of its own. `State::check` is asked
//! besides, every now and then.
//!
//! # What it cannot tell
//!
//! - It sees what it is shown. An attempt that nobody records was never alive; set
//!   [`Expectations::sees_all_attempts`](judge::Expectations) only where that cannot happen.
//! - A log that is shown from the middle has a ledger that begins there: what was accepted before is not known.
//! - One fault is named once: after a violation the auditor goes on from the state as it is.
//! - The search for an order of calls gives up on a run with very many calls at once, and counts that.
//! - Request ids are judged for as long as the core promises to remember them.
//! - That apply returned at all is known by being told so: a panic or an endless loop is the feeder's to notice.

pub mod auditor;
pub mod coverage;
pub mod fires;
pub mod history;
pub mod judge;
pub mod ledger;
pub mod linear;
mod mix;
pub mod verdict;

pub use auditor::{Applying, Auditor};
pub use coverage::{Coverage, Rare};
pub use history::{History, Nanos, Observed};
pub use judge::{Expectations, judge};
pub use ledger::Ledger;
pub use mix::spec_digest;
pub use verdict::{At, Invariant, Verdict, Violation};
