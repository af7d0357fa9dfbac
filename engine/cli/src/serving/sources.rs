//! Event sources: plugin functions that take a sink, run until they are told to end.
//!
//! They live on a plugin host of their own: a stream for each device must not take the places of steps, and a call that
//! lasts for months is not bounded by how often it speaks.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bascule_server::Inventory;
use bascule_trigger::file::FolderPaths;
use bascule_trigger::{SourceSink, Sources};
use bascule_workflow::failure::Failure;
use bascule_workflow::plan::Call;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Capacity, Switch};

/// How long a `catch-up` call may take.
const CATCH_UP: Duration = Duration::from_secs(300);

/// Runs the sources of loaded plugins.
pub(crate) struct PluginSources {
    /// Steps' own, for `catch-up`.
    pub(crate) steps: Arc<Switch>,
    /// The sources'.
    pub(crate) sources: Arc<Switch>,
    /// How many there may be at once.
    pub(crate) capacity: Capacity,
    /// Where their connections stand.
    pub(crate) inventory: watch::Receiver<Arc<Inventory>>,
}

#[async_trait]
impl Sources for PluginSources {
    async fn run_source(
        &self,
        call: &Call,
        with: Value,
        sink: Arc<dyn SourceSink>,
        cancel: CancellationToken,
    ) -> Result<(), Failure> {
        let _place = tokio::select! {
            biased;
            place = self.capacity.take(&*sink) => match place {
                Some(place) => place,
                None => return Ok(()),
            },
            () = cancel.cancelled() => return Ok(()),
        };
        self.sources.bridge().listen(call, &with, Arc::new(Adapter(sink)), cancel).await
    }

    fn version(&self, call: &Call, with: &Value) -> String {
        let inventory = self.inventory.borrow();
        let mut told = Sha256::new();
        let bridge = self.sources.bridge();
        told.update(bridge.components().present(&call.plugin).map_or("", |plugin| plugin.sha256()));
        let mut names = BTreeSet::new();
        texts(with, &mut names);
        for name in names {
            // Which parameter is a connection does not matter: at worst a source is started again that need not be.
            if let Some(connection) = inventory.project.connections.get(name) {
                told.update(format!("\n{name} {connection:?}"));
            }
            if let Some(folder) = inventory.project.folders.get(name) {
                told.update(format!("\n{name} {folder:?}"));
            }
        }
        hex::encode(told.finalize())
    }

    async fn call(&self, call: &Call, with: Value, cancel: CancellationToken) -> Result<Value, Failure> {
        self.steps.bridge().ask(call, &with, CATCH_UP, cancel).await
    }
}

/// Every text in a value.
fn texts<'v>(value: &'v Value, all: &mut BTreeSet<&'v str>) {
    match value {
        Value::String(text) => {
            all.insert(text);
        }
        Value::Array(list) => list.iter().for_each(|one| texts(one, all)),
        Value::Object(map) => map.values().for_each(|one| texts(one, all)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A trigger's sink as plugins' host knows sinks.
struct Adapter(Arc<dyn SourceSink>);

#[async_trait]
impl bascule_plugin::Sink for Adapter {
    async fn emit(&self, event: Value, key: Option<String>) -> Result<(), Failure> {
        self.0.emit(event, key).await
    }

    async fn cursor(&self) -> Result<Option<Value>, Failure> {
        self.0.cursor().await
    }

    async fn save_cursor(&self, cursor: Value) -> Result<(), Failure> {
        self.0.save_cursor(cursor).await
    }

    fn state(&self, connected: bool, note: &str) {
        self.0.state(connected, note);
    }
}

/// Where the folders of `bascule.yaml` are, as it stands now.
pub(crate) struct Folders {
    pub(crate) root: PathBuf,
    pub(crate) inventory: watch::Receiver<Arc<Inventory>>,
}

impl FolderPaths for Folders {
    fn path(&self, folder: &str) -> Option<PathBuf> {
        let inventory = self.inventory.borrow();
        inventory.project.folders.get(folder).map(|folder| self.root.join(&folder.path))
    }
}
