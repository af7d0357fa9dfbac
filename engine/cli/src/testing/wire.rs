//! As much of HTTP/1.1 as a stand-in needs: one request per connection, read whole, and an answer.

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Longer heads are refused.
const MOST_HEAD: usize = 64 << 10;
/// Longer bodies are refused: photos and JSON fit many times.
const MOST_BODY: usize = 64 << 20;

/// A request as it came.
#[derive(Clone, Debug)]
pub(super) struct Raw {
    pub(super) method: String,
    /// Path and query as they were sent.
    pub(super) target: String,
    /// Names in lower case, in their order.
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Raw {
    /// The first header of that name (lower case).
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

/// Reads one request; `None` where the other side closed without one.
pub(super) async fn read(socket: &mut TcpStream) -> io::Result<Option<Raw>> {
    let mut buffer = Vec::new();
    let (mut raw, head) = loop {
        let mut headers = [httparse::EMPTY_HEADER; 128];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(&buffer).map_err(|error| bad(&error.to_string()))? {
            httparse::Status::Complete(head) => {
                let headers = request
                    .headers
                    .iter()
                    .map(|header| {
                        let value = String::from_utf8_lossy(header.value).into_owned();
                        (header.name.to_ascii_lowercase(), value)
                    })
                    .collect();
                let raw = Raw {
                    method: request.method.unwrap_or_default().to_owned(),
                    target: request.path.unwrap_or_default().to_owned(),
                    headers,
                    body: Vec::new(),
                };
                break (raw, head);
            }
            httparse::Status::Partial if buffer.len() > MOST_HEAD => return Err(bad("the head is too long")),
            httparse::Status::Partial => {
                if more(socket, &mut buffer).await? == 0 {
                    return if buffer.is_empty() { Ok(None) } else { Err(bad("half a head")) };
                }
            }
        }
    };
    let mut rest = buffer.split_off(head);
    let chunked = raw.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"));
    raw.body = if chunked {
        chunks(socket, rest).await?
    } else {
        let length = match raw.header("content-length") {
            Some(text) => text.trim().parse().map_err(|_| bad("a length that is none"))?,
            None => 0_usize,
        };
        if length > MOST_BODY {
            return Err(bad("the body is too long"));
        }
        while rest.len() < length {
            if more(socket, &mut rest).await? == 0 {
                return Err(bad("half a body"));
            }
        }
        rest.truncate(length);
        rest
    };
    Ok(Some(raw))
}

async fn more(socket: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<usize> {
    let mut piece = [0_u8; 16 << 10];
    let read = socket.read(&mut piece).await?;
    buffer.extend_from_slice(&piece[..read]);
    Ok(read)
}

async fn chunks(socket: &mut TcpStream, mut rest: Vec<u8>) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        match httparse::parse_chunk_size(&rest) {
            Err(_) => return Err(bad("a chunk without a size")),
            Ok(httparse::Status::Partial) => {
                if more(socket, &mut rest).await? == 0 {
                    return Err(bad("half a chunk"));
                }
            }
            Ok(httparse::Status::Complete((head, size))) => {
                let size = usize::try_from(size).unwrap_or(usize::MAX);
                if body.len().saturating_add(size) > MOST_BODY {
                    return Err(bad("the body is too long"));
                }
                while rest.len() < head + size + 2 {
                    if more(socket, &mut rest).await? == 0 {
                        return Err(bad("half a chunk"));
                    }
                }
                body.extend_from_slice(&rest[head..head + size]);
                rest.drain(..head + size + 2);
                if size == 0 {
                    return Ok(body);
                }
            }
        }
    }
}

/// An answer, ready to be sent.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

/// How much of an answer is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// All of it.
    Whole,
    /// The head and half of the body, which the head announces whole.
    Half,
}

/// Sends an answer and closes the connection.
pub(super) async fn write(socket: &mut TcpStream, reply: &Reply, to: &Raw, extent: Extent) -> io::Result<()> {
    let mut head = format!("HTTP/1.1 {} {}\r\n", reply.status, phrase(reply.status));
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let has_length = reply.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    if !has_length && !matches!(reply.status, 204 | 304) {
        head.push_str(&format!("Content-Length: {}\r\n", reply.body.len()));
    }
    head.push_str("Connection: close\r\n\r\n");
    socket.write_all(head.as_bytes()).await?;
    let bodiless = to.method == "HEAD" || matches!(reply.status, 204 | 304);
    let length = match extent {
        _ if bodiless => 0,
        Extent::Whole => reply.body.len(),
        Extent::Half => reply.body.len() / 2,
    };
    socket.write_all(&reply.body[..length]).await?;
    socket.flush().await?;
    socket.shutdown().await
}

fn phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        204 => "No Content",
        206 => "Partial Content",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        409 => "Conflict",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        _ => "Status",
    }
}
