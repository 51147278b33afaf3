//! The part of WfFormat 1.5 that matters here.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::ConvertError;

/// The version that is understood.
const VERSION: &str = "1.5";

/// A recorded workflow. Tasks are known by their positions.
#[derive(Debug)]
pub(super) struct Trace {
    pub(super) name: String,
    pub(super) tasks: Vec<Task>,
}

/// A recorded task.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) id: String,
    /// Declared parents and children, by position.
    pub(super) parents: Vec<usize>,
    pub(super) children: Vec<usize>,
    pub(super) inputs: Vec<String>,
    pub(super) outputs: Vec<String>,
    pub(super) seconds: f64,
}

#[derive(Deserialize)]
struct Head {
    #[serde(rename = "schemaVersion")]
    version: Option<String>,
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    name: String,
    workflow: Workflow,
}

#[derive(Deserialize)]
struct Workflow {
    specification: Specification,
    execution: Option<Execution>,
}

#[derive(Deserialize)]
struct Specification {
    tasks: Vec<TaskRecord>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TaskRecord {
    id: Option<String>,
    name: String,
    #[serde(default)]
    parents: Vec<String>,
    #[serde(default)]
    children: Vec<String>,
    #[serde(default)]
    input_files: Vec<String>,
    #[serde(default)]
    output_files: Vec<String>,
}

#[derive(Deserialize)]
struct Execution {
    #[serde(default)]
    tasks: Vec<ExecutionRecord>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExecutionRecord {
    id: String,
    #[serde(default)]
    runtime_in_seconds: f64,
}

/// Reads a trace and resolves its names.
pub(super) fn read(json: &str) -> Result<Trace, ConvertError> {
    let head: Head = serde_json::from_str(json).map_err(malformed)?;
    match head.version {
        None => return Err(ConvertError::NoVersion),
        Some(version) if version != VERSION => {
            return Err(ConvertError::Version { found: version });
        }
        Some(_) => {}
    }
    let file: File = serde_json::from_str(json).map_err(malformed)?;
    let mut runtimes: BTreeMap<String, f64> = BTreeMap::new();
    for record in file.workflow.execution.map(|execution| execution.tasks).unwrap_or_default() {
        runtimes.insert(record.id, record.runtime_in_seconds);
    }
    let records = file.workflow.specification.tasks;
    let ids = Ids::of(&records)?;
    let mut tasks = Vec::with_capacity(records.len());
    for record in records {
        let id = record.id.unwrap_or(record.name);
        let resolve = |others: Vec<String>, relation| {
            let find = |other: String| match ids.find(&other) {
                Some(found) => Ok(found),
                None => Err(ConvertError::UnknownTask { task: id.clone(), other, relation }),
            };
            others.into_iter().map(find).collect::<Result<Vec<_>, _>>()
        };
        let parents = resolve(record.parents, "parent")?;
        let children = resolve(record.children, "child")?;
        let seconds = runtimes.get(&id).copied().unwrap_or(0.0);
        tasks.push(Task {
            parents,
            children,
            inputs: unique(record.input_files),
            outputs: unique(record.output_files),
            seconds,
            id,
        });
    }
    Ok(Trace { name: file.name, tasks })
}

/// Positions by id, and by name where a name is not an id and belongs to one task alone.
struct Ids {
    by_id: BTreeMap<String, usize>,
    by_name: BTreeMap<String, Option<usize>>,
}

impl Ids {
    fn of(records: &[TaskRecord]) -> Result<Self, ConvertError> {
        let mut ids = Ids { by_id: BTreeMap::new(), by_name: BTreeMap::new() };
        for (position, record) in records.iter().enumerate() {
            let id = record.id.as_ref().unwrap_or(&record.name);
            if ids.by_id.insert(id.clone(), position).is_some() {
                return Err(ConvertError::DuplicateTask { id: id.clone() });
            }
            ids.by_name
                .entry(record.name.clone())
                .and_modify(|found| *found = None)
                .or_insert(Some(position));
        }
        Ok(ids)
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.by_id.get(name).copied().or_else(|| self.by_name.get(name).copied().flatten())
    }
}

/// The files in their order, each once.
fn unique(files: Vec<String>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    files.into_iter().filter(|file| seen.insert(file.clone())).collect()
}

fn malformed(error: serde_json::Error) -> ConvertError {
    let (line, column) = (error.line(), error.column());
    let message = error.to_string();
    let message = message.split(" at line ").next().unwrap_or_default().to_owned();
    ConvertError::Malformed { line, column, message }
}
