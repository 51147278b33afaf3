//! Exceptions from the rules, each with its reason.
//!
//! A line of `exceptions.txt` reads `rule | subject | path prefix | reason`; a subject `*` stands for all.

use super::Finding;

/// One exception.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Exception {
    line: usize,
    rule: String,
    subject: String,
    prefix: String,
}

impl Exception {
    fn covers(&self, finding: &Finding) -> bool {
        self.rule == finding.rule
            && (self.subject == "*" || self.subject == finding.subject)
            && finding.path.starts_with(&self.prefix)
    }
}

/// All exceptions.
#[derive(Clone, Debug, Default)]
pub struct Exceptions {
    all: Vec<Exception>,
}

impl Exceptions {
    /// Those of this repository. The error names the malformed line.
    pub fn of_this_repository() -> Result<Self, String> {
        Self::parse(include_str!("exceptions.txt"))
    }

    /// Reads the form described above; blank lines and lines that begin with `#` mean nothing.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut all = Vec::new();
        for (line, written) in (1..).zip(text.lines()) {
            if written.trim().is_empty() || written.starts_with('#') {
                continue;
            }
            let parts: Vec<&str> = written.split('|').map(str::trim).collect();
            match parts[..] {
                [rule, subject, prefix, reason] if !reason.is_empty() => all.push(Exception {
                    line,
                    rule: rule.to_owned(),
                    subject: subject.to_owned(),
                    prefix: prefix.to_owned(),
                }),
                _ => return Err(format!("exceptions.txt:{line}: an exception has four parts")),
            }
        }
        Ok(Exceptions { all })
    }

    /// What is left of the findings of `rule`: those without an exception, and the exceptions without a finding.
    pub fn apply(&self, rule: &str, findings: &[Finding]) -> Vec<String> {
        let left = findings.iter().filter(|finding| !self.all.iter().any(|it| it.covers(finding)));
        let unused = self.all.iter().filter(|exception| {
            exception.rule == rule && !findings.iter().any(|finding| exception.covers(finding))
        });
        let unused = unused
            .map(|it| format!("exceptions.txt:{}: nothing needs this exception any more", it.line));
        left.map(Finding::to_string).chain(unused).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(subject: &str, path: &str) -> Finding {
        Finding {
            rule: "word",
            subject: subject.to_owned(),
            path: path.to_owned(),
            line: 1,
            message: "found".to_owned(),
        }
    }

    #[test]
    fn covers_by_rule_subject_and_path() {
        let exceptions = Exceptions::parse("# why\n\nword | x | a/ | because\n").unwrap();
        assert_eq!(exceptions.apply("word", &[finding("x", "a/b.rs")]), [""; 0]);
        assert_eq!(
            exceptions.apply("word", &[finding("x", "a/b.rs"), finding("x", "c.rs")]).len(),
            1
        );
        assert_eq!(
            exceptions.apply("word", &[finding("x", "a/b.rs"), finding("y", "a/b.rs")]).len(),
            1
        );
    }

    #[test]
    fn reports_what_nothing_needs() {
        let exceptions = Exceptions::parse("word | x | a/ | because\n").unwrap();
        assert_eq!(exceptions.apply("word", &[]).len(), 1);
        assert_eq!(exceptions.apply("line", &[]), [""; 0]);
    }

    #[test]
    fn an_exception_needs_a_reason() {
        assert!(Exceptions::parse("word | x | a/ |\n").is_err());
        assert!(Exceptions::parse("word | x | a/\n").is_err());
    }
}
