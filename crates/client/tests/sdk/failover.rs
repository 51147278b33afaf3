//! What a client does when masters are away, busy, slow or wrong.

use std::time::{Duration, Instant};

use crate::fake::{Fake, Step, dead_address, hung_address, run};
use muster_client::v1::RunStatus::{Running, Succeeded};
use muster_client::{Client, Code, RunKey, Submission};
use tonic::Status;
use tonic_types::{ErrorDetails, StatusExt};

#[tokio::test]
async fn goes_past_a_dead_master_and_remembers_the_good_one() {
    let good = Fake::start([Step::Run(run(1, Running)), Step::Run(run(1, Running))]).await;
    let client = Client::connect([dead_address().await, good.address.clone()]).unwrap();
    let started = Instant::now();
    client.get_run(RunKey::latest("etl")).await.unwrap();
    assert!(started.elapsed() < Duration::from_millis(90), "there was no need to wait");
    client.get_run(RunKey::number("etl", 1)).await.unwrap();
    assert_eq!(good.calls.lock().unwrap().gets.len(), 2);
    assert_eq!(client.applied_index(), 41);
}

#[tokio::test]
async fn retries_keep_their_request_id_and_calls_do_not_share_one() {
    let away = || Step::Refuse(Status::unavailable("no leader"));
    let steps = [away(), away(), Step::Run(run(3, Running)), Step::Run(run(4, Running))];
    let master = Fake::start(steps).await;
    let client = Client::connect([&master.address]).unwrap();
    let first = client.submit(Submission::workflow("etl")).await.unwrap();
    assert_eq!(first.number, 3);
    client.submit(Submission::workflow("etl")).await.unwrap();
    let calls = master.calls.lock().unwrap();
    let ids: Vec<&str> = calls.submits.iter().map(|call| call.request_id.as_str()).collect();
    assert_eq!(ids.len(), 4);
    assert!(ids[0] == ids[1] && ids[1] == ids[2] && ids[2] != ids[3], "{ids:?}");
    assert_eq!(uuid::Uuid::parse_str(ids[0]).unwrap().get_version_num(), 7);
}

#[tokio::test]
async fn a_plain_no_is_not_asked_for_twice() {
    for status in [
        Status::invalid_argument("bad"),
        Status::failed_precondition("held"),
        Status::not_found("none"),
        Status::already_exists("used"),
        Status::internal("broken"),
    ] {
        let code = status.code();
        let master = Fake::start([Step::Refuse(status), Step::Run(run(1, Running))]).await;
        let client = Client::connect([&master.address]).unwrap();
        let error = client.submit(Submission::workflow("etl")).await.unwrap_err();
        assert_eq!(error.code(), code);
        assert_eq!(master.calls.lock().unwrap().submits.len(), 1, "{code}");
    }
}

#[tokio::test]
async fn a_busy_cluster_is_given_the_time_it_asks_for() {
    let mut details = ErrorDetails::new();
    details.set_retry_info(Some(Duration::from_millis(400)));
    let busy = Status::with_error_details(Code::ResourceExhausted, "busy", details);
    let master = Fake::start([Step::Refuse(busy), Step::Run(run(1, Running))]).await;
    let client = Client::connect([&master.address]).unwrap();
    let started = Instant::now();
    client.submit(Submission::workflow("etl")).await.unwrap();
    assert!(started.elapsed() >= Duration::from_millis(400));
}

#[tokio::test]
async fn a_master_that_refuses_everybody_is_spared_most_calls() {
    let mut details = ErrorDetails::new();
    details.set_retry_info(Some(Duration::from_millis(50)));
    let busy = Status::with_error_details(Code::ResourceExhausted, "busy", details);
    let master = Fake::start((0..10_000).map(|_| Step::Refuse(busy.clone()))).await;
    let client = Client::connect([&master.address]).unwrap();
    let client = client.with_deadline(Duration::from_millis(900));
    let mut words = std::collections::BTreeSet::new();
    for _ in 0..4 {
        let calls = (0..500).map(|_| client.submit(Submission::workflow("etl")));
        for answer in futures::future::join_all(calls).await {
            let error = answer.unwrap_err();
            // On a busy machine a call may be late.
            assert!(matches!(error.code(), Code::ResourceExhausted | Code::DeadlineExceeded));
            words.extend(error.reason().map(str::to_owned));
        }
    }
    let sent = master.calls.lock().unwrap().submits.len();
    assert!((500..1600).contains(&sent), "of 2,000 calls and their retries: {sent}");
    assert!(words.contains("HELD_BACK"), "{words:?}");
}

#[tokio::test]
async fn a_master_that_hangs_leaves_time_for_the_next() {
    let slow = Fake::start([Step::Hang]).await;
    let good = Fake::start([Step::Run(run(1, Running))]).await;
    let client = Client::builder()
        .endpoint(&slow.address)
        .endpoint(&good.address)
        .deadline(Duration::from_secs(2))
        .build()
        .unwrap();
    client.get_run(RunKey::latest("etl")).await.unwrap();
    assert_eq!(slow.calls.lock().unwrap().gets.len(), 1);
    assert_eq!(good.calls.lock().unwrap().gets.len(), 1);
}

#[tokio::test]
async fn a_master_without_a_sign_of_life_is_left_soon_and_remembered() {
    let (_listener, hung) = hung_address().await;
    let good = Fake::start([Step::Run(run(1, Running)), Step::Run(run(1, Running))]).await;
    let client = Client::connect([&hung, &good.address]).unwrap();
    let started = Instant::now();
    client.get_run(RunKey::latest("etl")).await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    let started = Instant::now();
    client.get_run(RunKey::latest("etl")).await.unwrap();
    assert!(started.elapsed() < Duration::from_millis(400), "{:?}", started.elapsed());
}

#[tokio::test]
async fn calls_that_run_out_of_time_are_no_sign_of_life() {
    let (_listener, hung) = hung_address().await;
    let good = Fake::start((0..1000).map(|_| Step::Run(run(1, Running)))).await;
    let client = Client::connect([&hung, &good.address]).unwrap();
    // Too hasty to ask another master when the first is silent.
    let hasty = client.with_deadline(Duration::from_millis(200));
    let others = tokio::spawn(async move {
        loop {
            let _late = hasty.get_run(RunKey::latest("etl")).await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    let started = Instant::now();
    client.get_run(RunKey::latest("etl")).await.unwrap();
    others.abort();
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_master_that_is_slow_and_lives_is_waited_for() {
    let slow = Fake::start([Step::Late(Duration::from_millis(2500), run(1, Running))]).await;
    let other = Fake::start([Step::Run(run(1, Running))]).await;
    let client = Client::connect([&slow.address, &other.address]).unwrap();
    client.get_run(RunKey::latest("etl")).await.unwrap();
    assert_eq!(slow.calls.lock().unwrap().gets.len(), 1);
    assert_eq!(other.calls.lock().unwrap().gets.len(), 0, "there was no need to ask it");
}

#[tokio::test]
async fn calls_that_wait_ask_for_one_sign_of_life_together() {
    let (slow, other) = (Fake::start([]).await, Fake::start([]).await);
    let client = Client::connect([&slow.address, &other.address]).unwrap();
    let client = client.with_deadline(Duration::from_secs(4));
    let calls = (0..100).map(|_| client.get_run(RunKey::latest("etl")));
    let answers = futures::future::join_all(calls).await;
    assert!(answers.iter().all(Result::is_err));
    let pulses = [&slow, &other].map(|master| master.calls.lock().unwrap().pulses);
    assert!(pulses.iter().all(|pulses| (1..=8).contains(pulses)), "{pulses:?}");
}

#[tokio::test]
async fn a_master_that_is_slow_once_keeps_the_other_calls() {
    let first = Fake::start([Step::Hang, Step::Run(run(1, Running))]).await;
    let other = Fake::start([Step::Hang]).await;
    let client = Client::connect([&first.address, &other.address]).unwrap();
    let hasty = client.with_deadline(Duration::from_millis(1000));
    hasty.get_run(RunKey::latest("etl")).await.unwrap_err();
    client.get_run(RunKey::latest("etl")).await.unwrap();
    let gets = [&first, &other].map(|master| master.calls.lock().unwrap().gets.len());
    assert_eq!(gets, [2, 1], "the second attempt of the first call alone went elsewhere");
}

#[tokio::test]
async fn says_of_every_master_why_it_could_not_be_reached() {
    let addresses = [dead_address().await, dead_address().await];
    let client = Client::builder()
        .endpoint(addresses.join(","))
        .connect_patience(Duration::from_millis(300))
        .build()
        .unwrap();
    let started = Instant::now();
    let error = client.get_run(RunKey::latest("etl")).await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(2));
    assert!(error.is_unreachable());
    let text = error.to_string();
    for address in addresses {
        assert!(text.contains(&format!("{address}: connection refused")), "{text}");
    }
}

#[tokio::test]
async fn the_callers_deadline_ends_it() {
    let master = Fake::start([]).await;
    let client = Client::connect([&master.address]).unwrap();
    let client = client.with_deadline(Duration::from_millis(300));
    let started = Instant::now();
    let error = client.get_run(RunKey::latest("etl")).await.unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded);
    assert!(error.to_string().contains(&master.address), "{error}");
    assert!(started.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_wait_goes_on_until_the_run_has_ended() {
    let steps = [
        Step::Run(run(1, Running)),
        Step::Refuse(Status::unavailable("no leader")),
        Step::Refuse(Status::deadline_exceeded("still running")),
        Step::Run(run(1, Succeeded)),
    ];
    let master = Fake::start(steps).await;
    let client = Client::connect([&master.address]).unwrap();
    let ended = client.wait_run(RunKey::latest("etl"), None).await.unwrap();
    assert_eq!(ended.status(), Succeeded);
    assert_eq!(master.calls.lock().unwrap().waits, 4);
}

#[tokio::test]
async fn a_wait_ends_with_its_limit() {
    let master = Fake::start([]).await;
    let client = Client::connect([&master.address]).unwrap();
    let started = Instant::now();
    let limit = Some(Duration::from_millis(300));
    let error = client.wait_run(RunKey::number("etl", 4), limit).await.unwrap_err();
    assert!(error.is_deadline(), "{error}");
    assert!(error.to_string().contains("etl/4"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(2));
}
