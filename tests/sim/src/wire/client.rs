//! The tiny HTTP client inside a terminal: it downloads a picture from the address it was given.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A terminal stops reading here; far above what it could use.
const LIMIT: usize = 4 * 1024 * 1024;

/// Downloads `address` by GET, or says in a few words why not. Loopback only, plain HTTP only, no redirects.
pub(crate) async fn fetch(address: &str, timeout: Duration) -> Result<Bytes, String> {
    let url = url::Url::parse(address).map_err(|error| error.to_string())?;
    if url.scheme() != "http" {
        return Err(format!("cannot speak `{}`", url.scheme()));
    }
    let host = match url.host() {
        Some(url::Host::Ipv4(host)) => IpAddr::V4(host),
        Some(url::Host::Ipv6(host)) => IpAddr::V6(host),
        Some(url::Host::Domain("localhost")) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        _ => return Err("unknown host".to_owned()),
    };
    if !host.is_loopback() {
        return Err(format!("{host} cannot be reached"));
    }
    let peer = SocketAddr::new(host, url.port().unwrap_or(80));
    let target = &url[url::Position::BeforePath..url::Position::AfterQuery];
    let request =
        format!("GET {target} HTTP/1.1\r\nHost: {peer}\r\nUser-Agent: terminal\r\nConnection: close\r\n\r\n");
    let exchange = async {
        let mut stream = TcpStream::connect(peer).await.map_err(|error| error.to_string())?;
        stream.write_all(request.as_bytes()).await.map_err(|error| error.to_string())?;
        let mut answer = BytesMut::new();
        while answer.len() < LIMIT {
            if stream.read_buf(&mut answer).await.map_err(|error| error.to_string())? == 0 {
                break;
            }
        }
        body(&answer)
    };
    tokio::time::timeout(timeout, exchange).await.map_err(|_| "no answer in time".to_owned())?
}

fn body(answer: &[u8]) -> Result<Bytes, String> {
    let mut lines = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Response::new(&mut lines);
    let Ok(httparse::Status::Complete(start)) = head.parse(answer) else {
        return Err("not an HTTP answer".to_owned());
    };
    let status = head.code.unwrap_or_default();
    if status != 200 {
        return Err(format!("HTTP {status}"));
    }
    let body = answer.get(start..).unwrap_or_default();
    let length = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length =
        length.and_then(|header| std::str::from_utf8(header.value).ok()?.trim().parse::<usize>().ok());
    match length {
        Some(length) if length > body.len() => Err("the picture ended early".to_owned()),
        Some(length) => Ok(Bytes::copy_from_slice(body.get(..length).unwrap_or_default())),
        None => Ok(Bytes::copy_from_slice(body)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn addresses_outside_this_machine_are_never_asked() {
        for address in [
            "http://192.0.2.1/a.jpg",
            "https://127.0.0.1/a.jpg",
            "http://example.org/a.jpg",
            "file:///etc/hosts",
        ] {
            assert!(fetch(address, Duration::from_secs(1)).await.is_err(), "{address}");
        }
    }

    #[test]
    fn a_short_body_is_no_picture() {
        assert!(body(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc").is_err());
        assert_eq!(body(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabc"), Ok(Bytes::from("ab")));
        assert_eq!(body(b"HTTP/1.1 404 Not Found\r\n\r\n"), Err("HTTP 404".to_owned()));
    }
}
