//! The log of what clients, workers and masters saw, in the order in which it was recorded.
//!
//! Its text form is one line an observation, so that processes can append to files and failing histories can be kept:
//!
//! ```
//! use muster_checker::history::{History, Nanos, Observed};
//!
//! let mut history = History::default();
//! history.push(Nanos(1_000), Observed::Leads { master: 2, term: 7 });
//! assert_eq!(history.to_string(), "1000 leads master=2 term=7\n");
//! assert_eq!(history.to_string().parse(), Ok(history));
//! ```

mod line;
mod observed;

use std::fmt;
use std::ops::Add;
use std::str::FromStr;

pub use line::ParseError;
pub use observed::{Answer, Call, Ending, Observed};

use line::Line;

/// A moment of the harness's clock, or a span of it: nanoseconds since whatever it counts from. One clock for the whole
/// history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nanos(pub u64);

/// Nanoseconds in a millisecond.
const MILLI: u64 = 1_000_000;

impl Nanos {
    /// The end of time.
    pub const MAX: Nanos = Nanos(u64::MAX);

    /// A number of milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Nanos(millis.saturating_mul(MILLI))
    }

    /// The span from `earlier` to `self`; zero if `earlier` is later.
    pub fn since(self, earlier: Nanos) -> Nanos {
        Nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add for Nanos {
    type Output = Nanos;
    fn add(self, span: Nanos) -> Nanos {
        Nanos(self.0.saturating_add(span.0))
    }
}

impl fmt::Display for Nanos {
    /// `12.345678s`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}s", self.0 / (1000 * MILLI), self.0 / 1000 % 1_000_000)
    }
}

/// One observation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// When.
    pub at: Nanos,
    /// What.
    pub what: Observed,
}

impl fmt::Display for Observation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = String::new();
        self.what.write(&mut fields);
        write!(f, "{} {}{fields}", self.at.0, self.what.kind())
    }
}

impl FromStr for Observation {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (at, kind, line) = Line::read(text)?;
        let at = at.parse().map_err(|_| line::malformed("at", at))?;
        Ok(Observation { at: Nanos(at), what: Observed::read(kind, &line)? })
    }
}

/// See the module documentation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    observations: Vec<Observation>,
}

/// A line of a history that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {error}")]
pub struct BadLine {
    /// Its number, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub error: ParseError,
}

impl History {
    /// Appends an observation. Time need not grow: [`History::sort`] puts parts that were recorded apart in order.
    pub fn push(&mut self, at: Nanos, what: Observed) {
        self.observations.push(Observation { at, what });
    }

    /// Takes in what another process recorded.
    pub fn append(&mut self, mut other: History) {
        self.observations.append(&mut other.observations);
    }

    /// Orders by time. What was recorded at one moment keeps its order.
    pub fn sort(&mut self) {
        self.observations.sort_by_key(|it| it.at);
    }

    /// How many observations there are.
    pub fn len(&self) -> usize {
        self.observations.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.observations.is_empty()
    }

    /// The observations in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Observation> {
        self.observations.iter()
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iter().try_for_each(|observation| writeln!(f, "{observation}"))
    }
}

impl FromStr for History {
    type Err = BadLine;

    /// Reads a line an observation. Empty lines and lines that begin with `#` are passed over.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut history = History::default();
        for (number, line) in (1..).zip(text.lines()) {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let observation = line.parse().map_err(|error| BadLine { line: number, error })?;
            history.observations.push(observation);
        }
        Ok(history)
    }
}

#[cfg(test)]
mod tests;
