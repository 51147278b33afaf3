//! Collects what is wrong with one workflow and finds out where in the file each thing stands.

use std::collections::{BTreeMap, BTreeSet};

use super::error::{ERRORS_MAX, Position, SpecError, SpecErrors};
use super::path::{Path, Segment};
use super::yaml::{Entry, Node, Value};

/// Fields that may be written under a second name.
pub(super) const FIELD_ALIASES: [(&str, &str); 2] =
    [("selector", "nodeSelector"), ("timeZone", "timezone")];

/// The errors of one workflow.
///
/// - At most [`ERRORS_MAX`] are kept, the rest counted.
/// - The same message at the same place is kept once: a default that is wrong is one error, not one for each task.
#[derive(Default)]
pub(super) struct Report<'d> {
    document: Option<Document<'d>>,
    errors: Vec<SpecError>,
    seen: BTreeSet<(Option<Position>, String)>,
    omitted: usize,
}

/// What to do about an error.
pub(super) struct Help(Option<String>);

/// The message already says what to do.
pub(super) const NO_HELP: Help = Help(None);

impl From<&str> for Help {
    fn from(text: &str) -> Help {
        Help(Some(text.to_owned()))
    }
}

impl From<String> for Help {
    fn from(text: String) -> Help {
        Help(Some(text))
    }
}

impl From<Option<String>> for Help {
    fn from(text: Option<String>) -> Help {
        Help(text)
    }
}

/// The tree a workflow was read from.
struct Document<'d> {
    root: &'d Node<'d>,
    /// The tasks by id: there may be thousands, and each error looks one up.
    tasks: BTreeMap<&'d str, &'d Entry<'d>>,
}

/// What of a path an error is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Value,
    Key,
    At(Position),
}

/// How far a path could be followed.
struct Found {
    position: Option<Position>,
    /// Nothing of the path is left, or what is left is implied by a shorthand.
    is_complete: bool,
}

impl<'d> Report<'d> {
    /// A report on a workflow that did not come from a file.
    pub(super) fn without_positions() -> Self {
        Report::default()
    }

    /// A report on the workflow in `root`.
    pub(super) fn on(root: &'d Node<'d>) -> Self {
        let mut tasks = BTreeMap::new();
        if let Some(Entry { value: Node { value: Value::Map(entries), .. }, .. }) =
            root.entry("tasks")
        {
            for entry in entries.iter() {
                if let Some(id) = entry.key.scalar() {
                    tasks.entry(id).or_insert(entry);
                }
            }
        }
        Report { document: Some(Document { root, tasks }), ..Report::default() }
    }

    /// Whether nothing is wrong so far.
    pub(super) fn is_clean(&self) -> bool {
        self.errors.is_empty()
    }

    /// Whether further errors are only counted, so that words about them are wasted.
    pub(super) fn is_full(&self) -> bool {
        self.errors.len() >= ERRORS_MAX
    }

    /// Something is wrong at `path`.
    pub(super) fn error(&mut self, path: Path<'_>, message: impl Into<String>) {
        self.add(path, Place::Value, message.into(), NO_HELP);
    }

    /// Something is wrong at `path`, and `help` says what to do.
    pub(super) fn error_with_help(
        &mut self,
        path: Path<'_>,
        message: impl Into<String>,
        help: impl Into<Help>,
    ) {
        self.add(path, Place::Value, message.into(), help.into());
    }

    /// Something is wrong with the last key of `path`, not with the value behind it.
    pub(super) fn key_error(
        &mut self,
        path: Path<'_>,
        message: impl Into<String>,
        help: impl Into<Help>,
    ) {
        self.add(path, Place::Key, message.into(), help.into());
    }

    /// Something is wrong at a known place, such as a key.
    pub(super) fn error_at(
        &mut self,
        position: Position,
        path: Path<'_>,
        message: impl Into<String>,
        help: impl Into<Help>,
    ) {
        self.add(path, Place::At(position), message.into(), help.into());
    }

    fn add(&mut self, path: Path<'_>, place: Place, message: String, help: Help) {
        if self.is_full() {
            self.omitted = self.omitted.saturating_add(1);
            return;
        }
        let message = printable(&message);
        let (position, path) = match place {
            Place::At(position) => (Some(position), path.to_string()),
            Place::Value | Place::Key => self.locate(path, place),
        };
        if self.seen.insert((position, message.clone())) {
            self.errors.push(SpecError {
                position,
                path,
                message,
                help: help.0.map(|help| printable(&help)),
            });
        }
    }

    /// Where `path` stands in the file, and the path to say: that of the default if the value came from there.
    fn locate(&self, path: Path<'_>, place: Place) -> (Option<Position>, String) {
        let Some(document) = &self.document else {
            return (None, path.to_string());
        };
        let segments = path.segments();
        let found = document.follow(&segments, place);
        if let [Segment::Key("tasks"), Segment::Key(_), rest @ ..] = &segments[..]
            && !found.is_complete
            && !rest.is_empty()
        {
            let defaults = Path::Root.key("defaults");
            let in_defaults: Vec<Segment<'_>> =
                [Segment::Key("defaults")].into_iter().chain(rest.iter().copied()).collect();
            let default = document.follow(&in_defaults, place);
            if default.is_complete {
                return (default.position, print(defaults, rest));
            }
        }
        (found.position, path.to_string())
    }

    /// What was found, in file order.
    pub(super) fn finish(mut self) -> Result<(), SpecErrors> {
        if self.errors.is_empty() {
            return Ok(());
        }
        self.errors.sort_by_key(|error| error.position);
        Err(SpecErrors { errors: self.errors, omitted: self.omitted })
    }
}

/// One line without control characters, whatever of the user's text is in it.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// `base` followed by `rest`.
fn print(base: Path<'_>, rest: &[Segment<'_>]) -> String {
    match rest {
        [] => base.to_string(),
        [Segment::Key(name), rest @ ..] => print(base.key(name), rest),
        [Segment::Index(position), rest @ ..] => print(base.index(*position), rest),
    }
}

impl<'d> Document<'d> {
    /// Goes down the tree as far as `segments` lead. The place is that of the value at the end, if there is one and
    /// it is short, and else that of the last key on the way.
    fn follow(&self, segments: &[Segment<'_>], place: Place) -> Found {
        let mut node = self.root;
        let mut position = self.root.position;
        for (depth, segment) in segments.iter().enumerate() {
            let next = match (segment, &node.value) {
                (_, Value::Scalar { .. }) => {
                    return Found { position: Some(node.position), is_complete: true };
                }
                (Segment::Key(name), Value::Map(_)) => {
                    let is_task = depth == 1 && segments[0] == Segment::Key("tasks");
                    let entry =
                        if is_task { self.tasks.get(name).copied() } else { field(node, name) };
                    entry.map(|entry| {
                        position = entry.key.position;
                        &entry.value
                    })
                }
                (Segment::Index(at), Value::List(items)) => {
                    items.get(*at).inspect(|item| position = item.position)
                }
                (Segment::Key(_), Value::List(_)) | (Segment::Index(_), Value::Map(_)) => None,
            };
            match next {
                Some(next) => node = next,
                None => return Found { position: Some(position), is_complete: false },
            }
        }
        let is_marked = match &node.value {
            Value::Map(_) => false,
            Value::Scalar { .. } | Value::List(_) => place == Place::Value && !node.is_null(),
        };
        Found {
            position: Some(if is_marked { node.position } else { position }),
            is_complete: true,
        }
    }
}

/// The entry for a field, under either of its names.
fn field<'d>(node: &'d Node<'d>, name: &str) -> Option<&'d Entry<'d>> {
    node.entry(name).or_else(|| {
        let (_, alias) = FIELD_ALIASES.into_iter().find(|(field, _)| *field == name)?;
        node.entry(alias)
    })
}
