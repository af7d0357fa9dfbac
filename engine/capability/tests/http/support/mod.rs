//! What the tests of connections share: a peer to talk to, its side of digest auth, and a project on disk.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

pub(crate) mod digest;
pub(crate) mod peer;

use std::sync::Arc;
use std::time::Duration;

use bascule_capability::http::{Body, CallContext, Connection, Method, Pace, Request};
use bascule_capability::secret::{MasterKey, Secret, Secrets};
use bascule_capability::{Capabilities, Parts};
use bascule_database::Database;
use bascule_workflow::expression::Template;
use bascule_workflow::project::{self, Allow, Auth, Project, SecretSource, Timeouts, Tls};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

pub(crate) use peer::{Peer, Reply};

/// A project folder with a database and secrets.
pub(crate) struct Bench {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) project: Project,
}

pub(crate) struct Open {
    pub(crate) capabilities: Capabilities,
    pub(crate) database: Database,
    pub(crate) secrets: Secrets,
}

pub(crate) fn no_params() -> Map<String, Value> {
    Map::new()
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), project: Project::default() }
    }

    pub(crate) fn connect(mut self, name: &str, entry: project::Connection) -> Self {
        self.project.connections.insert(name.to_owned(), entry);
        self
    }

    pub(crate) fn folder(mut self, name: &str) -> Self {
        self.project.folders.insert(name.to_owned(), project::Folder { path: format!("./{name}") });
        self
    }

    pub(crate) async fn open(&self) -> Open {
        let root = self.folder.path();
        let database = Database::open(&root.join("data/bascule.db")).await.unwrap();
        let path = root.join("key");
        let key =
            if path.exists() { MasterKey::load(&path).unwrap() } else { MasterKey::create(&path).unwrap() };
        let secrets = Secrets::open(database.clone(), key, root.to_owned(), Arc::new(|_name: &str| None))
            .await
            .unwrap();
        let parts = Parts {
            project: self.project.clone(),
            root: root.to_owned(),
            database: database.clone(),
            secrets: secrets.clone(),
        };
        Open { capabilities: Capabilities::open(parts).await.unwrap(), database, secrets }
    }
}

impl Open {
    pub(crate) async fn secret(&self, name: &str, value: &str) {
        self.secrets.set(name, Secret::new(value), None).await.unwrap();
    }

    pub(crate) fn connection(&self, name: &str) -> Connection {
        self.capabilities.connection(name, &no_params()).unwrap()
    }
}

pub(crate) fn template(text: &str) -> Template {
    Template::parse(&json!(text)).unwrap()
}

pub(crate) fn stored(name: &str) -> SecretSource {
    SecretSource::Stored(template(name))
}

pub(crate) fn entry(url: &str, auth: Auth) -> project::Connection {
    let parallel = if matches!(auth, Auth::Digest { .. }) { 1 } else { 4 };
    project::Connection {
        description: None,
        params: Vec::new(),
        url: template(url),
        key: None,
        auth,
        tls: Tls::default(),
        allow: Allow { addresses: Vec::new(), methods: Vec::new(), paths: Vec::new() },
        timeouts: Timeouts::default(),
        parallel,
        rate: None,
        gap: None,
        max_response_bytes: 4 << 20,
        min_bytes_per_second: 1024,
        headers: std::collections::BTreeMap::new(),
        test_path: None,
        redirects_same_origin: false,
    }
}

pub(crate) fn digest_auth() -> Auth {
    Auth::Digest { user: template("admin"), password: stored("password"), reuse_nonces: false }
}

pub(crate) fn context() -> CallContext {
    CallContext {
        cancel: CancellationToken::new(),
        deadline: tokio::time::Instant::now() + Duration::from_secs(30),
        progress: None,
    }
}

pub(crate) fn get(path: &str) -> Request {
    Request {
        method: Method::Get,
        path: path.to_owned(),
        query: Vec::new(),
        headers: Vec::new(),
        body: Body::Empty,
        pace: Pace::Normal,
    }
}

pub(crate) fn put(path: &str, data: &'static [u8]) -> Request {
    Request {
        method: Method::Put,
        body: Body::Content { content_type: "application/json".to_owned(), data: data.into() },
        ..get(path)
    }
}
