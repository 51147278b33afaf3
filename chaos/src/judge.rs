//! The verdict on what clients and tasks saw. Each violation names the invariant of `docs/guarantees.md`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use muster_chaos::witness::{self, Deed, Testimony};
use muster_client::v1;

use crate::calm::{Aftermath, Ended};
use crate::fires::WallClock;
use crate::history::{Answer, Event, What, requests};
use crate::logbook::Logbook;
use crate::scenario::{Kind, Scenario};
use crate::shapes::{End, Shape};
use crate::violations::{Counters, Violations};

/// Everything there is to be judged.
pub(crate) struct Case<'c> {
    pub(crate) scenario: &'c Scenario,
    pub(crate) events: &'c [Event],
    pub(crate) aftermath: &'c Aftermath,
    pub(crate) testimonies: &'c [Testimony],
    /// Where processes wrote what they said.
    pub(crate) folder: &'c Path,
    /// What they said.
    pub(crate) logbook: &'c Logbook,
    /// The harness's clock at the beginning and in the end.
    pub(crate) clocks: [WallClock; 2],
}

/// Judges. What is found is added to what was found before.
pub(crate) fn judge(case: &Case<'_>, violations: &mut Violations) -> Result<Counters> {
    let mut counters = Counters::default();
    for what in witness::contradictions(case.testimonies) {
        violations.add("P1", what);
    }
    judge_requests(case, violations, &mut counters);
    judge_numbers(case.events, violations);
    judge_reads(case.events, violations);
    judge_ends(case, violations, &mut counters);
    judge_processes(case, violations, &mut counters)?;
    count(case, &mut counters);
    Ok(counters)
}

/// One request gives one run, and what was accepted is there in the end (I2, I3).
fn judge_requests(case: &Case<'_>, violations: &mut Violations, counters: &mut Counters) {
    for (request, known) in requests(case.events) {
        counters.add("submissions", 1);
        if let [one, other, ..] = known.runs[..] {
            violations.add("I3", format!("request {request} gave {one:?} and {other:?}"));
        }
        for why in &known.refusals {
            violations.add("I3", format!("request {request} was refused: {why}"));
        }
        for run in &known.runs {
            let is_there = case.aftermath.runs.contains_key(&run.id);
            counters.add("accepted runs", 1);
            if !is_there && !case.aftermath.runs.is_empty() {
                counters.add("accepted runs not found", 1);
            }
        }
    }
    for event in case.events {
        if let What::Read { run, answer: Answer::Refused(why) } = &event.what
            && why.starts_with("NotFound")
        {
            violations.add("I2", format!("run {run} was accepted and is gone: {why}"));
        }
    }
}

/// A run that was accepted before another one was asked for has the smaller number (I14): numbers are given in the
/// order of the log, and each answer comes after its place in it.
fn judge_numbers(events: &[Event], violations: &mut Violations) {
    let mut firsts: BTreeMap<(&str, u64), &Event> = BTreeMap::new();
    for event in events {
        if let What::Submit { answer: Answer::Yes(run), .. } = &event.what {
            let first = firsts.entry((&run.workflow, run.number)).or_insert(event);
            if event.returned < first.returned {
                *first = event;
            }
        }
    }
    // What was asked for first, by request: a repeated submission was asked for when it was so the first time.
    let mut asked: BTreeMap<(&str, u64), _> = BTreeMap::new();
    let mut by_request: BTreeMap<&str, _> = BTreeMap::new();
    for event in events {
        if let What::Submit { request, .. } = &event.what {
            let first = by_request.entry(request.as_str()).or_insert(event.called);
            *first = event.called.min(*first);
        }
    }
    for event in events {
        if let What::Submit { request, answer: Answer::Yes(run), .. } = &event.what
            && let Some(called) = by_request.get(request.as_str())
        {
            asked.insert((run.workflow.as_str(), run.number), *called);
        }
    }
    // Going down the numbers, none may have been asked for after a larger one was accepted.
    let mut earliest: Option<(&str, u64, std::time::Duration)> = None;
    for ((workflow, number), called) in asked.iter().rev() {
        if let Some((its, larger, returned)) = earliest.filter(|it| it.0 == *workflow)
            && *called > returned
        {
            violations.add(
                "I14",
                format!("{its}/{larger} was accepted before {workflow}/{number} was asked for"),
            );
        }
        let returned = firsts.get(&(*workflow, *number)).map(|event| event.returned);
        earliest = match (earliest, returned) {
            (Some(held), Some(returned)) if held.0 == *workflow && held.2 <= returned => Some(held),
            (_, Some(returned)) => Some((workflow, *number, returned)),
            (held, None) => held,
        };
    }
}

/// A run that was seen to have ended is never seen otherwise by a read that began later (I6, I14).
fn judge_reads(events: &[Event], violations: &mut Violations) {
    let mut reads: BTreeMap<u64, Vec<(&Event, &str)>> = BTreeMap::new();
    for event in events {
        if let What::Read { run, answer: Answer::Yes(status) } = &event.what {
            reads.entry(*run).or_default().push((event, status));
        }
    }
    for (run, reads) in reads {
        let ended = reads.iter().filter(|(_, status)| *status != "running");
        let Some((first, end)) = ended.min_by_key(|(event, _)| event.returned) else { continue };
        for (event, status) in &reads {
            let is_other_end = *status != "running" && status != end;
            if is_other_end {
                violations.add("I6", format!("run {run} was {end}, and {status}"));
            } else if *status == "running" && event.called > first.returned {
                violations.add("I14", format!("run {run} was {end}, and read as running later"));
            }
        }
    }
}

/// Every run ended as it must, with results of attempts that really were (I4, I10, I15).
fn judge_ends(case: &Case<'_>, violations: &mut Violations, counters: &mut Counters) {
    let mut begun: BTreeMap<(u64, &str), Vec<u64>> = BTreeMap::new();
    for said in case.testimonies.iter().filter(|said| said.deed == Deed::Begin) {
        begun.entry((said.run, &said.task)).or_default().push(said.fence);
    }
    for (id, ended) in &case.aftermath.runs {
        judge_end(*id, ended, violations);
        for task in &ended.tasks {
            counters.add("losses", task.losses.into());
            counters.add("failures", task.failures.into());
            let Some(accepted) = task.outputs.get("fence") else { continue };
            counters.add("results with a fence", 1);
            if *accepted != task.fence.to_string() {
                violations.add(
                    "I4",
                    format!("{id}/{}: fence {} gave the result of {accepted}", task.id, task.fence),
                );
            }
            let fences = begun.get(&(*id, task.id.as_str()));
            if fences.is_none_or(|fences| !fences.contains(&task.fence)) {
                violations.add(
                    "I4",
                    format!("{id}/{}: nobody began with fence {}: {fences:?}", task.id, task.fence),
                );
            }
        }
    }
    for event in case.events {
        if let What::Cancel { run, answer: Answer::Yes(true) } = &event.what
            && let Some(ended) = case.aftermath.runs.get(run)
            && ended.run.status() != v1::RunStatus::Cancelled
        {
            let status = ended.run.status();
            violations.add("I15", format!("run {run} was told to stop and ended as {status:?}"));
        }
    }
}

fn judge_end(id: u64, ended: &Ended, violations: &mut Violations) {
    let Some(shape) = Shape::named(ended.shape) else { return };
    let status = ended.run.status();
    let fits = match shape.end {
        End::Succeeds => status == v1::RunStatus::Succeeded,
        End::Fails => status == v1::RunStatus::Failed,
        End::Either => matches!(status, v1::RunStatus::Cancelled | v1::RunStatus::Succeeded),
    };
    if !fits {
        let told: Vec<String> = ended
            .tasks
            .iter()
            .map(|task| format!("{} {:?} `{}`", task.id, task.status(), task.message))
            .collect();
        let what = format!("run {id}, {}, ended as {status:?}: {}", ended.shape, told.join(", "));
        violations.add("I10", what);
    }
}

/// No process panicked, and none ended by itself that may not.
fn judge_processes(
    case: &Case<'_>,
    violations: &mut Violations,
    counters: &mut Counters,
) -> Result<()> {
    for event in case.events {
        let What::Ended { who, how } = &event.what else { continue };
        counters.add("processes that ended by themselves", 1);
        let kind = if who.starts_with('m') { Kind::Masters } else { Kind::Workers };
        if !case.scenario.may_end.contains(&kind) {
            violations.add("process", format!("{who} ended by itself: {how}"));
        }
    }
    for entry in std::fs::read_dir(case.folder)? {
        let path = entry?.path();
        if path.extension().is_none_or(|it| it != "log") {
            continue;
        }
        let text = String::from_utf8_lossy(&std::fs::read(&path)?).into_owned();
        for line in text.lines().filter(|line| line.contains("panicked at")) {
            violations.add("process", format!("{}: {line}", path.display()));
        }
    }
    Ok(())
}

fn count(case: &Case<'_>, counters: &mut Counters) {
    for said in case.testimonies {
        match said.deed {
            Deed::Begin => counters.add("processes of tasks", 1),
            Deed::Conflict => counters.add("conflicts", 1),
            Deed::End => {}
        }
    }
    for event in case.events {
        match &event.what {
            What::Submit { answer: Answer::Unknown(_), .. } => {
                counters.add("calls of unknown outcome", 1)
            }
            What::Cancel { answer: Answer::Yes(true), .. } => counters.add("cancelled runs", 1),
            What::Read { .. } => counters.add("reads", 1),
            What::Fault(_) => counters.add("faults", 1),
            What::Submit { .. } | What::Cancel { .. } | What::Ended { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::history::RunName;

    fn event(called: u64, returned: u64, what: What) -> Event {
        let span = Duration::from_millis;
        Event { called: span(called), returned: span(returned), what }
    }

    fn submitted(request: &str, number: u64) -> What {
        let run = RunName { id: 100 + number, workflow: "short".to_owned(), number };
        What::Submit { request: request.to_owned(), shape: "short", answer: Answer::Yes(run) }
    }

    fn read(status: &str) -> What {
        What::Read { run: 101, answer: Answer::Yes(status.to_owned()) }
    }

    fn found(judge: impl FnOnce(&mut Violations)) -> Vec<&'static str> {
        let mut violations = Violations::default();
        judge(&mut violations);
        violations.codes()
    }

    #[test]
    fn numbers_follow_the_order_of_calls_that_do_not_overlap() {
        let fine = [
            event(0, 10, submitted("a", 1)),
            event(20, 30, submitted("b", 2)),
            event(25, 28, submitted("c", 3)),
            event(40, 50, submitted("a", 1)),
        ];
        assert_eq!(found(|it| judge_numbers(&fine, it)), [""; 0]);
        let wrong = [event(0, 10, submitted("a", 2)), event(20, 30, submitted("b", 1))];
        assert_eq!(found(|it| judge_numbers(&wrong, it)), ["I14"]);
        let far = [
            event(0, 10, submitted("a", 9)),
            event(0, 90, submitted("b", 5)),
            event(20, 30, submitted("c", 1)),
        ];
        assert_eq!(found(|it| judge_numbers(&far, it)), ["I14"]);
    }

    #[test]
    fn what_has_ended_stays_so() {
        let reads = |reads: [(u64, u64, &str); 2]| {
            let events = reads.map(|(called, returned, word)| event(called, returned, read(word)));
            found(|it| judge_reads(&events, it))
        };
        assert_eq!(reads([(0, 10, "running"), (20, 30, "failed")]), [""; 0]);
        assert_eq!(reads([(0, 30, "running"), (5, 10, "failed")]), [""; 0], "they overlap");
        assert_eq!(reads([(0, 10, "failed"), (20, 30, "running")]), ["I14"]);
        assert_eq!(reads([(0, 10, "failed"), (20, 30, "succeeded")]), ["I6"]);
    }

    fn ended(status: v1::RunStatus, fence: u64, output: &str) -> Aftermath {
        let outputs = [("fence".to_owned(), output.to_owned())].into();
        let task = v1::Task { id: "a".to_owned(), fence, outputs, ..v1::Task::default() };
        let run = v1::Run { id: 101, status: status.into(), ..v1::Run::default() };
        let ended = Ended { shape: "short", run, tasks: vec![task] };
        Aftermath { runs: [(101, ended)].into(), ..Aftermath::default() }
    }

    /// What is found in a case of which only this is known.
    fn found_in(
        events: &[Event],
        aftermath: &Aftermath,
        testimonies: &[Testimony],
        judge: fn(&Case<'_>, &mut Violations, &mut Counters),
    ) -> Vec<&'static str> {
        let scenario: Scenario =
            toml::from_str("summary = \"\"\nduration-s = 1\nload = {}\n").expect("a scenario");
        let case = Case {
            scenario: &scenario,
            events,
            aftermath,
            testimonies,
            folder: Path::new("/nowhere"),
            logbook: &Logbook::default(),
            clocks: [WallClock::read(); 2],
        };
        found(|it| judge(&case, it, &mut Counters::default()))
    }

    #[test]
    fn results_carry_the_fence_of_an_attempt_that_was() {
        let begun = Testimony {
            deed: Deed::Begin,
            run: 101,
            task: "a".to_owned(),
            fence: 7,
            attempt: 1,
            pid: 1,
            at: Duration::ZERO,
        };
        let judged = |aftermath: &Aftermath, testimonies: &[Testimony]| {
            found_in(&[], aftermath, testimonies, judge_ends)
        };
        let succeeded = v1::RunStatus::Succeeded;
        let begun = [begun];
        assert_eq!(judged(&ended(succeeded, 7, "7"), &begun), [""; 0]);
        assert_eq!(judged(&ended(succeeded, 9, "7"), &begun), ["I4", "I4"]);
        assert_eq!(judged(&ended(succeeded, 7, "7"), &[]), ["I4"]);
        assert_eq!(judged(&ended(v1::RunStatus::Failed, 7, "7"), &begun), ["I10"]);
    }

    #[test]
    fn one_request_has_one_run() {
        let judged =
            |events: &[Event]| found_in(events, &Aftermath::default(), &[], judge_requests);
        let (one, other) = (event(0, 1, submitted("a", 1)), event(2, 3, submitted("a", 2)));
        assert_eq!(judged(&[one.clone(), one.clone()]), [""; 0]);
        assert_eq!(judged(&[one, other]), ["I3"]);
        let gone = Answer::Refused("NotFound: gone".to_owned());
        assert_eq!(judged(&[event(0, 1, What::Read { run: 101, answer: gone })]), ["I2"]);
    }
}
