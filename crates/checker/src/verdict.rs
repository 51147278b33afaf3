//! What is promised, by name, and what was found.

use std::fmt;

use muster_core::ids::LogIndex;

use crate::coverage::Coverage;
use crate::history::Nanos;

macro_rules! invariants {
    ($($name:ident = $sentence:literal,)*) => {
        /// Something Muster promises. The numbers are those of `docs/guarantees.md`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Invariant {
            $(#[doc = $sentence] $name,)*
        }

        impl Invariant {
            /// All of them.
            pub const ALL: &[Invariant] = &[$(Invariant::$name),*];

            /// The promise in one sentence.
            pub fn sentence(self) -> &'static str {
                match self {
                    $(Invariant::$name => $sentence,)*
                }
            }

            /// `I4`.
            pub fn code(self) -> &'static str {
                match self {
                    $(Invariant::$name => stringify!($name),)*
                }
            }
        }
    };
}

invariants! {
    P1 = "At most one attempt of a task is live at any time, while workers' clocks run within 1 % of true rate.",
    I1 = "Replicas have equal digests at equal log indexes.",
    I2 = "No accepted run, trigger or result is ever lost.",
    I3 = "One request id gives one run; the same id with another body is ALREADY_EXISTS.",
    I4 = "Fences of a task strictly increase; the accepted outcome carries the current one.",
    I5 = "A stale report changes nothing.",
    I6 = "Terminal states are final.",
    I7 = "DAG order and dependency rules hold.",
    I8 = "Each fire time fires exactly once, under its catch-up policy.",
    I9 = "The concurrency policy holds, decided in the same entry that starts the run.",
    I10 = "Attempts never exceed the retry policy; one lease expiry costs at most one loss.",
    I11 = "Capacity, pools, concurrency groups and quotas are never oversubscribed.",
    I12 = "Worker incarnations are fenced; a leader change causes no mass expiry.",
    I13 = "A deposed leader has no effect.",
    I14 = "The API is linearizable.",
    I15 = "After an acknowledged cancel nothing is assigned; every cancel ends.",
    I16 = "Everything counted equals a recount from the states.",
    I17 = "Apply is total and bounded on any bytes that decode.",
    I18 = "Raft's own safety.",
    I19 = "Whatever is asked for and carried out is in the audit trail once, or with the run that it made.",
    I20 = "A sub-workflow has one live run at a time, its own; it comes to what that comes to, in the same entry.",
    L1 = "Once faults stop, there is a leader.",
    L2 = "Once faults stop, masters converge.",
    L3 = "Once faults stop, every run ends.",
    L4 = "Once faults stop, new work is served.",
    L5 = "Once faults stop, no task is without an owner.",
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// Where a broken promise was noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum At {
    /// At a log index.
    Index(LogIndex),
    /// At a moment of the harness's clock.
    Time(Nanos),
    /// When everything was over.
    End,
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            At::Index(index) => write!(f, "index {index}"),
            At::Time(at) => write!(f, "{at}"),
            At::End => f.write_str("the end"),
        }
    }
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// Where it was noticed.
    pub at: At,
    /// What was found.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}: {}", self.invariant, self.at, self.what)
    }
}

/// Violations of one promise that a verdict keeps in full. One fault breaks the same promise a thousand times.
pub const VIOLATIONS_KEPT_MAX: usize = 20;

/// What was found in all that was shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// What was broken, as found; at most [`VIOLATIONS_KEPT_MAX`] of each promise.
    pub violations: Vec<Violation>,
    /// How many more there were.
    pub dropped: u64,
    /// What happened at all.
    pub coverage: Coverage,
}

impl Verdict {
    /// Whether nothing was broken.
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }

    /// Whether this promise was broken.
    pub fn names(&self, invariant: Invariant) -> bool {
        self.violations.iter().any(|violation| violation.invariant == invariant)
    }

    /// Takes in another verdict on the same events.
    pub fn merge(&mut self, other: Verdict) {
        self.dropped += other.dropped;
        other.violations.into_iter().for_each(|violation| self.add(violation));
        self.coverage.merge(&other.coverage);
    }

    /// How many violations there were.
    pub fn count(&self) -> u64 {
        self.violations.len() as u64 + self.dropped
    }

    pub(crate) fn add(&mut self, violation: Violation) {
        let same = self.violations.iter().filter(|it| it.invariant == violation.invariant);
        if same.count() < VIOLATIONS_KEPT_MAX {
            self.violations.push(violation);
        } else {
            self.dropped += 1;
        }
    }

    pub(crate) fn found(&mut self, invariant: Invariant, at: At, what: impl Into<String>) {
        self.add(Violation { invariant, at, what: what.into() });
    }
}

impl fmt::Display for Verdict {
    /// The violations, a line each; then the coverage, a line each.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_clean() {
            writeln!(f, "clean")?;
        }
        for violation in &self.violations {
            writeln!(f, "{violation}")?;
        }
        if self.dropped > 0 {
            writeln!(f, "and {} more violations", self.dropped)?;
        }
        write!(f, "{}", self.coverage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_violations_is_cut_and_counted() {
        let mut verdict = Verdict::default();
        for _ in 0..VIOLATIONS_KEPT_MAX + 7 {
            verdict.found(Invariant::I4, At::Index(LogIndex(3)), "twice");
        }
        assert_eq!((verdict.violations.len(), verdict.dropped), (VIOLATIONS_KEPT_MAX, 7));
        let mut other = Verdict::default();
        other.found(Invariant::I5, At::End, "changed");
        other.merge(verdict);
        assert_eq!((other.violations.len(), other.dropped), (VIOLATIONS_KEPT_MAX + 1, 7));
        assert!(other.names(Invariant::I5) && other.names(Invariant::I4));
        assert_eq!(other.violations[1].to_string(), "I4 at index 3: twice");
    }
}
