//! Nothing a user, or anyone on the wire, sends makes `parse` or `validate` panic, and they agree with each other.

use std::collections::BTreeMap;

use muster_core::graph::Graph;
use muster_core::ids::{Name, Text};
use muster_core::spec::template::Reference;
use muster_core::spec::{
    ArraySpec, Axis, Backoff, Condition, DependencyRule, ExecutorSpec, FanOut, Hook, OnLost,
    ParamSpec, ParamType, ProcessCommand, ProcessSpec, Request, Resources, RetryPolicy, TaskSpec,
    WorkflowSpec, parse, template, validate,
};
use muster_core::time::Millis;
use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;

/// Words that make up workflow files, so that random text is often nearly one.
const WORDS: &[&str] = &[
    "apiVersion: v1\n",
    "kind: Workflow\n",
    "name: flow\n",
    "tasks:\n",
    "  a:\n",
    "  b:\n",
    "    run: x\n",
    "    needs: [a]\n",
    "    needs: a\n",
    "    array: 0-9\n",
    "    array: 9-3\n",
    "    env: {A: \"${{ params.x }}\"}\n",
    "    env:\n",
    "      K: ${{ needs.a.outputs.k }}\n",
    "    outputs: [k]\n",
    "params:\n",
    "  x: 1\n",
    "defaults:\n",
    "  retry: {limit: 2}\n",
    "    retry: {limit: 99999, backoff: {factor: 1.5}}\n",
    "---\n",
    "&a ",
    "*a",
    "!!str ",
    "!x ",
    "<<: *a\n",
    "[",
    "]",
    "{",
    "}",
    ": ",
    "- ",
    "? ",
    "| \n",
    "> \n",
    "\"",
    "'",
    "#",
    "\t",
    "\n",
    " ",
    "  ",
    "\u{0}",
    "\u{feff}",
    "é",
    "${{",
    "}}",
    "-",
    "0",
    "-1",
    "1e9",
    "~",
    "null",
    "%YAML 1.2\n",
    "%TAG ! x\n",
    "...\n",
    "@",
    "`",
    "\r\n",
    "\u{85}",
    "    timeout: 1h\n",
    "    command: []\n",
    "    noop: {}\n",
    "    if: failure()\n",
];

/// The answer is one of the two, and errors render whatever they are.
fn check_parse(text: &str) {
    match parse(text) {
        Ok(specs) => {
            assert!(!specs.is_empty());
            for spec in specs {
                assert_eq!(validate(&spec), Ok(()));
                assert!(Graph::build(&spec.tasks).is_ok());
            }
        }
        Err(errors) => {
            assert!(!errors.errors.is_empty());
            for error in &errors.errors {
                assert!(error.position.is_some());
            }
            let rendered = errors.render_in("f.yaml", text);
            let is_safe = |c: char| c == '\n' || !c.is_control();
            assert!(rendered.chars().all(is_safe), "{rendered:?}");
        }
    }
}

fn text() -> impl Strategy<Value = Text> {
    prop_oneof![
        "[a-z]{0,3}",
        "[A-Z_]{1,4}",
        any::<String>(),
        Just("${{ params.a }}".into()),
        Just("${{ x".into())
    ]
    .prop_map(Text::from)
}

fn name() -> impl Strategy<Value = Name> {
    "[a-c][-_]?[a-b]?".prop_map(|text| Name::parse(&text).expect("the pattern gives names"))
}

fn texts() -> impl Strategy<Value = BTreeMap<Text, Text>> {
    btree_map(text(), text(), 0..4)
}

fn millis() -> impl Strategy<Value = Millis> {
    prop_oneof![Just(0), Just(1000), any::<u64>()].prop_map(Millis)
}

fn executor() -> impl Strategy<Value = ExecutorSpec> {
    let script = (text(), vec(text(), 0..3))
        .prop_map(|(text, shell)| ProcessCommand::Script { text, shell });
    let command = prop_oneof![vec(text(), 0..4).prop_map(ProcessCommand::Argv), script];
    let process = (command, proptest::option::of(text())).prop_map(|(command, working_dir)| {
        ExecutorSpec::Process(ProcessSpec { command, working_dir })
    });
    prop_oneof![Just(ExecutorSpec::Noop), process]
}

fn request() -> impl Strategy<Value = Request> {
    let resources = (any::<u64>(), any::<u64>(), btree_map(text(), any::<u64>(), 0..3)).prop_map(
        |(cpu_millis, memory_bytes, custom)| Resources { cpu_millis, memory_bytes, custom },
    );
    let resources = prop_oneof![Just(Resources::default()), resources];
    (proptest::option::of(text()), texts(), resources, btree_set(name(), 0..12)).prop_map(
        |(pool, selector, resources, groups)| Request { pool, selector, resources, groups },
    )
}

fn retry() -> impl Strategy<Value = RetryPolicy> {
    let backoff = (millis(), any::<u32>(), millis(), any::<u32>()).prop_map(
        |(initial, factor_millis, cap, jitter_millis)| Backoff {
            initial,
            factor_millis,
            cap,
            jitter_millis,
        },
    );
    let any = (any::<u32>(), backoff, any::<bool>(), any::<bool>()).prop_map(
        |(limit, backoff, on_failure, on_timeout)| RetryPolicy {
            limit,
            backoff,
            on_failure,
            on_timeout,
        },
    );
    prop_oneof![Just(RetryPolicy::default()), any]
}

fn fan_out() -> impl Strategy<Value = FanOut> {
    let axis = (name(), vec(text(), 0..3)).prop_map(|(name, values)| Axis { name, values });
    prop_oneof![
        vec(axis, 0..4).prop_map(FanOut::Matrix),
        vec(text(), 0..4).prop_map(|items| FanOut::Items(items.iter().collect())),
        text().prop_map(|name| FanOut::Reference(Reference::Param(name))),
        Just(FanOut::Reference(Reference::Item)),
    ]
}

prop_compose! {
    fn task()(
        id in name(), needs in vec(name(), 0..3), executor in executor(), env in texts(), request in request(),
        outputs in vec(text(), 0..3), retry in retry(),
        rule in prop_oneof![
            Just(DependencyRule::AllSucceeded), Just(DependencyRule::AllDone), Just(DependencyRule::AnySucceeded)],
        condition in prop_oneof![Just(Condition::Success), Just(Condition::Failure), Just(Condition::Always),
            Just(Condition::Cancelled), text().prop_map(Condition::Expression)],
        array in proptest::option::of((any::<u32>(), any::<u32>())), fan_out in proptest::option::of(fan_out()),
        spans in (proptest::option::of(millis()), proptest::option::of(millis()), millis()),
        fails in (any::<u32>(), any::<bool>()),
        hook in proptest::option::of(proptest::sample::select(Hook::ALL.to_vec())),
        numbers in (any::<u32>(), proptest::option::of(any::<i32>()), proptest::option::of(any::<u32>())),
    ) -> TaskSpec {
        TaskSpec {
            id, hook, needs, rule, condition, executor, env, outputs,
            array: array.map(|(first, last)| ArraySpec { first, last }), fan_out,
            max_parallel: numbers.2, max_failures: fails.0, fail_fast: fails.1,
            request, retry, on_lost: OnLost::Rerun, max_lost: numbers.0,
            timeout: spans.0, queue_timeout: spans.1, grace_period: spans.2, priority: numbers.1,
        }
    }
}

/// Texts of which some are values of the types.
fn value() -> impl Strategy<Value = Text> {
    let number = "-?[0-9]{1,3}(\\.[0-9]{1,2})?(e-?[0-9])?".prop_map(Text::from);
    let date = "20[0-9]{2}-[01][0-9]-[0-3][0-9]".prop_map(Text::from);
    prop_oneof![text(), number, date, Just(Text::from("true"))]
}

fn param() -> impl Strategy<Value = ParamSpec> {
    let kind = proptest::sample::select(ParamType::ALL.map(|(_, kind)| kind).to_vec());
    let bounds = (proptest::option::of(value()), proptest::option::of(value()));
    let values = (proptest::option::of(value()), vec(value(), 0..3));
    (kind, values, bounds, proptest::option::of(text())).prop_map(
        |(kind, (default, allowed), (minimum, maximum), description)| ParamSpec {
            kind,
            default,
            description,
            allowed,
            minimum,
            maximum,
        },
    )
}

fn workflow() -> impl Strategy<Value = WorkflowSpec> {
    let params = btree_map(name(), param(), 0..3);
    (name(), texts(), proptest::option::of(millis()), any::<i32>(), params, vec(task(), 0..6))
        .prop_map(|(name, labels, timeout, priority, params, tasks)| WorkflowSpec {
            labels,
            timeout,
            priority,
            params,
            ..WorkflowSpec::new(name, tasks)
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn any_text_gets_an_answer(text in any::<String>()) {
        check_parse(&text);
    }

    #[test]
    fn text_that_looks_like_a_workflow_gets_an_answer(words in vec(proptest::sample::select(WORDS), 0..60)) {
        check_parse(&words.concat());
    }

    #[test]
    fn a_good_file_with_a_piece_changed_gets_an_answer(
        at in any::<proptest::sample::Index>(),
        length in 0_usize..20,
        put in proptest::sample::select(WORDS),
    ) {
        let good: Vec<char> = include_str!("spec/good.yaml").chars().collect();
        let start = at.index(good.len());
        let end = (start + length).min(good.len());
        let (before, after) = (good[..start].iter(), good[end..].iter());
        let text: String = before.copied().chain(put.chars()).chain(after.copied()).collect();
        check_parse(&text);
    }

    #[test]
    fn any_spec_gets_an_answer(spec in workflow()) {
        if let Err(errors) = validate(&spec) {
            prop_assert!(!errors.errors.is_empty());
            prop_assert!(!errors.to_string().is_empty());
        } else {
            prop_assert!(Graph::build(&spec.tasks).is_ok());
            for param in spec.params.values() {
                for value in param.default.iter().chain(&param.allowed) {
                    prop_assert_eq!(param.check(value), Ok(()));
                }
            }
        }
    }

    #[test]
    fn any_template_gets_an_answer(text in "[${} a-z.]{0,40}") {
        let rendered = template::render(&text, &|_| Some("v".into()));
        prop_assert_eq!(rendered.is_ok(), template::parse(&text).is_ok());
    }
}
