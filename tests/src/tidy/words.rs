//! One word, one meaning: the words that the glossary gives to others.

use super::{Finding, Tree};

/// Words that mean something else in every other system, in their singular.
const FORBIDDEN: [(&str, &str); 7] = [
    ("job", "workflow, run or task"),
    ("instance", "run, or \"for example\""),
    ("execution", "run or attempt"),
    ("node", "master, peer, worker or task"),
    ("agent", "worker"),
    ("allocation", "attempt or placement"),
    ("activity", "task"),
];

/// What people write, and name.
const CHECKED: [&str; 9] =
    [".rs", ".md", ".proto", ".toml", ".yaml", ".py", ".sh", "justfile", ".ci/run"];

/// Forbidden words in names, comments and texts, and in the names of files. A word counts wherever an identifier or a
/// text has a part of its own for it: `NodeId`, `node_id`, `nodes` and "a node", but not `annodes`.
pub fn forbidden(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.files().iter().filter(|file| file.is_one_of(&CHECKED)) {
        let mut find = |line, text: &str| {
            for (word, instead) in forbidden_in(text) {
                findings.push(Finding {
                    rule: "word",
                    subject: word.to_owned(),
                    path: file.path.clone(),
                    line,
                    message: format!("`{word}` is not a word of ours: say {instead}"),
                });
            }
        };
        find(0, &file.path);
        for (line, text) in file.lines() {
            find(line, text);
        }
    }
    findings
}

/// The forbidden words in a text, each as often as it stands there.
fn forbidden_in(text: &str) -> Vec<(&'static str, &'static str)> {
    let runs = text.split(|c: char| !c.is_ascii_alphabetic()).filter(|run| !run.is_empty());
    let found = runs.flat_map(parts).filter_map(|part| {
        let singular = singular(&part);
        FORBIDDEN.into_iter().find(|(word, _)| *word == singular)
    });
    found.collect()
}

/// The words of a name in camel case, in lower case: `HTTPNodeId` has `http`, `node`, `id`.
fn parts(name: &str) -> Vec<String> {
    let letters: Vec<char> = name.chars().collect();
    let mut parts = Vec::new();
    let mut start = 0;
    for at in 1..letters.len() {
        let rises = letters[at - 1].is_lowercase() && letters[at].is_uppercase();
        let ends_capitals = letters[at - 1].is_uppercase()
            && letters[at].is_uppercase()
            && letters.get(at + 1).is_some_and(|next| next.is_lowercase());
        if rises || ends_capitals {
            parts.push(letters[start..at].iter().collect::<String>().to_lowercase());
            start = at;
        }
    }
    parts.push(letters[start..].iter().collect::<String>().to_lowercase());
    parts
}

fn singular(word: &str) -> String {
    match word.strip_suffix("ies") {
        Some(stem) => format!("{stem}y"),
        None => word.strip_suffix('s').unwrap_or(word).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<&'static str> {
        forbidden_in(text).into_iter().map(|(word, _)| word).collect()
    }

    #[test]
    fn finds_words_as_parts_of_names() {
        assert_eq!(words("struct NodeId; let job_ids = agents;"), ["node", "job", "agent"]);
        assert_eq!(
            words("HTTPNodes, AllocationID, activities"),
            ["node", "allocation", "activity"]
        );
        assert_eq!(words("for instance, EXECUTION_MAX"), ["instance", "execution"]);
    }

    #[test]
    fn leaves_other_words_alone() {
        assert_eq!(words("anode nodejs jobless agency executions_"), ["execution"]);
        assert_eq!(words("executor, instant, active, placed, agentless"), [""; 0]);
    }

    #[test]
    fn looks_at_names_of_files_too() {
        let tree = Tree::of(&[("crates/x/src/node/mod.rs", "//! Fine.\n"), ("a.svg", "node")]);
        let found = forbidden(&tree);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].line, found[0].subject.as_str()), (0, "node"));
    }
}
