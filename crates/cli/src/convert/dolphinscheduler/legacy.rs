//! An export of DolphinScheduler 1.3: one text of JSON with all tasks, which know each other by name.

use std::collections::BTreeMap;

use serde_json::Value;

use super::ConvertError;
use super::export::{Definition, Schedule, Task, Timeout, left_over, properties, text};
use super::json::At;

/// Reads one workflow.
pub(super) fn read(at: &At<'_>) -> Result<Definition, ConvertError> {
    let data = at.get("processDefinitionJson").map_or(Ok(None), At::embedded)?;
    let data = data.ok_or_else(|| at.error("`processDefinitionJson` is empty"))?;
    let name = at.any(&["processDefinitionName", "name"]);
    let name = name.ok_or_else(|| at.error("the workflow has no `processDefinitionName`"))?;
    let list = data.get("tasks").ok_or_else(|| data.error("the workflow has no `tasks`"))?;
    let items = list.items()?;
    if items.is_empty() {
        return Err(list.error("the workflow has no task"));
    }
    let mut tasks = items.iter().map(task).collect::<Result<Vec<_>, _>>()?;
    needs(&items, &mut tasks)?;
    let timeout = data.get("timeout").map_or(Ok(None), |it| it.number())?;
    let mut left = left_over(
        at,
        &[
            "processDefinitionJson",
            "processDefinitionDescription",
            "processDefinitionLocations",
            "processDefinitionConnects",
            "scheduleCrontab",
            "scheduleStartTime",
            "scheduleEndTime",
            "scheduleFailureStrategy",
            "scheduleReleaseState",
            "scheduleProcessInstancePriority",
            "scheduleWorkerGroupName",
            "scheduleWorkerGroupId",
            "scheduleWarningType",
            "scheduleWarningGroupId",
            "scheduleWarningGroupName",
            "description",
            "releaseState",
            "globalParams",
            "timeout",
        ],
    )?;
    left.extend(left_over(&data, &["tasks", "globalParams", "timeout"])?);
    Ok(Definition {
        path: at.path.clone(),
        name: name.text()?,
        code: String::new(),
        description: match at.any(&["processDefinitionDescription", "description"]) {
            Some(description) => description.text()?,
            None => String::new(),
        },
        is_offline: text(at, "releaseState")? == "OFFLINE",
        beside: String::new(),
        timeout_minutes: timeout.unwrap_or(0),
        params: data.get("globalParams").map_or(Ok(Vec::new()), properties)?,
        tasks,
        schedule: schedule(at)?,
        is_new: false,
        left_over: left,
    })
}

fn schedule(at: &At<'_>) -> Result<Option<Schedule>, ConvertError> {
    let cron = text(at, "scheduleCrontab")?.trim().to_owned();
    if cron.is_empty() || cron == "null" {
        return Ok(None);
    }
    let warning = text(at, "scheduleWarningType")?;
    let mut left = Vec::new();
    if !["", "NONE", "null"].contains(&warning.as_str()) {
        left.push(super::export::LeftOver {
            path: format!("{}.scheduleWarningType", at.path),
            field: "warningType".to_owned(),
            value: Value::from(warning),
        });
    }
    Ok(Some(Schedule {
        path: at.path.clone(),
        cron,
        start: at.get("scheduleStartTime").map(|it| it.value().clone()),
        end: at.get("scheduleEndTime").map(|it| it.value().clone()),
        is_offline: text(at, "scheduleReleaseState")? != "ONLINE",
        failure_strategy: text(at, "scheduleFailureStrategy")?,
        priority: text(at, "scheduleProcessInstancePriority")?,
        worker_group: text(at, "scheduleWorkerGroupName")?,
        left_over: left,
        ..Schedule::default()
    }))
}

fn task(at: &At<'_>) -> Result<Task, ConvertError> {
    at.object()?;
    let required =
        |key: &str| at.get(key).ok_or_else(|| at.error(format!("the task has no `{key}`")))?.text();
    let number = |key: &str| Ok(at.get(key).map_or(Ok(None), |it| it.number())?.unwrap_or(0));
    let params = at.get("params").map_or(Ok(None), At::embedded)?;
    let mut value = params.as_ref().map_or(Value::Null, |it| it.value().clone());
    // What CONDITIONS and DEPENDENT do stands beside their parameters.
    if let Value::Object(map) = &mut value {
        for key in ["dependence", "conditionResult"] {
            if let Some(beside) = at.get(key).map_or(Ok(None), At::embedded)? {
                map.entry(key).or_insert_with(|| beside.value().clone());
            }
        }
    }
    let name = required("name")?;
    Ok(Task {
        path: at.path.clone(),
        code: name.clone(),
        name,
        kind: required("type")?.to_uppercase(),
        description: match at.any(&["desc", "description"]) {
            Some(description) => description.text()?,
            None => String::new(),
        },
        params_path: params.map_or_else(|| at.path.clone(), |it| it.path),
        params: value,
        is_disabled: text(at, "runFlag")? == "FORBIDDEN",
        priority: text(at, "taskInstancePriority")?,
        worker_group: text(at, "workerGroup")?,
        retries: number("maxRetryTimes")?,
        retry_minutes: number("retryInterval")?,
        timeout: timeout(at)?,
        delay_minutes: number("delayTime")?,
        cpu_percent: -1,
        memory_mib: -1,
        is_stream: false,
        needs: Vec::new(),
        left_over: left_over(
            at,
            &[
                "type",
                "desc",
                "description",
                "params",
                "runFlag",
                "taskInstancePriority",
                "workerGroup",
                "workerGroupId",
                "maxRetryTimes",
                "retryInterval",
                "timeout",
                "delayTime",
                "preTasks",
                "conditionResult",
                "loc",
                "waitStartTimeout",
            ],
        )?,
    })
}

fn timeout(at: &At<'_>) -> Result<Option<Timeout>, ConvertError> {
    let Some(timeout) = at.get("timeout").map_or(Ok(None), At::embedded)? else {
        return Ok(None);
    };
    let minutes = timeout.get("interval").map_or(Ok(None), |it| it.number())?.unwrap_or(0);
    let is_bounded = text(&timeout, "enable")? == "true" && minutes > 0;
    let strategy = text(&timeout, "strategy")?.replace("WARN,FAILED", "WARNFAILED");
    Ok(is_bounded.then_some(Timeout { minutes, strategy }))
}

fn needs(items: &[At<'_>], tasks: &mut [Task]) -> Result<(), ConvertError> {
    let mut positions: BTreeMap<String, usize> = BTreeMap::new();
    for (position, item) in items.iter().enumerate() {
        if positions.insert(tasks[position].code.clone(), position).is_some() {
            return Err(item.error(format!("two tasks are called {:?}", tasks[position].name)));
        }
    }
    for (position, item) in items.iter().enumerate() {
        let Some(list) = item.get("preTasks").map_or(Ok(None), At::embedded)? else { continue };
        for need in list.items()? {
            let name = need.text()?;
            let Some(from) = positions.get(&name) else {
                return Err(need.error(format!("the workflow has no task called {name:?}")));
            };
            if !tasks[position].needs.contains(from) {
                tasks[position].needs.push(*from);
            }
        }
    }
    Ok(())
}
