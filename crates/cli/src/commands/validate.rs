//! `muster validate`: checks files without a cluster, and prints the schema of workflow files.

use std::path::PathBuf;

use clap::Args;
use muster_proto::convert::spec_to_proto;
use serde_json::Value;

use crate::exit::{Exit, Outcome};
use crate::files;
use crate::output::{self, Format};
use crate::settings::Global;

/// The shape of workflow files, for editors.
const SCHEMA: &str = include_str!("../../schema/workflow.schema.json");

#[derive(Args, Debug)]
pub(crate) struct ValidateArgs {
    /// Files, folders with files, or `-` for standard input
    #[arg(required_unless_present = "schema", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Print the JSON Schema of workflow files
    #[arg(long, conflicts_with = "files")]
    schema: bool,
}

pub(crate) fn run(args: &ValidateArgs, global: &Global) -> Outcome {
    if args.schema {
        output::line(SCHEMA.trim_end())?;
        return Ok(Exit::Ok);
    }
    let files = files::read_all(&args.files)?;
    let format = global.format();
    let specs: Vec<Value> = files
        .iter()
        .flat_map(|file| &file.workflows)
        .map(|spec| output::json::value("muster.v1.WorkflowSpec", &spec_to_proto(spec)))
        .collect();
    match format {
        Format::Table | Format::Wide | Format::Name => {
            for file in &files {
                for workflow in &file.workflows {
                    let count = workflow.tasks.len();
                    let tasks = if count == 1 { "task" } else { "tasks" };
                    output::line(match format {
                        Format::Name => workflow.name.to_string(),
                        _ => format!("{}: {} ok, {count} {tasks}", file.name, workflow.name),
                    })?;
                }
            }
        }
        Format::Jsonl => {
            for spec in &specs {
                output::data(format, spec)?;
            }
        }
        Format::Json | Format::Yaml => output::data(format, &Value::Array(specs))?,
    }
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use muster_core::spec;

    use super::*;

    fn schema() -> Value {
        serde_json::from_str(SCHEMA).unwrap()
    }

    fn fields(schema: &Value, pointer: &str) -> Vec<String> {
        let properties = schema.pointer(pointer).and_then(Value::as_object);
        properties.unwrap_or_else(|| panic!("{pointer}")).keys().cloned().collect()
    }

    /// The parser knows every field that the schema allows, and says no to one that it does not.
    #[test]
    fn the_schema_and_the_parser_know_the_same_fields() {
        let schema = schema();
        let document = |field: &str, indent: &str, place: &str| {
            let line = format!("{indent}{field}: \u{1}\n");
            let (top, defaults, task) = match place {
                "workflow" => (line, String::new(), String::new()),
                "defaults" => (String::new(), format!("defaults:\n{line}"), String::new()),
                "schedule" => (format!("schedule:\n{line}"), String::new(), String::new()),
                _ => (String::new(), String::new(), line),
            };
            format!("apiVersion: v1\nkind: Workflow\nname: a\n{top}{defaults}tasks:\n  t:\n{task}")
        };
        let is_known = |field: &str, place: &str| {
            let indent = match place {
                "workflow" => "",
                "defaults" | "schedule" => "  ",
                _ => "    ",
            };
            let text = document(field, indent, place).replace('\u{1}', "x");
            let errors = spec::parse(&text).err().map_or_else(Vec::new, |errors| errors.errors);
            !errors.iter().any(|error| error.message.contains("is not a field of"))
        };
        for (pointer, place) in [
            ("/properties", "workflow"),
            ("/$defs/defaults/properties", "defaults"),
            ("/$defs/schedule/properties", "schedule"),
            ("/$defs/task/properties", "task"),
        ] {
            for field in fields(&schema, pointer) {
                assert!(is_known(&field, place), "{place}: {field}");
            }
            assert!(!is_known("frobnicate", place), "{place}");
        }
    }

    /// Whatever the parser suggests as the fields of a task is in the schema.
    #[test]
    fn the_example_with_every_field_fits_the_schema() {
        let schema = schema();
        let places = ["/$defs/task/properties", "/$defs/schedule/properties"];
        let all: BTreeSet<String> = places.iter().flat_map(|at| fields(&schema, at)).collect();
        let example = include_str!("../../../core/tests/spec/good.yaml");
        let written = example.lines().filter_map(|line| {
            let key = line.strip_prefix("    ").filter(|rest| !rest.starts_with(' '))?;
            key.split_once(':').map(|(key, _)| key.to_owned())
        });
        // Of a parameter, and another name of `timeZone`.
        let top = ["default", "description", "timezone"];
        let unknown: Vec<String> = written
            .filter(|key| key.chars().all(char::is_alphabetic) && !top.contains(&key.as_str()))
            .filter(|key| !all.contains(key))
            .collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }
}
