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

/// How much callers may ask of the port.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// How long a connection may take to send the headers of a request, and rest between two.
    pub(crate) headers_within: Duration,
    /// Most connections at one time.
    pub(crate) connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { headers_within: Duration::from_secs(10), connections: 2048 }
    }
}

/// Most bytes of the headers of a request.
const MAX_HEADER_BYTES: usize = 32 << 10;
/// How long to wait where the system has no more sockets.
const PAUSE: Duration = Duration::from_millis(100);

/// Where a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// From this computer: nothing of it has been on a wire.
    SameComputer,
    /// From elsewhere.
    Network,
}

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
    limits: Limits,
    (stop, give_up): (CancellationToken, CancellationToken),
) {
    let silent = Arc::new(Silent::default());
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            _ended = connections.join_next(), if !connections.is_empty() => continue,
            // Full of connections that are in use: the next one ends some time, and the loop comes round.
            accepted = listener.accept(), if connections.len() < limits.connections || silent.any() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                if connections.len() >= limits.connections {
                    silent.close_oldest();
                }
                // Known at once, not only when its task gets its turn: the next one may need its place before.
                let close = CancellationToken::new();
                let number = silent.enter(&close);
                let connection = Connection {
                    router: router.clone(),
                    peer,
                    close,
                    number,
                    silent: Arc::clone(&silent),
                    headers_within: limits.headers_within,
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
    /// Others need its place.
    close: CancellationToken,
    /// Its place among the silent ones.
    number: u64,
    silent: Arc<Silent>,
    headers_within: Duration,
    stop: CancellationToken,
}

impl Connection {
    async fn serve(self, stream: TcpStream) {
        // Answers are small and complete; waiting to fill a packet only delays them.
        let _best_effort = stream.set_nodelay(true);
        let Self { router, peer, close, number, silent, headers_within, stop } = self;
        let reach = match stream.local_addr() {
            Ok(own) if own.ip() == peer.ip() || peer.ip().to_canonical().is_loopback() => Reach::SameComputer,
            _ => Reach::Network,
        };
        let heard = Arc::clone(&silent);
        let service = service_fn(move |mut request: Request<Incoming>| {
            heard.leave(number);
            request.extensions_mut().insert(ConnectInfo(peer));
            request.extensions_mut().insert(reach);
            router.clone().oneshot(request.map(axum::body::Body::new))
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(headers_within)
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

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::sync::atomic::AtomicUsize;

    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::sync::Semaphore;

    use super::*;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: here\r\n\r\n";
    const LONG: Duration = Duration::from_secs(600);

    struct Port {
        address: SocketAddr,
        answered: Arc<AtomicUsize>,
        /// One for each request that is being worked on or was.
        begun: Arc<Semaphore>,
        /// An answer takes one.
        may_answer: Arc<Semaphore>,
        stop: CancellationToken,
        give_up: CancellationToken,
        task: tokio::task::JoinHandle<()>,
    }

    impl Port {
        async fn open(headers_within: Duration, connections: usize) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let (answered, may_answer) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
            let begun = Arc::new(Semaphore::new(0));
            let (count, gate, at_work) = (Arc::clone(&answered), Arc::clone(&may_answer), Arc::clone(&begun));
            let answer = get(move || async move {
                at_work.add_permits(1);
                gate.acquire().await.unwrap().forget();
                count.fetch_add(1, Ordering::SeqCst);
                "fine"
            });
            let router = Router::new().route("/", answer);
            let (stop, give_up) = (CancellationToken::new(), CancellationToken::new());
            let limits = Limits { headers_within, connections };
            let task = tokio::spawn(serve(listener, router, limits, (stop.clone(), give_up.clone())));
            Self { address, answered, begun, may_answer, stop, give_up, task }
        }

        async fn connect(&self) -> TcpStream {
            TcpStream::connect(self.address).await.unwrap()
        }
    }

    /// What comes back until the answer is whole or the connection is closed.
    async fn answer(stream: &mut TcpStream) -> String {
        let mut said = Vec::new();
        while !said.ends_with(b"fine") {
            match stream.read_buf(&mut said).await {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
        }
        String::from_utf8(said).unwrap()
    }

    #[tokio::test]
    async fn whoever_dribbles_headers_is_cut_off_and_nobody_else_waits() {
        let port = Port::open(Duration::from_millis(300), 8).await;
        port.may_answer.add_permits(1);
        let mut slow = port.connect().await;
        slow.write_all(b"GET / HTTP/1.1\r\nx-long: ").await.unwrap();
        let mut quick = port.connect().await;
        quick.write_all(REQUEST).await.unwrap();
        assert!(answer(&mut quick).await.starts_with("HTTP/1.1 200"));
        let (mut reading, mut writing) = slow.into_split();
        // A byte now and then does not help.
        let dribble = tokio::spawn(async move {
            while writing.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        let mut said = Vec::new();
        // Closed, or reset because something was still on its way.
        let _closed = reading.read_to_end(&mut said).await;
        let said = String::from_utf8(said).unwrap();
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 408"), "{said}");
        dribble.await.unwrap();
        assert_eq!(port.answered.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn with_all_places_taken_the_longest_silent_connection_makes_room() {
        let port = Port::open(LONG, 2).await;
        port.may_answer.add_permits(3);
        let (mut first, mut second) = (port.connect().await, port.connect().await);
        let mut third = port.connect().await;
        third.write_all(REQUEST).await.unwrap();
        assert!(answer(&mut third).await.starts_with("HTTP/1.1 200"));
        assert_eq!(answer(&mut first).await, "", "the oldest was closed");
        second.write_all(REQUEST).await.unwrap();
        assert!(answer(&mut second).await.starts_with("HTTP/1.1 200"), "the other one was not");
    }

    #[tokio::test]
    async fn with_all_places_in_use_the_next_connection_waits_its_turn() {
        let port = Port::open(LONG, 1).await;
        let mut busy = port.connect().await;
        busy.write_all(b"GET / HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n").await.unwrap();
        port.begun.acquire().await.unwrap().forget();
        let mut next = port.connect().await;
        next.write_all(REQUEST).await.unwrap();
        port.may_answer.add_permits(1);
        assert!(answer(&mut busy).await.starts_with("HTTP/1.1 200"));
        assert_eq!(port.answered.load(Ordering::SeqCst), 1);
        port.may_answer.add_permits(1);
        assert!(answer(&mut next).await.starts_with("HTTP/1.1 200"));
    }

    #[tokio::test]
    async fn an_end_answers_what_was_asked_and_gives_up_when_told() {
        let port = Port::open(LONG, 8).await;
        let (mut one, mut other) = (port.connect().await, port.connect().await);
        one.write_all(REQUEST).await.unwrap();
        other.write_all(REQUEST).await.unwrap();
        port.may_answer.add_permits(1);
        let first = tokio::select! { said = answer(&mut one) => said, said = answer(&mut other) => said };
        assert!(first.starts_with("HTTP/1.1 200"), "{first}");
        port.stop.cancel();
        port.give_up.cancel();
        port.task.await.unwrap();
        assert_eq!(port.answered.load(Ordering::SeqCst), 1, "the other one was given up");
        assert!(TcpStream::connect(port.address).await.is_err());
    }
}
