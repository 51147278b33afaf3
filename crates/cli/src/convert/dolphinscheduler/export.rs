//! An export of DolphinScheduler 2 or 3 as data, with the two generations of names brought together.
//!
//! ```text
//!  [ { processDefinition | workflowDefinition: { name, globalParams, … },
//!      processTaskRelationList | workflowTaskRelationList: [ { preTaskCode, postTaskCode } ],
//!      taskDefinitionList: [ { code, name, taskType, taskParams, … } ],
//!      schedule: { crontab, timezoneId, … } } ]
//! ```
//!
//! A single object, an answer of the API (`{"data": …}`) and the body of its calls (`taskDefinitionJson`,
//! `taskRelationJson`) are read as well. What no field here takes up is kept as left over, so that it can be told.

use std::collections::BTreeMap;

use serde_json::Value;

use super::ConvertError;
use super::json::{At, is_empty};
use super::legacy;

/// A workflow of the export.
#[derive(Debug)]
pub(super) struct Definition {
    pub(super) path: String,
    pub(super) name: String,
    pub(super) code: String,
    pub(super) description: String,
    pub(super) is_offline: bool,
    /// How runs beside each other are treated: `PARALLEL`, `SERIAL_WAIT`, …
    pub(super) beside: String,
    /// Minutes after which people are told.
    pub(super) timeout_minutes: i64,
    pub(super) params: Vec<Property>,
    pub(super) tasks: Vec<Task>,
    pub(super) schedule: Option<Schedule>,
    /// Whether the names are those of 3.3 and later.
    pub(super) is_new: bool,
    pub(super) left_over: Vec<LeftOver>,
}

/// A task of the export.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) path: String,
    pub(super) code: String,
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) description: String,
    /// The object with what is special to the kind.
    pub(super) params: Value,
    pub(super) params_path: String,
    pub(super) is_disabled: bool,
    /// `HIGHEST` to `LOWEST`.
    pub(super) priority: String,
    pub(super) worker_group: String,
    pub(super) retries: i64,
    pub(super) retry_minutes: i64,
    pub(super) timeout: Option<Timeout>,
    pub(super) delay_minutes: i64,
    /// Hundredths of a core; -1 for no bound.
    pub(super) cpu_percent: i64,
    /// MiB; -1 for no bound.
    pub(super) memory_mib: i64,
    pub(super) is_stream: bool,
    /// Positions of the tasks before it, each once; filled in from the relations.
    pub(super) needs: Vec<usize>,
    pub(super) left_over: Vec<LeftOver>,
}

/// How long a task may take.
#[derive(Clone, Debug)]
pub(super) struct Timeout {
    pub(super) minutes: i64,
    /// `WARN`, `FAILED` or `WARNFAILED`.
    pub(super) strategy: String,
}

/// When the workflow runs by itself.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    pub(super) path: String,
    pub(super) cron: String,
    pub(super) zone: String,
    pub(super) start: Option<Value>,
    pub(super) end: Option<Value>,
    pub(super) is_offline: bool,
    pub(super) failure_strategy: String,
    pub(super) priority: String,
    pub(super) worker_group: String,
    pub(super) missed: String,
    pub(super) left_over: Vec<LeftOver>,
}

/// A parameter, of a workflow or of a task.
#[derive(Clone, Debug)]
pub(super) struct Property {
    pub(super) path: String,
    pub(super) name: String,
    pub(super) is_out: bool,
    pub(super) kind: String,
    pub(super) value: String,
}

/// A field with a value that nothing here takes up.
#[derive(Clone, Debug)]
pub(super) struct LeftOver {
    pub(super) path: String,
    pub(super) field: String,
    pub(super) value: Value,
}

/// What says nothing about how a workflow runs: identities, people, times of changes, places on a canvas, and fields
/// that repeat others.
const OF_NO_EFFECT: [&str; 35] = [
    "id",
    "code",
    "name",
    "version",
    "projectCode",
    "projectId",
    "projectName",
    "userId",
    "userName",
    "createTime",
    "updateTime",
    "modifyBy",
    "locations",
    "connects",
    "operator",
    "operateTime",
    "globalParamList",
    "globalParamMap",
    "taskParamList",
    "taskParamMap",
    "scheduleReleaseState",
    "schedule",
    "scheduleId",
    "workflowDefinitionCode",
    "processDefinitionCode",
    "workflowDefinitionName",
    "processDefinitionName",
    "definitionDescription",
    "environmentName",
    "upstreamTaskList",
    "dependence",
    "depList",
    "processId",
    "taskGroupPriority",
    "warningGroupId",
];

/// The fields of `at` that are neither of `taken` nor without effect, nor empty.
pub(super) fn left_over(at: &At<'_>, taken: &[&str]) -> Result<Vec<LeftOver>, ConvertError> {
    let mut found = Vec::new();
    for (field, value) in at.object()? {
        let field = field.as_str();
        if taken.contains(&field) || OF_NO_EFFECT.contains(&field) || is_nothing(field, value) {
            continue;
        }
        let path = at.get(field).map_or_else(String::new, |it| it.path);
        found.push(LeftOver { path, field: field.to_owned(), value: value.clone() });
    }
    Ok(found)
}

/// Whether a field has the value that it has if nobody touches it.
fn is_nothing(field: &str, value: &Value) -> bool {
    let usual: &[&str] = match field {
        "environmentCode" | "tenantId" => &["-1", "0"],
        "tenantCode" => &["default"],
        "warningType" => &["NONE"],
        "isCache" | "cacheFlag" => &["NO"],
        "flag" => &["YES"],
        "conditionType" => &["NONE"],
        _ => &[],
    };
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    is_empty(value) || usual.contains(&text.as_str())
}

/// Reads all workflows of a file.
pub(super) fn read(value: &Value) -> Result<Vec<Definition>, ConvertError> {
    let root = At::root(value);
    let root = match root.get("data") {
        Some(data) if root.get("code").is_some() => data,
        _ => root,
    };
    let list = if root.value().is_array() { root.items()? } else { vec![root.clone()] };
    if list.is_empty() {
        return Err(root.error("the export holds no workflow"));
    }
    list.iter().map(one).collect()
}

fn one(at: &At<'_>) -> Result<Definition, ConvertError> {
    at.object()?;
    if at.get("processDefinitionJson").is_some() {
        return legacy::read(at);
    }
    let head = at.any(&["processDefinition", "workflowDefinition"]).unwrap_or_else(|| at.clone());
    let is_new =
        at.get("workflowDefinition").is_some() || at.get("workflowTaskRelationList").is_some();
    let tasks =
        match at.any(&["taskDefinitionList", "taskDefinitionJson"]) {
            Some(tasks) => tasks.embedded()?,
            None => return Err(at.error(
                "this is no workflow of DolphinScheduler: it has neither `taskDefinitionList` nor \
             `processDefinitionJson`",
            )),
        };
    let Some(tasks) = tasks.filter(|it| it.value().as_array().is_none_or(|it| !it.is_empty()))
    else {
        return Err(at.error("the workflow has no task"));
    };
    let mut tasks = tasks.items()?.iter().map(task).collect::<Result<Vec<_>, _>>()?;
    let mut left = relations(at, &mut tasks)?;
    let name = head.get("name").ok_or_else(|| head.error("the workflow has no `name`"))?.text()?;
    let schedule = at.get("schedule").map(|it| schedule(&it)).transpose()?;
    let number = |key: &str| head.get(key).map_or(Ok(None), |it| it.number());
    Ok(Definition {
        path: head.path.clone(),
        name,
        code: text(&head, "code")?,
        description: text(&head, "description")?,
        is_offline: text(&head, "releaseState")? == "OFFLINE",
        beside: text(&head, "executionType")?,
        timeout_minutes: number("timeout")?.unwrap_or(0),
        params: match head.any(&["globalParams", "globalParamList"]) {
            Some(params) => properties(params)?,
            None => Vec::new(),
        },
        tasks,
        schedule: schedule.filter(|it| !it.cron.is_empty()),
        is_new,
        left_over: {
            left.extend(left_over(
                &head,
                &[
                    "description",
                    "releaseState",
                    "executionType",
                    "timeout",
                    "globalParams",
                    "taskDefinitionList",
                    "taskDefinitionJson",
                    "taskRelationJson",
                    "processTaskRelationList",
                    "workflowTaskRelationList",
                ],
            )?);
            left
        },
    })
}

fn task(at: &At<'_>) -> Result<Task, ConvertError> {
    at.object()?;
    let required =
        |key: &str| at.get(key).ok_or_else(|| at.error(format!("the task has no `{key}`")))?.text();
    let number = |key: &str, otherwise| {
        Ok(at.get(key).map_or(Ok(None), |it| it.number())?.unwrap_or(otherwise))
    };
    let params = at.get("taskParams").map_or(Ok(None), At::embedded)?;
    if let Some(params) = &params {
        params.object()?;
    }
    let minutes = number("timeout", 0)?;
    let strategy = text(at, "timeoutNotifyStrategy")?;
    let is_bounded = text(at, "timeoutFlag")? == "OPEN" && minutes > 0;
    Ok(Task {
        path: at.path.clone(),
        code: required("code")?,
        name: required("name")?,
        kind: required("taskType")?.to_uppercase(),
        description: text(at, "description")?,
        params_path: params.as_ref().map_or_else(|| at.path.clone(), |it| it.path.clone()),
        params: params.map_or(Value::Null, |it| it.value().clone()),
        is_disabled: text(at, "flag")? == "NO",
        priority: text(at, "taskPriority")?,
        worker_group: text(at, "workerGroup")?,
        retries: number("failRetryTimes", 0)?,
        retry_minutes: number("failRetryInterval", 0)?,
        timeout: is_bounded.then_some(Timeout { minutes, strategy }),
        delay_minutes: number("delayTime", 0)?,
        cpu_percent: number("cpuQuota", -1)?,
        memory_mib: number("memoryMax", -1)?,
        is_stream: text(at, "taskExecuteType")? == "STREAM",
        needs: Vec::new(),
        left_over: left_over(
            at,
            &[
                "taskType",
                "description",
                "taskParams",
                "flag",
                "taskPriority",
                "workerGroup",
                "failRetryTimes",
                "failRetryInterval",
                "timeoutFlag",
                "timeout",
                "timeoutNotifyStrategy",
                "delayTime",
                "cpuQuota",
                "memoryMax",
                "taskExecuteType",
                "resourceIds",
            ],
        )?,
    })
}

/// Fills in who needs whom, and returns what else the relations say.
fn relations(at: &At<'_>, tasks: &mut [Task]) -> Result<Vec<LeftOver>, ConvertError> {
    let keys = ["processTaskRelationList", "workflowTaskRelationList", "taskRelationJson"];
    let Some(list) = at.any(&keys).map_or(Ok(None), At::embedded)? else {
        return Err(at.error(
            "the workflow has no list of relations (`processTaskRelationList` or \
             `workflowTaskRelationList`), so nothing says in which order its tasks run",
        ));
    };
    let mut positions: BTreeMap<String, usize> = BTreeMap::new();
    for (position, task) in tasks.iter().enumerate() {
        if positions.insert(task.code.clone(), position).is_some() {
            let message = format!("two tasks have the code {}", task.code);
            return Err(ConvertError::Shape { path: task.path.clone(), message });
        }
    }
    let find = |relation: &At<'_>, key: &str| {
        let at = relation
            .get(key)
            .ok_or_else(|| relation.error(format!("the relation has no `{key}`")))?;
        let code = at.text()?;
        match positions.get(&code) {
            Some(position) => Ok(Some(*position)),
            None if code == "0" && key == "preTaskCode" => Ok(None),
            None => Err(at.error(format!("the workflow has no task with the code {code}"))),
        }
    };
    let mut is_placed = vec![false; tasks.len()];
    let mut left = Vec::new();
    for relation in list.items()? {
        left.extend(left_over(
            &relation,
            &[
                "preTaskCode",
                "postTaskCode",
                "preTaskVersion",
                "postTaskVersion",
                "processDefinitionVersion",
                "workflowDefinitionVersion",
            ],
        )?);
        let (from, to) = (find(&relation, "preTaskCode")?, find(&relation, "postTaskCode")?);
        let to = to.ok_or_else(|| relation.error("the relation leads to no task"))?;
        is_placed[to] = true;
        if let Some(from) = from {
            is_placed[from] = true;
            if !tasks[to].needs.contains(&from) {
                tasks[to].needs.push(from);
            }
        }
    }
    if let Some(lost) = is_placed.iter().position(|is_placed| !is_placed) {
        let message = format!(
            "no relation names the task {:?}, so DolphinScheduler would never start it: remove it, or add a relation \
             with `preTaskCode` 0",
            tasks[lost].name
        );
        return Err(ConvertError::Shape { path: tasks[lost].path.clone(), message });
    }
    Ok(left)
}

fn schedule(at: &At<'_>) -> Result<Schedule, ConvertError> {
    at.object()?;
    let priority = at.any(&["processInstancePriority", "workflowInstancePriority"]);
    Ok(Schedule {
        path: at.path.clone(),
        cron: text(at, "crontab")?.trim().to_owned(),
        zone: text(at, "timezoneId")?.trim().to_owned(),
        start: at.get("startTime").map(|it| it.value().clone()),
        end: at.get("endTime").map(|it| it.value().clone()),
        is_offline: text(at, "releaseState")? != "ONLINE",
        failure_strategy: text(at, "failureStrategy")?,
        priority: priority.map_or(Ok(String::new()), |it| it.text())?,
        worker_group: text(at, "workerGroup")?,
        missed: text(at, "missedFirePolicy")?,
        left_over: left_over(
            at,
            &[
                "crontab",
                "timezoneId",
                "startTime",
                "endTime",
                "releaseState",
                "failureStrategy",
                "processInstancePriority",
                "workflowInstancePriority",
                "workerGroup",
                "missedFirePolicy",
            ],
        )?,
    })
}

/// A list of parameters, perhaps as JSON in quotes.
pub(super) fn properties(at: At<'_>) -> Result<Vec<Property>, ConvertError> {
    let Some(list) = at.embedded()? else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for item in list.items()? {
        let name = item.get("prop").ok_or_else(|| item.error("the parameter has no `prop`"))?;
        found.push(Property {
            path: item.path.clone(),
            name: name.text()?.trim().to_owned(),
            is_out: text(&item, "direct")? == "OUT",
            kind: text(&item, "type")?,
            value: text(&item, "value")?,
        });
    }
    Ok(found)
}

/// The text under a key, empty if there is none.
pub(super) fn text(at: &At<'_>, key: &str) -> Result<String, ConvertError> {
    at.get(key).map_or(Ok(String::new()), |it| it.text())
}
