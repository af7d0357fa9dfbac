use std::time::Duration;

use anyhow::{Context as _, Result};
use bascule_sim::{Entry, Fleet, FleetOptions, Kind, PASSWORD, Scenario, USER};
use diqwest::WithDigestAuth as _;
use futures_util::StreamExt as _;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{Said, ask, fleet, plain, rest};

const INFO: &str = "/ISAPI/System/deviceInfo";

async fn control(fleet: &Fleet, method: Method, path: &str, body: Option<Value>) -> Result<Said> {
    let mut request = reqwest::Client::new().request(method, format!("{}{path}", fleet.control_url()));
    if let Some(body) = body {
        request = request.body(body.to_string());
    }
    Said::from(request.send().await?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_terminals_start_in_one_process_and_answer() -> Result<()> {
    let fleet = fleet(1_000, Scenario::Calm).await?;
    let client = reqwest::Client::builder().pool_max_idle_per_host(0).build()?;
    let answered = futures_util::stream::iter(fleet.terminals())
        .map(|terminal| {
            let request = client.get(format!("{}{INFO}", terminal.url()));
            async move {
                let said = Said::from(request.send_digest_auth((USER, PASSWORD)).await?).await?;
                anyhow::Ok(said.status == 200 && said.text().contains("<deviceType>ACS</deviceType>"))
            }
        })
        .buffer_unordered(32)
        .filter(|answer| std::future::ready(matches!(answer, Ok(true))))
        .count()
        .await;
    assert_eq!(answered, 1_000);
    let ports: std::collections::BTreeSet<u16> =
        fleet.terminals().iter().map(|terminal| terminal.port()).collect();
    assert_eq!(ports.len(), 1_000);
    fleet.stop().await
}

#[tokio::test]
async fn the_demo_is_what_its_description_says() -> Result<()> {
    let fleet = fleet(25, Scenario::Demo).await?;
    for (terminal, role) in fleet.terminals().iter().zip(fleet.roles()) {
        let state = terminal.state().await;
        let has_face = terminal.face("1001").is_some();
        assert_eq!(state.online, role != "offline", "{role}");
        assert_eq!(state.locked_for.is_some(), role == "locked", "{role}");
        assert_eq!(terminal.quirks().lying, role == "lying", "{role}");
        assert_eq!(has_face, matches!(role.as_str(), "fine" | "offline" | "locked"), "{role}");
        assert!(terminal.users().iter().any(|user| user.employee_no == "1001"));
    }
    let rows = rest(&fleet, Method::GET, "devices?select=id,ip,port&active=is.true&order=id", &[], None)
        .await?
        .json()?;
    let rows = rows.as_array().cloned().unwrap_or_default();
    assert_eq!(rows.len(), 25);
    for (row, terminal) in rows.iter().zip(fleet.terminals()) {
        assert_eq!(*row, json!({ "id": terminal.id(), "ip": "127.0.0.1", "port": terminal.port() }));
    }
    let ready = fleet.ready();
    for pointer in [
        "/supabase/url",
        "/supabase/service_key",
        "/terminals/user",
        "/terminals/password",
        "/employees/complete",
        "/employees/without_photo",
        "/employees/without_number",
    ] {
        assert!(ready.pointer(pointer).is_some_and(Value::is_string), "{pointer}");
    }
    Ok(())
}

#[tokio::test]
async fn the_control_port_changes_devices_while_they_run() -> Result<()> {
    let fleet = fleet(2, Scenario::Calm).await?;
    let terminal = fleet.terminal(0);
    let devices = control(&fleet, Method::GET, "/devices", None).await?.json()?;
    assert_eq!(devices[0]["id"], terminal.id());
    let put =
        control(&fleet, Method::PUT, "/devices/terminal-01/quirks", Some(json!({ "lying": true }))).await?;
    assert_eq!((put.status, terminal.quirks().lying), (200, true));
    let wrong = control(&fleet, Method::PUT, "/devices/0/quirks", Some(json!({ "lyin": true }))).await?;
    assert!(wrong.status == 400 && wrong.text().contains("lyin"));
    assert_eq!(control(&fleet, Method::POST, "/devices/0/offline", None).await?.json()?["online"], false);
    assert!(ask(terminal, Method::GET, INFO, None).await.is_err());
    assert_eq!(control(&fleet, Method::POST, "/devices/0/online", None).await?.status, 200);
    assert_eq!(control(&fleet, Method::POST, "/devices/0/lock", None).await?.status, 200);
    assert_eq!(ask(terminal, Method::GET, INFO, None).await?.status, 401);
    let order = json!({ "device": "terminal-02", "times": 1, "mishap": { "status": { "status": 418 } } });
    assert_eq!(control(&fleet, Method::POST, "/faults", Some(order)).await?.status, 200);
    assert_eq!(plain(format!("{}{INFO}", fleet.terminal(1).url())).await?.status, 418);
    assert_eq!(control(&fleet, Method::POST, "/devices/0/reset", None).await?.status, 200);
    assert_eq!(ask(terminal, Method::GET, INFO, None).await?.status, 200);
    assert!(!terminal.quirks().lying);
    let tried = control(&fleet, Method::GET, "/ledger?device=terminal-01&kind=tried-while-locked", None)
        .await?
        .json()?;
    assert_eq!(tried.as_array().map(Vec::len), Some(1));
    assert_eq!(
        control(&fleet, Method::POST, "/faults", Some(json!({ "device": "*", "mishap": "boom" })))
            .await?
            .status,
        400
    );
    assert_eq!(control(&fleet, Method::POST, "/shutdown", None).await?.status, 200);
    tokio::time::timeout(Duration::from_secs(5), fleet.asked_to_end()).await?;
    fleet.stop().await
}

#[tokio::test]
async fn the_control_port_reads_and_writes_tables() -> Result<()> {
    let fleet = fleet(1, Scenario::Calm).await?;
    let table = json!({ "columns": { "id": "bigint", "name": "text" }, "primary_key": ["id"], "defaults": { "id": "identity" },
                        "rows": [{ "name": "Iasi" }, { "name": "Cluj" }] });
    assert_eq!(control(&fleet, Method::PUT, "/supabase/tables/cities", Some(table)).await?.status, 200);
    let rows = rest(&fleet, Method::GET, "cities?order=name", &[], None).await?.json()?;
    assert_eq!(rows, json!([{ "id": 2, "name": "Cluj" }, { "id": 1, "name": "Iasi" }]));
    let put =
        control(&fleet, Method::PUT, "/supabase/tables/cities", Some(json!([{ "id": 9, "name": "Arad" }])))
            .await?;
    assert_eq!(put.status, 200);
    let rows = control(&fleet, Method::GET, "/supabase/tables/cities", None).await?.json()?;
    assert_eq!(rows, json!([{ "id": 9, "name": "Arad" }]));
    let bad = control(&fleet, Method::PUT, "/supabase/tables/cities", Some(json!([{ "town": "x" }]))).await?;
    assert!(bad.status == 400 && bad.text().contains("town"));
    assert_eq!(control(&fleet, Method::GET, "/supabase/tables/none", None).await?.status, 404);
    Ok(())
}

#[tokio::test]
async fn the_ledger_file_has_each_write_before_its_answer() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("ledger.jsonl");
    let options = FleetOptions {
        terminals: 1,
        scenario: Scenario::Calm,
        write_ledger: Some(path.clone()),
        ..FleetOptions::default()
    };
    let fleet = Fleet::start(options).await?;
    for number in 1..=3 {
        let url = format!("{}/storage/v1/object/public/photos/faces/0001.jpg", fleet.supabase_url());
        let body = json!({ "faceURL": url, "faceLibType": "blackFD", "FDID": "1", "FPID": "1001" });
        ask(fleet.terminal(0), Method::PUT, "/ISAPI/Intelligent/FDLib/FDModify?format=json", Some(body))
            .await?;
        let text = std::fs::read_to_string(&path)?;
        let entries = text.lines().map(serde_json::from_str::<Entry>).collect::<Result<Vec<_>, _>>()?;
        let writes =
            entries.iter().filter(|entry| entry.kind == Kind::FaceWrite && entry.device == "terminal-01");
        assert_eq!(writes.count(), number);
        assert!(text.contains("\"kind\":\"face-write\""));
    }
    Ok(())
}

#[tokio::test]
async fn a_later_start_remembers_faces_and_rows() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let options = FleetOptions {
        terminals: 1,
        state: Some(folder.path().join("state.json")),
        ..FleetOptions::default()
    };
    let first = Fleet::start(options.clone()).await?;
    let picture = bascule_sim::Sketch::new(99).draw();
    first.terminal(0).enrol("42", "N");
    first.terminal(0).put_face("42", picture.clone().into());
    let log = json!({ "device_id": "terminal-01", "event": "face", "status": "succeeded" });
    assert_eq!(rest(&first, Method::POST, "device_logs", &[], Some(log)).await?.status, 201);
    first.stop().await?;
    let second = Fleet::start(options).await?;
    assert_eq!(second.terminal(0).face("42").map(|face| face.picture.to_vec()), Some(picture));
    assert_eq!(second.supabase().rows("device_logs").map(|rows| rows.len()), Some(1));
    let device =
        second.supabase().rows("devices").and_then(|rows| rows.first().cloned()).context("no device")?;
    assert_eq!(device["port"], second.terminal(0).port());
    second.stop().await
}

#[tokio::test]
async fn the_certificate_is_the_one_that_was_announced_until_it_is_renewed() -> Result<()> {
    let fleet = Fleet::start(FleetOptions { terminals: 1, tls: true, ..FleetOptions::default() }).await?;
    let announced = fleet.ready()["terminals"]["fingerprint"].as_str().context("no fingerprint")?.to_owned();
    assert_eq!(announced.len(), 64);
    assert_eq!(certificate(fleet.terminal(0).port()).await?, announced);
    fleet.terminal(0).renew_certificate()?;
    assert_ne!(certificate(fleet.terminal(0).port()).await?, announced);
    assert_eq!(
        fleet.terminal(0).state().await.fingerprint,
        Some(certificate(fleet.terminal(0).port()).await?)
    );
    Ok(())
}

/// sha256 of the certificate that a server shows.
async fn certificate(port: u16) -> Result<String> {
    use sha2::Digest as _;
    let client = reqwest::Client::builder().tls_danger_accept_invalid_certs(true).tls_info(true).build()?;
    let response = client.get(format!("https://127.0.0.1:{port}{INFO}")).send().await?;
    assert_eq!(response.status().as_u16(), 401);
    let info = response.extensions().get::<reqwest::tls::TlsInfo>().context("no TLS")?;
    Ok(hex::encode(sha2::Sha256::digest(info.peer_certificate().context("no certificate")?)))
}

#[tokio::test]
async fn every_bad_habit_still_lets_a_patient_client_in() -> Result<()> {
    let fleet = fleet(31, Scenario::Quirks).await?;
    let mut never = Vec::new();
    for (terminal, role) in fleet.terminals().iter().zip(fleet.roles()) {
        let mut served = false;
        for _ in 0..3 {
            let said = ask(terminal, Method::GET, INFO, None).await;
            served |= said.is_ok_and(|said| said.status == 200);
        }
        if !served {
            never.push(role.clone());
        }
    }
    assert_eq!(never, Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn the_binary_says_when_it_is_ready_and_ends_with_its_input() -> Result<()> {
    use tokio::io::{AsyncBufReadExt as _, BufReader};
    let folder = tempfile::tempdir()?;
    let ready_file = folder.path().join("ready.json");
    let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_bascule-sim"))
        .args(["--scenario", "demo", "--terminals", "5", "--seed", "7", "--ready-file"])
        .arg(&ready_file)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().context("no output")?).read_line(&mut line).await?;
    let ready: Value = serde_json::from_str(&line)?;
    assert_eq!(ready, serde_json::from_str::<Value>(&std::fs::read_to_string(ready_file)?)?);
    let control = ready["control"].as_str().context("no control port")?;
    let devices = plain(format!("{control}/devices")).await?.json()?;
    assert_eq!(devices.as_array().map(Vec::len), Some(5));
    drop(child.stdin.take());
    let status = tokio::time::timeout(Duration::from_secs(20), child.wait()).await??;
    assert!(status.success(), "{status}");
    Ok(())
}
