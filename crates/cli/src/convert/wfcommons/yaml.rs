//! The workflow file.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::order::Order;
use super::trace::{Task, Trace};
use super::{ConvertError, names};
use crate::convert::names::word;

/// Longest sleep, in seconds.
const SECONDS_MAX: f64 = 366.0 * 86_400.0;
/// Shorter sleeps, in seconds, are not worth a process.
const SECONDS_MIN: f64 = 0.001;
/// Most contradictions that are written out.
const LEFT_OUT_SHOWN: usize = 20;

/// Writes the workflow `name`.
pub(super) fn write(
    trace: &Trace,
    order: &Order,
    name: &str,
    workdir: &str,
    time_scale: f64,
) -> Result<String, ConvertError> {
    let ids = names::tasks(trace.tasks.iter().map(|task| task.id.as_str()));
    let all_files = trace.tasks.iter().flat_map(|task| task.outputs.iter().map(String::as_str));
    let files = names::files(all_files);
    let mut text = head(trace, order, name, workdir, time_scale);
    for (position, task) in trace.tasks.iter().enumerate() {
        let seconds = task.seconds * time_scale;
        if !(0.0..=SECONDS_MAX).contains(&seconds) {
            return Err(ConvertError::Runtime { task: task.id.clone(), seconds });
        }
        let id = &ids[position];
        let _ = writeln!(text, "  {}:", word(id));
        let needs: Vec<&str> = order.needs[position].iter().map(|need| word(&ids[*need])).collect();
        if !needs.is_empty() {
            let _ = writeln!(text, "    needs: [{}]", needs.join(", "));
        }
        text.push_str("    shell: [sh, -eu]\n    run: |\n");
        for line in script(id, task, &order.required[position], &files, seconds).lines() {
            let _ = writeln!(text, "      {line}");
        }
    }
    Ok(text)
}

fn head(trace: &Trace, order: &Order, name: &str, workdir: &str, time_scale: f64) -> String {
    let mut text = format!(
        "# Made by `muster convert wfcommons` from the trace {:?}.\n\
         # Each task checks that the files of the tasks before it are there, sleeps its recorded time × {time_scale},\n\
         # and writes its own files. A run's files are in $WORKDIR/<its number>; all workers must see that folder.\n",
        trace.name
    );
    if !order.left_out.is_empty() {
        text.push_str(
            "# The trace contradicts itself. Declared parents were kept; left out was:\n",
        );
        for line in order.left_out.iter().take(LEFT_OUT_SHOWN) {
            let _ = writeln!(text, "#   {line}");
        }
        if order.left_out.len() > LEFT_OUT_SHOWN {
            let _ = writeln!(text, "#   and {} more", order.left_out.len() - LEFT_OUT_SHOWN);
        }
    }
    let workdir = serde_json::Value::from(workdir);
    let _ = write!(
        text,
        "apiVersion: v1\nkind: Workflow\nname: {}\ndefaults:\n  resources: {{cpu: 100m}}\n  \
         env: {{WORKDIR: {workdir}}}\ntasks:\n",
        word(name)
    );
    text
}

/// What the task runs. Uses as few processes as the shell allows: a trace has thousands of tasks.
fn script(
    id: &str,
    task: &Task,
    required: &[String],
    files: &BTreeMap<&str, String>,
    seconds: f64,
) -> String {
    let list = |ids: &[String]| {
        ids.iter().map(|id| files[id.as_str()].as_str()).collect::<Vec<_>>().join(" ")
    };
    let mut text = "run=\"$WORKDIR/$MUSTER_RUN_NUMBER\"\n\
                    cd \"$run\" 2>/dev/null || { mkdir -p \"$run\"; cd \"$run\"; }\n"
        .to_owned();
    if !required.is_empty() {
        let _ = writeln!(
            text,
            "for f in {}; do [ -e \"$f\" ] || {{ echo \"input file $f is missing\" >&2; exit 66; }}; done",
            list(required)
        );
    }
    if seconds >= SECONDS_MIN {
        let _ = writeln!(text, "sleep {seconds:.3}");
    }
    match task.outputs.len() {
        0 => {}
        1 => {
            let file = list(&task.outputs);
            let part = format!("\".part.$MUSTER_FENCE.{file}\"");
            let _ = write!(text, "echo {id} > {part}\nmv -f {part} {file}\n");
        }
        _ => {
            let _ = write!(
                text,
                "part=\".part.$MUSTER_FENCE.{id}\"\nmkdir -p \"$part\"\n\
                 for f in {}; do echo {id} > \"$part/$f\"; done\nmv -f \"$part\"/* .\nrmdir \"$part\"\n",
                list(&task.outputs)
            );
        }
    }
    text
}
