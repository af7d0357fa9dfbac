//! A name that changes its mind (DNS rebinding) gets nowhere: looked up by a resolver that the test controls.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bascule_database::Database;
use bascule_workflow::expression::Template;
use bascule_workflow::failure::Kind;
use bascule_workflow::project::{self, Allow, Auth, Project, Timeouts, Tls};
use futures_util::future::BoxFuture;
use serde_json::{Map, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::address::Lookup;
use super::{Body, CallContext, Method, Pace, Request};
use crate::secret::{MasterKey, Secrets};
use crate::{Capabilities, Parts, World};

/// Says one address, then the other.
struct Alternating {
    answers: [&'static [&'static str]; 2],
    asked: AtomicUsize,
}

impl Lookup for Alternating {
    fn lookup(&self, _host: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let turn = self.asked.fetch_add(1, Ordering::SeqCst) % 2;
        let answer = self.answers.get(turn).copied().unwrap_or_default();
        Box::pin(async move { Ok(answer.iter().map(|text| text.parse().unwrap()).collect()) })
    }
}

/// Answers everybody once and counts them.
async fn listen(address: &str) -> (u16, Arc<AtomicUsize>, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind(address).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let dialled = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&dialled);
    let task = tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            count.fetch_add(1, Ordering::SeqCst);
            let mut buffer = [0; 2048];
            if socket.read(&mut buffer).await.is_ok() {
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                let _gone = socket.write_all(answer).await;
            }
        }
    });
    (port, dialled, task)
}

fn entry(port: u16) -> project::Connection {
    project::Connection {
        description: None,
        params: Vec::new(),
        url: Template::parse(&json!(format!("http://hr.example:{port}"))).unwrap(),
        key: None,
        auth: Auth::None,
        tls: Tls::default(),
        allow: Allow { addresses: vec!["127.0.0.1/32".to_owned()], methods: Vec::new(), paths: Vec::new() },
        timeouts: Timeouts::default(),
        parallel: 4,
        rate: None,
        gap: None,
        max_response_bytes: 4096,
        min_bytes_per_second: 1024,
        headers: std::collections::BTreeMap::new(),
        test_path: None,
        redirects_same_origin: false,
    }
}

async fn capabilities(
    folder: &tempfile::TempDir,
    entry: project::Connection,
    answers: [&'static [&'static str]; 2],
) -> Capabilities {
    let root = folder.path().to_owned();
    let database = Database::open(&root.join("b.db")).await.unwrap();
    let key = MasterKey::create(&root.join("key")).unwrap();
    let secrets =
        Secrets::open(database.clone(), key, root.clone(), Arc::new(|_name: &str| None)).await.unwrap();
    let mut project = Project::default();
    project.connections.insert("hr".to_owned(), entry);
    let lookup = Arc::new(Alternating { answers, asked: AtomicUsize::new(0) });
    let world = World { lookup, clock: Arc::new(jiff::Timestamp::now) };
    Capabilities::open_in(Parts { project, root, database, secrets }, world, None).await.unwrap()
}

fn request() -> (Request, CallContext) {
    let request = Request {
        method: Method::Get,
        path: "/".to_owned(),
        query: Vec::new(),
        headers: Vec::new(),
        body: Body::Empty,
        pace: Pace::Normal,
    };
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    (request, CallContext { cancel: CancellationToken::new(), deadline, progress: None })
}

#[tokio::test]
async fn a_name_that_alternates_is_dialled_only_where_it_may() {
    let (port, good, _server) = listen("127.0.0.1:0").await;
    let (_, bad, _other) = listen(&format!("127.0.0.2:{port}")).await;
    let folder = tempfile::tempdir().unwrap();
    let capabilities = capabilities(&folder, entry(port), [&["127.0.0.1"], &["127.0.0.2"]]).await;
    let connection = capabilities.connection("hr", &Map::new()).unwrap();
    let (mut let_in, mut refused) = (0, 0);
    for _ in 0..400 {
        let (request, context) = request();
        match connection.send(request, &context).await {
            Ok(_response) => let_in += 1,
            Err(failure) => {
                assert_eq!(
                    (failure.kind, failure.code.as_deref()),
                    (Kind::Refused, Some("host:address")),
                    "{failure}"
                );
                refused += 1;
            }
        }
    }
    assert_eq!((let_in, refused), (200, 200));
    assert_eq!((good.load(Ordering::SeqCst), bad.load(Ordering::SeqCst)), (200, 0));
}

#[tokio::test]
async fn of_several_addresses_only_the_allowed_are_dialled() {
    let (port, good, _server) = listen("127.0.0.1:0").await;
    let (_, bad, _other) = listen(&format!("127.0.0.2:{port}")).await;
    let folder = tempfile::tempdir().unwrap();
    let both: &[&str] = &["127.0.0.2", "169.254.169.254", "127.0.0.1", "::1"];
    let capabilities = capabilities(&folder, entry(port), [both, both]).await;
    let connection = capabilities.connection("hr", &Map::new()).unwrap();
    for _ in 0..50 {
        let (request, context) = request();
        connection.send(request, &context).await.unwrap();
    }
    assert_eq!((good.load(Ordering::SeqCst), bad.load(Ordering::SeqCst)), (50, 0));
}

#[tokio::test]
async fn a_name_that_turns_to_this_machine_or_the_clouds_metadata_is_refused_without_any_range() {
    for address in ["127.0.0.1", "::1", "169.254.169.254", "0.0.0.0", "::ffff:127.0.0.1"] {
        let (port, dialled, _server) = listen("127.0.0.1:0").await;
        let folder = tempfile::tempdir().unwrap();
        let mut open = entry(port);
        open.allow.addresses.clear();
        let answer: &'static [&'static str] = Box::leak(Box::new([address]));
        let capabilities = capabilities(&folder, open, [answer, answer]).await;
        let (request, context) = request();
        let connection = capabilities.connection("hr", &Map::new()).unwrap();
        let failure = connection.send(request, &context).await.unwrap_err();
        assert_eq!(failure.kind, Kind::Refused, "{address}: {failure}");
        assert_eq!(dialled.load(Ordering::SeqCst), 0, "{address}");
    }
}
