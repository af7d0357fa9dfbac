//! Requirement R2.6: people onto the devices that a backend names, and the backend told for each how it went; a backend that is
//! down, slow or forgetful; and the plugin `web` by itself.

use bascule_sim::{BACKEND_KEY, Fault, Fleet, Kind, Mishap, Scenario};
use serde_json::{Value, json};

use crate::stage::{Said, Stage, fleet, inventory, root};

const JOB: &str = "1";

/// A fleet whose backend has a job for all terminals, and a project with the shipped workflow and short waits.
pub(crate) async fn set(name: &str, terminals: usize) -> (Fleet, Stage) {
    let fleet = fleet(Scenario::Calm, terminals).await;
    let stage = Stage::set(name, &fleet).await;
    let text = inventory(&fleet).replacen(
        "connections:\n",
        &format!(
            "connections:\n  backend:\n    url: {}\n    auth:\n      headers:\n        Authorization: {{ prefix: \"Bearer \", secret: backend-key }}\n    \
             timeouts: {{ normal: 1s }}\n    test: /provisioning/1/status\n\n",
            fleet.backend_url()
        ),
        1,
    );
    std::fs::write(stage.folder.join("bascule.yaml"), text).unwrap();
    let text = std::fs::read_to_string(root().join("workflows/provision-and-report.yaml")).unwrap();
    let text = text
        .replace("from: 2s, to: 30s", "from: 20ms, to: 50ms")
        .replace("from: 1s, to: 15s", "from: 20ms, to: 50ms")
        .replace("within: 15s", "within: 1s");
    stage.workflow("provision-and-report", &text);
    stage.secret("backend-key", BACKEND_KEY).await;
    (fleet, stage)
}

async fn provision(stage: &Stage) -> Said {
    let input = format!("provisioning_id={JOB}");
    stage.bascule(&["run", "provision-and-report", "--json", "-i", &input]).await
}

/// `device: STATUS reason` as the backend has it.
pub(crate) fn told(fleet: &Fleet) -> Vec<String> {
    let line = |result: bascule_sim::BackendResult| {
        format!("{}: {} {}", result.device_id, result.status, result.error.unwrap_or_default())
            .trim_end()
            .to_owned()
    };
    fleet.backend().results(JOB).into_iter().map(line).collect()
}

/// The number that the job gives: nobody has it before.
fn number(fleet: &Fleet) -> String {
    format!("9{}", fleet.people().complete().unwrap().employee_no.clone().unwrap())
}

fn has_person(fleet: &Fleet, terminal: usize) -> bool {
    let number = number(fleet);
    fleet.terminal(terminal).users().iter().any(|user| user.employee_no == number)
}

fn has_face(fleet: &Fleet, terminal: usize) -> bool {
    let photo = fleet.people().complete().unwrap().photo.clone().unwrap();
    fleet.terminal(terminal).face(&number(fleet)).is_some_and(|face| face.picture == photo)
}

fn outage(path: &str, times: u32, mishap: Mishap) -> Fault {
    Fault {
        path: path.to_owned(),
        method: None,
        authorized: false,
        skip: 0,
        times,
        after_effect: false,
        mishap,
    }
}

fn unavailable() -> Mishap {
    Mishap::Status {
        status: 503,
        body: "upstream is restarting".to_owned(),
        content_type: "text/plain".to_owned(),
        headers: Vec::new(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_device_gets_the_person_and_is_reported() {
    let (fleet, stage) = set("provision", 3).await;
    let said = provision(&stage).await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert_eq!(told(&fleet), ["terminal-01: SUCCESS", "terminal-02: SUCCESS", "terminal-03: SUCCESS"]);
    assert!((0..3).all(|terminal| has_face(&fleet, terminal)));
    assert_eq!(fleet.backend().state_of(JOB), "DONE");
    let logs = fleet.backend().logs(JOB);
    assert!(logs[0]["message"].as_str().unwrap().starts_with("3 of 3 devices have the person"), "{logs:?}");
    assert_eq!(logs[0]["level"], "info");
    let output = said.result()["output"].clone();
    assert_eq!((&output["unreported"], &output["sent_again"]), (&json!([]), &json!([])));
    assert!(fleet.ledger().of(Kind::KeyRefused).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_fails_is_reported_with_its_reason_and_the_others_keep_the_person() {
    let (fleet, stage) = set("provision-failing", 5).await;
    // One refuses the face, one stores nothing, one has the number, one is away.
    fleet.terminal(0).fault(outage(
        "/ISAPI/Intelligent/FDLib/FaceDataRecord",
        0,
        Mishap::Status {
            status: 400,
            body: json!({ "statusCode": 6, "statusString": "Invalid Content", "subStatusCode": "SubpicAnalysisModelingError" }).to_string(),
            content_type: "application/json".to_owned(),
            headers: Vec::new(),
        },
    ));
    fleet.terminal(1).change(|quirks| quirks.lying = true);
    fleet.terminal(2).enrol(&number(&fleet), "Somebody else");
    fleet.terminal(3).offline().await.unwrap();
    let said = provision(&stage).await;
    assert_eq!(said.code, 1, "{}{}", said.out, said.err);
    let told = told(&fleet);
    assert_eq!(told.len(), 5, "{told:#?}");
    for (place, part) in ["FAILED ", "FAILED ", "FAILED ", "FAILED ", "SUCCESS"].iter().enumerate() {
        assert!(told[place].starts_with(&format!("terminal-0{}: {part}", place + 1)), "{told:#?}");
    }
    // What was written on the first is gone again; the stranger on the third is not.
    assert!(!has_person(&fleet, 0) && !has_person(&fleet, 1) && has_person(&fleet, 2) && has_face(&fleet, 4));
    assert_eq!(fleet.terminal(2).users().iter().filter(|user| user.name == b"Somebody else").count(), 1);
    let output = said.result()["output"].clone();
    assert_eq!((&output["summary"]["succeeded"], &output["summary"]["failed"]), (&json!(1), &json!(4)));
    assert_eq!(output["unreported"], json!([]));
    assert_eq!(fleet.backend().logs(JOB)[0]["level"], "warn");

    // The job can be repeated once the trouble is over.
    fleet.terminal(0).change(|_| {});
    fleet.terminal(3).online().await.unwrap();
    fleet.terminal(1).change(|quirks| quirks.lying = false);
    let said = provision(&stage).await;
    assert_eq!(said.code, 1, "{}", said.out);
    assert!(has_face(&fleet, 1) && has_face(&fleet, 3));
    assert!(crate::provisioning::told(&fleet)[3].ends_with("SUCCESS"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_could_not_be_taken_back_is_in_the_report() {
    let (fleet, stage) = set("provision-left", 1).await;
    let refusal = |sub: &str| Mishap::Status {
        status: 400,
        body: json!({ "statusCode": 6, "statusString": "Invalid Content", "subStatusCode": sub }).to_string(),
        content_type: "application/json".to_owned(),
        headers: Vec::new(),
    };
    fleet.terminal(0).fault(outage(
        "/ISAPI/Intelligent/FDLib/FaceDataRecord",
        0,
        refusal("SubpicAnalysisModelingError"),
    ));
    fleet.terminal(0).fault(outage("/ISAPI/AccessControl/UserInfo/Delete", 0, refusal("lowPrivilege")));
    let said = provision(&stage).await;
    assert_eq!(said.code, 1, "{}", said.out);
    assert!(has_person(&fleet, 0));
    let told = told(&fleet);
    assert!(told[0].contains("; what was written could not be taken back: "), "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_that_comes_back_or_forgets_is_told_again() {
    let (fleet, stage) = set("provision-resent", 3).await;
    // Every report of the first round is lost with the backend; then it is back.
    fleet.backend().fault(outage("/provisioning/1/device-result", 12, unavailable()));
    let said = provision(&stage).await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert_eq!(said.result()["status"], "recovered");
    assert_eq!(said.result()["output"]["sent_again"], json!(["terminal-01", "terminal-02", "terminal-03"]));
    assert_eq!(told(&fleet), ["terminal-01: SUCCESS", "terminal-02: SUCCESS", "terminal-03: SUCCESS"]);

    // It says yes to two reports and keeps neither; answers that come late are waited for by trying again.
    let (fleet, stage) = set("provision-forgetful", 2).await;
    fleet.backend().change(|habits| habits.forgets_results = 2);
    fleet.backend().fault(outage("/provisioning/1/start", 1, Mishap::Delay { ms: 3_000 }));
    let said = provision(&stage).await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert_eq!(told(&fleet), ["terminal-01: SUCCESS", "terminal-02: SUCCESS"]);
    assert_eq!(said.result()["output"]["sent_again"], json!(["terminal-01", "terminal-02"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_that_cannot_be_delivered_fails_the_run_and_is_listed() {
    let (fleet, stage) = set("provision-unreported", 2).await;
    fleet.backend().fault(outage("/provisioning/1/device-result", 0, unavailable()));
    let said = provision(&stage).await;
    assert_eq!(said.code, 1, "{}{}", said.out, said.err);
    let output = said.result()["output"].clone();
    assert_eq!(output["unreported"], json!(["terminal-01", "terminal-02"]), "{output:#}");
    assert_eq!(said.result()["error"]["code"], "web:http-503", "{}", said.out);
    // The persons are there all the same: it is the report that failed.
    assert!(has_face(&fleet, 0) && has_face(&fleet, 1));
    assert_eq!(output["failed"], json!([]));

    // A backend that never keeps anything.
    let (fleet, stage) = set("provision-never", 1).await;
    fleet.backend().change(|habits| habits.forgets_results = 1_000);
    let said = provision(&stage).await;
    assert_eq!(said.result()["error"]["kind"], "verification-failed", "{}", said.out);
    assert_eq!(said.result()["output"]["unreported"], json!(["terminal-01"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_backend_nothing_is_written() {
    let (fleet, stage) = set("provision-down", 1).await;
    fleet.backend().fault(outage("/provisioning/1/start", 0, Mishap::Reset));
    let said = provision(&stage).await;
    assert_eq!(said.code, 1, "{}", said.out);
    assert!(!has_person(&fleet, 0) && fleet.ledger().of(Kind::UserWrite).is_empty());

    let (fleet, stage) = set("provision-key", 1).await;
    stage.secret("backend-key", "some-other-backend-key-00").await;
    let said = provision(&stage).await;
    assert_eq!(said.result()["error"]["kind"], "unauthorized", "{}", said.out);
    assert!(!said.out.contains("some-other-backend-key-00"));
    assert!(fleet.ledger().of(Kind::UserWrite).is_empty());
    assert_eq!(fleet.ledger().of(Kind::KeyRefused).len(), 1, "a wrong key was tried again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_was_killed_reports_every_device_once_it_is_resumed() {
    let (fleet, stage) = set("provision-killed", 6).await;
    let mut child = stage.start(&["run", "provision-and-report", "-i", "provisioning_id=1"]);
    let ledger = fleet.ledger();
    let begun = ledger.until(|entries| entries.iter().filter(|one| one.kind == Kind::FaceWrite).count() >= 2);
    tokio::time::timeout(std::time::Duration::from_secs(60), begun).await.unwrap();
    child.kill().await.unwrap();
    let said = stage.bascule(&["resume", "--json"]).await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert_eq!(told(&fleet).len(), 6);
    assert!((0..6).all(|terminal| has_face(&fleet, terminal)));
    assert!(told(&fleet).iter().all(|line| line.ends_with("SUCCESS")), "{:#?}", told(&fleet));
}

/// Runs one call of `web/..` on the connection `backend`.
async fn web(stage: &Stage, function: &str, with: &str) -> Value {
    stage.workflow(
        "one",
        &format!("name: One\nsteps:\n  - id: it\n    uses: web/{function}\n    with: {{ server: backend{with} }}\noutput: ${{{{ steps.it.output }}}}\n"),
    );
    stage.bascule(&["run", "one", "--json"]).await.result()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_service_can_be_asked_and_its_refusals_have_kinds() {
    let (fleet, stage) = set("web", 1).await;
    let answer = web(&stage, "requests.get", ", path: /provisioning/1/status").await["output"].clone();
    assert_eq!(
        (&answer["status"], &answer["json"]["status"], &answer["text"]),
        (&json!(200), &json!("PENDING"), &json!(""))
    );
    assert!(answer["headers"]["content-type"].as_str().unwrap().starts_with("application/json"));

    let missing = web(&stage, "requests.get", ", path: /provisioning/9/status").await["error"].clone();
    assert_eq!((&missing["kind"], &missing["code"]), (&json!("not-found"), &json!("web:http-404")));
    assert!(missing["message"].as_str().unwrap().contains("no provisioning 9"), "{missing:#}");
    let expected =
        web(&stage, "requests.get", ", path: /provisioning/9/status, expect: [2xx, \"404\"]").await;
    assert_eq!(expected["output"]["status"], 404);
    let conflict = web(
        &stage,
        "requests.post",
        ", path: /provisioning/1/device-result, json: { deviceId: terminal-01, status: SUCCESS }",
    )
    .await;
    assert_eq!(conflict["error"]["kind"], "conflict", "{conflict:#}");
    let text = web(&stage, "requests.send", ", method: post, path: /provisioning/1/logs, text: hello").await;
    assert_eq!(
        (&text["error"]["kind"], &text["error"]["details"]["httpStatus"]),
        (&json!("unsupported"), &json!(415))
    );
    let elsewhere = web(&stage, "requests.get", ", path: \"/../admin\"").await;
    assert_eq!(elsewhere["error"]["kind"], "refused", "{elsewhere:#}");
    let signed =
        web(&stage, "requests.get", ", path: /provisioning/1/status, headers: { Authorization: mine }").await;
    assert_eq!(signed["error"]["kind"], "refused", "{signed:#}");

    let stored =
        web(&stage, "files.download", ", path: /photos/1.jpg, folder: photos, name: p.jpg").await["output"]
            .clone();
    let photo = fleet.people().complete().unwrap().photo.clone().unwrap();
    assert_eq!(stored["bytes"], photo.len());
    assert_eq!(std::fs::read(stage.folder.join("photos/p.jpg")).unwrap(), photo);
    let gone = web(&stage, "files.download", ", path: /photos/2.jpg, folder: photos, name: q.jpg").await;
    assert_eq!(gone["error"]["kind"], "not-found");
    assert!(!stage.folder.join("photos/q.jpg").exists());
    // The backend takes no files, which is what is wanted here: the whole body reached it and its refusal is read.
    let sent = web(
        &stage,
        "files.upload",
        ", folder: photos, name: p.jpg, path: /provisioning/1/logs, content-type: image/jpeg",
    )
    .await;
    assert!(sent["error"]["message"].as_str().unwrap().contains("`image/jpeg` is not JSON"), "{sent:#}");
}
