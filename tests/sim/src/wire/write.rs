//! Writing answers, true or lying.

use std::io::Result;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::Answer;
use crate::quirks::Length;

/// Writes the answer; false when the connection must end afterwards.
pub(crate) async fn answer<S: AsyncWrite + Unpin>(
    stream: &mut S,
    answer: &Answer,
    to_head: bool,
) -> Result<bool> {
    let delivery = answer.delivery;
    let whole = answer.body.len();
    // 204 and 304 have no body and no length.
    let bodiless = matches!(answer.status, 100..=199 | 204 | 304);
    let mut keep = !delivery.close;
    let mut head = format!("HTTP/1.1 {} {}\r\n", answer.status, reason(answer.status));
    for (name, value) in &answer.headers {
        head.push_str(name);
        head.push_str(": ");
        head.push_str(value);
        head.push_str("\r\n");
    }
    let told = match delivery.length {
        Length::Right => Some(whole),
        Length::Zero => Some(0),
        Length::Short => Some(whole.saturating_sub(whole.div_ceil(4))),
        Length::Long => Some(whole + whole / 2 + 64),
        Length::Absent | Length::Chunked => None,
    };
    if !bodiless {
        match told {
            Some(length) => head.push_str(&format!("Content-Length: {length}\r\n")),
            None if delivery.length == Length::Chunked => head.push_str("Transfer-Encoding: chunked\r\n"),
            None => {}
        }
    }
    keep &= matches!(delivery.length, Length::Right | Length::Chunked) && delivery.cut_after.is_none();
    head.push_str(if delivery.close {
        "Connection: close\r\n\r\n"
    } else {
        "Connection: keep-alive\r\n\r\n"
    });

    let mut body = BytesMut::new();
    if !to_head && !bodiless {
        if delivery.length == Length::Chunked {
            for piece in answer.body.chunks(1_000) {
                body.put_slice(format!("{:x}\r\n", piece.len()).as_bytes());
                body.put_slice(piece);
                body.put_slice(b"\r\n");
            }
            body.put_slice(b"0\r\n\r\n");
        } else {
            body.put_slice(&answer.body);
        }
        if let Some(limit) = delivery.cut_after {
            body.truncate(limit);
        }
    }
    match delivery.slow {
        None => {
            let mut all = BytesMut::from(head.as_bytes());
            all.unsplit(body);
            stream.write_all(&all).await?;
        }
        Some(drip) => {
            stream.write_all(head.as_bytes()).await?;
            for drop in body.chunks(drip.bytes.max(1)) {
                stream.flush().await?;
                tokio::time::sleep(Duration::from_millis(drip.every_ms)).await;
                stream.write_all(drop).await?;
            }
        }
    }
    stream.flush().await?;
    Ok(keep)
}

pub(super) fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        204 => "No Content",
        206 => "Partial Content",
        300 => "Multiple Choices",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        409 => "Conflict",
        411 => "Length Required",
        413 => "Payload Too Large",
        416 => "Range Not Satisfiable",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Delivery;

    async fn written(delivery: Delivery) -> Result<(String, bool)> {
        let mut out = Vec::new();
        let keep =
            answer(&mut out, &Answer { delivery, ..Answer::new(200, "text/plain", "0123456789") }, false)
                .await?;
        Ok((String::from_utf8_lossy(&out).into_owned(), keep))
    }

    #[tokio::test]
    async fn each_lie_about_the_length_is_told_and_ends_the_connection() -> Result<()> {
        for (length, line) in [
            (Length::Zero, "Content-Length: 0\r\n"),
            (Length::Short, "Content-Length: 7\r\n"),
            (Length::Long, "Content-Length: 79\r\n"),
        ] {
            let (text, keep) = written(Delivery { length, ..Delivery::default() }).await?;
            assert!(text.contains(line) && text.ends_with("0123456789") && !keep, "{length:?}: {text}");
        }
        let (text, keep) = written(Delivery { length: Length::Absent, ..Delivery::default() }).await?;
        assert!(!text.contains("Content-Length") && !keep);
        Ok(())
    }

    #[tokio::test]
    async fn a_cut_answer_promises_more_than_it_sends() -> Result<()> {
        let (text, keep) = written(Delivery { cut_after: Some(4), ..Delivery::default() }).await?;
        assert!(text.contains("Content-Length: 10\r\n") && text.ends_with("\r\n\r\n0123") && !keep);
        Ok(())
    }
}
