//! What makes runs by itself while a server is running: pushes and streams of terminals, schedules, files, other runs.

use bascule_sim::{Kind, Scenario};
use serde_json::json;

use crate::events::{attendance, point, rows};
use crate::served::Served;
use crate::stage::{Stage, fleet};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_terminals_push_and_stream_becomes_rows_once_each() {
    let fleet = fleet(Scenario::Empty, 2).await;
    let stage = attendance("triggers-terminals", &fleet).await;
    let terminal = fleet.terminal(0);
    let workflow = stage.folder.join("workflows/attendance-in.yaml");
    let text = std::fs::read_to_string(&workflow).unwrap();
    let open =
        text.replace("auth: { digest: { user: attendance, password: attendance-password } }", "auth: none");
    assert_ne!(open, text);
    stage.workflow("attendance-in", &open);
    let workflow = stage.folder.join("workflows/attendance-stream.yaml");
    let text = std::fs::read_to_string(&workflow).unwrap();
    let own = text
        .replace("ip: 192.168.1.64, port: 80", &format!("ip: 127.0.0.1, port: {}", fleet.terminal(1).port()))
        .lines()
        .filter(|line| !line.contains("gate-2"))
        .collect::<Vec<_>>()
        .join("\n");
    assert!(own.contains("127.0.0.1"));
    stage.workflow("attendance-stream", &own);
    let server = Served::start(&stage).await;
    let port = server.url.rsplit(':').next().unwrap().parse().unwrap();
    // Set up through the server, with a workflow that was written a moment ago.
    let said = point(&stage, &fleet, port, "").await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);

    terminal.change(|quirks| {
        quirks.events.pictures = true;
        quirks.events.bare_form = true;
        quirks.events.resend_ms = 20;
    });
    terminal.happen(5, 75, Some("0017"));
    fleet.ledger().until(|entries| entries.iter().any(|entry| entry.kind == Kind::EventPushed)).await;
    let refused = fleet.ledger().of(Kind::EventRefused);
    assert!(refused.is_empty(), "{refused:#?}");
    let runs = "/api/v1/runs?workflow=attendance-in&status=succeeded";
    server.until(runs, |runs| runs.as_array().unwrap().len() == 1).await;
    let row = &rows(&fleet)[0];
    assert_eq!((&row["employee_no"], &row["school"]), (&json!("0017"), &json!("school-7")));
    let picture = row["picture"].as_str().unwrap();
    assert_eq!(
        std::fs::read(stage.folder.join("pictures").join(picture)).unwrap(),
        bascule_sim::Terminal::event_picture(1)
    );

    let sources = server.until("/api/v1/sources", |sources| sources[0]["link"] == "connected").await;
    assert_eq!(sources.as_array().unwrap().len(), 1, "{sources:#}");
    // Both are called `gate-1` in the table; so that the serial tells them apart, somebody is turned away first.
    fleet.terminal(1).happen(5, 76, Some("0018"));
    fleet.terminal(1).happen(5, 75, Some("0018"));
    let runs = "/api/v1/runs?workflow=attendance-stream&status=succeeded";
    server.until(runs, |runs| !runs.as_array().unwrap().is_empty()).await;
    assert_eq!(rows(&fleet).len(), 2, "{:#?}", rows(&fleet));
    let metrics = server.text("/metrics").await;
    let connected = "bascule_source_connected{workflow=\"attendance-stream\",trigger=\"event-1\",item=\"gate-1\",link=\"connected\"} 1";
    assert!(metrics.contains(connected), "{metrics}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schedules_files_and_the_ends_of_other_runs_make_runs() {
    let fleet = fleet(Scenario::Calm, 1).await;
    let stage = Stage::set("triggers-others", &fleet).await;
    let step = "steps:\n  - uses: supabase/tables.select\n    with: { database: hr, table: devices }\noutput: ${{ trigger }}\n";
    stage.workflow("ticking", &format!("triggers:\n  - schedule: {{ cron: \"* * * * * *\" }}\n{step}"));
    stage.workflow(
        "yearly",
        &format!("triggers:\n  - schedule: {{ cron: \"0 3 1 1 *\", time-zone: Europe/Bucharest }}\n{step}"),
    );
    stage.workflow("following", &format!("triggers:\n  - workflow: {{ name: dropped }}\n{step}"));
    stage.workflow(
        "dropped",
        &format!("triggers:\n  - file: {{ folder: photos, pattern: \"*.csv\", settle: 100ms }}\n{step}"),
    );
    let server = Served::start(&stage).await;
    let of = |workflow: &str| format!("/api/v1/runs?workflow={workflow}&status=succeeded");
    server.until(&of("ticking"), |runs| runs.as_array().unwrap().len() >= 2).await;
    let slots = server.get("/api/v1/slots?workflow=ticking&state=admitted").await;
    assert!(slots.as_array().unwrap().len() >= 2, "{slots:#}");
    let upcoming = server.get("/api/v1/triggers/upcoming?limit=1000").await;
    let yearly = upcoming.as_array().unwrap().iter().find(|one| one["workflow"] == "yearly");
    assert!(yearly.is_none(), "a thousand seconds come before it");

    std::fs::write(stage.folder.join("photos/people.csv"), "no,name\n").unwrap();
    let dropped = server.until(&of("dropped"), |runs| runs.as_array().unwrap().len() == 1).await;
    let following = server.until(&of("following"), |runs| runs.as_array().unwrap().len() == 1).await;
    let run = server.get(&format!("/api/v1/runs/{}", following[0]["id"].as_str().unwrap())).await;
    assert_eq!(run["output"]["kind"], "workflow", "{run:#}");
    assert!(run["output"].to_string().contains(dropped[0]["id"].as_str().unwrap()), "{run:#}");

    // Paused, it makes no more runs, also after a restart.
    let pause = server.api(reqwest::Method::POST, "/api/v1/workflows/ticking/pause", "operator");
    let pause = pause.header("content-type", "application/json").body(r#"{"reason":"holidays"}"#);
    assert_eq!(pause.send().await.unwrap().status(), 200);
    server.until("/api/v1/runs?status=running", |runs| runs == &json!([])).await;
    let before = server.get(&of("ticking")).await.as_array().unwrap().len();
    server.stop().await;
    let server = Served::start(&stage).await;
    let workflow = server
        .until("/api/v1/workflows/ticking", |workflow| workflow["workflow"]["queued"].as_u64() > Some(0))
        .await;
    assert_eq!(workflow["workflow"]["paused"]["reason"], "holidays");
    assert_eq!(server.get(&of("ticking")).await.as_array().unwrap().len(), before);
    server.stop().await;
}
