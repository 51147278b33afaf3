//! What goes to stdout: data only, in the format asked for.

pub(crate) mod json;
mod namespaces;
mod past;
mod shown;
mod table;
mod triggers;
pub(crate) mod yaml;

use std::ffi::OsStr;
use std::io::{self, Write};

use clap::ValueEnum;
use clap::builder::{PossibleValue, TypedValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use serde_json::{Value, json};

pub(crate) use self::past::asker;
pub(crate) use self::shown::{
    Shown, child, has_ended, hook_word, parent, rounded, run_word, task_word, upstream,
};
pub(crate) use self::table::Table;
pub(crate) use self::triggers::on_word;

/// How data is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Columns for people
    Table,
    /// More columns
    Wide,
    /// One JSON value (protobuf-JSON of the API)
    Json,
    /// One JSON value a line
    Jsonl,
    /// YAML
    Yaml,
    /// Names only, one a line
    Name,
}

/// How `muster graph` draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Picture {
    /// Lines of plain characters
    Ascii,
    /// A picture for a browser
    Svg,
    /// Graphviz's language
    Dot,
    /// The language of diagrams in Markdown
    Mermaid,
}

/// What `-o` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    Data(Format),
    Picture(Picture),
}

impl ValueEnum for Output {
    fn value_variants<'a>() -> &'a [Self] {
        &[
            Self::Data(Format::Table),
            Self::Data(Format::Wide),
            Self::Data(Format::Json),
            Self::Data(Format::Jsonl),
            Self::Data(Format::Yaml),
            Self::Data(Format::Name),
            Self::Picture(Picture::Ascii),
            Self::Picture(Picture::Svg),
            Self::Picture(Picture::Dot),
            Self::Picture(Picture::Mermaid),
        ]
    }

    /// Pictures stand in the help of the one command that draws.
    fn to_possible_value(&self) -> Option<PossibleValue> {
        match self {
            Self::Data(format) => format.to_possible_value(),
            Self::Picture(picture) => picture.to_possible_value().map(|value| value.hide(true)),
        }
    }
}

/// Reads `-o`, and names what the command at hand can print when something else was asked for.
#[derive(Clone, Debug)]
pub(crate) struct OutputParser;

/// The one command that draws.
const DRAWS: &str = "graph";

impl TypedValueParser for OutputParser {
    type Value = Output;

    fn parse_ref(
        &self,
        command: &clap::Command,
        arg: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<Output, clap::Error> {
        let text = value.to_string_lossy();
        let found = Output::value_variants().iter().find(|it| it.word() == text);
        found.copied().ok_or_else(|| {
            let is_possible = |it: &&Output| match it {
                // Columns for people are not what a picture has more or fewer of.
                Output::Data(Format::Wide) => command.get_name() != DRAWS,
                Output::Data(_) => true,
                Output::Picture(_) => command.get_name() == DRAWS,
            };
            let possible = Output::value_variants().iter().filter(is_possible).map(Output::word);
            let mut error = clap::Error::new(ErrorKind::InvalidValue).with_cmd(command);
            let name = arg.map(ToString::to_string).unwrap_or_default();
            error.insert(ContextKind::InvalidArg, ContextValue::String(name));
            error.insert(ContextKind::InvalidValue, ContextValue::String(text.to_string()));
            error.insert(ContextKind::ValidValue, ContextValue::Strings(possible.collect()));
            error
        })
    }

    /// For help and completion.
    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(Output::value_variants().iter().filter_map(Output::to_possible_value)))
    }
}

impl Output {
    fn word(&self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

/// Prints a list.
pub(crate) fn list<T: Shown>(format: Format, items: &[T]) -> io::Result<()> {
    let mut out = stdout();
    match format {
        Format::Table | Format::Wide => {
            let is_wide = format == Format::Wide;
            let mut table = Table::new(T::columns(is_wide));
            for item in items {
                table.row(item.row(is_wide));
            }
            write!(out, "{table}")?;
        }
        Format::Json => writeln!(out, "{:#}", list_value(items))?,
        Format::Yaml => write!(out, "{}", yaml::document(&list_value(items)))?,
        Format::Jsonl => {
            for item in items {
                writeln!(out, "{}", json::value(T::MESSAGE, item))?;
            }
        }
        Format::Name => {
            for item in items {
                writeln!(out, "{}", item.name())?;
            }
        }
    }
    out.flush()
}

/// Prints one thing as data, or as `people` would have it.
pub(crate) fn one<T: Shown>(
    format: Format,
    item: &T,
    people: impl FnOnce(&T) -> String,
) -> io::Result<()> {
    let mut out = stdout();
    match format {
        Format::Table | Format::Wide => write!(out, "{}", people(item))?,
        Format::Name => writeln!(out, "{}", item.name())?,
        Format::Json | Format::Jsonl | Format::Yaml => {
            return data(format, &json::value(T::MESSAGE, item));
        }
    }
    out.flush()
}

/// Prints a JSON value in one of the formats for programs.
pub(crate) fn data(format: Format, value: &Value) -> io::Result<()> {
    let mut out = stdout();
    match format {
        Format::Yaml => write!(out, "{}", yaml::document(value))?,
        Format::Jsonl => writeln!(out, "{value}")?,
        Format::Json | Format::Table | Format::Wide | Format::Name => writeln!(out, "{value:#}")?,
    }
    out.flush()
}

/// Prints a line.
pub(crate) fn line(text: impl std::fmt::Display) -> io::Result<()> {
    let mut out = stdout();
    writeln!(out, "{text}")?;
    out.flush()
}

/// The standard output without colours where it has none.
pub(crate) fn stdout() -> anstream::AutoStream<io::StdoutLock<'static>> {
    anstream::AutoStream::auto(io::stdout().lock())
}

/// A hint, a warning or other news for people, on stderr. If stderr is closed, nobody is there to be told.
pub(crate) fn note(text: impl std::fmt::Display) {
    let _closed = writeln!(anstream::stderr(), "{text}");
}

fn list_value<T: Shown>(items: &[T]) -> Value {
    let items: Vec<Value> = items.iter().map(|item| json::value(T::MESSAGE, item)).collect();
    json!({ T::LIST: items })
}
