//! Which output of which task a name stands for.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use super::ConvertError;
use super::export::{Definition, Property, Task};
use super::scope::{Piece, Value};
use super::shell;
use super::task::{is_key, own_params};

/// The outputs of all tasks of a workflow.
pub(super) struct Outputs {
    /// What each task declares, by position.
    declared: Vec<Vec<Property>>,
    names: BTreeSet<String>,
}

impl Outputs {
    pub(super) fn of(definition: &Definition) -> Result<Self, ConvertError> {
        let mut declared = Vec::with_capacity(definition.tasks.len());
        for task in &definition.tasks {
            let own = own_params(task)?;
            let is_out = |param: &Property| param.is_out && !task.is_disabled;
            declared.push(own.into_iter().filter(is_out).collect::<Vec<_>>());
        }
        let names = declared.iter().flatten().map(|param| param.name.clone()).collect();
        Ok(Outputs { declared, names })
    }

    /// What the names that `text` has may stand for in the task at a position: of each name that of the nearest task
    /// before it. The error says why there is none.
    pub(super) fn seen(
        &self,
        definition: &Definition,
        ids: &[String],
        position: usize,
        text: &str,
    ) -> BTreeMap<String, Result<Value, String>> {
        let mut seen = BTreeMap::new();
        for name in self.names.iter().filter(|name| text.contains(name.as_str())) {
            let nearest: Vec<usize> =
                self.nearest(definition, position, name).into_iter().collect();
            let value = match nearest[..] {
                [] => continue,
                [at] => self.value(&definition.tasks[at], &ids[at], at, name),
                _ => {
                    let of: Vec<&str> = nearest.iter().map(|at| ids[*at].as_str()).collect();
                    Err(format!("`{name}` is an output of {}: say which", of.join(" and ")))
                }
            };
            seen.insert(name.clone(), value);
        }
        seen
    }

    /// On every way up from a task the first one that declares the output.
    fn nearest(&self, definition: &Definition, position: usize, name: &str) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        let mut seen = BTreeSet::new();
        let mut open: Vec<usize> = definition.tasks[position].needs.clone();
        while let Some(at) = open.pop() {
            if !seen.insert(at) {
                continue;
            }
            if self.declared[at].iter().any(|out| out.name == name) {
                found.insert(at);
            } else {
                open.extend(&definition.tasks[at].needs);
            }
        }
        found
    }

    fn value(&self, task: &Task, id: &str, at: usize, name: &str) -> Result<Value, String> {
        if is_written(task, &self.declared[at], name) {
            if !is_key(name) {
                return Err(format!("no output may be called `{name}`"));
            }
            let piece = Piece::Output { task: id.to_owned(), key: name.to_owned() };
            return Ok(Value { pieces: vec![piece] });
        }
        // An output that the script never sets has the value it was declared with.
        let out = self.declared[at].iter().find(|out| out.name == name);
        let value = out.map(|out| out.value.clone()).unwrap_or_default();
        if value.contains("${") || value.contains("$[") {
            return Err(format!("the value of the output `{name}` of {id} is worked out"));
        }
        Ok(Value::text(value))
    }
}

/// Whether the new task writes the output.
fn is_written(task: &Task, outs: &[Property], name: &str) -> bool {
    let script = task.params.get("rawScript").and_then(Json::as_str).unwrap_or_default();
    if task.is_stream || script.trim().is_empty() {
        return true;
    }
    match task.kind.as_str() {
        "SHELL" => shell::written(script, outs).is_none_or(|keys| keys.contains(name)),
        "PYTHON" => script.contains("setValue("),
        _ => true,
    }
}
