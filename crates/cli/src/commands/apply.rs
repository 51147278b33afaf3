//! `muster apply`: stores workflows.

use std::path::PathBuf;

use clap::Args;
use muster_calendar::Schedule;
use muster_client::v1;
use muster_core::spec::WorkflowSpec;
use muster_core::spec::schedule::Timing;
use muster_core::time::Timestamp;
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

pub(crate) async fn run(args: ApplyArgs, global: &Global) -> Outcome {
    // All files are checked before the first is applied.
    let files = files::read_all(&args.file)?;
    let client = global.client()?;
    let mut applied = Vec::new();
    for workflow in files.iter().flat_map(|file| &file.workflows) {
        applied.push(client.apply(workflow).await?);
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

fn print(format: Format, applied: &[v1::ApplyWorkflowResponse]) -> std::io::Result<()> {
    let value = |it| output::json::value("muster.v1.ApplyWorkflowResponse", it);
    match format {
        Format::Table | Format::Wide => {
            for it in applied {
                let what = if it.is_new { "applied" } else { "unchanged" };
                output::line(format!("{}@{} {what}", it.name, it.version))?;
            }
        }
        Format::Name => {
            for it in applied {
                output::line(&it.name)?;
            }
        }
        Format::Jsonl => {
            for it in applied {
                output::data(format, &value(it))?;
            }
        }
        // One value, whatever the number of workflows.
        Format::Json | Format::Yaml => {
            output::data(format, &Value::Array(applied.iter().map(value).collect()))?;
        }
    }
    Ok(())
}
