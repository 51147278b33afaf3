//! What a `${name}` stands for in a task: a parameter of its own, an output of a task before it, a parameter of the
//! workflow, or something built in. The first of these that has the name wins.

use std::collections::{BTreeMap, BTreeSet};

use super::times::Time;

/// References that lead from one parameter to the next.
const DEPTH_MAX: usize = 8;

/// What a name stands for, in pieces that follow each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Value {
    pub(super) pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Text(String),
    /// A parameter of the run; `otherwise` is what it stands for if nobody gave a value.
    Param {
        name: String,
        otherwise: Option<Value>,
    },
    Output {
        task: String,
        key: String,
    },
    Time(Time),
}

impl Value {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Value { pieces: vec![Piece::Text(text.into())] }
    }

    /// The text it certainly is, if that is known before the run.
    pub(super) fn known(&self) -> String {
        let text = |piece: &Piece| match piece {
            Piece::Text(text) => Some(text.clone()),
            _ => None,
        };
        self.pieces.iter().filter_map(text).collect()
    }

    /// The tasks whose outputs it is made of.
    pub(super) fn tasks(&self) -> BTreeSet<&str> {
        let mut tasks = BTreeSet::new();
        for piece in &self.pieces {
            if let Piece::Output { task, .. } = piece {
                tasks.insert(task.as_str());
            }
        }
        tasks
    }
}

/// What the names of a task stand for.
#[derive(Debug, Default)]
pub(super) struct Scope {
    /// The task's own parameters, as written.
    pub(super) own: BTreeMap<String, String>,
    /// Outputs of tasks before it; the error says why one cannot be told.
    pub(super) outputs: BTreeMap<String, Result<Value, String>>,
    /// The workflow's parameters: their new names, and what was written.
    pub(super) params: BTreeMap<String, (String, String)>,
    /// Names of the workflow and the task, which DolphinScheduler gives to scripts.
    pub(super) fixed: BTreeMap<String, String>,
}

impl Scope {
    /// What a name stands for; `None` if there is nothing of that name.
    ///
    /// # Errors
    /// Why that cannot be converted, in words.
    pub(super) fn find(&self, name: &str) -> Option<Result<Value, String>> {
        self.find_below(name, 0)
    }

    fn find_below(&self, name: &str, depth: usize) -> Option<Result<Value, String>> {
        if depth > DEPTH_MAX {
            return Some(Err(format!("the parameter `{name}` refers to itself")));
        }
        if let Some(written) = self.own.get(name) {
            // An empty one takes what comes from outside.
            let is_itself = written.trim() == format!("${{{name}}}");
            if !written.is_empty() && !is_itself {
                return Some(self.read(written, depth));
            }
            return Some(self.outside(name, depth).unwrap_or_else(|| Ok(Value::text(""))));
        }
        self.outside(name, depth)
    }

    fn outside(&self, name: &str, depth: usize) -> Option<Result<Value, String>> {
        if let Some(output) = self.outputs.get(name) {
            return Some(output.clone());
        }
        if let Some((new, written)) = self.params.get(name) {
            return Some(self.read(written, depth).map(|value| {
                let is_fixed = value.pieces.iter().all(|piece| matches!(piece, Piece::Text(_)));
                let otherwise = (!is_fixed).then_some(value);
                Value { pieces: vec![Piece::Param { name: new.clone(), otherwise }] }
            }));
        }
        if let Some(time) = Time::built_in(name) {
            return Some(Ok(Value { pieces: vec![Piece::Time(time)] }));
        }
        self.fixed.get(name).map(|text| Ok(Value::text(text)))
    }

    /// A written value with its references.
    fn read(&self, written: &str, depth: usize) -> Result<Value, String> {
        let mut pieces = Vec::new();
        let mut rest = written;
        while let Some(at) = rest.find("${").into_iter().chain(rest.find("$[")).min() {
            let close = if rest[at..].starts_with("${") { '}' } else { ']' };
            let Some(length) = rest[at..].find(close) else { break };
            let inside = &rest[at + 2..at + length];
            if at > 0 {
                pieces.push(Piece::Text(rest[..at].to_owned()));
            }
            if close == ']' {
                pieces.push(Piece::Time(time(inside)?));
            } else {
                let found = self.find_below(inside, depth + 1).ok_or_else(|| {
                    format!(
                        "`${{{inside}}}` stands in a parameter and is no parameter of the export"
                    )
                })?;
                pieces.extend(found?.pieces);
            }
            rest = &rest[at + length + 1..];
        }
        if !rest.is_empty() || pieces.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        Ok(Value { pieces })
    }

    /// The text of a parameter if it is one before any run, that is without references.
    pub(super) fn fixed_text(&self, written: &str) -> Option<String> {
        let value = self.read(written, 0).ok()?;
        let is_text = value.pieces.iter().all(|piece| matches!(piece, Piece::Text(_)));
        is_text.then(|| value.known())
    }

    /// The text of a workflow's parameter, for those who look at what it may hold.
    pub(super) fn default_of(&self, new_name: &str) -> Option<&str> {
        let mut params = self.params.values();
        params.find(|(new, _)| new == new_name).map(|(_, written)| written.as_str())
    }
}

/// A time expression, or why it is none.
pub(super) fn time(inside: &str) -> Result<Time, String> {
    Time::parse(inside).ok_or_else(|| {
        format!("the time `$[{inside}]` is more than a format and a distance in days")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(own: &[(&str, &str)], params: &[(&str, &str)]) -> Scope {
        let pair = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        Scope {
            own: own.iter().map(pair).collect(),
            params: params
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (key.to_lowercase(), (*value).to_owned())))
                .collect(),
            ..Scope::default()
        }
    }

    #[test]
    fn own_ones_win_and_empty_ones_do_not() {
        let scope = scope(
            &[("a", "own"), ("b", ""), ("c", "${c}")],
            &[("a", "1"), ("b", "2"), ("c", "3"), ("Day", "$[yyyyMMdd-1]")],
        );
        let param = |name: &str, otherwise| {
            Some(Ok(Value { pieces: vec![Piece::Param { name: name.to_owned(), otherwise }] }))
        };
        assert_eq!(scope.find("a"), Some(Ok(Value::text("own"))));
        assert_eq!(scope.find("b"), param("b", None));
        assert_eq!(scope.find("c"), param("c", None));
        let yesterday = Value { pieces: vec![Piece::Time(Time::parse("yyyyMMdd-1").unwrap())] };
        assert_eq!(scope.find("Day"), param("day", Some(yesterday)));
        assert_eq!(scope.find("nothing"), None);
        assert!(scope.find("system.biz.date").unwrap().is_ok());
    }

    #[test]
    fn references_are_followed_and_circles_end() {
        let scope = scope(
            &[("path", "/data/${region}/$[yyyyMMdd]/x"), ("p", "${q}"), ("q", "${p}")],
            &[("region", "eu")],
        );
        let found = scope.find("path").unwrap().unwrap();
        assert_eq!(found.pieces.len(), 5);
        assert_eq!(found.known(), "/data///x");
        assert!(scope.find("p").unwrap().unwrap_err().contains("refers to itself"));
    }
}
