//! What happened, as one number: two runs of a seed are the same if their traces are.

use std::fmt;
use std::io::{self, Write};
use std::time::Duration;

use crate::machine::entropy::elapsed;

/// FNV-1a, 64 bits: <http://www.isthe.com/chongo/tech/comp/fnv/>.
const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// Hashes lines and, if asked, writes them down.
pub struct Trace {
    hash: u64,
    lines: u64,
    out: Option<Box<dyn Write + Send>>,
}

impl Trace {
    /// Lines also go to `out`.
    pub fn new(out: Option<Box<dyn Write + Send>>) -> Self {
        Self { hash: OFFSET, lines: 0, out }
    }

    /// Something happened now.
    pub fn line(&mut self, what: fmt::Arguments<'_>) {
        let line = format!("{} {what}\n", Stamp(elapsed()));
        for byte in line.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(PRIME);
        }
        self.lines += 1;
        if let Some(out) = &mut self.out
            && let Err(error) = out.write_all(line.as_bytes())
        {
            // A reader that went away, such as `head`, does not change what is simulated.
            self.out = None;
            if error.kind() != io::ErrorKind::BrokenPipe {
                tracing::warn!(%error, "the trace cannot be written any more");
            }
        }
    }

    /// Of all lines so far.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// How many.
    pub fn lines(&self) -> u64 {
        self.lines
    }
}

struct Stamp(Duration);

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>5}.{:06}", self.0.as_secs(), self.0.subsec_micros())
    }
}
