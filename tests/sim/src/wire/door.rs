//! One loopback port that a peer answers on, and that can be shut and opened again.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::tls::Identity;
use super::{Peer, Reply, read, write};

/// A port on 127.0.0.1. Everything it starts ends with `ended`.
pub(crate) struct Door {
    port: u16,
    peer: Arc<dyn Peer>,
    tls: Option<Arc<Identity>>,
    tasks: TaskTracker,
    ended: CancellationToken,
    state: Mutex<State>,
}

enum State {
    Open {
        stop: CancellationToken,
        accepting: JoinHandle<()>,
    },
    /// Bound but not listening: connections are refused, and nobody else can take the port.
    Shut(TcpSocket),
    /// Between the two, and after a failure to bind.
    Lost,
}

impl Door {
    /// Opens a free port.
    pub(crate) async fn open(
        peer: Arc<dyn Peer>,
        tls: Option<Arc<Identity>>,
        tasks: TaskTracker,
        ended: CancellationToken,
    ) -> Result<Self> {
        let socket = bound(0).await?;
        let port = socket.local_addr()?.port();
        let door = Self { port, peer, tls, tasks, ended, state: Mutex::new(State::Shut(socket)) };
        door.unshut().await?;
        Ok(door)
    }

    /// The port, the same while shut.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Whether it accepts connections.
    pub(crate) async fn is_open(&self) -> bool {
        matches!(&*self.state.lock().await, State::Open { .. })
    }

    /// Ends all connections and refuses new ones.
    pub(crate) async fn shut(&self) -> Result<()> {
        let mut state = self.state.lock().await;
        if let State::Open { stop, accepting } = std::mem::replace(&mut *state, State::Lost) {
            stop.cancel();
            accepting.await.context("the listener failed")?;
        } else {
            return Ok(());
        }
        *state = State::Shut(bound(self.port).await?);
        Ok(())
    }

    /// Accepts connections again.
    pub(crate) async fn unshut(&self) -> Result<()> {
        let mut state = self.state.lock().await;
        let socket = match std::mem::replace(&mut *state, State::Lost) {
            State::Shut(socket) => socket,
            State::Lost => bound(self.port).await?,
            open @ State::Open { .. } => {
                *state = open;
                return Ok(());
            }
        };
        let listener = socket.listen(1_024)?;
        let stop = self.ended.child_token();
        let service = Service {
            peer: Arc::clone(&self.peer),
            tls: self.tls.clone(),
            tasks: self.tasks.clone(),
            stop: stop.clone(),
        };
        let accepting = self.tasks.spawn(service.accept(listener));
        *state = State::Open { stop, accepting };
        Ok(())
    }
}

/// Binds the port; waits a moment for it if it was just given back.
async fn bound(port: u16) -> Result<TcpSocket> {
    let mut tries = 0;
    loop {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        match socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))) {
            Ok(()) => return Ok(socket),
            Err(error) if tries == 100 => {
                return Err(error).with_context(|| format!("cannot bind 127.0.0.1:{port}"));
            }
            Err(_) => tries += 1,
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

struct Service {
    peer: Arc<dyn Peer>,
    tls: Option<Arc<Identity>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Service {
    async fn accept(self, listener: TcpListener) {
        loop {
            let accepted = tokio::select! {
                () = self.stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let Ok((stream, _)) = accepted else {
                // Out of file descriptors, most likely: give others time to close some.
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            };
            let (peer, tls, stop) = (Arc::clone(&self.peer), self.tls.clone(), self.stop.clone());
            self.tasks.spawn(async move {
                let connection = connection(stream, peer.as_ref(), tls);
                tokio::select! {
                    () = stop.cancelled() => {}
                    // What ends a connection is the client's business.
                    _ = connection => {}
                }
            });
        }
    }
}

async fn connection(stream: TcpStream, peer: &dyn Peer, tls: Option<Arc<Identity>>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let Some(identity) = tls else {
        let mut stream = stream;
        if let End::Reset = serve(&mut stream, peer).await? {
            stream.set_zero_linger()?;
        }
        return Ok(());
    };
    let mut stream = identity.acceptor().accept(stream).await?;
    match serve(&mut stream, peer).await? {
        End::Reset => stream.get_ref().0.set_zero_linger(),
        End::Closed => stream.shutdown().await,
    }
}

enum End {
    Closed,
    Reset,
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, peer: &dyn Peer) -> std::io::Result<End> {
    let mut buffer = BytesMut::new();
    let mut nth = 0;
    loop {
        nth += 1;
        let next = read::request(stream, &mut buffer, nth);
        let Ok(next) = tokio::time::timeout(peer.idle(), next).await else {
            return Ok(End::Closed);
        };
        let Some(request) = next? else {
            return Ok(End::Closed);
        };
        let to_head = request.method == "HEAD";
        let close = request.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        match peer.answer(request).await {
            Reply::Reset => return Ok(End::Reset),
            Reply::Raw(bytes) => {
                stream.write_all(&bytes).await?;
                return Ok(End::Closed);
            }
            Reply::Silence => {
                let mut ignored = [0_u8; 1_024];
                while stream.read(&mut ignored).await? > 0 {}
                return Ok(End::Closed);
            }
            Reply::Live(answer) => {
                answer.write(stream).await?;
                return Ok(End::Closed);
            }
            Reply::Generated(mut answer) => {
                answer.close |= close;
                if !answer.write(stream, to_head).await? {
                    return Ok(End::Closed);
                }
            }
            Reply::Answer(mut answer) => {
                answer.delivery.close |= close;
                if !write::answer(stream, &answer, to_head).await? {
                    return Ok(End::Closed);
                }
            }
        }
    }
}
