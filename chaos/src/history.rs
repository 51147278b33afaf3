//! What clients and the harness saw, in the order in which it came to pass.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::Result;
use muster_chaos::witness;
use muster_client::{Code, Error, Submission};
use serde::Serialize;

/// A run as its submitter knows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct RunName {
    pub(crate) id: u64,
    pub(crate) workflow: String,
    pub(crate) number: u64,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Answer<T> {
    Yes(T),
    /// The cluster may have done it, or may do it yet.
    Unknown(String),
    /// The cluster said no.
    Refused(String),
}

impl<T> Answer<T> {
    pub(crate) fn of(result: Result<T, Error>) -> Answer<T> {
        match result {
            Ok(value) => Answer::Yes(value),
            Err(error) => {
                let text = format!("{:?}: {error}", error.code());
                match error.code() {
                    Code::Unavailable
                    | Code::DeadlineExceeded
                    | Code::Cancelled
                    | Code::Unknown
                    | Code::Aborted
                    | Code::ResourceExhausted => Answer::Unknown(text),
                    _ => Answer::Refused(text),
                }
            }
        }
    }
}

/// What was called for.
#[derive(Clone, Debug, Serialize)]
pub(crate) enum What {
    Submit {
        request: String,
        shape: &'static str,
        answer: Answer<RunName>,
    },
    /// Whether it still ran.
    Cancel {
        run: u64,
        answer: Answer<bool>,
    },
    /// Its status, as a word.
    Read {
        run: u64,
        answer: Answer<String>,
    },
    /// By the harness: a fault, from its beginning to its end.
    Fault(String),
    /// A process ended by itself.
    Ended {
        who: String,
        how: String,
    },
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Event {
    /// Both by the clock of the testimonies.
    pub(crate) called: Duration,
    pub(crate) returned: Duration,
    pub(crate) what: What,
}

/// Filled by many at once.
#[derive(Debug, Default)]
pub(crate) struct History {
    events: Mutex<Vec<Event>>,
    wishes: Mutex<BTreeMap<String, Submission>>,
}

impl History {
    /// Notes what was called for at `called` and came about by now.
    pub(crate) fn note(&self, called: Duration, what: What) {
        let event = Event { called, returned: witness::now(), what };
        self.events.lock().expect("nothing panics while holding it").push(event);
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.events.lock().expect("nothing panics while holding it").clone()
    }

    /// Remembers what a request id stands for.
    pub(crate) fn remember(&self, request: &str, wish: &Submission) {
        let mut wishes = self.wishes.lock().expect("nothing panics while holding it");
        if !wishes.contains_key(request) {
            wishes.insert(request.to_owned(), wish.clone());
        }
    }

    pub(crate) fn wish(&self, request: &str) -> Option<Submission> {
        self.wishes.lock().expect("nothing panics while holding it").get(request).cloned()
    }

    /// Writes everything down, a line an event, for people.
    pub(crate) fn save(&self, path: &Path) -> Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        for event in self.events() {
            serde_json::to_writer(&mut file, &event)?;
            file.write_all(b"\n")?;
        }
        Ok(file.flush()?)
    }
}

/// A call under way. If its caller is stopped before the answer, the history has it as one of unknown outcome.
pub(crate) struct Pending<'h, F: Fn(String) -> What> {
    history: &'h History,
    called: Duration,
    unknown: Option<F>,
}

impl<'h, F: Fn(String) -> What> Pending<'h, F> {
    /// `unknown` makes what is noted without an answer, from the reason.
    pub(crate) fn new(history: &'h History, unknown: F) -> Self {
        Pending { history, called: witness::now(), unknown: Some(unknown) }
    }

    pub(crate) fn answered(mut self, what: What) {
        self.unknown = None;
        self.history.note(self.called, what);
    }
}

impl<F: Fn(String) -> What> Drop for Pending<'_, F> {
    fn drop(&mut self) {
        if let Some(unknown) = &self.unknown {
            self.history.note(self.called, unknown("its caller was stopped".to_owned()));
        }
    }
}

/// What is known about one request in the end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known<'h> {
    pub(crate) shape: &'static str,
    /// The runs it was told; more than one is a violation.
    pub(crate) runs: Vec<&'h RunName>,
    pub(crate) refusals: Vec<&'h str>,
}

/// All submissions by request id.
pub(crate) fn requests(events: &[Event]) -> BTreeMap<&str, Known<'_>> {
    let mut requests: BTreeMap<&str, Known<'_>> = BTreeMap::new();
    for event in events {
        let What::Submit { request, shape, answer } = &event.what else { continue };
        let known = requests.entry(request).or_default();
        known.shape = shape;
        match answer {
            Answer::Yes(run) if !known.runs.contains(&run) => known.runs.push(run),
            Answer::Refused(why) => known.refusals.push(why),
            Answer::Yes(_) | Answer::Unknown(_) => {}
        }
    }
    requests
}
