//! `muster graph`: a workflow's tasks and what they wait for, as a picture.

use std::path::PathBuf;

use clap::Args;
use muster_core::spec::WorkflowSpec;
use muster_proto::convert::spec_from_proto;
use serde_json::{Value, json};

use crate::draw::{self, Characters, Drawing};
use crate::exit::{Exit, Failure, Outcome};
use crate::files;
use crate::output::{self, Format, Picture};
use crate::settings::Global;

#[derive(Args, Debug)]
#[command(after_help = "\
Formats (-o): table (the default) and ascii draw lines for a terminal, svg a picture for a browser; dot is Graphviz's \
language and mermaid that of diagrams in Markdown; json, jsonl and yaml list tasks and needs; name lists the tasks, \
each after all that it waits for.")]
pub(crate) struct GraphArgs {
    /// A workflow that was applied
    #[arg(required_unless_present = "file")]
    workflow: Option<String>,
    /// Draw a workflow in this file, without a cluster; `-` reads standard input. If it holds several, name one
    #[arg(short = 'f', long, value_name = "FILE")]
    file: Option<PathBuf>,
}

pub(crate) async fn run(args: &GraphArgs, global: &Global) -> Outcome {
    let workflow = match &args.file {
        Some(_) => of_file(args)?,
        None => of_cluster(args.workflow.as_deref().unwrap_or_default(), global).await?,
    };
    let drawing = Drawing::of(&workflow).map_err(|error| Failure::usage(error.to_string()))?;
    let text = |characters| {
        let drawn = draw::text(&drawing, characters);
        drawn.map_err(|too_wide| Failure::usage(format!("{}: {too_wide}", workflow.name)))
    };
    let picture = match (global.picture(), global.format()) {
        (Some(Picture::Ascii), _) => text(Characters::Ascii)?,
        (Some(Picture::Svg), _) => draw::svg(&drawing),
        (Some(Picture::Dot), _) => draw::dot(&drawing),
        (Some(Picture::Mermaid), _) => draw::mermaid(&drawing),
        (None, Format::Table | Format::Wide) => text(Characters::Boxes)?,
        (None, Format::Name) => names(&drawing),
        (None, format @ (Format::Json | Format::Jsonl | Format::Yaml)) => {
            output::data(format, &listed(&workflow))?;
            return Ok(Exit::Ok);
        }
    };
    output::line(picture.trim_end())?;
    Ok(Exit::Ok)
}

fn of_file(args: &GraphArgs) -> Result<WorkflowSpec, Failure> {
    let paths = args.file.as_slice();
    let mut found: Vec<WorkflowSpec> =
        files::read_all(paths)?.into_iter().flat_map(|file| file.workflows).collect();
    let shown = paths.iter().map(|path| path.display().to_string()).collect::<String>();
    let names = found.iter().map(|it| it.name.to_string()).collect::<Vec<_>>().join(", ");
    match &args.workflow {
        Some(name) => {
            found.retain(|it| it.name.as_str() == name);
            let only = found.pop();
            only.ok_or_else(|| Failure::usage(format!("{shown} holds no `{name}` but {names}")))
        }
        None if found.len() > 1 => Err(Failure::usage(format!(
            "{shown} holds {} workflows: name one of {names}",
            found.len()
        ))),
        None => found.pop().ok_or_else(|| Failure::usage(format!("{shown} holds no workflow"))),
    }
}

async fn of_cluster(name: &str, global: &Global) -> Result<WorkflowSpec, Failure> {
    let workflow = global.client()?.get_workflow(name).await?;
    let unreadable = |problem: String| Failure::error(format!("{name}: {problem}"));
    let spec = workflow.spec.ok_or_else(|| unreadable("the cluster sent no tasks".to_owned()))?;
    spec_from_proto(spec).map_err(|error| unreadable(error.to_string()))
}

/// The tasks, each after all that it waits for.
fn names(drawing: &Drawing<'_>) -> String {
    let order = drawing.graph.order().iter();
    let names = order.map(|at| drawing.workflow.tasks[at.0 as usize].id.to_string());
    names.collect::<Vec<_>>().join("\n")
}

fn listed(workflow: &WorkflowSpec) -> Value {
    let tasks = workflow.tasks.iter().map(|task| {
        let needs: Vec<&str> = task.needs.iter().map(|need| need.as_str()).collect();
        match task.hook {
            None => json!({ "id": task.id.as_str(), "needs": needs }),
            Some(hook) => json!({ "id": task.id.as_str(), "needs": needs, "hook": hook.field() }),
        }
    });
    json!({ "workflow": workflow.name.as_str(), "tasks": tasks.collect::<Vec<_>>() })
}
