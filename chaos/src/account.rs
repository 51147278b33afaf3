//! The history in the checker's words, so that it is judged by what the log says.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use muster_chaos::witness::{Deed, Testimony};
use muster_checker::history::{Answer as Told, Call};
use muster_checker::{History, Ledger, Nanos, Observed};
use muster_core::ids::{Fence, LogIndex, RunId, TaskIndex};
use muster_core::state::run::RunStatus;

use crate::history::{Answer, Event, What};
use crate::judge::Case;

/// The name of whoever carried an attempt out that the log never placed.
const NOBODY: &str = "nobody";

/// Everything that was seen, in order.
pub(crate) fn account(case: &Case<'_>, ledger: &Ledger) -> History {
    let mut history = case.logbook.history().clone();
    for (call, event) in case.events.iter().enumerate() {
        tell(call as u64, event, &mut history);
    }
    for said in case.testimonies {
        if let Some(observed) = attempt(said, ledger) {
            history.push(nanos(said.at), observed);
        }
    }
    history.sort();
    let end = history.iter().last().map_or(Nanos(0), |it| it.at);
    for view in &case.aftermath.views {
        let observed = Observed::MasterFinal {
            master: view.answering_member_id,
            index: LogIndex(view.applied_index),
            digest: view.state_digest(),
        };
        history.push(end, observed);
    }
    history
}

/// As the checker counts time.
pub(crate) fn nanos(at: Duration) -> Nanos {
    Nanos(u64::try_from(at.as_nanos()).unwrap_or(u64::MAX))
}

fn tell(call: u64, event: &Event, history: &mut History) {
    let (what, answer) = match &event.what {
        What::Submit { request, answer, .. } => {
            let (body, workflow) = (digest(request), "".into());
            let what =
                Call::Submit { request: Some(request.as_str().into()), body, spec: None, workflow };
            let told =
                told(answer, |run| Told::Submitted { run: RunId(run.id), number: run.number });
            (what, told)
        }
        What::Cancel { run, answer } => {
            let what = Call::Cancel { request: None, body: *run, run: RunId(*run) };
            (what, told(answer, |yes| Told::Cancelling { is_cancelling: *yes }))
        }
        What::Read { run, answer } => {
            let what = Call::Get { run: RunId(*run), is_stale: false, min_index: None };
            (
                what,
                told(answer, |word| {
                    status(word).map_or(Told::Done {}, |status| Told::Run { status })
                }),
            )
        }
        What::Fault(what) => {
            history.push(nanos(event.called), Observed::Fault { what: what.as_str().into() });
            return;
        }
        What::Ended { .. } => return,
    };
    history.push(nanos(event.called), Observed::Invoked { call, client: call, what });
    history.push(nanos(event.returned), Observed::Returned { call, answer, index: None });
}

fn told<T>(answer: &Answer<T>, yes: impl FnOnce(&T) -> Told) -> Told {
    match answer {
        Answer::Yes(value) => yes(value),
        Answer::Unknown(code) => Told::Unknown { code: code.as_str().into() },
        Answer::Refused(why) if why.starts_with("NotFound") => Told::NoRun {},
        Answer::Refused(why) => Told::Refused { code: why.as_str().into() },
    }
}

fn status(word: &str) -> Option<RunStatus> {
    match word {
        "queued" => Some(RunStatus::Queued),
        "running" => Some(RunStatus::Running),
        "paused" => Some(RunStatus::Paused),
        "succeeded" => Some(RunStatus::Succeeded),
        "failed" => Some(RunStatus::Failed),
        "cancelled" => Some(RunStatus::Cancelled),
        _ => None,
    }
}

/// Equal for equal wishes: in this harness a request id stands for one wish.
fn digest(request: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    request.hash(&mut hasher);
    hasher.finish()
}

/// What a process said about its attempt. It does not know its worker: the log does.
fn attempt(said: &Testimony, ledger: &Ledger) -> Option<Observed> {
    let (name, index) = said.task.split_once('.').unwrap_or((&said.task, "0"));
    // Tasks of the shapes are called by their place in the file: a, b, c.
    let place = name.bytes().next()?.checked_sub(b'a')?;
    let (run, task, fence) = (RunId(said.run), TaskIndex(place.into()), Fence(said.fence));
    let index: u32 = index.parse().ok()?;
    Some(match said.deed {
        Deed::Begin => {
            let mut placed = ledger.attempts.get(&(run, task, fence)).into_iter().flatten();
            let placed = placed.find(|it| (it.range.first..=it.range.last).contains(&index));
            let worker = placed.and_then(|placed| ledger.workers.get(&placed.worker));
            let (worker, incarnation) =
                worker.map_or((NOBODY.into(), 0), |it| (it.name.clone(), it.incarnation));
            Observed::AttemptBegan { worker, incarnation, run, task, index, fence }
        }
        Deed::Conflict => Observed::AttemptConflict { run, task, index, fence },
        Deed::End => Observed::AttemptSeen { run, task, index, fence },
    })
}
