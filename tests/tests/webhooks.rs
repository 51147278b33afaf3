//! Webhooks on a whole cluster: calls over plain HTTP to every master, whoever leads.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use futures::TryStreamExt as _;
use muster_client::{Client, RunFilter, v1};
use muster_tests::cluster::Cluster;
use serde_json::Value;

const FILE: &str = "\
apiVersion: v1
kind: Workflow
name: deploy
params:
  commit:
  event: none
  count: {type: integer, default: 0}
webhooks:
  - name: push
    token: {sha256: DIGEST}
    params: {commit: '${{ body.head.id }}', event: 'a ${{ header.X-Event }}'}
  - name: signed
    signature: {key: forge}
    params: {commit: '${{ body }}'}
  - name: counted
    token: {sha256: DIGEST}
    params: {commit: x, count: '${{ body.count }}'}
tasks:
  ship: {run: 'echo \"$MUSTER_PARAM_COMMIT ($MUSTER_PARAM_EVENT)\"'}
";

/// Status, headers and body of an answer.
struct Answer {
    status: u16,
    head: String,
    body: Value,
}

fn call(address: &str, path: &str, headers: &[&str], body: &str) -> Answer {
    let lines: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    let bytes = body.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {bytes}\r\n{lines}\r\n{body}"
    );
    let mut stream = TcpStream::connect(address).expect("the master listens");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a bound");
    stream.write_all(request.as_bytes()).expect("it is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("there is an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).and_then(|it| it.parse().ok()).expect("a status");
    let body = serde_json::from_str(body).unwrap_or(Value::Null);
    Answer { status, head: head.to_lowercase(), body }
}

async fn runs(client: &Client) -> Vec<v1::Run> {
    let filter = RunFilter { workflow: "deploy".to_owned(), ..RunFilter::default() };
    client.list_runs(filter).try_collect().await.expect("they are listed")
}

/// Applies the workflow; its token comes back.
fn applied(cluster: &Cluster) -> String {
    let (code, made, _) = cluster.muster(&["webhook", "token", "-o", "json"]);
    assert_eq!(code, 0);
    let made: Value = serde_json::from_str(&made).expect("JSON");
    let digest = made["sha256"].as_str().expect("a digest");
    let file = cluster.path("deploy.yaml");
    fs::write(&file, FILE.replace("DIGEST", digest)).expect("a file");
    let (code, _, told) = cluster.muster(&["apply", "-f", &file.display().to_string()]);
    assert_eq!(code, 0, "{told}");
    made["token"].as_str().expect("a token").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_master_takes_calls_and_each_makes_one_run() {
    let mut cluster = Cluster::start(3, 1).await;
    let token = applied(&cluster);
    let bearer = format!("Authorization: Bearer {token}");
    let path = "/webhooks/default/deploy/push";
    let body = r#"{"head": {"id": "c0ffee"}}"#;
    for (master, address) in cluster.addresses.clone().iter().enumerate() {
        let id = format!("Idempotency-Key: call-{master}");
        let headers = [bearer.as_str(), "X-Event: push", &id];
        let answer = call(address, path, &headers, body);
        assert_eq!(answer.status, 202, "{}", answer.body);
        assert_eq!(answer.body["run"], format!("deploy/{}", master + 1));
        let again = call(&cluster.addresses[(master + 1) % 3], path, &headers, body);
        assert_eq!((again.status, &again.body), (202, &answer.body), "it is the same call");
        let other = call(address, path, &headers, r#"{"head": {"id": "other"}}"#);
        assert_eq!((other.status, &other.body["reason"]), (409, &"REQUEST_ID_REUSED".into()));
    }
    let (code, said, told) = cluster.muster(&["logs", "deploy/3/ship", "-f"]);
    assert_eq!((code, said.as_str()), (0, "c0ffee (a push)\n"), "{told}");
    let all = runs(&cluster.client).await;
    assert_eq!(all.len(), 3);
    for run in &all {
        let by = run.asked_by.as_ref().expect("the webhook asked for it");
        assert_eq!((by.who.as_str(), by.from.as_str()), ("webhook push", "127.0.0.1"));
    }

    let leader = cluster.leader().await;
    cluster.masters[leader].kill();
    let left = (0..3).filter(|it| *it != leader).map(|it| cluster.addresses[it].clone());
    let headers = [bearer.as_str(), "X-Event: push", "Idempotency-Key: after"];
    for address in left.collect::<Vec<_>>() {
        let answer = loop {
            let answer = call(&address, path, &headers, body);
            match answer.status {
                503 => tokio::time::sleep(Duration::from_millis(100)).await,
                _ => break answer,
            }
        };
        assert_eq!((answer.status, &answer.body["run"]), (202, &"deploy/4".into()));
    }
    assert_eq!(runs(&cluster.client).await.len(), 4);
}

/// What a web page can have a browser on this machine send.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_webhooks_is_answered_over_http_1() {
    let cluster = Cluster::start(1, 1).await;
    applied(&cluster);
    // A message of gRPC with a workflow's name, and the start of a run of it.
    let message = "\0\0\0\0\u{11}\u{12}\u{7}default\u{1a}\u{6}deploy";
    let headers = ["Content-Type: text/plain", "Origin: http://evil.example"];
    for path in [
        "/muster.v1.RunService/SubmitRun",
        "/grpc.health.v1.Health/Check",
        "/",
        "/webhooks",
        "/webhooks/",
        "/webhooks/default/deploy",
        "/webhooks/default/deploy/push/",
        "/webhooks/default//push",
        "/webhooks/a/../b/c/d",
    ] {
        let answer = call(&cluster.addresses[0], path, &headers, message);
        let told = (answer.status, &answer.body["reason"]);
        assert_eq!(told, (404, &"WEBHOOK_NOT_FOUND".into()), "{path}");
    }
    assert_eq!(runs(&cluster.client).await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_does_not_show_what_is_asked_for_starts_nothing() {
    let keys = tempfile::tempdir().expect("a folder");
    fs::write(keys.path().join("default.forge"), "It's a Secret to Everybody\n").expect("a file");
    let folder = keys.path().display().to_string();
    let cluster = Cluster::start_with(1, 1, &["--webhook-keys", &folder]).await;
    let token = applied(&cluster);
    let (address, bearer) =
        (cluster.addresses[0].clone(), format!("Authorization: Bearer {token}"));
    let push = |headers: &[&str], body: &str| {
        call(&address, "/webhooks/default/deploy/push", headers, body)
    };
    let whole = r#"{"head": {"id": "a"}}"#;
    let wrong = format!("{bearer}0");
    for headers in [&[][..], &["Authorization: Basic eDp5"], &[&wrong], &[&bearer, &wrong]] {
        let answer = push(headers, whole);
        assert_eq!((answer.status, &answer.body["reason"]), (401, &"UNAUTHENTICATED".into()));
        assert!(answer.head.contains("\r\nwww-authenticate: bearer"), "{}", answer.head);
    }
    let unknown = call(&address, "/webhooks/default/deploy/pull", &[&bearer], whole);
    assert_eq!((unknown.status, &unknown.body["reason"]), (404, &"WEBHOOK_NOT_FOUND".into()));
    for (headers, body, why) in [
        (&[bearer.as_str()][..], whole, "`header.X-Event` has no value"),
        (&[&bearer, "X-Event: push"], "{}", "`body.head.id` has no value: there is no `head`"),
        (&[&bearer, "X-Event: push"], "id=a", "`body.head.id` has no value: it is not JSON"),
    ] {
        let answer = push(headers, body);
        let said = answer.body["message"].as_str().unwrap_or_default();
        assert!(answer.status == 400 && said.contains(why), "{} {said}", answer.status);
    }
    let large = push(&[&bearer, "X-Event: push"], &" ".repeat((1 << 20) + 1));
    assert_eq!(large.status, 413);
    let counted = |body: &str| call(&address, "/webhooks/default/deploy/counted", &[&bearer], body);
    let bad = counted(r#"{"count": "many"}"#);
    assert_eq!((bad.status, &bad.body["reason"]), (400, &"INVALID_PARAM".into()), "{}", bad.body);

    // The example of GitHub's documents: the key and the body are theirs.
    let signature = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let signed = |signature: &str, body: &str| {
        let header = format!("X-Hub-Signature-256: sha256={signature}");
        call(&address, "/webhooks/default/deploy/signed", &[&header], body)
    };
    assert_eq!(signed(signature, "Hello, World?").status, 401);
    assert_eq!(signed(&signature.replace('7', "8"), "Hello, World!").status, 401);
    let bare = call(&address, "/webhooks/default/deploy/signed", &[&bearer], "Hello, World!");
    assert_eq!(bare.status, 401);
    assert_eq!(runs(&cluster.client).await.len(), 0, "none of these made a run");

    assert_eq!(signed(signature, "Hello, World!").status, 202);
    assert_eq!(counted(r#"{"count": 7}"#).status, 202);
    fs::remove_file(keys.path().join("default.forge")).expect("it is there");
    let keyless = signed(signature, "Hello, World!");
    assert_eq!((keyless.status, &keyless.body["reason"]), (503, &"KEY_MISSING".into()));
    let (code, said, _) = cluster.muster(&["describe", "workflow", "deploy"]);
    assert!(code == 0 && said.contains("POST /webhooks/default/deploy/signed"), "{said}");
    assert_eq!(runs(&cluster.client).await.len(), 2);
}
