use anyhow::{Context as _, Result};
use bascule_sim::{APP_KEY, Fleet, Kind, Scenario};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{Said, fleet};

/// Asks with a signature over method, Accept, Content-Type and path only, which live platforms accept (facts A1). `blank`
/// lays it out as the Alibaba gateway does.
async fn ask_as(fleet: &Fleet, secret: &str, blank: bool, path: &str, body: Value) -> Result<Said> {
    let path = format!("/artemis/api/{path}");
    let gap = if blank { "\n" } else { "" };
    let text = format!("POST\n*/*\n{gap}application/json\n{gap}{path}");
    let request = reqwest::Client::new()
        .post(format!("{}{path}", fleet.hikcentral_url()))
        .header("accept", "*/*")
        .header("content-type", "application/json")
        .header("x-ca-key", APP_KEY)
        .header("x-ca-signature", signature(secret, &text)?)
        .body(body.to_string());
    Said::from(request.send().await?).await
}

async fn ask(fleet: &Fleet, path: &str, body: Value) -> Result<Value> {
    ask_as(fleet, bascule_sim::APP_SECRET, false, path, body).await?.json()
}

/// By a crate of its own, not by the simulator's code.
fn signature(secret: &str, text: &str) -> Result<String> {
    use hmac::{Hmac, KeyInit as _, Mac as _};
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes())?;
    mac.update(text.as_bytes());
    Ok(STANDARD.encode(mac.finalize().into_bytes()))
}

#[tokio::test]
async fn a_signature_is_judged_by_what_was_received_and_the_answer_leaks_the_key() -> Result<()> {
    let fleet = fleet(0, Scenario::Empty).await?;
    let version = "common/v1/version";
    let good = ask(&fleet, version, json!({})).await?;
    assert_eq!(good["data"]["produceName"], "HikCentral Professional");
    assert_eq!((&good["code"], &good["msg"]), (&json!("0"), &json!("Success")));

    fleet.hikcentral().change(|quirks| {
        quirks.gateway_status = 401;
        quirks.errors_as_xml = true;
    });
    let bad = ask_as(&fleet, "another", false, version, json!({})).await?;
    assert_eq!((bad.status, bad.header("content-type")), (401, "application/xml"));
    let message = bad.json()?["msg"].as_str().context("no msg")?.to_owned();
    assert!(
        message.contains("StringToSign: POST\n*/*\napplication/json\n/artemis/api/common/v1/version"),
        "{message}"
    );
    assert!(message.ends_with(&format!("appKey : {APP_KEY}")), "{message}");
    let nobody = reqwest::Client::new().post(format!("{}/artemis/api/{version}", fleet.hikcentral_url()));
    assert_eq!(Said::from(nobody.send().await?).await?.json()?["code"], "0x02401000");
    assert_eq!(fleet.ledger().of(Kind::KeyRefused).len(), 2);

    // The other layout, where it is switched on, and only there.
    let aliyun =
        |fleet| async move { ask_as(fleet, bascule_sim::APP_SECRET, true, version, json!({})).await?.json() };
    assert_eq!(aliyun(&fleet).await?["code"], "0x02401003");
    fleet.hikcentral().change(|quirks| quirks.alibaba_layout = true);
    assert_eq!(aliyun(&fleet).await?["code"], "0");
    // A window refuses what has no timestamp.
    fleet.hikcentral().change(|quirks| quirks.timestamp_window_s = 900);
    assert_eq!(aliyun(&fleet).await?["code"], "0x02401003");
    Ok(())
}

#[tokio::test]
async fn checks_come_in_the_order_of_3_1_1() -> Result<()> {
    let fleet = fleet(0, Scenario::Empty).await?;
    let unknown = ask(&fleet, "resource/v2/person/personList", json!({})).await?;
    assert_eq!((&unknown["code"], unknown.get("data")), (&json!("8"), None));
    fleet.hikcentral().change(|quirks| quirks.forbidden = vec!["resource/v1/person/personList".to_owned()]);
    let list = "resource/v1/person/personList";
    assert_eq!(ask(&fleet, list, json!({ "pageNo": 1, "pageSize": 501 })).await?["code"], "2");
    assert_eq!(ask(&fleet, list, json!({ "pageNo": 1, "pageSize": 5 })).await?["code"], "17");
    fleet.hikcentral().change(|quirks| quirks.forbidden.clear());
    let empty = ask(&fleet, list, json!({ "pageNo": 1, "pageSize": 5 })).await?;
    assert_eq!(empty["data"], json!({ "total": 0, "pageNo": 1, "pageSize": 5 }));
    Ok(())
}

#[tokio::test]
async fn an_update_clears_what_it_leaves_out_and_person_photo_is_ignored() -> Result<()> {
    let fleet = fleet(0, Scenario::Empty).await?;
    let jpeg = STANDARD.encode([0xFF, 0xD8, 0xFF, 0xD9]);
    let name = json!({ "personGivenName": "Ana", "personFamilyName": "Exemplu", "orgIndexCode": "1" });
    let with = |more: Value| {
        let mut body = name.clone();
        if let (Some(body), Some(more)) = (body.as_object_mut(), more.as_object()) {
            body.extend(more.clone());
        }
        body
    };
    let add = with(json!({ "personCode": "V1", "remark": "vip" }));
    let id = ask(&fleet, "resource/v1/person/single/add", add.clone()).await?["data"].clone();
    assert_eq!(id, json!("1150"));
    assert_eq!(ask(&fleet, "resource/v1/person/single/add", add).await?["code"], "131");
    let update = with(json!({ "personId": id, "personPhoto": { "picData": jpeg } }));
    assert_eq!(ask(&fleet, "resource/v1/person/single/update", update).await?["code"], "0");
    let info =
        ask(&fleet, "resource/v1/person/personId/personInfo", json!({ "personId": id })).await?["data"]
            .clone();
    assert_eq!((&info["remark"], &info["personPhoto"]["picUri"]), (&json!(""), &json!("")));
    let face = json!({ "personId": id, "faceData": jpeg });
    assert_eq!(ask(&fleet, "resource/v1/person/face/update", face).await?["data"], "");
    let person = fleet.hikcentral().person_by_code("V1").context("nobody")?;
    assert_eq!(person.face.as_deref(), Some(&[0xFF, 0xD8, 0xFF, 0xD9][..]));
    let written: Vec<bool> = fleet
        .ledger()
        .of(Kind::FaceWrite)
        .iter()
        .filter_map(|entry| entry.face.as_ref().map(|face| face.stored))
        .collect();
    assert_eq!(written, [false, true]);
    Ok(())
}

#[tokio::test]
async fn subscribers_get_their_events_and_the_control_port_shows_and_switches() -> Result<()> {
    let fleet = fleet(0, Scenario::Empty).await?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = format!("http://{}/hook", listener.local_addr()?);
    let subscription = json!({ "eventTypes": [196_893], "eventDest": address });
    assert_eq!(
        ask(&fleet, "eventService/v1/eventSubscriptionByEventTypes", subscription).await?["code"],
        "0"
    );
    let subscriber = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await?;
        let (mut text, mut piece) = (String::new(), [0_u8; 4_096]);
        while !text.ends_with("}]}}") {
            let length = stream.read(&mut piece).await?;
            anyhow::ensure!(length > 0, "cut off after {text}");
            text.push_str(&String::from_utf8_lossy(&piece[..length]));
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await?;
        Ok(text)
    });
    assert_eq!(fleet.hikcentral().push(131_331, json!({})).await, 0);
    assert_eq!(fleet.hikcentral().push(196_893, json!({ "ExtEventPersonNo": "7" })).await, 1);
    let text = subscriber.await??;
    assert!(
        text.starts_with("POST /hook HTTP/1.1\r\n") && text.contains(r#""method":"OnEventNotify""#),
        "{text}"
    );

    let control = format!("{}/hikcentral", fleet.control_url());
    let client = reqwest::Client::new();
    let change = client.put(format!("{control}/quirks")).body(r#"{"full_database":"writes"}"#);
    assert_eq!(change.send().await?.status(), 200);
    let wrong = client.put(format!("{control}/quirks")).body(r#"{"full_database":"a bit"}"#);
    assert_eq!(wrong.send().await?.status(), 400);
    let add = json!({ "personGivenName": "A", "personFamilyName": "B", "orgIndexCode": "1" });
    assert_eq!(ask(&fleet, "resource/v1/person/single/add", add).await?["code"], "5");
    let state: Value = serde_json::from_slice(&client.get(control).send().await?.bytes().await?)?;
    assert_eq!((&state["persons"], &state["groups"][0]["name"]), (&json!([]), &json!("All doors")));
    assert_eq!(fleet.ready()["hikcentral"]["app_key"], APP_KEY);
    Ok(())
}
