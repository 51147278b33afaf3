//! Durations, amounts and pairs as flags take them, and as tables show them.

use std::time::Duration;

use muster_core::spec::{duration, quantity};
use muster_core::time::Millis;

/// Reads a span such as `90s` or `1h30m`.
pub(crate) fn span(text: &str) -> Result<Duration, String> {
    match duration::parse(text) {
        Ok(Millis(0)) => Err("it must be longer than nothing".to_owned()),
        Ok(Millis(millis)) => Ok(Duration::from_millis(millis)),
        Err(error) => Err(error.to_string()),
    }
}

/// Reads cores such as `2` or `500m`, in thousandths.
pub(crate) fn cpu(text: &str) -> Result<u64, String> {
    quantity::parse_cpu(text).map_err(|error| error.to_string())
}

/// Reads bytes such as `256Mi`.
pub(crate) fn memory(text: &str) -> Result<u64, String> {
    quantity::parse_memory(text).map_err(|error| error.to_string())
}

/// Reads `KEY=VALUE`. The value may be empty, and may hold further `=`.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE".to_owned()),
    }
}

/// Reads `NAME=COUNT`.
pub(crate) fn count(text: &str) -> Result<(String, u64), String> {
    let (name, amount) = pair(text).map_err(|_| "write NAME=COUNT, for example `gpu=1`")?;
    let amount = quantity::parse_count(&amount).map_err(|error| error.to_string())?;
    Ok((name, amount))
}

/// Reads `FIRST-LAST`, or a count `N` that stands for `0-(N-1)`.
pub(crate) fn range(text: &str) -> Result<(u32, u32), String> {
    let form = || "write a range such as `0-999` or a count such as `1000`".to_owned();
    let index = |text: &str| text.parse::<u32>().map_err(|_| form());
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (index(first)?, index(last)?),
        None => (0, index(text)?.checked_sub(1).ok_or_else(form)?),
    };
    if first > last {
        return Err(format!("the first index {first} is larger than the last one {last}"));
    }
    Ok((first, last))
}

/// A span as people read it: `350ms`, `4.2s`, `3m07s`, `2h05m`, `3d04h`.
pub(crate) fn short(span: Duration) -> String {
    let millis = span.as_millis();
    let seconds = span.as_secs();
    match seconds {
        0 => format!("{millis}ms"),
        1..60 => format!("{}.{}s", seconds, millis % 1000 / 100),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// Reads a point in time: `2026-12-01` or `2026-12-01T09:00` in UTC, or with an offset. Milliseconds since the epoch.
pub(crate) fn moment(text: &str) -> Result<u64, String> {
    muster_calendar::moment(text).map(|at| at.0)
}

/// A bound of a range, which a zone that is not known yet makes a point in time: `2026-12-01`, `2026-12-01T09:00`, or
/// with an offset.
pub(crate) fn bound(text: &str) -> Result<String, String> {
    muster_calendar::bound(text, "Etc/UTC").map(|_| text.to_owned())
}

/// The span between two points in milliseconds since the epoch.
pub(crate) fn between(from_ms: u64, to_ms: u64) -> Duration {
    Duration::from_millis(to_ms.saturating_sub(from_ms))
}

/// Milliseconds since the epoch.
pub(crate) fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// A point in time in UTC: `2026-03-01 14:05:09`; `-` for none.
pub(crate) fn clock(ms: u64) -> String {
    if ms == 0 {
        return "-".to_owned();
    }
    match jiff::Timestamp::from_millisecond(i64::try_from(ms).unwrap_or(i64::MAX)) {
        Ok(at) => format!("{at:.0}").replace('T', " ").trim_end_matches('Z').to_owned(),
        Err(_) => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_take_what_workflow_files_take() {
        assert_eq!(span("1h30m"), Ok(Duration::from_secs(5400)));
        assert!(span("30").unwrap_err().contains("30s"));
        assert!(span("0s").is_err());
        assert_eq!(cpu("500m"), Ok(500));
        assert_eq!(cpu("2"), Ok(2000));
        assert_eq!(memory("1Gi"), Ok(1 << 30));
        assert!(memory("1Q").is_err());
    }

    #[test]
    fn pairs_and_ranges() {
        assert_eq!(pair("A=b=c"), Ok(("A".into(), "b=c".into())));
        assert_eq!(pair("A="), Ok(("A".into(), String::new())));
        assert!(pair("A").is_err() && pair("=b").is_err());
        assert_eq!(count("gpu=2"), Ok(("gpu".into(), 2)));
        assert!(count("gpu=half").is_err());
        assert_eq!(range("0-999"), Ok((0, 999)));
        assert_eq!(range("10"), Ok((0, 9)));
        for text in ["", "0", "9-3", "a-b", "-5", "1-", "5-4294967296"] {
            assert!(range(text).is_err(), "{text}");
        }
    }

    #[test]
    fn spans_are_short() {
        for (millis, shown) in [
            (350, "350ms"),
            (4250, "4.2s"),
            (59_999, "59.9s"),
            (187_000, "3m07s"),
            (7_500_000, "2h05m"),
            (273_600_000, "3d04h"),
        ] {
            assert_eq!(short(Duration::from_millis(millis)), shown);
        }
    }

    #[test]
    fn points_in_time() {
        assert_eq!(clock(1_000_000_000_999), "2001-09-09 01:46:40");
        assert_eq!(clock(0), "-");
    }
}
