//! Requirement R1 end to end, crashes included.

use std::collections::BTreeMap;

use bascule_sim::{Fleet, Kind, Scenario};
use serde_json::Value;

use crate::stage::{Stage, complete, fleet};

/// Terminal id -> status, from `per_device`.
fn table(output: &Value) -> BTreeMap<String, String> {
    let rows = output["per_device"].as_array().unwrap();
    rows.iter()
        .map(|row| (row["key"].as_str().unwrap().to_owned(), row["status"].as_str().unwrap().to_owned()))
        .collect()
}

/// What each terminal must come to in the scenario `demo`.
fn expected(fleet: &Fleet) -> BTreeMap<String, String> {
    fleet
        .terminals()
        .iter()
        .zip(fleet.roles())
        .map(|(terminal, role)| {
            let status = match role.as_str() {
                "fine" => "succeeded",
                "bare" | "no-modify" => "recovered",
                _ => "failed",
            };
            (terminal.id().to_owned(), status.to_owned())
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_new_photo_reaches_every_terminal_that_can_take_it() {
    let fleet = fleet(Scenario::Demo, 12).await;
    let stage = Stage::set("photo", &fleet).await;
    let said = stage.bascule(&["run", "update-face-photo", "--json", "-i", &complete(&fleet)]).await;
    let result = said.result();
    assert_eq!(said.code, 1, "{}", said.err);
    assert_eq!(result["status"], "failed");
    assert_eq!(table(&result["output"]), expected(&fleet), "{result:#}");

    let person = fleet.people().complete().unwrap();
    for (terminal, role) in fleet.terminals().iter().zip(fleet.roles()) {
        let stored = terminal.face(person.employee_no.as_ref().unwrap());
        let row = result["output"]["per_device"]
            .as_array()
            .unwrap()
            .iter()
            .find(|row| row["key"] == terminal.id())
            .unwrap();
        match role.as_str() {
            "fine" | "bare" | "no-modify" => {
                assert_eq!(
                    stored.unwrap().picture.as_ref(),
                    person.photo.as_ref().unwrap().as_ref(),
                    "{role}"
                );
            }
            "lying" => {
                assert_eq!(row["error"]["kind"], "verification-failed");
                assert!(stored.is_none());
            }
            "offline" => assert_eq!(row["error"]["kind"], "offline"),
            "locked" => {
                assert_eq!(row["error"]["kind"], "locked-out");
                let message = row["error"]["message"].as_str().unwrap();
                assert!(message.contains("locked for "), "{message}");
            }
            other => panic!("what is {other}?"),
        }
    }
    assert!(fleet.ledger().of(Kind::BasicSent).is_empty());
    assert!(fleet.ledger().of(Kind::LoginFailed).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sibling_workflow_sends_the_bytes_instead() {
    let fleet = fleet(Scenario::Demo, 8).await;
    let stage = Stage::set("photo-upload", &fleet).await;
    let said = stage.bascule(&["run", "update-face-photo-upload", "--json", "-i", &complete(&fleet)]).await;
    let result = said.result();
    assert_eq!(table(&result["output"]), expected(&fleet), "{result:#}");
    let writes = fleet.ledger().of(Kind::FaceWrite);
    assert!(!writes.is_empty());
    assert!(
        writes.iter().all(|entry| entry.face.as_ref().is_some_and(|face| face.source.is_none())),
        "{writes:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_employee_without_photo_or_number_is_skipped_with_a_reason() {
    let fleet = fleet(Scenario::Demo, 3).await;
    let stage = Stage::set("photo-skip", &fleet).await;
    let people = [
        (fleet.people().without_photo().unwrap(), "no photo"),
        (fleet.people().without_number().unwrap(), "no employee number"),
        (fleet.people().without_biometrics().unwrap(), "no employee number"),
    ];
    for (person, reason) in people {
        let input = format!("employee_id={}", person.id);
        let said = stage.bascule(&["run", "update-face-photo", "--json", "-i", &input]).await;
        assert_eq!(said.code, 0, "{}{}", said.out, said.err);
        let output = said.result()["output"].clone();
        assert_eq!(output["summary"]["skipped"], 3);
        assert!(output["per_device"][0]["reason"].as_str().unwrap().contains(reason), "{output}");
        assert_eq!(output["summary"]["failed"], 0);
    }
    assert!(fleet.ledger().of(Kind::FaceWrite).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relative_photo_address_is_completed() {
    let fleet = fleet(Scenario::Calm, 2).await;
    let stage = Stage::set("photo-relative", &fleet).await;
    let input = format!("employee_id={}", fleet.people().relative_photo().unwrap().id);
    let said = stage.bascule(&["run", "update-face-photo", "--json", "-i", &input]).await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert_eq!(said.result()["output"]["summary"]["succeeded"], 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leading_zeros_of_an_employee_number_survive() {
    let fleet = fleet(Scenario::Calm, 1).await;
    let stage = Stage::set("photo-zeros", &fleet).await;
    let person = fleet.people().leading_zeros().unwrap();
    let input = format!("employee_id={}", person.id);
    let said = stage.bascule(&["run", "update-face-photo", "--json", "-i", &input]).await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    let number = person.employee_no.as_ref().unwrap();
    assert!(number.starts_with('0'));
    assert_eq!(fleet.ledger().face_writes(fleet.terminal(0).id(), number).len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_was_killed_goes_on_where_it_stopped() {
    let fleet = fleet(Scenario::Demo, 12).await;
    let stage = Stage::set("photo-killed", &fleet).await;
    let input = complete(&fleet);
    let mut child = stage.start(&["run", "update-face-photo", "-i", &input]);
    fleet
        .ledger()
        .until(|entries| entries.iter().filter(|entry| entry.kind == Kind::FaceWrite).count() >= 3)
        .await;
    child.kill().await.unwrap();

    let before = stage.bascule(&["runs", "show", "last", "--json"]).await.json();
    assert_eq!(before["header"]["status"], "running");
    let photo = before["steps"].as_array().unwrap().iter().find(|step| step["id"] == "photo").unwrap();
    let ended: Vec<&str> = photo["inner"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|item| item["status"].is_string())
        .map(|item| item["key"].as_str().unwrap())
        .collect();
    let person = fleet.people().complete().unwrap().employee_no.clone().unwrap();
    let writes = |fleet: &Fleet| -> BTreeMap<String, usize> {
        ended.iter().map(|id| ((*id).to_owned(), fleet.ledger().face_writes(id, &person).len())).collect()
    };
    let at_kill = writes(&fleet);

    let said = stage.bascule(&["resume", "--json"]).await;
    let result = said.result();
    assert_eq!(said.code, 1, "{}", said.err);
    assert_eq!(table(&result["output"]), expected(&fleet), "{result:#}");
    assert_eq!(writes(&fleet), at_kill, "a finished write was repeated");

    let again = stage.bascule(&["resume"]).await;
    assert_eq!((again.code, again.out.trim()), (0, "no run was cut off"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_tried_at_most_twice_across_runs_and_restarts() {
    let fleet = fleet(Scenario::Calm, 3).await;
    let stage = Stage::set("wrong-password", &fleet).await;
    stage.secret("terminal-password", "Not-the-password-9!").await;
    let input = complete(&fleet);
    for _ in 0..4 {
        let said = stage.bascule(&["run", "update-face-photo", "--json", "-i", &input]).await;
        assert_eq!(said.code, 1);
    }
    for terminal in fleet.terminals() {
        let failed = terminal.failed_logins();
        assert!((1..=2).contains(&failed), "{}: {failed} failed logins", terminal.id());
    }
    let last = stage.bascule(&["run", "update-face-photo", "--json", "-i", &input]).await.result();
    assert_eq!(last["output"]["per_device"][0]["error"]["kind"], "locked-out", "{last:#}");

    // The right password starts the count again.
    stage.secret("terminal-password", bascule_sim::PASSWORD).await;
    let said = stage.bascule(&["run", "update-face-photo", "--json", "-i", &input]).await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_bad_habit_of_terminals_is_survived_or_said() {
    let fleet = fleet(Scenario::Quirks, 31).await;
    let stage = Stage::set("quirks", &fleet).await;
    let said = stage.bascule(&["run", "update-face-photo", "--json", "-i", &complete(&fleet)]).await;
    let output = said.result()["output"].clone();
    let person = fleet.people().complete().unwrap();
    let number = person.employee_no.as_ref().unwrap();
    for (terminal, role) in fleet.terminals().iter().zip(fleet.roles()) {
        let rows = output["per_device"].as_array().unwrap();
        let row = rows.iter().find(|row| row["key"] == terminal.id()).unwrap_or_else(|| panic!("{output:#}"));
        let stored = terminal.face(number).is_some_and(|face| Some(&face.picture) == person.photo.as_ref());
        let fine = matches!(row["status"].as_str().unwrap(), "succeeded" | "recovered");
        // Never a false success; a failure says what it is.
        assert!(!fine || stored, "{role}: {row:#}");
        assert!(
            fine || row["error"]["message"].as_str().is_some_and(|message| !message.is_empty()),
            "{role}: {row:#}"
        );
    }
}
