//! Hik-Partner Pro through the real binary: the gym workflows, failures, and a platform that lies (requirement R5).

use bascule_sim::{
    Fault, Fleet, HikPartnerQuirks, Kind, Mishap, PARTNER_KEY, PARTNER_SECRET, SERVICE_KEY, Scenario, Sketch,
};
use serde_json::{Value, json};

use crate::stage::{Said, Stage, fleet, root};

const ANA: &str = "0d5f7a52-6c1e-4b7a-9f0e-2f8f3f7c1a10";
const BOGDAN: &str = "1d5f7a52-6c1e-4b7a-9f0e-2f8f3f7c1a11";

/// A fleet with two members and two doors, and a project with the two workflows, short waits and the right keys.
pub(crate) async fn set(name: &str, quirks: impl FnOnce(&mut HikPartnerQuirks)) -> (Fleet, Stage) {
    let fleet = fleet(Scenario::Empty, 0).await;
    fleet.hikpartner().change(|held| {
        held.settle_reads = 1;
        held.hold_ms = 200;
        quirks(held);
    });
    let photo =
        fleet.supabase().put_object("photos", "members/ana.jpg", "image/jpeg", Sketch::new(31).draw().into());
    let members = json!([
        { "id": ANA, "employee_no": "G1001", "given_name": "Ana", "family_name": "Exemplu", "card_no": "998877", "photo_url": photo },
        { "id": BOGDAN, "employee_no": "G1002", "given_name": "Bogdan", "family_name": "Model", "phone": "0700" },
    ]);
    fleet.supabase().replace_rows("members", members).unwrap();
    let doors = json!([
        { "device_serial": "G10000001", "name": "Main entrance" },
        { "device_serial": "G10000002", "name": "Pool" },
        { "device_serial": "G10000009", "name": "Closed", "active": false },
    ]);
    fleet.supabase().replace_rows("gym_doors", doors).unwrap();
    let stage = Stage::empty(name);
    let inventory = format!(
        r#"connections:
  hikpartner:
    url: {partner}
    auth:
      token:
        path: /api/hpcgw/v1/token/get
        body: {{ appKey: {{ secret: hpp-key }}, secretKey: {{ secret: hpp-secret }} }}
        token: /data/accessToken
        expires: /data/expireTime
        origin: /data/areaDomain
        origins: ["127.0.0.1"]
        code: /errorCode
        expired: [LAP500004, LAP500005]
        denied: [LAP300001, LAP300002, LAP300003]
    allow:
      methods: [GET, POST]
      paths: [/api/hpcgw/v1/, /api/hpcgw/v2/]
    test: /api/hpcgw/v1/site/search

  gym:
    url: {supabase}
    auth:
      headers:
        apikey: {{ secret: supabase-key }}
        Authorization: {{ prefix: "Bearer ", secret: supabase-key }}
    allow:
      methods: [GET, POST, PATCH]
      paths: [/rest/v1/members, /rest/v1/gym_doors, /rest/v1/hik_persons, /rest/v1/device_logs, /storage/v1/]

folders:
  photos: {{ path: ./photos }}
"#,
        partner = fleet.hikpartner_url(),
        supabase = fleet.supabase_url()
    );
    std::fs::write(stage.folder.join("bascule.yaml"), inventory).unwrap();
    for workflow in ["gym-member", "gym-checkins"] {
        let path = root().join("workflows").join(format!("{workflow}.yaml"));
        let text = std::fs::read_to_string(path).unwrap();
        let text = text
            .replace("from: 1s, to: 30s", "from: 20ms, to: 50ms")
            .replace("from: 1s, to: 60s", "from: 20ms, to: 50ms")
            .replace("every: 3s, within: 5m", "every: 20ms, within: 1s");
        stage.workflow(workflow, &text);
    }
    std::fs::create_dir_all(stage.folder.join("photos")).unwrap();
    stage.secret("hpp-key", PARTNER_KEY).await;
    stage.secret("hpp-secret", PARTNER_SECRET).await;
    stage.secret("supabase-key", SERVICE_KEY).await;
    (fleet, stage)
}

async fn join(stage: &Stage, member: &str) -> Said {
    stage.bascule(&["run", "gym-member", "--json", "-i", &format!("member_id={member}")]).await
}

/// The row of `hik_persons` of a member.
fn mapping(fleet: &Fleet, member: &str) -> Option<Value> {
    fleet.supabase().rows("hik_persons").unwrap().into_iter().find(|row| row["member_id"] == member)
}

/// A step that calls one function, as a workflow of its own.
fn one_step(stage: &Stage, name: &str, step: &str) {
    stage.workflow(
        name,
        &format!("name: One step\nsteps:\n  - id: only\n    {step}\noutput: ${{{{ steps.only.output }}}}\n"),
    );
}

/// Runs a one-step workflow: its output where it succeeded, else the step's error.
async fn ask(stage: &Stage, step: &str) -> Result<Value, Value> {
    one_step(stage, "only", step);
    let said = stage.bascule(&["run", "only", "--json"]).await;
    let result = said.result();
    if said.code == 0 { Ok(result["output"].clone()) } else { Err(result["error"].clone()) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_gets_onto_every_active_door_and_a_second_run_renews_it() {
    let (fleet, stage) = set("hpp-member", |_| {}).await;
    let said = join(&stage, ANA).await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    let person = fleet.hikpartner().person_by_number("G1001").unwrap();
    let output = said.result()["output"].clone();
    assert_eq!(output["person_id"], person.id.as_str(), "{output:#}");
    assert_eq!(output["doors"].as_array().map(Vec::len), Some(2));
    assert_eq!(output["doors"][0]["reached"], json!(["person", "card", "face"]));
    assert_eq!(person.face.as_deref(), Some(Sketch::new(31).draw().as_slice()));
    for door in ["G10000001", "G10000002"] {
        assert_eq!(fleet.hikpartner().on_door(door), std::slice::from_ref(&person.id));
    }
    let row = mapping(&fleet, ANA).unwrap();
    assert_eq!((&row["person_id"], &row["state"]), (&json!(person.id), &json!("on the doors")));
    assert_eq!(row["problem"], Value::Null);

    // The second run: nobody is added, the new name arrives.
    let renamed =
        json!([{ "id": ANA, "employee_no": "G1001", "given_name": "Ana-Maria", "family_name": "Exemplu" }]);
    fleet.supabase().replace_rows("members", renamed).unwrap();
    let said = join(&stage, ANA).await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert_eq!(fleet.hikpartner().persons().len(), 1);
    assert_eq!(fleet.hikpartner().person_by_number("G1001").unwrap().field("givenName"), "Ana-Maria");
    assert_eq!(fleet.ledger().of(Kind::TokenGiven).len(), 2, "one for each run");
    assert!(fleet.ledger().of(Kind::TokenRefused).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_without_a_photo_and_a_platform_with_other_habits() {
    let (fleet, stage) = set("hpp-plain", |quirks| {
        quirks.code_as_number = true;
        quirks.one_token = true;
        // Revoked early, again and again; each time one new token is enough.
        quirks.uses_of_a_token = 1;
        quirks.token_status = 401;
    })
    .await;
    // A limit, said in both ways, is waited for.
    for mishap in [
        Mishap::Status {
            status: 200,
            body: r#"{"errorCode":"EVZ10029"}"#.to_owned(),
            content_type: "application/json".to_owned(),
            headers: vec![("Retry-After".to_owned(), "1".to_owned())],
        },
        Mishap::Status {
            status: 429,
            body: String::new(),
            content_type: String::new(),
            headers: vec![("Retry-After".to_owned(), "1".to_owned())],
        },
    ] {
        fleet.hikpartner().fault(Fault {
            path: "/api/hpcgw/v1/acs/privilege/config".to_owned(),
            method: None,
            authorized: false,
            skip: 0,
            times: 1,
            after_effect: false,
            mishap,
        });
    }
    let said = join(&stage, BOGDAN).await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    let person = fleet.hikpartner().person_by_number("G1002").unwrap();
    assert_eq!((person.field("phone"), person.face.as_ref()), ("0700", None));
    assert_eq!(said.result()["output"]["doors"][0]["reached"], json!(["person"]));
    assert_eq!(fleet.ledger().of(Kind::UserWrite).len(), 1);
    assert!(fleet.ledger().of(Kind::TokenRefused).len() >= 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_wrong_is_named_and_kept_in_the_table() {
    type Case = (&'static str, fn(&mut HikPartnerQuirks), &'static str, &'static str);
    let cases: [Case; 5] = [
        // A door that refuses, with a device's own code; the other one has the member.
        (
            "hpp-door-refuses",
            |quirks| drop(quirks.device_errors.insert("G10000002".to_owned(), "0x01400006".to_owned())),
            "hikpartner:0x01400006",
            "refused",
        ),
        (
            "hpp-door-offline",
            |quirks| drop(quirks.device_errors.insert("G10000002".to_owned(), "EVZ20007".to_owned())),
            "hikpartner:EVZ20007",
            "offline",
        ),
        // Said yes to, and nothing is there.
        (
            "hpp-lying-privileges",
            |quirks| quirks.lying_privileges = true,
            "hikpartner:not-stored",
            "verification-failed",
        ),
        // Said yes to, and never done.
        ("hpp-stuck", |quirks| quirks.stuck_privileges = true, "", "timeout"),
        // An id of somebody who was never stored.
        ("hpp-lying-person", |quirks| quirks.lying_person_add = true, "hikpartner:LAP000002", "not-found"),
    ];
    for (name, quirk, code, kind) in cases {
        let (fleet, stage) = set(name, quirk).await;
        let said = join(&stage, ANA).await;
        assert_eq!(said.code, 1, "{name}: {}{}", said.out, said.err);
        let error = said.result()["error"].clone();
        assert_eq!(
            (&error["kind"], error["code"].as_str().unwrap_or("")),
            (&json!(kind), code),
            "{name}: {error:#}"
        );
        let row = mapping(&fleet, ANA).unwrap();
        assert_eq!(row["state"], "failed", "{name}");
        assert_eq!(row["problem"], error["message"], "{name}");
        if name == "hpp-door-refuses" {
            assert!(row["problem"].as_str().unwrap().contains("G10000002"), "{row}");
            assert_eq!(fleet.hikpartner().on_door("G10000001").len(), 1);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_without_an_id_and_a_lost_answer_leave_nobody_twice() {
    let (fleet, stage) = set("hpp-no-id", |quirks| quirks.no_person_id = true).await;
    let said = join(&stage, ANA).await;
    let error = said.result()["error"].clone();
    assert_eq!(error["code"], "hikpartner:no-person-id", "{error:#}");
    assert_eq!((fleet.hikpartner().persons().len(), mapping(&fleet, ANA)), (1, None));

    let (fleet, stage) = set("hpp-lost", |_| {}).await;
    fleet.hikpartner().fault(Fault {
        path: "/api/hpcgw/v1/person/add".to_owned(),
        method: None,
        authorized: false,
        skip: 0,
        times: 1,
        after_effect: true,
        mishap: Mishap::Reset,
    });
    let said = join(&stage, ANA).await;
    assert_eq!(said.code, 1, "{}{}", said.out, said.err);
    assert_eq!(said.result()["error"]["effect"], "unknown");
    assert_eq!(fleet.ledger().of(Kind::UserWrite).len(), 1, "it was sent twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_areas_and_limits_of_tokens_are_told_apart_and_no_secret_is_written() {
    let (fleet, stage) = set("hpp-token", |quirks| quirks.no_token = Some("LAP500007".to_owned())).await;
    let find = "uses: hikpartner/sites.find\n    with: { server: hikpartner, name: Gym North }";
    for _ in 0..3 {
        let error = ask(&stage, find).await.unwrap_err();
        assert_eq!((&error["kind"], &error["code"]), (&json!("busy"), &json!("host:no-token")), "{error:#}");
    }
    // A limit is no refused login: the guard has counted nothing, and the right key is let in.
    fleet.hikpartner().change(|quirks| quirks.no_token = None);
    assert_eq!(ask(&stage, find).await.unwrap()["name"], "Gym North");

    fleet.hikpartner().change(|quirks| quirks.area_domain = Some("https://evil.example".to_owned()));
    let error = ask(&stage, find).await.unwrap_err();
    assert_eq!((&error["kind"], &error["code"]), (&json!("refused"), &json!("host:origin")), "{error:#}");
    fleet.hikpartner().change(|quirks| quirks.area_domain = None);

    stage.secret("hpp-secret", "Zz9WrongOne4Hpp7").await;
    let error = ask(&stage, find).await.unwrap_err();
    assert_eq!(error["kind"], "unauthorized", "{error:#}");
    let before = fleet.hikpartner().requests();
    assert_eq!(ask(&stage, find).await.unwrap_err()["kind"], "unauthorized");
    assert_eq!(ask(&stage, find).await.unwrap_err()["kind"], "locked-out");
    assert_eq!(fleet.hikpartner().requests(), before + 1, "nothing is sent once the guard has closed");

    stage.secret("hpp-secret", PARTNER_SECRET).await;
    assert_eq!(ask(&stage, find).await.unwrap()["time_zone"], 136);
    let said = stage.bascule(&["connection", "test", "hikpartner"]).await;
    assert!(said.out.contains("405") && said.out.contains("token"), "{}{}", said.out, said.err);
    // Neither keys nor tokens are anywhere below the project, nor in what was printed.
    for entry in walk(stage.folder.parent().unwrap()) {
        let bytes = std::fs::read(&entry).unwrap();
        for secret in [PARTNER_SECRET.as_bytes(), b"Zz9WrongOne4Hpp7", b"hpc."] {
            assert!(!bytes.windows(secret.len()).any(|window| window == secret), "in {}", entry.display());
        }
    }
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(walk(&path)) } else { files.push(path) }
    }
    files
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sites_devices_persons_and_synchronising_answer_through_the_binary() {
    let (fleet, stage) = set("hpp-rest", |quirks| quirks.total_outside_data = true).await;
    let site = ask(
        &stage,
        "uses: hikpartner/sites.add\n    with: { server: hikpartner, site: { name: Gym South, time-zone: 222 } }",
    )
    .await
    .unwrap();
    let id = site["id"].as_str().unwrap();
    let add = |serial: &str, code: &str| {
        format!(
            "uses: hikpartner/devices.add\n    with: {{ server: hikpartner, site: {id}, serial: {serial}, verification-code: {code} }}"
        )
    };
    let error = ask(&stage, &add("G10000003", "WRONG1")).await.unwrap_err();
    assert_eq!((&error["kind"], &error["code"]), (&json!("invalid-input"), &json!("hikpartner:EVZ20010")));
    fleet.hikpartner().change(|quirks| quirks.lying_device_add = true);
    let error = ask(&stage, &add("G10000003", "ABCDEF")).await.unwrap_err();
    assert_eq!(error["code"], "hikpartner:not-stored", "{error:#}");
    fleet.hikpartner().change(|quirks| quirks.lying_site_add = true);
    let lie = "uses: hikpartner/sites.add\n    with: { server: hikpartner, site: { name: Nowhere, time-zone: 136 } }";
    assert_eq!(ask(&stage, lie).await.unwrap_err()["kind"], "verification-failed");

    let rename =
        "uses: hikpartner/devices.rename\n    with: { server: hikpartner, serial: G10000002, name: Sauna }";
    assert_eq!(ask(&stage, rename).await.unwrap()["name"], "Sauna");
    let list = "uses: hikpartner/devices.list\n    with: { server: hikpartner }";
    assert_eq!(ask(&stage, list).await.unwrap().as_array().map(Vec::len), Some(2));

    // Somebody on a door is not deleted; without the privilege it is done.
    assert_eq!(join(&stage, ANA).await.code, 0);
    let person = fleet.hikpartner().person_by_number("G1001").unwrap().id;
    let delete = format!("uses: hikpartner/persons.delete\n    with: {{ server: hikpartner, id: {person} }}");
    let error = ask(&stage, &delete).await.unwrap_err();
    assert_eq!(error["code"], "hikpartner:still-on-doors", "{error:#}");
    let revoke = format!(
        "uses: hikpartner/privileges.revoke\n    with: {{ server: hikpartner, persons: [{person}], devices: [G10000001, G10000002] }}"
    );
    ask(&stage, &revoke).await.unwrap();
    assert!(fleet.hikpartner().on_door("G10000001").is_empty());
    ask(&stage, &delete).await.unwrap();
    assert!(fleet.hikpartner().persons().is_empty());

    let local: Vec<Value> = (1..=150)
        .map(|number| json!({ "employeeNo": number.to_string(), "familyName": "E", "givenName": "P", "fingerprint": "AAEC" }))
        .collect();
    let url = format!("{}/hikpartner/devices/G10000001/persons", fleet.control_url());
    let put = reqwest::Client::new().put(url).body(json!(local).to_string()).send().await.unwrap();
    assert_eq!(put.status(), 200);
    stage.workflow(
        "enrolled",
        "name: From the device\nsteps:\n  - id: task\n    uses: hikpartner/synchronise.start\n    with: { server: hikpartner, device: G10000001 }\n  - id: ended\n    uses: hikpartner/synchronise.progress\n    with: { server: hikpartner, task: \"${{ steps.task.output }}\" }\n    poll: { until: result.ended, every: 20ms, within: 2s }\n  - id: people\n    uses: hikpartner/synchronise.succeeded\n    with: { server: hikpartner, task: \"${{ steps.task.output }}\" }\noutput: ${{ steps.people.output }}\n",
    );
    let said = stage.bascule(&["run", "enrolled", "--json"]).await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    let people = said.result()["output"].clone();
    assert_eq!(people.as_array().map(Vec::len), Some(150));
    assert_eq!(people[149]["has_fingerprint"], true);
    fleet.hikpartner().change(|quirks| quirks.ignores_page = true);
    let said = stage.bascule(&["run", "enrolled", "--json"]).await;
    assert_eq!(said.result()["error"]["code"], "hikpartner:same-page", "{}", said.out);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_ins_become_rows_and_each_only_once() {
    let (fleet, stage) = set("hpp-checkins", |quirks| quirks.alarm_as_object = true).await;
    let platform = fleet.hikpartner();
    ask(&stage, "uses: hikpartner/messages.subscribe\n    with: { server: hikpartner }").await.unwrap();
    assert_eq!(join(&stage, ANA).await.code, 0);
    platform.pass("G10000001", "G1001", 75, "2026-11-21T08:00:03Z");
    platform.pass("G10000002", "G1001", 1, "2026-11-21T08:05:00Z");
    // Refused at the door, and a camera that lost its picture: no rows.
    platform.pass("G10000002", "G1001", 6, "2026-11-21T08:05:01Z");
    let loss = "<EventNotificationAlert><eventType>videoloss</eventType><dateTime>2026-11-21T08:06:00Z</dateTime></EventNotificationAlert>";
    platform.message("G10000001", "XML", &json!(loss));

    let poll = "uses: hikpartner/messages.poll\n    with: { server: hikpartner }";
    let batch = ask(&stage, poll).await.unwrap();
    assert_eq!(batch["events"].as_array().map(Vec::len), Some(4), "{batch:#}");
    assert_eq!(batch["events"][3]["kind"], "videoloss");
    let again = ask(&stage, poll).await.unwrap();
    assert_eq!(again, batch, "nothing was confirmed");

    let inputs = json!({ "events": batch["events"] }).to_string();
    for _ in 0..2 {
        let said = stage.bascule(&["run", "gym-checkins", "--json", "--inputs-json", &inputs]).await;
        assert_eq!(said.code, 0, "{}{}", said.out, said.err);
        assert_eq!(said.result()["output"], json!({ "events": 4, "passages": 2 }));
        let rows = fleet.supabase().rows("device_logs").unwrap();
        assert_eq!(rows.len(), 2, "{rows:#?}");
    }
    let rows = fleet.supabase().rows("device_logs").unwrap();
    assert_eq!((&rows[0]["event"], &rows[0]["status"]), (&json!("check-in"), &json!("face")));
    assert_eq!((&rows[0]["employee_no"], &rows[1]["device_serial"]), (&json!("G1001"), &json!("G10000002")));
    assert_eq!(rows[0]["details"]["name"], "Ana Exemplu");

    let confirm = format!(
        "uses: hikpartner/messages.confirm\n    with: {{ server: hikpartner, batch: {} }}",
        batch["id"].as_str().unwrap()
    );
    ask(&stage, &confirm).await.unwrap();
    assert_eq!(platform.waiting_messages(), 0);
    let empty = ask(&stage, poll).await.unwrap();
    assert_eq!((&empty["id"], &empty["events"]), (&Value::Null, &json!([])));
    let said = stage.bascule(&["run", "gym-checkins", "--json", "--inputs-json", r#"{"events":[]}"#]).await;
    assert_eq!((said.code, &said.result()["output"]["passages"]), (0, &json!(0)), "{}", said.err);
}
