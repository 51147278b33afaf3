//! Parameters of a workflow, and which values may be given for them.
//!
//! A value is a text and stays as it was written; a type says which texts are values. Numbers are compared digit by
//! digit: there is no float that would round them, and no bound on how many digits they have.

use std::cmp::Ordering;

use super::error::quoted;
use crate::ids::Text;

/// Largest exponent of a number, in either direction.
const EXPONENT_MAX: i64 = 9999;
/// Allowed values that a message names.
const SHOWN_MAX: usize = 20;

/// A parameter of a workflow. One without a default must be given at submission.
///
/// - The default, the bounds and the allowed values are values of the type.
/// - Only types whose values have an order have bounds.
/// - Default and allowed values lie within the bounds; the default is one of the allowed values, if there are any.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ParamSpec {
    /// Which texts are values.
    pub kind: ParamType,
    /// Used when the submission gives no value.
    pub default: Option<Text>,
    /// For people.
    pub description: Option<Text>,
    /// The values that may be given, each once; all of the type if there are none.
    pub allowed: Vec<Text>,
    /// The smallest value that may be given.
    pub minimum: Option<Text>,
    /// The largest value that may be given.
    pub maximum: Option<Text>,
}

/// Which texts are values of a parameter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ParamType {
    /// Any text.
    #[default]
    String,
    /// A whole number as JSON writes it, without exponent: `42`, `-7`.
    Integer,
    /// A number as JSON writes it: `42`, `-0.5`, `1e6`.
    Number,
    /// `true` or `false`.
    Boolean,
    /// A day of the calendar from year 1 to 9999: `2026-12-24`.
    Date,
}

/// Why a text may not be given for a parameter. The text says what may.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParamError {
    /// It is no value of the type.
    #[error("{value} is not {expected}")]
    NotOfType {
        /// What was given, cut to a readable length.
        value: String,
        /// What belongs there, with examples.
        expected: &'static str,
    },
    /// It lies below the minimum or above the maximum.
    #[error("{value} is out of range: {range}")]
    OutOfRange {
        /// What was given, cut to a readable length.
        value: String,
        /// What is possible.
        range: String,
    },
    /// It is none of the allowed values.
    #[error("{value} is not one of {allowed}")]
    NotAllowed {
        /// What was given, cut to a readable length.
        value: String,
        /// The allowed values, or the first of many.
        allowed: String,
    },
}

impl ParamSpec {
    /// Whether `value` may be given: of the type, within the bounds, and one of the allowed values. Bounds that are
    /// themselves no values allow nothing.
    pub fn check(&self, value: &str) -> Result<(), ParamError> {
        let meant = self.kind.read(value)?;
        self.check_range(value)?;
        let is_it = |allowed: &Text| self.kind.read(allowed).is_ok_and(|it| it == meant);
        if !self.allowed.is_empty() && !self.allowed.iter().any(is_it) {
            let allowed = listed(&self.allowed);
            return Err(ParamError::NotAllowed { value: quoted(value), allowed });
        }
        Ok(())
    }

    /// Whether `value` is one of the type and lies within the bounds.
    pub(super) fn check_range(&self, value: &str) -> Result<(), ParamError> {
        let meant = self.kind.read(value)?;
        let is_within = |bound: &Option<Text>, beyond: Ordering| {
            let bound = bound.as_deref().map(|bound| self.kind.read(bound));
            bound.is_none_or(|bound| bound.is_ok_and(|bound| meant.cmp(&bound) != beyond))
        };
        if is_within(&self.minimum, Ordering::Less) && is_within(&self.maximum, Ordering::Greater) {
            return Ok(());
        }
        Err(ParamError::OutOfRange { value: quoted(value), range: self.range() })
    }

    /// What the bounds leave, in words.
    fn range(&self) -> String {
        match (&self.minimum, &self.maximum) {
            (Some(first), Some(last)) => {
                format!("{} to {} are possible", quoted(first), quoted(last))
            }
            (Some(first), None) => format!("{} is the least that is possible", quoted(first)),
            (None, Some(last)) => format!("{} is the most that is possible", quoted(last)),
            (None, None) => "anything is possible".to_owned(),
        }
    }
}

fn listed(values: &[Text]) -> String {
    let shown: Vec<String> = values.iter().take(SHOWN_MAX).map(|value| quoted(value)).collect();
    let more = values.len().saturating_sub(SHOWN_MAX);
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{rest}", shown.join(", "))
}

impl ParamType {
    /// Every type with its name in workflow files.
    pub const ALL: [(&'static str, ParamType); 5] = [
        ("string", ParamType::String),
        ("integer", ParamType::Integer),
        ("number", ParamType::Number),
        ("boolean", ParamType::Boolean),
        ("date", ParamType::Date),
    ];

    /// Its name in workflow files.
    pub fn word(self) -> &'static str {
        match self {
            ParamType::String => "string",
            ParamType::Integer => "integer",
            ParamType::Number => "number",
            ParamType::Boolean => "boolean",
            ParamType::Date => "date",
        }
    }

    /// Whether there are smaller and larger values, so that there can be bounds.
    pub fn has_order(self) -> bool {
        match self {
            ParamType::Integer | ParamType::Number | ParamType::Date => true,
            ParamType::String | ParamType::Boolean => false,
        }
    }

    /// What `text` stands for, or why it is no value of the type.
    pub fn read(self, text: &str) -> Result<Value<'_>, ParamError> {
        let (value, expected) = match self {
            ParamType::String => (Some(Meaning::Text(text)), "a text"),
            ParamType::Integer => (
                Decimal::read(text).filter(|_| is_integer(text)).map(Meaning::Number),
                "an integer: write digits such as `42` or `-7`, without `+`, spaces and leading zeros",
            ),
            ParamType::Number => (
                Decimal::read(text).map(Meaning::Number),
                "a number: write it as in JSON, such as `42`, `-0.5` or `1e6`, without `+`, spaces and leading zeros",
            ),
            ParamType::Boolean => (
                Some(Meaning::Text(text)).filter(|_| matches!(text, "true" | "false")),
                "a boolean: write `true` or `false`",
            ),
            // They have all their digits, and so have the order of texts.
            ParamType::Date => (
                Some(Meaning::Text(text)).filter(|_| is_date(text)),
                "a date: write a day of the calendar such as `2026-12-24`",
            ),
        };
        let not_of_type = || ParamError::NotOfType { value: quoted(text), expected };
        value.map(Value).ok_or_else(not_of_type)
    }
}

/// What a text stands for. Values of one type compare as people expect: `1.0` equals `1`, and is less than `1e3`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Value<'t>(Meaning<'t>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Meaning<'t> {
    Number(Decimal),
    Text(&'t str),
}

fn is_integer(text: &str) -> bool {
    is_whole(text.strip_prefix('-').unwrap_or(text))
}

/// Digits without leading zeros.
fn is_whole(digits: &str) -> bool {
    are_digits(digits) && (digits == "0" || !digits.starts_with('0'))
}

fn are_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// A number by its significant digits: 0.d₁d₂d₃… × 10^magnitude, with neither the first nor the last of them a zero.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Decimal {
    sign: Sign,
    magnitude: i64,
    digits: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Sign {
    Negative,
    Zero,
    Positive,
}

impl Decimal {
    /// Reads a number as JSON writes it, with an exponent of at most [`EXPONENT_MAX`].
    fn read(text: &str) -> Option<Decimal> {
        let unsigned = text.strip_prefix('-').unwrap_or(text);
        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, read_exponent(exponent)?),
            None => (unsigned, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
        if !is_whole(whole) || !are_digits(fraction) {
            return None;
        }
        let all: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
        let zeros = all.iter().take_while(|digit| **digit == b'0').count();
        let end = all.iter().rposition(|digit| *digit != b'0').map_or(zeros, |last| last + 1);
        let digits = all.get(zeros..end)?.to_vec();
        let sign = match (digits.is_empty(), unsigned.len() < text.len()) {
            (true, _) => Sign::Zero,
            (false, true) => Sign::Negative,
            (false, false) => Sign::Positive,
        };
        let point = i64::try_from(whole.len()).ok()? - i64::try_from(zeros).ok()?;
        let magnitude = if sign == Sign::Zero { 0 } else { point + exponent };
        Some(Decimal { sign, magnitude, digits })
    }
}

fn read_exponent(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if !are_digits(digits) {
        return None;
    }
    let size: i64 = digits.parse().ok().filter(|size| *size <= EXPONENT_MAX)?;
    Some(if text.starts_with('-') { -size } else { size })
}

impl Ord for Decimal {
    fn cmp(&self, other: &Decimal) -> Ordering {
        let by_size = (self.magnitude, &self.digits).cmp(&(other.magnitude, &other.digits));
        self.sign.cmp(&other.sign).then(match self.sign {
            Sign::Negative => by_size.reverse(),
            Sign::Zero | Sign::Positive => by_size,
        })
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Decimal) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// `YYYY-MM-DD`, a day that the Gregorian calendar has.
fn is_date(text: &str) -> bool {
    let mut parts = text.split('-');
    let mut part = |length: usize| {
        let part = parts.next().filter(|part| part.len() == length && are_digits(part))?;
        part.parse::<u16>().ok()
    };
    let (Some(year), Some(month), Some(day)) = (part(4), part(2), part(2)) else { return false };
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if is_leap => 29,
        2 => 28,
        _ => 0,
    };
    parts.next().is_none() && year >= 1 && (1..=days).contains(&day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is(kind: ParamType, text: &str) -> bool {
        kind.read(text).is_ok()
    }

    fn compare(kind: ParamType, one: &str, other: &str) -> Ordering {
        kind.read(one).unwrap().cmp(&kind.read(other).unwrap())
    }

    #[test]
    fn integers_are_written_in_one_way() {
        for text in ["0", "-0", "7", "-7", "42", "123456789012345678901234567890"] {
            assert!(is(ParamType::Integer, text), "{text}");
        }
        for text in [
            "", "-", "+1", "01", "-01", "00", " 1", "1 ", "1.0", "1e3", "0x1f", "1_000", "1,000",
            "one", "--1", "٣", "true", "1\n",
        ] {
            assert!(!is(ParamType::Integer, text), "{text:?}");
        }
    }

    #[test]
    fn numbers_are_written_as_in_json() {
        for text in
            ["0", "-0.0", "7", "0.5", "-12.50", "1e3", "1E+3", "2.5e-07", "1e9999", "1e-9999"]
        {
            assert!(is(ParamType::Number, text), "{text}");
        }
        for text in [
            "",
            ".5",
            "5.",
            "+1",
            "01",
            "01.5",
            "-",
            "-.5",
            "1e",
            "e3",
            "1e+",
            "1e1.5",
            "1e10000",
            "1e99999999999999999999",
            "1.2.3",
            " 1",
            "1 ",
            "NaN",
            "inf",
            "Infinity",
            "0x1",
            "1_0",
            "1,5",
            "1e3e3",
        ] {
            assert!(!is(ParamType::Number, text), "{text:?}");
        }
    }

    #[test]
    fn numbers_compare_by_what_they_stand_for() {
        // From small to large.
        let order = [
            "-1e9999",
            "-1e10",
            "-100",
            "-99.99",
            "-10",
            "-9",
            "-0.1",
            "-0.01",
            "0",
            "1e-9999",
            "0.01",
            "0.0999999999999999999999",
            "0.1",
            "9",
            "9.0000000000000000000001",
            "10",
            "99.99",
            "100",
            "9007199254740992",
            "9007199254740993",
            "1e16",
            "1e9999",
        ];
        for (at, one) in order.iter().enumerate() {
            for (other_at, other) in order.iter().enumerate() {
                let compared = compare(ParamType::Number, one, other);
                assert_eq!(compared, at.cmp(&other_at), "{one} and {other}");
            }
        }
        for (one, other) in [
            ("1", "1.0"),
            ("1", "1.00e0"),
            ("1000", "1e3"),
            ("0.001", "1e-3"),
            ("0", "-0.0e5"),
            ("12.50", "1.25e1"),
            ("100e-2", "1"),
            ("-10", "-1e1"),
        ] {
            assert_eq!(compare(ParamType::Number, one, other), Ordering::Equal, "{one}, {other}");
        }
    }

    #[test]
    fn dates_are_days_of_the_calendar() {
        for text in
            ["2026-12-24", "2024-02-29", "2000-02-29", "0001-01-01", "9999-12-31", "2026-04-30"]
        {
            assert!(is(ParamType::Date, text), "{text}");
        }
        for text in [
            "",
            "2026",
            "2026-12",
            "2026-1-01",
            "2026-01-1",
            "26-01-01",
            "2026-13-01",
            "2026-00-01",
            "2026-01-00",
            "2026-01-32",
            "2026-04-31",
            "2026-02-29",
            "1900-02-29",
            "0000-01-01",
            "2026-01-01T00:00",
            "2026/01/01",
            "20260101",
            "-2026-01-01",
            "2026-01-01-",
            " 2026-01-01",
            "+026-01-01",
        ] {
            assert!(!is(ParamType::Date, text), "{text:?}");
        }
        assert_eq!(compare(ParamType::Date, "2026-09-30", "2026-10-01"), Ordering::Less);
    }

    #[test]
    fn booleans_are_two_words() {
        assert!(is(ParamType::Boolean, "true") && is(ParamType::Boolean, "false"));
        for text in ["", "True", "TRUE", "yes", "1", "on", " true"] {
            assert!(!is(ParamType::Boolean, text), "{text:?}");
        }
        assert!(is(ParamType::String, ""));
    }

    #[test]
    fn a_value_must_be_allowed_and_in_range() {
        let texts = |texts: &[&str]| texts.iter().map(|text| Text::from(*text)).collect();
        let spec = ParamSpec {
            kind: ParamType::Number,
            allowed: texts(&["1", "2.5"]),
            ..ParamSpec::default()
        };
        assert_eq!(spec.check("1.0"), Ok(()));
        let told = |spec: &ParamSpec, value| spec.check(value).unwrap_err().to_string();
        assert_eq!(told(&spec, "3"), "`3` is not one of `1`, `2.5`");
        let bounds = ParamSpec {
            kind: ParamType::Integer,
            minimum: Some("1".into()),
            maximum: Some("10".into()),
            ..ParamSpec::default()
        };
        assert_eq!((bounds.check("1"), bounds.check("10")), (Ok(()), Ok(())));
        assert_eq!(told(&bounds, "0"), "`0` is out of range: `1` to `10` are possible");
        assert_eq!(told(&bounds, "11"), "`11` is out of range: `1` to `10` are possible");
        let open = ParamSpec { maximum: None, ..bounds.clone() };
        assert_eq!(told(&open, "-5"), "`-5` is out of range: `1` is the least that is possible");
        // Never reached by a spec that was checked.
        let broken = ParamSpec { minimum: Some("x".into()), ..bounds };
        assert!(broken.check("5").is_err());
    }

    #[test]
    fn of_many_allowed_values_some_are_named() {
        let allowed: Vec<Text> = (0..25).map(|at| Text::from(format!("v{at}"))).collect();
        let spec = ParamSpec { allowed, ..ParamSpec::default() };
        let told = spec.check("x").unwrap_err().to_string();
        assert!(told.ends_with("`v18`, `v19` and 5 more"), "{told}");
    }
}
