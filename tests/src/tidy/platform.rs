//! What only `crates/platform` may ask of the machine, so that a simulation can take its place (ADR 0018).

use super::{Finding, SourceFile, Tree};

/// Crates that run in simulations.
const SIMULATED: [&str; 4] = ["crates/raft/", "crates/master/", "crates/worker/", "crates/client/"];
/// Those of them whose files lie on a simulated disk, all of them.
const ON_A_DISK: [&str; 2] = ["crates/raft/", "crates/master/"];

/// What must not be named, where, and what is there instead.
struct Ban {
    names: &'static [&'static str],
    crates: &'static [&'static str],
    instead: &'static str,
}

const BANS: [Ban; 4] = [
    Ban {
        names: &[
            "tokio::net",
            "TcpListener",
            "TcpStream",
            "TcpSocket",
            "TcpIncoming",
            "connect_lazy(",
        ],
        crates: &SIMULATED,
        instead: "`Platform::listen`, `connect` and `connector`",
    },
    Ban {
        names: &[
            "thread::spawn",
            "thread::scope",
            "thread::Builder",
            "spawn_blocking",
            "block_in_place",
            "block_on(",
            "new_multi_thread",
            "new_current_thread",
        ],
        crates: &SIMULATED,
        instead: "`Platform::blocking`, `dedicate` and `executor`",
    },
    Ban {
        names: &["SystemTime", "clock_gettime", STD_INSTANT],
        crates: &SIMULATED,
        instead: "`Platform::wall_clock`, `since_boot`, and `tokio::time::Instant`",
    },
    Ban {
        names: &["std::fs", "tokio::fs", "statvfs"],
        crates: &ON_A_DISK,
        instead: "`muster_platform::Disk`",
    },
];

/// Also found where it is imported together with others.
const STD_INSTANT: &str = "std::time::Instant";

/// Sockets, threads, clocks and files in the product code of simulated crates. Tests are free.
pub fn bypasses(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for ban in &BANS {
        let sources = tree.files().iter().filter(|file| {
            let within = ban.crates.iter().find_map(|prefix| file.path.strip_prefix(prefix));
            within.is_some_and(|path| path.starts_with("src/") && path.ends_with(".rs"))
        });
        for file in sources {
            for (line, text) in product_lines(file) {
                let found = ban.names.iter().find(|name| names(text, name));
                findings.extend(found.map(|name| Finding {
                    rule: "platform",
                    subject: (*name).to_owned(),
                    path: file.path.clone(),
                    line,
                    message: format!("`{name}` goes past the platform; use {}", ban.instead),
                }));
            }
        }
    }
    findings
}

/// The lines before the tests at the end of a file, without comments.
fn product_lines(file: &SourceFile) -> impl Iterator<Item = (usize, &str)> {
    let end = file.text.find("#[cfg(test)]\nmod ").unwrap_or(file.text.len());
    let lines = (1..).zip(file.text[..end].lines());
    lines.filter(|(_, text)| !text.trim_start().starts_with("//"))
}

fn names(text: &str, name: &str) -> bool {
    let is_grouped = name == STD_INSTANT
        && text.contains("std::time::{")
        && text.split(|c: char| !c.is_alphanumeric()).any(|word| word == "Instant");
    is_grouped || text.contains(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<(String, usize)> {
        let findings = bypasses(&Tree::of(&[(path, text)]));
        findings.into_iter().map(|it| (it.subject, it.line)).collect()
    }

    #[test]
    fn finds_what_goes_past_the_platform() {
        let text = "use std::time::{Duration, Instant};\nuse tokio::time::Instant;\n\
                    let x = std::fs::read(p);\nlet y = tokio::task::spawn_blocking(f);\n\
                    let z = endpoint.connect_lazy();\nlet t = std::time::Instant::now();\n";
        let mut found = found("crates/raft/src/x.rs", text);
        found.sort_by_key(|(_, line)| *line);
        let expected = [
            (STD_INSTANT, 1),
            ("std::fs", 3),
            ("spawn_blocking", 4),
            ("connect_lazy(", 5),
            (STD_INSTANT, 6),
        ];
        assert_eq!(found, expected.map(|(name, line)| (name.to_owned(), line)));
    }

    #[test]
    fn leaves_the_platform_itself_tests_and_comments_alone() {
        let text = "// as TcpStream does\nlet c = endpoint.connect_with_connector_lazy(x);\nuse std::time::Duration;\n\
                    #[cfg(test)]\nmod tests {\n    use std::net::TcpListener;\n}\n";
        assert_eq!(found("crates/raft/src/x.rs", text), []);
        let text = "use tokio::net::TcpListener;\n";
        for path in ["crates/platform/src/system.rs", "crates/raft/tests/x.rs", "crates/raft/x.md"]
        {
            assert_eq!(found(path, text), []);
        }
    }
}
