//! What the host lends to plugins: connections, folders, stores. Knows nothing of wasm.
//!
//! A plugin names a path and gets an answer; address, credentials, policy and pace are the operator's, from
//! `bascule.yaml`, and stay here. Start from [`Capabilities`] and [`http::Connection`].
//!
//! ```
//! use bascule_capability::{Capabilities, Parts};
//! # use bascule_capability::secret::{MasterKey, Secrets};
//! # use bascule_database::Database;
//! # use bascule_workflow::project::Project;
//! # async fn example(root: &std::path::Path) -> Result<(), Box<dyn std::error::Error>> {
//! # let database = Database::open(&root.join("bascule.db")).await?;
//! # let key = MasterKey::create(&root.join("key"))?;
//! # let secrets = Secrets::open(database.clone(), key, root.to_owned(), std::sync::Arc::new(|_| None)).await?;
//! # let project = Project::default();
//! let capabilities = Capabilities::open(Parts { project, root: root.to_owned(), database, secrets }).await?;
//! let failure = capabilities.connection("terminal", &serde_json::Map::new()).unwrap_err();
//! assert_eq!(failure.message, "there is no connection `terminal` in bascule.yaml");
//! # Ok(())
//! # }
//! # let folder = tempfile::tempdir()?;
//! # tokio::runtime::Runtime::new()?.block_on(example(folder.path()))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod auth;
mod credential;
mod guard;
pub mod http;
mod policy;
pub mod redact;
pub mod secret;
pub mod storage;
mod transfer;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bascule_database::{Database, DatabaseError};
use bascule_workflow::failure::{Failure, Kind};
use bascule_workflow::project::{self, Project};
use serde_json::{Map, Value};

use guard::{Clock, Guard};
use http::address::{Lookup, System};
use http::{Connection, Detour, pins};
use secret::Secrets;
use storage::{Folder, Store};

/// What capabilities are made of.
pub struct Parts {
    /// The checked `bascule.yaml`.
    pub project: Project,
    /// The folder of `bascule.yaml`.
    pub root: PathBuf,
    /// `.bascule/bascule.db`, opened for writing.
    pub database: Database,
    /// The secrets, with their redactor.
    pub secrets: Secrets,
}

/// Everything the project's inventory offers, ready to lend. Cheap to clone. `default()` offers nothing.
#[derive(Clone, Default)]
pub struct Capabilities {
    lent: Option<Arc<Lent>>,
}

struct Lent {
    connections: BTreeMap<String, Arc<project::Connection>>,
    collector: Option<Arc<project::Connection>>,
    folders: BTreeMap<String, Result<Folder, Failure>>,
    stores: BTreeMap<String, Store>,
    shared: Arc<http::Shared>,
}

/// The names in `bascule.yaml`, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// `connections:`
    pub connections: Vec<String>,
    /// `folders:`
    pub folders: Vec<String>,
    /// `stores:`
    pub stores: Vec<String>,
}

/// What stands in for the world in tests.
pub(crate) struct World {
    pub(crate) lookup: Arc<dyn Lookup>,
    pub(crate) clock: Clock,
}

impl Capabilities {
    /// Opens folders and stores and readies the connections; nothing is dialled yet. A folder that cannot be opened is
    /// a failure when it is asked for, not here.
    pub async fn open(parts: Parts) -> Result<Self, DatabaseError> {
        let world = World { lookup: Arc::new(System), clock: Arc::new(jiff::Timestamp::now) };
        Self::open_in(parts, world, None).await
    }

    /// As `open`, with requests that `detour` names led to stand-ins on this computer: for tests of workflows. Policy,
    /// credentials, pace and the lock-out guard are those of the connection; TLS is not spoken to a stand-in.
    pub async fn open_with_detour(parts: Parts, detour: Arc<dyn Detour>) -> Result<Self, DatabaseError> {
        let world = World { lookup: Arc::new(System), clock: Arc::new(jiff::Timestamp::now) };
        Self::open_in(parts, world, Some(detour)).await
    }

    pub(crate) async fn open_in(
        parts: Parts,
        world: World,
        detour: Option<Arc<dyn Detour>>,
    ) -> Result<Self, DatabaseError> {
        let Parts { project, root, database, secrets } = parts;
        database.migrate("connection pin", pins::STEPS).await?;
        let guard = Guard::open(database.clone(), Arc::clone(&world.clock)).await?;
        let mut folders = BTreeMap::new();
        for (name, folder) in &project.folders {
            let opened = Folder::open(name, &root.join(&folder.path)).await.map_err(|error| {
                let cause =
                    std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
                Failure::new(Kind::Internal, format!("{error}{cause}")).with_code("host:file")
            });
            folders.insert(name.clone(), opened);
        }
        let mut stores = BTreeMap::new();
        for name in project.stores.keys() {
            stores.insert(name.clone(), Store::open(name, &database).await?);
        }
        let shared = http::Shared {
            secrets,
            database,
            guard,
            clock: world.clock,
            lookup: world.lookup,
            detour,
            root,
            revealed: std::sync::Mutex::default(),
            secrets_changed: std::sync::atomic::AtomicU64::default(),
            health: http::Known::default(),
            ha1_hidden: std::sync::atomic::AtomicUsize::new(0),
            peers: std::sync::Mutex::default(),
        };
        let collector = project.telemetry.map(|telemetry| Arc::new(telemetry.otlp));
        let connections =
            project.connections.into_iter().map(|(name, entry)| (name, Arc::new(entry))).collect();
        Ok(Self {
            lent: Some(Arc::new(Lent { connections, collector, folders, stores, shared: Arc::new(shared) })),
        })
    }

    /// What there is.
    #[must_use]
    pub fn names(&self) -> Names {
        let Some(lent) = &self.lent else {
            return Names::default();
        };
        Names {
            connections: lent.connections.keys().cloned().collect(),
            folders: lent.folders.keys().cloned().collect(),
            stores: lent.stores.keys().cloned().collect(),
        }
    }

    /// The connection of that name for these parameters (empty for one without `params`). `invalid-input` where a
    /// parameter is missing or unknown or a template cannot be evaluated, `refused` where the address that comes out
    /// is one the connection may not dial. Dials nothing.
    pub fn connection(&self, name: &str, params: &Map<String, Value>) -> Result<Connection, Failure> {
        let found = self.lent.as_ref().and_then(|lent| Some((lent.connections.get(name)?, &lent.shared)));
        let (entry, shared) = found.ok_or_else(|| absent("connection", name))?;
        Connection::evaluate(name, entry, params, shared)
    }

    /// The collector of `telemetry:`, if the inventory names one. For the host alone: no workflow can name it.
    #[must_use]
    pub fn collector(&self) -> Option<Result<Connection, Failure>> {
        let lent = self.lent.as_ref()?;
        let entry = lent.collector.as_ref()?;
        Some(Connection::evaluate("telemetry", entry, &Map::new(), &lent.shared))
    }

    /// The folder of that name.
    pub fn folder(&self, name: &str) -> Result<Folder, Failure> {
        let found = self.lent.as_ref().and_then(|lent| lent.folders.get(name));
        found.cloned().unwrap_or_else(|| Err(absent("folder", name)))
    }

    /// The store of that name.
    pub fn store(&self, name: &str) -> Result<Store, Failure> {
        let found = self.lent.as_ref().and_then(|lent| lent.stores.get(name));
        found.cloned().ok_or_else(|| absent("store", name))
    }

    /// How each peer has been since these capabilities were opened, by connection and peer.
    #[must_use]
    pub fn health(&self) -> Vec<http::Health> {
        self.lent.as_ref().map(|lent| lent.shared.health.all()).unwrap_or_default()
    }

    /// A secret was set or removed: the next request of every connection reads it anew, and tokens and digest sessions
    /// that were made with an earlier one are not used again. A new password has its own two tries of the lock-out guard.
    /// Must be called inside a tokio runtime.
    pub fn secrets_changed(&self) {
        if let Some(lent) = &self.lent {
            lent.shared.secrets_changed();
        }
    }

    /// The SHA-256 of the certificate that a peer shows, as 64 lower-case hexadecimal digits, for a person to compare.
    /// Makes a TLS handshake and sends nothing over it.
    pub async fn fetch_fingerprint(
        &self,
        name: &str,
        params: &Map<String, Value>,
    ) -> Result<String, Failure> {
        self.connection(name, params)?.fetch_fingerprint().await
    }

    /// Keeps a fingerprint as the one that `tls: { pin: stored }` believes, in place of an earlier one. `peer` is
    /// [`Connection::peer`].
    pub async fn store_pin(&self, name: &str, peer: &str, fingerprint: &str) -> Result<(), Failure> {
        let Some(lent) = self.lent.as_ref().filter(|lent| lent.connections.contains_key(name)) else {
            return Err(absent("connection", name));
        };
        pins::store(&lent.shared.database, name, peer, fingerprint).await?;
        lent.shared.forget_sockets(name, peer).await;
        Ok(())
    }
}

fn absent(what: &str, name: &str) -> Failure {
    Failure::new(Kind::InvalidInput, format!("there is no {what} `{name}` in bascule.yaml"))
}
