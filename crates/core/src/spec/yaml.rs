//! YAML text as trees whose every node knows its place in the file.
//!
//! Scalars stay text: whoever reads one decides whether it is a number, so `1.10` never becomes `1.1` and nothing here
//! needs a float. Aliases share what they point to and are charged against the file's budget as if they were copied,
//! so a file of a few lines cannot stand for more than a large one.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::rc::Rc;

use serde_saphyr::granit_parser::{
    self as granit, ErrorKind, Event, Parser, ScalarStyle, Span, StrInput, Tag,
};

use super::error::Position;
use crate::limits;

/// Most nodes of one file, aliases counted as copies.
pub(super) const NODES_MAX: u64 = 1_000_000;
/// Most bytes of text that aliases of one file may repeat.
const REPEATED_BYTES_MAX: u64 = limits::SPEC_BYTES_MAX as u64;
/// Deepest nesting. A workflow needs five levels.
const DEPTH_MAX: usize = 32;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node<'d> {
    /// Where it starts.
    pub(super) position: Position,
    /// What it is.
    pub(super) value: Value<'d>,
}

/// What a node holds. Cloning shares lists and maps.
#[derive(Clone, Debug)]
pub(super) enum Value<'d> {
    /// Any single value, as written once quotes and escapes are gone.
    Scalar {
        /// The text.
        text: Cow<'d, str>,
        /// Written without quotes, so it may mean a number, a truth value or nothing.
        is_plain: bool,
    },
    /// A list.
    List(Rc<[Node<'d>]>),
    /// A map in file order; duplicate keys are still there.
    Map(Rc<[Entry<'d>]>),
}

/// A key and its value.
#[derive(Clone, Debug)]
pub(super) struct Entry<'d> {
    /// The key.
    pub(super) key: Node<'d>,
    /// The value.
    pub(super) value: Node<'d>,
}

impl<'d> Node<'d> {
    /// The text of a scalar.
    pub(super) fn scalar(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } => Some(text),
            Value::List(_) | Value::Map(_) => None,
        }
    }

    /// Whether nothing is written here, or a plain `null` or `~`.
    pub(super) fn is_null(&self) -> bool {
        match &self.value {
            Value::Scalar { text, is_plain } => *is_plain && matches!(&**text, "" | "~" | "null"),
            Value::List(_) | Value::Map(_) => false,
        }
    }

    /// The entry of a map whose key reads `key`, the first if there are several.
    pub(super) fn entry(&self, key: &str) -> Option<&Entry<'d>> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|entry| entry.key.scalar() == Some(key)),
            Value::Scalar { .. } | Value::List(_) => None,
        }
    }
}

/// Why there is no tree.
#[derive(Debug)]
pub(super) struct Malformed {
    /// Where.
    pub(super) position: Position,
    /// What is wrong.
    pub(super) message: String,
    /// What to do.
    pub(super) help: Option<String>,
}

/// What a node costs, with everything below it.
#[derive(Clone, Copy, Debug, Default)]
struct Weight {
    nodes: u64,
    bytes: u64,
}

impl Weight {
    fn add(&mut self, other: Weight) {
        self.nodes = self.nodes.saturating_add(other.nodes);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// A list or map whose end is not reached.
struct Open<'d> {
    position: Position,
    anchor: usize,
    weight: Weight,
    content: OpenContent<'d>,
}

enum OpenContent<'d> {
    List(Vec<Node<'d>>),
    Map { entries: Vec<Entry<'d>>, key: Option<Node<'d>> },
}

/// The documents of a file, one after the other.
pub(super) struct Documents<'d> {
    parser: Parser<'d, StrInput<'d>>,
    open: Vec<Open<'d>>,
    anchors: BTreeMap<usize, (Value<'d>, Weight)>,
    /// Nodes of all documents so far, and bytes repeated by aliases.
    spent: Weight,
    root: Option<Node<'d>>,
    is_over: bool,
}

impl<'d> Documents<'d> {
    /// Starts at the top of `text`.
    pub(super) fn new(text: &'d str) -> Self {
        let mut options = granit::options! {
            flow_nesting_limit: DEPTH_MAX,
            block_nesting_limit: DEPTH_MAX,
            disallow_directives: false,
        };
        options.set_emit_comments(false);
        Documents {
            parser: Parser::new_from_str_with_options(text, options),
            open: Vec::new(),
            anchors: BTreeMap::new(),
            spent: Weight::default(),
            root: None,
            is_over: false,
        }
    }

    /// Reads to the end of the document at hand.
    fn document(&mut self) -> Result<Option<Node<'d>>, Malformed> {
        loop {
            let (event, span) = match self.parser.next_event() {
                None => return Ok(None),
                Some(Ok(next)) => next,
                Some(Err(error)) => return Err(syntax_error(&error)),
            };
            match event {
                Event::StreamEnd => return Ok(None),
                Event::DocumentEnd => {
                    self.anchors.clear();
                    if let Some(root) = self.root.take() {
                        return Ok(Some(root));
                    }
                }
                other => self.node(other, span)?,
            }
        }
    }

    fn node(&mut self, event: Event<'d>, span: Span) -> Result<(), Malformed> {
        let position = position(span);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let is_plain = style == ScalarStyle::Plain && !check_tag(tag.as_deref(), position)?;
                let weight = Weight { nodes: 1, bytes: text.len() as u64 };
                self.spend(Weight { nodes: 1, bytes: 0 }, position)?;
                self.close(
                    Node { position, value: Value::Scalar { text, is_plain } },
                    anchor,
                    weight,
                );
            }
            Event::SequenceStart(_, anchor, tag) => {
                check_tag(tag.as_deref(), position)?;
                self.start(position, anchor, OpenContent::List(Vec::new()))?;
            }
            Event::MappingStart(_, anchor, tag) => {
                check_tag(tag.as_deref(), position)?;
                self.start(position, anchor, OpenContent::Map { entries: Vec::new(), key: None })?;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(Open { position, anchor, weight, content }) = self.open.pop() {
                    let value = match content {
                        OpenContent::List(items) => Value::List(items.into()),
                        OpenContent::Map { entries, .. } => Value::Map(entries.into()),
                    };
                    self.close(Node { position, value }, anchor, weight);
                }
            }
            Event::Alias(anchor) => self.alias(anchor, position)?,
            _ => {}
        }
        Ok(())
    }

    fn start(
        &mut self,
        position: Position,
        anchor: usize,
        content: OpenContent<'d>,
    ) -> Result<(), Malformed> {
        let weight = Weight { nodes: 1, bytes: 0 };
        self.spend(weight, position)?;
        self.open.push(Open { position, anchor, weight, content });
        Ok(())
    }

    fn alias(&mut self, anchor: usize, position: Position) -> Result<(), Malformed> {
        let Some((value, weight)) = self.anchors.get(&anchor).cloned() else {
            let message = "an alias stands inside the value it repeats".to_owned();
            let help = Some("write the value out, or move the alias outside of it".to_owned());
            return Err(Malformed { position, message, help });
        };
        self.spend(weight, position)?;
        self.close(Node { position, value }, 0, weight);
        Ok(())
    }

    /// Counts nodes and repeated bytes against the file's budget.
    fn spend(&mut self, weight: Weight, position: Position) -> Result<(), Malformed> {
        self.spent.add(weight);
        if self.spent.nodes > NODES_MAX || self.spent.bytes > REPEATED_BYTES_MAX {
            let message = format!(
                "the file holds too much: at most {NODES_MAX} values, with aliases (`*name`) counted as copies that \
                 repeat at most {REPEATED_BYTES_MAX} bytes"
            );
            let help = Some(
                "split it into several workflows, or use an array task for many equal tasks"
                    .to_owned(),
            );
            return Err(Malformed { position, message, help });
        }
        Ok(())
    }

    /// Puts a finished node where it belongs.
    fn close(&mut self, node: Node<'d>, anchor: usize, weight: Weight) {
        if anchor != 0 {
            self.anchors.insert(anchor, (node.value.clone(), weight));
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return;
        };
        open.weight.add(weight);
        match &mut open.content {
            OpenContent::List(items) => items.push(node),
            OpenContent::Map { entries, key } => match key.take() {
                Some(key) => entries.push(Entry { key, value: node }),
                None => *key = Some(node),
            },
        }
    }
}

impl<'d> Iterator for Documents<'d> {
    type Item = Result<Node<'d>, Malformed>;

    /// The next document. After a malformed one the reading goes on at the next `---`, unless the budget is spent.
    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        match self.document() {
            Ok(Some(root)) => Some(Ok(root)),
            Ok(None) => {
                self.is_over = true;
                None
            }
            Err(error) => {
                self.open.clear();
                self.anchors.clear();
                self.root = None;
                let is_spent =
                    self.spent.nodes > NODES_MAX || self.spent.bytes > REPEATED_BYTES_MAX;
                self.is_over = is_spent || !matches!(self.parser.proceed_next_document(), Ok(true));
                Some(Err(error))
            }
        }
    }
}

fn position(span: Span) -> Position {
    let is_one_line = span.start.line() == span.end.line();
    let width =
        if is_one_line { span.end.col().saturating_sub(span.start.col()).max(1) } else { 1 };
    place(span.start.line(), span.start.col(), width)
}

/// A position from the parser's line (from 1) and column (from 0).
fn place(line: usize, column: usize, width: usize) -> Position {
    let small = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Position {
        line: small(line.max(1)),
        column: small(column.saturating_add(1)),
        width: small(width),
    }
}

/// Whether a tag makes a scalar text (`!!str`). Other tags would mean something here that Muster does not know.
fn check_tag(tag: Option<&Tag>, position: Position) -> Result<bool, Malformed> {
    match tag {
        None => Ok(false),
        Some(tag) if tag.is_yaml_core_schema_tag("str") => Ok(true),
        Some(tag) => {
            let message = format!(
                "the YAML tag {} has no meaning here",
                super::error::quoted(&tag.original())
            );
            Err(Malformed { position, message, help: Some("remove it".to_owned()) })
        }
    }
}

fn syntax_error(error: &granit::ScanError) -> Malformed {
    let marker = error.marker();
    let info = error.info();
    let reason = if info.is_empty() { String::new() } else { format!(": {info}") };
    let help = match error.kind() {
        ErrorKind::TabNotAllowed
        | ErrorKind::TabInBlockIndentation
        | ErrorKind::TabInIndentation => Some("indent with spaces; YAML does not allow tabs there"),
        ErrorKind::RecursionLimitExceeded => {
            Some("a workflow needs about five levels of nesting; flatten this")
        }
        ErrorKind::UnknownAnchor => {
            Some("define it earlier in the same document with `&name`, or quote the text")
        }
        ErrorKind::UnclosedFlowCollection { .. }
        | ErrorKind::UnexpectedEofFlowSequence
        | ErrorKind::UnexpectedEofFlowMapping
        | ErrorKind::ExpectedFlowSequenceSeparator
        | ErrorKind::ExpectedFlowMappingSeparator => {
            Some("close the bracket, or put a comma between the items")
        }
        ErrorKind::UnclosedQuotedScalar => Some("close the quote"),
        ErrorKind::InvalidIndentation
        | ErrorKind::ExpectedBlockMappingKey
        | ErrorKind::InvalidSimpleKey
        | ErrorKind::SimpleKeyExpected => Some(
            "check that this line is indented like its neighbours, and quote text that contains `: ` or ` #`",
        ),
        ErrorKind::UnexpectedCharacter { .. } => {
            Some("quote text that begins with a special character")
        }
        _ => Some(
            "look at this line and the one before: at indentation, brackets, quotes and colons",
        ),
    };
    let message = format!("this is not well-formed YAML{reason}");
    Malformed {
        position: place(marker.line(), marker.col(), 1),
        message,
        help: help.map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(text: &str) -> Node<'_> {
        let mut all: Vec<_> = Documents::new(text).collect();
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0).expect("it is well-formed")
    }

    #[test]
    fn nodes_know_their_places() {
        let root = only("a: 1\nb:\n  - xyz\n");
        let entry = root.entry("b").unwrap();
        assert_eq!((entry.key.position.line, entry.key.position.column), (2, 1));
        let Value::List(items) = &entry.value.value else { panic!("a list") };
        assert_eq!(items[0].position, Position { line: 3, column: 5, width: 3 });
    }

    #[test]
    fn numbers_stay_text() {
        assert_eq!(only("v: 1.10").entry("v").unwrap().value.scalar(), Some("1.10"));
    }

    #[test]
    fn empty_documents_are_skipped_only_when_nothing_stands_in_them() {
        let documents: Vec<_> =
            Documents::new("---\n---\na: 1\n---\nb: 2\n").map(Result::unwrap).collect();
        assert_eq!(documents.iter().filter(|node| !node.is_null()).count(), 2);
    }

    #[test]
    fn a_malformed_document_does_not_hide_the_next() {
        let all: Vec<_> = Documents::new("a: [1\n---\nb: 2\n").collect();
        assert!(all[0].is_err());
        assert!(
            all.iter()
                .any(|document| document.as_ref().is_ok_and(|node| node.entry("b").is_some()))
        );
    }

    #[test]
    fn aliases_share_and_are_charged() {
        let root = only("a: &x [1, 2]\nb: *x\n");
        assert!(
            matches!(&root.entry("b").unwrap().value.value, Value::List(items) if items.len() == 2)
        );

        let mut bomb = String::from("l0: &l0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..30 {
            let alias = format!("*l{}, ", level - 1).repeat(10);
            bomb.push_str(&format!("l{level}: &l{level} [{alias}]\n"));
        }
        let error = Documents::new(&bomb).next().unwrap().unwrap_err();
        assert!(error.message.contains("holds too much"), "{}", error.message);

        let text = format!("a: &x {}\nb: [{}]\n", "y".repeat(100_000), "*x, ".repeat(100));
        assert!(Documents::new(&text).next().unwrap().is_err());
    }

    #[test]
    fn an_alias_of_itself_is_refused() {
        assert!(Documents::new("a: &x [*x]").next().unwrap().is_err());
    }

    #[test]
    fn deep_nesting_is_refused() {
        assert!(Documents::new(&"[".repeat(100_000)).next().unwrap().is_err());
        assert!(Documents::new(&"- ".repeat(100_000)).next().unwrap().is_err());
    }
}
