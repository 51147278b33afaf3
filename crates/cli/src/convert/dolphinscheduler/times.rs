//! `$[yyyyMMdd-1]` and its kin: the time of a run, moved and formatted.

/// A time expression that can be worked out by a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Time {
    /// How much the fire time is moved.
    minutes: i64,
    /// The pieces of the format, in `strftime`'s letters.
    format: String,
}

/// Java's letters for dates, and those of `strftime`.
const LETTERS: [(&str, &str); 6] =
    [("yyyy", "%Y"), ("MM", "%m"), ("dd", "%d"), ("HH", "%H"), ("mm", "%M"), ("ss", "%S")];
const MINUTES_A_DAY: i64 = 24 * 60;

impl Time {
    /// What is built in under a name.
    pub(super) fn built_in(name: &str) -> Option<Time> {
        match name {
            "system.biz.date" => Time::parse("yyyyMMdd-1"),
            "system.biz.curdate" => Time::parse("yyyyMMdd"),
            "system.datetime" => Time::parse("yyyyMMddHHmmss"),
            _ => None,
        }
    }

    /// Reads what stands between `$[` and `]`; `None` if it is more than a format and a distance.
    pub(super) fn parse(text: &str) -> Option<Time> {
        let text = text.trim();
        let inside = |name: &str| text.strip_prefix(name)?.strip_suffix(')');
        if let Some(format) = inside("this_day(") {
            return Time::new(format, 0);
        }
        if let Some(format) = inside("last_day(") {
            return Time::new(format, -MINUTES_A_DAY);
        }
        let sign = text.rfind('+').or_else(|| text.rfind('-'));
        match sign {
            Some(at) if text[at + 1..].starts_with(|c: char| c.is_ascii_digit()) => {
                let minutes = distance(&text[at + 1..])?;
                let minutes = if text[at..].starts_with('-') { -minutes } else { minutes };
                Time::new(&text[..at], minutes)
            }
            _ => Time::new(text, 0),
        }
    }

    fn new(java: &str, minutes: i64) -> Option<Time> {
        let mut format = String::new();
        let mut rest = java.trim();
        if rest.is_empty() {
            return None;
        }
        while let Some(first) = rest.chars().next() {
            let found = LETTERS.iter().find(|(letters, _)| {
                let after = rest.strip_prefix(letters);
                after.is_some_and(|after| !after.starts_with(first))
            });
            if let Some((letters, own)) = found {
                format.push_str(own);
                rest = &rest[letters.len()..];
            } else if "-/:. _".contains(first) {
                format.push(first);
                rest = &rest[1..];
            } else {
                return None;
            }
        }
        Some(Time { minutes, format })
    }

    /// As a command of bash with GNU `date`, `base` being the variable with the time of the run.
    pub(super) fn shell(&self, base: &str) -> String {
        let moved = match self.minutes {
            0 => String::new(),
            minutes if minutes % MINUTES_A_DAY == 0 => ago(minutes / MINUTES_A_DAY, "day"),
            minutes => ago(minutes, "minute"),
        };
        format!("$(date -u -d \"${base}{moved}\" '+{}')", self.format)
    }

    /// As an expression of Python, `base` being the variable with the time of the run.
    pub(super) fn python(&self, base: &str) -> String {
        if self.minutes == 0 {
            return format!("{base}.strftime(\"{}\")", self.format);
        }
        format!(
            "({base} + datetime.timedelta(minutes={})).strftime(\"{}\")",
            self.minutes, self.format
        )
    }
}

/// Behind a time a bare sign would be read as its zone.
fn ago(count: i64, unit: &str) -> String {
    match count {
        count if count < 0 => format!(" {} {unit} ago", -count),
        count => format!(" {count} {unit}"),
    }
}

/// The minutes of `1`, `7*2` or `1/24/60` days.
fn distance(text: &str) -> Option<i64> {
    let mut minutes = MINUTES_A_DAY;
    let mut operation = '*';
    let mut rest = text;
    loop {
        let end = rest.find(['*', '/']).unwrap_or(rest.len());
        let number: i64 = rest[..end].trim().parse().ok()?;
        minutes = match operation {
            '*' => minutes.checked_mul(number)?,
            _ => minutes.checked_div(number)?,
        };
        let Some(next) = rest[end..].chars().next() else { break };
        operation = next;
        rest = &rest[end + 1..];
    }
    // Nobody looks farther than a hundred years.
    (minutes.abs() <= 100 * 366 * MINUTES_A_DAY).then_some(minutes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_formats_and_distances() {
        for (text, minutes, format) in [
            ("yyyyMMdd", 0, "%Y%m%d"),
            ("yyyyMMdd-1", -1440, "%Y%m%d"),
            ("yyyy-MM-dd", 0, "%Y-%m-%d"),
            ("yyyy-MM-dd-1", -1440, "%Y-%m-%d"),
            ("yyyy-MM-dd HH:mm:ss", 0, "%Y-%m-%d %H:%M:%S"),
            ("yyyyMMdd+7*2", 14 * 1440, "%Y%m%d"),
            ("HHmmss-2/24", -120, "%H%M%S"),
            ("HHmm+30/24/60", 30, "%H%M"),
            ("last_day(yyyy-MM-dd)", -1440, "%Y-%m-%d"),
            ("this_day(yyyyMMdd)", 0, "%Y%m%d"),
        ] {
            let expected = Time { minutes, format: format.to_owned() };
            assert_eq!(Time::parse(text), Some(expected), "{text}");
        }
        let more = [
            "",
            "add_months(yyyyMMdd,-1)",
            "month_begin(yyyyMMdd,0)",
            "year_week(yyyy-MM-dd)",
            "yy",
            "YYYYMMdd",
            "yyyy'T'HH",
            "E",
            "timestamp(yyyyMMdd)",
            "yyyyMMdd-1/0",
            "yyyyyMMdd",
            "yyyyMMdd-99999999999999999999",
            "yyyyMMdd-1*x",
            "-1",
        ];
        for text in more {
            assert_eq!(Time::parse(text), None, "{text}");
        }
    }

    #[test]
    fn bash_works_them_out() {
        for (text, expected) in [
            ("yyyyMMdd-1", "20260228"),
            ("yyyy-MM-dd+1", "2026-03-02"),
            ("yyyyMMddHHmmss-1/24", "20260301003000"),
            ("HH:mm+30/24/60", "02:00"),
            ("yyyyMMdd-7*2", "20260215"),
        ] {
            let time = Time::parse(text).expect(text);
            let script = format!("t='2026-03-01 01:30:00'; echo {}", time.shell("t"));
            let output = std::process::Command::new("bash").args(["-c", &script]).output();
            let output = output.expect("there is a shell");
            assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), expected, "{script}");
        }
    }
}
