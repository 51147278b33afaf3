//! `muster diff`: what applying files would change, in the terms of the files.

use std::path::PathBuf;

use clap::Args;
use muster_client::{Client, Code, v1};
use muster_core::spec::WorkflowSpec;
use muster_core::spec::namespace::NamespaceSpec;
use muster_proto::convert::{namespace_from_proto, spec_from_proto};
use owo_colors::OwoColorize;
use serde_json::{Map, Value, json};
use similar::{ChangeTag, TextDiff};

use crate::exit::{Exit, Failure, Outcome};
use crate::files;
use crate::manifest;
use crate::output::{self, Format, note, yaml};
use crate::settings::Global;

/// Equal lines shown around a difference.
const CONTEXT_LINES: usize = 3;

#[derive(Args, Debug)]
#[command(after_help = "\
Both sides are written with defaults filled in and what is at its default left out, so that only what would behave \
otherwise differs. Nothing is printed of what would stay as it is.")]
pub(crate) struct DiffArgs {
    /// A file, a folder with files, or `-` for standard input; may be repeated
    #[arg(short, long = "file", required = true, value_name = "FILE")]
    file: Vec<PathBuf>,
    /// Exit with 1 if there is a difference
    #[arg(long)]
    exit_code: bool,
}

/// One workflow or namespace of a file beside what is applied.
pub(super) struct Compared {
    name: String,
    file: String,
    /// The applied version of a workflow; 0 if there is none.
    version: u32,
    before: Value,
    after: Value,
}

pub(crate) async fn run(args: DiffArgs, global: &Global) -> Outcome {
    let files = files::read_all(&args.file)?;
    let client = global.client()?;
    let mut differing = Vec::new();
    for file in &files {
        for namespace in &file.namespaces {
            let compared = compare_namespace(&client, &file.name, namespace).await?;
            if compared.differs() {
                differing.push(compared);
            }
        }
        for workflow in &file.workflows {
            let compared = compare(&client, &file.name, workflow).await?;
            if compared.differs() {
                differing.push(compared);
            }
        }
    }
    print(global.format(), &differing)?;
    let has_told = !differing.is_empty() && args.exit_code;
    Ok(if has_told { Exit::Differs } else { Exit::Ok })
}

async fn compare(client: &Client, file: &str, spec: &WorkflowSpec) -> Result<Compared, Failure> {
    match client.get_workflow(spec.name.as_str()).await {
        Ok(workflow) => Compared::new(file, Some(workflow), spec),
        Err(error) if error.code() == Code::NotFound => Compared::new(file, None, spec),
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn compare_namespace(
    client: &Client,
    file: &str,
    spec: &NamespaceSpec,
) -> Result<Compared, Failure> {
    let name = format!("namespace/{}", spec.name);
    let found = match client.get_namespace(spec.name.as_str()).await {
        Ok(found) => found.spec.filter(|_| found.applied_at_ms > 0),
        Err(error) if error.code() == Code::NotFound => None,
        Err(error) => return Err(error.into()),
    };
    let unreadable = |error| Failure::error(format!("{name}: {error}"));
    let before = found.map(namespace_from_proto).transpose().map_err(unreadable)?;
    let before = before.as_ref().map_or(Value::Null, manifest::namespace);
    let after = manifest::namespace(spec);
    Ok(Compared { name, file: file.to_owned(), version: 0, before, after })
}

fn print(format: Format, differing: &[Compared]) -> std::io::Result<()> {
    match format {
        Format::Table | Format::Wide => {
            for it in differing {
                for line in it.lines() {
                    output::line(coloured(&line))?;
                }
            }
            if differing.is_empty() {
                note("no difference");
            }
        }
        Format::Name => {
            for it in differing {
                output::line(&it.name)?;
            }
        }
        Format::Jsonl => {
            for it in differing {
                output::data(format, &it.value())?;
            }
        }
        Format::Json | Format::Yaml => {
            let all: Vec<Value> = differing.iter().map(Compared::value).collect();
            output::data(format, &json!({ "workflows": all }))?;
        }
    }
    Ok(())
}

/// Colours are taken out again where there is no terminal.
pub(super) fn coloured(line: &str) -> String {
    match line.as_bytes().first() {
        Some(b'+') => line.green().to_string(),
        Some(b'-') => line.red().to_string(),
        Some(b'@') => line.cyan().to_string(),
        _ => line.to_owned(),
    }
}

impl Compared {
    /// A workflow of a file beside what is applied of that name.
    pub(super) fn new(
        file: &str,
        applied: Option<v1::Workflow>,
        spec: &WorkflowSpec,
    ) -> Result<Self, Failure> {
        let name = spec.name.to_string();
        let (version, before) = applied.map(|it| (it.latest_version, it.spec)).unwrap_or_default();
        let before = match before {
            None => Value::Null,
            Some(before) => {
                let before = spec_from_proto(before);
                let unreadable = |error| Failure::error(format!("{name}@{version}: {error}"));
                manifest::workflow(&before.map_err(unreadable)?)
            }
        };
        let after = manifest::workflow(spec);
        Ok(Compared { name, file: file.to_owned(), version, before, after })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn differs(&self) -> bool {
        // The order of keys counts: tasks have one.
        text(&self.before) != text(&self.after)
    }

    /// A unified difference of both as files.
    pub(super) fn lines(&self) -> Vec<String> {
        let (before, after) = (text(&self.before), text(&self.after));
        let applied = match self.version {
            _ if self.before.is_null() => format!("{} (not applied)", self.name),
            0 => self.name.clone(),
            version => format!("{}@{version}", self.name),
        };
        let mut lines = vec![format!("--- {applied}"), format!("+++ {}", self.file)];
        let diff = TextDiff::from_lines(&before, &after);
        for hunk in diff.unified_diff().context_radius(CONTEXT_LINES).iter_hunks() {
            lines.push(hunk.header().to_string());
            for change in hunk.iter_changes() {
                let sign = match change.tag() {
                    ChangeTag::Equal => ' ',
                    ChangeTag::Delete => '-',
                    ChangeTag::Insert => '+',
                };
                lines.push(format!("{sign}{}", change.value().trim_end_matches('\n')));
            }
        }
        lines
    }

    /// The differences field by field, for programs.
    fn value(&self) -> Value {
        let mut changes = Vec::new();
        collect("", &self.before, &self.after, &mut changes);
        json!({
            "name": self.name,
            "file": self.file,
            "version": self.version,
            "changes": changes,
        })
    }
}

/// What is not applied is an empty file.
fn text(applied: &Value) -> String {
    if applied.is_null() { String::new() } else { yaml::document(applied) }
}

/// Adds each field in which two values differ, those of the old one first.
fn collect(path: &str, before: &Value, after: &Value, changes: &mut Vec<Value>) {
    match (before, after) {
        (Value::Object(old), Value::Object(new)) => {
            let below = |key: &str| match path {
                "" => key.to_owned(),
                path => format!("{path}.{key}"),
            };
            for (key, old) in old {
                let new = new.get(key).unwrap_or(&Value::Null);
                collect(&below(key), old, new, changes);
            }
            for (key, new) in new.iter().filter(|(key, _)| !old.contains_key(*key)) {
                changes.push(change(&below(key), &Value::Null, new));
            }
            let (old, new) = (shared(old, new), shared(new, old));
            if old != new {
                let mut moved = change(path, &json!(old), &json!(new));
                moved["isOrder"] = json!(true);
                changes.push(moved);
            }
        }
        (Value::Array(old), Value::Array(new)) if old.iter().chain(new).all(Value::is_object) => {
            for at in 0..old.len().max(new.len()) {
                let item = |items: &[Value]| items.get(at).cloned().unwrap_or_default();
                collect(&format!("{path}[{at}]"), &item(old), &item(new), changes);
            }
        }
        _ if before == after => {}
        _ => changes.push(change(path, before, after)),
    }
}

fn change(path: &str, before: &Value, after: &Value) -> Value {
    json!({ "path": path, "before": before, "after": after })
}

/// The keys of `one` that `other` has too, in order.
fn shared<'m>(one: &'m Map<String, Value>, other: &Map<String, Value>) -> Vec<&'m str> {
    one.keys().filter(|key| other.contains_key(*key)).map(String::as_str).collect()
}

#[cfg(test)]
mod tests {
    use muster_core::spec::parse;

    use super::*;

    const OLD: &str = "
apiVersion: v1
kind: Workflow
name: etl
params: {day: {type: date, default: 2026-01-01}}
schedule: {cron: '0 2 * * *', catchup: all}
tasks:
  a:
    run: |
      one
      two
    timeout: 90s
    retry: {limit: 2, backoff: 5s}
  b: {needs: a, rule: any_succeeded, noop: {}}
";

    fn compared(old: Option<&str>, new: &str) -> Compared {
        let read = |text: &str| manifest::workflow(&parse(text).unwrap()[0]);
        Compared {
            name: "etl".into(),
            file: "etl.yaml".into(),
            version: u32::from(old.is_some()) * 3,
            before: old.map_or(Value::Null, read),
            after: read(new),
        }
    }

    #[test]
    fn what_only_looks_different_is_no_difference() {
        let spelled = OLD
            .replace("90s", "1m30s")
            .replace("needs: a", "needs: [a]")
            .replace("name: etl", "name: etl\ndescription: not kept\npriority: 0")
            .replace("noop: {}", "noop: true, onLost: rerun, gracePeriod: 10s");
        assert!(!compared(Some(OLD), &spelled).differs());
    }

    #[test]
    fn differences_are_shown_in_the_terms_of_the_file() {
        let new = OLD.replace("two", "three").replace("90s", "2m").replace("any_succ", "all_succ");
        let compared = compared(Some(OLD), &new);
        let lines = compared.lines();
        assert_eq!(lines[..2], ["--- etl@3", "+++ etl.yaml"]);
        for line in [
            "-      two",
            "+      three",
            "-    timeout: \"1m30s\"",
            "+    timeout: \"2m\"",
            "-    rule: any_succeeded",
        ] {
            assert!(lines.iter().any(|it| it == line), "{line}: {lines:#?}");
        }
        let text = lines.join("\n") + &compared.value().to_string();
        for word in ["UNSPECIFIED", "DEPENDENCY_RULE", "Ms\"", "PARAM_TYPE"] {
            assert!(!text.contains(word), "{word}: {text}");
        }
        let value = compared.value();
        let paths: Vec<&str> = value["changes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["path"].as_str().unwrap())
            .collect();
        assert_eq!(paths, ["tasks.a.run", "tasks.a.timeout", "tasks.b.rule"]);
        assert_eq!(value["changes"][2]["after"], Value::Null, "it went back to the default");
    }

    #[test]
    fn of_a_workflow_that_is_not_applied_all_is_new() {
        let compared = compared(None, OLD);
        assert!(compared.differs());
        let lines = compared.lines();
        assert_eq!(lines[0], "--- etl (not applied)");
        assert!(lines[3..].iter().all(|line| line.starts_with('+')), "{lines:#?}");
        assert_eq!(compared.value()["changes"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn the_order_of_tasks_is_a_difference() {
        let two =
            "apiVersion: v1\nkind: Workflow\nname: etl\ntasks: {a: {noop: {}}, b: {noop: {}}}\n";
        let turned = two.replace("a: {noop: {}}, b: {noop: {}}", "b: {noop: {}}, a: {noop: {}}");
        let compared = compared(Some(two), &turned);
        assert!(compared.differs());
        let value = compared.value();
        assert_eq!(value["changes"][0]["path"], "tasks");
        assert_eq!(value["changes"][0]["after"], json!(["b", "a"]));
    }
}
