use muster_core::ids::{Fence, LogIndex, RunId, TaskIndex, WorkerId};
use muster_core::state::run::RunStatus;

use super::*;

/// One of each kind that has fields of a kind of its own.
fn samples() -> Vec<Observed> {
    let worker = || "a b=%\n\u{2003}ü".into();
    let run = RunId(7);
    let (task, fence) = (TaskIndex(2), Fence(40));
    let calls = [
        Call::Submit { request: Some("".into()), body: 1, spec: None, workflow: "etl".into() },
        Call::Submit { request: None, body: u64::MAX, spec: Some(3), workflow: "".into() },
        Call::Apply { request: None, body: 4, workflow: "etl".into() },
        Call::Cancel { request: Some("r 1".into()), body: 5, run },
        Call::Retry { request: Some("r2".into()), body: 6, of: run },
        Call::Change { request: None, body: 5 },
        Call::Get { run, is_stale: false, min_index: Some(LogIndex(9)) },
        Call::List { workflow: None, is_stale: true, min_index: None },
    ];
    let answers = [
        Answer::Submitted { run, number: 3 },
        Answer::Applied { version: 2 },
        Answer::Cancelling { is_cancelling: false },
        Answer::Done {},
        Answer::Run { status: RunStatus::Cancelled },
        Answer::NoRun {},
        Answer::Runs {
            runs: vec![(run, RunStatus::Running), (RunId(1), RunStatus::Failed)],
            is_whole: true,
        },
        Answer::Runs { runs: Vec::new(), is_whole: false },
        Answer::Refused { code: "ALREADY_EXISTS".into() },
        Answer::Unknown { code: "-".into() },
    ];
    let mut all = vec![
        Observed::WorkerRegistered { worker: worker(), incarnation: u64::MAX, id: WorkerId(3) },
        Observed::LeaseConfirmed {
            worker: worker(),
            incarnation: 1,
            until: Nanos(77),
            left: Nanos(5),
        },
        Observed::AttemptBegan { worker: worker(), incarnation: 1, run, task, index: 5, fence },
        Observed::AttemptEnded { run, task, index: 5, fence, how: Ending::TimedOut },
        Observed::FaultsStopped {},
        Observed::MasterFinal { master: 1, index: LogIndex(1000), digest: u64::MAX },
        Observed::RunFinal { master: 1, run, status: RunStatus::Succeeded },
    ];
    all.extend(calls.map(|what| Observed::Invoked { call: 1, client: 2, what }));
    all.extend(answers.map(|answer| Observed::Returned {
        call: 1,
        answer,
        index: Some(LogIndex(8)),
    }));
    all
}

#[test]
fn every_observation_survives_its_text_form() {
    let mut history = History::default();
    for (number, what) in samples().into_iter().enumerate() {
        history.push(Nanos(number as u64 * 1000), what);
    }
    let text = history.to_string();
    assert_eq!(text.lines().count(), history.len(), "{text}");
    assert_eq!(text.parse(), Ok(history));
}

#[test]
fn what_cannot_be_read_is_named() {
    let cases = [
        ("5", "no field `kind`"),
        ("x leads master=1 term=2", "field `at` cannot be `x`"),
        ("5 leads master=1", "no field `term`"),
        ("5 leads master=1 term=-2", "field `term` cannot be `-2`"),
        ("5 led master=1 term=2", "field `kind` cannot be `led`"),
        ("5 fault what=%G0", "field `what` cannot be `%G0`"),
        ("5 fault what=%F", "field `what` cannot be `%F`"),
        ("5 fault what", "field `what` cannot be ``"),
        ("5 invoked call=1 client=1 what=destroy", "field `what` cannot be `destroy`"),
    ];
    for (line, message) in cases {
        let error = line.parse::<Observation>().expect_err(line);
        assert_eq!(error.to_string(), message, "{line}");
    }
    let error = "# fine\n\n5 faults-stopped\nnonsense\n".parse::<History>().expect_err("it is bad");
    assert_eq!(error.line, 4);
}

#[test]
fn parts_recorded_apart_are_put_in_order() {
    let leads = |master| Observed::Leads { master, term: 1 };
    let mut one = History::default();
    one.push(Nanos(1), leads(1));
    one.push(Nanos(5), leads(2));
    let mut two = History::default();
    two.push(Nanos(2), leads(3));
    two.push(Nanos(5), leads(4));
    one.append(two);
    one.sort();
    let order: Vec<u64> = one.iter().map(|it| it.at.0).collect();
    assert_eq!(order, [1, 2, 5, 5]);
    assert_eq!(one.iter().last().map(|it| &it.what), Some(&leads(4)));
}
