//! One input line.
//!
//! ```text
//! at 5s | at +5s                      sets the clock that stamps the entries from here on
//! tick                                applies an entry that only lets time pass
//! worker w1 cpu=2 memory=1Gi gpu=1 pool=x label.zone=a incarnation=2 lease=9000
//! apply etl: a -> b; c[retry=2]       a workflow version; see `notation` for the part after the colon
//! namespace team weight=2 runs=1 tasks=2 cpu=2 memory=1Gi group.db=3
//! run etl: a -> b                     applies the spec and runs it
//! run etl | run etl@2                 runs what was applied
//! submit etl[timeout=1m]: a -> b      a one-off run
//! plan                                places first fit, by priority and age
//! place etl/1/a w1, etl/1/x[0-4] w1   `#3` names a worker by number, `run#9` a run, `task#9` a task
//! start etl/1/a#1 age=2s              `#1` is the number of the attempt; `@7` a fence instead
//! finish etl/1/a#1 ok rows=3, etl/1/b#1 failed 2 message, etl/1/c#1 timeout|cancelled|lost
//! decide etl/1/b start, etl/1/c skip, etl/1/d fail message    `etl/1/b@7` for the wait since log index 7
//! decide etl/1/s run day=today      the parameters of a sub-workflow's run
//! decide etl/1/e each x y z, etl/1/f many 9                    the items of a task that is sized late
//! fire etl/nightly until=9s times=5s,9s missed=1 next=12s due=13s   `next=never`; `after=` and `version=` unless right
//! suspend etl/nightly | resume etl    one schedule of a workflow, or all of them
//! pause etl/1 | unpause etl/1 | prioritize etl/1 5
//! end etl/1/a succeeded|skipped|cancelled | end etl/1/a approved|rejected reason | reopen etl/1 | reopen etl/1/a
//! retry etl/1 | retry etl/1/a | only etl/1/a | rerun etl/1    a run that retries one that ended, or any with `only`
//! lose w1 | drain w1 | undrain w1 | cancel etl/1 | release etl/1/a rerun|fail | prune 5 | upgrade 2
//! schedules etl | triggers etl        how far its schedules and triggers have come
//! usage                               what the namespaces have
//! show [etl/1] | task etl/1/a | workers | queue | versions | deadline | now | meta
//! events off|on                       prints events, or only replies
//! ```
//!
//! `with request=r1 priority=5 namespace=n backfill=night@5s p=value`, some of them, may end any line that makes a
//! command. A line that begins with `+` goes into one entry with the line before it, which must begin with `+` too; a
//! `.` alone ends such an entry.
//! After each entry all invariants are checked, and a replica restored from a snapshot taken before it must agree.

use std::collections::BTreeMap;
use std::sync::Arc;

use muster_core::command::{
    ApplyNamespace, ApplyWorkflow, Asked, AttemptRef, CancelRun, Command, DecideTasks, Decision,
    DrainWorker, EndTask, Finish, FinishAttempts, FireSchedule, LoseWorker, Outcome, PauseRun,
    PlaceAttempts, Placement, PrioritizeRun, PruneHistory, RegisterWorker, ReleaseTask,
    ReopenTasks, RequestKey, RetryRun, RunSource, Start, StartAttempts, SubmitRun, SuspendSchedule,
    UpgradeCluster, Verdict, WantedEnd,
};
use muster_core::ids::{LogIndex, Name, TaskIndex, Text};
use muster_core::retry::{Scope, TakenEnd, TakenOver, taken_over};
use muster_core::snapshot::digest_of;
use muster_core::spec::quantity::{parse_cpu, parse_memory};
use muster_core::spec::{Resources, duration};
use muster_core::state::run::{FireOrigin, RetryOrigin};
use muster_core::state::task::TaskState;
use muster_core::state::trail::Asker;
use muster_core::state::workflow::NextFire;
use muster_core::time::{Millis, Timestamp};

use super::namespaces::namespace;
use super::notation;
use super::world::World;

pub(crate) fn name(text: &str) -> Name {
    Name::parse(text).unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn span(text: &str) -> Millis {
    duration::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// `key=value` pairs between blanks.
pub(crate) fn pairs(text: &str) -> Vec<(&str, &str)> {
    let pair = |it| str::split_once(it, '=').unwrap_or_else(|| panic!("`{it}` is not key=value"));
    text.split_whitespace().map(pair).collect()
}

/// What stands after `with`.
struct Options {
    request: Option<RequestKey>,
    priority: Option<i32>,
    namespace: Name,
    params: BTreeMap<Name, Text>,
    backfill: Option<FireOrigin>,
    by: Option<Asker>,
}

fn options(line: &str) -> (&str, Options) {
    let (line, given) = line.split_once(" with ").unwrap_or((line, ""));
    let mut options = Options {
        request: None,
        priority: None,
        namespace: name("default"),
        params: BTreeMap::new(),
        backfill: None,
        by: None,
    };
    let mut id = None;
    let mut body = line.to_owned();
    for (key, value) in pairs(given) {
        match key {
            "request" => {
                id = Some(if value == "long" { "x".repeat(129) } else { value.to_owned() })
            }
            "backfill" => {
                let (schedule, time) = value.split_once('@').expect("SCHEDULE@SPAN");
                let (schedule, fire_time) = (name(schedule), Timestamp(0) + span(time));
                options.backfill = Some(FireOrigin { schedule, fire_time });
            }
            "by" => {
                let who = if value == "long" { "é".repeat(1000) } else { value.to_owned() };
                options.by = Some(Asker { who: who.into(), from: "10.0.0.7".into() });
            }
            "priority" => options.priority = Some(value.parse().expect("a number")),
            "namespace" => options.namespace = name(value),
            _ if value == "huge" => {
                drop(options.params.insert(name(key), "x".repeat(70_000).into()))
            }
            _ => drop(options.params.insert(name(key), value.into())),
        }
        if !["request", "by"].contains(&key) {
            body += &format!(" {key}={value}");
        }
    }
    options.request = id.map(|id| RequestKey { id: id.into(), digest: digest_of(body.as_bytes()) });
    (line, options)
}

/// Reads a line that makes a command.
pub(crate) fn command(world: &World, line: &str) -> Command {
    let (line, mut options) = options(line);
    let by = options.by.take();
    let command = plain(world, line, options);
    match by {
        Some(by) => Command::Asked(Asked { by, command: Box::new(command) }),
        None => command,
    }
}

fn plain(world: &World, line: &str, options: Options) -> Command {
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    let request = options.request.clone();
    match verb {
        "tick" => Command::Tick,
        "worker" => worker(rest),
        "apply" => Command::ApplyWorkflow(ApplyWorkflow {
            request,
            namespace: options.namespace,
            spec: Box::new(notation::workflow(rest)),
        }),
        "namespace" => Command::ApplyNamespace(ApplyNamespace { request, spec: namespace(rest) }),
        "run" | "submit" => submit(verb, rest, options),
        "plan" => Command::PlaceAttempts(PlaceAttempts {
            placements: super::planner::first_fit(&world.state),
        }),
        "decide" => decide(world, rest),
        "place" => place(world, rest),
        "start" => start(world, rest),
        "finish" => finish(world, rest),
        "lose" => Command::LoseWorker(LoseWorker { worker: world.worker(rest) }),
        "drain" | "undrain" => Command::DrainWorker(DrainWorker {
            request,
            worker: world.worker(rest),
            is_draining: verb == "drain",
        }),
        "cancel" => Command::CancelRun(CancelRun { request, run: world.run_id(rest) }),
        "pause" | "unpause" => Command::PauseRun(PauseRun {
            request,
            run: world.run_id(rest),
            is_paused: verb == "pause",
        }),
        "prioritize" => {
            let (run, priority) = rest.split_once(' ').expect("`prioritize RUN NUMBER`");
            let priority = priority.parse().expect("a number");
            Command::PrioritizeRun(PrioritizeRun { request, run: world.run_id(run), priority })
        }
        "end" => end(world, rest, request),
        "reopen" => reopen(world, rest, request),
        "retry" | "only" | "rerun" => {
            Command::RetryRun(Box::new(retry(world, verb, rest, options)))
        }
        "fire" => Command::FireSchedule(fire(world, &options.namespace, rest)),
        "suspend" | "resume" => Command::SuspendSchedule(suspend(rest, verb == "suspend", options)),
        "release" => {
            let (task, how) = rest.split_once(' ').expect("`release TASK rerun|fail`");
            let (run, task, _) = world.task(task);
            Command::ReleaseTask(ReleaseTask { request, run, task, rerun: how == "rerun" })
        }
        "prune" => Command::PruneHistory(PruneHistory {
            ended_before: LogIndex(rest.parse().expect("a log index")),
        }),
        "upgrade" => {
            Command::UpgradeCluster(UpgradeCluster { version: rest.parse().expect("a version") })
        }
        _ => panic!("`{verb}` is not a command of the transcripts"),
    }
}

fn end(world: &World, rest: &str, request: Option<RequestKey>) -> Command {
    let (task, how) = rest.split_once(' ').expect("`end TASK END`");
    let (how, reason) = how.split_once(' ').unwrap_or((how, ""));
    let long = "é".repeat(1000);
    let reason = if reason == "long" { &long } else { reason };
    let (run, task, _) = world.task(task);
    let end = match how {
        "succeeded" => WantedEnd::Succeeded,
        "skipped" => WantedEnd::Skipped,
        "cancelled" => WantedEnd::Cancelled,
        "approved" => WantedEnd::Approved,
        "rejected" => WantedEnd::Rejected,
        _ => panic!("`{how}` is not an end"),
    };
    let reason = (!reason.is_empty()).then(|| reason.into());
    Command::EndTask(EndTask { request, run, task, end, reason })
}

fn reopen(world: &World, rest: &str, request: Option<RequestKey>) -> Command {
    let (run, from) = if rest.matches('/').count() == 2 {
        let (run, task, _) = world.task(rest);
        (run, Some(task))
    } else {
        (world.run_id(rest), None)
    };
    Command::ReopenTasks(ReopenTasks { request, run, from })
}

fn suspend(rest: &str, is_suspended: bool, options: Options) -> SuspendSchedule {
    let (workflow, schedule) =
        rest.split_once('/').map_or((rest, None), |(it, schedule)| (it, Some(schedule)));
    SuspendSchedule {
        request: options.request,
        namespace: options.namespace,
        workflow: name(workflow),
        schedule: schedule.map(name),
        is_suspended,
    }
}

/// A worker's lease, unless a line says otherwise.
pub(crate) const LEASE: Millis = Millis(5_000);

fn worker(rest: &str) -> Command {
    let (worker, facts) = rest.split_once(' ').unwrap_or((rest, ""));
    let long = |text: &str| if text == "long" { "x".repeat(300) } else { text.to_owned() };
    let mut command = RegisterWorker {
        name: if worker == "\"\"" { "".into() } else { long(worker).into() },
        incarnation: 1,
        labels: BTreeMap::new(),
        pool: None,
        lease: LEASE,
        capacity: Resources::ZERO,
    };
    for (key, value) in pairs(facts) {
        match key.split_once('.').unwrap_or((key, "")) {
            ("lease", _) => command.lease = Millis(value.parse().expect("milliseconds")),
            ("incarnation", _) => command.incarnation = value.parse().expect("a number"),
            ("cpu", _) => command.capacity.cpu_millis = parse_cpu(value).expect("a quantity"),
            ("memory", _) => {
                command.capacity.memory_bytes = parse_memory(value).expect("a quantity")
            }
            ("pool", _) => command.pool = Some(long(value).into()),
            ("labels", _) => {
                let many = 0..value.parse().expect("a number");
                command.labels.extend(many.map(|it: u32| (it.to_string().into(), "x".into())));
            }
            ("label", label) => drop(command.labels.insert(long(label).into(), long(value).into())),
            _ => drop(command.capacity.custom.insert(key.into(), value.parse().expect("a number"))),
        }
    }
    Command::RegisterWorker(command)
}

fn submit(verb: &str, rest: &str, options: Options) -> Command {
    let source = match (verb, rest.contains(':')) {
        ("submit", _) => RunSource::OneOff(Box::new(notation::workflow(rest))),
        (_, true) => RunSource::Apply(Box::new(notation::workflow(rest))),
        (_, false) => {
            let (workflow, version) = rest
                .split_once('@')
                .map_or((rest, None), |it| (it.0, Some(it.1.parse().expect("a version number"))));
            RunSource::Workflow { workflow: name(workflow), version }
        }
    };
    Command::SubmitRun(SubmitRun {
        request: options.request,
        namespace: options.namespace,
        source,
        params: Arc::new(options.params),
        priority: options.priority,
        backfill: options.backfill,
    })
}

/// What the leader would propose, or what a broken one might: `bad=…` spoils it.
fn retry(world: &World, verb: &str, rest: &str, options: Options) -> RetryRun {
    let (place, spoilt) = rest.split_once(" bad=").map_or((rest, ""), |it| it);
    let (id, task) = if place.matches('/').count() == 2 {
        let (run, task, _) = world.task(place);
        (run, Some(task))
    } else {
        (world.run_id(place), None)
    };
    let run = world.state.run(id).unwrap_or_else(|| &world.runs[&id]);
    let scope = match (verb, task) {
        ("retry", None) => Scope::Failed,
        ("retry", Some(task)) => Scope::From(task),
        ("only", Some(task)) => Scope::Only(task),
        _ => Scope::All,
    };
    let mut retry = RetryRun {
        request: options.request,
        namespace: run.version.namespace.clone(),
        of: RetryOrigin {
            run: id,
            number: run.number,
            fire_time: run.fire_time(),
            schedule: run.schedule().cloned(),
            trigger: run.followed().cloned(),
        },
        version: run.version.id,
        version_number: run.version.number,
        spec: Box::new(run.version.spec.clone()),
        params: Arc::new(
            run.params
                .iter()
                .map(|(key, value)| (key.clone(), value.clone()))
                .chain(options.params)
                .collect(),
        ),
        priority: options.priority.unwrap_or(run.priority),
        taken_over: taken_over(run, scope).unwrap_or_else(|rejection| panic!("{rejection}")),
    };
    let all = run.version.spec.tasks.iter().enumerate().map(|(at, spec)| TakenOver {
        task: TaskIndex(at as u32),
        ends: vec![(spec.indices().into(), TakenEnd::Succeeded)],
        outputs: None,
        items: None,
    });
    match spoilt {
        "" => {}
        "run" => retry.of.run.0 += 99,
        "number" => retry.of.number += 99,
        "version" => retry.version_number += 99,
        "name" => retry.spec.name = name("other"),
        "spec" => retry.spec.tasks.clear(),
        "all" => retry.taken_over = all.collect(),
        "last" => retry.taken_over = all.skip(1).collect(),
        "order" => retry.taken_over = all.collect::<Vec<_>>().into_iter().rev().collect(),
        "outputs" => {
            let large = Arc::new([("k".into(), "x".repeat(70_000).into())].into());
            retry.taken_over = all.take(1).collect();
            retry.taken_over[0].outputs = Some(large);
        }
        _ => panic!("`{spoilt}` is not a way to spoil a retry"),
    }
    retry
}

fn fire(world: &World, namespace: &Name, rest: &str) -> FireSchedule {
    let (place, facts) = rest.split_once(' ').unwrap_or((rest, ""));
    let (workflow, schedule) = place.split_once('/').expect("`fire WORKFLOW/SCHEDULE`");
    let workflow = world.state.workflow(namespace.as_str(), workflow).expect("a known workflow");
    let known = workflow.schedules.iter().find(|it| it.name.as_str() == schedule);
    let after = known.map_or(Timestamp(0), |known| known.decided_until);
    let mut fire = FireSchedule {
        workflow: workflow.id,
        version: workflow.latest.unwrap_or_default(),
        schedule: name(schedule),
        after,
        until: after,
        fire_times: Vec::new(),
        missed: 0,
        next: NextFire::Never,
    };
    let time = |text: &str| Timestamp(span(text).0);
    for (key, value) in pairs(facts) {
        match key {
            "until" => fire.until = time(value),
            "after" => fire.after = time(value),
            "version" => fire.version = value.parse().expect("a number"),
            "times" => fire.fire_times = value.split(',').map(time).collect(),
            "missed" => fire.missed = value.parse().expect("a number"),
            "next" if value == "never" => {}
            "next" if value == "unknown" => fire.next = NextFire::Unknown,
            "next" => fire.next = NextFire::At { fire_time: time(value), due_at: time(value) },
            "due" => {
                if let NextFire::At { due_at, .. } = &mut fire.next {
                    *due_at = time(value);
                }
            }
            _ => panic!("`{key}` is not a fact of `fire`"),
        }
    }
    fire
}

fn decide(world: &World, rest: &str) -> Command {
    let decision = |item: &str| {
        let (task, how) = item.trim().split_once(' ').expect("`decide TASK start|skip|fail`");
        let (task, since) = task.split_once('@').map_or((task, None), |it| (it.0, Some(it.1)));
        let (id, index, range) = world.task(task);
        let state = world.state.run(id).and_then(|run| run.task(index)?.cells.at(range.first));
        let since = match (since, state) {
            (Some(since), _) => LogIndex(since.parse().expect("a log index")),
            (None, Some((_, TaskState::Undecided { since, .. }))) => *since,
            (None, _) => LogIndex(0),
        };
        let (word, message) = how.split_once(' ').unwrap_or((how, ""));
        let verdict = match word {
            "start" => Verdict::Start,
            "skip" => Verdict::Skip,
            "run" => {
                let params = pairs(message).into_iter().map(|it| (name(it.0), it.1.into()));
                Verdict::StartRun { params: Arc::new(params.collect()) }
            }
            "each" => Verdict::FanOut { items: message.split_whitespace().collect() },
            "many" => {
                let count = message.parse().expect("a number");
                Verdict::FanOut { items: std::iter::repeat_n("x", count).collect() }
            }
            "fail" => Verdict::Fail {
                message: if message == "long" { "é".repeat(1000) } else { message.to_owned() }
                    .into(),
            },
            _ => panic!("`{word}` is not a verdict"),
        };
        Decision { run: id, task: index, since, verdict }
    };
    Command::DecideTasks(DecideTasks { decisions: rest.split(',').map(decision).collect() })
}

fn place(world: &World, rest: &str) -> Command {
    let placement = |item: &str| {
        let (task, worker) = item.trim().rsplit_once(' ').expect("`place TASK WORKER`");
        let (run, task, range) = world.task(task);
        Placement { run, task, range, worker: world.worker(worker) }
    };
    Command::PlaceAttempts(PlaceAttempts { placements: rest.split(',').map(placement).collect() })
}

fn start(world: &World, rest: &str) -> Command {
    let start = |item: &str| {
        let (attempt, facts) = item.trim().split_once(' ').unwrap_or((item.trim(), ""));
        let age = pairs(facts).first().map_or(Millis(0), |(_, value)| span(value));
        Start { attempt: world.attempt(attempt), age }
    };
    Command::StartAttempts(StartAttempts { starts: rest.split(',').map(start).collect() })
}

fn finish(world: &World, rest: &str) -> Command {
    let finish = |item: &str| {
        let (attempt, how) = item.trim().split_once(' ').expect("`finish ATTEMPT OUTCOME`");
        let attempt: AttemptRef = world.attempt(attempt);
        Finish { attempt, outcome: outcome(how), duration: Millis(0) }
    };
    Command::FinishAttempts(FinishAttempts { finishes: rest.split(',').map(finish).collect() })
}

fn outcome(how: &str) -> Outcome {
    let (word, rest) = how.split_once(' ').unwrap_or((how, ""));
    match word {
        "ok" => {
            let value = |value: &str| match value {
                "huge" => "x".repeat(65_536),
                "large" => "x".repeat(40_000),
                _ => value.to_owned(),
            };
            let outputs = pairs(rest);
            let outputs = outputs.into_iter().map(|it| (it.0.into(), value(it.1).into()));
            Outcome::Succeeded { outputs: (!rest.is_empty()).then(|| Arc::new(outputs.collect())) }
        }
        "failed" => {
            let (code, message) = rest.split_once(' ').unwrap_or((rest, ""));
            let message = if message == "long" { "é".repeat(1000) } else { message.to_owned() };
            Outcome::Failed {
                exit_code: code.parse().ok(),
                message: (!message.is_empty()).then(|| message.into()),
            }
        }
        "timeout" => Outcome::TimedOut,
        "cancelled" => Outcome::Cancelled,
        "lost" => Outcome::Lost,
        _ => panic!("`{word}` is not an outcome"),
    }
}
