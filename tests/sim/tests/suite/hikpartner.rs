use anyhow::{Context as _, Result};
use bascule_sim::{Fleet, Kind, PARTNER_KEY, PARTNER_SECRET, Scenario};
use futures_util::future::{Either, select};
use serde_json::{Value, json};

use crate::{Said, fleet};

async fn post(url: String, token: Option<&str>, body: &Value) -> Result<Said> {
    let mut request = reqwest::Client::new().post(url).header("content-type", "application/json");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    Said::from(request.body(body.to_string()).send().await?).await
}

async fn token_as(fleet: &Fleet, key: &str, secret: &str) -> Result<Value> {
    let url = format!("{}/api/hpcgw/v1/token/get", fleet.hikpartner_url());
    post(url, None, &json!({ "appKey": key, "secretKey": secret })).await?.json()
}

async fn token(fleet: &Fleet) -> Result<String> {
    let given = token_as(fleet, PARTNER_KEY, PARTNER_SECRET).await?;
    Ok(given["data"]["accessToken"].as_str().context("no token")?.to_owned())
}

/// A call at the area with that token.
async fn ask_with(fleet: &Fleet, token: &str, path: &str, body: Value) -> Result<Value> {
    post(format!("{}/api/hpcgw/{path}", fleet.hikpartner().area_url()), Some(token), &body).await?.json()
}

async fn ask(fleet: &Fleet, path: &str, body: Value) -> Result<Value> {
    ask_with(fleet, &token(fleet).await?, path, body).await
}

fn ana() -> Value {
    json!({ "employeeNo": "G1001", "type": 0, "familyName": "Exemplu", "givenName": "Ana", "cardNo": "998877" })
}

#[tokio::test]
async fn tokens_come_from_the_front_door_and_are_good_at_the_area_until_their_end() -> Result<()> {
    let fleet = fleet(0, Scenario::Empty).await?;
    assert_eq!(token_as(&fleet, "nobody", PARTNER_SECRET).await?["errorCode"], "LAP300001");
    assert_eq!(token_as(&fleet, PARTNER_KEY, "wrong").await?["errorCode"], "LAP300002");
    let given = token_as(&fleet, PARTNER_KEY, PARTNER_SECRET).await?;
    assert_eq!(given["data"]["areaDomain"], fleet.hikpartner().area_url());
    let week = 7 * 86_400_000_i64;
    let left =
        given["data"]["expireTime"].as_i64().context("no end")? - jiff::Timestamp::now().as_millisecond();
    assert!((week - 60_000..=week).contains(&left), "{left}");

    let token = token(&fleet).await?;
    let search = "v1/site/search";
    assert_eq!(
        ask_with(&fleet, &token, search, json!({})).await?["data"]["rows"][0]["siteName"],
        "Gym North"
    );
    // The wrong host is a page with 404, both ways round.
    let wrong =
        post(format!("{}/api/hpcgw/{search}", fleet.hikpartner_url()), Some(&token), &json!({})).await?;
    assert_eq!(wrong.status, 404);
    let wrong =
        post(format!("{}/api/hpcgw/v1/token/get", fleet.hikpartner().area_url()), None, &json!({})).await?;
    assert_eq!(wrong.status, 404);

    let refused = |code: &str, answer: Value| assert_eq!(answer["errorCode"], code, "{answer}");
    refused("LAP500005", ask_with(&fleet, "hpc.made-up", search, json!({})).await?);
    refused("LAP500003", ask_with(&fleet, "made-up", search, json!({})).await?);
    fleet.hikpartner().revoke_tokens();
    refused("LAP500004", ask_with(&fleet, &token, search, json!({})).await?);
    fleet.hikpartner().change(|quirks| quirks.token_life_s = 0);
    refused("LAP500004", ask(&fleet, search, json!({})).await?);
    assert_eq!(fleet.ledger().of(Kind::TokenRefused).len(), 4);
    assert_eq!(fleet.ledger().of(Kind::KeyRefused).len(), 2);
    Ok(())
}

#[tokio::test]
async fn sites_and_devices_are_added_without_an_id_and_with_reasons() -> Result<()> {
    let fleet = fleet(0, Scenario::Empty).await?;
    let site = json!({ "siteName": "Gym South", "timeZone": 136 });
    assert_eq!(ask(&fleet, "v1/site/add", site.clone()).await?, json!({ "errorCode": "0" }));
    assert_eq!(ask(&fleet, "v1/site/add", site).await?["errorCode"], "LAP008000");
    let found = ask(&fleet, "v1/site/search", json!({ "search": "south" })).await?;
    let id = found["data"]["rows"][0]["id"].as_str().context("no id")?.to_owned();
    let add = async |serial: &str, code: &str| {
        let body = json!({ "siteId": id, "deviceList": [{ "deviceSerial": serial, "validateCode": code }] });
        ask(&fleet, "v2/device/add", body).await
    };
    for (serial, code, reason) in [
        ("G10000003", "WRONG1", "add Exception{EVZ20010}"),
        ("G99999999", "ABCDEF", "add Exception{EVZ20002}"),
        ("G10000001", "ABCDEF", "add Exception{EVZ20017}"),
    ] {
        let answer = add(serial, code).await?;
        assert_eq!(answer["errorCode"], "0");
        assert_eq!(answer["data"]["addFailedList"][0]["failReason"], reason);
    }
    assert_eq!(add("G10000003", "ABCDEF").await?["data"]["addSuccessList"][0]["deviceSerial"], "G10000003");
    let list = ask(&fleet, "v1/device/list", json!({ "siteId": id })).await?;
    assert_eq!(
        (&list["data"]["total"], &list["data"]["rows"][0]["deviceOnlineStatus"]),
        (&json!(1), &json!(1))
    );
    let gone = ask(&fleet, &format!("v1/site/{id}/delete"), json!({})).await?;
    assert_eq!(gone["errorCode"], "0");
    assert_eq!(fleet.hikpartner().devices().len(), 2, "its devices went with it");
    Ok(())
}

#[tokio::test]
async fn a_privilege_is_applied_afterwards_and_a_deleted_person_stays_on_the_door() -> Result<()> {
    let fleet = fleet(0, Scenario::Empty).await?;
    let platform = fleet.hikpartner();
    let id =
        ask(&fleet, "v1/person/add", ana()).await?["data"]["personId"].as_str().context("no id")?.to_owned();
    for bad in [
        json!({ "employeeNo": "G-1", "type": 0, "familyName": "E", "givenName": "A" }),
        json!({ "employeeNo": "G2", "type": 7, "familyName": "E", "givenName": "A" }),
        json!({ "employeeNo": "G2", "type": 0, "name": "Ana" }),
    ] {
        assert_eq!(ask(&fleet, "v1/person/add", bad).await?["errorCode"], "LAP000001");
    }
    let mut pictured = ana();
    pictured["facePicture"] = "R0lG".into();
    assert_eq!(ask(&fleet, "v1/person/add", pictured).await?["errorCode"], "LAP031002");

    platform.change(|quirks| {
        quirks.settle_reads = 1;
        quirks.device_errors.insert("G10000002".to_owned(), "0x01400006".to_owned());
    });
    let authorities = json!({ "deviceAuthorities": [
        { "deviceSerial": "G10000001", "personIdList": [id] }, { "deviceSerial": "G10000002", "personIdList": [id] },
    ] });
    assert_eq!(ask(&fleet, "v1/acs/privilege/config", authorities.clone()).await?["errorCode"], "0");
    assert!(platform.on_door("G10000001").is_empty(), "said yes to, not done yet");
    let status = async || -> Result<Value> {
        let told = ask(&fleet, "v1/acs/privilege/status", json!({ "personIdList": [id] })).await?;
        Ok(told["data"]["personAuthorities"][0]["deviceLists"].clone())
    };
    assert_eq!(status().await?[0]["status"], 0);
    let settled = status().await?;
    assert_eq!((&settled[0]["status"], &settled[0]["subStatus"]), (&json!(1), &json!(3)), "person and card");
    assert_eq!((&settled[1]["status"], &settled[1]["error"]), (&json!(2), &json!("0x01400006")));
    assert_eq!(platform.on_door("G10000001"), std::slice::from_ref(&id));

    assert_eq!(ask(&fleet, "v1/person/delete", json!({ "personIds": [id] })).await?["errorCode"], "0");
    assert_eq!(platform.on_door("G10000001"), std::slice::from_ref(&id), "the door was not told");
    assert_eq!(ask(&fleet, "v1/acs/privilege/config", authorities).await?["errorCode"], "LAP000002");
    Ok(())
}

#[tokio::test]
async fn a_batch_comes_again_until_its_offset_and_a_second_reader_is_sent_away() -> Result<()> {
    let fleet = fleet(0, Scenario::Empty).await?;
    let platform = fleet.hikpartner();
    platform.change(|quirks| quirks.hold_ms = 60_000);
    let pass = |number: &str| platform.pass("G10000001", number, 75, "2026-11-21T08:00:00Z");
    pass("G1");
    assert_eq!(platform.waiting_messages(), 0, "nobody subscribed");
    let subscribe = json!({ "subType": 1, "subMode": "list", "deviceSerialList": ["G10000001"] });
    assert_eq!(ask(&fleet, "v1/mq/subscribe", subscribe).await?["errorCode"], "0");

    let token = token(&fleet).await?;
    let poll = async || ask_with(&fleet, &token, "v1/mq/messages", json!({})).await;
    // Two at once: one of them is sent away, the other one waits until something happens.
    let (refused, waiting) = match select(Box::pin(poll()), Box::pin(poll())).await {
        Either::Left(ended) => ended,
        Either::Right(ended) => ended,
    };
    assert_eq!(refused?["errorCode"], "LAP068001");
    pass("G2");
    let first = waiting.await?;
    let list = first["data"]["list"].as_array().context("no list")?;
    let alarm: Value = serde_json::from_str(list[0]["alarmData"].as_str().context("no text")?)?;
    assert_eq!(alarm["AccessControllerEvent"]["employeeNoString"], "G2");
    pass("G3");
    let again = poll().await?;
    assert_eq!(again, first, "the same until it is confirmed");
    let offset = async |id: Value| ask_with(&fleet, &token, "v1/mq/offset", json!({ "batchId": id })).await;
    assert_eq!(offset(json!("another")).await?["errorCode"], "LAP000002");
    assert_eq!(offset(first["data"]["batchId"].clone()).await?["errorCode"], "0");
    let next = poll().await?;
    assert_ne!(next["data"]["batchId"], first["data"]["batchId"]);
    platform.change(|quirks| quirks.hold_ms = 1);
    assert_eq!(offset(next["data"]["batchId"].clone()).await?["errorCode"], "0");
    assert_eq!(poll().await?["data"]["list"], json!([]));
    assert_eq!(fleet.ledger().of(Kind::BatchConfirmed).len(), 2);
    assert_eq!(fleet.ledger().of(Kind::PollRefused).len(), 1);
    Ok(())
}

#[tokio::test]
async fn synchronising_goes_from_the_device_to_the_platform_one_at_a_time() -> Result<()> {
    let fleet = fleet(0, Scenario::Empty).await?;
    let control = format!("{}/hikpartner", fleet.control_url());
    let client = reqwest::Client::new();
    let local: Vec<Value> = (1..=30)
        .map(|number| json!({ "employeeNo": number.to_string(), "type": 0, "familyName": "E", "givenName": "P" }))
        .collect();
    let put = client.put(format!("{control}/devices/G10000001/persons")).body(json!(local).to_string());
    assert_eq!(put.send().await?.status(), 200);
    fleet.hikpartner().change(|quirks| {
        quirks.settle_reads = 1;
        quirks.total_outside_data = true;
    });
    let numbers: Vec<String> = (2..=31).map(|number| number.to_string()).collect();
    let body = json!({ "deviceSerial": "G10000001", "employeeNoList": numbers });
    let started = ask(&fleet, "v1/person/synchronize", body.clone()).await?;
    let task = started["data"]["syncTaskID"].clone();
    assert_eq!(ask(&fleet, "v1/person/synchronize", body).await?["errorCode"], "LAP030069");
    let progress =
        async || ask(&fleet, "v1/person/synchronize/progress", json!({ "syncTaskID": task })).await;
    assert_eq!(progress().await?["data"]["taskStates"], 2);
    let told = progress().await?;
    assert_eq!((&told["data"]["taskStates"], &told["data"]["syncSucceedNum"]), (&json!(1), &json!(29)));
    let page = |number: u32, kind: u8| json!({ "syncTaskID": task, "queryType": kind, "page": number });
    let second = ask(&fleet, "v1/person/synchronize/details", page(2, 1)).await?;
    assert_eq!((second["data"]["rows"].as_array().map(Vec::len), &second["totalPage"]), (Some(9), &json!(2)));
    let failed = ask(&fleet, "v1/person/synchronize/details", page(1, 0)).await?;
    assert_eq!(failed["data"]["rows"][0]["employeeNo"], "31");
    assert_eq!(fleet.hikpartner().persons().len(), 29);

    let shown: Value = client.get(&control).send().await?.text().await?.parse()?;
    assert_eq!(shown["persons"].as_array().map(Vec::len), Some(29));
    let wrong = client.put(format!("{control}/quirks")).body(r#"{"no_such":1}"#).send().await?;
    assert_eq!(wrong.status(), 400);
    let quirks = client.put(format!("{control}/quirks")).body(r#"{"stuck_privileges":true}"#).send().await?;
    assert_eq!(quirks.status(), 200);
    assert!(fleet.hikpartner().quirks().stuck_privileges);
    Ok(())
}
