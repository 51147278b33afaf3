//! `muster plan`: what applying files would change, and which workers could take their tasks. Nothing is changed.

use std::path::PathBuf;

use clap::Args;
use muster_client::v1;
use serde_json::Value;

use super::diff::{Compared, coloured, compare_namespace};
use crate::exit::{Exit, Failure, Outcome};
use crate::files;
use crate::output::{self, Format};
use crate::settings::Global;

/// Tasks named of those that ask for the same.
const TASKS_NAMED_MAX: usize = 4;

#[derive(Args, Debug)]
#[command(after_help = "\
The cluster checks the files as `apply` does, compares them with what is applied, and asks the workers that it has now \
whether they could take one attempt of each task. The exit code is 6 if no worker could ever take some task, and 1 if \
a task names a concurrency group that neither the cluster nor the files have.")]
pub(crate) struct PlanArgs {
    /// A file, a folder with files, or `-` for standard input; may be repeated
    #[arg(short, long = "file", required = true, value_name = "FILE")]
    file: Vec<PathBuf>,
}

/// What the cluster says to one workflow of a file.
struct Planned {
    compared: Compared,
    response: v1::PlanWorkflowResponse,
    /// Concurrency groups that neither the cluster nor the files have.
    unknown_groups: Vec<String>,
}

pub(crate) async fn run(args: PlanArgs, global: &Global) -> Outcome {
    let files = files::read_all(&args.file)?;
    let client = global.client()?;
    let namespace = Some(client.namespace()).filter(|it| !it.is_empty()).unwrap_or("default");
    let mut planned = Vec::new();
    for file in &files {
        for namespace in &file.namespaces {
            tell_namespace(
                global.format(),
                &compare_namespace(&client, &file.name, namespace).await?,
            )?;
        }
        for workflow in &file.workflows {
            let response = client.plan(workflow).await?;
            let compared = Compared::new(&file.name, response.applied.clone(), workflow)?;
            let mut unknown_groups = response.unknown_groups.clone();
            unknown_groups.retain(|group| !files.iter().any(|it| it.has_group(namespace, group)));
            planned.push(Planned { compared, response, unknown_groups });
        }
    }
    print(global.format(), &planned)?;
    let is_stuck = planned
        .iter()
        .flat_map(|it| &it.response.placements)
        .any(|it| it.outlook() == v1::Outlook::Never);
    if planned.iter().any(|it| !it.unknown_groups.is_empty()) {
        return Ok(Exit::Error);
    }
    Ok(if is_stuck { Exit::CannotBePlaced } else { Exit::Ok })
}

/// Says for people what would become of a namespace.
fn tell_namespace(format: Format, compared: &Compared) -> std::io::Result<()> {
    if !matches!(format, Format::Table | Format::Wide) {
        return Ok(());
    }
    if !compared.differs() {
        return output::line(format!("{} stays as it is", compared.name()));
    }
    compared.lines().iter().try_for_each(|line| output::line(coloured(line)))
}

fn print(format: Format, planned: &[Planned]) -> Result<(), Failure> {
    let value = |it: &Planned| output::json::value("muster.v1.PlanWorkflowResponse", &it.response);
    match format {
        Format::Table | Format::Wide => {
            for it in planned {
                for line in it.lines() {
                    output::line(line)?;
                }
            }
        }
        Format::Name => {
            for it in planned.iter().filter(|it| it.response.is_new) {
                output::line(it.name())?;
            }
        }
        Format::Jsonl => {
            for it in planned {
                output::data(format, &value(it))?;
            }
        }
        Format::Json | Format::Yaml => {
            output::data(format, &Value::Array(planned.iter().map(value).collect()))?;
        }
    }
    Ok(())
}

impl Planned {
    fn name(&self) -> &str {
        self.response.spec.as_ref().map_or("", |spec| spec.name.as_str())
    }

    fn lines(&self) -> Vec<String> {
        let applied = self.response.applied.clone().unwrap_or_default();
        let (name, version) = (self.name(), applied.latest_version);
        let mut lines = match (self.response.is_new, version) {
            (false, _) => vec![format!("{name}@{version} stays as it is")],
            (true, 0) => vec![format!("{name}@1 would be new")],
            (true, _) => {
                let next = version + 1;
                let mut lines = vec![format!("{name}@{next} would follow {name}@{version}")];
                lines.extend(self.compared.lines().iter().map(|line| coloured(line)));
                lines
            }
        };
        if self.response.is_new && applied.live_runs > 0 {
            lines.push(match applied.live_runs {
                1 => "1 live run goes on as it began".to_owned(),
                runs => format!("{runs} live runs go on as they began"),
            });
        }
        lines.extend(self.response.remarks.clone());
        lines.extend(self.unknown_groups.iter().map(|group| {
            format!("concurrency group `{group}` is not there: `apply` is refused until it is")
        }));
        lines.extend(self.response.placements.iter().map(placement));
        lines
    }
}

/// `extract, load: 2 of 2 workers can take it. It is placed in its turn.`
fn placement(it: &v1::PlacementForecast) -> String {
    let named = it.tasks.iter().take(TASKS_NAMED_MAX).map(String::as_str);
    let mut tasks = named.collect::<Vec<_>>().join(", ");
    if let Some(more) = it.tasks.len().checked_sub(TASKS_NAMED_MAX).filter(|more| *more > 0) {
        tasks += &format!(" and {more} more");
    }
    format!("{tasks}: {}", it.summary)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_that_ask_for_the_same_are_named_together() {
        let forecast = |tasks: &[&str]| v1::PlacementForecast {
            tasks: tasks.iter().map(|it| (*it).to_owned()).collect(),
            summary: "1 of 1 worker can take it. It is placed in its turn.".into(),
            ..v1::PlacementForecast::default()
        };
        let said = "1 of 1 worker can take it. It is placed in its turn.";
        assert_eq!(placement(&forecast(&["a"])), format!("a: {said}"));
        assert_eq!(placement(&forecast(&["a", "b", "c", "d"])), format!("a, b, c, d: {said}"));
        let many = forecast(&["a", "b", "c", "d", "e", "f"]);
        assert_eq!(placement(&many), format!("a, b, c, d and 2 more: {said}"));
    }
}
