//! `muster convert`: workflow files from those of other systems.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::convert::wfcommons;
use crate::exit::{Exit, Failure, Outcome};
use crate::files;
use crate::output;

#[derive(Debug, Subcommand)]
pub(crate) enum ConvertCommand {
    /// A recorded workflow in WfFormat 1.5 (wfcommons.org), as one that can be run again
    Wfcommons(WfcommonsArgs),
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

pub(crate) fn run(command: &ConvertCommand) -> Outcome {
    let ConvertCommand::Wfcommons(args) = command;
    let name = args.file.display();
    let json = std::fs::read_to_string(&args.file)
        .map_err(|error| Failure::usage(format!("cannot read {name}: {}", files::words(&error))))?;
    let options = wfcommons::Options {
        time_scale: args.time_scale,
        workdir: args.workdir.clone(),
        name: args.name.clone(),
    };
    let text = wfcommons::convert(&json, &options)
        .map_err(|error| Failure::usage(format!("{name}: {error}")))?;
    output::line(text.trim_end())?;
    Ok(Exit::Ok)
}
