//! What can be told of an expression without evaluating it: the names in it, and what its parts are.
//!
//! The library compares a text with a number without a word, and takes any text that is not empty for true, `"false"`
//! included. In a condition that decides whether something is deployed, both are worth an error beforehand.

use minijinja::machinery::ast::{BinOpKind, CallArg, Expr, UnaryOpKind};
use minijinja::value::ValueKind;

use crate::scope::{FUNCTIONS, RUN_NUMBERS};

/// What a part of an expression comes to, as far as that is plain to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Number,
    Truth,
    Unknown,
}

impl Kind {
    pub(crate) fn words(self) -> &'static str {
        match self {
            Kind::Text => "a text",
            Kind::Number => "a number",
            Kind::Truth => "true or false",
            Kind::Unknown => "something",
        }
    }
}

/// A dotted name: `needs.extract.outputs.rows`.
pub(crate) type Chain<'e> = Vec<&'e str>;

/// The dotted name that an expression is, if it is one.
pub(crate) fn chain<'e>(expr: &Expr<'e>) -> Option<Chain<'e>> {
    let mut names = Vec::new();
    let mut at = expr;
    loop {
        match at {
            Expr::Var(var) => {
                names.push(var.id);
                names.reverse();
                return Some(names);
            }
            Expr::GetAttr(inner) => {
                names.push(inner.name);
                at = &inner.expr;
            }
            _ => return None,
        }
    }
}

/// What an expression comes to.
pub(crate) fn kind_of(expr: &Expr<'_>) -> Kind {
    if let Some(chain) = chain(expr) {
        return match chain[..] {
            ["run", name] if RUN_NUMBERS.contains(&name) => Kind::Number,
            ["params" | "run" | "task", _]
            | ["needs", _, "result"]
            | ["needs", _, "outputs", _] => Kind::Text,
            _ => Kind::Unknown,
        };
    }
    match expr {
        Expr::Const(constant) => match constant.value.kind() {
            ValueKind::String => Kind::Text,
            ValueKind::Number => Kind::Number,
            ValueKind::Bool => Kind::Truth,
            _ => Kind::Unknown,
        },
        Expr::Compare(_) | Expr::Test(_) => Kind::Truth,
        Expr::UnaryOp(it) => match it.op {
            UnaryOpKind::Not => Kind::Truth,
            UnaryOpKind::Neg => Kind::Number,
        },
        Expr::BinOp(it) => match it.op {
            BinOpKind::ScAnd | BinOpKind::ScOr => {
                let (left, right) = (kind_of(&it.left), kind_of(&it.right));
                if left == right { left } else { Kind::Unknown }
            }
            BinOpKind::Concat => Kind::Text,
            op if compares(op) || matches!(op, BinOpKind::In) => Kind::Truth,
            BinOpKind::Sub
            | BinOpKind::Div
            | BinOpKind::FloorDiv
            | BinOpKind::Rem
            | BinOpKind::Pow => Kind::Number,
            _ => Kind::Unknown,
        },
        Expr::Filter(it) => match it.name {
            "int" | "float" | "length" | "count" | "abs" | "round" | "sum" => Kind::Number,
            "lower" | "upper" | "title" | "trim" | "replace" | "join" | "string" => Kind::Text,
            "bool" => Kind::Truth,
            _ => Kind::Unknown,
        },
        Expr::Call(it) => match &it.expr {
            Expr::Var(var) if FUNCTIONS.contains(&var.id) => Kind::Truth,
            _ => Kind::Unknown,
        },
        _ => Kind::Unknown,
    }
}

/// Whether an operator goes by size or equality, so that both sides should be of one kind.
pub(crate) fn compares(op: BinOpKind) -> bool {
    matches!(
        op,
        BinOpKind::Eq
            | BinOpKind::Ne
            | BinOpKind::Lt
            | BinOpKind::Lte
            | BinOpKind::Gt
            | BinOpKind::Gte
    )
}

/// The expression within an argument.
pub(crate) fn argument<'a, 'e>(argument: &'a CallArg<'e>) -> &'a Expr<'e> {
    match argument {
        CallArg::Pos(expr)
        | CallArg::Kwarg(_, expr)
        | CallArg::PosSplat(expr)
        | CallArg::KwargSplat(expr) => expr,
    }
}

/// An expression and all its parts, from left to right, each before its own parts; a dotted name is one. Trees are as
/// deep as texts are long, so nothing here calls itself.
pub(crate) fn all_parts<'a, 'e>(expr: &'a Expr<'e>) -> impl Iterator<Item = &'a Expr<'e>> {
    let mut open = vec![expr];
    std::iter::from_fn(move || {
        let next = open.pop()?;
        if chain(next).is_none() {
            let parts = parts(next);
            open.extend(parts.into_iter().rev());
        }
        Some(next)
    })
}

/// The parts of an expression, one level down.
fn parts<'a, 'e>(expr: &'a Expr<'e>) -> Vec<&'a Expr<'e>> {
    let mut parts: Vec<&'a Expr<'e>> = Vec::new();
    match expr {
        Expr::Var(_) | Expr::Const(_) => {}
        Expr::Slice(it) => {
            parts.push(&it.expr);
            parts.extend([&it.start, &it.stop, &it.step].into_iter().flatten());
        }
        Expr::UnaryOp(it) => parts.push(&it.expr),
        Expr::BinOp(it) => parts.extend([&it.left, &it.right]),
        Expr::Compare(it) => {
            parts.push(&it.expr);
            parts.extend(it.ops.iter().map(|op| &op.expr));
        }
        Expr::IfExpr(it) => {
            parts.extend([&it.test_expr, &it.true_expr]);
            parts.extend(&it.false_expr);
        }
        Expr::Filter(it) => {
            parts.extend(&it.expr);
            parts.extend(it.args.iter().map(argument));
        }
        Expr::Test(it) => {
            parts.push(&it.expr);
            parts.extend(it.args.iter().map(argument));
        }
        Expr::GetAttr(it) => parts.push(&it.expr),
        Expr::GetItem(it) => parts.extend([&it.expr, &it.subscript_expr]),
        // What is called is no value; the caller looks at its name.
        Expr::Call(it) => parts.extend(it.args.iter().map(argument)),
        Expr::List(it) => parts.extend(&it.items),
        Expr::Tuple(it) => parts.extend(&it.items),
        Expr::Map(it) => parts.extend(it.keys.iter().chain(&it.values)),
    }
    parts
}
