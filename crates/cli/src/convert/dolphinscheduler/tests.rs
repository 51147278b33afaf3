use std::collections::BTreeSet;

use serde_json::{Value as Json, json};

use super::task::UNWRITTEN;
use super::*;

fn task(code: u64, script: &str) -> Json {
    json!({"code": code, "name": format!("t{code}"), "taskType": "SHELL",
        "taskParams": {"rawScript": script, "localParams": []}})
}

fn export(tasks: &[Json], relations: &[(u64, u64)]) -> Json {
    let relation = |(from, to): &(u64, u64)| json!({"preTaskCode": from, "postTaskCode": to});
    json!([{"processDefinition": {"name": "w"}, "taskDefinitionList": tasks,
        "processTaskRelationList": relations.iter().map(relation).collect::<Vec<_>>()}])
}

#[test]
fn errors_name_their_place() {
    let error = |text: &str| convert(text).expect_err("it is wrong").to_string();
    let a = || task(1, "true");
    let b = || task(2, "true");
    for (export, expected) in [
        (json!([]), "the file: the export holds no workflow"),
        (json!({}), "the file: this is no workflow of DolphinScheduler"),
        (json!([{"a": 1}, 5]), "[0]: this is no workflow of DolphinScheduler"),
        (json!([5]), "[0]: an object is expected here, not 5"),
        (export(&[], &[(0, 1)]), "[0]: the workflow has no task"),
        (
            json!([{"processDefinition": {"name": "w"}, "taskDefinitionList": [a()]}]),
            "[0]: the workflow has no list of relations",
        ),
        (export(&[a()], &[]), "[0].taskDefinitionList[0]: no relation names the task \"t1\""),
        (
            export(&[a()], &[(0, 1), (1, 7)]),
            "[0].processTaskRelationList[1].postTaskCode: the workflow has no task with the code 7",
        ),
        (
            export(&[a()], &[(9, 1)]),
            "[0].processTaskRelationList[0].preTaskCode: the workflow has no task with the code 9",
        ),
        (
            export(&[a(), b()], &[(1, 2), (2, 1)]),
            "[0].processDefinition: the relations form a circle through \"t1\", \"t2\"",
        ),
        (export(&[a()], &[(1, 1)]), "[0].processDefinition: the relations form a circle"),
        (export(&[a(), a()], &[(0, 1)]), "[0].taskDefinitionList[1]: two tasks have the code 1"),
        (
            export(&[json!({"code": 1, "taskType": "SHELL"})], &[(0, 1)]),
            "[0].taskDefinitionList[0]: the task has no `name`",
        ),
        (
            export(&[json!({"code": 1, "name": "a", "taskType": "SHELL", "taskParams": "{"})], &[]),
            "[0].taskDefinitionList[0].taskParams: the JSON in this text is malformed: line 1, column 1",
        ),
        (
            export(&[json!({"code": 1, "name": "a", "taskType": "SHELL", "timeout": "soon"})], &[]),
            "[0].taskDefinitionList[0].timeout: a whole number is expected here, not the text \"soon\"",
        ),
        (
            json!([{"processDefinitionName": "w", "processDefinitionJson": "{\"tasks\": []}"}]),
            "[0].processDefinitionJson.tasks: the workflow has no task",
        ),
    ] {
        let found = error(&export.to_string());
        assert!(found.starts_with(expected), "{found}\n--- expected\n{expected}");
    }
    assert_eq!(error("[\n  {oops}"), "line 2, column 4: key must be a string");
    assert!(error("").starts_with("line 1, column 0: EOF"));
}

#[test]
fn one_workflow_an_answer_and_a_body_are_read_too() {
    let list = export(&[task(1, "true"), task(2, "true")], &[(0, 1), (1, 2), (1, 2)]);
    let single = list[0].clone();
    let answer = json!({"code": 0, "msg": "success", "data": single.clone()});
    let body = json!({"name": "w", "executionType": "PARALLEL",
        "taskDefinitionJson": single["taskDefinitionList"].to_string(),
        "taskRelationJson": single["processTaskRelationList"].to_string()});
    let new = json!([{"workflowDefinition": {"name": "w"}, "taskDefinitionList": single["taskDefinitionList"],
        "workflowTaskRelationList": single["processTaskRelationList"]}]);
    let text = |export: &Json| {
        let (workflows, findings) = convert(&export.to_string()).expect("it can be read");
        assert_eq!(findings, []);
        workflows[0].text.clone()
    };
    let expected = text(&list);
    assert!(expected.contains("needs: [t1]"), "{expected}");
    for export in [single, answer, body, new] {
        assert_eq!(text(&export), expected);
    }
}

#[test]
fn hostile_texts_stay_texts() {
    let evil = "a\n- b: ${{ run.id }} \u{2028}\u{85} # \"'";
    let mut one = task(1, "echo ${{ x }}\n");
    one["name"] = evil.into();
    one["description"] = evil.into();
    one["workerGroup"] = "a\": b".into();
    let mut list = export(&[one], &[(0, 1)]);
    list[0]["processDefinition"]["name"] = evil.into();
    list[0]["processDefinition"]["globalParams"] =
        json!([{"prop": evil, "value": "a'b\"c"}, {"prop": "p", "value": "x: [y"}]);
    let (workflows, findings) = convert(&list.to_string()).expect("it can be converted");
    assert!(workflows[0].text.contains("\n  a---b------run-id:"), "{}", workflows[0].text);
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(findings[0].kind, Kind::Unwritten);
}

fn with_params(mut task: Json, params: &Json) -> Json {
    task["taskParams"]["localParams"] = params.clone();
    task
}

/// The workflow that an export of one becomes, and what was found.
fn workflow(export: &Json) -> (muster_core::spec::WorkflowSpec, Vec<Finding>) {
    let (workflows, findings) = convert(&export.to_string()).expect("it can be converted");
    (spec::parse(&workflows[0].text).expect("it is well-formed").remove(0), findings)
}

#[test]
fn outputs_come_from_the_nearest_task_before() {
    let out =
        |value: &str| json!([{"prop": "k", "direct": "OUT", "type": "VARCHAR", "value": value}]);
    let set = "echo '${setValue(k=1)}'";
    let far = export(
        &[with_params(task(1, set), &out("")), task(2, "true"), task(3, "echo ${k}")],
        &[(0, 1), (1, 2), (2, 3)],
    );
    let (spec, findings) = workflow(&far);
    assert_eq!(findings, []);
    let needs: Vec<&str> = spec.tasks[2].needs.iter().map(|it| it.as_str()).collect();
    assert_eq!(needs, ["t2", "t1"]);
    assert_eq!(&*spec.tasks[2].env["k"], "${{ needs.t1.outputs.k }}");
    assert_eq!(&*spec.tasks[0].outputs[0], "k");

    let both = export(
        &[
            with_params(task(1, set), &out("")),
            with_params(task(2, set), &out("")),
            task(3, "echo ${k}"),
        ],
        &[(0, 1), (0, 2), (1, 3), (2, 3)],
    );
    let (_, findings) = workflow(&both);
    assert_eq!(findings.len(), 1);
    assert!(findings[0].what.contains("`k` is an output of t1 and t2: say which"), "{findings:?}");

    let never = export(
        &[with_params(task(1, "true"), &out("seven")), task(2, "echo ${k}")],
        &[(0, 1), (1, 2)],
    );
    let (spec, findings) = workflow(&never);
    assert_eq!(findings, []);
    assert_eq!(&*spec.tasks[1].env["k"], "seven");
    assert!(spec.tasks[0].outputs.is_empty());

    // Whoever writes the first task anew has to write its output.
    let other = export(
        &[with_params(task(1, "printf '%s' '${setValue(k=1)}'"), &out("")), task(2, "echo ${k}")],
        &[(0, 1), (1, 2)],
    );
    let (spec, findings) = workflow(&other);
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].kind, Kind::Unwritten);
    assert_eq!(&*spec.tasks[0].outputs[0], "k");
    assert_eq!(&*spec.tasks[1].env["k"], "${{ needs.t1.outputs.k }}");
}

#[test]
fn numbers_at_their_bounds() {
    let mut one = task(1, "true");
    one["failRetryTimes"] = "5000".into();
    one["failRetryInterval"] = 0.into();
    one["timeoutFlag"] = "OPEN".into();
    one["timeoutNotifyStrategy"] = "FAILED".into();
    one["timeout"] = 999_999_999.into();
    one["delayTime"] = 2_000_000_000.into();
    one["cpuQuota"] = 250.into();
    let (spec, findings) = workflow(&export(&[one], &[(0, 1)]));
    let found: Vec<&str> = findings.iter().map(|it| it.path.rsplit('.').next().unwrap()).collect();
    assert_eq!(found, ["delayTime", "failRetryTimes", "timeout", "taskDefinitionList[0]"]);
    let last = &spec.tasks[1];
    assert_eq!((spec.tasks.len(), last.retry.limit, last.retry.backoff.initial.0), (2, 1000, 0));
    assert_eq!((last.timeout, last.request.resources.cpu_millis), (None, 2500));
}

/// Priorities of workflows count before those of tasks; larger goes first here.
#[test]
fn priorities_keep_their_order() {
    let mut tasks = Vec::new();
    for (code, priority) in (1..).zip(["LOWEST", "LOW", "MEDIUM", "HIGH", "HIGHEST"]) {
        let mut one = task(code, "true");
        one["taskPriority"] = priority.into();
        tasks.push(one);
    }
    let mut list = export(&tasks, &[(0, 1), (0, 2), (0, 3), (0, 4), (0, 5)]);
    let orders = |list: &Json| {
        let text = convert(&list.to_string()).expect("it can be converted").0[0].text.clone();
        let workflow = spec::parse(&text).expect("it is well-formed").remove(0);
        let of = |task: &muster_core::spec::TaskSpec| task.priority.unwrap_or(workflow.priority);
        workflow.tasks.iter().map(of).collect::<Vec<_>>()
    };
    assert_eq!(orders(&list), [-2, -1, 0, 1, 2]);
    list[0]["schedule"] =
        json!({"crontab": "0 0 1 * * ?", "timezoneId": "UTC", "processInstancePriority": "HIGH"});
    assert_eq!(orders(&list), [8, 9, 10, 11, 12]);
}

/// The page names every kind of task that is known here, and no other.
#[test]
fn the_page_names_the_kinds_of_tasks() {
    let page = include_str!("../../../../../docs/convert-dolphinscheduler.md");
    let table = page.split("## Kinds of tasks").nth(1).expect("there is a section");
    let table = table.split("\n## ").next().unwrap_or(table);
    let named: BTreeSet<&str> = table
        .lines()
        .filter(|line| line.starts_with("| `"))
        .flat_map(|line| line.split('|').nth(1).unwrap_or_default().split('`').skip(1).step_by(2))
        .collect();
    let known: BTreeSet<&str> =
        UNWRITTEN.iter().map(|(kind, _)| *kind).chain(["SHELL", "PYTHON"]).collect();
    assert_eq!(named, known);
    for kind in known {
        let mut one = task(1, "true");
        one["taskType"] = kind.into();
        let (_, findings) = convert(&export(&[one], &[(0, 1)]).to_string()).expect(kind);
        let is_written = ["SHELL", "PYTHON"].contains(&kind);
        assert_eq!(findings.is_empty(), is_written, "{kind}: {findings:?}");
        assert!(findings.iter().all(|it| it.kind == Kind::Unwritten), "{kind}");
    }
}
