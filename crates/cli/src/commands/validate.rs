//! `muster validate`: checks files without a cluster, and prints the schema of workflow files.

use std::path::PathBuf;

use clap::Args;
use muster_proto::convert::{namespace_to_proto, spec_to_proto};
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
    let namespaces = files
        .iter()
        .flat_map(|file| &file.namespaces)
        .map(|it| output::json::value("muster.v1.NamespaceSpec", &namespace_to_proto(it)));
    let workflows = files
        .iter()
        .flat_map(|file| &file.workflows)
        .map(|it| output::json::value("muster.v1.WorkflowSpec", &spec_to_proto(it)));
    let specs: Vec<Value> = namespaces.chain(workflows).collect();
    match format {
        Format::Table | Format::Wide | Format::Name => {
            for file in &files {
                for namespace in &file.namespaces {
                    let name = format!("namespace/{}", namespace.name);
                    output::line(match format {
                        Format::Name => name,
                        _ => format!("{}: {name} ok", file.name),
                    })?;
                }
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
