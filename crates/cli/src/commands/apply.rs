//! `muster apply`: stores workflows.

use std::path::PathBuf;

use clap::Args;
use muster_client::v1;
use serde_json::Value;

use crate::exit::{Exit, Outcome};
use crate::files;
use crate::output::{self, Format};
use crate::settings::Global;

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
    }
    print(global.format(), &applied)?;
    Ok(Exit::Ok)
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
