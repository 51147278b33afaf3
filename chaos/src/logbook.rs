//! What masters and workers say in their own logs, for the checker: who led, what leases workers were confirmed, and
//! when each entry was applied first. All by the time since boot, which every process of the machine reads alike.
//!
//! Masters and workers write one JSON object a line. Lines that are not, such as those of a disk that is made to fail,
//! are evidence at most.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::PathBuf;

use anyhow::{Context, Result};
use muster_checker::{History, Ledger, Nanos, Observed};
use muster_core::ids::{LogIndex, WorkerId};
use serde_json::Value;

use crate::evidence::{self, Evidence, Seen};
use crate::ground::{Ground, Who};
use crate::violations::Violations;

/// What a process is to log so that it can be judged: every entry that a master applies, every renewal of a lease.
pub(crate) const FILTER: &str =
    "warn,openraft=error,muster=info,muster_master::machine=trace,muster_worker=debug";
const NANOS_PER_MICRO: u64 = 1_000;

/// One line of a log.
pub(crate) enum Line<'l> {
    Entry(LogEntry),
    Plain(&'l str),
}

/// What a process said, with what it was about.
pub(crate) struct LogEntry(Value);

impl<'l> Line<'l> {
    /// `None` for a line that begins as an entry and is none.
    pub(crate) fn read(text: &'l str) -> Option<Line<'l>> {
        if !text.starts_with('{') {
            return Some(Line::Plain(text.trim_end()));
        }
        serde_json::from_str(text).ok().map(|value| Line::Entry(LogEntry(value)))
    }
}

impl LogEntry {
    pub(crate) fn message(&self) -> &str {
        self.text("message").unwrap_or_default()
    }

    pub(crate) fn text(&self, field: &str) -> Option<&str> {
        self.0.get("fields")?.get(field)?.as_str()
    }

    pub(crate) fn number(&self, field: &str) -> Option<u64> {
        self.0.get("fields")?.get(field)?.as_u64()
    }

    fn moment(&self, field: &str) -> Option<Nanos> {
        self.number(field).map(|micros| Nanos(micros.saturating_mul(NANOS_PER_MICRO)))
    }
}

/// The log of one process, and how far it was read.
struct Book {
    who: Who,
    path: PathBuf,
    read: u64,
    /// The beginning of a line whose end is not there yet.
    rest: Vec<u8>,
}

/// See the module documentation.
#[derive(Default)]
pub(crate) struct Logbook {
    books: Vec<Book>,
    /// The addresses of masters after they moved.
    moved: Vec<String>,
    history: History,
    applied_at: BTreeMap<LogIndex, Nanos>,
    seen: Seen,
    first_term: Option<u64>,
    leaders: u64,
    leases: u64,
    /// Lines that could not be understood.
    garbled: Vec<String>,
}

impl Logbook {
    /// Of these processes, whose logs need not be there yet.
    pub(crate) fn new(logs: Vec<(Who, PathBuf)>, ground: &Ground) -> Logbook {
        let masters = logs.iter().filter(|(who, _)| matches!(who, Who::Master(_))).count();
        let moved = (0..masters).map(|at| format!("//{}:", ground.addresses_ever(at)[1])).collect();
        let book = |(who, path)| Book { who, path, read: 0, rest: Vec::new() };
        Logbook { books: logs.into_iter().map(book).collect(), moved, ..Logbook::default() }
    }

    /// Reads what was written since the last time.
    pub(crate) fn read(&mut self) -> Result<()> {
        let mut books = std::mem::take(&mut self.books);
        for book in &mut books {
            let fresh = book.fresh().with_context(|| format!("{}", book.path.display()))?;
            for line in fresh.lines() {
                self.take_in(book.who, line);
            }
        }
        self.books = books;
        Ok(())
    }

    /// What faults have brought about, as far as logs tell.
    pub(crate) fn seen(&self) -> &Seen {
        &self.seen
    }

    pub(crate) fn see(&mut self, evidence: Evidence, count: u64) {
        self.seen.add(evidence, count);
    }

    /// When each entry was applied for the first time.
    pub(crate) fn applied_at(&self) -> &BTreeMap<LogIndex, Nanos> {
        &self.applied_at
    }

    /// What the checker is to judge.
    pub(crate) fn history(&self) -> &History {
        &self.history
    }

    /// Whether the logs tell what is needed to judge by them: a text that was changed must not turn a judge off.
    pub(crate) fn check(&self, ledger: &Ledger, violations: &mut Violations) {
        let mut found = |what: String| violations.add("unjudged", what);
        for line in &self.garbled {
            found(format!("a line of a log says too little: {line}"));
        }
        if self.leaders == 0 || self.leases == 0 {
            let (leaders, leases) = (self.leaders, self.leases);
            found(format!("the logs tell of {leaders} leaders and {leases} leases"));
        }
        let placed = ledger.attempts.values().flatten().map(|placed| LogIndex(placed.fence.0));
        let lost = ledger.workers.values().filter_map(|worker| worker.lost);
        let unknown =
            placed.chain(lost).filter(|index| !self.applied_at.contains_key(index)).count();
        if unknown > 0 {
            found(format!("no log tells when {unknown} placements and losses were applied"));
        }
    }

    fn take_in(&mut self, who: Who, text: &str) {
        let Some(line) = Line::read(text) else {
            self.garbled.push(format!("{who}: {text}"));
            return;
        };
        if let Some(evidence) = evidence::of_line(who, &line) {
            self.seen.add(evidence, 1);
        }
        let Line::Entry(entry) = line else { return };
        let understood = match who {
            Who::Master(_) => self.take_in_master(&entry),
            Who::Worker(_) => self.take_in_worker(who, &entry),
        };
        if understood.is_none() {
            self.garbled.push(format!("{who}: {text}"));
        }
    }

    /// `None` if something is missing in the line.
    fn take_in_master(&mut self, entry: &LogEntry) -> Option<()> {
        let at = || entry.moment("since_boot_us");
        let who = || Some((entry.number("member")?, entry.number("term")?));
        match entry.message() {
            "applied" => {
                let (index, at) = (LogIndex(entry.number("index")?), at()?);
                let first = self.applied_at.entry(index).or_insert(at);
                *first = at.min(*first);
            }
            "this master leads" => {
                let (master, term) = who()?;
                self.leaders += 1;
                let first = *self.first_term.get_or_insert(term);
                self.seen.add(Evidence::LeaderChanged, u64::from(term != first));
                self.history.push(at()?, Observed::Leads { master, term });
            }
            "this master leads no more" => {
                let (master, term) = who()?;
                self.history.push(at()?, Observed::StepsDown { master, term });
            }
            _ => {}
        }
        Some(())
    }

    fn take_in_worker(&mut self, who: Who, entry: &LogEntry) -> Option<()> {
        let at = || entry.moment("since_boot_us");
        let incarnation = || entry.number("incarnation");
        let worker = || who.to_string().into();
        let observed = match entry.message() {
            "the lease was renewed" => {
                self.leases += 1;
                let until = entry.moment("end_us")?;
                let (worker, incarnation, left) = (worker(), incarnation()?, until.since(at()?));
                Observed::LeaseConfirmed { worker, incarnation, until, left }
            }
            "the lease was not renewed; all attempts are killed" => {
                Observed::LeaseLapsed { worker: worker(), incarnation: incarnation()? }
            }
            "registered" => {
                let address = entry.text("address")?;
                let has_moved = self.moved.iter().any(|moved| address.contains(moved.as_str()));
                self.seen.add(Evidence::MastersMoved, u64::from(has_moved));
                let id = WorkerId(entry.number("worker")?);
                Observed::WorkerRegistered { worker: worker(), incarnation: incarnation()?, id }
            }
            "holds nothing any more and leaves" => {
                Observed::WorkerLeft { worker: worker(), incarnation: incarnation()? }
            }
            _ => return Some(()),
        };
        self.history.push(at()?, observed);
        Some(())
    }
}

impl Book {
    /// Whole lines that were not read yet.
    fn fresh(&mut self) -> Result<String> {
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(String::new()),
            Err(error) => return Err(error.into()),
        };
        file.seek(SeekFrom::Start(self.read))?;
        let mut bytes = std::mem::take(&mut self.rest);
        self.read += file.read_to_end(&mut bytes)? as u64;
        let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        self.rest = bytes.split_off(end);
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use muster_checker::ledger::WorkerRecord;
    use muster_checker::{Expectations, Invariant, judge};
    use muster_core::time::Millis;

    use super::*;

    /// A story of a lease of 2 s that was confirmed at 10.1 s, and of a leader that began at 9 s and gave its worker up
    /// in the entry 40.
    const STORY: [(Who, &str); 5] = [
        (Who::Master(1), r#""this master leads","term":3,"member":77,"since_boot_us":9000000"#),
        (
            Who::Worker(0),
            r#""registered","worker":5,"incarnation":9,"since_boot_us":10050000,"address":"http://10.99.0.11:7070""#,
        ),
        (
            Who::Worker(0),
            r#""the lease was renewed","incarnation":9,"since_boot_us":10100000,"end_us":12000000"#,
        ),
        (Who::Master(0), r#""applied","index":40,"since_boot_us":LOST"#),
        (Who::Master(1), r#""applied","index":40,"since_boot_us":99000000"#),
    ];

    fn told(lines: &[(Who, String)]) -> Logbook {
        let mut logbook = Logbook { moved: vec!["//10.99.0.51:".to_owned()], ..Logbook::default() };
        lines.iter().for_each(|(who, line)| logbook.take_in(*who, line));
        logbook.history.sort();
        logbook
    }

    fn story(lost_us: u64) -> Vec<(Who, String)> {
        let line = |fields: &str| {
            let fields = fields.replace("LOST", &lost_us.to_string());
            format!("{{\"level\":\"INFO\",\"fields\":{{\"message\":{fields}}}}}")
        };
        STORY.map(|(who, fields)| (who, line(fields))).to_vec()
    }

    /// What the log of that story says.
    fn ledger(logbook: &Logbook) -> Ledger {
        let record = WorkerRecord {
            name: "w0".into(),
            incarnation: 9,
            leases: BTreeMap::from([(LogIndex(8), Millis(2_000))]),
            registered: LogIndex(8),
            lost: Some(LogIndex(40)),
            lost_in_term: Some(3),
        };
        Ledger {
            workers: [(WorkerId(5), record)].into(),
            applied_at: logbook.applied_at().clone(),
            ..Ledger::default()
        }
    }

    fn broken(logbook: &Logbook) -> Vec<Invariant> {
        let expected = Expectations {
            masters: 0,
            lease: Nanos::from_millis(2_000),
            margin: Nanos::from_millis(1_000),
            quorum_age: Nanos::from_millis(500),
            sees_all_attempts: false,
            liveness: None,
        };
        let verdict = judge(logbook.history(), &ledger(logbook), &expected);
        verdict.violations.iter().map(|violation| violation.invariant).collect()
    }

    #[test]
    fn a_worker_may_be_given_up_when_lease_and_margin_are_over() {
        let logbook = told(&story(13_050_000));
        assert_eq!(broken(&logbook), []);
        let mut violations = Violations::default();
        logbook.check(&ledger(&logbook), &mut violations);
        assert_eq!(violations.codes(), [""; 0]);
    }

    #[test]
    fn one_that_is_given_up_before_breaks_a_promise() {
        assert_eq!(
            broken(&told(&story(12_100_000))),
            [Invariant::I12],
            "the lease held until 12 s"
        );
        let mut hasty = story(13_050_000);
        hasty[0].1 = hasty[0].1.replace("9000000", "11000000");
        assert_eq!(broken(&told(&hasty)), [Invariant::I12], "its leader had not waited a lease");
    }

    #[test]
    fn two_leaders_of_one_term_are_one_too_many() {
        let mut lines = story(13_050_000);
        lines.push((Who::Master(0), lines[0].1.replace("77", "78")));
        assert_eq!(broken(&told(&lines)), [Invariant::I18]);
    }

    #[test]
    fn what_changes_with_faults_is_seen() {
        let mut lines = story(13_050_000);
        lines.push((Who::Master(0), lines[0].1.replace("\"term\":3", "\"term\":4")));
        lines.push((Who::Worker(0), lines[1].1.replace("10.99.0.11", "10.99.0.51")));
        let wanted = [Evidence::LeaderChanged, Evidence::MastersMoved];
        assert_eq!(told(&story(13_050_000)).seen().missing(&wanted), wanted);
        assert_eq!(told(&lines).seen().missing(&wanted), []);
    }

    #[test]
    fn logs_that_say_too_little_do_not_pass() {
        let unjudged = |lines: &[(Who, String)]| {
            let logbook = told(lines);
            let mut violations = Violations::default();
            logbook.check(&ledger(&logbook), &mut violations);
            violations.codes().len()
        };
        let lines = story(13_050_000);
        assert_eq!(unjudged(&lines[..3]), 1, "nobody says when the entry was applied");
        assert_eq!(unjudged(&lines[1..]), 1, "nobody leads");
        let mut other = lines.clone();
        other[2].1 = other[2].1.replace("end_us", "until");
        assert_eq!(unjudged(&other), 1, "a field has another name");
    }

    #[test]
    fn a_line_is_read_once_it_is_whole() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("m1.log");
        let mut book = Book { who: Who::Master(1), path: path.clone(), read: 0, rest: Vec::new() };
        assert_eq!(book.fresh().expect("it need not be there"), "");
        std::fs::write(&path, "one\ntw").expect("it can be written");
        assert_eq!(book.fresh().expect("it can be read"), "one\n");
        std::fs::write(&path, "one\ntwo\n").expect("it can be written");
        assert_eq!(book.fresh().expect("it can be read"), "two\n");
    }
}
