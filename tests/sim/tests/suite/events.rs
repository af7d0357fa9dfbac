//! The stream and the pushes of a terminal, as a stranger sees them.

use std::time::Duration;

use anyhow::{Context as _, Result};
use bascule_sim::{Algorithm, DigestParts, Fleet, Kind, PASSWORD, Terminal, USER, digest_response};
use diqwest::WithDigestAuth as _;
use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::{Said, ask, one, plain};

const STREAM: &str = "/ISAPI/Event/notification/alertStream";

/// Reads until the text has `until`, and gives all of it.
async fn read_until(response: &mut reqwest::Response, until: &str) -> Result<String> {
    let mut text = String::new();
    while !text.contains(until) {
        let piece = tokio::time::timeout(Duration::from_secs(20), response.chunk()).await??;
        text.push_str(&String::from_utf8_lossy(&piece.with_context(|| format!("it ended: {text}"))?));
    }
    Ok(text)
}

async fn listen(terminal: &Terminal) -> Result<reqwest::Response> {
    let request = reqwest::Client::new().get(format!("{}{STREAM}", terminal.url()));
    Ok(request.send_digest_auth((USER, PASSWORD)).await?)
}

#[tokio::test]
async fn a_stream_begins_with_history_and_goes_on_with_news_and_heartbeats() -> Result<()> {
    let fleet = one().await?;
    let terminal = fleet.terminal(0);
    terminal.change(|quirks| quirks.events.heartbeat_ms = 50);
    terminal.happen(5, 75, Some("17"));
    let mut response = listen(terminal).await?;
    assert_eq!(response.headers()["content-type"], "multipart/mixed; boundary=MIME_boundary");
    let history = read_until(&mut response, "\"currentEvent\":false").await?;
    assert!(history.starts_with("--MIME_boundary\r\nContent-Type: application/json"), "{history}");
    terminal.happen(5, 76, Some("17"));
    read_until(&mut response, "\"currentEvent\":true").await?;
    read_until(&mut response, "\"eventType\":\"videoloss\"").await?;
    assert_eq!((terminal.streams(), fleet.ledger().of(Kind::EventTold).len()), (1, 2));

    // Not without a password, and not too many.
    assert_eq!(plain(format!("{}{STREAM}", terminal.url())).await?.status, 401);
    terminal.change(|quirks| quirks.events.max_streams = 1);
    let said = ask(terminal, Method::GET, STREAM, None).await?;
    assert_eq!(said.status, 403);
    assert!(said.text().contains("<subStatusCode>invalidOperation</subStatusCode>"), "{}", said.text());
    assert_eq!(terminal.streams(), 1);
    Ok(())
}

#[tokio::test]
async fn a_stream_can_break_in_the_middle_of_a_part() -> Result<()> {
    let fleet = one().await?;
    let terminal = fleet.terminal(0);
    for _ in 0..3 {
        terminal.happen(5, 75, Some("17"));
    }
    terminal.change(|quirks| quirks.events.cut_after = Some(1));
    let text = listen(terminal).await?.text().await?;
    assert_eq!(text.matches("--MIME_boundary\r\n").count(), 2, "{text}");
    assert_eq!(text.matches("\"serialNo\":").count(), 1, "{text}");
    Ok(())
}

/// One request with its body; the answer is for the caller to write.
async fn accept(listener: &TcpListener) -> Result<(TcpStream, String)> {
    let (mut socket, _) = tokio::time::timeout(Duration::from_secs(20), listener.accept()).await??;
    let mut text = String::new();
    let mut piece = [0; 4096];
    loop {
        let read = socket.read(&mut piece).await?;
        text.push_str(&String::from_utf8_lossy(&piece[..read]));
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length =
            head.lines().find_map(|line| line.strip_prefix("Content-Length: ")?.parse::<usize>().ok());
        if body.len() >= length.unwrap_or(0) {
            return Ok((socket, text));
        }
    }
}

/// Points the first slot at `port` with this authentication.
async fn point(fleet: &Fleet, port: u16, authentication: &str) -> Result<()> {
    let body = format!(
        "<HttpHostNotification><id>1</id><url>/push</url><protocolType>HTTP</protocolType><parameterFormatType>JSON</parameterFormatType>\
         <addressingFormatType>ipaddress</addressingFormatType><ipAddress>127.0.0.1</ipAddress><portNo>{port}</portNo>\
         <userName>door</userName><password>invented-1</password><httpAuthenticationMethod>{authentication}</httpAuthenticationMethod></HttpHostNotification>"
    );
    let address = format!("{}/ISAPI/Event/notification/httpHosts/1", fleet.terminal(0).url());
    let request = reqwest::Client::new().put(address).header("content-type", "application/xml").body(body);
    let said = Said::from(request.send_digest_auth((USER, PASSWORD)).await?).await?;
    assert_eq!(said.status, 200, "{}", said.text());
    Ok(())
}

#[tokio::test]
async fn a_terminal_signs_in_at_its_receiver_by_digest() -> Result<()> {
    let fleet = one().await?;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    point(&fleet, listener.local_addr()?.port(), "MD5digest").await?;
    let at = json!({ "employee_no": "17", "at": "2026-11-21T08:00:00Z" });
    let order =
        reqwest::Client::new().post(format!("{}/devices/0/events", fleet.control_url())).body(at.to_string());
    assert_eq!(Said::from(order.send().await?).await?.json()?, json!({ "serial": 1 }));

    let (mut socket, text) = accept(&listener).await?;
    assert!(text.starts_with("POST /push HTTP/1.1\r\n") && !text.contains("Authorization"), "{text}");
    let challenge = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Digest realm=\"hooks\", nonce=\"abc\", qop=\"auth\", opaque=\"x\"\r\nContent-Length: 0\r\n\r\n";
    socket.write_all(challenge.as_bytes()).await?;
    drop(socket);

    let (mut socket, text) = accept(&listener).await?;
    let response = digest_response(&DigestParts {
        algorithm: Algorithm::Md5,
        user: "door",
        realm: "hooks",
        password: "invented-1",
        method: "POST",
        uri: "/push",
        nonce: "abc",
        protection: Some(("00000001", "5ca1ab1e", "auth")),
    });
    assert!(text.contains(&format!("response=\"{response}\"")) && text.contains("opaque=\"x\""), "{text}");
    assert!(text.contains("2026-11-21T10:00:00+02:00"), "in the device's own time: {text}");
    socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await?;
    fleet.ledger().until(|entries| entries.iter().any(|entry| entry.kind == Kind::EventPushed)).await;
    Ok(())
}

#[tokio::test]
async fn events_wait_while_the_receiver_is_down() -> Result<()> {
    let fleet = one().await?;
    let terminal = fleet.terminal(0);
    terminal.change(|quirks| quirks.events.resend_ms = 10);
    // A port that was free a moment ago.
    let port = TcpListener::bind(("127.0.0.1", 0)).await?.local_addr()?.port();
    point(&fleet, port, "none").await?;
    terminal.happen(5, 75, Some("17"));
    terminal.happen(5, 75, Some("18"));
    fleet.ledger().until(|entries| entries.iter().any(|entry| entry.kind == Kind::EventRefused)).await;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    for number in ["\"17\"", "\"18\""] {
        let (mut socket, text) = accept(&listener).await?;
        assert!(text.contains(&format!("\"employeeNoString\":{number}")), "{text}");
        socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await?;
    }
    Ok(())
}
