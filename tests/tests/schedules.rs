//! Workflows that run by themselves, on clusters whose masters die meanwhile.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use futures::TryStreamExt as _;
use muster_client::{Client, Code, RunFilter, Submission, v1};
use muster_tests::cluster::Cluster;

const SECOND: u64 = 1000;

fn workflow(name: &str, when: &str, task: &str) -> String {
    format!("apiVersion: v1\nkind: Workflow\nname: {name}\n{when}\ntasks:\n  t: {task}\n")
}

async fn runs(client: &Client, workflow: &str) -> Vec<v1::Run> {
    let filter = RunFilter { workflow: workflow.to_owned(), ..RunFilter::default() };
    client.list_runs(filter).try_collect().await.expect("runs can be listed")
}

async fn schedules(client: &Client, workflow: &str) -> BTreeMap<String, v1::Schedule> {
    let listed: Vec<v1::Schedule> =
        client.list_schedules(Some(workflow)).try_collect().await.expect("they can be listed");
    listed.into_iter().map(|schedule| (schedule.name.clone(), schedule)).collect()
}

/// The fire times of a schedule's runs, in order.
fn fire_times(runs: &[v1::Run], schedule: &str) -> Vec<u64> {
    let of_schedule = runs.iter().filter(|run| run.schedule == schedule);
    let mut times: Vec<u64> = of_schedule.map(|run| run.fire_time_ms).collect();
    times.sort_unstable();
    times
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fire_time_makes_one_run_while_leaders_die() {
    let mut cluster = Cluster::start(3, 1).await;
    let when = "schedule:\n  - {name: often, every: 1s}\n  - {name: line, cron: '*/2 * * * * *', catchup: all}";
    let applied = cluster.client.apply(workflow("tick", when, "{noop: true}")).await;
    applied.expect("it is accepted");
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_secs(3)).await;
        let leader = cluster.leader().await;
        cluster.masters[leader].kill();
        tokio::time::sleep(Duration::from_millis(1500)).await;
        cluster.masters[leader].restart();
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    cluster.client.suspend_schedule("tick", None, true).await.expect("it is suspended");
    let (runs, schedules) =
        (runs(&cluster.client, "tick").await, schedules(&cluster.client, "tick").await);
    for (name, step) in [("often", SECOND), ("line", 2 * SECOND)] {
        let times = fire_times(&runs, name);
        println!("{name}: {} runs", times.len());
        assert!(times.len() >= 4, "{times:?}");
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] == step), "{name}: {times:?}");
        assert!(times.iter().all(|time| time % step == 0), "{name}: {times:?}");
        let schedule = &schedules[name];
        assert_eq!((schedule.fired, schedule.missed), (times.len() as u64, 0), "{schedule:?}");
        assert_eq!(schedule.last_fire_time_ms, times.last().copied());
        assert!(schedule.is_suspended && schedule.next_fire_time_ms.is_none(), "{schedule:?}");
    }
    // Switched on again, it owes nothing for the time in between.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = fire_times(&runs, "often").len();
    cluster.client.suspend_schedule("tick", Some("often"), false).await.expect("it is resumed");
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let after = fire_times(&self::runs(&cluster.client, "tick").await, "often");
    assert!((before + 1..=before + 3).contains(&after.len()), "{before}: {after:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_fire_in_time_is_missed_and_counted() {
    let mut cluster = Cluster::start(3, 1).await;
    let when = "schedule: {every: 1s, startingDeadline: 1s, catchup: all}";
    cluster.client.apply(workflow("strict", when, "{noop: true}")).await.expect("it is accepted");
    tokio::time::sleep(Duration::from_secs(2)).await;
    for master in &mut cluster.masters {
        master.kill();
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    for master in &mut cluster.masters {
        master.restart();
    }
    cluster.leader().await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    cluster.client.suspend_schedule("strict", None, true).await.expect("it is suspended");
    let schedule = schedules(&cluster.client, "strict").await["schedule-1"].clone();
    let times = fire_times(&runs(&cluster.client, "strict").await, "schedule-1");
    println!("{} fired, {} missed", schedule.fired, schedule.missed);
    assert!(schedule.missed >= 3, "{schedule:?}");
    assert_eq!(schedule.fired, times.len() as u64);
    // Every second made a run or is counted as missed.
    let (first, last) = (times[0], times[times.len() - 1]);
    assert_eq!((last - first) / SECOND + 1, schedule.fired + schedule.missed, "{times:?}");
}

/// What a task is told of its fire time, in its environment and by reference.
#[tokio::test(flavor = "multi_thread")]
async fn a_task_knows_what_it_was_fired_for() {
    let cluster = Cluster::start(1, 1).await;
    let says = "${{ run.schedule }} ${{ run.fireTime }} ${{ run.fireDate }}";
    let script = "echo \"$MUSTER_SCHEDULE $MUSTER_FIRE_TIME $SAYS\"";
    let task = format!("{{run: '{script}', env: {{SAYS: '{says}'}}}}");
    let when = "schedule: {name: far, every: 1s, timeZone: Pacific/Fiji}";
    cluster.client.apply(workflow("told", when, &task)).await.expect("it is accepted");
    tokio::time::sleep(Duration::from_secs(3)).await;
    cluster.client.suspend_schedule("told", None, true).await.expect("it is suspended");
    let all = runs(&cluster.client, "told").await;
    let first = all.iter().min_by_key(|run| run.number).expect("it ran");
    let (code, said, _) = cluster.muster(&["logs", "told/1/t"]);
    assert_eq!(code, 0);
    let words: Vec<&str> = said.split_whitespace().collect();
    let [name, time, same_name, same_time, date] = words[..] else { panic!("{said}") };
    assert_eq!((name, same_name, time), ("far", "far", same_time), "{said}");
    let at = muster_calendar::moment(time).expect("a time");
    assert_eq!(at.0, first.fire_time_ms, "{said}");
    assert_eq!(muster_calendar::Moment::of(at, "Pacific/Fiji").date, date, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fire_times_that_are_past_are_run_after_the_fact() {
    let cluster = Cluster::start(1, 1).await;
    let when = "params: {day: {}, word: {default: no}}\n\
        schedule: {name: night, cron: '30 2 * * *', params: {day: monday}, suspend: true}";
    let task = "{run: 'echo \"$MUSTER_FIRE_TIME $MUSTER_PARAM_DAY $MUSTER_PARAM_WORD\"'}";
    cluster.client.apply(workflow("etl", when, task)).await.expect("it is accepted");
    let range = ["--from", "2026-03-01", "--to", "2026-03-03T12:00"];
    let backfill = |more: &[&str]| {
        cluster.muster(&[&["schedule", "backfill", "etl"], &range[..], more].concat())
    };
    let (code, shown, _) = backfill(&["--dry-run", "-o", "name"]);
    let times = "2026-03-01 02:30:00\n2026-03-02 02:30:00\n2026-03-03 02:30:00\n";
    assert_eq!((code, shown.as_str()), (0, times));
    assert_eq!(runs(&cluster.client, "etl").await.len(), 0, "that was a dry run");

    let (code, _, told) = backfill(&["-p", "word=yes", "--parallel", "2"]);
    assert_eq!(code, 0, "{told}");
    let all = runs(&cluster.client, "etl").await;
    let at = |day: u64| muster_calendar::moment(&format!("2026-03-0{day}T02:30")).unwrap().0;
    assert_eq!(fire_times(&all, "night"), [at(1), at(2), at(3)]);
    assert!(all.iter().all(|run| run.is_backfill && run.status() == v1::RunStatus::Succeeded));
    let first = all.iter().min_by_key(|run| run.number).expect("it ran");
    assert_eq!(
        first.fire_time_ms,
        at(1),
        "runs beside each other begin in the order of their times"
    );
    let (_, said, _) = cluster.muster(&["logs", "etl/1/t"]);
    assert_eq!(said, "2026-03-01T02:30:00Z monday yes\n");
    assert_eq!(
        schedules(&cluster.client, "etl").await["night"].fired,
        0,
        "it is not the schedule's"
    );

    let (code, _, told) = backfill(&[]);
    assert!(code == 0 && told.contains("0 of 3 fire times"), "{told}");
    let (code, _, told) = backfill(&["--reprocess", "all", "--reverse"]);
    assert!(code == 0 && told.contains("3 of 3 fire times"), "{told}");
    let all = runs(&cluster.client, "etl").await;
    let last = all.iter().max_by_key(|run| run.number).expect("they ran");
    assert_eq!((all.len(), last.fire_time_ms), (6, at(1)));

    let off = Submission::workflow("etl").backfill("night", at(1) + 1000);
    let refused = cluster.client.submit(off).await.unwrap_err();
    assert!(refused.to_string().contains("never fires then"), "{refused}");
    let ahead = Submission::workflow("etl").backfill("night", at(1) + 100 * 365 * 86_400 * SECOND);
    assert_eq!(cluster.client.submit(ahead).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_beside_each_other_obey_the_policy() {
    let cluster = Cluster::start(1, 1).await;
    let file = cluster.path("queue.yaml");
    let text = workflow("queue", "concurrencyPolicy: Queue", "{run: sleep 0.3}");
    fs::write(&file, text).expect("a file");
    let file = file.display().to_string();
    assert_eq!(cluster.muster(&["apply", "-f", &file]).0, 0);
    for _ in 0..3 {
        assert_eq!(cluster.muster(&["run", "queue"]).0, 0);
    }
    let (_, queued, _) = cluster.muster(&["get", "runs", "--status", "queued", "-o", "name"]);
    assert!(queued.contains("queue/3"), "{queued}");
    let (_, why, _) = cluster.muster(&["explain", "queue/3"]);
    assert!(why.contains("queued behind queue/") && why.contains("concurrencyPolicy"), "{why}");
    assert_eq!(cluster.muster(&["wait", "queue/1", "queue/2", "queue/3"]).0, 0);
    let mut all = runs(&cluster.client, "queue").await;
    all.sort_by_key(|run| run.number);
    for pair in all.windows(2) {
        assert!(pair[0].ended_at_ms <= pair[1].begun_at_ms, "{pair:?}");
    }

    let source = workflow("alone", "concurrencyPolicy: Forbid", "{run: sleep 60}");
    let first = cluster.client.submit(Submission::source(&*source)).await.expect("it is accepted");
    let second = cluster.client.submit(Submission::source(&*source)).await;
    let refused = second.expect_err("another is live");
    assert_eq!(
        (refused.code(), refused.reason()),
        (Code::FailedPrecondition, Some("RUN_FORBIDDEN"))
    );
    let (code, _, said) = cluster.muster(&["run", "alone"]);
    assert!(code == 1 && said.contains("run alone/1 is live"), "{code}: {said}");

    let replacing = source.replace("Forbid", "Replace");
    let third = cluster.client.submit(Submission::source(replacing)).await.expect("it is accepted");
    let ended = cluster.client.wait_run(&first, Some(Duration::from_secs(30))).await;
    let ended = ended.expect("it ends");
    assert_eq!(ended.status(), v1::RunStatus::Cancelled);
    assert_eq!(ended.stop_reason, "replaced by a later run");
    let third = cluster.client.get_run(&third).await.expect("it is there");
    assert!(third.begun_at_ms >= ended.ended_at_ms, "{third:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_that_makes_no_sense_is_refused_by_masters_too() {
    let cluster = Cluster::start(1, 0).await;
    for (when, field) in [
        ("schedule: '61 * * * *'", "schedule[0].cron"),
        ("schedule: {cron: '@daily', timeZone: Mars}", "schedule[0].timeZone"),
        ("schedule: ['@daily', '0 0 30 2 *']", "schedule[1].cron"),
    ] {
        let refused = cluster.client.apply(workflow("bad", when, "{noop: true}")).await;
        let refused = refused.expect_err("it makes no sense");
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
        assert!(refused.to_string().contains(field), "{refused}");
    }
}
