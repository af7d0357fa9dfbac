//! Taking connections: a limited number of them, none that dawdles over its headers, and an orderly end.
//!
//! hyper closes a connection whose headers are not complete in time only where it was given a timer, which it is here. When
//! all places are taken, the connection that has waited longest without having asked for anything makes room.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

/// How long a connection may take to send the headers of a request.
const HEADERS_WITHIN: Duration = Duration::from_secs(10);
/// Most connections at one time.
const MAX_CONNECTIONS: usize = 2048;
/// Most bytes of the headers of a request.
const MAX_HEADER_BYTES: usize = 32 << 10;
/// How long to wait where the system has no more sockets.
const PAUSE: Duration = Duration::from_millis(100);

/// Connections that have not asked for anything yet, by age.
#[derive(Default)]
struct Silent {
    next: AtomicU64,
    waiting: Mutex<BTreeMap<u64, CancellationToken>>,
}

impl Silent {
    fn enter(&self, close: &CancellationToken) -> u64 {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.lock().insert(number, close.clone());
        number
    }

    fn leave(&self, number: u64) {
        self.lock().remove(&number);
    }

    /// Whether there is any.
    fn any(&self) -> bool {
        !self.lock().is_empty()
    }

    /// Closes the oldest.
    fn close_oldest(&self) {
        if let Some((_, close)) = self.lock().pop_first() {
            close.cancel();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, CancellationToken>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves until `stop`; then takes no more connections, and returns when those that are open have been answered, at the
/// latest when `give_up` comes.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    stop: CancellationToken,
    give_up: CancellationToken,
) {
    let silent = Arc::new(Silent::default());
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            _ended = connections.join_next(), if !connections.is_empty() => continue,
            // Full of connections that are in use: the next one ends some time, and the loop comes round.
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS || silent.any() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                if connections.len() >= MAX_CONNECTIONS {
                    silent.close_oldest();
                }
                let connection = Connection {
                    router: router.clone(),
                    peer,
                    silent: Arc::clone(&silent),
                    stop: stop.clone(),
                };
                connections.spawn(connection.serve(stream));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be taken");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    drop(listener);
    tokio::select! {
        () = give_up.cancelled() => connections.shutdown().await,
        () = async { while connections.join_next().await.is_some() {} } => {}
    }
}

struct Connection {
    router: Router,
    peer: SocketAddr,
    silent: Arc<Silent>,
    stop: CancellationToken,
}

impl Connection {
    async fn serve(self, stream: TcpStream) {
        // Answers are small and complete; waiting to fill a packet only delays them.
        let _best_effort = stream.set_nodelay(true);
        let Self { router, peer, silent, stop } = self;
        let close = CancellationToken::new();
        let number = silent.enter(&close);
        let heard = Arc::clone(&silent);
        let service = service_fn(move |mut request: Request<Incoming>| {
            heard.leave(number);
            request.extensions_mut().insert(ConnectInfo(peer));
            router.clone().oneshot(request.map(axum::body::Body::new))
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADERS_WITHIN)
            .max_buf_size(MAX_HEADER_BYTES)
            .keep_alive(true)
            .serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let mut stopping = false;
        let ended = loop {
            tokio::select! {
                biased;
                ended = &mut connection => break ended,
                () = close.cancelled() => break Ok(()),
                () = stop.cancelled(), if !stopping => {
                    stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        };
        silent.leave(number);
        if let Err(error) = ended {
            tracing::debug!(%peer, %error, "a connection ended early");
        }
    }
}
