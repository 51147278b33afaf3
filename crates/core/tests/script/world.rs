//! The state a transcript acts on, with the names people use for what is in it.

use std::collections::BTreeMap;
use std::sync::Arc;

use muster_checker::{Applying, Auditor};
use muster_core::command::{AttemptRef, Command, Entry};
use muster_core::event::Event;
use muster_core::ids::{Fence, LogIndex, Name, RunId, TaskIndex, WorkerId};
use muster_core::state::State;
use muster_core::state::cells::{Cells, IndexRange};
use muster_core::state::run::Run;
use muster_core::time::Timestamp;

use super::line::{command, span};
use super::{show, words};

/// A placement that was carried out.
pub(crate) struct Placed {
    run: RunId,
    task: TaskIndex,
    range: IndexRange,
    number: u32,
    fence: Fence,
}

#[derive(Default)]
pub(crate) struct World {
    pub(crate) state: State,
    clock: Timestamp,
    index: u64,
    /// Lines of an entry with several commands.
    joined: Vec<String>,
    is_quiet: bool,
    /// Judges every entry by rules of its own.
    auditor: Auditor,
    placed: Vec<Placed>,
    /// Every run there ever was, as it was when it ended, or was first seen.
    pub(crate) runs: BTreeMap<RunId, Arc<Run>>,
    pub(crate) worker_names: BTreeMap<WorkerId, String>,
}

impl World {
    /// Runs one line and returns its output.
    pub(crate) fn run(&mut self, line: &str) -> String {
        if let Some(line) = line.strip_prefix("+ ") {
            self.joined.push(line.to_owned());
            return String::new();
        }
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        match verb {
            "." => {
                let lines = std::mem::take(&mut self.joined);
                return self.apply(&lines);
            }
            "at" => {
                self.clock = match rest.strip_prefix('+') {
                    Some(rest) => self.clock + span(rest),
                    None => Timestamp(span(rest).0),
                };
                return String::new();
            }
            "events" => {
                self.is_quiet = rest == "off";
                return String::new();
            }
            _ => {}
        }
        if let Some(output) = show::show(self, verb, rest) {
            return output;
        }
        self.apply(&[line.to_owned()])
    }

    /// Applies lines as one entry, on the state and on a replica restored just before it.
    fn apply(&mut self, lines: &[String]) -> String {
        self.index += 1;
        let commands: Vec<Command> = lines.iter().map(|line| command(self, line)).collect();
        let entry = Entry { at: self.clock, commands };
        let mut other = State::restore(self.state.snapshot()).expect("a snapshot can be restored");
        let applied = self.state.apply(LogIndex(self.index), &entry);
        let also = other.apply(LogIndex(self.index), &entry);
        if let Err(violation) = self.state.check() {
            panic!("after `{}`: {violation}", lines.join("; "));
        }
        self.auditor.observe(&Applying {
            replica: 1,
            incarnation: 0,
            index: LogIndex(self.index),
            term: None,
            at: None,
            entry: &entry,
            after: &self.state,
            applied: &applied,
        });
        let verdict = self.auditor.verdict();
        assert!(verdict.violations.is_empty(), "after `{}`: {verdict}", lines.join("; "));
        assert_eq!(applied.replies, also.replies, "a restored replica answers the same");
        assert_eq!(self.state.digest(), other.digest(), "a restored replica has the same digest");
        assert_eq!(self.state.next_deadline(), other.next_deadline(), "and the same deadlines");
        self.remember(&applied.events);
        let mut output = String::new();
        for ((line, command), reply) in lines.iter().zip(&entry.commands).zip(&applied.replies) {
            output += &words::reply(self, line, command, reply);
        }
        if !self.is_quiet {
            for event in &applied.events {
                output += &words::event(self, event);
            }
        }
        if output.is_empty() { "ok\n".to_owned() } else { output }
    }

    fn remember(&mut self, events: &[Event]) {
        for run in self.state.runs().iter() {
            self.runs.entry(run.id).or_insert_with(|| run.clone());
        }
        for worker in self.state.workers().iter() {
            let name: String = worker.name.chars().take(20).collect();
            self.worker_names.insert(worker.id, name);
        }
        for event in events {
            match event {
                Event::RunEnded { run } => drop(self.runs.insert(run.id, run.clone())),
                Event::AttemptPlaced { run, task, range, fence, .. } => {
                    let number =
                        self.latest(*run, *task, range.first).map_or(1, |it| it.number + 1);
                    let (run, task, range, fence) = (*run, *task, *range, *fence);
                    self.placed.push(Placed { run, task, range, number, fence });
                }
                _ => {}
            }
        }
    }

    fn latest(&self, run: RunId, task: TaskIndex, index: u32) -> Option<&Placed> {
        self.placed.iter().rev().find(|it| {
            (it.run, it.task) == (run, task) && (it.range.first..=it.range.last).contains(&index)
        })
    }

    /// The number of the attempt with this fence.
    pub(crate) fn attempt_number(&self, run: RunId, task: TaskIndex, index: u32, at: Fence) -> u32 {
        let found = self.placed.iter().find(|it| {
            (it.run, it.task, it.fence) == (run, task, at)
                && (it.range.first..=it.range.last).contains(&index)
        });
        found.map_or(0, |it| it.number)
    }

    /// `w1`, or `#3`.
    pub(crate) fn worker(&self, text: &str) -> WorkerId {
        match text.strip_prefix('#') {
            Some(number) => WorkerId(number.parse().expect("a worker's number")),
            None => self
                .state
                .worker_by_name(text)
                .map_or_else(|| panic!("no worker {text}"), |it| it.id),
        }
    }

    /// `etl/1`, or `run#9`.
    pub(crate) fn run_id(&self, text: &str) -> RunId {
        if let Some(number) = text.strip_prefix("run#") {
            return RunId(number.parse().expect("a run's number"));
        }
        let found = self.runs.values().find(|run| run.label() == text);
        found.unwrap_or_else(|| panic!("there was no run {text}")).id
    }

    /// `etl/1/a`, `etl/1/x[3-5]` or `etl/1/x[3]`, the latter with its indices, else all of them.
    pub(crate) fn task(&self, text: &str) -> (RunId, TaskIndex, IndexRange) {
        let (text, range) = text.split_once('[').map_or((text, None), |it| (it.0, Some(it.1)));
        let (run, task) = text.rsplit_once('/').unwrap_or_else(|| panic!("`{text}` is not a task"));
        let run_id = self.run_id(run);
        let run = self.runs.get(&run_id);
        let task = match task.strip_prefix("task#") {
            Some(number) => TaskIndex(number.parse().expect("a task's number")),
            None => {
                let tasks = &run.expect("a named task is of a run that was").version.spec.tasks;
                let is_it = |it: &muster_core::spec::TaskSpec| it.id == Name::parse(task).unwrap();
                TaskIndex(tasks.iter().position(is_it).expect("a task of the run") as u32)
            }
        };
        let is_it = |run: &&Arc<Run>| run.task(task).is_some();
        let live = self.state.run(run_id).filter(is_it).or(run.filter(is_it));
        let all = live.and_then(|run| run.task(task)).map(|task| task.cells.indices());
        let number = |text: &str| text.parse().expect("an index");
        let range = match range.map(|it| it.trim_end_matches(']')) {
            None => all.unwrap_or(IndexRange::single(0)),
            Some(range) => match range.split_once('-') {
                Some((first, last)) => IndexRange { first: number(first), last: number(last) },
                None => IndexRange::single(number(range)),
            },
        };
        (run_id, task, range)
    }

    /// `etl/1/a#2` by the attempt's number, or `etl/1/a@7` by its fence.
    pub(crate) fn attempt(&self, text: &str) -> AttemptRef {
        if let Some((text, fence)) = text.split_once('@') {
            let (run, task, range) = self.task(text);
            return AttemptRef { run, task, range, fence: Fence(fence.parse().expect("a fence")) };
        }
        let (text, number) = text.rsplit_once('#').expect("an attempt is `task#number`");
        let number: u32 = number.parse().expect("an attempt's number");
        let (run, task, range) = self.task(text);
        let found = self.placed.iter().find(|it| {
            (it.run, it.task, it.number) == (run, task, number)
                && it.range.intersect(range).is_some()
        });
        let fence = found.unwrap_or_else(|| panic!("there was no attempt {text}#{number}")).fence;
        AttemptRef { run, task, range, fence }
    }

    /// `etl/1/x[3-5]`.
    pub(crate) fn label(&self, run: RunId, task: TaskIndex, range: IndexRange) -> String {
        let Some(it) = self.runs.get(&run) else { return format!("run#{run}/task#{task}") };
        let Some(spec) = it.spec(task) else { return format!("{}/task#{task}", it.label()) };
        let label = format!("{}/{}", it.label(), spec.id);
        let live = self.state.run(run).unwrap_or(it).task(task);
        let is_many = live.is_some_and(|task| matches!(task.cells, Cells::Many(_)));
        match (is_many, range.first == range.last) {
            (false, _) => label,
            (true, true) => format!("{label}[{}]", range.first),
            (true, false) => format!("{label}[{}-{}]", range.first, range.last),
        }
    }

    /// `w1`, with its number if another has the name too.
    pub(crate) fn worker_label(&self, worker: WorkerId) -> String {
        let Some(name) = self.worker_names.get(&worker) else { return format!("#{worker}") };
        let namesakes = self.worker_names.values().filter(|it| *it == name).count();
        if namesakes > 1 { format!("{name}#{worker}") } else { name.clone() }
    }
}
