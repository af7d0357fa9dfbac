//! Reading requests off a connection.

use std::io::{Error, ErrorKind, Result};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::Request;

const MAX_HEAD: usize = 64 * 1024;
const MAX_BODY: usize = 64 * 1024 * 1024;
const MAX_HEADERS: usize = 128;

/// What a head says.
struct Head {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    length: usize,
}

/// Reads the next request; `None` when the client closed between two requests. `buffer` keeps what came too early.
pub(crate) async fn request<S>(stream: &mut S, buffer: &mut BytesMut, nth: u32) -> Result<Option<Request>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let head = loop {
        if let Some(head) = head(buffer)? {
            break head;
        }
        if buffer.len() > MAX_HEAD {
            return Err(invalid("the head is too long"));
        }
        if stream.read_buf(buffer).await? == 0 {
            return if buffer.is_empty() { Ok(None) } else { Err(ErrorKind::UnexpectedEof.into()) };
        }
    };
    drop(buffer.split_to(head.length));
    let named = |name: &str| {
        head.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    };
    if named("expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue")) {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        stream.flush().await?;
    }
    let chunked =
        named("transfer-encoding").is_some_and(|value| value.to_ascii_lowercase().contains("chunked"));
    let body = if chunked {
        chunks(stream, buffer).await?
    } else {
        let length = named("content-length").map_or(Ok(0), |text| text.trim().parse::<usize>());
        let length = length.map_err(|_| invalid("Content-Length is not a number"))?;
        if length > MAX_BODY {
            return Err(invalid("the body is too long"));
        }
        fill(stream, buffer, length).await?;
        buffer.split_to(length).freeze()
    };
    Ok(Some(Request { method: head.method, target: head.target, headers: head.headers, body, chunked, nth }))
}

fn head(buffer: &[u8]) -> Result<Option<Head>> {
    let mut lines = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut lines);
    let length = match parsed.parse(buffer) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(Error::new(ErrorKind::InvalidData, error)),
    };
    let (Some(method), Some(target)) = (parsed.method, parsed.path) else {
        return Err(invalid("no request line"));
    };
    let headers = parsed
        .headers
        .iter()
        .map(|header| (header.name.to_owned(), String::from_utf8_lossy(header.value).into_owned()))
        .collect();
    Ok(Some(Head { method: method.to_owned(), target: target.to_owned(), headers, length }))
}

async fn chunks<S: AsyncRead + Unpin>(stream: &mut S, buffer: &mut BytesMut) -> Result<Bytes> {
    let mut body = BytesMut::new();
    loop {
        let (line, size) = loop {
            match httparse::parse_chunk_size(buffer) {
                Ok(httparse::Status::Complete((line, size))) => break (line, size),
                Ok(httparse::Status::Partial) => more(stream, buffer).await?,
                Err(_) => return Err(invalid("not a chunk size")),
            }
        };
        let size = usize::try_from(size).ok().filter(|size| body.len() + size <= MAX_BODY);
        let Some(size) = size else {
            return Err(invalid("the body is too long"));
        };
        drop(buffer.split_to(line));
        if size == 0 {
            trailers(stream, buffer).await?;
            return Ok(body.freeze());
        }
        fill(stream, buffer, size + 2).await?;
        body.extend_from_slice(&buffer.split_to(size));
        drop(buffer.split_to(2));
    }
}

async fn trailers<S: AsyncRead + Unpin>(stream: &mut S, buffer: &mut BytesMut) -> Result<()> {
    loop {
        match buffer.windows(2).position(|pair| pair == b"\r\n") {
            Some(0) => {
                drop(buffer.split_to(2));
                return Ok(());
            }
            Some(end) => drop(buffer.split_to(end + 2)),
            None => more(stream, buffer).await?,
        }
    }
}

async fn fill<S: AsyncRead + Unpin>(stream: &mut S, buffer: &mut BytesMut, length: usize) -> Result<()> {
    while buffer.len() < length {
        more(stream, buffer).await?;
    }
    Ok(())
}

async fn more<S: AsyncRead + Unpin>(stream: &mut S, buffer: &mut BytesMut) -> Result<()> {
    if stream.read_buf(buffer).await? == 0 { Err(ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}

fn invalid(what: &'static str) -> Error {
    Error::new(ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(text: &str) -> Result<Option<Request>> {
        let (mut ours, mut theirs) = tokio::io::duplex(16);
        let text = text.to_owned();
        let writer = tokio::spawn(async move {
            // The reader may stop early on bad input.
            drop(theirs.write_all(text.as_bytes()).await);
        });
        let request = request(&mut ours, &mut BytesMut::new(), 1).await;
        writer.abort();
        request
    }

    #[tokio::test]
    async fn header_lines_keep_their_order_and_case() -> Result<()> {
        let request = read("GET /a?b=%20c HTTP/1.1\r\nhOsT: x\r\nAccept: */*\r\nACCEPT: q\r\n\r\n").await?;
        let Some(request) = request else {
            return Err(invalid("no request"));
        };
        let names: Vec<&str> = request.headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["hOsT", "Accept", "ACCEPT"]);
        assert_eq!((request.path(), request.query()), ("/a", "b=%20c"));
        assert_eq!(request.parameter("b").as_deref(), Some(" c"));
        Ok(())
    }

    #[tokio::test]
    async fn chunks_and_trailers_make_one_body() -> Result<()> {
        let text = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: v\r\n\r\n";
        let request = read(text).await?;
        assert_eq!(
            request.map(|request| (request.body, request.chunked)),
            Some((Bytes::from("abcde"), true))
        );
        Ok(())
    }

    #[tokio::test]
    async fn a_body_that_ends_early_is_an_error() {
        assert!(read("POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc").await.is_err());
    }
}
