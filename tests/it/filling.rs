//! A disk that is really full under `bascule serve`, and has room again.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;

use bascule_sim::{Fleet, Scenario};
use reqwest::Method;
use serde_json::{Value, json};

use crate::served::{Served, body};
use crate::stage::{Stage, fleet};

const LOOK: &str = r#"inputs:
  note: { type: string, required: true }
triggers:
  - webhook: { path: look, auth: none, max-body: 64KB, inputs: { note: "${{ trigger.body.id }}" } }
steps:
  - id: devices
    uses: supabase/tables.select
    with: { database: hr, table: devices }
"#;

/// Bytes that a server keeps for a full disk.
const RESERVE: u32 = 16 << 20;

/// Waits for somebody who is not there.
pub(crate) const WAITING: &str = r#"steps:
  - id: nobody
    uses: supabase/tables.select
    with: { database: nowhere, table: devices }
    retry: { attempts: 100, on: [offline], backoff: { from: 60s, to: 10m } }
"#;

/// A stage with a connection to a port at which nobody listens.
pub(crate) async fn with_nowhere(name: &str, fleet: &Fleet) -> Stage {
    let stage = Stage::set(name, fleet).await;
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let file = stage.folder.join("bascule.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    let nowhere = format!("  nowhere:\n    url: http://127.0.0.1:{port}\n    auth: none\n\nfolders:");
    std::fs::write(&file, text.replace("\nfolders:", &format!("\n{nowhere}"))).unwrap();
    stage.workflow("waiting", WAITING);
    stage
}

/// Starts a run by hand.
pub(crate) async fn start(server: &Served, workflow: &str) -> reqwest::Response {
    let path = format!("/api/v1/workflows/{workflow}/runs");
    let request = server.api(Method::POST, &path, "operator").header("content-type", "application/json");
    request.body(json!({ "inputs": {} }).to_string()).send().await.unwrap()
}

/// The status and what `/ready` says.
async fn ready(server: &Served) -> (u16, Value) {
    let response = server.http.get(format!("{}/ready", server.url)).send().await.unwrap();
    (response.status().as_u16(), body(response).await)
}

async fn until_ready_says(server: &Served, status: &str) {
    let wait = async {
        while ready(server).await.1["status"] != status {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), wait).await.unwrap();
}

fn fill(folder: &Path) {
    let mut file = std::fs::File::create(folder.join("filler")).unwrap();
    for size in [1 << 20, 4096, 1] {
        while file.write_all(&vec![7; size]).is_ok() {}
    }
}

/// Whether a small disk can be made here.
fn may_mount() -> bool {
    // A file system of our own takes a user namespace of our own, which some systems forbid.
    let allowed = std::process::Command::new("unshare").args(["-rm", "true"]).status();
    let may = allowed.is_ok_and(|status| status.success());
    if !may {
        #[expect(clippy::print_stdout, reason = "whoever runs the tests must see that this one did not")]
        {
            println!("NOT TESTED: `unshare -rm` is forbidden here, and without it no small disk can be made");
        }
    }
    may
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_on_a_full_disk_says_so_and_one_with_room_again_serves() {
    if !may_mount() {
        return;
    }
    let fleet = fleet(Scenario::Calm, 1).await;
    let stage = Stage::set("serve-start-full", &fleet).await;
    stage.workflow("look", LOOK);
    Served::start(&stage).await.stop().await;
    let reserve = stage.folder.join(".bascule/bascule.db.reserve");
    std::fs::remove_file(&reserve).unwrap();
    let fill = r#"dd if=/dev/zero of="$D/filler" bs=4096 2>/dev/null"#;
    let ended = stage.folder.join("ended");
    let told = ended.display();
    let script = format!(r#"{{ {fill}; "$0" "$@" 2>"{told}"; echo "code $?" >>"{told}"; rm "$D/filler"; }}"#);
    let server = Served::start_on_disk_after(&stage, 64, &script).await;
    let told = std::fs::read_to_string(&ended).unwrap();
    assert!(told.ends_with("code 70\n") && told.contains("No space left"), "{told}");
    until_ready_says(&server, "ok").await;
    server.stop().await;

    // Where the last life kept room for such a day, that room is enough to start with.
    let script = format!(r#"{{ head -c {RESERVE} /dev/zero >"$D/bascule.db.reserve"; {fill}; true; }}"#);
    let server = Served::start_on_disk_after(&stage, 64, &script).await;
    until_ready_says(&server, "disk-full").await;
    assert_eq!(server.get("/api/v1/runs").await, json!([]), "reading goes on");
    std::fs::remove_file(server.data_folder(&stage).join("filler")).unwrap();
    until_ready_says(&server, "ok").await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_what_is_new_lets_what_has_begun_end_and_is_over_by_itself() {
    if !may_mount() {
        return;
    }
    let fleet = fleet(Scenario::Calm, 1).await;
    let stage = with_nowhere("serve-full", &fleet).await;
    stage.workflow("look", LOOK);
    // The tables and the tokens are there before.
    Served::start(&stage).await.stop().await;
    let server = Served::start_on_small_disk(&stage, 64).await;
    until_ready_says(&server, "ok").await;
    let send = async |number: usize| {
        let text = json!({ "id": number.to_string(), "padding": "x".repeat(4000) }).to_string();
        server.post("/hooks/look", &[("content-type", "application/json")], text).await
    };
    let run = body(start(&server, "waiting").await).await["run"].as_str().unwrap().to_owned();
    let waiting = format!("/api/v1/runs/{run}");
    server.until(&waiting, |run| run["run"]["status"] == "running").await;

    let data = server.data_folder(&stage);
    assert!(data.join("bascule.db.reserve").exists());
    let filling = data.clone();
    let filled = tokio::task::spawn_blocking(move || fill(&filling));
    let mut acknowledged = BTreeSet::new();
    for number in 0.. {
        let response = send(number).await;
        match response.status().as_u16() {
            202 => acknowledged.insert(body(response).await["run"].as_str().unwrap().to_owned()),
            503 => break,
            other => panic!("{other}"),
        };
    }
    filled.await.unwrap();
    until_ready_says(&server, "disk-full").await;
    for number in 0..10 {
        let response = send(100_000 + number).await;
        assert_eq!(response.status(), 503);
        assert!(response.headers().contains_key("retry-after"));
        assert_eq!(body(response).await["error"]["code"], "disk-full");
    }
    assert_eq!(start(&server, "waiting").await.status(), 503);
    assert!(server.text("/metrics").await.contains("\nbascule_disk_full 1\n"));
    assert_eq!(server.get(&waiting).await["run"]["status"], "running", "reading goes on");
    let cancel = server.api(Method::POST, &format!("{waiting}/cancel"), "operator").send().await.unwrap();
    assert_eq!(cancel.status(), 200, "{}", body(cancel).await);
    let ended = server.until(&waiting, |run| run["run"]["ended_at"].is_string()).await;
    assert_eq!(ended["run"]["status"], "cancelled", "{ended:#}");

    std::fs::remove_file(data.join("filler")).unwrap();
    until_ready_says(&server, "ok").await;
    let response = send(200_000).await;
    assert_eq!(response.status(), 202);
    acknowledged.insert(body(response).await["run"].as_str().unwrap().to_owned());
    let open = "/api/v1/runs?status=queued,running&limit=1000";
    server.until(open, |runs| runs.as_array().unwrap().is_empty()).await;
    let runs = server.get("/api/v1/runs?workflow=look&status=succeeded&limit=1000").await;
    let found: BTreeSet<String> =
        runs.as_array().unwrap().iter().map(|run| run["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(found, acknowledged, "what was acknowledged, and nothing else");
    server.stop().await;
}
