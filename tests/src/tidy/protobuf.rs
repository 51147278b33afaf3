//! Names in `.proto` files, after the standard rules of buf: whoever knows one API of this kind knows ours.

use super::{Finding, SourceFile, Tree};

/// Findings over all `.proto` files, and the number of names looked at.
pub fn names(tree: &Tree) -> (Vec<Finding>, usize) {
    let mut checker = Checker::default();
    for file in tree.files().iter().filter(|file| file.path.ends_with(".proto")) {
        checker.file(file);
    }
    (checker.findings, checker.names)
}

#[derive(Default)]
struct Checker {
    findings: Vec<Finding>,
    names: usize,
}

/// What a `{` opened.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Scope {
    Message,
    /// With its name, and whether its first value was seen.
    Enum(String, bool),
    Service,
    /// A oneof, or the options of a call.
    Other,
}

impl Checker {
    fn file(&mut self, file: &SourceFile) {
        let mut scopes: Vec<Scope> = Vec::new();
        for (line, text) in file.lines() {
            let text = text.split("//").next().unwrap_or_default().trim();
            for statement in text.split_inclusive(['{', '}', ';']) {
                let statement = statement.trim();
                let words: Vec<&str> = words(statement);
                if statement == "}" {
                    scopes.pop();
                } else if statement.ends_with('{') {
                    scopes.push(self.opened(&words, file, line));
                } else {
                    self.statement(&words, scopes.last_mut(), file, line);
                }
            }
        }
    }

    fn opened(&mut self, words: &[&str], file: &SourceFile, line: usize) -> Scope {
        match words {
            ["message", name, ..] => {
                self.expect(is_pascal(name), name, "a message is called in PascalCase", file, line);
                Scope::Message
            }
            ["enum", name, ..] => {
                self.expect(is_pascal(name), name, "an enum is called in PascalCase", file, line);
                Scope::Enum((*name).to_owned(), false)
            }
            ["service", name, ..] => {
                let is_fine = is_pascal(name) && name.ends_with("Service");
                self.expect(is_fine, name, "a service is called `…Service`", file, line);
                Scope::Service
            }
            ["rpc", ..] => {
                self.call(words, file, line);
                Scope::Other
            }
            _ => Scope::Other,
        }
    }

    fn statement(
        &mut self,
        words: &[&str],
        scope: Option<&mut Scope>,
        file: &SourceFile,
        line: usize,
    ) {
        match (words, scope) {
            (["package", package], _) => self.package(package, file, line),
            (["rpc", ..], _) => self.call(words, file, line),
            (["option" | "reserved" | "import" | "syntax", ..] | [], _) => {}
            ([value, "=", number], Some(Scope::Enum(name, has_first))) => {
                let prefix = format!("{}_", upper_snake(name));
                let message = format!("a value of `{name}` is called `{prefix}…`");
                self.expect(value.starts_with(&prefix), value, &message, file, line);
                if !*has_first {
                    let is_fine = *value == format!("{prefix}UNSPECIFIED") && *number == "0";
                    let message = format!("the first value is `{prefix}UNSPECIFIED = 0`");
                    self.expect(is_fine, value, &message, file, line);
                    *has_first = true;
                }
            }
            ([.., name, "=", _], Some(Scope::Message | Scope::Other)) => {
                self.expect(is_snake(name), name, "a field is called in snake_case", file, line);
            }
            _ => {}
        }
    }

    /// `muster.v1` in `proto/muster/v1/`, with a version at the end.
    fn package(&mut self, package: &str, file: &SourceFile, line: usize) {
        let folder = format!("proto/{}/", package.replace('.', "/"));
        let is_versioned = package.rsplit('.').next().is_some_and(|last| {
            last.strip_prefix('v')
                .is_some_and(|number| number.starts_with(|c: char| c.is_ascii_digit()))
        });
        let is_fine = file.path.starts_with(&folder) && is_versioned;
        let message = format!("package `{package}` has a version and its files in `{folder}`");
        self.expect(is_fine, package, &message, file, line);
    }

    /// `rpc GetRun(GetRunRequest) returns (GetRunResponse)`, streams included.
    fn call(&mut self, words: &[&str], file: &SourceFile, line: usize) {
        let names: Vec<&str> = words.iter().filter(|word| **word != "stream").copied().collect();
        let ["rpc", name, request, "returns", response, ..] = names[..] else {
            let message =
                "a call is written on one line: `rpc Name(NameRequest) returns (NameResponse)`";
            self.expect(false, words.get(1).unwrap_or(&"rpc"), message, file, line);
            return;
        };
        let is_fine = is_pascal(name)
            && request == format!("{name}Request")
            && response == format!("{name}Response");
        let message = format!("call `{name}` takes `{name}Request` and returns `{name}Response`");
        self.expect(is_fine, name, &message, file, line);
    }

    fn expect(
        &mut self,
        is_fine: bool,
        subject: &str,
        message: &str,
        file: &SourceFile,
        line: usize,
    ) {
        self.names += 1;
        if !is_fine {
            self.findings.push(Finding {
                rule: "proto",
                subject: subject.to_owned(),
                path: file.path.clone(),
                line,
                message: format!("`{subject}`: {message}"),
            });
        }
    }
}

/// Names, dotted names, numbers and `=`; everything else separates.
fn words(statement: &str) -> Vec<&str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.' || c == '=';
    statement.split(|c: char| !is_part(c)).filter(|word| !word.is_empty()).collect()
}

fn is_pascal(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.chars().all(|c| c.is_ascii_alphanumeric())
}

fn is_snake(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// `TaskStatus` as `TASK_STATUS`.
fn upper_snake(name: &str) -> String {
    let mut snake = String::new();
    for (at, letter) in name.chars().enumerate() {
        if at > 0 && letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_uppercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subjects(text: &str) -> Vec<String> {
        let (findings, _) = names(&Tree::of(&[("proto/a/v1/x.proto", text)]));
        findings.into_iter().map(|finding| finding.subject).collect()
    }

    #[test]
    fn accepts_what_is_well_named() {
        let text = "syntax = \"proto3\";\npackage a.v1; // fine\nimport \"a/v1/y.proto\";\n\
                    service RunService {\n  rpc GetRun(GetRunRequest) returns (GetRunResponse);\n\
                    \x20 rpc Watch(WatchRequest) returns (stream WatchResponse) {}\n}\n\
                    enum TaskStatus {\n  TASK_STATUS_UNSPECIFIED = 0;\n  TASK_STATUS_READY = 1;\n}\n\
                    message GetRunRequest {\n  oneof of {\n    string run_id = 1;\n  }\n\
                    \x20 map<string, uint64> counts = 2;\n  optional bool x = 3;\n  reserved 4;\n\
                    \x20 message Inner { sint32 at = 1; }\n}\n";
        assert_eq!(subjects(text), [""; 0]);
        assert_eq!(names(&Tree::of(&[("proto/a/v1/x.proto", text)])).1, 14);
    }

    #[test]
    fn finds_each_kind_of_bad_name() {
        assert_eq!(subjects("package a;\n"), ["a"]);
        assert_eq!(subjects("package b.v1;\n"), ["b.v1"]);
        assert_eq!(subjects("service Runs {\n}\n"), ["Runs"]);
        assert_eq!(
            subjects("service XService {\n rpc Get(XRequest) returns (GetResponse);\n}\n"),
            ["Get"]
        );
        assert_eq!(
            subjects("service XService {\n rpc Get(GetRequest) returns (X) {}\n}\n"),
            ["Get"]
        );
        assert_eq!(
            subjects("service XService {\n rpc Get(GetRequest)\n returns (GetResponse);\n}\n"),
            ["Get"]
        );
        assert_eq!(subjects("message bad {\n}\n"), ["bad"]);
        assert_eq!(subjects("message M {\n repeated string badName = 1;\n}\n"), ["badName"]);
        assert_eq!(subjects("enum E {\n E_READY = 0;\n}\n"), ["E_READY"]);
        assert_eq!(subjects("enum E {\n E_UNSPECIFIED = 0;\n READY = 1;\n}\n"), ["READY"]);
    }
}
