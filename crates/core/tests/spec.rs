//! Workflow files as people see them: what is wrong with a bad one, and what a good one means.
//!
//! Every `tests/spec/bad/NAME.yaml` has a `NAME.txt` beside it with the errors in full. After a change that is meant,
//! write them anew with `UPDATE_EXPECTED=1 cargo test -p muster-core --test spec`, and read the difference.

use std::fs;
use std::path::{Path, PathBuf};

use muster_core::ids::Name;
use muster_core::limits;
use muster_core::spec::namespace::{GroupSpec, Quota};
use muster_core::spec::webhook::{Credential, TokenDigest};
use muster_core::spec::{
    ApprovalSpec, ArraySpec, Axis, Condition, DependencyRule, ExecutorSpec, FanOut, Manifest,
    OnLost, OnTimeout, ParamType, ProcessCommand, RetryPolicy, SpecErrors, TaskSpec, WorkflowSpec,
    parse, parse_manifest, validate,
};
use muster_core::time::Millis;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/spec")
}

fn errors(text: &str) -> SpecErrors {
    parse(text).expect_err("the file is bad")
}

#[test]
fn bad_files_get_the_errors_that_are_expected() {
    let is_update = std::env::var_os("UPDATE_EXPECTED").is_some();
    let mut files: Vec<PathBuf> = fs::read_dir(folder().join("bad"))
        .expect("the folder is part of the repository")
        .map(|entry| entry.expect("it can be listed").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    assert!(files.len() > 30);
    let mut wrong = Vec::new();
    for file in files {
        let name = file.file_name().expect("it is a file").to_string_lossy().into_owned();
        let text = fs::read_to_string(&file).expect("it is text");
        let errors = errors(&text);
        check_places(&errors, &text);
        let rendered = errors.render_in(&name, &text);
        let expected = file.with_extension("txt");
        if is_update {
            fs::write(&expected, &rendered).expect("it can be written");
        } else if fs::read_to_string(&expected).unwrap_or_default() != rendered {
            wrong.push(format!("{name} gives\n{rendered}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Every error has a place in the file, and the place is in the file.
fn check_places(errors: &SpecErrors, text: &str) {
    assert!(!errors.errors.is_empty());
    for error in &errors.errors {
        let position = error.position.expect("errors of a file have places");
        assert!(position.line >= 1 && position.column >= 1 && position.width >= 1, "{error}");
        assert!(position.line as usize <= text.lines().count() + 1, "{error}");
        assert!(!error.message.contains('\n'), "{error}");
    }
}

fn good() -> Vec<WorkflowSpec> {
    let text =
        fs::read_to_string(folder().join("good.yaml")).expect("it is part of the repository");
    parse(&text).unwrap_or_else(|errors| panic!("{}", errors.render_in("good.yaml", &text)))
}

fn task<'s>(spec: &'s WorkflowSpec, id: &str) -> &'s TaskSpec {
    spec.tasks.iter().find(|task| task.id.as_str() == id).expect("the task is in the file")
}

#[test]
fn a_good_file_means_what_it_says() {
    let all = good();
    assert_eq!(
        all.iter().map(|spec| spec.name.as_str()).collect::<Vec<_>>(),
        ["everything", "small"]
    );
    let spec = &all[0];
    let ids: Vec<&str> = spec.tasks.iter().map(|task| task.id.as_str()).collect();
    assert_eq!(
        ids,
        [
            "zeta", "alpha", "many", "counted", "spelled", "product", "items", "lined", "listed",
            "alert", "end", "any", "ask", "wait", "other"
        ]
    );
    assert_eq!((spec.timeout, spec.priority), (Some(Millis::from_secs(7200)), -5));
    assert_eq!(spec.labels["app.kubernetes.io/name"], "etl".into());
    assert_eq!(spec.params["day"].default.as_deref(), Some("monday"));
    assert_eq!(spec.params["region"].description.as_deref(), Some("Where to run."));
    assert_eq!(spec.params["required"].default, None);
    let (date, rate) = (&spec.params["date"], &spec.params["rate"]);
    assert_eq!((date.kind, date.maximum.as_deref()), (ParamType::Date, Some("2026-12-31")));
    assert_eq!((rate.kind, rate.default.as_deref()), (ParamType::Number, Some("1e-3")));
    assert_eq!(spec.params["dry"].default.as_deref(), Some("false"));
    assert_eq!(spec.params["size"].allowed, ["1".into(), "10".into()]);
    assert_eq!(spec.params["color"].allowed, ["red".into()]);

    let alpha = task(spec, "alpha");
    let ExecutorSpec::Process(process) = &alpha.executor else { panic!("a process") };
    let ProcessCommand::Script { shell, .. } = &process.command else { panic!("a script") };
    assert_eq!(shell.iter().map(|text| &**text).collect::<Vec<_>>(), ["sh", "-eu"]);
    assert_eq!(process.working_dir.as_deref(), Some("/tmp"));
    assert_eq!(alpha.needs.len(), 1);

    let many = task(spec, "many");
    assert_eq!(many.array, Some(ArraySpec { first: 0, last: 999 }));
    assert_eq!(many.rule, DependencyRule::AllDone);
    let ExecutorSpec::Process(process) = &many.executor else { panic!("a process") };
    let ProcessCommand::Argv(argv) = &process.command else { panic!("a command") };
    assert_eq!(argv.iter().map(|text| &**text).collect::<Vec<_>>(), ["echo", "one", "two", "3"]);
    assert_eq!(task(spec, "counted").array, Some(ArraySpec { first: 0, last: 999 }));
    let counted = task(spec, "counted");
    assert_eq!((counted.max_parallel, counted.max_failures), (Some(50), 3));
    assert!(counted.fail_fast && !task(spec, "spelled").fail_fast);
    assert!(!spec.fail_fast && good()[1].fail_fast);
    assert_eq!(task(spec, "spelled").array, Some(ArraySpec { first: 5, last: 7 }));
    assert_eq!(task(spec, "alert").condition, Condition::Failure);
    assert_eq!(task(spec, "end").condition, Condition::Always);
    assert_eq!(task(spec, "end").executor, ExecutorSpec::Noop);
    assert_eq!(task(spec, "any").rule, DependencyRule::AnySucceeded);
}

#[test]
fn a_webhook_says_who_may_call_and_what_the_call_gives() {
    let [push, signed] = &good()[0].webhooks[..] else { panic!("two webhooks") };
    let digest = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    let token = TokenDigest::parse(digest).expect("a digest");
    assert_eq!((push.name.as_str(), &push.credential), ("push", &Credential::Token(token)));
    let value = push.params.values().next().expect("a value");
    assert_eq!(&**value, "${{ body.commits.0.id }} by ${{header.X-Who}}");
    let Credential::Signature { key, header } = &signed.credential else { panic!("a signature") };
    assert_eq!((key.as_str(), &**header), ("forge", "X-Hub-Signature-256"));
}

#[test]
fn an_approval_has_a_message_and_a_timeout_and_nothing_of_the_defaults() {
    let spec = &good()[0];
    let ask = task(spec, "ask");
    let approval = ask.executor.approval().expect("an approval");
    assert_eq!(approval.message.as_deref(), Some("Ship it?"));
    assert_eq!(approval.on_timeout, OnTimeout::Approve);
    assert_eq!(ask.timeout, Some(Millis::from_secs(2 * 86_400)));
    let wait = task(spec, "wait");
    let executor = ExecutorSpec::Approval(ApprovalSpec::default());
    let plain = TaskSpec { needs: wait.needs.clone(), ..TaskSpec::new(wait.id.clone(), executor) };
    assert_eq!(*wait, plain);
}

#[test]
fn a_sub_workflow_has_parameters_and_outputs_and_nothing_of_the_defaults() {
    let specs = good();
    let other = task(&specs[0], "other");
    let sub_workflow = other.executor.sub_workflow().expect("a sub-workflow");
    assert_eq!(sub_workflow.name.as_str(), "other");
    let params: Vec<_> =
        sub_workflow.params.iter().map(|(name, it)| (name.as_str(), &**it)).collect();
    assert_eq!(params, [("day", "${{ params.day }}"), ("rows", "${{ needs.zeta.outputs.rows }}")]);
    let plain = TaskSpec {
        needs: other.needs.clone(),
        outputs: vec!["sum".into()],
        retry: RetryPolicy { limit: 2, ..RetryPolicy::default() },
        timeout: Some(Millis::from_secs(3_600)),
        priority: Some(3),
        ..TaskSpec::new(other.id.clone(), other.executor.clone())
    };
    assert_eq!(*other, plain);
    assert!(other.needs_decision());
    let outputs: Vec<_> = specs[1].outputs.iter().map(|(key, it)| (&**key, &**it)).collect();
    assert_eq!(outputs, [("fixed", "1.10"), ("rows", "${{ tasks.only.outputs.rows }} rows")]);
}

#[test]
fn what_is_gone_through_is_kept_once() {
    let spec = &good()[0];
    let product = task(spec, "product");
    let Some(FanOut::Matrix(axes)) = &product.fan_out else { panic!("a matrix") };
    let texts = |axis: &Axis| axis.values.iter().map(|it| it.to_string()).collect::<Vec<_>>();
    assert_eq!(
        (axes[0].name.as_str(), texts(&axes[0])),
        ("shard", vec!["0".into(), "1.10".into(), "x y".into()])
    );
    assert_eq!((axes[1].name.as_str(), texts(&axes[1])), ("region-of", vec!["eu".into()]));
    assert_eq!(product.array_indices(), Some(ArraySpec { first: 0, last: 2 }));
    let items = |id: &str| match &task(spec, id).fan_out {
        Some(FanOut::Items(items)) => items.iter().map(str::to_owned).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    let object = r#"{"k":"v","n":1.10,"t":"1","deep":[true,null,"null","q\"\n"]}"#;
    assert_eq!(items("items"), ["a", "1.10", object, r#"["x",2]"#]);
    assert_eq!(items("lined"), ["a b", "c"]);
    let listed = task(spec, "listed");
    assert!(listed.is_sized_late() && listed.is_array() && listed.needs_decision());
    assert_eq!(listed.array_indices(), None);
    assert_eq!(listed.item_keys().iter().map(|key| &**key).collect::<Vec<_>>(), ["some-key"]);
}

#[test]
fn defaults_fill_what_a_task_leaves_out_field_by_field() {
    let spec = &good()[0];
    let zeta = task(spec, "zeta");
    assert_eq!(zeta.timeout, Some(Millis::from_secs(600)));
    assert_eq!(zeta.queue_timeout, Some(Millis::from_secs(86_400)));
    assert_eq!((zeta.grace_period, zeta.priority), (Millis::from_secs(3), Some(7)));
    assert_eq!((zeta.on_lost, zeta.max_lost), (OnLost::Hold, 3));
    assert_eq!(zeta.request.selector["disk"], "ssd".into());
    assert_eq!(zeta.env["COMMON"], "1.10".into());
    assert_eq!(zeta.env["PLAIN"], "yes".into());

    let alpha = task(spec, "alpha");
    assert_eq!(alpha.env["COMMON"], "overridden".into());
    assert_eq!(alpha.env["PLAIN"], "yes".into());
    assert_eq!(alpha.request.resources.cpu_millis, 2000);
    assert_eq!(alpha.request.resources.memory_bytes, 256 << 20);
    assert_eq!(alpha.request.resources.custom["gpu"], 1);
    assert_eq!(alpha.retry.limit, 1);
    assert_eq!(alpha.retry.backoff.initial, Millis::from_secs(5));
    assert_eq!((alpha.retry.backoff.factor_millis, alpha.retry.backoff.jitter_millis), (1500, 250));

    let many = task(spec, "many");
    assert_eq!((many.on_lost, many.max_lost, many.priority), (OnLost::Fail, 1, Some(9)));
    assert_eq!((many.grace_period, many.timeout), (Millis(0), Some(Millis::from_secs(90))));
    assert_eq!((many.retry.limit, many.retry.on_failure, many.retry.on_timeout), (3, false, true));
    assert_eq!(many.request.selector.len(), 2);
    assert_eq!(many.request.pool.as_deref(), Some("gpu"));
    let groups: Vec<&str> = many.request.groups.iter().map(Name::as_str).collect();
    assert_eq!(groups, ["db-prod", "licence"]);

    // A first wait beyond the usual bound moves the bound.
    let counted = task(spec, "counted");
    assert_eq!(
        (counted.retry.backoff.initial, counted.retry.backoff.cap),
        (Millis::from_secs(600), Millis::from_secs(600))
    );
}

#[test]
fn what_parses_validates() {
    for spec in good() {
        assert_eq!(validate(&spec), Ok(()));
    }
}

#[test]
fn every_example_is_well_formed() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut count = 0;
    for entry in fs::read_dir(examples).expect("the folder is part of the repository") {
        let path = entry.expect("it can be listed").path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let text = fs::read_to_string(&path).expect("it is text");
            if let Err(errors) = manifest(&text) {
                panic!("{}", errors.render_in(&path.to_string_lossy(), &text));
            }
            count += 1;
        }
    }
    assert!(count >= 3);
}

const HEAD: &str = "apiVersion: v1\nkind: Workflow\nname: flow\ntasks:\n";

#[test]
fn a_workflow_of_too_many_tasks_is_one_clear_error() {
    let mut text = HEAD.to_owned();
    for number in 0..100_000 {
        text.push_str(&format!("  t{number}: {{run: x}}\n"));
    }
    let errors = errors(&text);
    assert_eq!(errors.errors.len(), 1, "{errors}");
    assert!(errors.errors[0].message.contains("100000 tasks; at most 10000"), "{errors}");
    assert_eq!(errors.errors[0].position.map(|position| position.line), Some(4));
}

#[test]
fn as_many_tasks_as_there_may_be_are_fine() {
    let mut text = HEAD.to_owned();
    for number in 0..limits::TASKS_MAX {
        let need = number.saturating_sub(1);
        let needs = if number == 0 { String::new() } else { format!("needs: t{need}, ") };
        text.push_str(&format!("  t{number}: {{{needs}run: x}}\n"));
    }
    assert_eq!(parse(&text).expect("it is within the limits")[0].tasks.len(), limits::TASKS_MAX);
}

#[test]
fn too_many_dependencies_are_refused() {
    let mut text = HEAD.to_owned();
    let all =
        |count: usize| (0..count).map(|number| format!("t{number}")).collect::<Vec<_>>().join(", ");
    for number in 0..500 {
        text.push_str(&format!("  t{number}: {{run: x}}\n"));
    }
    for number in 500..950 {
        text.push_str(&format!("  t{number}: {{run: x, needs: [{}]}}\n", all(500)));
    }
    assert!(errors(&text).errors[0].message.contains("225000 dependencies"));
}

#[test]
fn a_file_that_is_too_large_is_refused_unread() {
    let errors = errors(&"[".repeat(limits::SPEC_BYTES_MAX + 1));
    assert!(errors.errors[0].message.contains("at most 6291456"), "{errors}");
}

#[test]
fn defaults_cannot_multiply_a_small_file_beyond_the_bound() {
    let mut text = format!(
        "apiVersion: v1\nkind: Workflow\nname: flow\ndefaults: {{env: {{A: {}}}}}\ntasks:\n",
        "y".repeat(100_000)
    );
    for number in 0..9_000 {
        text.push_str(&format!("  t{number}: {{run: x}}\n"));
    }
    let errors = errors(&text);
    assert_eq!(errors.errors.len(), 1);
    assert!(errors.errors[0].message.contains("when it is stored"), "{errors}");
}

#[test]
fn many_errors_are_counted_but_not_all_kept() {
    let mut text = HEAD.to_owned();
    for number in 0..1000 {
        text.push_str(&format!("  t{number}: {{run: x, timeout: never}}\n"));
    }
    let errors = errors(&text);
    assert_eq!((errors.errors.len(), errors.omitted), (50, 950));
}

#[test]
fn ten_thousand_misspelt_names_cost_no_more_than_the_errors_that_are_shown() {
    let mut text = HEAD.to_owned();
    for number in 0..limits::TASKS_MAX {
        text.push_str(&format!("  task{number}: {{run: x, needs: [tsak{}]}}\n", number + 1));
    }
    let errors = errors(&text);
    assert_eq!((errors.errors.len(), errors.omitted), (50, limits::TASKS_MAX - 50));
    assert!(
        errors.errors[0].help.as_deref().is_some_and(|help| help.contains("`task1`")),
        "{errors}"
    );
}

#[test]
fn allowed_values_are_bounded_in_number_and_in_bytes() {
    let file = |values: &str| {
        let head = "apiVersion: v1\nkind: Workflow\nname: flow\nparams:\n";
        parse(&format!("{head}  p: {{type: number, enum: [{values}]}}\ntasks: {{a: {{run: x}}}}\n"))
    };
    let numbers = |count: usize, length: usize| {
        let number = |it: usize| format!("{it}.{}", "7".repeat(length));
        (1..=count).map(number).collect::<Vec<_>>().join(", ")
    };
    assert!(file(&numbers(limits::MAP_ENTRIES_MAX, 200)).is_ok());
    let many = file(&numbers(limits::MAP_ENTRIES_MAX + 1, 1)).expect_err("one too many");
    assert!(many.errors[0].message.contains("257 allowed values are too many"), "{many}");
    let long = file(&numbers(limits::MAP_ENTRIES_MAX, 20_000)).expect_err("5 MB");
    assert!(long.errors[0].message.contains("at most 65536 are possible"), "{long}");
}

#[test]
fn the_message_of_an_approval_is_bounded() {
    let file = |bytes: usize| {
        let message = "é".repeat(bytes / 2) + &"x".repeat(bytes % 2);
        parse(&format!(
            "apiVersion: v1\nkind: Workflow\nname: w\ntasks: {{a: {{approval: {{message: {message}}}}}}}\n"
        ))
    };
    assert!(file(limits::REASON_BYTES_MAX).is_ok());
    let long = file(limits::REASON_BYTES_MAX + 1).expect_err("one byte too many");
    assert!(long.to_string().contains("1025 bytes is too long; at most 1024"), "{long}");
}

fn manifest(text: &str) -> Result<Manifest, SpecErrors> {
    parse_manifest(text, &|_| Ok(()), &|_| Vec::new())
}

const NAMESPACE: &str = "apiVersion: v1\nkind: Namespace\nname: team\n";

#[test]
fn a_namespace_stands_beside_workflows() {
    let workflow = "apiVersion: v1\nkind: Workflow\nname: team\ntasks: {t: {noop: {}}}\n";
    let quota = "weight: 3\nquota: {runs: 0, tasks: 9, cpu: 1.5, memory: 1Gi}\nconcurrency: {db: 2, brake: 0}\n";
    let read = manifest(&format!("{NAMESPACE}{quota}---\n{workflow}")).expect("both are good");
    let namespace = &read.namespaces[0];
    assert_eq!((namespace.name.as_str(), namespace.weight), ("team", 3));
    let (runs, tasks, cpu_millis, memory_bytes) = (Some(0), Some(9), Some(1500), Some(1 << 30));
    assert_eq!(namespace.quota, Quota { runs, tasks, cpu_millis, memory_bytes });
    let groups = [("brake", 0), ("db", 2)]
        .map(|(name, limit)| (Name::parse(name).expect("a name"), GroupSpec { limit }));
    assert_eq!(namespace.groups, groups.into());
    assert_eq!(read.workflows.len(), 1);
    let plain = &manifest(NAMESPACE).expect("a name is enough").namespaces[0];
    assert_eq!((plain.weight, plain.quota), (1, Quota::default()));
}

#[test]
fn a_bad_namespace_is_told_where_and_what_to_do() {
    let told = |lines: &str| {
        let errors = manifest(&format!("{NAMESPACE}{lines}\n")).expect_err("it is bad");
        let error = &errors.errors[0];
        let at = error.position.expect("a place");
        format!("{}:{} {} ({:?})", at.line, at.column, error.message, error.help)
    };
    for (lines, wanted) in [
        ("weight: 0", "4:9 a weight is a number from 1 to 1000, not 0 (Some(\"to keep"),
        ("weight: 1001", "4:9 a weight is a number from 1 to 1000, not 1001"),
        ("weight: -1", "4:9 `-1`: this number is out of range"),
        ("quota: {runs: many}", "4:15 `many`: this is not a whole number"),
        (
            "quota: {task: 1}",
            "4:9 `task` is not a field of a quota (Some(\"did you mean `tasks`?\")",
        ),
        ("quota: 5", "4:8 a quota is written as a map of fields"),
        ("quota: {cpu: 9Gi}", "4:14 "),
        ("concurrency: {Db: 1}", "4:15 `Db` is not a name"),
        ("concurrency: {db: {}}", "4:19 a text belongs here, not a map"),
        ("concurrency: {db: -1}", "4:19 `-1`: this number is out of range"),
        ("concurrency: [db]", "4:14 a map such as `{key: value}` belongs here, not a list"),
        ("tasks: {}", "4:1 `tasks` is not a field of a namespace"),
        ("labels: {a: b}", "4:1 `labels` is not supported yet"),
        (&format!("---\n{NAMESPACE}"), "7:7 the file defines namespace `team` twice"),
    ] {
        assert!(told(lines).starts_with(wanted), "{}", told(lines));
    }
}

#[test]
fn a_misspelt_kind_is_all_that_is_told() {
    let text = NAMESPACE.replace("Namespace", "Namespaces");
    let told = |text: &str| {
        let errors = manifest(text).expect_err("it is bad").errors;
        assert_eq!(errors.len(), 1, "{errors:?}");
        (errors[0].message.clone(), errors[0].help.clone().expect("what to do"))
    };
    let (message, help) = told(&format!("{text}weight: 0\n"));
    assert_eq!(message, "`Namespaces` is not a known `kind`");
    assert_eq!(help, "did you mean `Namespace`?");
    let (_, help) = told(&text.replace("Namespaces", "Pipeline"));
    assert_eq!(help, "there are Workflow and Namespace");
}

#[test]
fn there_are_so_many_groups_and_no_more() {
    let file = |count: usize| {
        let groups = (0..count).map(|number| format!("g{number}: 1")).collect::<Vec<_>>();
        manifest(&format!("{NAMESPACE}concurrency: {{{}}}\n", groups.join(", ")))
    };
    let most = file(limits::GROUPS_MAX).expect("so many may be");
    assert_eq!(most.namespaces[0].groups.len(), limits::GROUPS_MAX);
    let errors = file(limits::GROUPS_MAX + 1).expect_err("one more may not").errors;
    let wanted = "1001 concurrency groups are too many; at most 1000 are possible";
    assert_eq!(errors[0].message, wanted);
}

#[test]
fn where_workflows_alone_belong_a_namespace_is_refused() {
    let errors = errors(NAMESPACE).errors;
    assert!(
        errors.iter().any(|it| it.message == "`Namespace` is not a known `kind`"),
        "{errors:?}"
    );
}
