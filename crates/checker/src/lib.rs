//! The one checker of what Muster promises.

pub mod auditor;
pub mod coverage;
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
