//! The shipped workflows that listen, under `bascule serve`: what terminals push and tell and what waits in a queue becomes one
//! row each, whatever is lost, cut off or killed in between.

use std::time::Duration;

use bascule_sim::{Entry, Fault, Fleet, Kind, Mishap, Scenario, Terminal};
use serde_json::{Value, json};

use crate::events::attendance;
use crate::hikpartner;
use crate::relay::{Exchange, Relay};
use crate::served::Served;
use crate::stage::{Stage, fleet, root};

/// What terminals sign in with; at most 16 characters, as on their pages.
const PUSH: &str = "Gate9-Pushes";

/// A shipped workflow with these replacements, each of which there is something for.
pub(crate) fn shipped(name: &str, changes: &[(&str, &str)]) -> String {
    let path = root().join("workflows").join(format!("{name}.yaml"));
    let mut text = std::fs::read_to_string(path).unwrap();
    for (from, to) in changes {
        assert!(text.contains(from), "{name}: {from}");
        text = text.replace(from, to);
    }
    text
}

pub(crate) async fn ledger(fleet: &Fleet, what: &str, enough: impl Fn(&[Entry]) -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(60), fleet.ledger().until(enough)).await;
    assert!(waited.is_ok(), "{what}: {:#?}", fleet.ledger().entries());
}

pub(crate) fn count(entries: &[Entry], kind: Kind) -> usize {
    entries.iter().filter(|entry| entry.kind == kind).count()
}

/// Waits until the table has so many rows.
pub(crate) async fn rows(fleet: &Fleet, table: &str, number: usize) -> Vec<Value> {
    let begun = tokio::time::Instant::now();
    loop {
        let rows = fleet.supabase().rows(table).unwrap();
        if rows.len() >= number {
            assert_eq!(rows.len(), number, "{rows:#?}");
            return rows;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{number} rows: {rows:#?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// All runs of a workflow, once each has ended; every one has succeeded.
pub(crate) async fn ended(server: &Served, workflow: &str) -> Vec<Value> {
    let path = format!("/api/v1/runs?workflow={workflow}&limit=1000");
    let all = |runs: &Value| runs.as_array().unwrap().iter().all(|run| run["ended_at"].is_string());
    let Value::Array(runs) = server.until(&path, all).await else { panic!("no list") };
    assert!(runs.iter().all(|run| run["status"] == "succeeded"), "{runs:#?}");
    runs
}

/// What was stored of a workflow's triggers.
pub(crate) async fn deliveries(server: &Served, workflow: &str) -> Vec<Value> {
    let Value::Array(all) = server.get(&format!("/api/v1/deliveries?workflow={workflow}&limit=1000")).await
    else {
        panic!("no list")
    };
    all
}

/// Every write to this table is refused from now on, until the database recovers.
pub(crate) fn out_of_order(fleet: &Fleet, path: &str) {
    fleet.supabase().fault(unavailable(path));
}

fn unavailable(path: &str) -> Fault {
    Fault {
        path: path.to_owned(),
        method: None,
        authorized: false,
        skip: 0,
        times: 0,
        after_effect: false,
        mishap: Mishap::Status {
            status: 503,
            body: "restarting".to_owned(),
            content_type: "text/plain".to_owned(),
            headers: Vec::new(),
        },
    }
}

/// Points every terminal at the webhook, through the plugin: JSON, XML, and a form with a picture.
async fn point(stage: &Stage, fleet: &Fleet, relay: &Relay) {
    let mut text = "name: Point\nsteps:\n".to_owned();
    for (place, terminal) in fleet.terminals().iter().enumerate() {
        let (number, device) = (place + 1, terminal.port());
        let form =
            ["format: JSON, send-pictures: false", "format: XML, send-pictures: false", "format: JSON"];
        text.push_str(&format!(
            "  - id: gate_{number}\n    uses: isapi/hosts.set\n    with: {{ terminal: {{ connection: terminal, device: {{ ip: 127.0.0.1, port: {device} }} }}, \
             slot: 1, url: \"http://127.0.0.1:{}/hooks/attendance/school-7/in?device=gate-{number}\", {} }}\n",
            relay.port, form[place],
        ));
    }
    stage.workflow("point", &text);
    let said = stage.bascule(&["run", "point", "--json"]).await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
}

/// The row of each passage, and its picture where it came with one.
fn passages(stage: &Stage, rows: &[Value], each: u64) {
    let mut found: Vec<(String, u64)> = rows
        .iter()
        .map(|row| (row["device"].as_str().unwrap().to_owned(), row["serial"].as_u64().unwrap()))
        .collect();
    found.sort();
    let gates = ["gate-1", "gate-2", "gate-3"];
    let expected: Vec<(String, u64)> =
        gates.iter().flat_map(|gate| (1..=each).map(|serial| ((*gate).to_owned(), serial))).collect();
    assert_eq!(found, expected);
    for row in rows {
        assert_eq!(
            (&row["employee_no"], &row["school"], &row["how"]),
            (&json!("0017"), &json!("school-7"), &json!("face accepted")),
        );
        // What was asked for from the log comes without names.
        assert!(row["name"].is_null() || row["name"] == "Ana Exemplu", "{row:#}");
        if let Some(picture) = row["picture"].as_str() {
            let file = std::fs::read(stage.folder.join("pictures").join(picture)).unwrap();
            assert_eq!(file, Terminal::event_picture(row["serial"].as_u64().unwrap()), "{row:#}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_terminals_push_is_one_row_each_through_lost_answers_an_outage_and_kill_9() {
    let fleet = fleet(Scenario::Empty, 3).await;
    let stage = attendance("triggered-pushes", &fleet).await;
    stage.workflow("attendance-in", &shipped("attendance-in", &[("from: 1s", "from: 200ms")]));
    stage.secret("attendance-password", PUSH).await;
    let relay = Relay::open().await;
    let server = Served::start(&stage).await;
    relay.lead_to(&server);
    point(&stage, &fleet, &relay).await;

    // One of them has a wrong password at first: it is sent away, and keeps what happened until it is let in.
    for (place, terminal) in fleet.terminals().iter().enumerate() {
        terminal.enrol("0017", "Ana Exemplu");
        terminal.change(|quirks| {
            quirks.events.resend_ms = 50;
            quirks.events.pictures = place == 2;
        });
        terminal.sign_in(1, "attendance", if place == 0 { "Gate9-Pulls" } else { PUSH });
        terminal.happen(5, 75, Some("0017"));
    }
    let sent_away =
        |entry: &Entry| entry.kind == Kind::EventRefused && entry.note.as_deref() == Some("HTTP 401");
    ledger(&fleet, "a refusal", |entries| entries.iter().any(sent_away)).await;
    fleet.terminal(0).sign_in(1, "attendance", PUSH);
    rows(&fleet, "attendance", 3).await;

    // The database is away, answers get lost on the way, and the server is killed with all of that unwritten.
    out_of_order(&fleet, "/rest/v1/attendance");
    relay.lose(usize::MAX);
    for terminal in fleet.terminals() {
        terminal.happen(5, 75, Some("0017"));
    }
    let lost = |passed: &[Exchange], gate: usize| {
        let device = format!("device=gate-{gate} HTTP");
        passed.iter().any(|one| {
            one.status() == 200 && !one.delivered && String::from_utf8_lossy(&one.request).contains(&device)
        })
    };
    relay.until(|passed| (1..=3).all(|gate| lost(passed, gate))).await;
    relay.lead_nowhere();
    relay.lose(0);
    server.kill().await;
    // Nobody is there for a while; terminals keep trying.
    let refused = count(&fleet.ledger().entries(), Kind::EventRefused);
    for terminal in fleet.terminals() {
        terminal.happen(5, 75, Some("0017"));
    }
    ledger(&fleet, "more tries", |entries| count(entries, Kind::EventRefused) >= refused + 9).await;
    assert_eq!(fleet.supabase().rows("attendance").unwrap().len(), 3);
    fleet.supabase().recover();
    let server = Served::start(&stage).await;
    relay.lead_to(&server);
    ledger(&fleet, "all taken", |entries| count(entries, Kind::EventPushed) == 9).await;
    rows(&fleet, "attendance", 9).await;
    let runs = ended(&server, "attendance-in").await;
    assert!(runs.len() >= 12, "three pushes at least came again: {}", runs.len());
    let rows = rows(&fleet, "attendance", 9).await;
    passages(&stage, &rows, 3);
    assert_eq!(rows.iter().filter(|row| row["picture"].is_string()).count(), 3, "{rows:#?}");

    let mut kinds = [0; 3];
    for one in relay.passed() {
        let (head, body) = one.answered();
        if one.status() == 401 {
            assert!(head.contains("www-authenticate: digest "), "{head}");
            continue;
        }
        // Exactly this, or terminals send for ever.
        assert_eq!((one.status(), body), (200, &b""[..]), "{head}");
        assert!(head.contains("\r\ncontent-length: 0") && !head.contains("content-type"), "{head}");
        let request = String::from_utf8_lossy(&one.request).into_owned();
        for (place, kind) in ["application/json", "application/xml", "multipart/form-data"].iter().enumerate()
        {
            kinds[place] += usize::from(request.contains(&format!("\r\nContent-Type: {kind};")));
        }
    }
    assert!(kinds.iter().all(|count| *count >= 3), "{kinds:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_break_or_fall_silent_and_servers_that_were_away_miss_nothing() {
    let fleet = fleet(Scenario::Empty, 3).await;
    let stage = attendance("triggered-streams", &fleet).await;
    let gates: String = fleet
        .terminals()
        .iter()
        .enumerate()
        .map(|(place, one)| {
            format!("        - {{ id: gate-{}, ip: 127.0.0.1, port: {} }}\n", place + 1, one.port())
        })
        .collect();
    let listed = "        - { id: gate-1, ip: 192.168.1.64, port: 80 }\n        - { id: gate-2, ip: 192.168.1.65, port: 80 }\n";
    let changes = [
        ("from: 1s", "from: 200ms"),
        ("silence: 2m", "silence: 2s"),
        ("within: 2s", "within: 100ms"),
        (listed, &gates),
    ];
    stage.workflow("attendance-stream", &shipped("attendance-stream", &changes));
    let devices =
        ["gate-1", "gate-2", "gate-3"].map(|id| json!({ "id": id, "direction": "in", "school": "school-7" }));
    fleet.supabase().replace_rows("devices", json!(devices)).unwrap();
    for (place, terminal) in fleet.terminals().iter().enumerate() {
        terminal.enrol("0017", "Ana Exemplu");
        terminal.change(|quirks| {
            quirks.events.heartbeat_ms = 200;
            // Nothing is told again: what was missed has to be asked for.
            quirks.events.history = 0;
            quirks.events.pictures = place == 2;
        });
    }
    let happen = || fleet.terminals().iter().for_each(|one| one.happen(5, 75, Some("0017")));
    let sources = "/api/v1/sources";
    let stand = |sources: &Value| {
        let sources = sources.as_array().unwrap();
        sources.len() == 3
            && sources.iter().all(|one| one["link"] == "connected" && one["missing_since"].is_null())
    };
    let server = Served::start(&stage).await;
    server.until(sources, stand).await;
    happen();
    happen();
    rows(&fleet, "attendance", 6).await;
    let beats = |sources: &Value| {
        sources
            .as_array()
            .unwrap()
            .iter()
            .all(|one| one["note"].as_str().unwrap().starts_with("heartbeat at "))
    };
    server.until(sources, beats).await;
    assert_eq!(deliveries(&server, "attendance-stream").await.len(), 6, "heartbeats are no events");

    // One connection is cut in the middle of an event, one stands and says nothing any more.
    fleet.terminal(0).change(|quirks| quirks.events.cut_after = Some(0));
    fleet.terminal(1).change(|quirks| quirks.events.mute_after = Some(0));
    happen();
    let again = |sources: &Value| {
        let restarts = |place: usize| sources[place]["restarts"].as_u64().unwrap();
        restarts(0) >= 1 && restarts(1) >= 1 && restarts(2) == 0
    };
    server.until(sources, again).await;
    for terminal in fleet.terminals() {
        terminal.change(|quirks| {
            quirks.events.cut_after = None;
            quirks.events.mute_after = None;
        });
    }
    rows(&fleet, "attendance", 9).await;
    server.until(sources, stand).await;
    let log = server.stop().await;
    assert!(log.contains("no sign of life for 2s"), "{log}");

    // Nobody listens: first the server was stopped, then it was killed.
    happen();
    happen();
    let server = Served::start(&stage).await;
    rows(&fleet, "attendance", 15).await;
    server.until(sources, stand).await;
    server.kill().await;
    // The clock of one of them is slow.
    let slow = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(90);
    fleet.terminal(0).happen_at(slow, 5, 75, Some("0017"));
    (1..3).for_each(|place| fleet.terminal(place).happen(5, 75, Some("0017")));
    let server = Served::start(&stage).await;
    let rows = rows(&fleet, "attendance", 18).await;
    passages(&stage, &rows, 6);
    server.until(sources, stand).await;
    ended(&server, "attendance-stream").await;
    let all = deliveries(&server, "attendance-stream").await;
    assert_eq!(all.len(), 18, "each event once, told or found: {all:#?}");
    assert!(all.iter().all(|one| one["verdict"] == "accepted"), "{all:#?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_sends_again_until_it_is_confirmed_and_each_message_is_one_row() {
    let (fleet, stage) = hikpartner::set("triggered-queue", |quirks| quirks.hold_ms = 1_500).await;
    let changes = [("from: 1s", "from: 200ms"), ("within: 2s", "within: 100ms")];
    stage.workflow("gym-checkins", &shipped("gym-checkins", &changes));
    let platform = fleet.hikpartner();
    let server = Served::start(&stage).await;
    ledger(&fleet, "a subscription", |entries| count(entries, Kind::Subscription) == 1).await;

    // What was stored cannot be confirmed: the same batch comes again and again, and still does after the kill.
    platform.fault(unavailable("/api/hpcgw/v1/mq/offset"));
    let sent = |entries: &[Entry]| count(entries, Kind::BatchSent);
    platform.pass("G10000001", "G1001", 75, "2026-11-21T08:00:03Z");
    platform.pass("G10000002", "G1002", 1, "2026-11-21T08:00:04Z");
    ledger(&fleet, "the batch again", |entries| sent(entries) >= 2).await;
    server.until("/api/v1/sources", |all| all[0]["restarts"].as_u64() >= Some(1)).await;
    server.kill().await;
    assert!(fleet.ledger().of(Kind::BatchConfirmed).is_empty());
    assert!(platform.waiting_messages() >= 2);
    platform.pass("G10000001", "G1003", 75, "2026-11-21T08:01:00Z");

    platform.recover();
    let before = sent(&fleet.ledger().entries());
    let server = Served::start(&stage).await;
    let rows = rows(&fleet, "device_logs", 3).await;
    let confirmed = |entries: &[Entry]| count(entries, Kind::BatchConfirmed) >= 2;
    ledger(&fleet, "the offset", confirmed).await;
    assert!(sent(&fleet.ledger().entries()) > before, "it was sent again after the kill");
    assert_eq!(platform.waiting_messages(), 0);
    let numbers: Vec<&str> = rows.iter().map(|row| row["employee_no"].as_str().unwrap()).collect();
    assert_eq!(numbers, ["G1001", "G1002", "G1003"]);
    ended(&server, "gym-checkins").await;
    let all = deliveries(&server, "gym-checkins").await;
    assert_eq!(all.len(), 3, "{all:#?}");
    assert_eq!(all.iter().filter(|one| one["duplicates"].as_u64() >= Some(1)).count(), 2, "{all:#?}");
    server.stop().await;
}
