//! Workflow files to specs, in three steps: text to trees that know their places, trees to specs, and the checks that
//! every spec gets. Errors of the last two find their place in the file through the tree.

use std::collections::BTreeMap;

use super::error::{ERRORS_MAX, Position, SpecError, SpecErrors, quoted};
use super::namespace::NamespaceSpec;
use super::path::Path;
use super::report::Report;
use super::schedule::ScheduleSpec;
use super::suggest::did_you_mean;
use super::yaml::{Documents, Node};
use super::{WorkflowSpec, read, validate};
use crate::ids::{Name, Text};
use crate::limits;

/// What a document may be.
const KINDS: [&str; 2] = ["Workflow", "Namespace"];

const TOP: Position = Position { line: 1, column: 1, width: 1 };

/// What else must hold of a schedule. An error comes with the field that it is about.
pub type ScheduleCheck<'c> = &'c dyn Fn(&ScheduleSpec) -> Result<(), (String, String)>;

/// What else must hold of the expressions of a workflow.
pub type ExpressionCheck<'c> = &'c dyn Fn(&WorkflowSpec) -> Vec<ExpressionProblem>;

/// What is wrong with an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpressionProblem {
    /// The task it belongs to.
    pub task: Name,
    /// The field of the task.
    pub field: &'static str,
    /// The key in that field, if it is a map.
    pub key: Option<Text>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

/// Reads the workflows of a file, one or several YAML documents of at most [`limits::SPEC_BYTES_MAX`] bytes together.
///
/// Either every workflow is well-formed, as [`validate()`](super::validate()) has it, or as many errors as could be
/// found come back, each with its line and column. Whether a schedule ever fires is not looked at, nor are expressions.
pub fn parse(text: &str) -> Result<Vec<WorkflowSpec>, SpecErrors> {
    parse_with(text, &|_| Ok(()), &|_| Vec::new())
}

/// What the documents of a file say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// The workflows, in the order of the file.
    pub workflows: Vec<WorkflowSpec>,
    /// The namespaces, in the order of the file.
    pub namespaces: Vec<NamespaceSpec>,
}

/// Like [`parse`], for a caller who knows more: the core has no calendar and reads no expressions.
pub fn parse_with(
    text: &str,
    schedules: ScheduleCheck<'_>,
    expressions: ExpressionCheck<'_>,
) -> Result<Vec<WorkflowSpec>, SpecErrors> {
    let file = File { takes_workflows_alone: true, ..File::default() };
    Ok(file.read(text, schedules, expressions)?.workflows)
}

/// Like [`parse_with`], of everything that can be applied.
pub fn parse_manifest(
    text: &str,
    schedules: ScheduleCheck<'_>,
    expressions: ExpressionCheck<'_>,
) -> Result<Manifest, SpecErrors> {
    File::default().read(text, schedules, expressions)
}

fn check_schedules(spec: &WorkflowSpec, check: ScheduleCheck<'_>, report: &mut Report<'_>) {
    let path = Path::Root.key("schedule");
    for (at, schedule) in spec.schedules.iter().enumerate() {
        let Err((field, problem)) = check(schedule) else { continue };
        let path = path.index(at);
        // A field may name one of a list: `exclude[2]`.
        let (field, item) = field.split_once('[').unwrap_or((&field, ""));
        let path = path.key(field);
        match item.trim_end_matches(']').parse() {
            Ok(item) => report.error(path.index(item), problem),
            Err(_) => report.error(path, problem),
        }
    }
}

/// Like [`validate()`](super::validate()), for a caller who reads expressions.
pub fn validate_with(
    spec: &WorkflowSpec,
    expressions: ExpressionCheck<'_>,
) -> Result<(), SpecErrors> {
    validate::validate(spec)?;
    let mut report = Report::without_positions();
    check_expressions(spec, expressions, &mut report);
    report.finish()
}

fn check_expressions(spec: &WorkflowSpec, check: ExpressionCheck<'_>, report: &mut Report<'_>) {
    let tasks = Path::Root.key("tasks");
    for problem in check(spec) {
        let ExpressionProblem { task, field, key, message, help } = problem;
        let task = tasks.key(task.as_str());
        let path = task.key(field);
        match &key {
            Some(key) => report.error_with_help(path.key(key), message, help),
            None => report.error_with_help(path, message, help),
        }
    }
}

/// What was read of a file so far.
#[derive(Default)]
struct File {
    manifest: Manifest,
    /// Whether other kinds of documents are refused.
    takes_workflows_alone: bool,
    /// The line of each object, by kind and name.
    lines: BTreeMap<(&'static str, Name), u32>,
    errors: Vec<SpecError>,
    omitted: usize,
}

impl File {
    /// Reads all documents.
    fn read(
        mut self,
        text: &str,
        schedules: ScheduleCheck<'_>,
        expressions: ExpressionCheck<'_>,
    ) -> Result<Manifest, SpecErrors> {
        if text.len() > limits::SPEC_BYTES_MAX {
            let message = format!(
                "the file has {} bytes; at most {} are possible",
                text.len(),
                limits::SPEC_BYTES_MAX
            );
            let help = "split it, or keep long scripts in files of their own";
            self.push(TOP, message, Some(help.to_owned()));
            return self.finish();
        }
        for document in Documents::new(text) {
            match document {
                Ok(root) if root.is_null() => {}
                Ok(root) => self.document(&root, schedules, expressions),
                Err(malformed) => self.push(malformed.position, malformed.message, malformed.help),
            }
            // Nobody reads on; a file of a million bad documents is not worth the time either.
            if self.errors.len() >= ERRORS_MAX {
                break;
            }
        }
        if self.errors.is_empty() && self.manifest == Manifest::default() {
            let help = "start with `apiVersion: v1`";
            self.push(TOP, "the file holds no workflow".to_owned(), Some(help.to_owned()));
        }
        self.finish()
    }

    fn document(
        &mut self,
        root: &Node<'_>,
        schedules: ScheduleCheck<'_>,
        expressions: ExpressionCheck<'_>,
    ) {
        let mut report = Report::on(root);
        let kind = root.entry("kind").and_then(|entry| entry.value.scalar());
        if kind == Some("Namespace") && !self.takes_workflows_alone {
            let namespace = read::namespace(root, &mut report);
            return match (report.finish(), namespace) {
                (Ok(()), Some(namespace)) => self.namespace(namespace, root),
                (Ok(()), None) => {}
                (Err(errors), _) => self.add_all(errors),
            };
        }
        if let Some(kind) = kind.filter(|it| *it != "Workflow") {
            let known = if self.takes_workflows_alone { &KINDS[..1] } else { &KINDS[..] };
            let all = || format!("there are {}", known.join(" and "));
            let help = did_you_mean(kind, known.iter().copied()).unwrap_or_else(all);
            let message = format!("{} is not a known `kind`", quoted(kind));
            report.error_with_help(Path::Root.key("kind"), message, help);
            // What else is wrong depends on what it is meant to be.
            if let Err(errors) = report.finish() {
                self.add_all(errors);
            }
            return;
        }
        let workflow = read::workflow(root, &mut report);
        if let Some(workflow) = &workflow {
            let is_whole = report.is_clean();
            validate::check(workflow, &mut report, is_whole);
            check_schedules(workflow, schedules, &mut report);
            // An expression may name what is wrong elsewhere.
            if report.is_clean() {
                check_expressions(workflow, expressions, &mut report);
            }
        }
        match (report.finish(), workflow) {
            (Ok(()), Some(workflow)) => self.workflow(workflow, root),
            (Ok(()), None) => {}
            (Err(errors), _) => self.add_all(errors),
        }
    }

    fn workflow(&mut self, workflow: WorkflowSpec, root: &Node<'_>) {
        if self.is_first("workflow", &workflow.name, root) {
            self.manifest.workflows.push(workflow);
        }
    }

    fn namespace(&mut self, namespace: NamespaceSpec, root: &Node<'_>) {
        if self.is_first("namespace", &namespace.name, root) {
            self.manifest.namespaces.push(namespace);
        }
    }

    /// Whether no other document of the file defines the same.
    fn is_first(&mut self, kind: &'static str, name: &Name, root: &Node<'_>) -> bool {
        let position = root.entry("name").map_or(root.position, |entry| entry.value.position);
        let Some(first) = self.lines.insert((kind, name.clone()), position.line) else {
            return true;
        };
        let message = format!("the file defines {kind} `{name}` twice");
        let help = Some(format!("the first is on line {first}; rename or remove one of them"));
        let path = "name".to_owned();
        self.add(SpecError { position: Some(position), path, message, help });
        false
    }

    fn add_all(&mut self, SpecErrors { errors, omitted }: SpecErrors) {
        self.omitted = self.omitted.saturating_add(omitted);
        for error in errors {
            self.add(error);
        }
    }

    fn push(&mut self, position: Position, message: String, help: Option<String>) {
        self.add(SpecError { position: Some(position), path: String::new(), message, help });
    }

    fn add(&mut self, error: SpecError) {
        if self.errors.len() < ERRORS_MAX {
            self.errors.push(error);
        } else {
            self.omitted = self.omitted.saturating_add(1);
        }
    }

    fn finish(self) -> Result<Manifest, SpecErrors> {
        if self.errors.is_empty() {
            return Ok(self.manifest);
        }
        Err(SpecErrors { errors: self.errors, omitted: self.omitted })
    }
}
