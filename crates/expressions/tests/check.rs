//! What is said of expressions before any run.

use muster_core::limits;
use muster_core::spec::{self, SpecErrors};

/// A workflow whose task `b` has the condition.
fn file(condition: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Workflow\nname: flow\nparams: {{region: eu, dry-run: 'no'}}\ntasks:\n  \
         get-it: {{run: x, outputs: [rows, row-count]}}\n  other: {{run: x, outputs: [k]}}\n  \
         b:\n    needs: get-it\n    run: x\n    if: {condition}\n"
    )
}

fn checked(text: &str) -> Result<(), SpecErrors> {
    spec::parse_with(text, &|_| Ok(()), &muster_expressions::check).map(drop)
}

#[test]
fn good_ones_pass() {
    for good in [
        "params.region == 'eu'",
        "${{ params.dry_run != 'yes' }}",
        "needs.get_it.outputs.rows | int > 0",
        "needs.get_it.outputs.row_count | default('0') | int > 0 and success()",
        "needs.get_it.result == 'failed' or cancelled()",
        "run.number % 2 == 0 and run.fireDate != '' and task.id == 'b'",
        "params.region in ['eu', 'us'] and not failure()",
        "needs.get_it.outputs.rows | fromjson | length > 1",
        "params.region is startingwith('e')",
        "params.dry_run | bool",
        "params.region > '1'",
        "true",
    ] {
        let text = file(good);
        if let Err(errors) = checked(&text) {
            panic!("{good}\n{}", errors.render_in("flow.yaml", &text));
        }
    }
}

/// Condition, message, and help; "" where there is none.
const BAD: &[(&str, &str, &str)] = &[
    (
        "needs.get_it.result == 'failed'",
        "this never holds: unless told otherwise a task is asked only once all it needs succeeded, \
         so no result is `failed`",
        "add `rule: all_done`",
    ),
    (
        "needs.get_it.result != 'failure'",
        "there is no result `failure`",
        "there are succeeded, failed, skipped, cancelled",
    ),
    ("params.regoin == 'eu'", "the workflow has no parameter `regoin`", "did you mean `region`?"),
    ("params.x == 'eu'", "the workflow has no parameter `x`", "declare it: `params: {x: …}`"),
    (
        "needs.get_it.outputs.row | int > 0",
        "`get-it` declares no output `row`",
        "did you mean `rows`?",
    ),
    (
        "needs.other.result == 'failed'",
        "`b` does not need `other`, so it cannot ask about it",
        "add `other` to the `needs` of `b`",
    ),
    ("needs.gat_it.result == 'failed'", "there is no task `gat_it`", "did you mean `get-it`?"),
    (
        "needs.get_it.reslt == 'failed'",
        "`needs.get_it.reslt` is no value",
        "did you mean `result`?",
    ),
    ("needs.get_it.outputs", "`needs.get_it.outputs` is no value", "did you mean `outputs`?"),
    ("run.fireday == 'x'", "a run has no `fireday`", "did you mean `fireDate`?"),
    ("failure", "there is no `failure` in expressions", "write `failure()`"),
    ("failur()", "there is no function `failur()`", "did you mean `failure`?"),
    ("parms.region == 'eu'", "there is no `parms.region` in expressions", "did you mean `params`?"),
    (
        "params.region == eu",
        "there is no `eu` in expressions",
        "for the text itself write it in quotes: 'eu'",
    ),
    ("params.region | uper == 'EU'", "there is no filter `uper`", "did you mean `upper`?"),
    ("params.region is strnig", "there is no test `is strnig`", "did you mean `string`?"),
    (
        "params.region.lower() == 'eu'",
        "there is no method `.lower()`",
        "write a filter, such as `… | sort`",
    ),
    (
        "success('get-it')",
        "`success()` takes nothing",
        "it is about all upstream tasks; for one write `needs.TASK.result`",
    ),
    (
        "params.region >",
        "`params.region >` is not an expression: unexpected end of input, expected expression",
        "",
    ),
    (
        "params.region = 'eu'",
        "`params.region = 'eu'` is not an expression: unexpected input after expression",
        "write `==` to compare",
    ),
    // Compared silently by the library, and never what was meant.
    (
        "needs.get_it.outputs.rows > 0",
        "`needs.get_it.outputs.rows` is a text, and is compared with a number",
        "write `needs.get_it.outputs.rows | int`",
    ),
    (
        "3 == params.region",
        "`params.region` is a text, and is compared with a number",
        "write `params.region | int`",
    ),
    (
        "params.dry_run == true",
        "`params.dry_run` is a text, and is compared with true or false",
        "write `params.dry_run | bool`",
    ),
    (
        "params.dry_run and success()",
        "`params.dry_run` is a text, not true or false",
        "compare it: `params.dry_run == 'yes'`; or write `params.dry_run | bool`",
    ),
    (
        "not params.dry_run",
        "`params.dry_run` is a text, not true or false",
        "compare it: `params.dry_run == 'yes'`; or write `params.dry_run | bool`",
    ),
    (
        "params.dry_run",
        "`params.dry_run` is a text, not true or false",
        "compare it: `params.dry_run == 'yes'`; or write `params.dry_run | bool`",
    ),
    (
        "run.number % 2",
        "`run.number % 2` is a number, not true or false",
        "compare it: `run.number % 2 > 0`",
    ),
];

#[test]
fn bad_ones_are_told_apart_with_place_and_help() {
    for (condition, message, help) in BAD {
        let text = file(condition);
        let Err(errors) = checked(&text) else { panic!("`{condition}` passed") };
        let first = &errors.errors[0];
        assert_eq!(first.message, *message, "{condition}");
        assert_eq!(first.help.as_deref().unwrap_or(""), *help, "{condition}");
        assert_eq!(first.path, "tasks.b.if", "{condition}");
        let position = first.position.expect("it came from a file");
        assert_eq!((position.line, position.column), (11, 9), "{condition}");
    }
}

#[test]
fn what_other_languages_write_is_said_in_our_words() {
    for (condition, help) in [
        ("params.region && true", "write `and` for `&&`"),
        ("params.region || true", "write `or` for `||`"),
        ("\"!failure()\"", "write `not` for `!`"),
        ("${{ params.region }} == 'eu'", "write the expression itself, without `${{ }}`"),
        ("params.region >= 'eu' )", ""),
    ] {
        let errors = checked(&file(condition)).expect_err(condition).errors;
        assert_eq!(errors[0].help.as_deref().unwrap_or(""), help, "{condition}");
    }
}

#[test]
fn a_name_with_a_dash_is_no_difference() {
    let text = file("needs.get-it.outputs.rows == '3'");
    let errors = checked(&text).expect_err("a dash is a minus").errors;
    let helps: Vec<&str> = errors.iter().filter_map(|error| error.help.as_deref()).collect();
    assert!(helps.contains(&"write names with `_` for `-`"), "{errors:#?}");
}

#[test]
fn the_rule_and_the_functions_go_together() {
    let text = file("failure() and params.region == 'eu'");
    checked(&text).expect("it is asked whatever happened before");
    let text = text.replace("    run: x\n", "    run: x\n    rule: all_succeeded\n");
    let errors = checked(&text).expect_err("there is nothing to ask");
    assert!(errors.errors[0].message.starts_with("with `rule: all_succeeded`"), "{errors:#?}");
}

#[test]
fn the_bounds_are_where_they_are_said_to_be() {
    let of_length = |length: usize| {
        let rest = "params.region == ''".len();
        file(&format!("params.region == '{}'", "x".repeat(length - rest)))
    };
    checked(&of_length(limits::EXPRESSION_BYTES_MAX)).expect("it fits");
    let errors =
        checked(&of_length(limits::EXPRESSION_BYTES_MAX + 1)).expect_err("a byte too many");
    assert!(errors.errors[0].message.contains("at most 2048 are possible"), "{errors:#?}");
    let of_brackets =
        |count: usize| file(&format!("{}true{}", "(".repeat(count), ")".repeat(count)));
    checked(&of_brackets(32)).expect("it fits");
    let errors = checked(&of_brackets(33)).expect_err("a bracket too many");
    assert!(errors.errors[0].message.contains("more than 32 brackets"), "{errors:#?}");
}

/// The deepest trees that fit must neither overflow a stack (2 MiB in tests, as in the masters) nor take long.
#[test]
fn nothing_that_fits_is_too_deep() {
    let most = limits::EXPRESSION_BYTES_MAX;
    let fill = |open: &str, inside: &str, close: &str| {
        let times = (most - inside.len()) / (open.len() + close.len());
        format!("{}{inside}{}", open.repeat(times), close.repeat(times))
    };
    for text in [
        fill("-", "1", ""),
        fill("not ", "true", ""),
        fill("(", "1", ")"),
        fill("[", "1", "]"),
        fill("{1:", "1", "}"),
        fill("", "1", "+1"),
        fill("", "x", "|d"),
        fill("", "x", ".a"),
        fill("", "x", "[0]"),
        fill("", "x", "()"),
        fill("", "1", "<1"),
        fill("", "1", "~1"),
        fill("1 if 1 else ", "1", ""),
        fill("1 if ", "1", " else 1"),
        fill("x(", "1", ")"),
        fill("x|d(", "1", ")"),
        fill("x[", "1", "]"),
        fill("x is in(", "1", ")"),
        format!("{}1{}", "x(".repeat(32), ")".repeat(32)),
        format!("{}1{}", "x|d(".repeat(32), ")".repeat(32)),
    ] {
        let _either = checked(&file(&format!("'{text}'")));
    }
}
