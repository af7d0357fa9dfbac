//! A peer in the test's own process: raw TCP, a request at a time, answers made by the test.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

/// What the peer does.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Full {
        status: u16,
        headers: Vec<(String, String)>,
        body: Vec<u8>,
    },
    /// These bytes, then the end of the connection.
    Raw(Vec<u8>),
    /// These bytes, and then nothing for ever.
    Hang(Vec<u8>),
}

impl Reply {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self::Full { status, headers: Vec::new(), body: body.into() }
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        if let Self::Full { headers, .. } = &mut self {
            headers.push((name.to_owned(), value.into()));
        }
        self
    }
}

pub(crate) type Handler = Arc<dyn Fn(&Seen) -> Reply + Send + Sync>;

pub(crate) struct Peer {
    pub(crate) port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Peer {
    pub(crate) async fn start(handler: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_with(Arc::new(handler), None).await
    }

    pub(crate) async fn start_tls(
        config: Arc<rustls::ServerConfig>,
        handler: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::start_with(Arc::new(handler), Some(tokio_rustls::TlsAcceptor::from(config))).await
    }

    async fn start_with(handler: Handler, tls: Option<tokio_rustls::TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let (handler, seen, tls) = (Arc::clone(&handler), Arc::clone(&shared), tls.clone());
                connections.spawn(async move {
                    match tls {
                        None => serve(socket, handler, seen).await,
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(socket).await {
                                serve(stream, handler, seen).await;
                            }
                        }
                    }
                });
            }
        });
        Self { port, seen, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The requests that carried credentials.
    pub(crate) fn logins(&self) -> usize {
        self.seen().iter().filter(|seen| seen.header("authorization").is_some()).count()
    }
}

async fn serve(
    mut socket: impl AsyncRead + AsyncWrite + Unpin,
    handler: Handler,
    log: Arc<Mutex<Vec<Seen>>>,
) {
    let mut buffer = Vec::new();
    while let Some(seen) = read_request(&mut socket, &mut buffer).await {
        log.lock().unwrap().push(seen.clone());
        match handler(&seen) {
            Reply::Full { status, headers, body } => {
                let mut head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n", body.len());
                for (name, value) in headers {
                    head.push_str(&format!("{name}: {value}\r\n"));
                }
                head.push_str("\r\n");
                let mut all = head.into_bytes();
                if seen.method != "HEAD" {
                    all.extend_from_slice(&body);
                }
                if socket.write_all(&all).await.is_err() {
                    return;
                }
            }
            Reply::Raw(bytes) => {
                let _gone = socket.write_all(&bytes).await;
                let _gone = socket.shutdown().await;
                return;
            }
            Reply::Hang(bytes) => {
                let _gone = socket.write_all(&bytes).await;
                let _gone = socket.flush().await;
                std::future::pending::<()>().await;
            }
        }
    }
}

async fn read_request(
    socket: &mut (impl AsyncRead + AsyncWrite + Unpin),
    buffer: &mut Vec<u8>,
) -> Option<Seen> {
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut request = httparse::Request::new(&mut headers);
        let Ok(parsed) = request.parse(buffer) else {
            // Not HTTP, e.g. the beginning of a TLS handshake.
            let _gone = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
            return None;
        };
        if let httparse::Status::Complete(length) = parsed {
            let mut seen = Seen {
                method: request.method.unwrap().to_owned(),
                target: request.path.unwrap().to_owned(),
                headers: request
                    .headers
                    .iter()
                    .map(|header| {
                        (header.name.to_owned(), String::from_utf8_lossy(header.value).into_owned())
                    })
                    .collect(),
                body: Vec::new(),
            };
            assert!(seen.header("transfer-encoding").is_none(), "bodies are never chunked");
            let bytes: usize = seen.header("content-length").map_or(0, |text| text.parse().unwrap());
            buffer.drain(..length);
            while buffer.len() < bytes {
                if socket.read_buf(buffer).await.ok()? == 0 {
                    return None;
                }
            }
            seen.body = buffer.drain(..bytes).collect();
            return Some(seen);
        }
        if socket.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}
