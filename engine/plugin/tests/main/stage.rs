//! What the tests play on: guests, hosts, a project with one connection, a peer, and a heartbeat.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use bascule_capability::secret::{MasterKey, Secrets};
use bascule_capability::{Capabilities, Parts};
use bascule_database::Database;
use bascule_plugin::{Call, Context, Host, HostOptions, Limits, Listener, Plugin, Report};
use bascule_workflow::expression::Template;
use bascule_workflow::failure::Failure;
use bascule_workflow::project::{Allow, Auth, Connection, Folder, Project, Store, Timeouts, Tls};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use wit_parser::Resolve;

/// A guest of `tests/guests`, built once per test run.
pub(crate) fn guest(name: &str) -> Result<Vec<u8>> {
    static FOLDER: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| xtask::components::guests().map_err(|error| format!("{error:#}")));
    let folder = folder.as_ref().map_err(|error| anyhow!("{error}"))?;
    std::fs::read(folder.join(format!("{name}.wasm"))).with_context(|| format!("no guest {name}"))
}

/// A host with these limits and no cache on disk.
pub(crate) fn host(limits: Limits) -> Result<Host> {
    Ok(Host::new(HostOptions { limits, ..HostOptions::default() })?)
}

/// A guest, loaded.
pub(crate) fn load(host: &Host, name: &str) -> Result<Plugin> {
    Ok(host.load(name, &guest(name)?, None)?)
}

/// A context that ends after so many milliseconds.
pub(crate) fn within(milliseconds: u64) -> Context {
    Context { timeout: Duration::from_millis(milliseconds), ..Context::default() }
}

/// Calls without capabilities.
pub(crate) async fn call(
    host: &Host,
    plugin: &Plugin,
    function: &str,
    with: Value,
) -> Result<Value, Failure> {
    let nothing = Capabilities::default();
    host.call(plugin, Call::new(function, &with, within(30_000), &nothing)).await
}

/// What a plugin said.
#[derive(Clone, Default)]
pub(crate) struct Heard(Arc<Mutex<Vec<Report>>>);

impl Heard {
    pub(crate) fn listener(&self) -> Listener {
        let heard = self.clone();
        Arc::new(move |report| heard.0.lock().unwrap_or_else(PoisonError::into_inner).push(report))
    }

    pub(crate) fn reports(&self) -> Vec<Report> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// `level: message`
    pub(crate) fn lines(&self) -> Vec<String> {
        let lines = self.reports().into_iter().filter_map(|report| match report {
            Report::Log { level, message } => Some(format!("{}: {message}", level.name())),
            Report::Progress { .. } => None,
        });
        lines.collect()
    }
}

/// Told when a guest says its first line.
#[derive(Clone, Default)]
pub(crate) struct Begun(Arc<Notify>);

impl Begun {
    pub(crate) fn listener(&self) -> Listener {
        let begun = self.clone();
        Arc::new(move |_| begun.0.notify_one())
    }

    pub(crate) async fn wait(&self) {
        self.0.notified().await;
    }
}

/// A project in a temporary folder: connection `peer` to a port of this machine, folder `files`, store `notes`.
pub(crate) struct Stage {
    pub(crate) capabilities: Capabilities,
    _folder: TempDir,
}

impl Stage {
    pub(crate) async fn open(port: u16) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        std::fs::create_dir(folder.path().join("files"))?;
        let mut project = Project::default();
        project.connections.insert("peer".into(), connection(port)?);
        project.folders.insert("files".into(), Folder { path: "files".into() });
        project.stores.insert("notes".into(), Store::default());
        let database = Database::open(&folder.path().join("bascule.db")).await?;
        let key = MasterKey::create(&folder.path().join("key"))?;
        let secrets =
            Secrets::open(database.clone(), key, folder.path().to_owned(), Arc::new(|_| None)).await?;
        let parts = Parts { project, root: folder.path().to_owned(), database, secrets };
        Ok(Self { capabilities: Capabilities::open(parts).await?, _folder: folder })
    }
}

fn connection(port: u16) -> Result<Connection> {
    Ok(Connection {
        description: None,
        params: Vec::new(),
        url: Template::parse(&json!(format!("http://127.0.0.1:{port}")))?,
        key: None,
        auth: Auth::None,
        tls: Tls::default(),
        allow: Allow { addresses: vec!["127.0.0.0/8".into()], methods: Vec::new(), paths: Vec::new() },
        timeouts: Timeouts::default(),
        parallel: 1000,
        rate: None,
        gap: None,
        max_response_bytes: 1 << 20,
        min_bytes_per_second: 1,
        headers: std::collections::BTreeMap::new(),
        test_path: None,
        redirects_same_origin: false,
    })
}

/// A server that answers `hello` to every request; to `/slow` it never answers.
pub(crate) struct Peer {
    pub(crate) port: u16,
    connections: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<String>>>,
    server: JoinHandle<()>,
}

impl Peer {
    pub(crate) async fn start() -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let connections = Arc::<AtomicUsize>::default();
        let requests = Arc::<Mutex<Vec<String>>>::default();
        let server = {
            let (connections, requests) = (connections.clone(), requests.clone());
            tokio::spawn(async move {
                let mut serving = tokio::task::JoinSet::new();
                while let Ok((socket, _)) = listener.accept().await {
                    connections.fetch_add(1, Ordering::SeqCst);
                    serving.spawn(serve(socket, requests.clone()));
                }
            })
        };
        Ok(Self { port, connections, requests, server })
    }

    /// Sockets accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// The heads of the requests so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(mut socket: tokio::net::TcpStream, requests: Arc<Mutex<Vec<String>>>) -> std::io::Result<()> {
    let mut read = Vec::new();
    loop {
        let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") else {
            let mut piece = [0; 4096];
            let count = socket.read(&mut piece).await?;
            if count == 0 {
                return Ok(());
            }
            read.extend_from_slice(&piece[..count]);
            continue;
        };
        let head = String::from_utf8_lossy(&read[..end]).into_owned();
        read.drain(..end + 4);
        let slow = head.split(' ').nth(1) == Some("/slow");
        requests.lock().unwrap_or_else(PoisonError::into_inner).push(head);
        if slow {
            std::future::pending::<()>().await;
        }
        socket
            .write_all(
                b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nSet-Cookie: secret=1\r\nX-Kind: test\r\n\r\nhello",
            )
            .await?;
    }
}

/// Beats every 10 ms on the runtime that it is started on, and measures how late each beat is.
pub(crate) struct Heartbeat(JoinHandle<()>, Arc<Mutex<Vec<Duration>>>);

impl Heartbeat {
    pub(crate) fn start() -> Self {
        let late = Arc::<Mutex<Vec<Duration>>>::default();
        let of_task = late.clone();
        let task = tokio::spawn(async move {
            const BEAT: Duration = Duration::from_millis(10);
            loop {
                let begun = std::time::Instant::now();
                tokio::time::sleep(BEAT).await;
                let lag = begun.elapsed().saturating_sub(BEAT);
                of_task.lock().unwrap_or_else(PoisonError::into_inner).push(lag);
            }
        });
        Self(task, late)
    }

    /// How late 95 of 100 beats were at most. The worst beat is not used: on a busy machine with few cores it says
    /// more about other programs than about this one.
    pub(crate) fn lag(self) -> Duration {
        self.0.abort();
        let mut late = self.1.lock().unwrap_or_else(PoisonError::into_inner).clone();
        late.sort();
        late.get(late.len() * 95 / 100).copied().unwrap_or(Duration::MAX)
    }
}

/// The WIT of `/wit` and this text, as one.
pub(crate) fn resolve(text: &str) -> Result<(Resolve, wit_parser::WorldId)> {
    let mut resolve = Resolve::new();
    resolve.push_path("../../wit")?;
    let package = resolve.push_source("test.wit", text)?;
    let world = *resolve.packages[package].worlds.values().next().context("the text has no world")?;
    Ok((resolve, world))
}

/// A component with the world of this text, whose functions all trap.
pub(crate) fn component(text: &str) -> Result<Vec<u8>> {
    let (resolve, world) = resolve(text)?;
    let module = wit_component::dummy_module(&resolve, world, wit_parser::ManglingAndAbi::Standard32);
    finish(module, &resolve, world)
}

/// A component made of a hand-written core module.
pub(crate) fn component_of(wat: &str, text: &str) -> Result<Vec<u8>> {
    let (resolve, world) = resolve(text)?;
    finish(wat::parse_str(wat)?, &resolve, world)
}

fn finish(mut module: Vec<u8>, resolve: &Resolve, world: wit_parser::WorldId) -> Result<Vec<u8>> {
    wit_component::embed_component_metadata(
        &mut module,
        resolve,
        world,
        wit_component::StringEncoding::UTF8,
    )?;
    xtask::components::component_of(&module)
}

/// The memory that this process has in use, in MiB.
#[cfg(target_os = "linux")]
pub(crate) fn resident_mib() -> Result<i64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
    let kib: i64 = line.split_whitespace().nth(1).context("no figure")?.parse()?;
    Ok(kib / 1024)
}
