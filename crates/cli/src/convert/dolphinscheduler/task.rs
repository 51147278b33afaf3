//! One task.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use muster_core::limits;
use serde_json::Value;

use super::ConvertError;
use super::export::{Property, Task, left_over, properties};
use super::finding::Kind;
use super::json::{At, is_empty};
use super::script::{self, Language, Script};
use super::shell;
use super::text;
use super::workflow::Workflow;
use crate::convert::names::word;

/// Why the kinds that are known have no equivalent, and what to write instead. Other kinds are plugins.
pub(super) const UNWRITTEN: [(&str, &str); 39] = [
    ("SUB_PROCESS", SUB_WORKFLOW),
    ("SUB_WORKFLOW", SUB_WORKFLOW),
    ("DYNAMIC", "a workflow within a workflow, once for each of a list of values"),
    (
        "DEPENDENT",
        "it waits for other workflows; let one workflow do both, or ask `muster wait` for the other's run",
    ),
    (
        "CONDITIONS",
        "branches by how tasks ended: give the tasks behind it `needs` and `if: failure()`, or no `if`",
    ),
    ("SWITCH", "branches by values: let the tasks behind it test the value and exit with 0"),
    ("BLOCKING", "it holds the run until a person goes on"),
    ("SQL", "call the client of the database, for example `psql -f`"),
    ("PROCEDURE", "call the client of the database"),
    ("HTTP", "call `curl --fail`"),
    ("GRPC", "call `grpcurl`"),
    ("SPARK", "call `spark-submit`"),
    ("FLINK", "call `flink run`"),
    ("FLINK_STREAM", "call `flink run`; what never ends is no task"),
    ("MR", "call `hadoop jar`"),
    ("JAVA", "call `java -jar`"),
    ("HIVECLI", "call `hive` or `beeline`"),
    ("DATAX", "call `datax.py`"),
    ("SQOOP", "call `sqoop`"),
    ("SEATUNNEL", "call `seatunnel.sh`"),
    ("WATERDROP", "call `seatunnel.sh`"),
    ("ADDAX", "call `addax.sh`"),
    ("CHUNJUN", "call `chunjun`"),
    ("K8S", "call `kubectl`, or wait for the Kubernetes executor"),
    ("KUBEFLOW", "call `kubectl`"),
    ("REMOTESHELL", "call `ssh`"),
    ("JUPYTER", "call `papermill`"),
    ("MLFLOW", "call `mlflow`"),
    ("PYTORCH", "call `python3`"),
    ("DVC", "call `dvc`"),
    ("OPENMLDB", "call its client"),
    ("ZEPPELIN", "call its REST API with `curl --fail`"),
    ("DINKY", "call its REST API with `curl --fail`"),
    ("LINKIS", "call `linkis-cli`"),
    ("EMR", "call `aws emr`"),
    ("SAGEMAKER", "call `aws sagemaker`"),
    ("DMS", "call `aws dms`"),
    ("DATASYNC", "call `aws datasync`"),
    ("DATA_QUALITY", "run the check itself"),
];
const SUB_WORKFLOW: &str =
    "a workflow within a workflow: write `workflow: {name: …}`, with the other one converted too";

/// Fields of a script's parameters that are taken up, or that other kinds of tasks use.
const SCRIPT_FIELDS: [&str; 4] = ["localParams", "rawScript", "resourceList", "varPool"];

/// Longest span there can be.
const MINUTES_MAX: i64 = 366 * 24 * 60;

/// What is written of a task.
struct Parts {
    /// What it does: `run: …`, perhaps with comments.
    action: String,
    env: BTreeMap<String, String>,
    outputs: Vec<String>,
    needs: BTreeSet<String>,
    /// Whether it fails until somebody writes it; then it is not tried again.
    is_unwritten: bool,
}

impl Workflow<'_> {
    /// Writes the task at a position.
    pub(super) fn task(&mut self, position: usize) -> Result<String, ConvertError> {
        let definition = self.definition;
        let task = &definition.tasks[position];
        let id = self.ids[position].clone();
        let parts = self.parts(position)?;
        let mut needs: Vec<String> =
            task.needs.iter().map(|need| self.ids[*need].clone()).collect();
        needs.extend(
            parts.needs.iter().filter(|it| !needs.contains(it)).cloned().collect::<Vec<_>>(),
        );
        let mut out = String::new();
        if task.delay_minutes > 0 && !task.is_disabled {
            out.push_str(&self.delay(position, &mut needs));
        }
        let _ = writeln!(out, "  {}:", word(&id));
        let description = match (id == task.name, task.description.trim()) {
            (true, description) => description.to_owned(),
            (false, "") => task.name.clone(),
            (false, description) => format!("{}: {description}", task.name),
        };
        if !description.is_empty() {
            let _ = writeln!(out, "    description: {}", text::quoted(&description));
        }
        if !needs.is_empty() {
            let _ = writeln!(out, "    needs: {}", text::list(&needs));
        }
        out.push_str(&parts.action);
        if !parts.env.is_empty() {
            out.push_str("    env:\n");
            for (name, value) in &parts.env {
                let _ = writeln!(out, "      {}: {}", text::key(name), text::quoted(value));
            }
        }
        if !parts.outputs.is_empty() {
            let _ = writeln!(out, "    outputs: {}", text::list(&parts.outputs));
        }
        out.push_str(&self.policies(position, parts.is_unwritten));
        for left in &task.left_over {
            let what = left_over_words(&left.field, &left.value);
            self.find(Some(position), &left.path, Kind::LeftOut, what);
        }
        Ok(out)
    }

    fn parts(&mut self, position: usize) -> Result<Parts, ConvertError> {
        let task = &self.definition.tasks[position];
        let own = own_params(task)?;
        let outs: Vec<Property> = own.iter().filter(|it| it.is_out).cloned().collect();
        if task.is_disabled {
            let what = format!(
                "the task is disabled: it does nothing here, and what waits for it goes on; it was a {} task",
                task.kind
            );
            self.find(Some(position), &task.path, Kind::Changed, what);
            let comment = text::json_comment("    ", &shown(&task.params));
            return Ok(Parts {
                action: format!("{comment}    noop: {{}}\n"),
                env: BTreeMap::new(),
                outputs: Vec::new(),
                needs: BTreeSet::new(),
                is_unwritten: false,
            });
        }
        let script = task.params.get("rawScript").and_then(Value::as_str).unwrap_or_default();
        let language = match task.kind.as_str() {
            "SHELL" => Some(Language::Shell),
            "PYTHON" => Some(Language::Python),
            _ => None,
        };
        match language {
            Some(language) if !task.is_stream && !script.trim().is_empty() => {
                self.script_files(position)?;
                let scope = self.scope(position, &own, script);
                let zone = self.zone.as_deref();
                let script = script::convert(language, script, &scope, &outs, zone);
                Ok(self.script(position, language, script, &outs))
            }
            _ => Ok(self.unwritten(position, &outs)),
        }
    }

    /// What else the parameters of a script say.
    fn script_files(&mut self, position: usize) -> Result<(), ConvertError> {
        let task = &self.definition.tasks[position];
        let mut at = At::root(&task.params);
        at.path.clone_from(&task.params_path);
        if let Some(files) = at.get("resourceList").filter(|it| !is_empty(it.value())) {
            let what = format!(
                "files of the resource centre, which the script expects beside itself: {}",
                compact(files.value())
            );
            self.find(Some(position), &files.path, Kind::LeftOut, what);
        }
        for file in own_params(task)?.iter().filter(|param| param.kind == "FILE") {
            let what = format!("the parameter {:?} is a file; here it is a text", file.name);
            self.find(Some(position), &file.path, Kind::LeftOut, what);
        }
        for left in left_over(&at, &SCRIPT_FIELDS)? {
            let what = left_over_words(&left.field, &left.value);
            self.find(Some(position), &left.path, Kind::LeftOut, what);
        }
        Ok(())
    }

    fn script(
        &mut self,
        position: usize,
        language: Language,
        script: Script,
        outs: &[Property],
    ) -> Parts {
        let task = &self.definition.tasks[position];
        let path = format!("{}.rawScript", task.params_path);
        for name in &script.unknown {
            let what = format!(
                "`${{{name}}}` is no parameter of the export and is left to the script; if it is one of the project, \
                 declare it under `params` and `env`"
            );
            self.find(Some(position), &path, Kind::Changed, what);
        }
        let holds_reference = script.text.contains("${{");
        let mut problems: Vec<String> = script.problems.into_iter().collect();
        if holds_reference {
            problems.push("it holds `${{`, which no script may in Muster".to_owned());
        }
        let shell = match language {
            Language::Shell => "    shell: [bash]\n",
            Language::Python => "    shell: [python3]\n",
        };
        let mut parts = Parts {
            action: format!("{shell}{}", text::script(&script.text)),
            env: script.env,
            outputs: script.outputs,
            needs: script.needs,
            is_unwritten: !problems.is_empty(),
        };
        if problems.is_empty() {
            return parts;
        }
        let what = format!("the script needs a person: {}", problems.join("; "));
        self.find(Some(position), &path, Kind::Unwritten, what.clone());
        parts.outputs = outs.iter().map(|out| out.name.clone()).filter(|it| is_key(it)).collect();
        let what = what.replace("${{", "$ {{");
        let guard = match language {
            Language::Shell => format!(
                "echo {} >&2; exit 1 # remove this line once it is right",
                shell::word(&format!("not converted: {what}"))
            ),
            Language::Python => format!(
                "import sys; sys.exit({}) # remove this line once it is right",
                super::python::literal(&format!("not converted: {what}"))
            ),
        };
        parts.action = if holds_reference {
            let comment = text::comment("    ", &script.text);
            format!("{comment}{shell}{}", text::script(&guard))
        } else {
            format!("{shell}{}", text::script(&format!("{guard}\n{}", script.text)))
        };
        parts
    }

    /// A task that fails and says why.
    fn unwritten(&mut self, position: usize, outs: &[Property]) -> Parts {
        let task = &self.definition.tasks[position];
        let reason = if task.is_stream {
            "it runs forever, which no task does".to_owned()
        } else if ["SHELL", "PYTHON"].contains(&task.kind.as_str()) {
            "it has no script".to_owned()
        } else {
            let known = UNWRITTEN.iter().find(|(kind, _)| *kind == task.kind);
            known.map_or("it is a plugin".to_owned(), |(_, reason)| (*reason).to_owned())
        };
        let what = format!("{} has no equivalent: {reason}", task.kind);
        self.find(Some(position), &task.path, Kind::Unwritten, what.clone());
        let guard = format!("echo {} >&2; exit 1", shell::word(&format!("not converted: {what}")));
        let comment = text::json_comment("    ", &shown(&task.params));
        Parts {
            action: format!("{comment}    shell: [bash]\n{}", text::script(&guard)),
            env: BTreeMap::new(),
            outputs: outs.iter().map(|out| out.name.clone()).filter(|it| is_key(it)).collect(),
            needs: BTreeSet::new(),
            is_unwritten: true,
        }
    }

    /// A task of its own that waits before the task at a position.
    fn delay(&mut self, position: usize, needs: &mut Vec<String>) -> String {
        let task = &self.definition.tasks[position];
        let minutes = task.delay_minutes.min(MINUTES_MAX);
        let id = self.unique.name(format!("{}-delay", self.ids[position]));
        let mut out = format!("  {}:\n", word(&id));
        if !needs.is_empty() {
            let _ = writeln!(out, "    needs: {}", text::list(needs));
        }
        let _ = write!(
            out,
            "    shell: [bash]\n    run: sleep {}\n    resources: {{cpu: 0}}\n",
            minutes * 60
        );
        if let Some(pool) = self.pool(&task.worker_group) {
            let _ = writeln!(out, "    pool: {}", text::quoted(&pool));
        }
        needs.push(id.clone());
        let what = format!("it begins {minutes} minutes later: the task {id} waits before it");
        self.find(Some(position), &format!("{}.delayTime", task.path), Kind::Changed, what);
        out
    }

    /// Retries, timeout, pool, priority and resources.
    fn policies(&mut self, position: usize, is_unwritten: bool) -> String {
        let task = &self.definition.tasks[position];
        let mut out = String::new();
        if task.retries > 0 && !task.is_disabled {
            let most = i64::from(limits::RETRY_LIMIT_MAX);
            let limit = task.retries.min(most);
            if limit < task.retries {
                let what =
                    format!("{} retries are more than {most}, the most there can be", task.retries);
                let path = format!("{}.failRetryTimes", task.path);
                self.find(Some(position), &path, Kind::Changed, what);
            }
            let wait = task.retry_minutes.clamp(0, MINUTES_MAX);
            let mark = if is_unwritten { "# " } else { "" };
            let backoff = format!("{{duration: {wait}m, factor: 1, cap: {wait}m, jitter: 0}}");
            let _ = writeln!(out, "    {mark}retry: {{limit: {limit}, backoff: {backoff}}}");
        }
        out.push_str(&self.timeout(position));
        if let Some(pool) = self.pool(&task.worker_group) {
            let _ = writeln!(out, "    pool: {}", text::quoted(&pool));
        }
        if let Some(priority) = self.priority(position) {
            let _ = writeln!(out, "    priority: {priority}");
        }
        out.push_str(&self.resources(position));
        out
    }

    fn timeout(&mut self, position: usize) -> String {
        let task = &self.definition.tasks[position];
        let Some(timeout) = task.timeout.as_ref().filter(|_| !task.is_disabled) else {
            return String::new();
        };
        let path = format!("{}.timeout", task.path);
        let minutes = timeout.minutes;
        if minutes > MINUTES_MAX {
            let what =
                format!("a timeout of {minutes} minutes, more than the 366 days there can be");
            self.find(Some(position), &path, Kind::LeftOut, what);
            return String::new();
        }
        match timeout.strategy.as_str() {
            "FAILED" => format!("    timeout: {minutes}m\n"),
            "WARNFAILED" => {
                let what = format!(
                    "nobody is warned when its timeout of {minutes} minutes is over; it fails then"
                );
                self.find(Some(position), &path, Kind::Changed, what);
                format!("    timeout: {minutes}m\n")
            }
            _ => {
                let what =
                    format!("a warning after {minutes} minutes, after which the task goes on");
                self.find(Some(position), &path, Kind::LeftOut, what);
                String::new()
            }
        }
    }

    fn resources(&mut self, position: usize) -> String {
        let task = &self.definition.tasks[position];
        if task.is_disabled {
            return "    resources: {cpu: 0}\n".to_owned();
        }
        let mut words = Vec::new();
        if task.cpu_percent > 0 {
            words.push(format!("cpu: {}m", task.cpu_percent.saturating_mul(10)));
        }
        if task.memory_mib > 0 {
            words.push(format!("memory: {}Mi", task.memory_mib));
        }
        if words.is_empty() {
            return String::new();
        }
        let what = "bounds of cpu and memory are reserved on the worker, and not enforced";
        self.find(Some(position), &task.path, Kind::Changed, what);
        format!("    resources: {{{}}}\n", words.join(", "))
    }
}

/// A task's own parameters.
pub(super) fn own_params(task: &Task) -> Result<Vec<Property>, ConvertError> {
    let mut at = At::root(&task.params);
    at.path.clone_from(&task.params_path);
    at.get("localParams").map_or(Ok(Vec::new()), properties)
}

/// Whether an output may be called that.
pub(super) fn is_key(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.len() <= limits::NAME_BYTES_MAX
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

/// Parameters without what says nothing.
fn shown(params: &Value) -> Value {
    match params {
        Value::Object(map) => {
            let said = map.iter().filter(|(_, value)| !is_empty(value));
            Value::Object(said.map(|(key, value)| (key.clone(), value.clone())).collect())
        }
        other => other.clone(),
    }
}

/// A value in one line, cut.
fn compact(value: &Value) -> String {
    let text = value.to_string();
    let mut shown: String = text.chars().take(120).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

/// What a field meant that is left out.
pub(super) fn left_over_words(field: &str, value: &Value) -> String {
    let value = compact(value);
    match field {
        "environmentCode" => format!(
            "the environment {value}, which the export does not hold: set its variables in `env`, or on the workers"
        ),
        "taskGroupId" => format!(
            "the task group {value} and its bound on tasks beside each other: name a concurrency group in `concurrency`"
        ),
        "isCache" | "cacheFlag" => {
            "results are not kept for equal tasks: it runs each time".to_owned()
        }
        "tenantCode" | "tenantId" => {
            format!("the tenant {value}: tasks run as the user of the worker")
        }
        "warningType" => format!("warnings ({value}): nobody is told how runs end"),
        _ => format!("`{field}` is not known here: {value}"),
    }
}
