//! `muster apply`: stores workflows, and what namespaces may have.

use std::path::PathBuf;

use clap::Args;
use muster_calendar::Schedule;
use muster_client::v1;
use muster_core::spec::WorkflowSpec;
use muster_core::spec::schedule::Timing;
use muster_core::time::Timestamp;
use muster_proto::convert::namespace_to_proto;
use serde_json::Value;

use crate::exit::{Exit, Outcome};
use crate::files;
use crate::output::{self, Format, note};
use crate::settings::Global;
use crate::units::now_ms;

#[derive(Args, Debug)]
pub(crate) struct ApplyArgs {
    /// A file, a folder with files, or `-` for standard input; may be repeated
    #[arg(short, long = "file", required = true, value_name = "FILE")]
    file: Vec<PathBuf>,
}

/// What was applied, and what came of it.
enum Applied {
    Namespace(v1::ApplyNamespaceResponse),
    Workflow(v1::ApplyWorkflowResponse),
}

impl Applied {
    fn name(&self) -> String {
        match self {
            Applied::Namespace(it) => format!("namespace/{}", it.name),
            Applied::Workflow(it) => it.name.clone(),
        }
    }

    fn line(&self) -> String {
        let (name, is_new) = match self {
            Applied::Namespace(it) => (self.name(), it.is_changed),
            Applied::Workflow(it) => (format!("{}@{}", it.name, it.version), it.is_new),
        };
        format!("{name} {}", if is_new { "applied" } else { "unchanged" })
    }

    fn value(&self) -> Value {
        match self {
            Applied::Namespace(it) => output::json::value("muster.v1.ApplyNamespaceResponse", it),
            Applied::Workflow(it) => output::json::value("muster.v1.ApplyWorkflowResponse", it),
        }
    }
}

pub(crate) async fn run(args: ApplyArgs, global: &Global) -> Outcome {
    // All files are checked before the first is applied.
    let files = files::read_all(&args.file)?;
    let client = global.client()?;
    let mut applied = Vec::new();
    // What a namespace may have first, so that it holds for what follows.
    for namespace in files.iter().flat_map(|file| &file.namespaces) {
        let namespace = namespace_to_proto(namespace);
        applied.push(Applied::Namespace(client.apply_namespace(namespace).await?));
    }
    for workflow in files.iter().flat_map(|file| &file.workflows) {
        applied.push(Applied::Workflow(client.apply(workflow).await?));
        tell_past_schedules(workflow);
    }
    print(global.format(), &applied)?;
    Ok(Exit::Ok)
}

/// Says which schedules never fire from now on: the file is well-formed, and yet nothing comes of them.
fn tell_past_schedules(workflow: &WorkflowSpec) {
    let now = Timestamp(now_ms());
    for spec in &workflow.schedules {
        // What the calendar cannot read was refused before.
        let Ok(schedule) = Schedule::new(spec) else { continue };
        if schedule.next_after(now).is_some() {
            continue;
        }
        let why = match (&spec.timing, &spec.end) {
            (_, Some(end)) => format!("its `end`, {end}, is past or comes before its next time"),
            (Timing::At(time), None) => format!("its `at`, {time}, is past"),
            (Timing::Cron { .. } | Timing::Every(_), None) => "no time is left for it".to_owned(),
        };
        note(format!("{}/{} never fires again: {why}", workflow.name, spec.name));
    }
}

fn print(format: Format, applied: &[Applied]) -> std::io::Result<()> {
    match format {
        Format::Table | Format::Wide => {
            for it in applied {
                output::line(it.line())?;
            }
        }
        Format::Name => {
            for it in applied {
                output::line(it.name())?;
            }
        }
        Format::Jsonl => {
            for it in applied {
                output::data(format, &it.value())?;
            }
        }
        // One value, whatever the number of things.
        Format::Json | Format::Yaml => {
            output::data(format, &Value::Array(applied.iter().map(Applied::value).collect()))?;
        }
    }
    Ok(())
}
