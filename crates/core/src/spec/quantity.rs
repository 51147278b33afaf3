//! Amounts of processors, memory and other things, exact to the last unit: no float is ever involved.

use std::fmt;

/// Largest amount of anything: of thousandths of a core, of bytes, of a custom quantity. Small enough that thousands
/// of them add up without overflow.
pub const AMOUNT_MAX: u64 = 1 << 50;

/// Units of memory with their bytes.
const MEMORY_UNITS: [(&str, u64); 11] = [
    ("", 1),
    ("k", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("P", 1_000_000_000_000_000),
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("Pi", 1 << 50),
];

/// Why a text is not an amount.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Not a number with an optional unit.
    #[error("this is not {expected}")]
    Malformed {
        /// What belongs there, with examples.
        expected: &'static str,
    },
    /// The unit does not fit.
    #[error("`{unit}` is not a unit here: {expected}")]
    UnknownUnit {
        /// What stands there.
        unit: String,
        /// What belongs there.
        expected: &'static str,
    },
    /// Part of the smallest unit.
    #[error("this is finer than {smallest}")]
    TooFine {
        /// The smallest unit.
        smallest: &'static str,
    },
    /// More than [`AMOUNT_MAX`].
    #[error("this is more than Muster can count")]
    TooLarge,
}

const CPU: &str = "an amount of processor: write cores such as `2` or `0.5`, or thousandths of a core such as `500m`";
const CPU_UNIT: &str = "write cores such as `2` or `0.5`, or thousandths of a core such as `500m`";
const MEMORY: &str = "an amount of memory: write for example `256Mi`, `1G` or a number of bytes";
const MEMORY_UNIT: &str =
    "use Ki, Mi, Gi, Ti, Pi (powers of 1024), k, M, G, T, P (powers of 1000), or plain bytes";
const COUNT: &str = "a whole number such as `1`";

/// Reads cores (`2`, `0.5`) or thousandths of a core (`500m`), and gives thousandths.
pub fn parse_cpu(text: &str) -> Result<u64, QuantityError> {
    let (number, unit) = split(text.trim());
    let size = match unit {
        "" => 1000,
        "m" => 1,
        _ => return Err(unknown_unit(number, unit, CPU, CPU_UNIT)),
    };
    finish(scaled(number, size), CPU, "a thousandth of a core")
}

/// Reads bytes with an optional unit: `256Mi`, `1.5G`, `1048576`.
pub fn parse_memory(text: &str) -> Result<u64, QuantityError> {
    let (number, unit) = split(text.trim());
    let Some((_, size)) = MEMORY_UNITS.into_iter().find(|(name, _)| *name == unit) else {
        return Err(unknown_unit(number, unit, MEMORY, MEMORY_UNIT));
    };
    finish(scaled(number, size), MEMORY, "a byte")
}

/// Reads a whole number of something else.
pub fn parse_count(text: &str) -> Result<u64, QuantityError> {
    match scaled(text.trim(), 1) {
        Err(DecimalError::TooFine) => Err(QuantityError::Malformed { expected: COUNT }),
        amount => finish(amount, COUNT, "one"),
    }
}

/// Thousandths of a core in the form that [`parse_cpu`] reads: `2`, `500m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpu(pub u64);

impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_multiple_of(1000) {
            write!(f, "{}", self.0 / 1000)
        } else {
            write!(f, "{}m", self.0)
        }
    }
}

/// Bytes in the form that [`parse_memory`] reads, with the largest power of 1024 that is exact: `256Mi`, `1000`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory(pub u64);

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let binary = MEMORY_UNITS.into_iter().rev().take_while(|(unit, _)| unit.ends_with('i'));
        for (unit, size) in binary {
            if self.0 > 0 && self.0.is_multiple_of(size) {
                return write!(f, "{}{unit}", self.0 / size);
            }
        }
        write!(f, "{}", self.0)
    }
}

/// Why a decimal cannot be scaled to a whole number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DecimalError {
    Malformed,
    TooFine,
    TooLarge,
}

/// `number` (digits, at most one point) times `scale`, if that is a whole number.
pub(super) fn scaled(number: &str, scale: u64) -> Result<u64, DecimalError> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let are_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !are_digits(whole) || !are_digits(fraction) {
        return Err(DecimalError::Malformed);
    }
    let fraction = fraction.trim_end_matches('0');
    // Scales have few factors of ten: beyond this many digits no fraction is whole.
    if fraction.len() > 18 {
        return Err(DecimalError::TooFine);
    }
    let whole: u64 = whole.parse().map_err(|_| DecimalError::TooLarge)?;
    let whole = whole.checked_mul(scale).ok_or(DecimalError::TooLarge)?;
    if fraction.is_empty() {
        return Ok(whole);
    }
    let denominator = 10_u128.pow(u32::try_from(fraction.len()).expect("at most 18 digits"));
    let numerator: u128 = fraction.parse().expect("at most 18 digits");
    let product = numerator * u128::from(scale);
    if !product.is_multiple_of(denominator) {
        return Err(DecimalError::TooFine);
    }
    let part = u64::try_from(product / denominator).expect("a fraction of a u64");
    whole.checked_add(part).ok_or(DecimalError::TooLarge)
}

/// The number and what follows it.
fn split(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len()))
}

fn unknown_unit(
    number: &str,
    unit: &str,
    expected: &'static str,
    units: &'static str,
) -> QuantityError {
    if number.is_empty() || !unit.chars().all(char::is_alphabetic) {
        return QuantityError::Malformed { expected };
    }
    QuantityError::UnknownUnit { unit: unit.chars().take(20).collect(), expected: units }
}

fn finish(
    amount: Result<u64, DecimalError>,
    expected: &'static str,
    smallest: &'static str,
) -> Result<u64, QuantityError> {
    match amount {
        Ok(amount) if amount <= AMOUNT_MAX => Ok(amount),
        Ok(_) | Err(DecimalError::TooLarge) => Err(QuantityError::TooLarge),
        Err(DecimalError::TooFine) => Err(QuantityError::TooFine { smallest }),
        Err(DecimalError::Malformed) => Err(QuantityError::Malformed { expected }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors() {
        for (text, millis) in
            [("2", 2000), ("0.5", 500), ("500m", 500), ("1.250", 1250), ("0", 0), ("0.001", 1)]
        {
            assert_eq!(parse_cpu(text), Ok(millis), "{text}");
        }
        for text in ["", "m", "-1", "1e3", ".5", "1.", "two", "0.5m", "0.0001", "1,5", "1 m"] {
            assert!(parse_cpu(text).is_err(), "{text}");
        }
        assert!(matches!(parse_cpu("2Gi"), Err(QuantityError::UnknownUnit { .. })));
    }

    #[test]
    fn memory() {
        let table = [
            ("256Mi", 256 << 20),
            ("1G", 1_000_000_000),
            ("1.5Gi", 3 << 29),
            ("0.1k", 100),
            ("1048576", 1 << 20),
            ("1Pi", 1 << 50),
        ];
        for (text, bytes) in table {
            assert_eq!(parse_memory(text), Ok(bytes), "{text}");
        }
        // `m` is a thousandth for processors; for memory it would be a thousandth of a byte.
        assert!(matches!(parse_memory("512m"), Err(QuantityError::UnknownUnit { .. })));
        assert!(matches!(parse_memory("0.5"), Err(QuantityError::TooFine { .. })));
        assert_eq!(parse_memory("2Pi"), Err(QuantityError::TooLarge));
        assert_eq!(parse_memory("99999999999999999999"), Err(QuantityError::TooLarge));
    }

    #[test]
    fn counts() {
        assert_eq!(parse_count("8"), Ok(8));
        assert_eq!(parse_count("2.0"), Ok(2));
        assert!(parse_count("0.5").is_err());
        assert!(parse_count("many").is_err());
    }

    #[test]
    fn reads_back_what_it_prints() {
        for amount in [0, 1, 500, 1000, 1500, 2000, 1 << 20, 3 << 29, 1_000_000_000, AMOUNT_MAX] {
            assert_eq!(parse_cpu(&Cpu(amount).to_string()), Ok(amount));
            assert_eq!(parse_memory(&Memory(amount).to_string()), Ok(amount));
        }
        assert_eq!(Memory(256 << 20).to_string(), "256Mi");
        assert_eq!(Cpu(500).to_string(), "500m");
    }
}
