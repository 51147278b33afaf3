//! Quantities as people read them.

use std::fmt;

/// Thousandths of a core as cores: `2`, `0.5`.
pub(crate) struct Cores(pub u64);

/// Bytes, in the largest unit of 1024 that leaves at least one, with one decimal: `2Gi`, `1.5Gi`, `12`.
pub(crate) struct Bytes(pub u64);

impl fmt::Display for Cores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:03}", self.0 / 1000, self.0 % 1000);
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

impl fmt::Display for Bytes {
    /// Rounds down: what is free must not look like enough when it is not.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("Pi", 50), ("Ti", 40), ("Gi", 30), ("Mi", 20), ("Ki", 10)];
        let Some((unit, shift)) = units.into_iter().find(|(_, shift)| self.0 >> shift > 0) else {
            return write!(f, "{}", self.0);
        };
        let whole = self.0 >> shift;
        let tenths = (((self.0 - (whole << shift)) >> (shift - 10)) * 10) >> 10;
        if tenths == 0 { write!(f, "{whole}{unit}") } else { write!(f, "{whole}.{tenths}{unit}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_and_bytes() {
        let cores = [(0, "0"), (500, "0.5"), (2000, "2"), (1250, "1.25"), (10_001, "10.001")];
        for (millis, text) in cores {
            assert_eq!(Cores(millis).to_string(), text);
        }
        let gibi = 1 << 30;
        let bytes = [
            (0, "0"),
            (1023, "1023"),
            (1024, "1Ki"),
            (1536, "1.5Ki"),
            (2 * gibi, "2Gi"),
            (2 * gibi - 1, "1.9Gi"),
            (u64::MAX, "16383.9Pi"),
        ];
        for (count, text) in bytes {
            assert_eq!(Bytes(count).to_string(), text);
        }
    }
}
