use std::collections::BTreeSet;

use muster_core::reply::Reply;
use muster_core::state::run::RunStatus;
use proptest::prelude::*;

use super::by_search::{Found, Interval, search};
use super::one_run::{OneRun, RunCall};
use super::*;
use crate::ledger::{EndedRun, Ledger, RequestRecord, RunRecord};
use crate::verdict::Invariant;
use muster_core::ids::RunId;

/// A run as a ledger has it: accepted, cancelled, ended.
type Line = (u64, Option<u64>, Option<(u64, RunStatus)>);

const S: RunStatus = RunStatus::Succeeded;

fn ledger(runs: &[Line]) -> Ledger {
    let mut ledger = Ledger::default();
    for (number, (accepted, cancelled, ended)) in (1..).zip(runs) {
        let (run, request): (_, Text) = (RunId(number), format!("r{number}").into());
        let ended = ended.map(|(index, status)| EndedRun {
            index: LogIndex(index),
            status,
            tasks: Vec::new(),
        });
        let record = RunRecord {
            run,
            workflow: "w".into(),
            number,
            spec: 0,
            request: Some(request.clone()),
            accepted: LogIndex(*accepted),
            cancelled: cancelled.map(LogIndex),
            ended,
            origin: None,
            trigger: None,
            retries: None,
            parent: None,
            task_cancelled: None,
        };
        let answer = RequestRecord { digest: 0, index: LogIndex(*accepted), reply: Reply::Done };
        ledger.requests.insert(request, answer);
        ledger.runs.insert(run, record);
    }
    ledger
}

/// What both checks say of calls, written as in a history without its first column.
fn judge(lines: &str, runs: &[Line]) -> (bool, bool) {
    let text: String = (1..)
        .zip(lines.trim().lines())
        .map(|(at, line)| format!("{at} {}\n", line.trim()))
        .collect();
    let history: History = text.parse().expect("the test writes history");
    let operations = operations(&history);
    let by_log = by_log::check(&operations, &ledger(runs));
    let by_search = one_run::check(&operations, &BTreeSet::new(), false);
    for verdict in [&by_log, &by_search] {
        let named = verdict.violations.iter().map(|it| it.invariant);
        assert!(named.into_iter().all(|it| it == Invariant::I14), "{verdict}");
    }
    (by_log.is_clean(), by_search.is_clean())
}

const FINE: (bool, bool) = (true, true);
const BROKEN: (bool, bool) = (false, false);

#[test]
fn what_one_run_could_answer_is_fine() {
    let lines = "
        invoked call=1 client=1 what=submit request=r1 body=7 workflow=w
        invoked call=2 client=2 what=get run=1 is_stale=false
        returned call=2 answer=no-run
        returned call=1 answer=submitted run=1 number=1 index=5
        invoked call=3 client=2 what=get run=1 is_stale=false
        invoked call=4 client=1 what=cancel body=1 run=1
        returned call=3 answer=run status=running
        returned call=4 answer=cancelling is_cancelling=true
        invoked call=5 client=2 what=list is_stale=false
        returned call=5 answer=runs runs=1:cancelled is_whole=true
        invoked call=6 client=2 what=cancel body=1 run=1
        returned call=6 answer=cancelling is_cancelling=false";
    assert_eq!(judge(lines, &[(5, Some(7), Some((9, RunStatus::Cancelled)))]), FINE);
}

#[test]
fn a_read_that_misses_what_was_acknowledged_is_found() {
    let lines = "
        invoked call=1 client=1 what=submit request=r1 body=7 workflow=w
        returned call=1 answer=submitted run=1 number=1
        invoked call=2 client=2 what=get run=1 is_stale=false
        returned call=2 answer=no-run";
    assert_eq!(judge(lines, &[(5, None, None)]), BROKEN);
    let lines = lines.replace("is_stale=false", "is_stale=true");
    assert_eq!(judge(&lines, &[(5, None, None)]), FINE);
    let lines = lines.replace("is_stale=true", "is_stale=true min_index=5");
    assert_eq!(judge(&lines, &[(5, None, None)]), (false, true), "only the log knows indexes");
}

#[test]
fn a_list_that_misses_what_was_acknowledged_is_found() {
    let lines = "
        invoked call=1 client=1 what=submit request=r1 body=7 workflow=w
        returned call=1 answer=submitted run=1 number=1
        invoked call=2 client=2 what=list workflow=w is_stale=false
        returned call=2 answer=runs runs= is_whole=true";
    assert_eq!(judge(lines, &[(5, None, None)]), BROKEN);
    assert_eq!(
        judge(&lines.replace("list workflow=w", "list workflow=x"), &[(5, None, None)]),
        FINE
    );
}

#[test]
fn a_run_that_lives_again_is_found() {
    let lines = "
        invoked call=1 client=1 what=submit request=r1 body=7 workflow=w
        invoked call=2 client=2 what=get run=1 is_stale=false
        returned call=2 answer=run status=succeeded
        invoked call=3 client=2 what=get run=1 is_stale=false
        returned call=3 answer=run status=running
        returned call=1 answer=submitted run=1 number=1";
    assert_eq!(judge(lines, &[(5, None, Some((9, S)))]), BROKEN);
}

#[test]
fn a_retry_is_told_the_run_that_takes_over() {
    let lines = "
        1 invoked call=1 client=1 what=submit request=r1 body=7 workflow=w
        2 returned call=1 answer=submitted run=1 number=1
        3 invoked call=2 client=1 what=retry request=r2 body=7 of=1
        4 returned call=2 answer=submitted run=2 number=2";
    let history: History = lines.replace("        ", "").trim().parse().expect("it is a history");
    let operations = operations(&history);
    let mut ledger = ledger(&[(5, None, Some((9, S))), (12, None, None)]);
    for (retries, is_clean) in [(Some(RunId(1)), true), (Some(RunId(3)), false), (None, false)] {
        ledger.runs.get_mut(&RunId(2)).expect("it has two runs").retries = retries;
        assert_eq!(by_log::check(&operations, &ledger).is_clean(), is_clean, "{retries:?}");
    }
}

#[test]
fn a_cancel_that_is_forgotten_is_found() {
    let lines = "
        invoked call=1 client=1 what=submit request=r1 body=7 workflow=w
        returned call=1 answer=submitted run=1 number=1
        invoked call=2 client=1 what=cancel body=1 run=1
        returned call=2 answer=cancelling is_cancelling=true
        invoked call=3 client=2 what=get run=1 is_stale=false
        returned call=3 answer=run status=succeeded";
    assert_eq!(judge(lines, &[(5, None, Some((9, S)))]), BROKEN);
}

#[test]
fn an_unknown_outcome_may_come_late_or_never() {
    let lines = "
        invoked call=1 client=1 what=submit request=r1 body=7 workflow=w
        returned call=1 answer=unknown code=DEADLINE
        invoked call=2 client=2 what=get run=1 is_stale=false
        returned call=2 answer=no-run
        invoked call=3 client=2 what=get run=1 is_stale=false
        returned call=3 answer=run status=running
        invoked call=4 client=2 what=cancel body=1 run=1
        invoked call=5 client=2 what=get run=1 is_stale=false
        returned call=5 answer=run status=succeeded";
    assert_eq!(judge(lines, &[(5, None, Some((9, S)))]), FINE);
    let gone_again = lines
        .replace("returned call=5 answer=run status=succeeded", "returned call=5 answer=no-run");
    assert_eq!(judge(&gone_again, &[(5, None, Some((9, S)))]), BROKEN);
}

#[test]
fn two_lists_that_see_two_runs_in_different_orders_are_found_by_the_log() {
    let lines = "
        invoked call=1 client=1 what=submit request=r1 body=7 workflow=w
        invoked call=2 client=2 what=submit request=r2 body=8 workflow=w
        invoked call=3 client=3 what=list is_stale=false
        returned call=3 answer=runs runs=1:running is_whole=true
        invoked call=4 client=4 what=list is_stale=false
        returned call=4 answer=runs runs=2:running is_whole=true
        returned call=1 answer=submitted run=1 number=1
        returned call=2 answer=submitted run=2 number=2";
    let runs = [(5, None, None), (6, None, None)];
    assert_eq!(judge(lines, &runs), (false, false), "run 1 was seen, and is missing then");
    let lines = lines.replace("runs=2:running", "runs=2:running,1:succeeded");
    assert_eq!(judge(&lines, &[(5, None, Some((6, S))), (6, None, None)]), FINE);
    let torn = lines.replace("1:succeeded", "1:running");
    let runs = [(5, None, Some((6, S))), (6, None, None)];
    assert_eq!(judge(&torn, &runs), (false, true), "no moment had both; each run alone is fine");
}

#[test]
fn what_the_log_contradicts_is_found() {
    let submitted = "
        invoked call=1 client=1 what=submit request=r1 body=7 workflow=w
        returned call=1 answer=submitted run=1 number=1 index=4";
    assert_eq!(
        judge(submitted, &[(5, None, None)]),
        (false, true),
        "the answer knew less than its write"
    );
    assert_eq!(judge(submitted, &[]), (false, true), "the run is not in the log");
    let refused = "
        invoked call=1 client=1 what=submit request=r1 body=7 workflow=w
        returned call=1 answer=refused code=INVALID_ARGUMENT";
    assert_eq!(judge(refused, &[(5, None, None)]), (false, true));
    assert_eq!(judge(refused, &[]), FINE);
    let applied = "
        invoked call=1 client=1 what=submit request=r1 body=7 workflow=w
        returned call=1 answer=submitted run=1 number=1
        invoked call=2 client=1 what=apply request=r2 body=7 workflow=w
        returned call=2 answer=refused code=INVALID_ARGUMENT";
    let history =
        (1..).zip(applied.trim().lines()).map(|(at, line)| format!("{at} {}\n", line.trim()));
    let history: History = history.collect::<String>().parse().expect("the test writes history");
    let mut told = ledger(&[(5, None, None), (6, None, None)]);
    told.runs.remove(&RunId(2));
    let verdict = by_log::check(&operations(&history), &told);
    assert_eq!(verdict.count(), 1, "{verdict}");
    let cancelled = [(5, Some(6), None)];
    let submitted = submitted.replace(" index=4", "");
    assert_eq!(judge(&submitted, &[(5, None, None)]), FINE);
    assert_eq!(judge(&submitted, &cancelled), (false, true), "nobody asked for the cancel");
    let early = "
        invoked call=1 client=1 what=submit request=r2 body=7 workflow=w
        returned call=1 answer=submitted run=2 number=1
        invoked call=2 client=1 what=submit request=r1 body=7 workflow=w
        returned call=2 answer=submitted run=1 number=1";
    assert_eq!(
        judge(early, &[(5, None, None), (6, None, None)]),
        (false, true),
        "before it was asked"
    );
}

#[test]
fn what_nobody_asked_for_or_no_answer_at_all_is_found() {
    let lines = "
        invoked call=1 client=1 what=submit request=r1 body=7 workflow=w
        returned call=1 answer=submitted run=1 number=1";
    assert_eq!(
        judge(lines, &[(5, None, None), (6, None, None)]),
        (false, true),
        "run 2 is nobody's"
    );
    let odd = "
        invoked call=1 client=1 what=submit request=r1 body=7 workflow=w
        returned call=1 answer=submitted run=1 number=1
        invoked call=2 client=1 what=get run=1 is_stale=false
        returned call=2 answer=done";
    assert_eq!(judge(odd, &[(5, None, None)]), (false, true));
    let applied = "
        invoked call=1 client=1 what=apply request=r1 body=7 workflow=w
        returned call=1 answer=applied version=1";
    assert_eq!(judge(applied, &[]), (false, true), "it is not in the log");
}

#[test]
fn a_run_that_is_older_than_the_history_is_taken_as_it_is() {
    let lines = "
        invoked call=1 client=1 what=get run=1 is_stale=false
        returned call=1 answer=run status=running
        invoked call=2 client=1 what=get run=1 is_stale=false
        returned call=2 answer=run status=succeeded
        invoked call=3 client=1 what=get run=1 is_stale=false
        returned call=3 answer=run status=SEEN";
    let fine = |seen: &str| {
        let text = lines.replace("SEEN", seen);
        let text: String = (1..)
            .zip(text.trim().lines())
            .map(|(at, it)| format!("{at} {}\n", it.trim()))
            .collect();
        let history: History = text.parse().expect("the test writes history");
        one_run::check(&operations(&history), &BTreeSet::new(), false).is_clean()
    };
    assert!(fine("succeeded") && !fine("running") && !fine("failed"));
}

#[test]
fn a_request_id_that_was_used_is_refused_only_with_another_body() {
    let lines = "
        invoked call=1 client=1 what=submit request=r1 body=7 workflow=w
        returned call=1 answer=submitted run=1 number=1
        invoked call=2 client=1 what=submit request=r1 body=8 workflow=w
        returned call=2 answer=refused code=ALREADY_EXISTS";
    assert_eq!(judge(lines, &[(5, None, None)]), FINE);
    assert_eq!(judge(&lines.replace("body=8", "body=7"), &[(5, None, None)]), (true, false));
}

#[test]
fn the_search_gives_up_rather_than_run_for_ever() {
    let call = |at, call| Interval { invoked: at, returned: Some(1000), call };
    let mut calls: Vec<_> = (1..40).map(|at| call(at, RunCall::Seen { status: S })).collect();
    calls.push(call(0, RunCall::Submitted { body: 1 }));
    calls.push(call(50, RunCall::Missing));
    assert_eq!(
        search(&OneRun::default(), &calls, 1000),
        Found::Order,
        "the missing may come first"
    );
    calls.push(Interval { invoked: 1001, returned: Some(1002), call: RunCall::Missing });
    assert_eq!(search(&OneRun::default(), &calls, 1000), Found::None { explained: 41 });
    assert_eq!(search(&OneRun::default(), &calls, 30), Found::GaveUp);
}

/// Calls about one run with any answers at all, most of them nonsense.
fn calls() -> impl Strategy<Value = History> {
    let call = (0..12u8, any::<[u8; 2]>(), prop::bool::weighted(0.2));
    prop::collection::vec(call, 1..7).prop_map(|calls| {
        let mut moments: Vec<(u8, usize, Observed)> = Vec::new();
        for (number, (kind, [from, span], is_unknown)) in calls.into_iter().enumerate() {
            let (call, run) = (number as u64, RunId(1));
            let seen = |status| Answer::Run { status };
            let read = Call::Get { run, is_stale: false, min_index: None };
            let submit = Call::Submit {
                request: Some("r1".into()),
                body: 1,
                spec: None,
                workflow: "w".into(),
            };
            let (what, answer) = match kind {
                // Without a submission there would be nothing to talk about.
                _ if number == 0 => (submit, Answer::Submitted { run, number: 1 }),
                0 => (submit, Answer::Submitted { run, number: 1 }),
                1..4 => {
                    let request = Some(format!("c{number}").into());
                    let answer = match kind {
                        1 | 2 => Answer::Cancelling { is_cancelling: kind == 1 },
                        _ => Answer::NoRun {},
                    };
                    (Call::Cancel { request, body: 2, run }, answer)
                }
                4 | 5 => (read, Answer::NoRun {}),
                6 | 7 => (read, seen(RunStatus::Running)),
                8 => (read, seen(RunStatus::Succeeded)),
                9 => (read, seen(RunStatus::Failed)),
                _ => (read, seen(RunStatus::Cancelled)),
            };
            moments.push((from % 64, 0, Observed::Invoked { call, client: call, what }));
            if !is_unknown {
                let returned = Observed::Returned { call, answer, index: None };
                moments.push((from % 64 + span % 32, 1, returned));
            }
        }
        moments.sort_by_key(|(at, kind, _)| (*at, *kind));
        let mut history = History::default();
        moments.into_iter().for_each(|(at, _, what)| history.push(Nanos(at.into()), what));
        history
    })
}

/// Every log that one run can have, as far as its callers can tell.
fn all_ledgers() -> Vec<Ledger> {
    let (cancel, end) = (Some(20), |status| Some((30, status)));
    let mut lines: Vec<Line> = vec![(10, None, None), (10, cancel, None)];
    lines.extend([S, RunStatus::Failed].map(|status| (10, None, end(status))));
    lines.extend([RunStatus::Cancelled, RunStatus::Failed].map(|it| (10, cancel, end(it))));
    let mut all: Vec<Ledger> = lines.into_iter().map(|line| ledger(&[line])).collect();
    all.push(Ledger::default());
    all
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 4000, ..Default::default() })]

    /// The search finds an order exactly if there is a log by which the answers are right.
    #[test]
    fn both_checks_agree(history in calls()) {
        let operations = operations(&history);
        let by_search = one_run::check(&operations, &BTreeSet::new(), false);
        let fitting = all_ledgers().iter().filter(|it| by_log::check(&operations, it).is_clean()).count();
        prop_assert_eq!(by_search.is_clean(), fitting > 0, "{}\n{}", history, by_search);
    }
}

/// The generated histories must be of both sorts, or the test above would agree on nothing.
#[test]
fn generated_histories_are_of_both_sorts() {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let is_clean = |_| {
        let history = calls().new_tree(&mut runner).expect("no filters").current();
        one_run::check(&operations(&history), &BTreeSet::new(), false).is_clean()
    };
    let clean = (0..1000).map(is_clean).filter(|it| *it).count();
    assert!((150..850).contains(&clean), "{clean} of 1000 are linearizable");
}
