//! Answers that never end by themselves: the body is told while things happen.

use std::fmt::Debug;
use std::io::Result;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Where the bytes come from.
pub(crate) trait Tap: Debug + Send + Sync + 'static {
    /// The next bytes, whenever there are some; none ends the connection. May be dropped and asked again.
    fn next(&self) -> BoxFuture<'_, Option<Bytes>>;
}

/// Such an answer.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    /// Without Content-Length, Transfer-Encoding and Connection.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) tap: Arc<dyn Tap>,
}

impl Live {
    /// Writes until the tap ends or the client goes.
    pub(super) async fn write<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: &mut S) -> Result<()> {
        let mut head = "HTTP/1.1 200 OK\r\n".to_owned();
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("Connection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await?;
        stream.flush().await?;
        let mut ignored = [0_u8; 256];
        loop {
            tokio::select! {
                piece = self.tap.next() => match piece {
                    Some(piece) => {
                        stream.write_all(&piece).await?;
                        stream.flush().await?;
                    }
                    None => return Ok(()),
                },
                read = stream.read(&mut ignored) => if read? == 0 { return Ok(()) },
            }
        }
    }
}
