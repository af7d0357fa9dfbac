//! Secrets, connection tests and pins of a running site: another password comes into use without a restart.

use bascule_sim::{Fleet, FleetOptions, Kind, PASSWORD, Scenario};
use reqwest::Method;
use serde_json::{Value, json};

use crate::served::{Served, body};
use crate::stage::{Stage, fleet};

const WRONG: &str = "not-the-password-of-this-one";

fn device(fleet: &Fleet) -> String {
    format!(r#"device={{"ip":"127.0.0.1","port":{}}}"#, fleet.terminal(0).port())
}

/// How the only terminal is, as the API shows it.
async fn health(server: &Served) -> Value {
    let connections = server.get("/api/v1/connections").await;
    let terminal = connections.as_array().unwrap().iter().find(|one| one["name"] == "terminal").cloned();
    terminal.unwrap()["health"][0].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_password_is_used_at_once_and_the_lock_out_guard_begins_anew() {
    let fleet = fleet(Scenario::Calm, 1).await;
    let stage = Stage::set("rotate", &fleet).await;
    stage.secret("terminal-password", WRONG).await;
    let server = Served::start(&stage).await;
    assert_eq!(health(&server).await, Value::Null, "nobody has asked it yet");
    let device = device(&fleet);
    let test = ["connection", "test", "terminal", "--param", &device];
    for expected in ["unauthorized", "unauthorized", "locked-out"] {
        let said = stage.bascule(&test).await;
        assert_eq!(said.code, 1, "{}{}", said.out, said.err);
        assert!(said.out.contains(expected), "{expected}: {}", said.out);
    }
    let seen = health(&server).await;
    assert_eq!(seen["answering"], false, "{seen:#}");
    assert_eq!((&seen["failed_in_a_row"], &seen["last_failure"]), (&json!(3), &json!("locked-out")));
    let failed = fleet.ledger().of(Kind::LoginFailed).len();
    assert_eq!(failed, 2, "the guard sends no third one");

    // Through the server, since it owns the data folder.
    stage.secret("terminal-password", PASSWORD).await;
    let said = stage.bascule(&test).await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert!(said.out.contains("answered 200") && said.out.contains("digest"), "{}", said.out);
    assert_eq!(fleet.ledger().of(Kind::LoginFailed).len(), failed);
    let seen = health(&server).await;
    assert_eq!((&seen["answering"], &seen["answered"]), (&json!(true), &json!(1)), "{seen:#}");
    let metrics = server.text("/metrics").await;
    assert!(metrics.contains("bascule_connection_answering{connection=\"terminal\","), "{metrics}");
    // And back: what failed before stays closed, what is new is tried.
    stage.secret("terminal-password", WRONG).await;
    let said = stage.bascule(&test).await;
    assert!(said.out.contains("locked-out"), "the wrong one is remembered: {}", said.out);
    assert_eq!(fleet.ledger().of(Kind::LoginFailed).len(), failed);

    let list = stage.bascule(&["secret", "list", "--json"]).await.json();
    let names: Vec<&str> = list.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["supabase-key", "terminal-password"]);
    assert_eq!(stage.bascule(&["secret", "remove", "terminal-password"]).await.code, 0);
    assert_eq!(stage.bascule(&["secret", "remove", "terminal-password"]).await.code, 6);
    let said = stage.bascule(&test).await;
    assert!(said.out.contains("bascule secret set terminal-password"), "{}", said.out);
    let log = server.stop().await;
    assert!(!log.contains(WRONG) && !log.contains(PASSWORD), "{log}");
    assert!(log.contains("a secret was set") && log.contains("a secret was removed"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_is_taken_from_an_admin_on_this_computer_and_never_shown() {
    let fleet = fleet(Scenario::Calm, 1).await;
    let stage = Stage::set("rotate-refused", &fleet).await;
    let server = Served::start(&stage).await;
    let path = "/api/v1/secrets/another";
    let put = |role: &str, text: &str| {
        let request = server.api(Method::PUT, path, role).header("content-type", "application/json");
        request.body(text.to_owned())
    };
    let value = json!({ "value": WRONG }).to_string();
    for role in ["viewer", "operator"] {
        assert_eq!(put(role, &value).send().await.unwrap().status(), 403, "{role}");
        let list = server.api(Method::GET, "/api/v1/secrets", role).send().await.unwrap();
        assert_eq!(list.status(), 403, "{role}");
    }
    let forwarded = put("admin", &value).header("x-forwarded-for", "192.0.2.7").send().await.unwrap();
    assert_eq!(forwarded.status(), 403);
    assert_eq!(body(forwarded).await["error"]["code"], "not-from-here");
    // What is refused is not shown, not even to whoever sent it.
    for unfit in
        [json!({ "value": [WRONG] }), json!({ "value": WRONG, "expires": WRONG }), json!({ "value": "" })]
    {
        let refused = put("admin", &unfit.to_string()).send().await.unwrap();
        assert_eq!(refused.status(), 422);
        let answer = body(refused).await.to_string();
        assert!(!answer.contains(WRONG), "{answer}");
    }
    let expiring = json!({ "value": WRONG, "expires": "2031-01-01T00:00:00Z" }).to_string();
    assert_eq!(put("admin", &expiring).send().await.unwrap().status(), 204);
    let list = server.api(Method::GET, "/api/v1/secrets", "admin").send().await.unwrap();
    let list = body(list).await;
    assert_eq!(list[0]["name"], "another", "{list:#}");
    assert_eq!(list[0]["expires"], "2031-01-01T00:00:00Z");
    assert!(!list.to_string().contains(WRONG));
    let log = server.stop().await;
    assert!(!log.contains(WRONG), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_pinned_beside_a_running_server_which_then_believes_it() {
    let options =
        FleetOptions { terminals: 1, scenario: Scenario::Calm, tls: true, ..FleetOptions::default() };
    let fleet = Fleet::start(options).await.unwrap();
    let stage = Stage::set("rotate-pin", &fleet).await;
    let server = Served::start(&stage).await;
    let device = device(&fleet);
    let test = ["connection", "test", "terminal", "--param", &device];
    assert_eq!(stage.bascule(&test).await.code, 1);
    let ready = fleet.ready();
    let fingerprint = ready["terminals"]["fingerprint"].as_str().unwrap();
    let pin = ["connection", "pin", "terminal", "--param", &device];
    let said = stage.bascule(&pin).await;
    assert_eq!(said.code, 2, "nobody confirms: {}", said.err);
    let wrong = "0".repeat(64);
    let said = stage.bascule(&[&pin[..], &["--expect", &wrong]].concat()).await;
    assert_eq!(said.code, 1, "{}{}", said.out, said.err);
    assert_eq!(stage.bascule(&test).await.code, 1, "nothing was pinned");
    let said = stage.bascule(&[&pin[..], &["--expect", fingerprint]].concat()).await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    let said = stage.bascule(&test).await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert!(said.out.contains(fingerprint), "{}", said.out);
    server.stop().await;
}
