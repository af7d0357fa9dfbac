//! Event pushes to subscribers on this machine.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long a subscriber may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// `OnEventNotify` with one event (facts A5).
pub(super) fn body(event_type: i64, data: Value) -> String {
    let now = Timestamp::now().to_string();
    json!({
        "method": "OnEventNotify",
        "params": {
            "ability": "event_acs", "sendTime": now,
            "events": [{
                "eventId": uuid::Uuid::new_v4().to_string(), "eventType": event_type, "happenTime": now, "srcIndex": "11",
                "srcName": "Main entrance", "srcType": "door", "status": 0, "timeout": 0, "eventLvl": 0, "data": data,
            }],
        },
    })
    .to_string()
}

/// Posts it and returns the HTTP status. Loopback and plain HTTP only.
pub(super) async fn post(address: &str, body: &str) -> Result<u16, String> {
    let url = url::Url::parse(address).map_err(|error| error.to_string())?;
    let loopback = matches!(url.host(), Some(url::Host::Ipv4(Ipv4Addr::LOCALHOST)));
    if url.scheme() != "http" || !loopback {
        return Err(format!("{address} cannot be reached"));
    }
    let peer = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), url.port().unwrap_or(80));
    let target = &url[url::Position::BeforePath..url::Position::AfterQuery];
    let head = format!(
        "POST {target} HTTP/1.1\r\nHost: {peer}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let exchange = async {
        let mut stream = TcpStream::connect(peer).await.map_err(|error| error.to_string())?;
        stream.write_all(head.as_bytes()).await.map_err(|error| error.to_string())?;
        stream.write_all(body.as_bytes()).await.map_err(|error| error.to_string())?;
        let mut answer = vec![0_u8; 512];
        let length = stream.read(&mut answer).await.map_err(|error| error.to_string())?;
        let line = String::from_utf8_lossy(answer.get(..length).unwrap_or_default()).into_owned();
        line.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(|| "not HTTP".to_owned())
    };
    tokio::time::timeout(PATIENCE, exchange).await.map_err(|_| "no answer in time".to_owned())?
}
