//! Stand-ins: a loopback server for each connection of a case, answering from its stubs.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use bascule_capability::http::Detour;
use bascule_workflow::cases::{Difference, Fault, Stub};
use bascule_workflow::document::Span;
use bascule_workflow::expression::Scope;
use bascule_workflow::project::Connection;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::body;
use super::login::{self, Login};
use super::wire::{self, Extent, Raw, Reply};

/// What a stub answers, its body read.
#[derive(Clone, Debug)]
pub(super) struct Ready {
    pub(super) reply: Reply,
    pub(super) delay: Duration,
    pub(super) fault: Option<Fault>,
}

/// A stub of the case with its answers.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    pub(super) stub: Stub,
    pub(super) answers: Vec<Ready>,
}

/// A request that no stub is for.
#[derive(Clone, Debug)]
pub(crate) struct Unmatched {
    /// The connection.
    pub(crate) connection: String,
    /// The request.
    pub(crate) request: Value,
    /// The stub that comes nearest: where it stands, what it is for, whether it is used up, how the request differs.
    pub(crate) nearest: Option<Nearest>,
}

/// A stub that comes near.
#[derive(Clone, Debug)]
pub(crate) struct Nearest {
    pub(crate) span: Span,
    pub(crate) words: String,
    pub(crate) used_up: Option<u64>,
    pub(crate) differences: Vec<Difference>,
}

/// Everything that was asked, and of whom.
#[derive(Default)]
struct Heard {
    /// In order: the connection and the request with its `status`.
    requests: Vec<(String, Value)>,
    unmatched: Vec<Unmatched>,
}

struct Peer {
    connection: Arc<Connection>,
    stubs: Vec<Prepared>,
    /// How often each stub was used.
    used: Mutex<Vec<u64>>,
    address: SocketAddr,
}

/// The stand-ins of a case. Dropping it ends them.
pub(super) struct StandIns {
    peers: BTreeMap<String, Arc<Peer>>,
    /// An address where nobody listens; the socket keeps it from being given to anybody else.
    closed: SocketAddr,
    _closed: TcpSocket,
    heard: Arc<Mutex<Heard>>,
    ended: CancellationToken,
    tasks: TaskTracker,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

impl StandIns {
    /// Starts one for each of these connections; `scope` is what patterns see.
    pub(super) async fn start(
        connections: Vec<(String, Connection, Vec<Prepared>)>,
        scope: Scope,
    ) -> Result<Self> {
        let socket = TcpSocket::new_v4().context("cannot make a socket")?;
        socket.bind(LOOPBACK).context("cannot take a loopback port")?;
        let closed = socket.local_addr()?;
        let (ended, tasks) = (CancellationToken::new(), TaskTracker::new());
        let heard: Arc<Mutex<Heard>> = Arc::default();
        let mut peers = BTreeMap::new();
        for (name, connection, stubs) in connections {
            let listener = TcpListener::bind(LOOPBACK).await.context("cannot listen on a loopback port")?;
            let used = Mutex::new(vec![0; stubs.len()]);
            let address = listener.local_addr()?;
            let peer = Arc::new(Peer { connection: Arc::new(connection), stubs, used, address });
            peers.insert(name.clone(), Arc::clone(&peer));
            let at_work = AtWork { name, peer, heard: Arc::clone(&heard), scope: scope.clone() };
            tasks.spawn(serve(listener, Arc::new(at_work), ended.clone(), tasks.clone()));
        }
        Ok(Self { peers, closed, _closed: socket, heard, ended, tasks })
    }

    /// The requests of a connection, in order.
    pub(super) fn asked(&self, connection: &str) -> Vec<Value> {
        let heard = lock(&self.heard);
        heard
            .requests
            .iter()
            .filter(|(name, _)| name == connection)
            .map(|(_, request)| request.clone())
            .collect()
    }

    /// All requests, in order.
    pub(super) fn all(&self) -> Vec<(String, Value)> {
        lock(&self.heard).requests.clone()
    }

    /// Requests that no stub is for.
    pub(super) fn unmatched(&self) -> Vec<Unmatched> {
        lock(&self.heard).unmatched.clone()
    }

    /// Ends all of them and waits for that.
    pub(super) async fn stop(&self) {
        self.ended.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for StandIns {
    fn drop(&mut self) {
        self.ended.cancel();
    }
}

impl Detour for StandIns {
    fn address(&self, connection: &str, authority: &str) -> Option<SocketAddr> {
        let peer = self.peers.get(connection)?;
        let mut used = lock(&peer.used);
        for (prepared, used) in peer.stubs.iter().zip(used.iter_mut()) {
            let refuses = prepared.answers.iter().any(|answer| answer.fault == Some(Fault::Refuse));
            let left = prepared.stub.times.is_none_or(|times| *used < times);
            let meant =
                prepared.stub.request.differences(&json!({ "at": authority }), &Scope::new()).is_empty();
            if refuses && left && meant {
                *used += 1;
                let request = json!({ "method": "", "path": "", "at": authority, "status": "refused" });
                lock(&self.heard).requests.push((connection.to_owned(), request));
                return Some(self.closed);
            }
        }
        Some(peer.address)
    }
}

/// What a stand-in's tasks share.
struct AtWork {
    name: String,
    peer: Arc<Peer>,
    heard: Arc<Mutex<Heard>>,
    scope: Scope,
}

async fn serve(listener: TcpListener, at_work: Arc<AtWork>, ended: CancellationToken, tasks: TaskTracker) {
    loop {
        let accepted = tokio::select! {
            () = ended.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((socket, _)) = accepted else { continue };
        let (at_work, ended) = (Arc::clone(&at_work), ended.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = ended.cancelled() => {}
                // What goes wrong on the socket is for the other side to notice.
                _ = at_work.exchange(socket, &ended) => {}
            }
        });
    }
}

impl AtWork {
    async fn exchange(&self, mut socket: TcpStream, ended: &CancellationToken) -> std::io::Result<()> {
        let Some(raw) = wire::read(&mut socket).await? else { return Ok(()) };
        let at = raw.header("host").unwrap_or_default().to_owned();
        let request = body::seen(&raw, &at, &login::credentials(&self.peer.connection));
        let has_stub = || self.stub_for(&request).is_some();
        if let Login::Answered(reply) = login::look(&self.peer.connection, &raw, &at, has_stub) {
            return wire::write(&mut socket, &reply, &raw, Extent::Whole).await;
        }
        let Some(ready) = self.take(&request) else {
            return self.nobody(&mut socket, &raw, request).await;
        };
        let mut logged = request;
        logged["status"] = match ready.fault {
            Some(Fault::Timeout) => json!("no answer"),
            Some(Fault::Cut) => json!("cut"),
            _ => json!(ready.reply.status),
        };
        lock(&self.heard).requests.push((self.name.clone(), logged));
        if !ready.delay.is_zero() {
            tokio::time::sleep(ready.delay).await;
        }
        match ready.fault {
            Some(Fault::Timeout) => {
                ended.cancelled().await;
                Ok(())
            }
            Some(Fault::Cut) if ready.reply.body.is_empty() => Ok(()),
            Some(Fault::Cut) => wire::write(&mut socket, &ready.reply, &raw, Extent::Half).await,
            _ => wire::write(&mut socket, &ready.reply, &raw, Extent::Whole).await,
        }
    }

    /// The first stub for the request that is not used up.
    fn stub_for(&self, request: &Value) -> Option<usize> {
        let used = lock(&self.peer.used);
        self.peer.stubs.iter().zip(used.iter()).position(|(prepared, used)| {
            prepared.stub.request.path.is_some()
                && prepared.stub.times.is_none_or(|times| *used < times)
                && prepared.stub.request.differences(request, &self.scope).is_empty()
        })
    }

    fn take(&self, request: &Value) -> Option<Ready> {
        let index = self.stub_for(request)?;
        let mut used = lock(&self.peer.used);
        let nth = usize::try_from(used[index]).unwrap_or(usize::MAX);
        used[index] += 1;
        let answers = &self.peer.stubs[index].answers;
        answers.get(nth).or(answers.last()).cloned()
    }

    /// The case fails, whatever the workflow makes of the answer.
    async fn nobody(&self, socket: &mut TcpStream, raw: &Raw, request: Value) -> std::io::Result<()> {
        let used = lock(&self.peer.used).clone();
        let candidates =
            self.peer.stubs.iter().zip(used).filter(|(prepared, _)| prepared.stub.request.path.is_some());
        let nearest = candidates
            .min_by_key(|(prepared, _)| prepared.stub.request.distance(&request, &self.scope))
            .map(|(prepared, used)| Nearest {
                span: prepared.stub.span,
                words: prepared.stub.request.words(),
                used_up: prepared.stub.times.filter(|times| used >= *times),
                differences: prepared.stub.request.differences(&request, &self.scope),
            });
        let text = format!("the test has no stub for {} {}", raw.method, raw.target);
        let mut logged = request.clone();
        logged["status"] = json!("no stub");
        {
            let mut heard = lock(&self.heard);
            heard.requests.push((self.name.clone(), logged));
            heard.unmatched.push(Unmatched { connection: self.name.clone(), request, nearest });
        }
        let headers = vec![("Content-Type".to_owned(), "text/plain; charset=utf-8".to_owned())];
        let reply = Reply { status: 501, headers, body: text.into_bytes() };
        wire::write(socket, &reply, raw, Extent::Whole).await
    }
}
