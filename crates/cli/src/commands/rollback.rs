//! `muster rollback`: applies an earlier version of a workflow again.

use clap::Args;
use muster_client::{Source, v1};
use muster_proto::convert::spec_from_proto;

use super::diff::{Compared, coloured};
use crate::exit::{Exit, Failure, Outcome};
use crate::output::{self, Format, note};
use crate::settings::Global;

#[derive(Args, Debug)]
#[command(after_help = "\
The earlier version becomes a new one: numbers only grow, and live runs keep the version that they began with. The \
latest 10 versions before the latest are kept; `muster get versions` lists them.")]
pub(crate) struct RollbackArgs {
    /// The workflow
    workflow: String,
    /// The version to go back to; the one before the latest unless set
    #[arg(long, value_name = "VERSION", value_parser = clap::value_parser!(u32).range(1..))]
    to: Option<u32>,
    /// Show what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
}

pub(crate) async fn run(args: RollbackArgs, global: &Global) -> Outcome {
    if let Some((name, version)) = args.workflow.split_once('@') {
        let hint = format!("name the version with --to: muster rollback {name} --to {version}");
        return Err(Failure::usage(hint));
    }
    let client = global.client()?;
    let latest = client.get_workflow(&args.workflow).await?;
    let earlier = latest.versions.iter().map(|it| it.number).filter(|it| *it < latest.version);
    let wanted = match args.to {
        Some(number) => number,
        None => earlier.max().ok_or_else(|| {
            let name = format!("{}@{}", args.workflow, latest.version);
            Failure::error(format!("there is no version before {name} to go back to"))
        })?,
    };
    let old = client.get_workflow_version(&args.workflow, wanted).await?;
    let spec = old.spec.ok_or_else(|| Failure::error("the master sent no workflow"))?;
    let file = format!("{}@{wanted}", args.workflow);
    let unreadable = |error| Failure::error(format!("{file}: {error}"));
    let read = spec_from_proto(spec.clone()).map_err(unreadable)?;
    let compared = Compared::new(&file, Some(latest), &read)?;
    if matches!(global.format(), Format::Table | Format::Wide) {
        if !compared.differs() {
            note("no difference");
        } else {
            compared.lines().iter().try_for_each(|line| output::line(coloured(line)))?;
        }
    }
    if args.dry_run {
        return Ok(Exit::Ok);
    }
    let applied = client.apply(Source::from(spec)).await?;
    tell(global.format(), &applied, wanted)?;
    Ok(Exit::Ok)
}

fn tell(format: Format, applied: &v1::ApplyWorkflowResponse, wanted: u32) -> std::io::Result<()> {
    let v1::ApplyWorkflowResponse { name, version, is_new } = applied;
    match format {
        Format::Table | Format::Wide if *is_new => {
            output::line(format!("{name}@{version} applied, as {name}@{wanted} was"))
        }
        Format::Table | Format::Wide => {
            output::line(format!("{name}@{version} unchanged: it is as {name}@{wanted} was"))
        }
        Format::Name => output::line(name),
        Format::Json | Format::Jsonl | Format::Yaml => {
            let value = output::json::value("muster.v1.ApplyWorkflowResponse", applied);
            output::data(format, &value)
        }
    }
}
