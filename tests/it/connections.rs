//! `bascule connection`: test, pin, and what happens when a certificate changes.

use bascule_sim::{Fleet, FleetOptions, Scenario};

use crate::stage::{Stage, complete, fleet};

fn device(fleet: &Fleet) -> String {
    format!(r#"device={{"ip":"127.0.0.1","port":{}}}"#, fleet.terminal(0).port())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_is_tested_with_its_credentials() {
    let fleet = fleet(Scenario::Calm, 1).await;
    let stage = Stage::set("connection-test", &fleet).await;
    let said = stage.bascule(&["connection", "test", "terminal", "--param", &device(&fleet)]).await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert!(said.out.contains("answered 200") && said.out.contains("digest"), "{}", said.out);
    let said = stage.bascule(&["connection", "test", "hr"]).await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    let said = stage.bascule(&["connection", "list"]).await;
    assert!(said.out.contains("terminal") && said.out.contains("device"), "{}", said.out);
    fleet.terminal(0).offline().await.unwrap();
    let said = stage.bascule(&["connection", "test", "terminal", "--param", &device(&fleet)]).await;
    assert_eq!(said.code, 1);
    assert!(said.out.contains("offline"), "{}", said.out);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_self_signed_terminal_works_once_it_is_pinned_and_not_after_its_certificate_changed() {
    let options =
        FleetOptions { terminals: 1, scenario: Scenario::Calm, tls: true, ..FleetOptions::default() };
    let fleet = Fleet::start(options).await.unwrap();
    let stage = Stage::set("pin", &fleet).await;
    let input = complete(&fleet);
    let run = ["run", "update-face-photo", "--json", "-i", &input];
    let error = |said: crate::stage::Said| said.result()["output"]["per_device"][0]["error"].clone();

    let before = error(stage.bascule(&run).await);
    assert!(before["message"].as_str().unwrap().contains("bascule connection pin terminal"), "{before:#}");

    let ready = fleet.ready();
    let fingerprint = ready["terminals"]["fingerprint"].as_str().unwrap();
    let pin = ["connection", "pin", "terminal", "--param", &device(&fleet), "--expect"];
    let wrong = "0".repeat(64);
    let said = stage.bascule(&[&pin[..], &[wrong.as_str()]].concat()).await;
    assert_eq!(said.code, 1, "{}", said.err);
    assert!(said.out.contains("nothing was pinned"), "{}", said.out);
    let said = stage.bascule(&[&pin[..], &[fingerprint]].concat()).await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);

    let said = stage.bascule(&run).await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);

    let logins = fleet.terminal(0).requests();
    fleet.terminal(0).renew_certificate().unwrap();
    let after = error(stage.bascule(&run).await);
    assert_eq!(after["kind"], "refused", "{after:#}");
    assert_eq!(fleet.terminal(0).requests(), logins, "something was sent to a stranger");
}
