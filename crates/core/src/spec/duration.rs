//! Spans of time as people write them: `90s`, `1h30m`, `250ms`. [`Millis`] prints the same form.

use super::quantity::{self, DecimalError};
use crate::limits;
use crate::time::Millis;

/// Units from the largest, with their milliseconds.
const UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Why a text is not a span of time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// There is nothing to read.
    #[error("a duration is missing: write for example `90s`, `5m` or `1h30m`")]
    Empty,
    /// A number has no unit behind it.
    #[error(
        "a duration needs a unit: write `{number}s` for seconds, `{number}m` for minutes, `{number}h` for hours"
    )]
    NoUnit {
        /// The number.
        number: String,
    },
    /// The unit is not one of `d`, `h`, `m`, `s`, `ms`.
    #[error("`{unit}` is not a unit of time: use d, h, m, s or ms")]
    UnknownUnit {
        /// What stands there.
        unit: String,
    },
    /// The units do not go from large to small.
    #[error("write the units of a duration from large to small and each once, as in `1h30m`")]
    Order,
    /// It is not made of numbers and units.
    #[error("this is not a duration: write for example `90s`, `5m` or `1h30m`")]
    Malformed,
    /// It has a part of a millisecond.
    #[error("a duration is a whole number of milliseconds")]
    TooFine,
    /// It is longer than [`limits::SPAN_MAX`].
    #[error("a duration is at most {}", limits::SPAN_MAX)]
    TooLong,
}

/// Reads a span such as `90s`, `1h30m`, `1.5h` or `250ms`; a lone `0` needs no unit. At most [`limits::SPAN_MAX`].
pub fn parse(text: &str) -> Result<Millis, DurationError> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(DurationError::Empty);
    }
    if rest == "0" {
        return Ok(Millis(0));
    }
    let mut total: u64 = 0;
    let mut smallest = u64::MAX;
    while !rest.is_empty() {
        let number_len = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(number_len);
        if number.is_empty() {
            return Err(DurationError::Malformed);
        }
        let unit_len = tail.find(|c: char| !c.is_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_len);
        let (part, size) = part(number, unit)?;
        if size >= smallest {
            return Err(DurationError::Order);
        }
        smallest = size;
        total = total.checked_add(part).ok_or(DurationError::TooLong)?;
        rest = tail;
    }
    if total > limits::SPAN_MAX.0 {
        return Err(DurationError::TooLong);
    }
    Ok(Millis(total))
}

/// The milliseconds of one number with its unit, and those of the unit.
fn part(number: &str, unit: &str) -> Result<(u64, u64), DurationError> {
    if unit.is_empty() {
        return Err(DurationError::NoUnit { number: number.chars().take(20).collect() });
    }
    let Some((_, size)) = UNITS.into_iter().find(|(name, _)| *name == unit) else {
        return Err(DurationError::UnknownUnit { unit: unit.chars().take(20).collect() });
    };
    match quantity::scaled(number, size) {
        Ok(part) => Ok((part, size)),
        Err(DecimalError::Malformed) => Err(DurationError::Malformed),
        Err(DecimalError::TooFine) => Err(DurationError::TooFine),
        Err(DecimalError::TooLarge) => Err(DurationError::TooLong),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        let table = [
            ("90s", 90_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("1d", 86_400_000),
            ("250ms", 250),
            ("1.5h", 5_400_000),
            ("0.25s", 250),
            ("1s500ms", 1500),
            ("0", 0),
            ("0s", 0),
            (" 2h ", 7_200_000),
        ];
        for (text, millis) in table {
            assert_eq!(parse(text), Ok(Millis(millis)), "{text}");
        }
    }

    #[test]
    fn refuses_the_rest() {
        let table = [
            ("", DurationError::Empty),
            ("30", DurationError::NoUnit { number: "30".into() }),
            ("5 m", DurationError::NoUnit { number: "5".into() }),
            ("3weeks", DurationError::UnknownUnit { unit: "weeks".into() }),
            ("30m1h", DurationError::Order),
            ("1h1h", DurationError::Order),
            ("h", DurationError::Malformed),
            ("-5s", DurationError::Malformed),
            ("1..5s", DurationError::Malformed),
            ("0.5ms", DurationError::TooFine),
            ("367d", DurationError::TooLong),
            ("99999999999999999999h", DurationError::TooLong),
        ];
        for (text, error) in table {
            assert_eq!(parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn reads_back_what_it_prints() {
        for millis in [1, 999, 1000, 61_001, 3_600_000, 90_061_001, limits::SPAN_MAX.0] {
            assert_eq!(parse(&Millis(millis).to_string()), Ok(Millis(millis)));
        }
    }
}
