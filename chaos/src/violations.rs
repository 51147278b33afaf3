//! Broken promises, told apart, and how often what happened.

use std::collections::BTreeMap;
use std::fmt;

use muster_checker::Verdict;

/// So many violations of one promise are told in full; the rest is counted.
const TOLD_MAX: usize = 6;

/// Broken promises by name, so that a flood of one does not hide another.
#[derive(Debug, Default)]
pub(crate) struct Violations {
    found: BTreeMap<&'static str, Vec<String>>,
}

impl Violations {
    pub(crate) fn add(&mut self, invariant: &'static str, what: impl Into<String>) {
        self.found.entry(invariant).or_default().push(what.into());
    }

    /// Takes over what the checker found.
    pub(crate) fn add_verdict(&mut self, verdict: &Verdict) {
        for violation in &verdict.violations {
            self.add(violation.invariant.code(), format!("{}: {}", violation.at, violation.what));
        }
        if verdict.dropped > 0 {
            self.add("more", format!("{} violations that were not kept", verdict.dropped));
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.found.values().map(Vec::len).sum()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// The name of the promise of each.
    #[cfg(test)]
    pub(crate) fn codes(&self) -> Vec<&'static str> {
        self.found.iter().flat_map(|(name, all)| all.iter().map(|_| *name)).collect()
    }
}

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (invariant, all) in &self.found {
            for what in all.iter().take(TOLD_MAX) {
                writeln!(f, "VIOLATION {invariant}: {what}")?;
            }
            if all.len() > TOLD_MAX {
                writeln!(f, "VIOLATION {invariant}: and {} more", all.len() - TOLD_MAX)?;
            }
        }
        Ok(())
    }
}

/// How often what happened.
#[derive(Debug, Default)]
pub(crate) struct Counters(BTreeMap<&'static str, u64>);

impl Counters {
    pub(crate) fn add(&mut self, name: &'static str, count: u64) {
        *self.0.entry(name).or_default() += count;
    }
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<String> =
            self.0.iter().map(|(name, count)| format!("{name} {count}")).collect();
        f.write_str(&all.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_one_promise_does_not_hide_another() {
        let mut violations = Violations::default();
        for number in 0..100 {
            violations.add("I2", format!("run {number} is gone"));
        }
        violations.add("P1", "two at once");
        let told = violations.to_string();
        assert_eq!(told.lines().count(), TOLD_MAX + 2, "{told}");
        assert!(told.contains("VIOLATION I2: and 94 more\nVIOLATION P1: two at once\n"), "{told}");
        assert_eq!((violations.len(), violations.codes().last()), (101, Some(&"P1")));
    }
}
