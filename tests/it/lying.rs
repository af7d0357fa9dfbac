//! What devices and servers claim, and what is true: every lie that was seen in the field ends as what it is, never as
//! `succeeded`. One table; each row has a peer of its own that tells one lie, and one step that meets it.

use std::fmt::Write as _;

use bascule_sim::{
    APP_KEY, APP_SECRET, Container, Fault, Fleet, FleetOptions, FullDatabase, HikCentralQuirks, Kind, Length,
    Mishap, OverlongName, PASSWORD, Position, RECORDER_PASSWORD, RECORDER_USER, RecorderHabits, SERVICE_KEY,
    Scenario, Sketch, Snapshot, Terminal, USER,
};
use serde_json::Value;

use crate::stage::Stage;

/// A lie of a terminal.
struct Lie {
    /// What it is.
    name: &'static str,
    /// Makes the terminal tell it.
    tell: fn(&Terminal),
    /// The step that meets it, without its id; `TERMINAL` stands for the terminal.
    step: &'static str,
    /// Kinds of error that say what it is; the first is what is expected.
    kinds: &'static [&'static str],
    /// The code of the error, where there is one.
    code: Option<&'static str>,
    /// What a person reads.
    says: &'static str,
}

fn fault(terminal: &Terminal, path: &str, times: u32, after_effect: bool, mishap: Mishap) {
    terminal.fault(Fault {
        path: path.to_owned(),
        method: None,
        authorized: true,
        skip: 0,
        times,
        after_effect,
        mishap,
    });
}

fn status(status: u16, content_type: &str, body: &str) -> Mishap {
    Mishap::Status {
        status,
        body: body.to_owned(),
        content_type: content_type.to_owned(),
        headers: Vec::new(),
    }
}

const FD: &str = "/ISAPI/Intelligent/FDLib/";
const USERS: &str = "/ISAPI/AccessControl/UserInfo/";

const REPLACE: &str = "uses: isapi/faces.upload
    with: { terminal: TERMINAL, folder: photos, file: new.jpg, fpid: '1001', way: modify, look-first: true }
    verify:
      uses: isapi/faces.find
      with: { terminal: TERMINAL, fpid: '1001', picture: true }
      assert: result.found and result.sha256 != (output.replaced | default('', true))
      within: 300ms";
const CREATE: &str = "uses: isapi/faces.upload
    with: { terminal: TERMINAL, folder: photos, file: new.jpg, fpid: '8001', way: create }
    verify: { uses: isapi/faces.find, with: { terminal: TERMINAL, fpid: '8001' }, assert: result.found, within: 300ms }";
const ENROL: &str = "uses: isapi/users.create
    with: { terminal: TERMINAL, person: { employee-no: '7001', name: Nou Exemplu } }";
const EVERYBODY: &str = "uses: isapi/users.search
    with: { terminal: TERMINAL }";
const INFO: &str = "uses: isapi/device.info
    with: { terminal: TERMINAL }";

const LIES: &[Lie] = &[
    Lie {
        name: "a face is said to be replaced and the old one stays",
        tell: |terminal| terminal.change(|quirks| quirks.lying = true),
        step: REPLACE,
        kinds: &["verification-failed"],
        code: None,
        says: "did not confirm",
    },
    Lie {
        name: "a face is said to be stored and there is none",
        tell: |terminal| terminal.change(|quirks| quirks.lying = true),
        step: CREATE,
        kinds: &["verification-failed"],
        code: None,
        says: "did not confirm",
    },
    Lie {
        name: "a face is stored so late that it cannot be seen",
        tell: |terminal| terminal.change(|quirks| quirks.visible_after_ms = 600_000),
        step: CREATE,
        kinds: &["verification-failed"],
        code: None,
        says: "did not confirm",
    },
    Lie {
        name: "HTTP 200 with statusCode 6 inside",
        tell: |terminal| terminal.change(|quirks| quirks.error_in_200 = Some("badJsonContent".to_owned())),
        step: CREATE,
        kinds: &["invalid-input"],
        code: Some("isapi:badJsonContent"),
        says: "badJsonContent",
    },
    Lie {
        name: "HTTP 200 with a device error inside",
        tell: |terminal| terminal.change(|quirks| quirks.error_in_200 = Some("deviceError".to_owned())),
        step: ENROL,
        kinds: &["refused", "internal", "busy"],
        code: Some("isapi:deviceError"),
        says: "deviceError",
    },
    Lie {
        name: "HTTP 200 for a person who exists already",
        tell: |terminal| terminal.change(|quirks| quirks.errors_as_200 = true),
        step: "uses: isapi/users.create
    with: { terminal: TERMINAL, person: { employee-no: '1001', name: Ana Alta } }",
        kinds: &["conflict"],
        code: None,
        says: "enrolled already",
    },
    Lie {
        name: "a web page instead of the interface",
        tell: |terminal| terminal.change(|quirks| quirks.html_instead = true),
        step: ENROL,
        kinds: &["protocol"],
        code: None,
        says: "web page",
    },
    Lie {
        name: "a web page for the device information",
        tell: |terminal| terminal.change(|quirks| quirks.html_instead = true),
        step: INFO,
        kinds: &["protocol"],
        code: None,
        says: "web page",
    },
    Lie {
        name: "an empty 200 for a write",
        tell: |terminal| fault(terminal, USERS, 0, false, status(200, "application/json", "")),
        step: ENROL,
        kinds: &["protocol"],
        code: None,
        says: "statusCode",
    },
    Lie {
        name: "an empty object for a write",
        tell: |terminal| fault(terminal, FD, 0, false, status(200, "application/json", "{}")),
        step: CREATE,
        kinds: &["protocol"],
        code: None,
        says: "",
    },
    Lie {
        name: "success in the words, failure in the number",
        tell: |terminal| {
            fault(terminal, FD, 0, false, status(200, "application/json", r#"{"statusCode":4,"statusString":"OK","subStatusCode":"notSupport"}"#));
        },
        step: CREATE,
        kinds: &["unsupported"],
        code: Some("isapi:notSupport"),
        says: "notSupport",
    },
    Lie {
        name: "success inside HTTP 500",
        tell: |terminal| {
            fault(terminal, USERS, 0, false, status(500, "application/json", r#"{"statusCode":1,"statusString":"OK","subStatusCode":"ok"}"#));
        },
        step: ENROL,
        kinds: &["busy", "protocol", "refused", "internal"],
        code: None,
        says: "fault of its own",
    },
    Lie {
        name: "an answer that ends in the middle",
        tell: |terminal| terminal.change(|quirks| quirks.truncate_at = Some(60)),
        step: EVERYBODY,
        kinds: &["protocol", "offline"],
        code: None,
        says: "",
    },
    Lie {
        name: "a length that is too small",
        tell: |terminal| terminal.change(|quirks| quirks.length = Length::Short),
        step: EVERYBODY,
        kinds: &["protocol"],
        code: None,
        says: "",
    },
    Lie {
        name: "a length that is too large",
        tell: |terminal| terminal.change(|quirks| quirks.length = Length::Long),
        step: EVERYBODY,
        kinds: &["offline", "protocol"],
        code: None,
        says: "",
    },
    Lie {
        name: "a length of 0 before a body",
        tell: |terminal| terminal.change(|quirks| quirks.length = Length::Zero),
        step: EVERYBODY,
        kinds: &["protocol"],
        code: None,
        says: "not a",
    },
    Lie {
        name: "bytes that are not HTTP",
        tell: |terminal| fault(terminal, USERS, 0, false, Mishap::Garbage),
        step: EVERYBODY,
        kinds: &["protocol", "offline"],
        code: None,
        says: "",
    },
    Lie {
        name: "a connection that is accepted and never answered",
        tell: |terminal| terminal.change(|quirks| quirks.silent = true),
        step: INFO,
        kinds: &["timeout"],
        code: None,
        says: "",
    },
    Lie {
        name: "a person is said to be added and is not",
        tell: |terminal| terminal.change(|quirks| quirks.lying = true),
        step: ENROL,
        kinds: &["verification-failed"],
        code: None,
        says: "7001",
    },
    Lie {
        name: "a person is said to be changed and is not",
        tell: |terminal| terminal.change(|quirks| quirks.lying = true),
        step: "uses: isapi/users.modify
    with: { terminal: TERMINAL, employee-no: '1001', name: Alt Nume }",
        kinds: &["verification-failed"],
        code: None,
        says: "1001",
    },
    Lie {
        name: "a person is said to be deleted and stays",
        tell: |terminal| terminal.change(|quirks| quirks.lying = true),
        step: "uses: isapi/users.delete
    with: { terminal: TERMINAL, employee-no: '1001' }",
        kinds: &["verification-failed"],
        code: None,
        says: "1001",
    },
    Lie {
        name: "a face is said to be deleted and stays",
        tell: |terminal| terminal.change(|quirks| quirks.lying = true),
        step: "uses: isapi/faces.delete
    with: { terminal: TERMINAL, fpid: '1001' }",
        kinds: &["verification-failed"],
        code: None,
        says: "1001",
    },
    Lie {
        name: "a card is said to be bound and is not",
        tell: |terminal| terminal.change(|quirks| quirks.lying = true),
        step: "uses: isapi/cards.add
    with: { terminal: TERMINAL, employee-no: '1001', card-no: '5550001' }",
        kinds: &["verification-failed"],
        code: None,
        says: "5550001",
    },
    Lie {
        name: "a name that is cut in silence, in the middle of a character",
        tell: |terminal| {
            terminal.change(|quirks| {
                quirks.name_limit = 15;
                quirks.overlong_name = OverlongName::Cut;
            });
        },
        step: "uses: isapi/users.create
    with: { terminal: TERMINAL, person: { employee-no: '7002', name: Ștefănăchioaia } }",
        kinds: &["verification-failed"],
        code: None,
        says: "7002",
    },
    Lie {
        name: "a deletion with all credentials that ends as failed",
        tell: |terminal| terminal.change(|quirks| quirks.delete_fails = true),
        step: "uses: isapi/users.delete-with-credentials
    with: { terminal: TERMINAL, employee-nos: ['1001'] }",
        kinds: &["refused"],
        code: Some("isapi:deleteFailed"),
        says: "could not finish",
    },
    Lie {
        name: "a clock that is said to be set and is not",
        tell: |terminal| {
            terminal.change(|quirks| {
                quirks.lying_settings = true;
                quirks.clock_offset_s = -86_400;
            });
        },
        step: "uses: isapi/device.set-time
    with: { terminal: TERMINAL, mode: manual, local-time: host }",
        kinds: &["verification-failed"],
        code: None,
        says: "",
    },
    Lie {
        name: "a time server that is said to be set and is not",
        tell: |terminal| terminal.change(|quirks| quirks.lying_settings = true),
        step: "uses: isapi/device.set-ntp
    with: { terminal: TERMINAL, host: ntp.example }",
        kinds: &["verification-failed"],
        code: None,
        says: "",
    },
    Lie {
        name: "a receiver of events that is said to be set and is not",
        tell: |terminal| terminal.change(|quirks| quirks.lying_settings = true),
        step: "uses: isapi/hosts.set
    with: { terminal: TERMINAL, slot: 1, url: 'http://192.0.2.7:8710/hooks/events' }",
        kinds: &["verification-failed"],
        code: None,
        says: "",
    },
    Lie {
        name: "the same page again and again",
        tell: |terminal| {
            for number in 0..90 {
                terminal.enrol(&format!("9{number:03}"), "Mulți Oameni");
            }
            terminal.change(|quirks| quirks.position = Position::Ignored);
        },
        step: EVERYBODY,
        kinds: &["protocol"],
        code: None,
        says: "page",
    },
    Lie {
        name: "a web page instead of a picture",
        tell: |terminal| fault(terminal, "/LOCALS/pic/", 0, false, Mishap::Html),
        step: "steps:
      - id: who
        uses: isapi/users.get
        with: { terminal: TERMINAL, employee-no: '1001' }
      - id: fetch
        uses: isapi/faces.fetch
        with: { terminal: TERMINAL, face-path: '${{ steps.who.output.face_path }}', folder: photos, file: html.jpg }",
        kinds: &["protocol"],
        code: None,
        says: "",
    },
    Lie {
        name: "half a picture",
        tell: |terminal| fault(terminal, "/LOCALS/pic/", 0, false, Mishap::Cut { after: 900 }),
        step: "steps:
      - id: whose
        uses: isapi/users.get
        with: { terminal: TERMINAL, employee-no: '1001' }
      - id: get
        uses: isapi/faces.fetch
        with: { terminal: TERMINAL, face-path: '${{ steps.whose.output.face_path }}', folder: photos, file: half.jpg }",
        kinds: &["offline", "protocol"],
        code: None,
        says: "",
    },
];

/// The inventory; every address is this computer's.
fn inventory(fleet: &Fleet) -> String {
    format!(
        r#"connections:
  terminal:
    params: [device]
    url: "http://${{{{ device.ip }}}}:${{{{ device.port }}}}"
    auth: {{ digest: {{ user: {USER}, password: {{ secret: terminal-password }} }} }}
    allow: {{ addresses: [127.0.0.0/8], methods: [GET, POST, PUT], paths: [/ISAPI/, /LOCALS/pic/] }}
  recorder:
    params: [device]
    url: "http://${{{{ device.ip }}}}:${{{{ device.port }}}}"
    auth: {{ digest: {{ user: {RECORDER_USER}, password: {{ secret: recorder-password }} }} }}
    allow: {{ addresses: [127.0.0.0/8], methods: [GET, POST], paths: [/ISAPI/] }}
  hr:
    url: {supabase}
    auth: {{ headers: {{ apikey: {{ secret: supabase-key }} }} }}
  hikcentral:
    url: {hikcentral}
    auth: {{ ak-sk: {{ key: {{ secret: hcp-key }}, secret: {{ secret: hcp-secret }} }} }}
folders:
  photos: {{ path: ./photos }}
stores:
  memory: {{}}
"#,
        supabase = fleet.supabase_url(),
        hikcentral = fleet.hikcentral_url(),
    )
}

async fn set(name: &str, fleet: &Fleet) -> Stage {
    let stage = Stage::empty(name);
    std::fs::write(stage.folder.join("bascule.yaml"), inventory(fleet)).unwrap();
    std::fs::create_dir_all(stage.folder.join("photos")).unwrap();
    std::fs::write(stage.folder.join("photos/new.jpg"), Sketch::new(4_711).draw()).unwrap();
    for (name, value) in [
        ("terminal-password", PASSWORD),
        ("recorder-password", RECORDER_PASSWORD),
        ("supabase-key", SERVICE_KEY),
        ("hcp-key", APP_KEY),
        ("hcp-secret", APP_SECRET),
    ] {
        stage.secret(name, value).await;
    }
    stage
}

/// A step for each: `lie_0`, `lie_1`, ..
fn workflow(steps: impl IntoIterator<Item = String>) -> String {
    let mut text = "name: Lies\nsteps:\n".to_owned();
    for (place, step) in steps.into_iter().enumerate() {
        write!(text, "  - id: lie_{place}\n    keep-going: true\n    {step}\n").unwrap();
    }
    text
}

/// Runs them all; the record of each step.
async fn met(stage: &Stage, steps: impl IntoIterator<Item = String>) -> Vec<Value> {
    stage.workflow("lies", &workflow(steps));
    let said = stage.bascule(&["run", "lies", "--json"]).await;
    assert_eq!(said.code, 1, "{}{}", said.out, said.err);
    assert_eq!(said.result()["status"], "failed");
    let run = stage.bascule(&["runs", "show", "last", "--json"]).await.json();
    run["steps"].as_array().unwrap().clone()
}

/// What a row says about a step, or what is wrong.
fn judge(name: &str, kinds: &[&str], code: Option<&str>, says: &str, record: &Value) -> Option<String> {
    let failure = &record["failure"];
    let kind = failure["kind"].as_str().unwrap_or("none");
    let message = failure["message"].as_str().unwrap_or_default();
    let fine = record["status"] == "failed"
        && kinds.contains(&kind)
        && code.is_none_or(|code| failure["code"] == code)
        && !message.is_empty()
        && message.to_lowercase().contains(&says.to_lowercase());
    (!fine).then(|| format!("{name}: {} {failure}", record["status"]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_lie_of_a_terminal_is_reported_as_what_it_is() {
    let fleet = Fleet::start(FleetOptions {
        terminals: LIES.len(),
        scenario: Scenario::Calm,
        ..FleetOptions::default()
    })
    .await
    .unwrap();
    let stage = set("lying-terminals", &fleet).await;
    let mut steps = Vec::new();
    for (terminal, lie) in fleet.terminals().iter().zip(LIES) {
        // Somebody without a face.
        terminal.enrol("8001", "Fără Poză");
        (lie.tell)(terminal);
        let device =
            format!("{{ connection: terminal, device: {{ ip: 127.0.0.1, port: {} }} }}", terminal.port());
        let limit = match lie.step {
            step if step.starts_with("steps:") => "",
            step if step.contains("delete-with") => "timeout: 15s\n    ",
            _ => "timeout: 3s\n    ",
        };
        steps.push(format!("{limit}{}", lie.step.replace("TERMINAL", &device)));
    }
    let records = met(&stage, steps).await;
    let wrong: Vec<String> = LIES
        .iter()
        .zip(&records)
        .filter_map(|(lie, record)| judge(lie.name, lie.kinds, lie.code, lie.says, record))
        .collect();
    assert!(wrong.is_empty(), "{} of {} lies:\n{}", wrong.len(), LIES.len(), wrong.join("\n"));
    assert!(fleet.ledger().of(Kind::WipedEverybody).is_empty());
}

/// Some HTTP answer of a recorder to a download or snapshot, and the form that it must take in the report.
type RecorderLie = (&'static str, fn(&mut RecorderHabits), &'static str, Option<&'static str>);

const RECORDER_LIES: &[RecorderLie] = &[
    (
        "a file shorter than its length",
        |habits| habits.length = Length::Short,
        "protocol",
        Some("host:too-short"),
    ),
    (
        "a file shorter than the search said",
        |habits| habits.size_told_error = 5_000,
        "protocol",
        Some("host:too-short"),
    ),
    (
        "an error as XML with HTTP 200",
        |habits| habits.xml_in_200 = Some("badParameters".to_owned()),
        "invalid-input",
        Some("nvr:badParameters"),
    ),
    ("no download slot free", |habits| habits.max_parallel = 0, "busy", Some("nvr:deviceBusy")),
    (
        "noise instead of a recording",
        |habits| habits.container = Container::Noise,
        "protocol",
        Some("nvr:not-a-recording"),
    ),
    (
        "a connection that ends in the middle, without a length",
        |habits| {
            habits.length = Length::Absent;
            habits.cut_at = Some(70_000);
        },
        "protocol",
        Some("host:too-short"),
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_lie_of_a_recorder_is_reported_as_what_it_is_and_leaves_no_file() {
    let recorders = RECORDER_LIES.len() + 1;
    let fleet = Fleet::start(FleetOptions {
        terminals: 1,
        recorders,
        scenario: Scenario::Calm,
        ..FleetOptions::default()
    })
    .await
    .unwrap();
    for (recorder, (_, lie, _, _)) in fleet.recorders().iter().zip(RECORDER_LIES) {
        recorder.change(|habits| {
            habits.channels = 1;
            habits.segments = 1;
            lie(habits);
        });
    }
    let last = fleet.recorder(RECORDER_LIES.len());
    last.change(|habits| habits.snapshot = Snapshot::DeviceError);
    let stage = set("lying-recorders", &fleet).await;
    let device = |port| format!("{{ connection: recorder, device: {{ ip: 127.0.0.1, port: {port} }} }}");
    let mut steps: Vec<String> = RECORDER_LIES
        .iter()
        .zip(fleet.recorders())
        .enumerate()
        .map(|(place, (_, recorder))| {
            let device = device(recorder.port());
            format!(
                "steps:
      - id: search_{place}
        uses: nvr/recordings.search
        with: {{ recorder: {device}, memory: memory, end: '${{{{ run.started_at }}}}', hours: 48 }}
      - id: file_{place}
        uses: nvr/recordings.download
        with: {{ recorder: {device}, memory: memory, folder: photos, name: lie-{place}, segment: '${{{{ steps.search_{place}.output.segments[0] }}}}' }}
        timeout: 20s"
            )
        })
        .collect();
    steps.push(format!(
        "uses: nvr/snapshots.take\n    with: {{ recorder: {}, folder: photos, name: lie.jpg, channel: 1 }}",
        device(last.port())
    ));
    let records = met(&stage, steps).await;
    let mut wrong: Vec<String> = RECORDER_LIES
        .iter()
        .zip(&records)
        .filter_map(|((name, _, kind, code), record)| judge(name, &[kind], *code, "", record))
        .collect();
    wrong.extend(judge(
        "XML instead of a picture",
        &["busy", "refused"],
        None,
        "deviceError",
        &records[RECORDER_LIES.len()],
    ));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let files: Vec<_> = std::fs::read_dir(stage.folder.join("photos"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("lie"))
        .collect();
    assert!(files.is_empty(), "{files:?}");
}

/// A lie of HikCentral, the step that meets it, and what must be said.
struct PlatformLie {
    name: &'static str,
    tell: fn(&mut HikCentralQuirks),
    step: &'static str,
    kinds: &'static [&'static str],
    code: Option<&'static str>,
}

const ADD: &str = "uses: hikcentral/persons.add
    with: { server: hikcentral, person: { given-name: Ana, family-name: Exemplu, organisation: '1', code: L100 } }";
const ADD_WITH_PHOTO: &str = "uses: hikcentral/persons.add-with-photo
    with: { server: hikcentral, person: { given-name: Ana, family-name: Exemplu, organisation: '1', code: L200 }, folder: photos, photo: new.jpg }";

const PLATFORM_LIES: &[PlatformLie] = &[
    PlatformLie {
        name: "code 0 and nobody is added",
        tell: |quirks| quirks.lying_add = true,
        step: ADD,
        kinds: &["verification-failed"],
        code: None,
    },
    PlatformLie {
        name: "code 0 with an empty picUri",
        tell: |quirks| quirks.faces_on_add_ignored = true,
        step: ADD_WITH_PHOTO,
        kinds: &["verification-failed"],
        code: Some("hikcentral:empty-picUri"),
    },
    PlatformLie {
        name: "face/update with code 0 that stores nothing",
        tell: |quirks| quirks.lying_face_update = true,
        step: "uses: hikcentral/photos.set
    with: { server: hikcentral, person: PERSON, folder: photos, photo: new.jpg }",
        kinds: &["verification-failed"],
        code: None,
    },
    PlatformLie {
        name: "addPersons with code 0 that adds nobody",
        tell: |quirks| quirks.lying_add_to_group = true,
        step: "uses: hikcentral/access.add-persons
    with: { server: hikcentral, group: '1', persons: [PERSON] }",
        kinds: &["verification-failed"],
        code: None,
    },
    PlatformLie {
        name: "a door that does not obey, with code 0",
        tell: |quirks| quirks.stuck_doors = vec!["11".to_owned()],
        step: "uses: hikcentral/doors.control
    with: { server: hikcentral, doors: ['11'], order: open }
    repeat: never",
        kinds: &["refused", "verification-failed", "offline", "internal", "busy"],
        code: None,
    },
    PlatformLie {
        name: "product version not supported, for a path that is only unknown",
        tell: |quirks| quirks.unknown_paths = vec!["resource/v1/person/single/add".to_owned()],
        step: ADD,
        kinds: &["unsupported"],
        code: Some("hikcentral:8"),
    },
    PlatformLie {
        name: "a full database that the version is blamed for",
        tell: |quirks| quirks.full_database = FullDatabase::Writes,
        step: ADD,
        kinds: &["busy"],
        code: Some("hikcentral:5"),
    },
    PlatformLie {
        name: "the first page for every page",
        tell: |quirks| quirks.ignores_page = true,
        step: "uses: hikcentral/persons.list
    with: { server: hikcentral }",
        kinds: &["protocol"],
        code: None,
    },
    PlatformLie {
        name: "no permission, as code 17 with HTTP 200",
        tell: |quirks| quirks.forbidden = vec!["resource/v1/person/personList".to_owned()],
        step: "uses: hikcentral/persons.list
    with: { server: hikcentral }",
        kinds: &["refused"],
        code: Some("hikcentral:17"),
    },
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_lie_of_hikcentral_is_reported_as_what_it_is() {
    let fleet =
        Fleet::start(FleetOptions { terminals: 0, scenario: Scenario::Empty, ..FleetOptions::default() })
            .await
            .unwrap();
    let platform = fleet.hikcentral();
    for number in 0..1_100 {
        platform.enrol(&format!("P{number}"), "Person", &number.to_string());
    }
    let person = platform.person_by_code("P7").unwrap().id;
    let stage = set("lying-hikcentral", &fleet).await;
    let mut wrong = Vec::new();
    for lie in PLATFORM_LIES {
        platform.change(|quirks| {
            *quirks = HikCentralQuirks::default();
            (lie.tell)(quirks);
        });
        let step = lie.step.replace("PERSON", &format!("'{person}'"));
        let records = met(&stage, [format!("timeout: 10s\n    {step}")]).await;
        wrong.extend(judge(lie.name, lie.kinds, lie.code, "", &records[0]));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(platform.person_by_code("L100").is_none());
}

/// Something that goes wrong with an answer of the database, the step that meets it, and what must be said.
struct DatabaseLie {
    name: &'static str,
    mishap: fn() -> Mishap,
    after_effect: bool,
    step: &'static str,
    kinds: &'static [&'static str],
}

const ROWS: &str = "uses: supabase/tables.select
    with: { database: hr, table: devices }";

const DATABASE_LIES: &[DatabaseLie] = &[
    DatabaseLie {
        name: "a web page with HTTP 200",
        mishap: || Mishap::Html,
        after_effect: false,
        step: ROWS,
        kinds: &["protocol"],
    },
    DatabaseLie {
        name: "rows that end in the middle",
        mishap: || Mishap::Cut { after: 40 },
        after_effect: true,
        step: ROWS,
        kinds: &["offline", "protocol"],
    },
    DatabaseLie {
        name: "an object where rows were asked for",
        mishap: || status(200, "application/json", r#"{"message":"ok"}"#),
        after_effect: false,
        step: ROWS,
        kinds: &["protocol"],
    },
    DatabaseLie {
        name: "an error inside HTTP 200",
        mishap: || {
            status(
                200,
                "application/json",
                r#"{"code":"57014","message":"canceling statement","details":null,"hint":null}"#,
            )
        },
        after_effect: false,
        step: ROWS,
        kinds: &["protocol", "timeout"],
    },
    DatabaseLie {
        name: "a maintenance page with HTTP 503",
        mishap: || status(503, "text/html", "<html>maintenance</html>"),
        after_effect: false,
        step: ROWS,
        kinds: &["busy"],
    },
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_lie_of_the_database_is_reported_as_what_it_is() {
    let fleet =
        Fleet::start(FleetOptions { terminals: 2, scenario: Scenario::Calm, ..FleetOptions::default() })
            .await
            .unwrap();
    let stage = set("lying-database", &fleet).await;
    let mut wrong = Vec::new();
    for lie in DATABASE_LIES {
        fleet.supabase().fault(Fault {
            path: "/rest/v1/devices".to_owned(),
            method: None,
            authorized: false,
            skip: 0,
            times: 1,
            after_effect: lie.after_effect,
            mishap: (lie.mishap)(),
        });
        let records = met(&stage, [format!("timeout: 5s\n    {}", lie.step)]).await;
        wrong.extend(judge(lie.name, lie.kinds, None, "", &records[0]));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn there_are_at_least_thirty_lies() {
    let all = LIES.len() + RECORDER_LIES.len() + 1 + PLATFORM_LIES.len() + DATABASE_LIES.len();
    assert!(all >= 30, "{all}");
}
