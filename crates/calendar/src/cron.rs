//! Cron lines: what people write, brought into one form.

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use muster_core::spec::schedule::Dialect;

/// Why a text is not a cron line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CronError {
    /// There is nothing to read.
    #[error(
        "a cron line is missing: write for example `30 2 * * *` for every day at half past two"
    )]
    Empty,
    /// It begins with a zone, as some crons have it.
    #[error("a zone does not belong into the line: write `timeZone: {zone}` beside it")]
    Zone {
        /// The zone.
        zone: String,
    },
    /// It begins with `@` and is none of the known names.
    #[error(
        "`{name}` is not known: use @yearly, @annually, @monthly, @weekly, @daily, @midnight or @hourly, or `every:` \
         for equal distances"
    )]
    Nickname {
        /// What stands there.
        name: String,
    },
    /// It has too few or too many fields.
    #[error("it has {found} fields; {expected}")]
    FieldCount {
        /// How many.
        found: usize,
        /// What is expected.
        expected: &'static str,
    },
    /// A field makes no sense.
    #[error("the {field}, `{text}`: {problem}")]
    Field {
        /// Which.
        field: &'static str,
        /// What stands there.
        text: String,
        /// What is wrong with it.
        problem: String,
    },
    /// No day and time ever match.
    #[error("it never fires: no date matches all of it")]
    Never,
}

/// A cron line that was understood, and fires at least once between the years 1970 and 5000.
#[derive(Clone, Debug)]
pub(crate) struct CronLine {
    cron: Cron,
    is_fixed: bool,
}

/// One place of a line.
struct Field {
    name: &'static str,
    first: u16,
    last: u16,
    /// Words for numbers, the first of which is `word_base`.
    words: &'static [&'static str],
    word_base: u16,
    /// What a range may run over the end of; None where that makes no sense.
    cycle: Option<Cycle>,
    /// Letters that croner reads.
    special: &'static [char],
    /// What is written with them.
    special_forms: &'static str,
}

/// The numbers that follow each other in a circle.
#[derive(Clone, Copy)]
struct Cycle {
    first: u16,
    last: u16,
}

const MONTHS: [&str; 12] =
    ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];
const YEAR_FIRST: u16 = 1970;
const YEAR_LAST: u16 = 5000;
const BEGINNING: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);
/// Longest piece of the user's own text in a message.
const QUOTED_CHARS_MAX: usize = 40;

const fn field(name: &'static str, first: u16, last: u16) -> Field {
    let cycle = Some(Cycle { first, last });
    Field { name, first, last, words: &[], word_base: 0, cycle, special: &[], special_forms: "" }
}

const SECOND: Field = field("second", 0, 59);
const MINUTE: Field = field("minute", 0, 59);
const HOUR: Field = field("hour", 0, 23);
const DAY: Field = Field {
    cycle: None,
    special: &['L', 'W'],
    special_forms: "`L` for the last day, `LW` for the last weekday, or `15W` for the weekday nearest to the 15th",
    ..field("day of the month", 1, 31)
};
const MONTH: Field = Field { words: &MONTHS, word_base: 1, ..field("month", 1, 12) };
const WEEKDAY: Field = Field {
    words: &WEEKDAYS,
    cycle: Some(Cycle { first: 0, last: 6 }),
    special: &['L', '#'],
    special_forms: "`FRIL` for the last Friday of the month, or `FRI#2` for the second",
    ..field("day of the week", 0, 7)
};
const WEEKDAY_QUARTZ: Field = Field {
    words: &WEEKDAYS,
    word_base: 1,
    special: &['L', '#'],
    special_forms: WEEKDAY.special_forms,
    ..field("day of the week", 1, 7)
};
const YEAR: Field = Field { cycle: None, ..field("year", YEAR_FIRST, YEAR_LAST) };

/// Positions among the seven fields.
const DAY_AT: usize = 3;
const WEEKDAY_AT: usize = 5;
/// Those that make a time of day.
const OF_DAY: usize = 3;

impl CronLine {
    pub(crate) fn parse(line: &str, dialect: Dialect) -> Result<Self, CronError> {
        let line = line.trim();
        if line.is_empty() {
            return Err(CronError::Empty);
        }
        for prefix in ["TZ=", "CRON_TZ="] {
            if let Some(rest) = line.strip_prefix(prefix) {
                let zone = rest.split_whitespace().next().unwrap_or_default();
                return Err(CronError::Zone { zone: cut(zone) });
            }
        }
        match line.starts_with('@') {
            true => Self::of_fields(nickname(line)?, Dialect::Posix),
            false => Self::of_fields(line, dialect),
        }
    }

    fn of_fields(line: &str, dialect: Dialect) -> Result<Self, CronError> {
        let texts = seven(line, dialect)?;
        let weekday = match dialect {
            Dialect::Posix => &WEEKDAY,
            Dialect::Quartz => &WEEKDAY_QUARTZ,
        };
        let fields = [&SECOND, &MINUTE, &HOUR, &DAY, &MONTH, weekday, &YEAR];
        let mut parts = Vec::with_capacity(fields.len());
        for (field, text) in fields.into_iter().zip(&texts) {
            parts.push(
                field.canonical(text, dialect).map_err(|problem| field.error(text, problem))?,
            );
        }
        if dialect == Dialect::Quartz && parts[DAY_AT] != "*" && parts[WEEKDAY_AT] != "*" {
            let problem = "Quartz knows no line with both days given: write `?` for one of them";
            return Err(weekday.error(texts[WEEKDAY_AT], problem.to_owned()));
        }
        let cron = understood(&parts, dialect).map_err(|at| {
            let field = fields[at];
            field.error(texts[at], format!("it makes no sense: write {}", field.special_forms))
        })?;
        let is_fixed = !texts[..OF_DAY].iter().any(|text| text.contains(['*', '/']));
        let line = Self { cron, is_fixed };
        line.next_match(BEGINNING, true).ok_or(CronError::Never)?;
        Ok(line)
    }

    /// Whether its times of day are numbers, lists and ranges, without `*` and steps.
    pub(crate) fn is_fixed(&self) -> bool {
        self.is_fixed
    }

    /// The first match after `from`, or from `from` on, on a wall clock that never jumps.
    pub(crate) fn next_match(&self, from: DateTime, is_inclusive: bool) -> Option<DateTime> {
        let from = from.to_zoned(TimeZone::UTC).ok()?;
        let found = self.cron.find_next_occurrence(&from, is_inclusive).ok()?;
        Some(found.datetime())
    }
}

/// The line that a name stands for.
fn nickname(line: &str) -> Result<&'static str, CronError> {
    match line.to_ascii_lowercase().as_str() {
        "@yearly" | "@annually" => Ok("0 0 1 1 *"),
        "@monthly" => Ok("0 0 1 * *"),
        "@weekly" => Ok("0 0 * * 0"),
        "@daily" | "@midnight" => Ok("0 0 * * *"),
        "@hourly" => Ok("0 * * * *"),
        _ => Err(CronError::Nickname { name: cut(line) }),
    }
}

/// The seven fields of a line of five to seven.
fn seven(line: &str, dialect: Dialect) -> Result<[&str; 7], CronError> {
    let written: Vec<&str> = line.split_whitespace().collect();
    let found = written.len();
    match (written.as_slice(), dialect) {
        (&[minute, hour, day, month, weekday], Dialect::Posix) => {
            Ok(["0", minute, hour, day, month, weekday, "*"])
        }
        (&[second, minute, hour, day, month, weekday], _) => {
            Ok([second, minute, hour, day, month, weekday, "*"])
        }
        (&[second, minute, hour, day, month, weekday, year], _) => {
            Ok([second, minute, hour, day, month, weekday, year])
        }
        (_, Dialect::Posix) => {
            let expected = "a cron line has five: minute, hour, day of the month, month, day of the week; a sixth \
                            before them is the second, a seventh behind them the year";
            Err(CronError::FieldCount { found, expected })
        }
        (_, Dialect::Quartz) => {
            let expected = "a line of Quartz has six: second, minute, hour, day of the month, month, day of the \
                            week; a seventh is the year";
            Err(CronError::FieldCount { found, expected })
        }
    }
}

/// Has croner read the line; an error is the position of the field that it is about. That is one with special letters:
/// the others are numbers by now.
fn understood(parts: &[String], dialect: Dialect) -> Result<Cron, usize> {
    let parser = CronParser::builder()
        .seconds(Seconds::Required)
        .year(Year::Required)
        .alternative_weekdays(dialect == Dialect::Quartz)
        .build();
    parser.parse(&parts.join(" ")).map_err(|_| {
        let fails_alone = |at: &usize| {
            let mut alone = vec!["*"; parts.len()];
            alone[*at] = &parts[*at];
            parser.parse(&alone.join(" ")).is_err()
        };
        [DAY_AT, WEEKDAY_AT].into_iter().find(fails_alone).unwrap_or(WEEKDAY_AT)
    })
}

impl Field {
    fn error(&self, text: &str, problem: String) -> CronError {
        CronError::Field { field: self.name, text: cut(text), problem }
    }

    /// The field as croner reads it: no words, no ranges over the end, no steps without a range.
    fn canonical(&self, text: &str, dialect: Dialect) -> Result<String, String> {
        if text == "?" {
            return match self.special.is_empty() {
                true => Err("`?` stands for a day only; write `*`".to_owned()),
                false => Ok("*".to_owned()),
            };
        }
        let items: Result<Vec<String>, String> =
            text.to_ascii_uppercase().split(',').map(|item| self.item(item, dialect)).collect();
        Ok(items?.join(","))
    }

    fn item(&self, item: &str, dialect: Dialect) -> Result<String, String> {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, Some(self.step(step)?)),
            None => (item, None),
        };
        if range == "*" {
            return Ok(step.map_or_else(|| "*".to_owned(), |step| format!("*/{step}")));
        }
        if let Some((first, last)) = range.split_once('-')
            && !self.is_special(first)
        {
            return self.range(self.number(first)?, self.number(last)?, step.unwrap_or(1));
        }
        if self.is_special(range) {
            return match step {
                None => self.special(range),
                Some(_) => Err("L, W and # go without a step".to_owned()),
            };
        }
        let first = self.number(range)?;
        match (step, dialect) {
            (None, _) => Ok(first.to_string()),
            (Some(step), Dialect::Quartz) => self.range(first, self.last, step),
            (Some(step), Dialect::Posix) => {
                Err(format!("a step goes with a range: write `{first}-{}/{step}`", self.last))
            }
        }
    }

    fn is_special(&self, text: &str) -> bool {
        let rest = self.words.iter().find_map(|word| text.strip_prefix(word)).unwrap_or(text);
        rest.contains(self.special)
    }

    /// The last of something, the nearest weekday, the n-th of its kind: with a number for a word, and as it is else.
    fn special(&self, text: &str) -> Result<String, String> {
        match self.words.iter().position(|word| text.starts_with(word)) {
            Some(at) => {
                let number = self.word_base as usize + at;
                Ok(format!("{number}{}", &text[self.words[at].len()..]))
            }
            None => Ok(text.to_owned()),
        }
    }

    /// Numbers from `first` to `last`, over the end of the circle if need be.
    fn range(&self, first: u16, last: u16, step: u16) -> Result<String, String> {
        if first <= last {
            return Ok(match step {
                1 => format!("{first}-{last}"),
                step => format!("{first}-{last}/{step}"),
            });
        }
        let Some(cycle) = self.cycle else {
            return Err(format!("the range ends before it begins: write `{last}-{first}`"));
        };
        let count = cycle.last - cycle.first + 1;
        let place = |number: u16| (number - cycle.first) % count;
        let distance = (place(last) + count - place(first)) % count;
        let all = (0..=distance).step_by(usize::from(step));
        let numbers = all.map(|it| (cycle.first + (place(first) + it) % count).to_string());
        Ok(numbers.collect::<Vec<_>>().join(","))
    }

    fn step(&self, text: &str) -> Result<u16, String> {
        let span = self.last - self.first;
        let step = digits(text).filter(|step| (1..=span).contains(step));
        step.ok_or_else(|| format!("a step is a number from 1 to {span}"))
    }

    fn number(&self, text: &str) -> Result<u16, String> {
        if let Some(at) = self.words.iter().position(|word| *word == text) {
            return Ok(self.word_base + u16::try_from(at).unwrap_or_default());
        }
        let number = digits(text).filter(|number| (self.first..=self.last).contains(number));
        number.ok_or_else(|| {
            let words = match self.words {
                [first, .., last] => format!(", or a name from {first} to {last}"),
                _ => String::new(),
            };
            format!("`{}` is not a number from {} to {}{words}", cut(text), self.first, self.last)
        })
    }
}

/// A number without a sign.
fn digits(text: &str) -> Option<u16> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// What the user wrote, short enough for a message.
pub(crate) fn cut(text: &str) -> String {
    let mut cut: String =
        text.chars().take(QUOTED_CHARS_MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(QUOTED_CHARS_MAX).is_some() {
        cut.push('…');
    }
    cut
}
