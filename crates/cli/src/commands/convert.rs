//! `muster convert`: workflow files from those of other systems.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use muster_core::limits;
use serde_json::{Value, json};

use crate::convert::dolphinscheduler::{self, Converted, Finding, Kind};
use crate::convert::wfcommons;
use crate::exit::{Exit, Failure, Outcome};
use crate::files;
use crate::output::{self, Format, note};
use crate::settings::Global;

#[derive(Debug, Subcommand)]
pub(crate) enum ConvertCommand {
    /// A recorded workflow in WfFormat 1.5 (wfcommons.org), as one that can be run again
    Wfcommons(WfcommonsArgs),
    /// Workflows that DolphinScheduler 1.3, 2 or 3 exported
    Dolphinscheduler(DolphinschedulerArgs),
}

#[derive(Args, Debug)]
pub(crate) struct WfcommonsArgs {
    /// The trace (JSON)
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Multiply recorded times by this: 0.01 runs a hundred times as fast
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, allow_negative_numbers = true)]
    time_scale: f64,
    /// An absolute folder that all workers share [default: /tmp/muster-NAME]
    #[arg(long, value_name = "DIR")]
    workdir: Option<String>,
    /// Name of the workflow [default: the trace's]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct DolphinschedulerArgs {
    /// The export (JSON)
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Write one file a workflow into this folder, instead of all to stdout
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Write what has no exact equivalent to this file, as JSON
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Write no workflow, and end with code 2, if anything has no exact equivalent
    #[arg(long)]
    strict: bool,
}

pub(crate) fn run(command: &ConvertCommand, global: &Global) -> Outcome {
    match command {
        ConvertCommand::Wfcommons(args) => wfcommons(args),
        ConvertCommand::Dolphinscheduler(args) => dolphinscheduler(args, global.format()),
    }
}

fn read(file: &Path) -> Result<String, Failure> {
    let name = file.display();
    std::fs::read_to_string(file)
        .map_err(|error| Failure::usage(format!("cannot read {name}: {}", files::words(&error))))
}

fn wfcommons(args: &WfcommonsArgs) -> Outcome {
    let json = read(&args.file)?;
    let options = wfcommons::Options {
        time_scale: args.time_scale,
        workdir: args.workdir.clone(),
        name: args.name.clone(),
    };
    let text = wfcommons::convert(&json, &options)
        .map_err(|error| Failure::usage(format!("{}: {error}", args.file.display())))?;
    output::line(text.trim_end())?;
    Ok(Exit::Ok)
}

fn dolphinscheduler(args: &DolphinschedulerArgs, format: Format) -> Outcome {
    let json = read(&args.file)?;
    let (workflows, findings) = dolphinscheduler::convert(&json)
        .map_err(|error| Failure::usage(format!("{}: {error}", args.file.display())))?;
    for finding in &findings {
        note(finding);
    }
    note(summary(&workflows, &findings));
    let report = Value::Array(findings.iter().map(Finding::to_json).collect());
    if let Some(file) = &args.report {
        write(file, &format!("{report:#}\n"))?;
    }
    if args.strict && !findings.is_empty() {
        return Err(Failure::silent(Exit::Usage));
    }
    if let Some(dir) = &args.dir {
        std::fs::create_dir_all(dir).map_err(|error| cannot_write(dir, &error))?;
        for workflow in &workflows {
            write(&dir.join(format!("{}.yaml", workflow.name)), &workflow.text)?;
        }
    }
    match format {
        Format::Json | Format::Jsonl | Format::Yaml => {
            let list: Vec<Value> = workflows.iter().map(to_json).collect();
            output::data(format, &json!({ "workflows": list, "notConverted": report }))?;
        }
        Format::Name => {
            for workflow in &workflows {
                output::line(&workflow.name)?;
            }
        }
        Format::Table | Format::Wide if args.dir.is_none() => {
            let texts: Vec<&str> = workflows.iter().map(|it| it.text.as_str()).collect();
            let all = texts.join("---\n");
            if all.len() > limits::SPEC_BYTES_MAX {
                return Err(Failure::usage(format!(
                    "the workflows are larger than {} MiB together, the most that a file may have: write one file \
                     each with --dir",
                    limits::SPEC_BYTES_MAX >> 20
                )));
            }
            output::line(all.trim_end())?;
        }
        Format::Table | Format::Wide => {}
    }
    Ok(Exit::Ok)
}

fn to_json(workflow: &Converted) -> Value {
    json!({
        "name": workflow.name,
        "original": workflow.original,
        "tasks": workflow.tasks,
        "file": workflow.text,
    })
}

fn summary(workflows: &[Converted], findings: &[Finding]) -> String {
    let count = |count: usize, one: &str| match count {
        1 => format!("1 {one}"),
        count => format!("{count} {one}s"),
    };
    let tasks = workflows.iter().map(|it| it.tasks).sum();
    let head = format!("{}, {}", count(workflows.len(), "workflow"), count(tasks, "task"));
    if findings.is_empty() {
        return format!("{head}: everything has an equivalent");
    }
    let kinds: Vec<String> = Kind::ALL
        .into_iter()
        .map(|kind| (kind, findings.iter().filter(|it| it.kind == kind).count()))
        .filter(|(_, count)| *count > 0)
        .map(|(kind, count)| match kind {
            Kind::Unwritten => format!("{count} to be written"),
            Kind::LeftOut | Kind::Changed => format!("{count} {}", kind.words()),
        })
        .collect();
    format!("{head}: {} without an exact equivalent ({})", findings.len(), kinds.join(", "))
}

/// Writes a file as a whole: it is there in full, or as it was before.
fn write(file: &Path, text: &str) -> Result<(), Failure> {
    let folder = file.parent().filter(|it| !it.as_os_str().is_empty());
    let mode = std::fs::Permissions::from_mode(0o666);
    let made =
        tempfile::Builder::new().permissions(mode).tempfile_in(folder.unwrap_or(Path::new(".")));
    let written = made.and_then(|mut made| {
        std::io::Write::write_all(&mut made, text.as_bytes())?;
        made.persist(file).map_err(|error| error.error)
    });
    written.map(|_| ()).map_err(|error| cannot_write(file, &error))
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Failure {
    Failure::error(format!("cannot write {}: {}", path.display(), files::words(error)))
}
