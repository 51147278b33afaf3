//! Whether the expressions of a workflow can be right, before any run: syntax, names, and kinds that do not match.

use minijinja::machinery::ast::{BinOpKind, CompareOpKind, Expr, UnaryOpKind};
use muster_core::ids::Text;
use muster_core::spec::template::{self, Part, Reference, is_same_name};
use muster_core::spec::{
    Condition, DependencyRule, ExpressionProblem, FanOut, TaskSpec, WorkflowSpec, did_you_mean,
};

use crate::evaluate::{self, shorten};
use crate::items::lacking_key;
use crate::kind::{Chain, Kind, all_parts, chain, compares, kind_of};
use crate::scope::{FUNCTIONS, GROUPS, RUN_NUMBERS, RUN_TEXTS};

/// The filters that may be used. All of them are paid for by [`crate::FUEL`].
pub(crate) const FILTERS: [&str; 28] = [
    "abs", "bool", "count", "default", "first", "float", "fromjson", "int", "join", "last",
    "length", "lines", "list", "lower", "max", "min", "replace", "reverse", "round", "sort",
    "split", "string", "sum", "title", "trim", "unique", "upper", "d",
];
/// The tests behind `is`.
pub(crate) const TESTS: [&str; 15] = [
    "boolean",
    "defined",
    "divisibleby",
    "endingwith",
    "even",
    "float",
    "in",
    "integer",
    "mapping",
    "none",
    "number",
    "odd",
    "sequence",
    "startingwith",
    "string",
];

/// What is wrong with the expressions of a workflow that is well-formed otherwise.
pub fn check(spec: &WorkflowSpec) -> Vec<ExpressionProblem> {
    let mut problems = Vec::new();
    for task in &spec.tasks {
        if let Condition::Expression(text) = &task.condition {
            let mut checker = Checker { spec, task, problems: Vec::new() };
            checker.condition(text);
            let found = checker.problems.into_iter().map(|(message, help)| ExpressionProblem {
                task: task.id.clone(),
                field: "if",
                key: None,
                message,
                help,
            });
            problems.extend(found);
        }
        problems.extend(item_keys(task));
    }
    problems
}

/// Keys that a task reads from items which the file has, and which one of them lacks.
fn item_keys(task: &TaskSpec) -> impl Iterator<Item = ExpressionProblem> {
    let items = match &task.fan_out {
        Some(FanOut::Items(items)) => Some(items),
        Some(FanOut::Matrix(_) | FanOut::Reference(_)) | None => None,
    };
    let keys = items.map(|_| task.item_keys()).unwrap_or_default();
    keys.into_iter().filter_map(move |key| {
        let problem = lacking_key(items?, &key)?;
        let reads = |(_, value): &(&Text, &Text)| {
            let wanted = Part::Reference(Reference::ItemField(key.clone()));
            template::parse(value).is_ok_and(|parts| parts.contains(&wanted))
        };
        Some(ExpressionProblem {
            task: task.id.clone(),
            field: "env",
            key: task.env.iter().find(reads).map(|(variable, _)| variable.clone()),
            message: problem,
            help: Some(
                "write every item as `{key: value, …}` with the keys that are read".to_owned(),
            ),
        })
    })
}

/// What a task that others need can have come to. The first is the usual one.
const RESULTS: [&str; 4] = ["succeeded", "failed", "skipped", "cancelled"];

/// What of an expression that cannot be read is as other languages write it, and how it is written here.
fn spelled_otherwise(text: &str) -> Option<String> {
    let is_single = |at: usize| {
        let before = text[..at].chars().next_back();
        !matches!(before, Some('=' | '!' | '<' | '>')) && !text[at + 1..].starts_with('=')
    };
    let negates = text.match_indices('!').any(|(at, _)| !text[at + 1..].starts_with('='));
    let assigns = text.match_indices('=').any(|(at, _)| is_single(at));
    let help = if text.contains("${{") {
        "write the expression itself, without `${{ }}`"
    } else if text.contains("&&") {
        "write `and` for `&&`"
    } else if text.contains("||") {
        "write `or` for `||`"
    } else if negates {
        "write `not` for `!`"
    } else if assigns {
        "write `==` to compare"
    } else {
        return None;
    };
    Some(help.to_owned())
}

struct Checker<'s> {
    spec: &'s WorkflowSpec,
    task: &'s TaskSpec,
    /// Message and help.
    problems: Vec<(String, Option<String>)>,
}

impl Checker<'_> {
    fn problem(&mut self, message: impl Into<String>, help: impl Into<Option<String>>) {
        self.problems.push((message.into(), help.into()));
    }

    fn condition(&mut self, text: &str) {
        let expr = match evaluate::parse(text) {
            Ok(expr) => expr,
            Err(message) => return self.problem(message, spelled_otherwise(text)),
        };
        all_parts(&expr).for_each(|part| self.part(part));
        if self.task.rule == DependencyRule::AllSucceeded && asks_for_ends(&expr) {
            let help = "remove `rule`, or write `rule: all_done`";
            let message =
                "with `rule: all_succeeded` there is nothing to ask: all upstream tasks succeeded";
            self.problem(message, help.to_owned());
        }
        let kind = kind_of(&expr);
        if let Kind::Text | Kind::Number = kind {
            let message = format!("`{}` is {}, not true or false", shorten(text), kind.words());
            self.problem(message, help_for(kind, text));
        }
    }

    fn part(&mut self, expr: &Expr<'_>) {
        if let Some(chain) = chain(expr) {
            return self.name(&chain);
        }
        match expr {
            Expr::BinOp(it) if compares(it.op) => {
                self.compared(&it.left, &it.right);
                if matches!(it.op, BinOpKind::Eq | BinOpKind::Ne) {
                    let is_equal = matches!(it.op, BinOpKind::Eq);
                    self.result_compared(is_equal, &it.left, &it.right);
                    self.result_compared(is_equal, &it.right, &it.left);
                }
            }
            Expr::BinOp(it) if matches!(it.op, BinOpKind::ScAnd | BinOpKind::ScOr) => {
                self.truth(&it.left);
                self.truth(&it.right);
            }
            Expr::UnaryOp(it) if matches!(it.op, UnaryOpKind::Not) => self.truth(&it.expr),
            Expr::IfExpr(it) => self.truth(&it.test_expr),
            Expr::Compare(it) => {
                let mut left = &it.expr;
                for op in &it.ops {
                    if !matches!(op.op, CompareOpKind::In | CompareOpKind::NotIn) {
                        self.compared(left, &op.expr);
                    }
                    left = &op.expr;
                }
            }
            Expr::Filter(it) if !FILTERS.contains(&it.name) => {
                let message = format!("there is no filter `{}`", shorten(it.name));
                let all = || Some(format!("there are {}", FILTERS[..27].join(", ")));
                self.problem(message, did_you_mean(it.name, FILTERS).or_else(all));
            }
            Expr::Test(it) if !TESTS.contains(&it.name) => {
                let message = format!("there is no test `is {}`", shorten(it.name));
                let all = || Some(format!("there are {}", TESTS.join(", ")));
                self.problem(message, did_you_mean(it.name, TESTS).or_else(all));
            }
            Expr::Call(it) => self.call(&it.expr, it.args.len()),
            _ => {}
        }
    }

    /// What is compared should be of one kind.
    fn compared(&mut self, left: &Expr<'_>, right: &Expr<'_>) {
        let (text, number) = match (kind_of(left), kind_of(right)) {
            (Kind::Text, other) if other != Kind::Text && other != Kind::Unknown => (left, other),
            (other, Kind::Text) if other != Kind::Text && other != Kind::Unknown => (right, other),
            _ => return,
        };
        let name = named(text);
        let message = format!("{name} is a text, and is compared with {}", number.words());
        let filter = if number == Kind::Number { "int" } else { "bool" };
        self.problem(message, format!("write `{} | {filter}`", name.trim_matches('`')));
    }

    /// A result is one of four words, and in most tasks only one of them can be seen.
    fn result_compared(&mut self, is_equal: bool, result: &Expr<'_>, word: &Expr<'_>) {
        let (Some(of), Expr::Const(word)) = (chain(result), word) else { return };
        let (["needs", task, "result"], Some(word)) = (&of[..], word.value.as_str()) else {
            return;
        };
        if !self.task.needs.iter().any(|it| is_same_name(task, it.as_str())) {
            return;
        }
        if !RESULTS.contains(&word) {
            let help = did_you_mean(word, RESULTS);
            let all = || Some(format!("there are {}", RESULTS.join(", ")));
            let message = format!("there is no result `{}`", shorten(word));
            return self.problem(message, help.or_else(all));
        }
        let asks_always = self.task.rule != DependencyRule::AllSucceeded;
        if is_equal && word != RESULTS[0] && !asks_always {
            let message = format!(
                "this never holds: unless told otherwise a task is asked only once all it needs \
                 succeeded, so no result is `{word}`"
            );
            self.problem(message, "add `rule: all_done`".to_owned());
        }
    }

    /// What is taken for true or false should be that.
    fn truth(&mut self, expr: &Expr<'_>) {
        let kind = kind_of(expr);
        if let Kind::Text | Kind::Number = kind {
            let name = named(expr);
            let message = format!("{name} is {}, not true or false", kind.words());
            self.problem(message, help_for(kind, name.trim_matches('`')));
        }
    }

    fn call(&mut self, called: &Expr<'_>, arguments: usize) {
        match called {
            Expr::Var(var) if FUNCTIONS.contains(&var.id) => {
                if arguments > 0 {
                    let help = "it is about all upstream tasks; for one write `needs.TASK.result`";
                    self.problem(format!("`{}()` takes nothing", var.id), help.to_owned());
                }
            }
            Expr::Var(var) => {
                let message = format!("there is no function `{}()`", shorten(var.id));
                let known =
                    || "there are success(), failure(), always() and cancelled()".to_owned();
                let help = did_you_mean(var.id, FUNCTIONS).unwrap_or_else(known);
                self.problem(message, help);
            }
            Expr::GetAttr(it) => {
                let help = format!("write a filter, such as `… | {}`", FILTERS[19]);
                self.problem(format!("there is no method `.{}()`", shorten(it.name)), help);
            }
            _ => self.problem("only functions can be called", None),
        }
    }

    fn name(&mut self, chain: &Chain<'_>) {
        let written = chain.join(".");
        let shown = shorten(&written);
        match chain[..] {
            ["params", name] => self.param(name),
            ["needs", task, "result"] => drop(self.upstream(task)),
            ["needs", task, "outputs", key] => self.output(task, key),
            ["run", name] if RUN_TEXTS.contains(&name) || RUN_NUMBERS.contains(&name) => {}
            ["task", "id"] => {}
            ["run", name] => {
                let known = RUN_NUMBERS.into_iter().chain(RUN_TEXTS);
                let help = did_you_mean(name, known.clone());
                let all = || Some(format!("there are {}", known.collect::<Vec<_>>().join(", ")));
                self.problem(format!("a run has no `{}`", shorten(name)), help.or_else(all));
            }
            ["needs", task, ref rest @ ..] => {
                if self.upstream(task) {
                    let help = match rest {
                        [] => None,
                        [word, ..] => did_you_mean(word, ["result", "outputs"]),
                    };
                    let all = format!("write needs.{task}.result or needs.{task}.outputs.KEY");
                    self.problem(format!("`{shown}` is no value"), help.unwrap_or(all));
                }
            }
            [group, ..] if GROUPS.contains(&group) => {
                let help = "write params.NAME, needs.TASK.result, needs.TASK.outputs.KEY, run.NAME or task.id";
                self.problem(format!("`{shown}` is no value"), help.to_owned());
            }
            [first @ ("item" | "matrix" | "array"), ..] => {
                let variable = match first {
                    "item" => "MUSTER_ITEM",
                    "matrix" => "MUSTER_MATRIX_AXIS",
                    _ => "MUSTER_ARRAY_INDEX",
                };
                let help = format!(
                    "let the script look at ${variable}, and end where there is nothing to do"
                );
                let message =
                    format!("`{shown}` is about one index, and an `if` about the whole task");
                self.problem(message, help);
            }
            [first, ..] => self.unknown(first, &shown),
            [] => {}
        }
    }

    fn unknown(&mut self, first: &str, shown: &str) {
        let help = if FUNCTIONS.contains(&first) {
            Some(format!("write `{first}()`"))
        } else if self.has_dash_before(first) {
            Some("write names with `_` for `-`".to_owned())
        } else {
            did_you_mean(first, GROUPS.into_iter().chain(FUNCTIONS)).or_else(|| {
                Some(format!("for the text itself write it in quotes: '{}'", shorten(first)))
            })
        };
        self.problem(format!("there is no `{shown}` in expressions"), help);
    }

    /// Whether `word` is the end of a name with a dash, which an expression takes for a minus.
    fn has_dash_before(&self, word: &str) -> bool {
        let params = self.spec.params.keys().map(|name| name.as_str());
        let tasks = self.task.needs.iter().map(|name| name.as_str());
        let outputs = self.spec.tasks.iter().flat_map(|task| task.outputs.iter().map(|key| &**key));
        params.chain(tasks).chain(outputs).any(|name| name.split('-').skip(1).any(|it| it == word))
    }

    fn param(&mut self, name: &str) {
        let known = || self.spec.params.keys().map(|name| name.as_str());
        if known().any(|it| is_same_name(name, it)) {
            return;
        }
        let name = shorten(name);
        let help = did_you_mean(&name, known())
            .unwrap_or_else(|| format!("declare it: `params: {{{name}: …}}`"));
        self.problem(format!("the workflow has no parameter `{name}`"), help);
    }

    /// Whether this is a task that the task needs.
    fn upstream(&mut self, name: &str) -> bool {
        let needs = || self.task.needs.iter().map(|name| name.as_str());
        if needs().any(|it| is_same_name(name, it)) {
            return true;
        }
        let shown = shorten(name);
        let tasks = &self.spec.tasks;
        match tasks.iter().find(|task| is_same_name(name, task.id.as_str())) {
            Some(found) => {
                let message = format!(
                    "`{}` does not need `{}`, so it cannot ask about it",
                    self.task.id, found.id
                );
                let help = format!("add `{}` to the `needs` of `{}`", found.id, self.task.id);
                self.problem(message, help);
            }
            None => {
                let help = did_you_mean(&shown, needs());
                self.problem(format!("there is no task `{shown}`"), help);
            }
        }
        false
    }

    fn output(&mut self, task: &str, key: &str) {
        if !self.upstream(task) {
            return;
        }
        let found = self.spec.tasks.iter().find(|it| is_same_name(task, it.id.as_str()));
        let Some(found) = found else { return };
        if found.outputs.iter().any(|output| is_same_name(key, output)) {
            return;
        }
        let (key, id) = (shorten(key), &found.id);
        let help =
            did_you_mean(&key, found.outputs.iter().map(|output| &**output)).unwrap_or_else(|| {
                format!("add it to the `outputs` of `{id}`, and write it to $MUSTER_OUTPUT there")
            });
        self.problem(format!("`{id}` declares no output `{key}`"), help);
    }
}

/// Whether an expression calls a function about upstream tasks.
fn asks_for_ends(expr: &Expr<'_>) -> bool {
    all_parts(expr).any(|part| {
        let Expr::Call(it) = part else { return false };
        matches!(&it.expr, Expr::Var(var) if FUNCTIONS.contains(&var.id))
    })
}

/// A part of an expression, by name if it has one.
fn named(expr: &Expr<'_>) -> String {
    match (chain(expr), expr) {
        (Some(chain), _) => format!("`{}`", shorten(&chain.join("."))),
        (None, Expr::Const(constant)) => format!("`{}`", shorten(&format!("{:?}", constant.value))),
        (None, Expr::Filter(it)) => format!("`… | {}`", shorten(it.name)),
        _ => "one side".to_owned(),
    }
}

fn help_for(kind: Kind, name: &str) -> Option<String> {
    let name = shorten(name);
    match kind {
        Kind::Text => Some(format!("compare it: `{name} == 'yes'`; or write `{name} | bool`")),
        Kind::Number => Some(format!("compare it: `{name} > 0`")),
        Kind::Truth | Kind::Unknown => None,
    }
}
