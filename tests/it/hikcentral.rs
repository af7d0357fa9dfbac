//! HikCentral through the real binary: the visitor and photo-probe workflows, and a platform that lies (requirement R3).

use std::path::PathBuf;

use bascule_sim::{APP_KEY, APP_SECRET, Fleet, FullDatabase, HikCentralQuirks, Kind, Scenario, Sketch};
use serde_json::{Value, json};

use crate::stage::{Said, Stage, fleet, root};

/// A fleet, and a project with the two workflows, short waits, a photo and the right key.
async fn set(name: &str, quirks: impl FnOnce(&mut HikCentralQuirks)) -> (Fleet, Stage) {
    let fleet = fleet(Scenario::Empty, 0).await;
    fleet.hikcentral().change(quirks);
    let stage = Stage::empty(name);
    let inventory = format!(
        r"connections:
  hikcentral:
    url: {}
    auth:
      ak-sk: {{ key: {{ secret: hcp-key }}, secret: {{ secret: hcp-secret }} }}
    allow:
      paths: [/artemis/]
    test: /artemis/api/common/v1/version

folders:
  photos: {{ path: ./photos }}
",
        fleet.hikcentral_url()
    );
    std::fs::write(stage.folder.join("bascule.yaml"), inventory).unwrap();
    for workflow in ["hikcentral-visitor", "hikcentral-photo-probe"] {
        let path = root().join("workflows").join(format!("{workflow}.yaml"));
        let text = std::fs::read_to_string(path).unwrap();
        let text =
            text.replace("from: 2s, to: 30s", "from: 20ms, to: 50ms").replace("within: 60s", "within: 1s");
        stage.workflow(workflow, &text);
    }
    std::fs::create_dir_all(stage.folder.join("photos")).unwrap();
    std::fs::write(photo_of(&stage), Sketch::new(41).draw()).unwrap();
    stage.secret("hcp-key", APP_KEY).await;
    stage.secret("hcp-secret", APP_SECRET).await;
    (fleet, stage)
}

fn photo_of(stage: &Stage) -> PathBuf {
    stage.folder.join("photos/ana.jpg")
}

async fn visit(stage: &Stage) -> Said {
    visit_as(stage, "V1001").await
}

async fn visit_as(stage: &Stage, code: &str) -> Said {
    let code = format!("code={code}");
    let inputs = [
        code.as_str(),
        "given_name=Ana",
        "family_name=Exemplu",
        "photo=ana.jpg",
        "access_group=1",
        "begin=2026-11-21T08:00:00+02:00",
        "end=2026-11-21T18:00:00+02:00",
    ];
    let mut arguments = vec!["run", "hikcentral-visitor", "--json"];
    for input in inputs {
        arguments.extend(["-i", input]);
    }
    stage.bascule(&arguments).await
}

fn stored(fleet: &Fleet, stage: &Stage) -> bool {
    let person = fleet.hikcentral().person_by_code("V1001").unwrap();
    person.face.as_deref() == Some(std::fs::read(photo_of(stage)).unwrap().as_slice())
}

/// A step that calls one function, as a workflow of its own.
fn one_step(stage: &Stage, name: &str, step: &str) {
    stage.workflow(
        name,
        &format!("name: One step\nsteps:\n  - id: only\n    {step}\noutput: ${{{{ steps.only.output }}}}\n"),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_visitor_gets_photo_and_rights_and_a_second_visit_renews_them() {
    let (fleet, stage) = set("hcp-visitor", |_| {}).await;
    let said = visit(&stage).await;
    let output = said.result()["output"].clone();
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert_eq!(output["photo"], "with the person", "{output:#}");
    assert_eq!((&output["manual_upload_needed"], &output["doors"]), (&Value::Null, &json!("succeeded")));
    let person = fleet.hikcentral().person_by_code("V1001").unwrap();
    assert!(stored(&fleet, &stage));
    assert_eq!(fleet.hikcentral().members("1"), std::slice::from_ref(&person.id));
    assert_eq!(fleet.hikcentral().applied(), std::slice::from_ref(&person.id));

    // The second visit: nobody is added, the new photo replaces the old one, and is compared with it.
    std::fs::write(photo_of(&stage), Sketch::new(42).draw()).unwrap();
    let said = visit(&stage).await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert_eq!(said.result()["output"]["photo"], "by face/update");
    assert_eq!(fleet.hikcentral().persons().len(), 1);
    assert!(stored(&fleet, &stage));
    assert!(fleet.ledger().of(Kind::KeyRefused).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_photo_that_is_dropped_with_the_person_goes_the_second_way() {
    let (fleet, stage) = set("hcp-second-way", |quirks| {
        quirks.faces_on_add_ignored = true;
        quirks.code_as_number = true;
        quirks.pic_big_uri = true;
        quirks.picture_redirect = true;
    })
    .await;
    let said = visit(&stage).await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert_eq!(said.result()["output"]["photo"], "by face/update");
    assert!(stored(&fleet, &stage));
    let shown = stage.bascule(&["runs", "show", "last"]).await.out;
    assert!(shown.contains("picUri is empty"), "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_no_way_stores_the_photo_a_manual_upload_is_asked_for_with_who_and_why() {
    type Change = fn(&mut HikCentralQuirks);
    let cases: [(&str, Change, &[&str]); 2] = [
        (
            "Lying",
            |quirks| {
                quirks.faces_on_add_ignored = true;
                quirks.lying_face_update = true;
            },
            &[
                "with the person:",
                "by face/update: the platform said code 0",
                "by personPhoto:",
                "picUri is empty",
            ],
        ),
        (
            "Full",
            |quirks| {
                quirks.full_database = FullDatabase::Faces;
                quirks.errors_as_xml = true;
            },
            &["by face/update: the platform's service or database failed", "Database Exception"],
        ),
    ];
    let (fleet, stage) = set("hcp-manual", |_| {}).await;
    for (name, change, says) in cases {
        fleet.hikcentral().change(|quirks| {
            *quirks = HikCentralQuirks::default();
            change(quirks);
        });
        let said = visit_as(&stage, name).await;
        let result = said.result();
        assert_ne!(result["status"], "succeeded", "{name}");
        let notice = &result["output"]["manual_upload_needed"];
        assert_eq!(result["output"]["photo"], "not stored", "{name}: {result:#}");
        assert_eq!((&notice["code"], &notice["name"]), (&json!(name), &json!("Ana Exemplu")), "{name}");
        let why = notice["why"].to_string();
        for part in says {
            assert!(why.contains(part), "{name}: {part}: {why}");
        }
        // The rights are there all the same.
        let person = fleet.hikcentral().person_by_code(name).unwrap();
        assert!(person.face.is_none());
        assert!(fleet.hikcentral().members("1").contains(&person.id), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_platform_that_says_yes_and_does_nothing_is_found_out() {
    type Change = fn(&mut HikCentralQuirks);
    let cases: [(&str, Change, &str, &str); 5] = [
        ("LyingAdd", |quirks| quirks.lying_add = true, "added", "verification-failed"),
        ("LyingGroup", |quirks| quirks.lying_add_to_group = true, "access", "verification-failed"),
        ("LyingDoors", |quirks| quirks.apply_fails = true, "doors", "verification-failed"),
        ("Full", |quirks| quirks.full_database = FullDatabase::Writes, "added", "busy"),
        (
            "OldVersion",
            |quirks| quirks.unknown_paths = vec!["acs/v1/privilege/group/single/addPersons".to_owned()],
            "access",
            "unsupported",
        ),
    ];
    let (fleet, stage) = set("hcp-lying", |_| {}).await;
    for (name, change, step, kind) in cases {
        fleet.hikcentral().change(|quirks| {
            *quirks = HikCentralQuirks::default();
            change(quirks);
        });
        let said = visit_as(&stage, name).await;
        assert_eq!(said.code, 1, "{name}: {}{}", said.out, said.err);
        assert_eq!(said.result()["status"], "failed", "{name}");
        let run = stage.bascule(&["runs", "show", "last", "--json"]).await.json();
        let found = run["steps"].as_array().unwrap().iter().find(|one| one["id"] == step).unwrap();
        assert_eq!(found["status"], "failed", "{name}: {found:#}");
        assert_eq!(found["failure"]["kind"], kind, "{name}: {found:#}");
        let word = format!(r#""event":"attempt-failed","place":"{step}""#);
        let attempts = said.out.lines().filter(|line| line.contains(&word)).count();
        match kind {
            // Code 8 is never tried again; a database may have been cleaned meanwhile.
            "unsupported" => {
                assert_eq!(found["failure"]["code"], "hikcentral:8");
                assert_eq!(attempts, 1, "{}", said.out);
            }
            "busy" => {
                assert_eq!(found["failure"]["code"], "hikcentral:5");
                assert_eq!(attempts, 3, "{}", said.out);
                assert!(fleet.hikcentral().person_by_code(name).is_none());
            }
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_secret_is_unauthorized_and_neither_key_nor_secret_is_shown_anywhere() {
    let (fleet, stage) = set("hcp-wrong-secret", |_| {}).await;
    stage.secret("hcp-secret", "Not-The-Secret-9").await;
    for (number, status) in [(1, 200), (2, 401)] {
        fleet.hikcentral().change(|quirks| quirks.gateway_status = status);
        let said = visit(&stage).await;
        assert_eq!(said.code, 1, "{}", said.err);
        let shown = stage.bascule(&["runs", "show", "last", "--json"]).await;
        let error = shown.json()["steps"][0]["failure"].clone();
        assert_eq!(
            (&error["kind"], &error["code"]),
            (&json!("unauthorized"), &json!("hikcentral:0x02401003")),
            "{error:#}"
        );
        // The gateway's message quoted the key; it comes out struck.
        assert!(error["details"].to_string().contains("[redacted]"), "{error:#}");
        let plain = stage.bascule(&["runs", "show", "last"]).await;
        for text in [&said.out, &said.err, &shown.out, &shown.err, &plain.out, &plain.err] {
            assert!(!text.contains(APP_KEY) && !text.contains("Not-The-Secret-9"), "{text}");
        }
        let journal = stage.folder.join(".bascule");
        for entry in
            std::fs::read_dir(journal).unwrap().filter_map(Result::ok).filter(|entry| entry.path().is_file())
        {
            let bytes = std::fs::read(entry.path()).unwrap();
            let found = bytes.windows(APP_KEY.len()).any(|window| window == APP_KEY.as_bytes());
            assert!(!found, "the key is in {}", entry.path().display());
        }
        // One refusal, not three: wrong credentials are never tried again.
        assert_eq!(fleet.ledger().of(Kind::KeyRefused).len(), number);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_strict_gateway_is_content_with_what_the_host_signs() {
    let (_fleet, stage) = set("hcp-strict", |quirks| {
        quirks.timestamp_window_s = 60;
        quirks.nonce_once = true;
        quirks.check_md5 = true;
    })
    .await;
    let path = stage.folder.join("bascule.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("hcp-secret } }", "hcp-secret }, content-md5: true }")).unwrap();
    let said = visit(&stage).await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_probe_prints_which_of_the_13_ways_work() {
    let probe = ["run", "hikcentral-photo-probe", "--json", "-i", "photo=ana.jpg"];
    let verdicts = |output: &Value| -> Vec<(String, String)> {
        let rows = output["matrix"].as_array().unwrap();
        let word = |row: &Value| row["output"]["verdict"].as_str().unwrap_or("none").to_owned();
        rows.iter().map(|row| (row["key"].as_str().unwrap().to_owned(), word(row))).collect()
    };
    let (fleet, stage) = set("hcp-probe", |_| {}).await;
    let said = stage.bascule(&probe).await;
    let output = said.result()["output"].clone();
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert_eq!(output["platform"]["version"], "V3.1.1.0");
    assert_eq!(
        (&output["works"], &output["ignored"]),
        (
            &json!(["add-faces", "face-update"]),
            &json!(["add-person-photo", "update-faces", "update-person-photo"]),
        )
    );
    let table = verdicts(&output);
    assert_eq!(table.len(), 13);
    assert_eq!(table.iter().filter(|(_, word)| word == "unknown-path").count(), 8, "{table:?}");
    assert!(fleet.hikcentral().persons().is_empty(), "a test person was left behind");

    // Where only the faces are refused, that is what the matrix says; the version is not blamed.
    fleet.hikcentral().change(|quirks| quirks.full_database = FullDatabase::Faces);
    let output = stage.bascule(&probe).await.result()["output"].clone();
    let table = verdicts(&output);
    assert!(table.contains(&("face-update".to_owned(), "refused".to_owned())), "{table:?}");
    assert!(table.contains(&("add-faces".to_owned(), "ignored".to_owned())), "{table:?}");
    let row = output["matrix"].as_array().unwrap().iter().find(|row| row["key"] == "face-update").unwrap();
    assert_eq!(row["output"]["code"], "5");

    // Where nobody can be added, eleven ways cannot be judged, and the run says so.
    fleet.hikcentral().change(|quirks| quirks.full_database = FullDatabase::Writes);
    let said = stage.bascule(&probe).await;
    assert_eq!(said.code, 1, "{}", said.out);
    let output = said.result()["output"].clone();
    let rows = output["matrix"].as_array().unwrap();
    let failed = rows.iter().filter(|row| row["error"]["code"] == "hikcentral:5").count();
    assert_eq!((failed, &output["works"]), (11, &json!([])), "{output:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doors_events_subscriptions_and_lists_answer_through_the_binary() {
    let (fleet, stage) = set("hcp-rest", |_| {}).await;
    let platform = fleet.hikcentral();
    for number in 0..1_201 {
        platform.enrol(&format!("P{number}"), "Person", &number.to_string());
    }
    let ana = platform.person_by_code("P7").unwrap().id;
    platform.pass(&ana, "11", "2026-11-21T08:00:00+02:00");

    one_step(&stage, "everybody", "uses: hikcentral/persons.list\n    with: { server: hikcentral }");
    let said = stage.bascule(&["run", "everybody", "--json"]).await;
    assert_eq!(said.result()["output"].as_array().map(Vec::len), Some(1_201), "{}", said.err);

    one_step(
        &stage,
        "passed",
        "uses: hikcentral/doors.events\n    with: { server: hikcentral, since: 2026-11-21T00:00:00+02:00, until: 2026-11-22T00:00:00+02:00, event-type: 196893, doors: [\"11\"] }",
    );
    let output = stage.bascule(&["run", "passed", "--json"]).await.result()["output"].clone();
    assert_eq!(
        (&output[0]["person"], &output[0]["door_name"]),
        (&json!(ana), &json!("Main entrance")),
        "{output:#}"
    );

    one_step(
        &stage,
        "open",
        "uses: hikcentral/doors.control\n    with: { server: hikcentral, doors: [\"11\"], order: open }\n    repeat: never",
    );
    let said = stage.bascule(&["run", "open", "--json"]).await;
    assert_eq!((said.code, &said.result()["output"][0]["confirmed"]), (0, &json!(true)), "{}", said.err);
    platform.change(|quirks| quirks.stuck_doors = vec!["11".to_owned()]);
    let said = stage.bascule(&["run", "open", "--json"]).await;
    assert_eq!(said.code, 1, "code 0 with a door that did not obey: {}", said.out);
    assert_eq!(fleet.ledger().of(Kind::DoorControl).len(), 2, "an order was given twice");

    one_step(
        &stage,
        "subscribe",
        "uses: hikcentral/events.subscribe\n    with: { server: hikcentral, event-types: [196893], destination: \"http://127.0.0.1:9/hook\" }",
    );
    let said = stage.bascule(&["run", "subscribe", "--json"]).await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    one_step(&stage, "view", "uses: hikcentral/events.view\n    with: { server: hikcentral }");
    let output = stage.bascule(&["run", "view", "--json"]).await.result()["output"].clone();
    assert_eq!(output, json!([{ "event_types": [196_893], "destination": "http://127.0.0.1:9/hook" }]));

    // Empty lists come without `list`; a page that never changes is not read for ever.
    one_step(
        &stage,
        "nobody",
        "uses: hikcentral/persons.list\n    with: { server: hikcentral, name: Nobody }",
    );
    assert_eq!(stage.bascule(&["run", "nobody", "--json"]).await.result()["output"], json!([]));
    platform.change(|quirks| quirks.ignores_page = true);
    let said = stage.bascule(&["run", "everybody", "--json"]).await;
    assert_eq!(said.code, 1, "the same page again and again: {}", said.out);
    platform.change(|quirks| quirks.forbidden = vec!["resource/v1/person/personList".to_owned()]);
    let said = stage.bascule(&["run", "everybody"]).await;
    assert!(said.err.contains("permission") || said.out.contains("permission"), "{}{}", said.out, said.err);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn organisations_groups_rights_and_subscriptions_can_be_read_and_taken_back() {
    let (fleet, stage) = set("hcp-take-back", |_| {}).await;
    let platform = fleet.hikcentral();
    let ana = platform.enrol("V2001", "Ana", "Exemplu");
    platform.enrol("V2002", "Bogdan", "Exemplu");
    stage.workflow(
        "take-back",
        r#"
name: Everything that is given is taken back
inputs: { person: string }
steps:
  - { id: organisations, uses: hikcentral/persons.organisations, with: { server: hikcentral } }
  - { id: groups, uses: hikcentral/access.groups, with: { server: hikcentral } }
  - { id: found, uses: hikcentral/persons.by-id, with: { server: hikcentral, id: "${{ inputs.person }}" } }
  - { id: changed, uses: hikcentral/persons.update, with: { server: hikcentral, id: "${{ inputs.person }}", changes: { phone: "0700000001" } } }
  - { id: in, uses: hikcentral/access.add-persons, with: { server: hikcentral, group: "1", persons: ["${{ inputs.person }}"] } }
  - { id: apply, uses: hikcentral/access.reapply, with: { server: hikcentral, persons: ["${{ inputs.person }}"] } }
  - { id: progress, uses: hikcentral/access.applied, with: { server: hikcentral, person: "${{ inputs.person }}" } }
  - { id: results, uses: hikcentral/access.results, with: { server: hikcentral } }
  - { id: out, uses: hikcentral/access.remove-persons, with: { server: hikcentral, group: "1", persons: ["${{ inputs.person }}"] } }
  - { id: members, uses: hikcentral/access.members, with: { server: hikcentral, group: "1" } }
  - { id: listen, uses: hikcentral/events.subscribe, with: { server: hikcentral, event-types: [196893], destination: "http://127.0.0.1:9/hook" } }
  - { id: deafen, uses: hikcentral/events.unsubscribe, with: { server: hikcentral, event-types: [196893] } }
  - { id: subscriptions, uses: hikcentral/events.view, with: { server: hikcentral } }
  - { id: gone, uses: hikcentral/persons.delete, with: { server: hikcentral, id: "${{ inputs.person }}" } }
output:
  organisations: ${{ steps.organisations.output }}
  groups: ${{ steps.groups.output }}
  name: ${{ steps.found.output.name }}
  phone: ${{ steps.changed.output.phone }}
  progress: ${{ steps.progress.output }}
  members: ${{ steps.members.output }}
  subscriptions: ${{ steps.subscriptions.output }}
"#,
    );
    let said = stage.bascule(&["run", "take-back", "--json", "-i", &format!("person={ana}")]).await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    let output = said.result()["output"].clone();
    assert_eq!(
        (&output["name"], &output["phone"]),
        (&json!("Ana Exemplu"), &json!("0700000001")),
        "{output:#}"
    );
    assert!(
        output["organisations"][0]["id"].is_string() && output["groups"][0]["id"].is_string(),
        "{output:#}"
    );
    assert_eq!((&output["progress"]["failed"], &output["members"]), (&json!(0), &json!([])), "{output:#}");
    assert_eq!(output["subscriptions"], json!([]));
    assert!(platform.person_by_code("V2001").is_none(), "the person is still there");
    assert!(platform.person_by_code("V2002").is_some(), "somebody else was deleted");
    assert_eq!(fleet.ledger().of(Kind::Subscription).len(), 2);

    // Deleting somebody who is not there is said, and so is a version without figures.
    one_step(
        &stage,
        "again",
        &format!("uses: hikcentral/persons.delete\n    with: {{ server: hikcentral, id: '{ana}' }}"),
    );
    let said = stage.bascule(&["run", "again", "--json"]).await;
    assert_eq!((said.code, &said.result()["error"]["kind"]), (1, &json!("not-found")), "{}", said.out);
    one_step(&stage, "figures", "uses: hikcentral/access.statistics\n    with: { server: hikcentral }");
    let said = stage.bascule(&["run", "figures", "--json"]).await;
    assert_eq!((said.code, said.result()["output"]["total"].is_u64()), (0, true), "{}", said.out);
    platform.change(|quirks| quirks.unknown_paths = vec!["acs/v1/auth/applicationResult".to_owned()]);
    let said = stage.bascule(&["run", "figures", "--json"]).await;
    assert_eq!((said.code, &said.result()["error"]["kind"]), (1, &json!("unsupported")), "{}", said.out);
}
