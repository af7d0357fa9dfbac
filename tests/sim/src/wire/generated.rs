//! Bodies that are made while they are sent, of any length, in constant memory.

use std::fmt::Debug;
use std::io::Result;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::write::reason;
use crate::quirks::{Drip, Length};

/// How much is made at a time.
const PIECE_BYTES: u64 = 64 << 10;

/// Where the bytes of a body come from.
pub(crate) trait Source: Debug + Send + Sync + 'static {
    /// Fills `into` with the bytes from `at` on.
    fn fill(&self, at: u64, into: &mut [u8]);

    /// So many bytes have gone out by now.
    fn sent(&self, bytes: u64);
}

/// An answer with such a body.
#[derive(Clone, Debug)]
pub(crate) struct Generated {
    pub(crate) status: u16,
    /// Without Content-Length, Transfer-Encoding and Connection.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) source: Arc<dyn Source>,
    /// The first byte that is sent.
    pub(crate) from: u64,
    /// The byte after the last.
    pub(crate) to: u64,
    pub(crate) length: Length,
    /// The connection ends after so many bytes of the body.
    pub(crate) cut_after: Option<u64>,
    pub(crate) slow: Option<Drip>,
    pub(crate) close: bool,
}

impl Generated {
    /// Writes it; false when the connection must end afterwards.
    pub(super) async fn write<S: AsyncWrite + Unpin>(&self, stream: &mut S, to_head: bool) -> Result<bool> {
        let whole = self.to.saturating_sub(self.from);
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        match self.length {
            Length::Right => head.push_str(&format!("Content-Length: {whole}\r\n")),
            Length::Zero => head.push_str("Content-Length: 0\r\n"),
            Length::Short => head.push_str(&format!("Content-Length: {}\r\n", whole - whole.div_ceil(4))),
            Length::Long => head.push_str(&format!("Content-Length: {}\r\n", whole + whole / 2 + 64)),
            Length::Absent => {}
            Length::Chunked => head.push_str("Transfer-Encoding: chunked\r\n"),
        }
        let lies = !matches!(self.length, Length::Right | Length::Chunked);
        let keep = !self.close && !lies && self.cut_after.is_none();
        head.push_str(if keep { "Connection: keep-alive\r\n\r\n" } else { "Connection: close\r\n\r\n" });
        stream.write_all(head.as_bytes()).await?;
        if !to_head {
            self.write_body(stream, whole.min(self.cut_after.unwrap_or(u64::MAX))).await?;
        }
        stream.flush().await?;
        Ok(keep)
    }

    async fn write_body<S: AsyncWrite + Unpin>(&self, stream: &mut S, bytes: u64) -> Result<()> {
        let piece = self.slow.map_or(PIECE_BYTES, |drip| drip.bytes.max(1) as u64);
        let mut buffer = vec![0; usize::try_from(piece.min(bytes)).unwrap_or_default()];
        let mut done = 0;
        while done < bytes {
            let room = usize::try_from(piece.min(bytes - done)).unwrap_or_default();
            let Some(part) = buffer.get_mut(..room) else { break };
            self.source.fill(self.from + done, part);
            if let Some(drip) = self.slow {
                stream.flush().await?;
                tokio::time::sleep(Duration::from_millis(drip.every_ms)).await;
            }
            if self.length == Length::Chunked {
                stream.write_all(format!("{room:x}\r\n").as_bytes()).await?;
                stream.write_all(part).await?;
                stream.write_all(b"\r\n").await?;
            } else {
                stream.write_all(part).await?;
            }
            done += room as u64;
            self.source.sent(done);
        }
        if self.length == Length::Chunked && self.cut_after.is_none() {
            stream.write_all(b"0\r\n\r\n").await?;
        }
        Ok(())
    }
}
