//! Event sources: plugin functions that take a sink, run until they are told to end.
//!
//! They live on a plugin host of their own: a stream for each device must not take the places of steps, and a call that
//! lasts for months is not bounded by how often it speaks.

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
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Switch;

/// How long a `catch-up` call may take.
const CATCH_UP: Duration = Duration::from_secs(300);

/// Runs the sources of loaded plugins.
pub(crate) struct PluginSources {
    /// Steps' own, for `catch-up`.
    pub(crate) steps: Arc<Switch>,
    /// The sources'.
    pub(crate) sources: Arc<Switch>,
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
        self.sources.bridge().listen(call, &with, Arc::new(Adapter(sink)), cancel).await
    }

    async fn call(&self, call: &Call, with: Value, cancel: CancellationToken) -> Result<Value, Failure> {
        self.steps.bridge().ask(call, &with, CATCH_UP, cancel).await
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
