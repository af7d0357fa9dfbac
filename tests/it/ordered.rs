//! What others send to `bascule serve` once and expect to be done once: database webhooks, orders of a backend, pushes of
//! HikCentral, files, and the ends of other runs.

use bascule_sim::{APP_KEY, APP_SECRET, Kind, SERVICE_KEY, Scenario};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::relay::{Exchange, Relay};
use crate::served::{Served, body};
use crate::stage::{Stage, fleet};
use crate::triggered::{count, deliveries, ended, ledger, out_of_order, rows, shipped};
use crate::{provisioning, tables};

/// What database and backend send in a header.
const HEADER: &str = "a-header-of-the-sender-7Q";

/// Sends the same five times at once, as a sender does whose patience is short; gives the one run that came of it.
async fn five_times(server: &Served, path: &str, header: &str, sent: &Value) -> String {
    let headers = [(header, HEADER), ("content-type", "application/json")];
    let answers = join_all((0..5).map(|_| server.post(path, &headers, sent.to_string()))).await;
    let mut runs = Vec::new();
    for response in answers {
        assert_eq!(response.status(), 202);
        runs.push(body(response).await["run"].as_str().unwrap().to_owned());
    }
    runs.sort();
    runs.dedup();
    assert_eq!(runs.len(), 1, "{runs:?}");
    runs.remove(0)
}

async fn sent_away(server: &Served, path: &str, header: &str, sent: &Value) {
    for headers in [vec![("content-type", "application/json")], vec![(header, "a-header-of-a-stranger")]] {
        let response = server.post(path, &headers, sent.to_string()).await;
        assert_eq!(response.status(), 401, "{headers:?}");
    }
    assert_eq!(server.get("/api/v1/runs").await, json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_webhook_reaches_the_terminals_once_however_often_it_is_sent() {
    let (fleet, stage) = tables::with_rows("triggered-rows").await;
    stage.secret("row-change", HEADER).await;
    let person = fleet.people().complete().unwrap().clone();
    let number = person.employee_no.clone().unwrap();
    let row = fleet.supabase().rows("biometrics").unwrap();
    let row = row.into_iter().find(|row| row["employee_no"] == *number).unwrap();
    let (mut new, mut older) = (row.clone(), row);
    new["updated_at"] = json!("2026-11-21T08:00:00+00:00");
    older["photo_url"] = json!("/storage/v1/object/public/photos/faces/old.jpg");
    let change = |kind: &str, record: &Value, old: &Value| json!({ "type": kind, "table": "biometrics", "schema": "public", "record": record, "old_record": old });
    let (path, header) = ("/hooks/biometrics-changed", "x-row-change-secret");
    let server = Served::start(&stage).await;
    let update = change("UPDATE", &new, &older);
    sent_away(&server, path, header, &update).await;
    let run = five_times(&server, path, header, &update).await;
    server.until("/api/v1/runs?status=succeeded", |runs| runs[0]["id"] == run).await;
    for terminal in fleet.terminals() {
        assert_eq!(Some(terminal.face(&number).unwrap().picture), person.photo);
    }

    server.kill().await;
    let server = Served::start(&stage).await;
    assert_eq!(five_times(&server, path, header, &update).await, run);
    let all = deliveries(&server, "on-row-change").await;
    assert_eq!((all.len(), &all[0]["duplicates"]), (1, &json!(9)), "{all:#?}");
    assert_eq!(fleet.ledger().of(Kind::FaceWrite).len(), 2, "one for each terminal");
    // The row goes: that is another change.
    let gone = five_times(&server, path, header, &change("DELETE", &Value::Null, &new)).await;
    server.until("/api/v1/runs?status=succeeded", |runs| runs[0]["id"] == gone).await;
    assert!(fleet.terminals().iter().all(|terminal| terminal.face(&number).is_none()));
    assert_eq!(fleet.ledger().of(Kind::FaceDelete).len(), 2);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_of_a_backend_is_carried_out_once_also_when_it_comes_again_after_kill_9() {
    let (fleet, stage) = provisioning::set("triggered-orders", 4).await;
    stage.secret("provision-hook", HEADER).await;
    let (path, header) = ("/hooks/provision", "x-provision-secret");
    let order = json!({ "provisioning_id": 1 });
    let server = Served::start(&stage).await;
    sent_away(&server, path, header, &order).await;
    let run = five_times(&server, path, header, &order).await;
    ledger(&fleet, "a face", |entries| count(entries, Kind::FaceWrite) >= 1).await;
    server.kill().await;

    let server = Served::start(&stage).await;
    assert_eq!(five_times(&server, path, header, &order).await, run);
    let ended = |run: &Value| run["run"]["ended_at"].is_string();
    let detail = server.until(&format!("/api/v1/runs/{run}"), ended).await;
    assert!(matches!(detail["run"]["status"].as_str(), Some("succeeded" | "recovered")), "{detail:#}");
    let expected =
        ["terminal-01", "terminal-02", "terminal-03", "terminal-04"].map(|id| format!("{id}: SUCCESS"));
    assert_eq!(provisioning::told(&fleet), expected);
    assert_eq!(five_times(&server, path, header, &order).await, run);
    assert_eq!(provisioning::told(&fleet), expected);
    assert_eq!(deliveries(&server, "provision-and-report").await[0]["duplicates"], 14);
    // The backend can order it once more, if it says so.
    let again = json!({ "provisioning_id": 1, "attempt": 2 });
    let second = five_times(&server, path, header, &again).await;
    assert_ne!(second, run);
    server.until(&format!("/api/v1/runs/{second}"), ended).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn door_events_that_hikcentral_pushes_are_one_row_each() {
    let fleet = fleet(Scenario::Empty, 0).await;
    let stage = Stage::empty("triggered-doors");
    let text = format!(
        "connections:\n  hikcentral:\n    url: {}\n    auth:\n      ak-sk: {{ key: {{ secret: hcp-key }}, secret: {{ secret: hcp-secret }} }}\n  \
         door-events:\n    url: {}\n    auth:\n      headers:\n        apikey: {{ secret: supabase-key }}\n        Authorization: {{ prefix: \"Bearer \", secret: supabase-key }}\n",
        fleet.hikcentral_url(),
        fleet.supabase_url()
    );
    std::fs::write(stage.folder.join("bascule.yaml"), text).unwrap();
    for (name, value) in [("hcp-key", APP_KEY), ("hcp-secret", APP_SECRET), ("supabase-key", SERVICE_KEY)] {
        stage.secret(name, value).await;
    }
    let table = json!({ "door_events": { "primary_key": ["id"], "columns": {
        "id": "text", "event_type": "bigint", "happened_at": "timestamptz", "door": "text", "door_name": "text", "person": "text",
        "card": "text", "picture": "text", "details": "jsonb",
    } } });
    fleet.supabase().define_tables(&table).unwrap();
    let changes = [("from: 1s", "from: 200ms"), ("192.168.1.10/32", "192.0.2.10/32")];
    stage.workflow("hikcentral-events", &shipped("hikcentral-events", &changes));
    let relay = Relay::open().await;
    stage.workflow(
        "subscribe",
        &format!(
            "name: Subscribe\nsteps:\n  - uses: hikcentral/events.subscribe\n    with: {{ server: hikcentral, event-types: [196893], destination: \"http://127.0.0.1:{}/hooks/hikcentral-events\" }}\n",
            relay.port
        ),
    );
    let server = Served::start(&stage).await;
    relay.lead_to(&server);
    let said = stage.bascule(&["run", "subscribe", "--json"]).await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    let platform = fleet.hikcentral();
    let face = |person: &str| json!({ "ExtEventPersonNo": person, "ExtEventDoorID": "11", "ExtEventPictureURL": "Vsm://1" });
    // Pushed from another address than the platform's.
    assert_eq!(platform.push(196_893, face("1")).await, 0);
    relay.until(|passed| passed.iter().any(|one| one.status() == 403)).await;
    let own = [changes[0], ("192.168.1.10/32", "127.0.0.1/32")];
    stage.workflow("hikcentral-events", &shipped("hikcentral-events", &own));
    let served = |workflow: &Value| workflow.to_string().contains("127.0.0.1/32");
    server.until("/api/v1/workflows/hikcentral-events", served).await;

    platform.change(|quirks| quirks.pushes_twice = true);
    assert_eq!(platform.push(196_893, face("2")).await, 1);
    assert_eq!(platform.push(198_914, face("3")).await, 0, "nobody subscribed to cards");
    rows(&fleet, "door_events", 1).await;
    // Taken, not written yet, and killed.
    out_of_order(&fleet, "/rest/v1/door_events");
    assert_eq!(platform.push(196_893, face("4")).await, 1);
    server.kill().await;
    fleet.supabase().recover();
    let server = Served::start(&stage).await;
    relay.lead_to(&server);
    assert_eq!(platform.push(196_893, face("5")).await, 1);
    let rows = rows(&fleet, "door_events", 3).await;
    let mut persons: Vec<&str> = rows.iter().map(|row| row["person"].as_str().unwrap()).collect();
    persons.sort_unstable();
    assert_eq!(persons, ["2", "4", "5"]);
    assert_eq!(
        (&rows[0]["door"], &rows[0]["picture"], &rows[0]["card"]),
        (&json!("11"), &json!("Vsm://1"), &json!(""))
    );
    assert_eq!((&rows[0]["door_name"], &rows[0]["event_type"]), (&json!("Main entrance"), &json!(196_893)));
    assert_eq!(ended(&server, "hikcentral-events").await.len(), 6, "each came twice");
    let empty = |one: &Exchange| one.status() != 200 || one.answered().1.is_empty();
    assert!(relay.passed().iter().all(empty));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_and_the_ends_of_their_runs_are_followed_once_over_kill_9() {
    let fleet = fleet(Scenario::Calm, 1).await;
    let stage = Stage::set("triggered-files", &fleet).await;
    let step = "steps:\n  - uses: supabase/tables.count\n    with: { database: hr, table: devices }\n    retry: { attempts: 10, on: [busy, offline], backoff: { from: 200ms, to: 5m } }\n";
    stage.workflow(
        "dropped",
        &format!("triggers:\n  - file: {{ folder: photos, pattern: \"*.csv\", settle: 100ms }}\n{step}output: {{ file: \"${{{{ trigger.name }}}}\", size: \"${{{{ trigger.size }}}}\" }}\n"),
    );
    stage.workflow(
        "followed",
        &format!("triggers:\n  - workflow: {{ name: dropped }}\n{step}output: {{ run: \"${{{{ trigger.run.id }}}}\", file: \"${{{{ trigger.run.output.file }}}}\" }}\n"),
    );
    let drop_in =
        |name: &str, text: &str| std::fs::write(stage.folder.join("photos").join(name), text).unwrap();
    let server = Served::start(&stage).await;
    let path = |workflow: &str| format!("/api/v1/runs?workflow={workflow}");
    let number = |wanted: usize| move |runs: &Value| runs.as_array().unwrap().len() == wanted;
    drop_in("a.csv", "no\n");
    drop_in("picture.jpg", "not asked for");
    server.until(&path("followed"), number(1)).await;
    ended(&server, "followed").await;

    // One is under way when the server is killed; one comes and one changes while nobody looks.
    out_of_order(&fleet, "/rest/v1/devices");
    drop_in("b.csv", "no,name\n");
    server.until(&path("dropped"), number(2)).await;
    server.kill().await;
    drop_in("c.csv", "no,name,card\n");
    drop_in("a.csv", "another one\n");
    fleet.supabase().recover();
    let server = Served::start(&stage).await;
    server.until(&path("followed"), number(4)).await;
    ended(&server, "followed").await;
    let dropped = ended(&server, "dropped").await;
    assert_eq!(dropped.len(), 4, "{dropped:#?}");
    let mut files = Vec::new();
    for run in ended(&server, "followed").await {
        let run = server.get(&format!("/api/v1/runs/{}", run["id"].as_str().unwrap())).await;
        files.push(run["output"]["file"].as_str().unwrap().to_owned());
        assert!(dropped.iter().any(|one| one["id"] == run["output"]["run"]), "{run:#}");
    }
    files.sort();
    assert_eq!(files, ["a.csv", "a.csv", "b.csv", "c.csv"]);
    server.stop().await;
}
