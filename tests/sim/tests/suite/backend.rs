use anyhow::Result;
use bascule_sim::{BACKEND_KEY, Fleet, Kind, Scenario};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{Said, fleet};

async fn ask(fleet: &Fleet, method: Method, path: &str, body: Option<Value>) -> Result<Said> {
    let mut request = reqwest::Client::new()
        .request(method, format!("{}{path}", fleet.backend_url()))
        .header("authorization", format!("Bearer {BACKEND_KEY}"));
    if let Some(body) = body {
        request = request.header("content-type", "application/json").body(body.to_string());
    }
    Said::from(request.send().await?).await
}

#[tokio::test]
async fn a_job_is_started_reported_and_done() -> Result<()> {
    let fleet = fleet(2, Scenario::Calm).await?;
    let early = json!({ "deviceId": "terminal-01", "status": "SUCCESS" });
    assert_eq!(
        ask(&fleet, Method::POST, "/provisioning/1/device-result", Some(early.clone())).await?.status,
        409
    );
    let job = ask(&fleet, Method::POST, "/provisioning/1/start", Some(json!({}))).await?.json()?;
    assert_eq!(job["devices"].as_array().map(Vec::len), Some(2));
    let photo = ask(&fleet, Method::GET, job["student"]["photo"].as_str().unwrap_or_default(), None).await?;
    assert!(photo.body.starts_with(&[0xFF, 0xD8]));
    for (result, status) in [
        (early, 201),
        (json!({ "deviceId": "terminal-02", "status": "FAILED" }), 422),
        (json!({ "deviceId": "terminal-02", "status": "SUCCESS", "error": "but" }), 422),
        (json!({ "deviceId": "terminal-02", "status": "MAYBE" }), 422),
        (json!({ "deviceId": "terminal-99", "status": "SUCCESS" }), 422),
        (json!({ "deviceId": "terminal-02", "status": "SUCCESS", "extra": 1 }), 400),
        (json!({ "deviceId": "terminal-02", "status": "FAILED", "error": "away" }), 201),
    ] {
        let said = ask(&fleet, Method::POST, "/provisioning/1/device-result", Some(result.clone())).await?;
        assert_eq!(said.status, status, "{result}: {}", said.text());
    }
    let state = ask(&fleet, Method::GET, "/provisioning/1/status", None).await?.json()?;
    assert_eq!((&state["status"], &state["results"][1]["error"]), (&json!("DONE"), &json!("away")));
    Ok(())
}

#[tokio::test]
async fn without_the_key_nothing_is_told_and_what_is_forgotten_is_not_there() -> Result<()> {
    let fleet = fleet(1, Scenario::Calm).await?;
    let plain = reqwest::get(format!("{}/provisioning/1/status", fleet.backend_url())).await?;
    assert_eq!(plain.status(), 401);
    assert_eq!(fleet.ledger().of(Kind::KeyRefused).len(), 1);
    fleet.backend().change(|habits| habits.forgets_results = 1);
    ask(&fleet, Method::POST, "/provisioning/1/start", Some(json!({}))).await?;
    let result = json!({ "deviceId": "terminal-01", "status": "SUCCESS" });
    for kept in [0, 1] {
        let said = ask(&fleet, Method::POST, "/provisioning/1/device-result", Some(result.clone())).await?;
        assert_eq!((said.status, fleet.backend().results("1").len()), (201, kept));
    }
    Ok(())
}
