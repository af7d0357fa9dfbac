use std::time::Duration;

use anyhow::Result;
use bascule_sim::{Drip, Fault, Kind, Length, Mishap, Quirks, Scenario, Terminal};
use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::{ask, fleet, one, plain};

const INFO: &str = "/ISAPI/System/deviceInfo";

/// An order for the next request of any kind.
fn next(mishap: Mishap) -> Fault {
    Fault {
        path: String::new(),
        method: None,
        authorized: false,
        skip: 0,
        times: 1,
        after_effect: false,
        mishap,
    }
}

async fn info(terminal: &Terminal) -> Result<crate::Said> {
    ask(terminal, Method::GET, INFO, None).await
}

#[tokio::test]
async fn every_ordered_mishap_happens_once_and_then_all_is_well() -> Result<()> {
    let fleet = one().await?;
    let terminal = fleet.terminal(0);
    for mishap in [Mishap::Reset, Mishap::Garbage] {
        terminal.fault(next(mishap.clone()));
        assert!(plain(format!("{}{INFO}", terminal.url())).await.is_err(), "{mishap:?}");
    }
    terminal.fault(next(Mishap::Html));
    let html = plain(format!("{}{INFO}", terminal.url())).await?;
    assert!(html.status == 200 && html.text().contains("<html>"));
    let status = Mishap::Status {
        status: 503,
        body: "{}".into(),
        content_type: "application/json".into(),
        headers: vec![],
    };
    terminal.fault(next(status));
    assert_eq!(plain(format!("{}{INFO}", terminal.url())).await?.status, 503);
    let cut = Fault { authorized: true, ..next(Mishap::Cut { after: 20 }) };
    terminal.fault(cut);
    assert!(info(terminal).await.is_err());
    assert_eq!(info(terminal).await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn a_request_can_take_effect_although_its_answer_is_lost() -> Result<()> {
    let fleet = fleet(1, Scenario::Fresh).await?;
    let terminal = fleet.terminal(0);
    let record = json!({ "UserInfo": { "employeeNo": "77", "name": "N", "userType": "normal" } });
    let path = "/ISAPI/AccessControl/UserInfo/Record?format=json";
    terminal.fault(Fault { authorized: true, after_effect: true, ..next(Mishap::Reset) });
    assert!(ask(terminal, Method::POST, path, Some(record.clone())).await.is_err());
    assert_eq!(fleet.ledger().of(Kind::UserWrite).len(), 1);
    let again = ask(terminal, Method::POST, path, Some(record)).await?;
    assert_eq!(again.code()?.1, "employeeNoAlreadyExist");
    Ok(())
}

#[tokio::test]
async fn answers_can_lie_about_their_length_and_come_in_drops() -> Result<()> {
    let fleet = one().await?;
    let terminal = fleet.terminal(0);
    let whole = info(terminal).await?.body;
    for length in [Length::Absent, Length::Chunked] {
        terminal.change(|quirks| quirks.length = length);
        assert_eq!(info(terminal).await?.body, whole, "{length:?}");
    }
    terminal.change(|quirks| quirks.length = Length::Short);
    assert_eq!(info(terminal).await?.body.len(), whole.len() - whole.len().div_ceil(4));
    terminal.change(|quirks| quirks.length = Length::Zero);
    assert!(info(terminal).await?.body.is_empty());
    terminal.change(|quirks| quirks.length = Length::Long);
    assert!(info(terminal).await.is_err());
    terminal.change(|quirks| *quirks = Quirks { truncate_at: Some(9), ..Quirks::default() });
    assert!(info(terminal).await.is_err());
    terminal.change(|quirks| {
        *quirks = Quirks { slow: Some(Drip { bytes: 100, every_ms: 1 }), ..Quirks::default() }
    });
    assert_eq!(info(terminal).await?.body, whole);
    Ok(())
}

#[tokio::test]
async fn every_nth_request_is_refused_or_reset() -> Result<()> {
    let fleet = one().await?;
    let terminal = fleet.terminal(0);
    terminal.change(|quirks| quirks.busy_every = 3);
    let url = format!("{}{INFO}", terminal.url());
    let mut seen = Vec::new();
    for _ in 0..6 {
        seen.push(plain(url.clone()).await?.status);
    }
    assert_eq!(seen, [401, 401, 503, 401, 401, 503]);
    terminal.change(|quirks| *quirks = Quirks { reset_every: 2, ..Quirks::default() });
    let seen = [plain(url.clone()).await.is_ok(), plain(url.clone()).await.is_ok(), plain(url).await.is_ok()];
    assert_eq!(seen, [true, false, true]);
    Ok(())
}

#[tokio::test]
async fn errors_hide_in_200_and_formats_change() -> Result<()> {
    let fleet = fleet(1, Scenario::Calm).await?;
    let terminal = fleet.terminal(0);
    let count = "/ISAPI/AccessControl/UserInfo/Count?format=json";
    terminal.change(|quirks| quirks.xml_instead_of_json = true);
    let xml = ask(terminal, Method::GET, count, None).await?;
    assert!(
        xml.text().contains("<UserInfoCount ") && xml.text().contains("<userNumber>5</userNumber>"),
        "{}",
        xml.text()
    );
    terminal.change(|quirks| *quirks = Quirks { html_instead: true, ..Quirks::default() });
    assert!(ask(terminal, Method::GET, count, None).await?.text().contains("<html>"));
    terminal
        .change(|quirks| *quirks = Quirks { error_in_200: Some("deviceError".into()), ..Quirks::default() });
    let url = format!("{}/storage/v1/object/public/photos/faces/0001.jpg", fleet.supabase_url());
    let body = json!({ "faceURL": url, "faceLibType": "blackFD", "FDID": "1", "FPID": "1001" });
    let said =
        ask(terminal, Method::PUT, "/ISAPI/Intelligent/FDLib/FDModify?format=json", Some(body)).await?;
    assert_eq!(
        (said.code()?, said.json()?["statusCode"].clone()),
        ((200, "deviceError".to_owned()), json!(3))
    );
    assert!(fleet.ledger().of(Kind::FaceWrite).is_empty());
    terminal.change(|quirks| *quirks = Quirks { device_info_json: true, ..Quirks::default() });
    let json = ask(terminal, Method::GET, "/ISAPI/System/deviceInfo?format=json", None).await?.json()?;
    assert_eq!(json["DeviceInfo"]["deviceType"], "ACS");
    Ok(())
}

#[tokio::test]
async fn unknown_paths_and_wrong_methods_have_their_own_answers() -> Result<()> {
    let fleet = one().await?;
    let terminal = fleet.terminal(0);
    let unknown = ask(terminal, Method::GET, "/ISAPI/Nothing", None).await?;
    assert!(unknown.status == 404 && unknown.text().contains("<subStatusCode>notSupport</subStatusCode>"));
    let wrong = ask(terminal, Method::DELETE, "/isapi/system/DEVICEINFO?format=json", None).await?;
    assert_eq!(wrong.code()?, (405, "methodNotAllowed".to_owned()));
    terminal.change(|quirks| quirks.not_found_html = true);
    assert!(
        ask(terminal, Method::GET, "/ISAPI/Nothing", None)
            .await?
            .text()
            .contains("Access Error: 404 -- Not Found")
    );
    Ok(())
}

#[tokio::test]
async fn offline_refuses_connections_and_silent_never_answers() -> Result<()> {
    let fleet = one().await?;
    let terminal = fleet.terminal(0);
    let port = terminal.port();
    let mut kept = TcpStream::connect(("127.0.0.1", port)).await?;
    terminal.offline().await?;
    assert_eq!(kept.read(&mut [0; 8]).await.unwrap_or_default(), 0, "open connections end too");
    let refused = TcpStream::connect(("127.0.0.1", port)).await.map_err(|error| error.kind());
    assert_eq!(refused.err(), Some(std::io::ErrorKind::ConnectionRefused));
    terminal.online().await?;
    assert_eq!((terminal.port(), info(terminal).await?.status), (port, 200));
    terminal.change(|quirks| quirks.silent = true);
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await?;
    let nothing = tokio::time::timeout(Duration::from_millis(200), stream.read(&mut [0; 8])).await;
    assert!(nothing.is_err(), "{nothing:?}");
    Ok(())
}

#[tokio::test]
async fn connections_are_kept_as_long_as_the_switch_says() -> Result<()> {
    let fleet = one().await?;
    let terminal = fleet.terminal(0);
    terminal.change(|quirks| quirks.keep_alive_requests = 3);
    let mut stream = TcpStream::connect(("127.0.0.1", terminal.port())).await?;
    for _ in 0..3 {
        stream.write_all(b"GET /ISAPI/System/time HTTP/1.1\r\nHost: x\r\n\r\n").await?;
    }
    let mut all = String::new();
    stream.read_to_string(&mut all).await?;
    assert_eq!(all.matches("HTTP/1.1 401").count(), 3);
    assert!(all.contains("Keep-Alive: timeout=10, max=2") && all.contains("Keep-Alive: timeout=10, max=1"));
    assert_eq!(all.matches("Connection: close").count(), 1);
    Ok(())
}

#[tokio::test]
async fn the_date_header_is_local_time_that_says_gmt() -> Result<()> {
    let fleet = one().await?;
    let terminal = fleet.terminal(0);
    terminal.change(|quirks| quirks.clock_offset_s = -1_795_000_000);
    let said = info(terminal).await?;
    assert!(
        said.header("date").ends_with("GMT") && said.header("date").contains(" 1970 "),
        "{}",
        said.header("date")
    );
    terminal.change(|quirks| *quirks = Quirks { utc_offset_minutes: 210, ..Quirks::default() });
    let time = ask(terminal, Method::GET, "/ISAPI/System/time", None).await?;
    assert!(
        time.text().contains("+03:30</localTime>")
            && time.text().contains("<timeZone>CST-3:30:00</timeZone>"),
        "{}",
        time.text()
    );
    Ok(())
}
