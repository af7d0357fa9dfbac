//! As much HTTP as the load and the judge need: one request a connection, and what came of it where the peer dies meanwhile.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// How long a peer may be silent.
const SILENCE: Duration = Duration::from_secs(10);

/// What is asked.
pub(in crate::torture) struct Ask<'a> {
    pub(in crate::torture) method: &'a str,
    pub(in crate::torture) path: &'a str,
    pub(in crate::torture) headers: &'a [(&'a str, &'a str)],
    pub(in crate::torture) body: &'a str,
}

/// An answer of which at least the status came in.
pub(in crate::torture) struct Answer {
    pub(in crate::torture) status: u16,
    /// The body, if all of it came in and it is JSON.
    pub(in crate::torture) body: Option<Value>,
}

/// Asks once. An error means that no status came back: what became of the request is not known.
pub(in crate::torture) fn ask(peer: SocketAddr, ask: &Ask<'_>) -> Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&peer, SILENCE)?;
    stream.set_read_timeout(Some(SILENCE))?;
    stream.set_write_timeout(Some(SILENCE))?;
    stream.set_nodelay(true)?;
    let Ask { method, path, headers, body } = ask;
    let mut text = format!(
        "{method} {path} HTTP/1.1\r\nHost: {peer}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n",
        body.len()
    );
    for (name, value) in *headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    text.push_str(body);
    stream.write_all(text.as_bytes())?;
    let mut got = Vec::new();
    // A peer that dies in the middle of an answer has still said what it said.
    let ended = stream.read_to_end(&mut got);
    let Some(answer) = read(&got) else {
        ended?;
        anyhow::bail!("no answer from {peer}");
    };
    Ok(answer)
}

/// Asks a peer that is not going to die, for JSON.
pub(in crate::torture) fn json(peer: SocketAddr, method: &str, path: &str, body: &str) -> Result<Value> {
    let answer = ask(peer, &Ask { method, path, headers: &[], body })?;
    ensure!(answer.status == 200, "{method} {path}: {}", answer.status);
    answer.body.with_context(|| format!("{method} {path}: an answer that is cut off or not JSON"))
}

fn read(got: &[u8]) -> Option<Answer> {
    let end = memchr::memmem::find(got, b"\r\n\r\n")?;
    let head = std::str::from_utf8(got.get(..end)?).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let length = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse::<usize>().ok());
    let body = got.get(end + 4..)?;
    let body = match length {
        Some(length) if body.len() == length => serde_json::from_slice(body).ok(),
        _ => None,
    };
    Some(Answer { status, body })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_is_cut_off_keeps_its_status_and_loses_its_body() {
        let whole = b"HTTP/1.1 202 Accepted\r\nContent-Length: 11\r\n\r\n{\"run\":\"a\"}";
        let answer = read(whole).unwrap();
        assert_eq!((answer.status, &answer.body.unwrap()["run"]), (202, &Value::from("a")));
        let cut = read(&whole[..whole.len() - 1]).unwrap();
        assert!(cut.status == 202 && cut.body.is_none());
        assert!(read(&whole[..20]).is_none());
    }
}
