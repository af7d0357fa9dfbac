//! Events of terminals (requirement R2.8): the stream through the real plugin with all the habits of real terminals, what
//! terminals push, and the attendance rows that come of both.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bascule_capability::secret::{MasterKey, Secret, Secrets};
use bascule_capability::{Capabilities, Parts};
use bascule_database::Database;
use bascule_plugin::{Call, Context, Host, HostOptions, Plugin, Sink};
use bascule_sim::{Fleet, Kind, PASSWORD, Scenario, Terminal};
use bascule_workflow::failure::{Failure, Kind as FailureKind};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::stage::{Said, Stage, fleet, inventory, root};

/// What a trigger would keep: events by key, each once.
struct Trigger {
    events: Mutex<Vec<(Value, String)>>,
    states: Mutex<Vec<String>>,
    changes: watch::Sender<u64>,
}

impl Default for Trigger {
    fn default() -> Self {
        Self { events: Mutex::default(), states: Mutex::default(), changes: watch::Sender::new(0) }
    }
}

#[async_trait]
impl Sink for Trigger {
    async fn emit(&self, event: Value, key: Option<String>) -> Result<(), Failure> {
        let key = key.unwrap_or_else(|| panic!("an event without a key: {event}"));
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        if events.iter().all(|(_, other)| *other != key) {
            events.push((event, key));
        }
        drop(events);
        self.changes.send_modify(|changes| *changes += 1);
        Ok(())
    }

    async fn cursor(&self) -> Result<Option<Value>, Failure> {
        Ok(None)
    }

    async fn save_cursor(&self, _cursor: Value) -> Result<(), Failure> {
        Ok(())
    }

    fn state(&self, connected: bool, note: &str) {
        self.states.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{connected} {note}"));
        self.changes.send_modify(|changes| *changes += 1);
    }
}

impl Trigger {
    fn events(&self) -> Vec<Value> {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.iter().map(|(event, _)| event.clone()).collect()
    }

    fn serials(&self) -> Vec<u64> {
        let mut serials: Vec<u64> =
            self.events().iter().map(|event| event["serial"].as_u64().unwrap()).collect();
        serials.sort_unstable();
        serials
    }

    fn states(&self) -> Vec<String> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until it is so.
    async fn until(&self, what: &str, enough: impl Fn(&Self) -> bool) {
        let mut changes = self.changes.subscribe();
        let waiting = async {
            while !enough(self) {
                changes.changed().await.unwrap();
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(60), waiting).await;
        assert!(waited.is_ok(), "{what}: {:?} {:?}", self.events(), self.states());
    }
}

/// The plugin in this process, with the connections of a fleet.
struct Room {
    host: Host,
    isapi: Plugin,
    capabilities: Capabilities,
    folder: tempfile::TempDir,
}

impl Room {
    async fn open(fleet: &Fleet) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("photos")).unwrap();
        let (project, problems) = bascule_workflow::project::check("bascule.yaml", &inventory(fleet));
        assert!(!problems.has_errors());
        let database = Database::open(&folder.path().join("bascule.db")).await.unwrap();
        let key = MasterKey::create(&folder.path().join("key")).unwrap();
        let secrets =
            Secrets::open(database.clone(), key, folder.path().to_owned(), Arc::new(|_| None)).await.unwrap();
        secrets.set("terminal-password", Secret::new(PASSWORD.to_owned()), None).await.unwrap();
        let parts = Parts { project: project.unwrap(), root: folder.path().to_owned(), database, secrets };
        let options = HostOptions {
            cache_folder: Some(root().join("target/it-cache/in-process")),
            cache_key: [7; 32],
            ..HostOptions::default()
        };
        let host = Host::new(options).unwrap();
        let component = xtask::components::plugins().unwrap().join("isapi.wasm");
        let isapi = host.load("isapi", &std::fs::read(component).unwrap(), None).unwrap();
        Self { host, isapi, capabilities: Capabilities::open(parts).await.unwrap(), folder }
    }

    /// Listens until the stream ends by itself or `enough`, which ends it.
    async fn listen(
        &self,
        terminal: &Terminal,
        more: Value,
        trigger: &Arc<Trigger>,
        enough: impl Fn(&Trigger) -> bool,
    ) -> Option<Failure> {
        let mut with = json!({
            "terminal": { "connection": "terminal", "device": { "ip": "127.0.0.1", "port": terminal.port() } },
            "device": "gate-1",
        });
        with.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let context = Context { timeout: Duration::from_secs(90), ..Context::default() };
        let call = Call::new("events.stream", &with, context, &self.capabilities).with_sink(trigger.clone());
        tokio::select! {
            ended = self.host.call(&self.isapi, call) => Some(ended.err().unwrap_or_else(|| panic!("it just ended"))),
            () = trigger.until("events", enough) => None,
        }
    }
}

/// A terminal whose events can be heard, and the plugin that hears them.
async fn quiet(people: u64) -> (Fleet, Room) {
    let fleet = fleet(Scenario::Empty, 1).await;
    fleet.terminal(0).enrol("0017", "Ana Exemplu");
    for _ in 0..people {
        fleet.terminal(0).happen(5, 75, Some("0017"));
    }
    let room = Room::open(&fleet).await;
    (fleet, room)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_news_and_heartbeats_are_told_apart() {
    let (fleet, room) = quiet(3).await;
    let terminal = fleet.terminal(0);
    terminal.change(|quirks| quirks.events.heartbeat_ms = 100);
    let trigger = Arc::new(Trigger::default());
    let listening = room.listen(terminal, json!({}), &trigger, |trigger| {
        let news = trigger.events().len() == 5;
        news && trigger.states().iter().any(|state| state.starts_with("true heartbeat at "))
    });
    let happening = async {
        trigger.until("history", |trigger| trigger.events().len() == 3).await;
        terminal.happen(5, 76, Some("0017"));
        terminal.happen(5, 21, None);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        ended = listening => assert_eq!(ended, None),
        () = happening => {}
    }
    let events = trigger.events();
    assert_eq!(events[0]["current"], false, "{events:#?}");
    assert_eq!(
        (&events[3]["current"], &events[3]["granted"], &events[3]["name"]),
        (&json!(true), &json!(false), &json!("Ana Exemplu"))
    );
    assert_eq!(
        (&events[3]["employee_no"], &events[3]["device"], &events[3]["kind"]),
        (&json!("0017"), &json!("gate-1"), &json!("access"))
    );
    assert_eq!((&events[4]["what"], &events[4]["granted"]), (&json!("door unlocked"), &Value::Null));
    assert_eq!(fleet.ledger().of(Kind::EventTold).len(), 5);
    assert!(fleet.ledger().of(Kind::LoginFailed).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_dialect_gives_the_same_events() {
    let (fleet, room) = quiet(4).await;
    let terminal = fleet.terminal(0);
    let mut seen: Option<Vec<Value>> = None;
    for dialect in 0..8_u32 {
        let as_new = bascule_sim::Quirks::default();
        terminal.change(|quirks| {
            quirks.events = as_new.events.clone();
            quirks.events.heartbeat_ms = 200;
            quirks.events.pictures = true;
            match dialect {
                1 => quirks.events.content_length = false,
                2 => quirks.events.line_feed_only = true,
                3 => quirks.events.nested_headers = true,
                4 => quirks.events.boundary_told = false,
                5 => quirks.events.xml = true,
                6 => quirks.events.piece_bytes = 7,
                7 => {
                    quirks.events.twice = true;
                    quirks.events.xml = true;
                    quirks.events.content_length = false;
                    quirks.events.line_feed_only = true;
                }
                _ => {}
            }
        });
        let trigger = Arc::new(Trigger::default());
        let ended = room.listen(terminal, json!({}), &trigger, |trigger| trigger.events().len() == 4).await;
        assert_eq!(ended, None, "dialect {dialect}");
        let events = trigger.events();
        for event in &events {
            let expected = Terminal::event_picture(event["serial"].as_u64().unwrap());
            let picture = &event["pictures"][0];
            assert_eq!(picture["bytes"], expected.len(), "dialect {dialect}: {event:#}");
            assert_eq!((&picture["name"], &picture["file"]), (&json!("Picture"), &Value::Null));
        }
        assert_eq!(seen.get_or_insert_with(|| events.clone()), &events, "dialect {dialect}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pictures_go_into_the_folder_that_was_handed_over() {
    let (fleet, room) = quiet(2).await;
    fleet.terminal(0).change(|quirks| quirks.events.pictures = true);
    let trigger = Arc::new(Trigger::default());
    let ended = room.listen(fleet.terminal(0), json!({ "pictures": "photos" }), &trigger, |trigger| {
        trigger.events().len() == 2
    });
    assert_eq!(ended.await, None);
    for event in trigger.events() {
        let file = event["pictures"][0]["file"].as_str().unwrap();
        let stored = std::fs::read(room.folder.path().join("photos").join(file)).unwrap();
        assert_eq!(stored, Terminal::event_picture(event["serial"].as_u64().unwrap()), "{file}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_breaks_is_said_and_the_next_one_makes_up_for_it() {
    let (fleet, room) = quiet(6).await;
    let terminal = fleet.terminal(0);
    let trigger = Arc::new(Trigger::default());
    // The connection ends in the middle of the third part.
    terminal.change(|quirks| quirks.events.cut_after = Some(2));
    let ended = room.listen(terminal, json!({}), &trigger, |_| false).await.unwrap();
    assert_eq!((ended.kind, ended.code.as_deref()), (FailureKind::Offline, Some("isapi:stream-ended")));
    assert_eq!(trigger.serials(), [1, 2]);
    terminal.change(|quirks| quirks.events.cut_after = None);
    assert_eq!(room.listen(terminal, json!({}), &trigger, |trigger| trigger.events().len() == 6).await, None);
    assert_eq!(trigger.serials(), [1, 2, 3, 4, 5, 6], "each once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_is_noticed_although_the_connection_stands() {
    let (fleet, room) = quiet(3).await;
    fleet.terminal(0).change(|quirks| quirks.events.mute_after = Some(2));
    let trigger = Arc::new(Trigger::default());
    let ended =
        room.listen(fleet.terminal(0), json!({ "silence-seconds": 2 }), &trigger, |_| false).await.unwrap();
    assert_eq!(
        (ended.kind, ended.code.as_deref()),
        (FailureKind::Timeout, Some("isapi:stream-silent")),
        "{ended:?}"
    );
    assert_eq!(trigger.serials(), [1, 2]);
    assert!(
        trigger.states().last().unwrap().starts_with("false the terminal has been silent"),
        "{:?}",
        trigger.states()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminal_with_too_many_listeners_says_when_to_come_again() {
    let (fleet, room) = quiet(1).await;
    fleet.terminal(0).change(|quirks| quirks.events.max_streams = 0);
    let trigger = Arc::new(Trigger::default());
    let ended = room.listen(fleet.terminal(0), json!({}), &trigger, |_| false).await.unwrap();
    assert_eq!((ended.kind, ended.retry_after), (FailureKind::Busy, Some(120_000)), "{ended:?}");
    assert_eq!(fleet.terminal(0).streams(), 0);
}

/// What a receiver was sent.
#[derive(Clone, Debug)]
struct Post {
    head: String,
    body: Vec<u8>,
}

/// A receiver that answers with these statuses, one after the other, the last one for ever.
async fn receiver(statuses: &'static [u16]) -> (u16, watch::Receiver<Vec<Post>>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (told, posts) = watch::channel(Vec::new());
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut bytes = Vec::new();
            let mut piece = [0; 4096];
            let post = loop {
                let read = socket.read(&mut piece).await.unwrap_or(0);
                bytes.extend(&piece[..read]);
                let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
                    if read == 0 {
                        break None;
                    }
                    continue;
                };
                let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
                let length = head
                    .lines()
                    .find_map(|line| line.strip_prefix("Content-Length: ")?.parse::<usize>().ok());
                if bytes.len() >= end + 4 + length.unwrap_or(0) {
                    break Some(Post { head, body: bytes[end + 4..].to_vec() });
                }
                if read == 0 {
                    break None;
                }
            };
            let Some(post) = post else { continue };
            let mut number = 0;
            told.send_modify(|posts: &mut Vec<Post>| {
                posts.push(post);
                number = posts.len();
            });
            let status = statuses[(number - 1).min(statuses.len() - 1)];
            let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            socket.write_all(answer.as_bytes()).await.unwrap_or_default();
        }
    });
    (port, posts)
}

async fn after(posts: &mut watch::Receiver<Vec<Post>>, count: usize) -> Vec<Post> {
    let waiting = posts.wait_for(|posts| posts.len() >= count);
    tokio::time::timeout(Duration::from_secs(60), waiting).await.unwrap().unwrap().clone()
}

/// A project with the attendance workflows, its table, and a terminal that pushes to `port`.
pub(crate) async fn attendance(name: &str, fleet: &Fleet) -> Stage {
    let stage = Stage::set(name, fleet).await;
    let text = inventory(fleet).replace(
        "folders:\n",
        "  attendance:\n    url: SUPABASE\n    auth:\n      headers:\n        apikey: { secret: supabase-key }\n        Authorization: { prefix: \"Bearer \", secret: supabase-key }\n\nfolders:\n  attendance-pictures: { path: ./pictures }\n",
    );
    std::fs::write(stage.folder.join("bascule.yaml"), text.replace("SUPABASE", &fleet.supabase_url()))
        .unwrap();
    for workflow in ["attendance-in", "attendance-stream"] {
        let text =
            std::fs::read_to_string(root().join("workflows").join(format!("{workflow}.yaml"))).unwrap();
        stage.workflow(workflow, &text.replace("from: 1s, to: 5m", "from: 20ms, to: 50ms"));
    }
    let table = json!({ "attendance": { "primary_key": ["id"], "columns": {
        "id": "text", "school": "text", "direction": "text", "device": "text", "employee_no": "text", "name": "text",
        "happened_at": "timestamptz", "how": "text", "serial": "bigint", "picture": "text",
    } }, "devices": { "primary_key": ["id"], "columns": { "id": "text", "direction": "text", "school": "text" },
        "rows": [{ "id": "gate-1", "direction": "out", "school": "school-7" }] } });
    fleet.supabase().define_tables(&table).unwrap();
    stage
}

pub(crate) fn rows(fleet: &Fleet) -> Vec<Value> {
    fleet.supabase().rows("attendance").unwrap()
}

/// Has the terminal send its events to this port, set up through the plugin.
pub(crate) async fn point(stage: &Stage, fleet: &Fleet, port: u16, more: &str) -> Said {
    let device = fleet.terminal(0).port();
    stage.workflow(
        "point",
        &format!(
            "name: Point\nsteps:\n  - uses: isapi/hosts.set\n    with:\n      terminal: {{ connection: terminal, device: {{ ip: 127.0.0.1, port: {device} }} }}\n      slot: 1\n      url: http://127.0.0.1:{port}/hooks/attendance/school-7/in?device=gate-1\n{more}"
        ),
    );
    stage.bascule(&["run", "point", "--json"]).await
}

async fn pushed(stage: &Stage, body: &Value) -> Said {
    let inputs = json!({ "body": body, "school": "school-7", "direction": "in", "device": "gate-1" });
    let file = stage.folder.join("push.json");
    std::fs::write(&file, inputs.to_string()).unwrap();
    stage.bascule(&["run", "attendance-in", "--json", "--inputs-json", &format!("@{}", file.display())]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_terminal_pushes_becomes_one_row_in_every_form() {
    let fleet = fleet(Scenario::Empty, 1).await;
    let stage = attendance("attendance-in", &fleet).await;
    let terminal = fleet.terminal(0);
    terminal.enrol("0017", "Ana Exemplu");
    let (port, mut posts) = receiver(&[200]).await;

    // Plain JSON, then XML.
    for (count, format) in [(1, "JSON"), (2, "XML")] {
        let said = point(&stage, &fleet, port, &format!("      format: {format}\n")).await;
        assert_eq!(said.code, 0, "{}{}", said.out, said.err);
        terminal.happen(5, 75, Some("0017"));
        let post = after(&mut posts, count).await.remove(count - 1);
        assert!(
            post.head.starts_with("POST /hooks/attendance/school-7/in?device=gate-1 HTTP/1.1"),
            "{}",
            post.head
        );
        let text = String::from_utf8(post.body).unwrap();
        let body = if format == "JSON" { serde_json::from_str(&text).unwrap() } else { json!(text) };
        // The same push twice: one row.
        for _ in 0..2 {
            let said = pushed(&stage, &body).await;
            assert_eq!(said.code, 0, "{}{}", said.out, said.err);
            assert_eq!(said.result()["output"]["written"], true);
        }
        let row = rows(&fleet).pop().unwrap();
        assert_eq!(rows(&fleet).len(), count, "{:#?}", rows(&fleet));
        assert_eq!(
            (&row["employee_no"], &row["direction"], &row["name"]),
            (&json!("0017"), &json!("in"), &json!("Ana Exemplu"))
        );
        assert_eq!(
            (&row["device"], &row["how"], &row["school"]),
            (&json!("gate-1"), &json!("face accepted"), &json!("school-7"))
        );
    }

    // A form with a picture, without blank line or type in front of the event.
    terminal.change(|quirks| {
        quirks.events.pictures = true;
        quirks.events.bare_form = true;
    });
    terminal.happen(5, 75, Some("0017"));
    let post = after(&mut posts, 3).await.remove(2);
    assert!(post.head.contains("multipart/form-data"), "{}", post.head);
    let picture = Terminal::event_picture(3);
    assert!(post.body.windows(picture.len()).any(|window| window == picture), "the picture is in the form");
    let raw = pushed(&stage, &json!(String::from_utf8_lossy(&post.body))).await;
    assert_eq!(raw.result()["output"]["written"], true, "{}{}", raw.out, raw.err);
    assert_eq!(rows(&fleet).len(), 3);

    // People who are turned away, doors and heartbeats make no row; what is no event is an error.
    let refused = json!({ "dateTime": "2026-08-02T10:15:30-04:00", "eventType": "AccessControllerEvent",
        "AccessControllerEvent": { "majorEventType": 5, "subEventType": 76, "employeeNoString": "0017", "serialNo": 99 } });
    let beat =
        json!({ "dateTime": "2026-08-02T10:15:30-04:00", "eventType": "heartBeat", "eventState": "active" });
    for body in [refused, beat] {
        let said = pushed(&stage, &body).await;
        assert_eq!(
            (said.code, &said.result()["output"]["written"]),
            (0, &json!(false)),
            "{}{}",
            said.out,
            said.err
        );
    }
    let said = pushed(&stage, &json!({ "hello": 1 })).await;
    assert_eq!(said.result()["error"]["code"], "isapi:no-event", "{}", said.out);
    assert_eq!(rows(&fleet).len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn terminals_send_again_until_they_get_exactly_200() {
    let fleet = fleet(Scenario::Empty, 1).await;
    let stage = attendance("attendance-again", &fleet).await;
    let terminal = fleet.terminal(0);
    terminal.change(|quirks| quirks.events.resend_ms = 20);
    let (port, mut posts) = receiver(&[204, 500, 200]).await;
    let said = point(&stage, &fleet, port, "      send-pictures: false\n").await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    for _ in 0..2 {
        terminal.happen(5, 75, Some("0017"));
    }
    // A door that opens is none of the numbers that were asked for.
    terminal.happen(5, 21, None);
    let posts = after(&mut posts, 4).await;
    let serials: Vec<u64> = posts
        .iter()
        .map(|post| {
            serde_json::from_slice::<Value>(&post.body).unwrap()["AccessControllerEvent"]["serialNo"]
                .as_u64()
                .unwrap()
        })
        .collect();
    assert_eq!(serials, [1, 1, 1, 2], "the first one keeps the second back");
    fleet
        .ledger()
        .until(|entries| entries.iter().filter(|entry| entry.kind == Kind::EventPushed).count() == 2)
        .await;
    let refused: Vec<Option<String>> =
        fleet.ledger().of(Kind::EventRefused).into_iter().map(|entry| entry.note).collect();
    assert_eq!(refused, [Some("HTTP 204".to_owned()), Some("HTTP 500".to_owned())]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminal_tries_its_receiver_and_says_what_came_of_it() {
    let fleet = fleet(Scenario::Empty, 1).await;
    let stage = attendance("attendance-test", &fleet).await;
    let (port, _posts) = receiver(&[200]).await;
    assert_eq!(point(&stage, &fleet, port, "").await.code, 0);
    let device = fleet.terminal(0).port();
    stage.workflow(
        "try",
        &format!("name: Try\nsteps:\n  - uses: isapi/hosts.test\n    with: {{ terminal: {{ connection: terminal, device: {{ ip: 127.0.0.1, port: {device} }} }}, slot: 1 }}\n"),
    );
    let said = stage.bascule(&["run", "try", "--json"]).await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    // A port that nobody listens on any more.
    let free = TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap().port();
    assert_eq!(point(&stage, &fleet, free, "").await.code, 0);
    let said = stage.bascule(&["run", "try", "--json"]).await;
    assert_eq!(said.result()["error"]["code"], "isapi:receiver-not-reached", "{}", said.out);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_a_stream_and_of_the_log_make_the_same_rows() {
    let (fleet, room) = quiet(3).await;
    let stage = attendance("attendance-stream", &fleet).await;
    let terminal = fleet.terminal(0);
    terminal.happen(5, 76, Some("0017"));
    terminal.happen(5, 21, None);
    let trigger = Arc::new(Trigger::default());
    assert_eq!(room.listen(terminal, json!({}), &trigger, |trigger| trigger.events().len() == 5).await, None);
    let with = json!({
        "terminal": { "connection": "terminal", "device": { "ip": "127.0.0.1", "port": terminal.port() } },
        "device": "gate-1", "from": "2026-01-01T00:00:00.25Z", "major": 5,
    });
    let context = Context { timeout: Duration::from_secs(60), ..Context::default() };
    let call = Call::new("events.search", &with, context, &room.capabilities);
    let caught_up = room.host.call(&room.isapi, call).await.unwrap();
    for events in [json!(trigger.events()), caught_up] {
        let file = stage.folder.join("events.json");
        std::fs::write(&file, json!({ "events": events }).to_string()).unwrap();
        let argument = format!("@{}", file.display());
        let said = stage.bascule(&["run", "attendance-stream", "--json", "--inputs-json", &argument]).await;
        assert_eq!(said.code, 0, "{}{}", said.out, said.err);
        assert_eq!(said.result()["output"]["passages"], 3, "{}", said.out);
        assert_eq!(rows(&fleet).len(), 3, "{:#?}", rows(&fleet));
    }
    let row = &rows(&fleet)[0];
    assert_eq!(
        (&row["direction"], &row["school"], &row["device"]),
        (&json!("out"), &json!("school-7"), &json!("gate-1"))
    );
}
