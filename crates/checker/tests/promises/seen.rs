//! What was seen from outside, against the log: one story that is fine, and what is wrong once a line of it differs.

use muster_checker::Invariant::*;
use muster_checker::history::Ending;
use muster_checker::judge::Bounds;
use muster_checker::ledger::Cause;
use muster_checker::{Expectations, History, Invariant, Ledger, Nanos, Rare, judge};
use muster_core::ids::{Fence, LogIndex, RunId, TaskIndex};

use crate::log::*;
use crate::named;

/// The log: `a` and then `b` on alpha, which is lost; `b` again on beta; a run that is cancelled; a run after the
/// faults. Entry n is applied at moment n00.
fn ledger() -> Ledger {
    let spec = workflow(&["a", "b: a"]);
    let mut log = Log { term: Some(1), ..Log::default() };
    log.go(register("alpha", 7, 1));
    log.go(register("beta", 8, 1));
    log.go(submit("r1", &spec));
    log.go(place(1, 0, 1));
    log.go(finish(1, 0, 4, succeeded()));
    log.go(place(1, 1, 1));
    log.term = Some(2);
    log.go(lose(1));
    log.go(place(1, 1, 2));
    log.go(finish(1, 1, 8, succeeded()));
    log.go(submit("r2", &spec));
    log.go(cancel("c2", 2));
    log.go(submit("r3", &spec));
    log.go(place(3, 0, 2));
    log.go(finish(3, 0, 13, succeeded()));
    log.go(place(3, 1, 2));
    log.go(finish(3, 1, 15, succeeded()));
    let (verdict, ledger) = log.finish();
    assert!(verdict.is_clean(), "{verdict}");
    ledger
}

const STORY: &str = "\
10 leads master=1 term=1
110 worker-registered worker=alpha incarnation=7 id=1
210 worker-registered worker=beta incarnation=8 id=2
250 invoked call=1 client=1 what=submit request=r1 body=1 workflow=etl
310 returned call=1 answer=submitted run=1 number=1 index=3
410 attempt-began worker=alpha incarnation=7 run=1 task=0 index=0 fence=4
480 attempt-ended run=1 task=0 index=0 fence=4 how=succeeded
485 reported worker=alpha incarnation=7 run=1 task=0 first=0 last=0 fence=4 how=succeeded is_kept=true
505 report-answered worker=alpha incarnation=7 run=1 task=0 first=0 last=0 fence=4 how=succeeded is_accepted=true
610 attempt-began worker=alpha incarnation=7 run=1 task=1 index=0 fence=6
620 leads master=2 term=2
625 lease-confirmed worker=alpha incarnation=7 until=690 left=39
680 attempt-ended run=1 task=1 index=0 fence=6 how=lost
690 lease-lapsed worker=alpha incarnation=7
810 attempt-began worker=beta incarnation=8 run=1 task=1 index=0 fence=8
880 attempt-ended run=1 task=1 index=0 fence=8 how=succeeded
885 reported worker=beta incarnation=8 run=1 task=1 first=0 last=0 fence=8 how=succeeded is_kept=true
905 report-answered worker=beta incarnation=8 run=1 task=1 first=0 last=0 fence=8 how=succeeded is_accepted=true
910 invoked call=2 client=1 what=get run=1 is_stale=false
915 returned call=2 answer=run status=succeeded index=9
920 invoked call=3 client=1 what=submit request=r2 body=2 workflow=etl
1005 returned call=3 answer=submitted run=2 number=2
1050 invoked call=4 client=2 what=cancel request=c2 body=3 run=2
1105 returned call=4 answer=cancelling is_cancelling=true
1110 fault what=cut%20master%202%20off
1120 faults-stopped
1130 invoked call=5 client=1 what=submit request=r3 body=4 workflow=etl
1205 returned call=5 answer=submitted run=3 number=3
1310 attempt-began worker=beta incarnation=8 run=3 task=0 index=0 fence=13
1380 attempt-ended run=3 task=0 index=0 fence=13 how=succeeded
1385 reported worker=beta incarnation=8 run=3 task=0 first=0 last=0 fence=13 how=succeeded is_kept=true
1405 report-answered worker=beta incarnation=8 run=3 task=0 first=0 last=0 fence=13 how=succeeded is_accepted=true
1510 attempt-began worker=beta incarnation=8 run=3 task=1 index=0 fence=15
1580 attempt-ended run=3 task=1 index=0 fence=15 how=succeeded
1585 reported worker=beta incarnation=8 run=3 task=1 first=0 last=0 fence=15 how=succeeded is_kept=true
1605 report-answered worker=beta incarnation=8 run=3 task=1 first=0 last=0 fence=15 how=succeeded is_accepted=true
1700 master-final master=1 index=16 digest=DIGEST
1700 master-final master=2 index=16 digest=DIGEST
1710 run-final master=1 run=1 status=succeeded
1711 run-final master=1 run=2 status=cancelled
1712 run-final master=2 run=3 status=succeeded
";

fn expectations() -> Expectations {
    let bounds =
        Bounds { leader: Nanos(100), runs: Nanos(600), service: Nanos(600), owner: Nanos(50) };
    Expectations {
        masters: 2,
        lease: Nanos(40),
        margin: Nanos(0),
        quorum_age: Nanos(0),
        sees_all_attempts: true,
        liveness: Some(bounds),
    }
}

/// What is named when parts of the story are replaced, and the ledger is changed.
#[track_caller]
fn told(edits: &[(&str, &str)], change: impl FnOnce(&mut Ledger)) -> Vec<Invariant> {
    let mut ledger = ledger();
    let mut text = STORY.to_owned();
    for (old, new) in edits {
        assert!(text.contains(old), "the story has no `{old}`");
        text = text.replace(old, new);
    }
    let digest = ledger.digests[&LogIndex(16)];
    let mut history: History =
        text.replace("DIGEST", &digest.to_string()).parse().expect("the story is well told");
    history.sort();
    change(&mut ledger);
    named(&judge(&history, &ledger, &expectations()))
}

#[track_caller]
fn instead(edits: &[(&str, &str)]) -> Vec<Invariant> {
    told(edits, |_| {})
}

/// The story with more lines; they are put where they belong in time.
#[track_caller]
fn also(lines: &str) -> Vec<Invariant> {
    instead(&[("10 leads master=1 term=1\n", &format!("10 leads master=1 term=1\n{lines}\n"))])
}

#[test]
fn the_story_as_it_is_told_is_fine() {
    assert_eq!(instead(&[]), []);
    let history: History = STORY.replace("DIGEST", "0").parse().expect("it is well told");
    let coverage = judge(&history, &ledger(), &expectations()).coverage;
    let seen = [
        Rare::LeaderChanged,
        Rare::LeaseLapsed,
        Rare::AttemptKilled,
        Rare::ReadJudged,
        Rare::Fault,
    ];
    assert_eq!(coverage.never(&seen), [""; 0]);
}

#[test]
fn p1_two_attempts_at_once() {
    let killed = "680 attempt-ended run=1 task=1 index=0 fence=6";
    assert_eq!(instead(&[(killed, "811 attempt-ended run=1 task=1 index=0 fence=6")]), [P1]);
    assert_eq!(instead(&[(killed, "810 attempt-ended run=1 task=1 index=0 fence=6")]), []);
    assert_eq!(instead(&[(&format!("{killed} how=lost\n"), "")]), [P1], "it never ended");
    assert_eq!(also("820 attempt-conflict run=1 task=1 index=0 fence=8"), [P1]);
}

#[test]
fn p1_only_what_was_seen_counts_where_not_all_is() {
    let ended = "680 attempt-ended run=1 task=1 index=0 fence=6 how=lost\n";
    let judged = |instead: &str| {
        let history: History =
            STORY.replace("DIGEST", "0").replace(ended, instead).parse().expect("it is well told");
        let expected =
            Expectations { masters: 0, liveness: None, sees_all_attempts: false, ..expectations() };
        let verdict = judge(&history, &ledger(), &expected);
        verdict.names(P1)
    };
    assert!(!judged(""));
    assert!(!judged("685 attempt-seen run=1 task=1 index=0 fence=6\n"));
    assert!(judged("815 attempt-seen run=1 task=1 index=0 fence=6\n"));
}

#[test]
fn i1_l2_masters_that_differ_in_the_end() {
    let second = "1700 master-final master=2 index=16 digest=DIGEST";
    assert_eq!(instead(&[(second, "1700 master-final master=2 index=16 digest=7")]), [I1]);
    assert_eq!(instead(&[(second, "1700 master-final master=2 index=17 digest=DIGEST")]), [L2]);
    assert_eq!(instead(&[(second, "1700 master-stopped master=2")]), [L2]);
}

#[test]
fn i2_what_was_acknowledged_and_is_not_there() {
    assert_eq!(instead(&[("submitted run=3 number=3", "submitted run=9 number=3")]), [I2, I14, L4]);
    assert_eq!(instead(&[("submitted run=3 number=3", "submitted run=3 number=4")]), [I2]);
    let other = "request=r3 body=4 spec=77 workflow=etl";
    assert_eq!(instead(&[("request=r3 body=4 workflow=etl", other)]), [I2]);
    assert_eq!(also("1715 run-absent master=1 run=3"), [I2]);
    let answered = "685 report-answered worker=alpha incarnation=7 run=1 task=1 first=0 last=0 fence=6 \
                    how=succeeded is_accepted=true";
    assert_eq!(also(answered), [I2]);
    assert_eq!(also(&answered.replace("true", "false")), []);
}

#[test]
fn i2_an_answer_to_more_than_the_log_has_or_to_something_else() {
    let answered = "last=0 fence=4 how=succeeded is_accepted=true";
    assert_eq!(instead(&[(answered, &answered.replace("last=0", "last=1"))]), [I2], "half of it");
    assert_eq!(instead(&[(answered, &answered.replace("succeeded", "failed"))]), [I2]);
    let lost = |ledger: &mut Ledger| {
        let key = (RunId(1), TaskIndex(0), Fence(4));
        ledger.attempts.get_mut(&key).expect("it was placed")[0].ends[0].2 =
            Cause::Reported(Ending::Lost);
    };
    assert!(told(&[], lost).contains(&I2), "it was told that it succeeded");
}

#[test]
fn i2_what_a_worker_kept_and_forgot() {
    let kept = "682 reported worker=alpha incarnation=7 run=1 task=1 first=0 last=0 fence=6 how=lost is_kept=true";
    assert_eq!(also(kept), [I2]);
    assert_eq!(also(&kept.replace("true", "false")), []);
    assert_eq!(also(&format!("{kept}\n700 journal-lost worker=alpha")), []);
    assert_eq!(also(&format!("{kept}\n700 journal-lost worker=beta")), [I2]);
    let answered = kept
        .replace("682 reported", "960 report-answered")
        .replace("incarnation=7", "incarnation=9")
        .replace("is_kept=true", "is_accepted=false");
    assert_eq!(also(&format!("{kept}\n{answered}")), []);
    let history = |lines: &str| {
        let text = format!("{STORY}{lines}").replace("DIGEST", "0");
        let mut history: History = text.parse().expect("it is well told");
        history.sort();
        judge(&history, &ledger(), &expectations()).coverage.of(Rare::JournalDelivered)
    };
    let died = "950 worker-stopped worker=alpha incarnation=7";
    assert_eq!(history(&format!("{kept}\n{answered}")), 0, "it was the same process");
    assert_eq!(history(&format!("{kept}\n{died}\n{answered}")), 1);
}

#[test]
fn i3_request_ids_that_are_mixed_up() {
    let again = |run, body| {
        format!(
            "930 invoked call=6 client=3 what=submit request=r1 body={body} workflow=etl\n\
             940 returned call=6 answer=submitted run={run} number={run}"
        )
    };
    assert_eq!(also(&again(1, 1)), []);
    assert_eq!(also(&again(1, 9)), [I3, I14]);
    let refused =
        |body| again(1, body).replace("submitted run=1 number=1", "refused code=ALREADY_EXISTS");
    assert_eq!(also(&refused(9)), []);
    assert_eq!(also(&refused(1)), [I3, I14]);
    let names = also(&again(2, 1).replace("930", "1010").replace("940", "1020"));
    assert!(names.contains(&I3), "one id, two runs: {names:?}");
    let names = also(&again(9, 1));
    assert!(names.contains(&I3), "one id, two runs, one of them nobody's: {names:?}");
    let names = also(&again(1, 1).replace("r1", "r9"));
    assert!(names.contains(&I3), "two ids, one run: {names:?}");
}

#[test]
fn i4_fences_that_are_used_twice_or_backwards() {
    let begin = |at, fence, worker| {
        format!(
            "{at} attempt-began worker={worker} run=1 task=1 index=0 fence={fence}\n\
                 {} attempt-ended run=1 task=1 index=0 fence={fence} how=lost",
            at + 1
        )
    };
    assert_eq!(also(&begin(885, 8, "beta incarnation=8")), [I4]);
    let late = also(&begin(885, 6, "alpha incarnation=7"));
    assert_eq!(late, [I4, I12], "an older fence, and its worker was lost");
    let late = also(&begin(950, 8, "beta incarnation=8"));
    assert_eq!(late, [I4], "its end was accepted");
}

#[test]
fn i4_what_nobody_reported() {
    let report = "885 reported worker=beta incarnation=8 run=1 task=1 first=0 last=0 fence=8 how=succeeded \
                  is_kept=true\n";
    assert_eq!(instead(&[(report, "")]), [I4]);
    assert_eq!(
        instead(&[(report, &report.replace("fence=8", "fence=6").replace("true", "false"))]),
        [I4]
    );
    assert_eq!(instead(&[(report, &report.replace("how=succeeded", "how=failed"))]), [I4]);
    assert_eq!(instead(&[(report, &report.replace("885", "905"))]), [I4], "only afterwards");
    let other = "670 reported worker=alpha incarnation=7 run=1 task=1 first=0 last=0 fence=6 how=failed is_kept=false";
    assert_eq!(also(other), [I4], "it was killed");
    assert_eq!(also(&other.replace("failed", "lost")), []);
}

#[test]
fn i4_a_part_reported_twice_is_not_the_whole() {
    let of = |first: u32, last: u32| {
        format!(
            "885 reported worker=beta incarnation=8 run=1 task=1 first={first} last={last} fence=8 how=succeeded \
             is_kept=false\n"
        )
    };
    let report = &of(0, 0).replace("is_kept=false", "is_kept=true");
    let answer = "905 report-answered worker=beta incarnation=8 run=1 task=1 first=0 last=0 fence=8 \
                  how=succeeded is_accepted=true\n";
    let ten = |ledger: &mut Ledger| {
        let placed = &mut ledger
            .attempts
            .get_mut(&(RunId(1), TaskIndex(1), Fence(8)))
            .expect("it was placed")[0];
        placed.range.last = 9;
        placed.ends[0].0.last = 9;
    };
    let judged = |reports: String| told(&[(report, &reports), (answer, "")], ten);
    assert_eq!(judged(of(0, 4) + &of(5, 9)), []);
    assert_eq!(judged(of(5, 9) + &of(0, 6)), []);
    assert_eq!(judged(of(0, 4) + &of(0, 4)), [I4]);
    assert_eq!(judged(of(0, 3) + &of(5, 9) + &of(0, 3)), [I4]);
}

#[test]
fn i6_a_run_that_is_shown_otherwise() {
    assert_eq!(instead(&[("run=1 status=succeeded\n1711", "run=1 status=failed\n1711")]), [I6]);
    assert_eq!(instead(&[("run=2 status=cancelled", "run=2 status=running")]), [I6]);
}

#[test]
fn i1_i2_pruned_runs_are_gone_everywhere_and_no_others() {
    let prune = |ledger: &mut Ledger| ledger.pruned_before = LogIndex(10);
    let absent = ("run-final master=1 run=1 status=succeeded", "run-absent master=1 run=1");
    assert_eq!(told(&[absent], prune), []);
    assert_eq!(instead(&[absent]), [I2]);
    assert_eq!(told(&[], prune), [I1], "one master shows it still");
    let other = ("run-final master=2 run=3 status=succeeded", "run-absent master=2 run=3");
    assert_eq!(told(&[absent, other], prune), [I2], "that one ended later");
    let shown = |run, applied| {
        let line = format!("1600 history-shown master=2 applied={applied} run={run}");
        let first = "10 leads master=1 term=1\n";
        let edit = (first, &*format!("{first}{line}\n"));
        told(&[edit], |it| {
            it.prunings.insert(LogIndex(14), LogIndex(10));
        })
    };
    assert_eq!((shown(1, 13), shown(1, 14)), (vec![], vec![I1]), "it had applied the pruning");
    assert_eq!(shown(2, 14), [], "that one ended later");
}

#[test]
fn i12_workers_and_their_leases() {
    let began = "810 attempt-began worker=beta incarnation=8";
    assert_eq!(instead(&[(began, "810 attempt-began worker=gamma incarnation=8")]), [I12]);
    assert_eq!(instead(&[(began, "810 attempt-began worker=beta incarnation=9")]), [I12]);
    assert_eq!(instead(&[("until=690", "until=701")]), [I12], "lost while its lease held");
    assert_eq!(instead(&[("left=39", "left=40")]), [I12], "it was counted from the answer");
    assert_eq!(instead(&[("620 leads", "661 leads")]), [I12], "lost too soon after the election");
    assert_eq!(
        instead(&[("worker=beta incarnation=8 id=2", "worker=beta incarnation=8 id=3")]),
        [I12]
    );
    let left = "695 worker-left worker=alpha incarnation=7";
    let early = ("620 leads master=2 term=2\n", format!("661 leads master=2 term=2\n{left}\n"));
    assert_eq!(
        instead(&[(early.0, &early.1), ("until=690", "until=701")]),
        [],
        "it left by itself"
    );
}

#[test]
fn i12_a_loss_within_the_margin() {
    let named = |margin, quorum_age| {
        let mut history: History =
            STORY.replace("DIGEST", "0").parse().expect("the story is well told");
        history.sort();
        let (margin, quorum_age) = (Nanos(margin), Nanos(quorum_age));
        let expected = Expectations { masters: 0, margin, quorum_age, ..expectations() };
        judge(&history, &ledger(), &expected).names(I12)
    };
    // The lease held until 690, the leader began to lead at 620, the worker was lost at 700.
    assert!(!named(10, 0));
    assert!(named(11, 0), "it was not waited for");
    assert!(!named(11, 1), "who confirmed it might have been deposed");
    assert!(!named(40, 39) && named(41, 40), "a new leader waits for all of it");
}

#[test]
fn i13_what_begins_without_a_committed_placement() {
    let began = "1310 attempt-began worker=beta incarnation=8 run=3 task=0 index=0 fence=13";
    assert_eq!(instead(&[(began, &began.replace("1310", "1290"))]), [I13]);
    let unplaced = began.replace("fence=13", "fence=12").replace("1310", "1250");
    let ended = "1260 attempt-ended run=3 task=0 index=0 fence=12 how=lost";
    assert_eq!(also(&format!("{unplaced}\n{ended}")), [I13]);
}

#[test]
fn i14_a_read_that_is_behind() {
    let read = "returned call=2 answer=run status=succeeded index=9";
    assert_eq!(instead(&[(read, "returned call=2 answer=run status=running index=9")]), []);
    assert_eq!(instead(&[(read, "returned call=2 answer=no-run")]), [I14]);
    let listed = "1010 invoked call=6 client=3 what=list is_stale=false\n\
                  1015 returned call=6 answer=runs runs=1:succeeded is_whole=true";
    assert_eq!(also(listed), [I14]);
    assert_eq!(also(&listed.replace("runs=1", "runs=2:running,1")), []);
}

#[test]
fn i15_l3_runs_that_do_not_end() {
    assert_eq!(
        told(&[], |it| it.runs.get_mut(&RunId(2)).expect("it is there").ended = None),
        [I6, I15]
    );
    let unfinished = |ledger: &mut Ledger| {
        ledger.runs.get_mut(&RunId(1)).expect("it is there").ended = None;
    };
    assert_eq!(told(&[], unfinished), [I6, I14, L3]);
    let late = |ledger: &mut Ledger| {
        ledger.applied_at.insert(LogIndex(9), Nanos(1721));
    };
    assert!(told(&[], late).contains(&L3));
}

#[test]
fn i18_two_leaders_in_one_term() {
    assert_eq!(also("630 leads master=1 term=2"), [I18]);
    assert_eq!(also("630 leads master=2 term=2"), []);
}

#[test]
fn l1_nobody_leads() {
    assert_eq!(also("1115 steps-down master=2 term=2"), [L1]);
    assert_eq!(also("1115 master-stopped master=2"), [L1]);
    assert_eq!(also("1115 steps-down master=2 term=2\n1200 leads master=1 term=3"), []);
    assert_eq!(also("1115 steps-down master=2 term=2\n1221 leads master=1 term=3"), [L1]);
}

#[test]
fn l4_new_work_is_not_served() {
    assert_eq!(instead(&[("1120 faults-stopped", "1135 faults-stopped")]), [L4]);
    let late = |ledger: &mut Ledger| {
        ledger.applied_at.insert(LogIndex(16), Nanos(1731));
    };
    assert_eq!(told(&[], late), [L4]);
}

#[test]
fn l5_a_placement_that_nobody_takes_up() {
    let lines: Vec<&str> = STORY.lines().filter(|line| line.contains("fence=13")).collect();
    let without: Vec<(String, &str)> = lines.iter().map(|line| (format!("{line}\n"), "")).collect();
    let without: Vec<(&str, &str)> =
        without.iter().map(|(old, new)| (old.as_str(), *new)).collect();
    let forget_end = |ledger: &mut Ledger| {
        let key = (RunId(3), TaskIndex(0), Fence(13));
        ledger.attempts.get_mut(&key).expect("it was placed")[0].ends.clear();
    };
    assert_eq!(told(&without, forget_end), [L5]);
}
