//! Requirement R2 end to end: people onto terminals, all or none; clones that are cut off; settings that do not stick.

use bascule_sim::{Fault, Fleet, Kind, Mishap, Scenario, Sketch};
use serde_json::{Value, json};
use tokio_util::bytes::Bytes;

use crate::stage::{Said, Stage, fleet, inventory, root};

const WORKFLOWS: [&str; 5] = [
    "register-student",
    "clone-terminal-to-terminal",
    "clone-database-to-terminal",
    "recreate-user",
    "terminal-settings-audit",
];

/// A project with the workflows of this file, and a database with a row for each terminal and so many students.
async fn set(name: &str, fleet: &Fleet, students: usize) -> Stage {
    let stage = Stage::set(name, fleet).await;
    let text = inventory(fleet).replace("paths: [/ISAPI/]", "paths: [/ISAPI/, /LOCALS/pic/]");
    std::fs::write(stage.folder.join("bascule.yaml"), text).unwrap();
    for workflow in WORKFLOWS {
        let text =
            std::fs::read_to_string(root().join("workflows").join(format!("{workflow}.yaml"))).unwrap();
        let text = text
            .replace("from: 2s, to: 30s", "from: 50ms, to: 200ms")
            .replace("from: 1s, to: 10s", "from: 50ms, to: 200ms")
            .replace("within: 15s", "within: 1s");
        stage.workflow(workflow, &text);
    }
    let columns = json!({ "id": "uuid", "full_name": "text", "employee_no": "text", "gender": "text", "photo_url": "text" });
    let rows: Vec<Value> = (0..students)
        .map(|number| {
            let path =
                fleet.supabase().put_object("photos", &format!("s/{number}.jpg"), "image/jpeg", photo(number));
            json!({
                "id": student(number), "full_name": format!("Elev Probă {number}"), "employee_no": employee_no(number),
                "gender": "female", "photo_url": format!("{}{path}", fleet.supabase_url()),
            })
        })
        .collect();
    let table = json!({ "students": { "columns": columns, "primary_key": ["id"], "rows": rows } });
    fleet.supabase().define_tables(&table).unwrap();
    let devices: Vec<Value> = fleet
        .terminals()
        .iter()
        .map(|terminal| {
            json!({ "id": terminal.id(), "name": terminal.id(), "ip": "127.0.0.1", "port": terminal.port(), "active": true })
        })
        .collect();
    fleet.supabase().replace_rows("devices", devices.into()).unwrap();
    stage
}

fn student(number: usize) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

fn employee_no(number: usize) -> String {
    format!("{:05}", 2_000 + number)
}

fn photo(number: usize) -> Bytes {
    Sketch::new(9_000 + number as u64).draw().into()
}

async fn register(stage: &Stage) -> Said {
    let input = format!("student_id={}", student(0));
    stage.bascule(&["run", "register-student", "--json", "-i", &input]).await
}

fn writes(fleet: &Fleet, kind: Kind) -> usize {
    fleet.ledger().of(kind).len()
}

/// Whether nobody on any terminal has the first student's number, and those who were there before still are.
fn untouched(fleet: &Fleet, before: usize) -> bool {
    fleet.terminals().iter().all(|terminal| {
        terminal.users().len() == before
            && terminal.users().iter().all(|user| user.employee_no != employee_no(0))
            && terminal.face(&employee_no(0)).is_none()
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_student_is_registered_everywhere() {
    let fleet = fleet(Scenario::Empty, 3).await;
    let stage = set("register", &fleet, 1).await;
    let said = register(&stage).await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    for terminal in fleet.terminals() {
        assert_eq!(String::from_utf8_lossy(&terminal.users()[0].name), "Elev Probă 0");
        assert_eq!(terminal.face(&employee_no(0)).unwrap().picture, photo(0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminal_that_refuses_in_the_middle_takes_the_others_back() {
    let fleet = fleet(Scenario::Empty, 3).await;
    let stage = set("register-full", &fleet, 1).await;
    for terminal in fleet.terminals() {
        terminal.enrol("7", "Was there before");
    }
    // The person goes everywhere, the face not.
    fleet.terminal(1).fault(refusal(
        "/ISAPI/Intelligent/FDLib/FaceDataRecord",
        400,
        "SubpicAnalysisModelingError",
    ));
    let said = register(&stage).await;
    assert_eq!(said.code, 1, "{}", said.err);
    let result = said.result();
    assert_eq!(result["error"]["code"], "isapi:SubpicAnalysisModelingError", "{result:#}");
    assert_eq!(status_of(&stage, "everywhere").await, "rolled-back");
    assert!(untouched(&fleet, 1), "somebody was left behind");
    assert_eq!(writes(&fleet, Kind::WipedEverybody), 0);

    // And a terminal that has no room for the person at all.
    fleet.terminal(2).change(|quirks| quirks.user_capacity = 1);
    let said = register(&stage).await;
    assert_eq!(said.result()["error"]["code"], "isapi:deviceUserFull", "{}", said.err);
    assert_eq!(status_of(&stage, "everywhere").await, "rolled-back");
    assert!(untouched(&fleet, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminal_that_says_yes_and_stores_nobody_is_no_success() {
    let fleet = fleet(Scenario::Empty, 2).await;
    let stage = set("register-lying", &fleet, 1).await;
    fleet.terminal(1).change(|quirks| quirks.lying = true);
    let said = register(&stage).await;
    assert_eq!(said.code, 1, "{}", said.err);
    assert_eq!(said.result()["error"]["kind"], "verification-failed", "{}", said.out);
    assert_eq!(status_of(&stage, "everywhere").await, "rolled-back");
    assert!(untouched(&fleet, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_that_is_taken_anywhere_stops_the_run_before_anything_is_written() {
    let fleet = fleet(Scenario::Empty, 3).await;
    let stage = set("register-taken", &fleet, 1).await;
    fleet.terminal(2).enrol(&employee_no(0), "Somebody else");
    let said = register(&stage).await;
    assert_eq!(said.code, 1, "{}", said.err);
    assert_eq!(said.result()["error"]["kind"], "conflict", "{}", said.out);
    assert_eq!(writes(&fleet, Kind::UserWrite) + writes(&fleet, Kind::UserDelete), 0);
    assert_eq!(fleet.terminal(2).users().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_could_not_be_taken_back_is_said() {
    let fleet = fleet(Scenario::Empty, 2).await;
    let stage = set("register-incomplete", &fleet, 1).await;
    fleet.terminal(1).fault(refusal(
        "/ISAPI/Intelligent/FDLib/FaceDataRecord",
        400,
        "SubpicAnalysisModelingError",
    ));
    // The first has taken the person, and is locked when it is to give it back.
    fleet.terminal(0).fault(Fault {
        path: "/ISAPI/AccessControl/UserInfo/Delete".to_owned(),
        method: None,
        authorized: true,
        skip: 0,
        times: 0,
        after_effect: false,
        mishap: Mishap::Status {
            status: 403,
            body: "<userCheck><statusValue>401</statusValue><lockStatus>lock</lockStatus><unlockTime>1795</unlockTime></userCheck>".to_owned(),
            content_type: "application/xml".to_owned(),
            headers: Vec::new(),
        },
    });
    let said = register(&stage).await;
    assert_eq!(said.code, 4, "somebody has to look: {}", said.err);
    let result = said.result();
    assert_eq!(result["error"]["code"], "bascule:rollback-incomplete", "{result:#}");
    let left = result["error"]["details"]["not_undone"].to_string();
    assert!(
        left.contains("terminal-01") && left.contains("locked-out") && !left.contains("terminal-02"),
        "{left}"
    );
    assert_eq!(status_of(&stage, "everywhere").await, "rollback-incomplete");
    assert_eq!(fleet.terminal(0).users().len(), 1, "it is said because it is so");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminal_is_cloned_onto_another_and_who_is_there_is_left_alone() {
    let fleet = fleet(Scenario::Empty, 2).await;
    let stage = set("clone", &fleet, 0).await;
    let (from, to) = (fleet.terminal(0), fleet.terminal(1));
    from.change(|quirks| quirks.face_url_wrong_host = true);
    populate(&fleet, 5);
    from.put_card(&employee_no(1), "00058561930892349");
    to.enrol(&employee_no(0), "Older name");
    to.put_face(&employee_no(0), photo(77));
    let said = clone(&stage, &fleet).await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    let output = said.result()["output"].clone();
    assert_eq!(
        (&output["summary"]["succeeded"], &output["summary"]["skipped"]),
        (&json!(4), &json!(1)),
        "{output}"
    );
    assert_eq!(String::from_utf8_lossy(&to.users()[0].name), "Older name");
    assert_eq!(to.face(&employee_no(0)).unwrap().picture, photo(77));
    for number in 1..5 {
        assert_eq!(to.face(&employee_no(number)).unwrap().picture, photo(number));
    }
    let card = &to.cards()[0];
    assert_eq!((card.card_no.as_str(), card.employee_no.clone()), ("00058561930892349", employee_no(1)));

    let again = clone(&stage, &fleet).await;
    assert_eq!(again.result()["output"]["summary"]["skipped"], 5, "{}", again.out);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clone_that_was_killed_goes_on_where_it_stopped() {
    const PEOPLE: usize = 12;
    let fleet = fleet(Scenario::Empty, 2).await;
    let stage = set("clone-killed", &fleet, 0).await;
    populate(&fleet, PEOPLE);
    let inputs = clone_inputs(&fleet);
    let arguments: Vec<&str> = ["run", "clone-terminal-to-terminal"]
        .into_iter()
        .chain(inputs.iter().flat_map(|i| ["-i", i.as_str()]))
        .collect();
    let mut child = stage.start(&arguments);
    fleet
        .ledger()
        .until(|entries| entries.iter().filter(|one| one.kind == Kind::FaceWrite).count() >= 4)
        .await;
    child.kill().await.unwrap();
    let done = writes(&fleet, Kind::FaceWrite);
    assert!(done < PEOPLE, "the kill came too late to show anything");

    let said = stage.bascule(&["resume", "--json"]).await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    let to = fleet.terminal(1);
    assert_eq!(to.users().len(), PEOPLE);
    for number in 0..PEOPLE {
        assert_eq!(to.face(&employee_no(number)).unwrap().picture, photo(number));
    }
    // Whoever was finished was not written again; the one that was in flight may have been.
    assert!(writes(&fleet, Kind::FaceWrite) <= PEOPLE + 1);
    assert!(writes(&fleet, Kind::UserWrite) <= PEOPLE + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_students_of_the_database_are_cloned_and_each_trouble_is_named() {
    let fleet = fleet(Scenario::Empty, 1).await;
    let stage = set("clone-database", &fleet, 4).await;
    let terminal = fleet.terminal(0);
    terminal.enrol(&employee_no(0), "Is there already");
    terminal.put_face(&employee_no(0), photo(0));
    // A photo that is none.
    fleet.supabase().put_object("photos", "s/2.jpg", "image/jpeg", Bytes::from_static(b"GIF89a, not a JPEG"));
    let input = format!("device_id={}", terminal.id());
    let said = stage.bascule(&["run", "clone-database-to-terminal", "--json", "-i", &input]).await;
    assert_eq!(said.code, 1, "{}", said.err);
    let output = said.result()["output"].clone();
    let summary = &output["summary"];
    assert_eq!(
        (&summary["succeeded"], &summary["skipped"], &summary["failed"]),
        (&json!(2), &json!(1), &json!(1)),
        "{output:#}"
    );
    assert_eq!(output["failed"][0]["key"], student(2));
    assert_eq!(output["failed"][0]["error"]["kind"], "invalid-input", "{output:#}");
    for number in [1, 3] {
        assert_eq!(terminal.face(&employee_no(number)).unwrap().picture, photo(number));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_is_recreated_with_face_and_cards() {
    let fleet = fleet(Scenario::Empty, 1).await;
    let stage = set("recreate", &fleet, 0).await;
    populate(&fleet, 2);
    let terminal = fleet.terminal(0);
    terminal.put_card(&employee_no(0), "123");
    let before = terminal.users()[0].fields.clone();
    let said = recreate(&stage, &fleet).await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert_eq!(writes(&fleet, Kind::UserDelete), 1);
    assert_eq!(terminal.users().len(), 2);
    let after = terminal.users().into_iter().find(|user| user.employee_no == employee_no(0)).unwrap();
    assert_eq!(after.fields, before, "validity, doors and plans are as they were");
    assert_eq!(terminal.face(&employee_no(0)).unwrap().picture, photo(0));
    assert_eq!(terminal.cards().len(), 1);

    // A terminal that says yes and deletes nobody; the person is still whole.
    terminal.change(|quirks| quirks.lying = true);
    let said = recreate(&stage, &fleet).await;
    assert_eq!(said.code, 1, "{}", said.err);
    assert_eq!(said.result()["error"]["kind"], "verification-failed", "{}", said.out);
    assert_eq!(terminal.users().len(), 2);
    assert_eq!(terminal.face(&employee_no(0)).unwrap().picture, photo(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_audit_finds_wrong_clocks_and_sets_those_that_can_be_set() {
    let fleet = fleet(Scenario::Empty, 3).await;
    let stage = set("audit", &fleet, 0).await;
    fleet.terminal(1).change(|quirks| quirks.clock_offset_s = -3_600);
    fleet.terminal(2).change(|quirks| {
        quirks.clock_offset_s = 7_200;
        quirks.lying_settings = true;
    });
    let said = stage.bascule(&["run", "terminal-settings-audit", "--json"]).await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert_eq!(writes(&fleet, Kind::SettingWrite), 0, "reading changes nothing");

    let said = stage.bascule(&["run", "terminal-settings-audit", "--json", "-i", "set_clock=true"]).await;
    assert_eq!(said.code, 1, "{}", said.err);
    let output = said.result()["output"].clone();
    let status = |index: usize| output["per_device"][index]["status"].as_str().unwrap().to_owned();
    assert_eq!((status(0), status(1), status(2)), ("succeeded".into(), "succeeded".into(), "failed".into()));
    let error = &output["per_device"][2]["error"];
    assert_eq!(error["kind"], "verification-failed", "{error:#}");
    assert_eq!(error["details"]["rolledBack"], true, "{error:#}");
    assert!(
        fleet.terminal(1).quirks().clock_offset_s.abs() <= 2,
        "{}",
        fleet.terminal(1).quirks().clock_offset_s
    );
    assert_eq!(fleet.terminal(2).quirks().clock_offset_s, 7_200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doors_receivers_log_and_thorough_deletion_work_from_a_workflow() {
    let fleet = fleet(Scenario::Empty, 1).await;
    let stage = set("by-hand", &fleet, 0).await;
    let terminal = fleet.terminal(0);
    populate(&fleet, 3);
    terminal.put_card(&employee_no(1), "123");
    for _ in 0..40 {
        terminal.happen(5, 75, Some(&employee_no(0)));
    }
    let device =
        format!("{{ connection: terminal, device: {{ ip: 127.0.0.1, port: {} }} }}", terminal.port());
    stage.workflow(
        "by-hand",
        &format!(
            "name: By hand\nsteps:\n\
             \x20 - id: door\n    uses: isapi/doors.control\n    with: {{ terminal: {device}, door: 1, command: open }}\n    repeat: never\n\
             \x20 - id: receiver\n    uses: isapi/hosts.set\n    with: {{ terminal: {device}, slot: 2, url: 'http://127.0.0.1:8080/hook/in?k=1&d=2' }}\n\
             \x20 - id: log\n    uses: isapi/events.search\n    with: {{ terminal: {device}, from: '2020-01-01T00:00:00Z', to: '2037-01-01T00:00:00Z', major: 5, minor: 75 }}\n\
             \x20 - id: gone\n    uses: isapi/users.delete-with-credentials\n    with: {{ terminal: {device}, employee-nos: ['{}'] }}\n\
             \x20 - id: able\n    uses: isapi/device.capabilities\n    with: {{ terminal: {device} }}\n\
             output: {{ receiver: '${{{{ steps.receiver.output }}}}', log: '${{{{ steps.log.output | length }}}}', able: '${{{{ steps.able.output }}}}' }}\n",
            employee_no(1)
        ),
    );
    let said = stage.bascule(&["run", "by-hand", "--json"]).await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    let output = said.result()["output"].clone();
    assert_eq!(writes(&fleet, Kind::DoorControl), 1);
    assert_eq!(output["receiver"]["path"], "/hook/in?k=1&d=2", "{output:#}");
    assert_eq!(output["log"], 40);
    assert_eq!(output["able"]["credentials_delete"], true);
    assert_eq!((terminal.users().len(), terminal.cards().len()), (2, 0));
    assert_eq!(writes(&fleet, Kind::WipedEverybody), 0);

    // The answer to a door is lost: nobody knows, so nobody repeats it.
    let lost = Fault {
        path: "/ISAPI/AccessControl/RemoteControl/".to_owned(),
        method: None,
        authorized: true,
        skip: 0,
        times: 1,
        after_effect: true,
        mishap: Mishap::Reset,
    };
    terminal.fault(lost);
    let said = stage.bascule(&["run", "by-hand", "--json"]).await;
    assert_ne!(said.code, 0, "{}", said.out);
    assert_eq!(writes(&fleet, Kind::DoorControl), 2, "one for each run and no more");

    // A terminal that keeps its old receiver.
    terminal.change(|quirks| quirks.lying_settings = true);
    stage.workflow(
        "receiver",
        &format!("name: Receiver\nsteps:\n  - uses: isapi/hosts.set\n    with: {{ terminal: {device}, slot: 1, url: 'http://127.0.0.1:9/x' }}\n"),
    );
    let said = stage.bascule(&["run", "receiver", "--json"]).await;
    assert_eq!(said.result()["error"]["kind"], "verification-failed", "{}", said.out);
}

fn populate(fleet: &Fleet, people: usize) {
    for number in 0..people {
        fleet.terminal(0).enrol(&employee_no(number), &format!("Om Probă {number}"));
        fleet.terminal(0).put_face(&employee_no(number), photo(number));
    }
}

fn clone_inputs(fleet: &Fleet) -> [String; 4] {
    [
        "from_ip=127.0.0.1".to_owned(),
        format!("from_port={}", fleet.terminal(0).port()),
        "to_ip=127.0.0.1".to_owned(),
        format!("to_port={}", fleet.terminal(1).port()),
    ]
}

async fn clone(stage: &Stage, fleet: &Fleet) -> Said {
    let inputs = clone_inputs(fleet);
    let arguments: Vec<&str> = ["run", "clone-terminal-to-terminal", "--json"]
        .into_iter()
        .chain(inputs.iter().flat_map(|input| ["-i", input.as_str()]))
        .collect();
    stage.bascule(&arguments).await
}

async fn recreate(stage: &Stage, fleet: &Fleet) -> Said {
    let port = format!("port={}", fleet.terminal(0).port());
    let person = format!("employee_no={}", employee_no(0));
    stage.bascule(&["run", "recreate-user", "--json", "-i", "ip=127.0.0.1", "-i", &port, "-i", &person]).await
}

/// The status of a step of the last run.
async fn status_of(stage: &Stage, step: &str) -> String {
    let run = stage.bascule(&["runs", "show", "last", "--json"]).await.json();
    let steps = run["steps"].as_array().unwrap();
    let found = steps.iter().find(|one| one["id"] == step).unwrap_or_else(|| panic!("{run:#}"));
    found["status"].as_str().unwrap().to_owned()
}

fn refusal(path: &str, status: u16, sub: &str) -> Fault {
    Fault {
        path: path.to_owned(),
        method: None,
        authorized: true,
        skip: 0,
        times: 0,
        after_effect: false,
        mishap: Mishap::Status {
            status,
            body: json!({ "statusCode": 6, "statusString": "Invalid Content", "subStatusCode": sub })
                .to_string(),
            content_type: "application/json".to_owned(),
            headers: Vec::new(),
        },
    }
}
