//! What callers and operators may do to a server: dawdle, watch and come back, ask for too much, stop it twice.

use std::time::Duration;

use bascule_sim::Scenario;
use futures_util::StreamExt as _;
use reqwest::{Method, Response};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::filling::{start, with_nowhere};
use crate::served::{Served, body};
use crate::stage::{Stage, fleet};

const STEP: &str =
    "steps:\n  - id: devices\n    uses: supabase/tables.select\n    with: { database: hr, table: devices }\n";

/// Reads server-sent events until one fits; gives all of them.
async fn hear(response: Response, fits: impl Fn(&str, &Value) -> bool) -> Vec<(String, Value)> {
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut pieces = response.bytes_stream();
    let (mut rest, mut heard) = (String::new(), Vec::new());
    loop {
        while let Some(end) = rest.find("\n\n") {
            let block: String = rest.drain(..end + 2).collect();
            let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name).map(str::trim));
            let (Some(event), Some(data)) = (field("event:"), field("data:")) else { continue };
            let data: Value = serde_json::from_str(data).unwrap();
            let last = fits(event, &data);
            heard.push((event.to_owned(), data));
            if last {
                return heard;
            }
        }
        let piece = tokio::time::timeout(Duration::from_secs(60), pieces.next()).await.unwrap();
        let Some(piece) = piece else { return heard };
        rest.push_str(std::str::from_utf8(&piece.unwrap()).unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_comes_back_to_a_run_is_told_what_has_ended_and_then_what_happens() {
    let fleet = fleet(Scenario::Calm, 1).await;
    let stage = with_nowhere("watch", &fleet).await;
    let waiting = std::fs::read_to_string(stage.folder.join("workflows/waiting.yaml")).unwrap();
    stage.workflow("waiting", &waiting.replacen("steps:\n", STEP, 1));
    let server = Served::start(&stage).await;
    let run = body(start(&server, "waiting").await).await["run"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/runs/{run}/events");
    let listen = async || server.api(Method::GET, &path, "viewer").send().await.unwrap();
    let is_first_step = |event: &str, data: &Value| event == "ended" && data["place"] == "devices";
    let attempt_failed = |event: &str, _: &Value| event == "attempt-failed";
    hear(listen().await, attempt_failed).await;
    // Gone and back: the step that had ended is told again, and only once.
    let cancel = async {
        let cancel = server.api(Method::POST, &format!("/api/v1/runs/{run}/cancel"), "operator");
        assert_eq!(cancel.send().await.unwrap().status(), 200);
    };
    let (heard, ()) = tokio::join!(hear(listen().await, |event, _| event == "run-ended"), cancel);
    let first_steps = heard.iter().filter(|(event, data)| is_first_step(event, data)).count();
    assert_eq!(first_steps, 1, "{heard:#?}");
    assert_eq!(heard.last().unwrap().1["status"], "cancelled", "{heard:#?}");
    // After the end the whole story is told, and the stream ends by itself.
    let heard = hear(listen().await, |_, _| false).await;
    assert!(heard.iter().any(|(event, data)| is_first_step(event, data)), "{heard:#?}");
    assert_eq!(heard.last().unwrap().0, "run-ended", "{heard:#?}");
    let metrics = server.text("/metrics").await;
    for line in [
        "bascule_runs_ended_total{status=\"cancelled\"} 1",
        "bascule_steps_ended_total{what=\"step\",status=\"succeeded\"} 1",
        "bascule_runs_queued 0",
        "bascule_attempts_failed_total{kind=\"offline\"}",
        "bascule_journal_commit_seconds_count",
        "bascule_connection_answering{connection=\"nowhere\",",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_and_the_time_zone_are_those_of_the_inventory() {
    let fleet = fleet(Scenario::Calm, 1).await;
    let stage = with_nowhere("limits", &fleet).await;
    let file = stage.folder.join("bascule.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{text}\nlimits: {{ runs: 2 }}\ntime-zone: Asia/Tokyo\n")).unwrap();
    stage.workflow("nightly", &format!("triggers:\n  - schedule: {{ cron: \"0 3 * * *\" }}\n{STEP}"));
    let server = Served::start(&stage).await;
    for _ in 0..5 {
        assert_eq!(start(&server, "waiting").await.status(), 202);
    }
    let running = "/api/v1/runs?status=running";
    server.until(running, |runs| runs.as_array().unwrap().len() == 2).await;
    assert!(server.text("/metrics").await.contains("\nbascule_runs_queued 3\n"));
    let upcoming = server.get("/api/v1/triggers/upcoming?limit=1").await;
    assert_eq!(upcoming[0]["time_zone"], "Asia/Tokyo", "{upcoming:#}");
    assert!(
        upcoming[0]["slot_at"].as_str().unwrap().contains("T18:00:00"),
        "three at night there: {upcoming:#}"
    );
    let next = stage.bascule(&["schedule", "next", "--json"]).await.json();
    assert_eq!(next[0]["slot_at"], upcoming[0]["slot_at"], "{next:#}");
    server.stop().await;
    let next = stage.bascule(&["schedule", "next", "--json"]).await.json();
    assert_eq!(next[0]["slot_at"], upcoming[0]["slot_at"], "also without a server: {next:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_dribbles_in_is_answered_with_408_and_makes_no_run() {
    let fleet = fleet(Scenario::Calm, 1).await;
    let stage = Stage::set("dribble", &fleet).await;
    stage.workflow(
        "slow",
        &format!("triggers:\n  - webhook: {{ path: slow, auth: none, timeout: 1s }}\n{STEP}"),
    );
    let server = Served::start(&stage).await;
    let address = server.url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = "POST /hooks/slow HTTP/1.1\r\nhost: here\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut reading, mut writing) = stream.into_split();
    let dribble = tokio::spawn(async move {
        while writing.write_all(b" ").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let mut said = Vec::new();
    while !String::from_utf8_lossy(&said).contains("too-slow") {
        assert_ne!(reading.read_buf(&mut said).await.unwrap(), 0, "{}", String::from_utf8_lossy(&said));
    }
    assert!(said.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&said));
    drop(reading);
    dribble.await.unwrap();
    assert_eq!(server.get("/api/v1/runs").await, json!([]));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_sigterm_stops_at_once_and_the_next_start_goes_on() {
    let fleet = fleet(Scenario::Calm, 1).await;
    let stage = with_nowhere("sigterm-twice", &fleet).await;
    // Somebody who takes the call and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let file = stage.folder.join("bascule.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    let silence =
        format!("  silence:\n    url: http://{}\n    auth: none\n\nfolders:", silent.local_addr().unwrap());
    std::fs::write(&file, text.replace("\nfolders:", &format!("\n{silence}"))).unwrap();
    stage.workflow("silent", &STEP.replace("hr", "silence"));
    let server = Served::start(&stage).await;
    let run = body(start(&server, "silent").await).await["run"].as_str().unwrap().to_owned();
    let (_call, _) = silent.accept().await.unwrap();
    server.terminate();
    let ready = format!("{}/ready", server.url);
    while server.http.get(&ready).send().await.unwrap().status() == 200 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let begun = tokio::time::Instant::now();
    server.terminate();
    let (code, log) = server.ended().await;
    assert_eq!(code, 130, "{log}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!(log.contains("stopped at once"), "{log}");

    let server = Served::start(&stage).await;
    let (_again, _) = silent.accept().await.unwrap();
    let path = format!("/api/v1/runs/{run}");
    let cancel = server.api(Method::POST, &format!("{path}/cancel"), "operator").send().await.unwrap();
    assert_eq!(cancel.status(), 200);
    let ended = server.until(&path, |run| run["run"]["ended_at"].is_string()).await;
    assert_eq!(ended["run"]["status"], "cancelled", "{ended:#}");
    server.stop().await;
}
